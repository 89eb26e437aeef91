//! JSON as Go's `encoding/json` writes it, indented with tabs.

use std::fmt::Write as _;

use secret::Buffer;
use zeroize::Zeroizing;

use crate::{
    refusal::Reason,
    tree::{Element, Kind, Member, Node, Scalar},
};

pub(super) fn write(document: &[Member], text: &mut Buffer) -> Result<(), Reason> {
    map(document, 0, text)?;
    text.push(b"\n");
    Ok(())
}

fn map(members: &[Member], depth: usize, text: &mut Buffer) -> Result<(), Reason> {
    let entries = members.iter().filter_map(|member| match member {
        Member::Entry(key, node) => Some((key, node)),
        Member::Comment(_) => None,
    });
    bracketed("{}", depth, entries, text, |(key, value), text| {
        string(key.as_bytes(), text)?;
        text.push(b": ");
        node(value, depth + 1, text)
    })
}

fn list(elements: &[Element], depth: usize, text: &mut Buffer) -> Result<(), Reason> {
    let values = elements.iter().filter_map(|element| match element {
        Element::Value(value) => Some(value),
        Element::Comment(_) => None,
    });
    bracketed("[]", depth, values, text, |value, text| {
        node(value, depth + 1, text)
    })
}

fn bracketed<T>(
    brackets: &str,
    depth: usize,
    items: impl Iterator<Item = T>,
    text: &mut Buffer,
    write: impl Fn(T, &mut Buffer) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let (open, close) = brackets.split_at(1);
    text.push(open.as_bytes());
    let mut is_empty = true;
    for item in items {
        if !is_empty {
            text.push(b",");
        }
        is_empty = false;
        line(depth + 1, text);
        write(item, text)?;
    }
    if !is_empty {
        line(depth, text);
    }
    text.push(close.as_bytes());
    Ok(())
}

fn line(depth: usize, text: &mut Buffer) {
    text.push(b"\n");
    (0..depth).for_each(|_| text.push(b"\t"));
}

fn node(node: &Node, depth: usize, text: &mut Buffer) -> Result<(), Reason> {
    match node {
        Node::Map(members) => map(members, depth, text),
        Node::List(elements) => list(elements, depth, text),
        Node::Scalar(scalar) => self::scalar(scalar, text),
    }
}

fn scalar(scalar: &Scalar, text: &mut Buffer) -> Result<(), Reason> {
    let value = scalar.value.expose();
    match scalar.kind {
        Kind::Null => text.push(b"null"),
        Kind::Bool | Kind::Int => text.push(value),
        Kind::Float => float(value, text)?,
        Kind::Text => string(value, text)?,
        // SOPS does not read them from JSON.
        Kind::Bytes | Kind::Time => return Err(Reason::NoExactText),
    }
    Ok(())
}

fn string(value: &[u8], text: &mut Buffer) -> Result<(), Reason> {
    // SOPS replaces what is not UTF-8.
    let value = std::str::from_utf8(value).map_err(|_| Reason::NoExactText)?;
    text.push(b"\"");
    for character in value.chars() {
        match character {
            '"' => text.push(b"\\\""),
            '\\' => text.push(b"\\\\"),
            '\n' => text.push(b"\\n"),
            '\r' => text.push(b"\\r"),
            '\t' => text.push(b"\\t"),
            '\u{8}' => text.push(b"\\b"),
            '\u{c}' => text.push(b"\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let mut escape = Zeroizing::new(String::with_capacity(6));
                // Writing to a String cannot fail.
                let _ = write!(escape, "\\u{:04x}", u32::from(character));
                text.push(escape.as_bytes());
            }
            other => text.push_char(other),
        }
    }
    text.push(b"\"");
    Ok(())
}

/// The shortest digits, with an exponent for very small and very large numbers.
fn float(value: &[u8], text: &mut Buffer) -> Result<(), Reason> {
    let value = std::str::from_utf8(value).map_err(|_| Reason::NoExactText)?;
    let value: f64 = value.parse().map_err(|_| Reason::NoExactText)?;
    if !value.is_finite() {
        return Err(Reason::NoExactText);
    }
    let size = value.abs();
    let digits = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        // Go writes a plus sign before a positive exponent.
        let digits = Zeroizing::new(format!("{value:e}"));
        let sign = if size < 1.0 { "e" } else { "e+" };
        Zeroizing::new(digits.replace('e', sign))
    } else {
        Zeroizing::new(value.to_string())
    };
    text.push(digits.as_bytes());
    Ok(())
}
