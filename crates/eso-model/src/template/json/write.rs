//! Writes JSON: keys sorted, with Go's escapes.

use crate::template::{
    Failure, print,
    value::{Heap, MAX_DEPTH, MapId, Value},
};

/// How a document is written.
#[derive(Clone, Copy)]
pub(in crate::template) struct Style {
    /// `<`, `>` and `&` are escaped.
    pub(in crate::template) html: bool,
    /// In lines, each level two spaces in.
    pub(in crate::template) pretty: bool,
}

/// Writes a document; `None` where Go has an error.
pub(in crate::template) fn write(
    heap: &mut Heap,
    value: &Value,
    style: Style,
) -> Result<Option<Vec<u8>>, Failure> {
    let mut output = Vec::new();
    Ok(write_at(heap, value, style, 0, &mut output)?.then_some(output))
}

fn line(style: Style, depth: usize, output: &mut Vec<u8>) {
    if style.pretty {
        output.push(b'\n');
        output.resize(output.len() + 2 * depth, b' ');
    }
}

fn write_at(
    heap: &mut Heap,
    value: &Value,
    style: Style,
    depth: usize,
    output: &mut Vec<u8>,
) -> Result<bool, Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::unverifiable("deep nesting"));
    }
    heap.step(1)?;
    heap.afford(2 * depth + 24)?;
    match value {
        Value::Nil | Value::NilElement => output.extend_from_slice(b"null"),
        Value::Bool(value) => output.extend_from_slice(value.to_string().as_bytes()),
        Value::Int(value) | Value::Int64(value) => {
            output.extend_from_slice(value.to_string().as_bytes());
        }
        Value::Float(value) if value.is_finite() => {
            output.extend_from_slice(number(*value).as_bytes());
        }
        Value::Float(_) => return Ok(false),
        Value::Text(text) => {
            heap.afford(text.bytes().len())?;
            string(text.bytes(), style, output);
        }
        Value::List(list) if list.nil => output.extend_from_slice(b"null"),
        Value::List(list) => {
            output.push(b'[');
            for (index, item) in list.ordered()?.iter().enumerate() {
                if index > 0 {
                    output.push(b',');
                }
                line(style, depth + 1, output);
                if !write_at(heap, item, style, depth + 1, output)? {
                    return Ok(false);
                }
            }
            if !list.items().is_empty() {
                line(style, depth, output);
            }
            output.push(b']');
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
    output: &mut Vec<u8>,
) -> Result<bool, Failure> {
    let map = heap.get(id)?;
    if map.nil {
        output.extend_from_slice(b"null");
        return Ok(true);
    }
    let entries = map.entries.clone();
    output.push(b'{');
    for (index, (key, item)) in entries.iter().enumerate() {
        if index > 0 {
            output.push(b',');
        }
        line(style, depth + 1, output);
        heap.afford(key.len())?;
        string(key, style, output);
        output.extend_from_slice(if style.pretty { b": " } else { b":" });
        if !write_at(heap, item, style, depth + 1, output)? {
            return Ok(false);
        }
    }
    if !entries.is_empty() {
        line(style, depth, output);
    }
    output.push(b'}');
    Ok(true)
}

fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        return print::scientific(value, 1).replace("e-0", "e-");
    }
    crate::gojson::number::plain(value)
}

fn string(text: &[u8], style: Style, output: &mut Vec<u8>) {
    output.push(b'"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            write_character(character, style, output);
        }
        for _ in chunk.invalid() {
            output.extend_from_slice(b"\\ufffd");
        }
    }
    output.push(b'"');
}

fn write_character(character: char, style: Style, output: &mut Vec<u8>) {
    let short: &[u8] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\x08' => b"\\b",
        '\x0c' => b"\\f",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        _ => b"",
    };
    let coded = match character {
        '\0'..=' ' => character != ' ',
        '<' | '>' | '&' => style.html,
        '\u{2028}' | '\u{2029}' => true,
        _ => false,
    };
    if !short.is_empty() {
        output.extend_from_slice(short);
    } else if coded {
        output.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
    } else {
        output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}
