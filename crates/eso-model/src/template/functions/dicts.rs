//! Functions on maps.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Function,
    Parameter::{Any, Map, Text},
    map, refused, take, text,
};
use crate::template::{
    Failure, print,
    value::{Heap, List, Of, Value},
};

pub(super) const TABLE: &[Function] = &[
    Function::new("dict", &[], dict).with_rest(Any),
    Function::new("get", &[Map, Text], |heap, arguments| {
        let [of, key] = take(arguments)?;
        let found = heap.get(map(&of)?)?.entries.get(text(&key)?.bytes());
        match found {
            Some(value) => Ok(value.clone()),
            None => heap.text(Vec::new()),
        }
    }),
    Function::new("set", &[Map, Text, Any], |heap, arguments| {
        let [to, key, value] = take(arguments)?;
        let into = heap.get_mut(map(&to)?)?;
        if into.nil {
            return Err(refused());
        }
        into.entries.insert(text(&key)?.bytes().to_vec(), value);
        Ok(to)
    }),
    Function::new("unset", &[Map, Text], |heap, arguments| {
        let [from, key] = take(arguments)?;
        let of = heap.get_mut(map(&from)?)?;
        of.entries.remove(text(&key)?.bytes());
        Ok(from)
    }),
    Function::new("hasKey", &[Map, Text], |heap, arguments| {
        let [of, key] = take(arguments)?;
        let of = heap.get(map(&of)?)?;
        Ok(Value::Bool(of.entries.contains_key(text(&key)?.bytes())))
    }),
    Function::new("pluck", &[Text], pluck).with_rest(Map),
    Function::new("keys", &[], keys).with_rest(Map),
    Function::new("pick", &[Map], |heap, arguments| {
        select(heap, &arguments, true)
    })
    .with_rest(Text),
    Function::new("omit", &[Map], |heap, arguments| {
        select(heap, &arguments, false)
    })
    .with_rest(Text),
    Function::new("dig", &[], dig).with_rest(Any),
];

fn dict(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let mut entries = BTreeMap::new();
    for pair in arguments.chunks(2) {
        let (key, value) = match pair {
            [key, value] => (key, value.clone()),
            [key] => (key, heap.text(Vec::new())?),
            _ => continue,
        };
        entries.insert(print::shown(heap, key)?, value);
    }
    heap.map(Of::Any, entries)
}

fn pluck(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let (key, maps) = arguments.split_first().ok_or_else(refused)?;
    let key = text(key)?.bytes();
    let mut items = Vec::new();
    for from in maps {
        items.extend(heap.get(map(from)?)?.entries.get(key).cloned());
    }
    heap.list(Of::Any, items)
}

fn keys(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let mut items = Vec::new();
    for from in &arguments {
        let keys: Vec<_> = heap.get(map(from)?)?.entries.keys().cloned().collect();
        for key in keys {
            items.push(heap.text(key)?);
        }
    }
    heap.step(items.len())?;
    let mut keys = List::new(Of::Text, items)?;
    keys.unordered = true;
    Ok(Value::List(keys))
}

fn select(heap: &mut Heap, arguments: &[Value], keep: bool) -> Result<Value, Failure> {
    let (from, keys) = arguments.split_first().ok_or_else(refused)?;
    let keys = keys
        .iter()
        .map(|key| text(key).map(|key| key.bytes().to_vec()))
        .collect::<Result<BTreeSet<_>, _>>()?;
    let entries = heap.get(map(from)?)?.entries.iter();
    let entries = entries
        .filter(|(key, _)| keys.contains(*key) == keep)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    heap.map(Of::Any, entries)
}

/// Returns the value at a path of keys, or the default if a key is missing.
fn dig(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [path @ .., default, from] = arguments.as_slice() else {
        return Err(refused());
    };
    if path.is_empty() {
        return Err(refused());
    }
    let keys = path.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut value = from.clone();
    for key in keys {
        let within = heap.get(map(&value)?)?;
        if within.of != Of::Any {
            return Err(refused());
        }
        let Some(next) = within.entries.get(key.bytes()) else {
            return Ok(default.clone());
        };
        value = next.clone();
    }
    Ok(value)
}
