//! Writes JSON like Go's `json.Marshal` and `json.Encoder`.

use std::collections::BTreeMap;

use secret::{Buffer, Value};
use zeroize::Zeroizing;

use super::{Node, Shape, number, unquote};

/// How Go represents the numbers of a decoded document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Go's `json.Number`: the text is unchanged.
    Verbatim,
    /// Go's float64: `1.50` becomes `1.5`, and long integers lose digits.
    Float64,
}

#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub numbers: Numbers,
    /// True if `<`, `>` and `&` are escaped.
    pub html: bool,
}

/// Parses a number like Go; None if it is out of range, which is an error in Go.
pub fn to_f64(raw: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(raw).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// Formats a float64 like `strconv.FormatFloat(f, 'f', -1, 64)`.
pub fn float(number: f64) -> Zeroizing<String> {
    Zeroizing::new(if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        number::plain(number)
    })
}

/// Formats a float64 like `json.Marshal`.
pub(crate) fn json_float(number: f64) -> Zeroizing<String> {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return float(number);
    }
    let (digits, exponent) = number::digits(number);
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let (first, rest) = digits.split_at_checked(1).unwrap_or((&digits, ""));
    let point = if rest.is_empty() { "" } else { "." };
    Zeroizing::new(format!("{sign}{first}{point}{rest}e{exponent:+}"))
}

/// Returns the operator's bytes for a decoded value: strings without quotes, nothing for `null`, objects and arrays
/// encoded again.
pub fn byte_value(node: &Node<'_>, numbers: Numbers) -> Value {
    match &node.shape {
        Shape::Null => Value::default(),
        Shape::Bool => Value::from(node.raw),
        Shape::String(inner) => unquote(inner),
        Shape::Number => match (numbers, to_f64(node.raw)) {
            (Numbers::Float64, Some(number)) => Value::from(float(number).as_str()),
            _ => Value::from(node.raw),
        },
        Shape::Array(_) | Shape::Object(_) => encode(
            node,
            Style {
                numbers,
                html: true,
            },
        ),
    }
}

/// Encodes the document again, with sorted keys and without whitespace.
pub fn encode(node: &Node<'_>, style: Style) -> Value {
    let mut out = Buffer::with_capacity(node.raw.len());
    write(&mut out, node, style);
    out.finish()
}

/// Encodes an object with these members.
pub fn encode_members(members: &BTreeMap<String, &Node<'_>>, style: Style) -> Value {
    let mut out = Buffer::default();
    write_members(&mut out, members, style);
    out.finish()
}

/// Encodes an object with these strings, which may be invalid UTF-8.
pub fn encode_strings<'a>(
    members: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    html: bool,
) -> Value {
    let mut out = Buffer::default();
    out.push(b"{");
    for (index, (key, value)) in members.into_iter().enumerate() {
        separate(&mut out, index);
        quote(&mut out, key.as_bytes(), html);
        out.push(b":");
        quote(&mut out, value, html);
    }
    out.push(b"}");
    out.finish()
}

fn write(out: &mut Buffer, node: &Node<'_>, style: Style) {
    match &node.shape {
        Shape::Null | Shape::Bool => out.push(node.raw),
        Shape::Number => match (style.numbers, to_f64(node.raw)) {
            (Numbers::Float64, Some(number)) => out.push(json_float(number).as_bytes()),
            _ => out.push(node.raw),
        },
        Shape::String(inner) => quote(out, unquote(inner).expose(), style.html),
        Shape::Array(items) => {
            out.push(b"[");
            for (index, item) in items.iter().enumerate() {
                separate(out, index);
                write(out, item, style);
            }
            out.push(b"]");
        }
        Shape::Object(_) => write_members(out, &node.members().unwrap_or_default(), style),
    }
}

fn write_members(out: &mut Buffer, members: &BTreeMap<String, &Node<'_>>, style: Style) {
    out.push(b"{");
    for (index, (key, node)) in members.iter().enumerate() {
        separate(out, index);
        quote(out, key.as_bytes(), style.html);
        out.push(b":");
        write(out, node, style);
    }
    out.push(b"}");
}

fn separate(out: &mut Buffer, index: usize) {
    if index > 0 {
        out.push(b",");
    }
}

/// Returns the string in quotes.
pub fn quoted(text: &str, html: bool) -> Value {
    let mut out = Buffer::with_capacity(text.len() + 2);
    quote(&mut out, text.as_bytes(), html);
    out.finish()
}

/// Writes the string in quotes, with Go's escapes.
pub(crate) fn quote(out: &mut Buffer, bytes: &[u8], html: bool) {
    out.push(b"\"");
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(|c| is_escaped(c, html)) {
            let (plain, special) = rest.split_at(at);
            out.push(plain.as_bytes());
            let mut chars = special.chars();
            if let Some(c) = chars.next() {
                push_escaped(out, c);
            }
            rest = chars.as_str();
        }
        out.push(rest.as_bytes());
        for _ in chunk.invalid() {
            out.push(br"\ufffd");
        }
    }
    out.push(b"\"");
}

const fn is_escaped(c: char, html: bool) -> bool {
    match c {
        '"' | '\\' | '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => true,
        '<' | '>' | '&' => html,
        _ => false,
    }
}

fn push_escaped(out: &mut Buffer, c: char) {
    match c {
        '"' => out.push(b"\\\""),
        '\\' => out.push(br"\\"),
        '\n' => out.push(br"\n"),
        '\r' => out.push(br"\r"),
        '\t' => out.push(br"\t"),
        '\x08' => out.push(br"\b"),
        '\x0c' => out.push(br"\f"),
        other => out.push(format!(r"\u{:04x}", u32::from(other)).as_bytes()),
    }
}
