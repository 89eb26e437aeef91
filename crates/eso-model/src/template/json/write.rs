//! Writes JSON with sorted keys and Go's escapes.

use secret::Buffer;

use crate::{
    gojson::{json_float, quote},
    template::{
        Failure, print,
        value::{Heap, MAX_DEPTH, MapId, Value},
    },
};

/// The output style of a document.
#[derive(Clone, Copy)]
pub(in crate::template) struct Style {
    /// `<`, `>` and `&` are escaped.
    pub(in crate::template) html: bool,
    /// Writes one item per line, indented by two spaces per level.
    pub(in crate::template) pretty: bool,
}

/// Writes a document. Returns `None` if Go fails.
pub(in crate::template) fn write(
    heap: &mut Heap,
    value: &Value,
    style: Style,
) -> Result<Option<Vec<u8>>, Failure> {
    let mut output = Buffer::default();
    let written = write_at(heap, value, style, 0, &mut output)?;
    Ok(written.then(|| output.as_bytes().to_vec()))
}

fn line(style: Style, depth: usize, output: &mut Buffer) {
    if style.pretty {
        output.push(b"\n");
        output.push(" ".repeat(2 * depth).as_bytes());
    }
}

fn write_at(
    heap: &mut Heap,
    value: &Value,
    style: Style,
    depth: usize,
    output: &mut Buffer,
) -> Result<bool, Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::unverifiable("deep nesting"));
    }
    heap.step(1)?;
    heap.consume_bytes(2 * depth + 24)?;
    match value {
        Value::Nil | Value::NilElement => output.push(b"null"),
        Value::Bool(value) => output.push(value.to_string().as_bytes()),
        Value::Int(value) | Value::Int64(value) => {
            output.push(value.to_string().as_bytes());
        }
        Value::Uint64(value) => output.push(value.to_string().as_bytes()),
        Value::Time(_) => return Err(Failure::unverifiable("a time in JSON")),
        Value::Version(_) => {
            let shown = print::shown(heap, value)?;
            quote(output, &shown, style.html);
        }
        Value::Float(value) if value.is_finite() => {
            output.push(json_float(*value).as_bytes());
        }
        Value::Float(_) => return Ok(false),
        Value::Text(text) => {
            heap.consume_bytes(text.bytes().len())?;
            // A byte becomes at most six.
            heap.budget.room(text.bytes().len().saturating_mul(6))?;
            quote(output, text.bytes(), style.html);
        }
        Value::List(list) if list.nil => output.push(b"null"),
        Value::List(list) => {
            output.push(b"[");
            for (index, item) in list.ordered()?.iter().enumerate() {
                if index > 0 {
                    output.push(b",");
                }
                line(style, depth + 1, output);
                if !write_at(heap, item, style, depth + 1, output)? {
                    return Ok(false);
                }
            }
            if !list.items().is_empty() {
                line(style, depth, output);
            }
            output.push(b"]");
        }
        Value::Map(id) => return write_map(heap, *id, style, depth, output),
    }
    Ok(true)
}

fn write_map(
    heap: &mut Heap,
    id: MapId,
    style: Style,
    depth: usize,
    output: &mut Buffer,
) -> Result<bool, Failure> {
    let map = heap.get(id)?;
    if map.nil {
        output.push(b"null");
        return Ok(true);
    }
    let entries = map.entries.clone();
    output.push(b"{");
    for (index, (key, item)) in entries.iter().enumerate() {
        if index > 0 {
            output.push(b",");
        }
        line(style, depth + 1, output);
        heap.consume_bytes(key.len())?;
        quote(output, key, style.html);
        output.push(if style.pretty { b": " } else { b":" });
        if !write_at(heap, item, style, depth + 1, output)? {
            return Ok(false);
        }
    }
    if !entries.is_empty() {
        line(style, depth, output);
    }
    output.push(b"}");
    Ok(true)
}
