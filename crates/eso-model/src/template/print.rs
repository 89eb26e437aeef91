//! Formats values like Go: `%v`, `%q` and floats.

use std::{fmt::Write as _, sync::LazyLock};

use regex::Regex;

use super::{
    Failure,
    value::{Heap, MAX_DEPTH, Value},
};
use crate::gojson::number::{digits, plain};

/// Prints the result of an action.
pub(super) fn print(heap: &mut Heap, value: &Value, output: &mut Vec<u8>) -> Result<(), Failure> {
    if matches!(value, Value::Nil | Value::NilElement) {
        output.extend_from_slice(b"<no value>");
        return Ok(heap.consume_bytes(10)?);
    }
    show(heap, value, output)
}

/// Appends a value in `%v` format.
pub(super) fn show(heap: &mut Heap, value: &Value, output: &mut Vec<u8>) -> Result<(), Failure> {
    show_at(heap, value, output, 0)
}

/// Returns a value in `%v` format. Text is unchanged.
pub(super) fn shown(heap: &mut Heap, value: &Value) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    show(heap, value, &mut output)?;
    Ok(output)
}

fn show_at(
    heap: &mut Heap,
    value: &Value,
    output: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::unverifiable("deep nesting"));
    }
    heap.step(1)?;
    let before = output.len();
    match value {
        Value::Nil | Value::NilElement => output.extend_from_slice(b"<nil>"),
        Value::Bool(value) => output.extend_from_slice(value.to_string().as_bytes()),
        Value::Int(value) | Value::Int64(value) => {
            output.extend_from_slice(value.to_string().as_bytes());
        }
        Value::Uint64(value) => output.extend_from_slice(value.to_string().as_bytes()),
        Value::Time(_) => return Err(Failure::unverifiable("a time without a format")),
        Value::Version(version) => {
            let [major, minor, patch] = version.numbers;
            output.extend_from_slice(format!("{major}.{minor}.{patch}").as_bytes());
            for (sign, part) in [(b'-', &version.pre_release), (b'+', &version.metadata)] {
                if !part.bytes().is_empty() {
                    heap.consume_bytes(part.bytes().len())?;
                    output.push(sign);
                    output.extend_from_slice(part.bytes());
                }
            }
        }
        Value::Float(value) => output.extend_from_slice(float(*value).as_bytes()),
        Value::Text(text) => {
            heap.consume_bytes(text.bytes().len())?;
            output.extend_from_slice(text.bytes());
            return Ok(());
        }
        Value::List(list) => {
            output.push(b'[');
            for (index, item) in list.ordered()?.iter().enumerate() {
                if index > 0 {
                    output.push(b' ');
                }
                show_at(heap, item, output, depth + 1)?;
            }
            output.push(b']');
            return Ok(heap.consume_bytes(list.items().len() + 2)?);
        }
        Value::Map(id) => {
            let entries = heap.get(*id)?.entries.clone();
            output.extend_from_slice(b"map[");
            for (index, (key, item)) in entries.iter().enumerate() {
                if index > 0 {
                    output.push(b' ');
                }
                heap.consume_bytes(key.len() + 2)?;
                output.extend_from_slice(key);
                output.push(b':');
                show_at(heap, item, output, depth + 1)?;
            }
            output.push(b']');
        }
    }
    Ok(heap.consume_bytes(output.len().saturating_sub(before).min(64))?)
}

/// Formats a float64 with `%v`.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let (_, exponent) = digits(value);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        return scientific(value, 2);
    }
    plain(value)
}

/// Formats a float64 with the shortest text that identifies it as a float32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the operator's YAML library formats it like this"
)]
pub(super) fn short_float(value: f64) -> String {
    let narrow = value as f32;
    if !narrow.is_finite() || narrow == 0.0 {
        return float(f64::from(narrow));
    }
    // The same digits as a float64.
    match narrow.to_string().parse() {
        Ok(value) => float(value),
        Err(_) => float(value),
    }
}

/// Formats as `d.ddde±xx`, with at least `width` digits in the exponent.
pub(super) fn scientific(value: f64, width: usize) -> String {
    let (digits, exponent) = digits(value);
    let mut text = String::new();
    if value.is_sign_negative() {
        text.push('-');
    }
    let (first, rest) = digits.split_at(1);
    text.push_str(first);
    if !rest.is_empty() {
        text.push('.');
        text.push_str(rest);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a String cannot fail.
    let _ = write!(text, "e{sign}{:0width$}", exponent.unsigned_abs());
    text
}

/// Characters that Go considers printable in all relevant Unicode versions.
static PRINTABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[\p{L}\p{M}\p{N}\p{P}\p{S}]$").ok());

/// Characters that exist in the Unicode tables of all operator versions.
static STABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Age:13.0}$").ok());

/// Fails unless the character has the same properties in all relevant Unicode versions.
pub(super) fn require_stable(character: char) -> Result<(), Failure> {
    let known = character.is_ascii()
        || STABLE.as_ref().is_some_and(|require_stable| {
            require_stable.is_match(character.encode_utf8(&mut [0; 4]))
        });
    if known {
        Ok(())
    } else {
        Err(Failure::unverifiable(
            "a character of a newer Unicode version",
        ))
    }
}

/// True if Go prints the character without an escape.
pub(super) fn printable(character: char) -> Result<bool, Failure> {
    if character.is_ascii() {
        return Ok(character == ' ' || character.is_ascii_graphic());
    }
    require_stable(character)?;
    Ok(PRINTABLE
        .as_ref()
        .is_some_and(|printable| printable.is_match(character.encode_utf8(&mut [0; 4]))))
}

/// Appends text in `%q` format.
pub(super) fn quote(text: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
    output.push(b'"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_character(character, output)?;
        }
        for byte in chunk.invalid() {
            output.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
    output.push(b'"');
    Ok(())
}

fn quote_character(character: char, output: &mut Vec<u8>) -> Result<(), Failure> {
    let short = match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        _ => "",
    };
    if !short.is_empty() {
        output.extend_from_slice(short.as_bytes());
    } else if printable(character)? {
        output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let code = u32::from(character);
        let escaped = match code {
            0..0x80 => format!("\\x{code:02x}"),
            0x80..0x1_0000 => format!("\\u{code:04x}"),
            _ => format!("\\U{code:08x}"),
        };
        output.extend_from_slice(escaped.as_bytes());
    }
    Ok(())
}
