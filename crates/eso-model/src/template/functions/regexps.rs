//! Regular expressions.

use super::{
    Function,
    Parameter::{Int, Text},
    int, take, text, unsupported,
};
use crate::{
    expected::{GoRegex, NotCompiled},
    template::{
        Failure,
        value::{Heap, List, Of, Value},
    },
};

const TWO: &[super::Parameter] = &[Text, Text];
const THREE: &[super::Parameter] = &[Text, Text, Text];
const MANY: &[super::Parameter] = &[Text, Text, Int];

pub(super) const TABLE: &[Function] = &[
    Function::new("regexMatch", TWO, matches),
    Function::new("mustRegexMatch", TWO, matches),
    Function::new("regexFind", TWO, find),
    Function::new("mustRegexFind", TWO, find),
    Function::new("regexFindAll", MANY, find_all),
    Function::new("mustRegexFindAll", MANY, find_all),
    Function::new("regexReplaceAll", THREE, |heap, arguments| {
        replace(heap, arguments, false)
    }),
    Function::new("mustRegexReplaceAll", THREE, |heap, arguments| {
        replace(heap, arguments, false)
    }),
    Function::new("regexReplaceAllLiteral", THREE, |heap, arguments| {
        replace(heap, arguments, true)
    }),
    Function::new("mustRegexReplaceAllLiteral", THREE, |heap, arguments| {
        replace(heap, arguments, true)
    }),
    Function::new("regexSplit", MANY, split),
    Function::new("mustRegexSplit", MANY, split),
    Function::new("regexQuoteMeta", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let mut output = Vec::new();
        for byte in text(&value)?.bytes() {
            if br"\.+*?()|[]{}^$".contains(byte) {
                output.push(b'\\');
            }
            output.push(*byte);
        }
        heap.text(output)
    }),
];

fn compile(heap: &Heap, value: &Value) -> Result<GoRegex, Failure> {
    GoRegex::within(text(value)?.utf8()?, &heap.budget).map_err(|error| match error {
        NotCompiled::NotTranslated => unsupported("this regular expression"),
        NotCompiled::TooCostly(error) => error.into(),
    })
}

fn matches(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    let found = pattern.find(text(&value)?.utf8()?, &heap.budget)?;
    Ok(Value::Bool(found.is_some()))
}

fn find(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    let found = pattern.find(text(&value)?.utf8()?, &heap.budget)?;
    heap.text(found.map_or_else(Vec::new, |found| found.as_str().as_bytes().to_vec()))
}

/// Returns the maximum number of matches; unlimited if the number is negative.
fn at_most(count: &Value) -> Result<usize, Failure> {
    Ok(usize::try_from(int(count)?).unwrap_or(usize::MAX))
}

/// Returns a list of texts. With `nil`, an empty list becomes nil.
fn texts(heap: &Heap, parts: Vec<&str>, nil: bool) -> Result<Value, Failure> {
    heap.step(parts.len())?;
    let items = parts
        .into_iter()
        .map(|part| heap.text(part.as_bytes().to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut list = List::new(Of::Text, items)?;
    list.nil = nil && list.items().is_empty();
    Ok(Value::List(list))
}

fn find_all(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value, count] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    let found = pattern.find_all(text(&value)?.utf8()?, at_most(&count)?, &heap.budget)?;
    let found = found.into_iter().map(|found| found.as_str());
    texts(heap, found.collect(), true)
}

fn replace(heap: &mut Heap, arguments: Vec<Value>, literal: bool) -> Result<Value, Failure> {
    let [pattern, value, by] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    let (value, by) = (text(&value)?.utf8()?, text(&by)?.utf8()?);
    let output = pattern.replace_all(value, by, literal, &heap.budget)?;
    heap.text(output.into_bytes())
}

fn split(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value, count] = take(arguments)?;
    let empty = text(&pattern)?.bytes().is_empty();
    let pattern = compile(heap, &pattern)?;
    let (value, count) = (text(&value)?.utf8()?, at_most(&count)?);
    if count == 0 {
        return texts(heap, Vec::new(), true);
    }
    if !empty && value.is_empty() {
        return texts(heap, vec![""], false);
    }
    let mut parts = Vec::new();
    let (mut from, mut end) = (0, 0);
    for found in pattern.find_all(value, count, &heap.budget)? {
        if parts.len() == count - 1 {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(value.get(from..end).unwrap_or_default());
        }
        from = found.end();
    }
    if end != value.len() {
        parts.push(value.get(from..).unwrap_or_default());
    }
    texts(heap, parts, false)
}
