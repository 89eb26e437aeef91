//! The values in a template, with the types that Go distinguishes. They have no `Debug`, and their text is wiped.

use std::{collections::BTreeMap, rc::Rc};

use zeroize::Zeroizing;

use super::{Data, ENTRY, Failure};
use crate::budget::{Budget, TooCostly};

/// The maximum nesting of lists, and the maximum depth for walking values.
pub(super) const MAX_DEPTH: usize = 64;

/// A Go string: bytes that are usually UTF-8.
#[derive(Clone)]
pub(super) struct Text(Rc<Zeroizing<Vec<u8>>>);

impl Text {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text. Fails if it is not UTF-8, because Go may treat it differently.
    pub(super) fn utf8(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.0).map_err(|_| Failure::unverifiable("text that is not UTF-8"))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Rc::new(Zeroizing::new(bytes)))
    }
}

/// A value, with the types that Go distinguishes.
#[derive(Clone)]
pub(super) enum Value {
    Nil,
    /// No value, read from a container of `interface{}`. Unlike with `Nil`, Go rejects it as a map argument.
    NilElement,
    Bool(bool),
    Int(i64),
    Int64(i64),
    Uint64(u64),
    Float(f64),
    Text(Text),
    Time(Moment),
    /// A semantic version.
    Version(Rc<Version>),
    List(List),
    Map(MapId),
}

/// A point in time.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Since 1970, negative before.
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// A semantic version. Its parts are wiped like all text.
pub(super) struct Version {
    pub(super) numbers: [u64; 3],
    pub(super) pre_release: Text,
    pub(super) metadata: Text,
    pub(super) original: Text,
}

/// The element type of a list or map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// `interface{}`
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
}

/// A slice.
#[derive(Clone)]
pub(super) struct List {
    pub(super) of: Of,
    /// True for a nil slice, which JSON distinguishes from an empty one.
    pub(super) nil: bool,
    /// True if the order is random (the keys of a map).
    pub(super) unordered: bool,
    /// True if it is a part of another list: sorting it also sorts the other list.
    pub(super) part: bool,
    depth: usize,
    items: Rc<Vec<Value>>,
}

impl List {
    pub(super) fn new(of: Of, items: Vec<Value>) -> Result<Self, Failure> {
        let depth = items
            .iter()
            .map(|item| match item {
                Value::List(list) => list.depth + 1,
                _ => 1,
            })
            .max()
            .unwrap_or(1);
        if depth > MAX_DEPTH {
            return Err(Failure::unverifiable("deep nesting"));
        }
        Ok(Self {
            of,
            nil: false,
            unordered: false,
            part: false,
            depth,
            items: Rc::new(items),
        })
    }

    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }

    /// True if no other value shares this list.
    pub(super) fn is_unshared(&self) -> bool {
        Rc::strong_count(&self.items) == 1 && !self.part
    }

    /// Fails if the order of the list is random.
    pub(super) fn ordered(&self) -> Result<&[Value], Failure> {
        if self.unordered && self.items.len() > 1 {
            return Err(Failure::unverifiable(
                "the random order of the keys of a map",
            ));
        }
        Ok(&self.items)
    }

    /// Returns an item as Go reads it from the list.
    pub(super) fn element(&self, value: &Value) -> Value {
        element(self.of, value)
    }
}

/// Returns an element as Go reads it: a nil from a container of `interface{}` keeps that type.
pub(super) fn element(of: Of, value: &Value) -> Value {
    match value {
        Value::Nil if of == Of::Any => Value::NilElement,
        value => value.clone(),
    }
}

/// A reference to a map, which several values may share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MapId(usize);

/// A map with string keys.
pub(super) struct Map {
    pub(super) of: Of,
    pub(super) nil: bool,
    pub(super) entries: BTreeMap<Vec<u8>, Value>,
}

/// All maps of a run, and the budget that pays for it.
pub(super) struct Heap {
    maps: Vec<Map>,
    pub(super) budget: Budget,
}

impl Heap {
    pub(super) const fn new(budget: Budget) -> Self {
        Self {
            maps: Vec::new(),
            budget,
        }
    }

    /// Takes steps from the budget: one for each iteration of a loop.
    pub(super) fn step(&self, count: usize) -> Result<(), TooCostly> {
        self.budget.step(count)
    }

    /// Takes the work of reading these bytes from the budget.
    pub(super) fn read(&self, bytes: usize) -> Result<(), TooCostly> {
        self.budget.read(bytes)
    }

    /// Takes the work and memory of writing these bytes from the budget, before they are written.
    pub(super) fn consume_bytes(&self, bytes: usize) -> Result<(), TooCostly> {
        self.budget.write(bytes)
    }

    pub(super) fn text(&self, bytes: Vec<u8>) -> Result<Value, Failure> {
        self.consume_bytes(bytes.len() + ENTRY)?;
        Ok(Value::Text(Text::from(bytes)))
    }

    pub(super) fn list(&self, of: Of, items: Vec<Value>) -> Result<Value, Failure> {
        self.step(items.len())?;
        self.consume_bytes(items.len().saturating_mul(ENTRY))?;
        Ok(Value::List(List::new(of, items)?))
    }

    /// The map that a template sees as `.`.
    pub(super) fn data(&mut self, data: &Data) -> Result<Value, Failure> {
        self.map(Of::Text, data.0.clone())
    }

    /// The bytes of a text, or the number of items: what a function reads of an argument that it does not walk.
    pub(super) fn size(&self, value: &Value) -> Result<usize, Failure> {
        Ok(match value {
            Value::Nil
            | Value::NilElement
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Int64(_)
            | Value::Float(_)
            | Value::Uint64(_)
            | Value::Time(_)
            | Value::Version(_) => 1,
            Value::Text(text) => text.bytes().len(),
            Value::List(list) => list.items().len(),
            Value::Map(id) => self.get(*id)?.entries.len(),
        })
    }

    pub(super) fn map(
        &mut self,
        of: Of,
        entries: BTreeMap<Vec<u8>, Value>,
    ) -> Result<Value, Failure> {
        self.step(entries.len() + 1)?;
        self.consume_bytes((entries.len() + 1).saturating_mul(ENTRY))?;
        Ok(Value::Map(self.add(Map {
            of,
            nil: false,
            entries,
        })))
    }

    pub(super) fn nil_map(&mut self) -> Result<Value, Failure> {
        self.consume_bytes(ENTRY)?;
        Ok(Value::Map(self.add(Map {
            of: Of::Any,
            nil: true,
            entries: BTreeMap::new(),
        })))
    }

    fn add(&mut self, map: Map) -> MapId {
        self.maps.push(map);
        MapId(self.maps.len() - 1)
    }

    pub(super) fn get(&self, id: MapId) -> Result<&Map, Failure> {
        self.maps.get(id.0).ok_or_else(lost)
    }

    pub(super) fn get_mut(&mut self, id: MapId) -> Result<&mut Map, Failure> {
        self.maps.get_mut(id.0).ok_or_else(lost)
    }

    /// True if the value counts as true in Go templates.
    pub(super) fn truth(&self, value: &Value) -> Result<bool, Failure> {
        Ok(match value {
            Value::Nil | Value::NilElement => false,
            Value::Bool(value) => *value,
            Value::Int(value) | Value::Int64(value) => *value != 0,
            Value::Uint64(value) => *value != 0,
            Value::Time(_) | Value::Version(_) => true,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.bytes().is_empty(),
            Value::List(list) => !list.items().is_empty(),
            Value::Map(id) => !self.get(*id)?.entries.is_empty(),
        })
    }
}

fn lost() -> Failure {
    Failure::unverifiable("an unknown map")
}
