//! Functions on paths with slashes. The operator runs on Linux, so the `os…` functions are the same ones.

use super::{Function, Parameter::Text, take, text};
use crate::template::{
    Failure,
    value::{Heap, Value},
};

const ONE: &[super::Parameter] = &[Text];

pub(super) const TABLE: &[Function] = &[
    Function::new("base", ONE, |heap, arguments| on(heap, arguments, base)),
    Function::new("osBase", ONE, |heap, arguments| on(heap, arguments, base)),
    Function::new("dir", ONE, |heap, arguments| on(heap, arguments, dir)),
    Function::new("osDir", ONE, |heap, arguments| on(heap, arguments, dir)),
    Function::new("clean", ONE, |heap, arguments| on(heap, arguments, clean)),
    Function::new("osClean", ONE, |heap, arguments| on(heap, arguments, clean)),
    Function::new("ext", ONE, |heap, arguments| on(heap, arguments, ext)),
    Function::new("osExt", ONE, |heap, arguments| on(heap, arguments, ext)),
    Function::new("isAbs", ONE, is_absolute),
    Function::new("osIsAbs", ONE, is_absolute),
];

fn on(
    heap: &mut Heap,
    arguments: Vec<Value>,
    part: fn(&[u8]) -> Vec<u8>,
) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    let value = text(&value)?.bytes();
    heap.step(1 + value.len() / 8)?;
    let part = part(value);
    heap.text(part)
}

fn is_absolute(_: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    Ok(Value::Bool(text(&value)?.bytes().starts_with(b"/")))
}

/// Returns the shortest path with the same meaning.
fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", &*joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

fn base(path: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return b".".to_vec();
    }
    let mut parts = path.split(|byte| *byte == b'/').rev();
    let last = parts.find(|part| !part.is_empty());
    last.unwrap_or(b"/").to_vec()
}

fn dir(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte == b'/');
    let before = end.and_then(|end| path.get(..=end)).unwrap_or_default();
    clean(before)
}

fn ext(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let ext = dot.and_then(|dot| name.get(dot..)).unwrap_or_default();
    ext.to_vec()
}
