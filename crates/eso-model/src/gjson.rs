//! Evaluates the paths of `property` like gjson v1.18, the library that the operator uses.
//!
//! Supported, with exact results, on valid JSON: keys, array indexes, `#` for the length of an array, and escapes. Not
//! supported: wildcards, queries, pipes, modifiers, multipaths, JSON lines, and invalid JSON that contains a bracket,
//! because gjson may or may not find something in it.

use secret::{Buffer, Value};

use super::gojson::{self, Node, NotJson, Shape, float, hex4, join_surrogates, simple_escape};

/// The path or the text to search is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEvaluated;

/// Returns the value at `path`, or None if gjson would report that it does not exist.
pub fn get(text: &[u8], path: &str) -> Result<Option<Value>, NotEvaluated> {
    let path = path.as_bytes();
    if path.len() > 1 && matches!(path.first(), Some(b'@' | b'!' | b'[' | b'{'))
        || path.starts_with(b"..")
    {
        return Err(NotEvaluated);
    }
    let document = match gojson::parse(text) {
        Ok(document) => document,
        Err(NotJson::Invalid) if !has_bracket(text) => return Ok(None),
        Err(_) => return Err(NotEvaluated),
    };
    match &document.shape {
        Shape::Array(_) | Shape::Object(_) => Ok(descend(&document, path)?.map(Found::value)),
        Shape::String(inner) if has_bracket(inner) => Err(NotEvaluated),
        Shape::String(_) | Shape::Null | Shape::Bool | Shape::Number => Ok(None),
    }
}

fn has_bracket(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'{' | b'['))
}

enum Found<'n, 'a> {
    Node(&'n Node<'a>),
    Length(usize),
}

impl Found<'_, '_> {
    fn value(self) -> Value {
        match self {
            Self::Length(length) => Value::from(length.to_string().as_str()),
            Self::Node(node) => match &node.shape {
                Shape::Null => Value::default(),
                Shape::String(inner) => unescape(inner),
                Shape::Number => number(node.raw),
                Shape::Bool | Shape::Array(_) | Shape::Object(_) => Value::from(node.raw),
            },
        }
    }
}

/// Integers keep their notation; other numbers are converted to float64 and back.
fn number(raw: &[u8]) -> Value {
    let digits = raw.strip_prefix(b"-").unwrap_or(raw);
    if digits.iter().all(u8::is_ascii_digit) {
        return Value::from(raw);
    }
    let parsed = std::str::from_utf8(raw)
        .ok()
        .and_then(|text| text.parse().ok());
    Value::from(float(parsed.unwrap_or_default()).as_str())
}

/// Evaluates the path below an object or array. If a duplicate key leads to nothing, the next one is tried.
fn descend<'n, 'a>(node: &'n Node<'a>, path: &[u8]) -> Result<Option<Found<'n, 'a>>, NotEvaluated> {
    match &node.shape {
        Shape::Object(members) => {
            let step = object_step(path)?;
            for (key, node) in members {
                let name = if key.contains(&b'\\') {
                    unescape(key)
                } else {
                    Value::from(*key)
                };
                if name.expose() == step.part
                    && let Some(found) = follow(node, step.rest)?
                {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        Shape::Array(items) => match array_step(path)? {
            ArrayStep::Length => Ok(Some(Found::Length(items.len()))),
            ArrayStep::Nothing => Ok(None),
            ArrayStep::Item(index, rest) => match items.get(index) {
                Some(node) => follow(node, rest),
                None => Ok(None),
            },
        },
        Shape::Null | Shape::Bool | Shape::Number | Shape::String(_) => Ok(None),
    }
}

fn follow<'n, 'a>(
    node: &'n Node<'a>,
    rest: Option<&[u8]>,
) -> Result<Option<Found<'n, 'a>>, NotEvaluated> {
    match rest {
        None => Ok(Some(Found::Node(node))),
        Some(path) => descend(node, path),
    }
}

struct ObjectStep<'p> {
    part: Vec<u8>,
    rest: Option<&'p [u8]>,
}

/// Splits off the first part of a path below an object. A backslash escapes the next character.
fn object_step(path: &[u8]) -> Result<ObjectStep<'_>, NotEvaluated> {
    let mut part = Vec::new();
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        match byte {
            b'|' | b'*' | b'?' => return Err(NotEvaluated),
            b'.' => {
                let rest = path.get(at..).unwrap_or_default();
                refuse_pipe(rest)?;
                return Ok(ObjectStep {
                    part,
                    rest: Some(rest),
                });
            }
            b'\\' => {
                part.extend(path.get(at));
                at += 1;
            }
            _ => part.push(byte),
        }
    }
    Ok(ObjectStep { part, rest: None })
}

enum ArrayStep<'p> {
    Item(usize, Option<&'p [u8]>),
    Length,
    Nothing,
}

/// Splits off the first part of a path below an array, where a backslash has no special meaning.
fn array_step(path: &[u8]) -> Result<ArrayStep<'_>, NotEvaluated> {
    let end = path
        .iter()
        .position(|byte| matches!(byte, b'.' | b'|'))
        .unwrap_or(path.len());
    let (part, tail) = path.split_at(end);
    if tail.first() == Some(&b'|') || part.starts_with(b"#(") || part.starts_with(b"#[") {
        return Err(NotEvaluated);
    }
    let rest = tail.get(1..);
    if part.contains(&b'#') {
        return match (part, rest) {
            (b"#", None) => Ok(ArrayStep::Length),
            (b"#", Some(_)) => Err(NotEvaluated),
            _ => Ok(ArrayStep::Nothing),
        };
    }
    if let Some(rest) = rest {
        refuse_pipe(rest)?;
    }
    if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
        return Ok(ArrayStep::Nothing);
    }
    // Wraps on overflow, like gjson.
    let index = part.iter().fold(0_u64, |index, digit| {
        index.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    Ok(usize::try_from(index).map_or(ArrayStep::Nothing, |index| ArrayStep::Item(index, rest)))
}

/// Rejects a modifier or multipath after a dot.
const fn refuse_pipe(rest: &[u8]) -> Result<(), NotEvaluated> {
    if matches!(rest.first(), Some(b'@' | b'[' | b'{')) {
        Err(NotEvaluated)
    } else {
        Ok(())
    }
}

/// Decodes a string like gjson: invalid UTF-8 is kept, and a lone surrogate also consumes a `\u` escape that follows it.
fn unescape(inner: &[u8]) -> Value {
    let mut out = Buffer::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escaped) = rest.split_at(at);
        out.push(plain);
        let [_, kind, after @ ..] = escaped else {
            return out.finish();
        };
        rest = after;
        if *kind != b'u' {
            out.push(&[simple_escape(*kind)]);
            continue;
        }
        let (unit, after) = hex4(rest);
        rest = after;
        let c = match (char::from_u32(unit), rest.strip_prefix(br"\u")) {
            (None, Some(low)) => {
                let (low, after) = hex4(low);
                rest = after;
                join_surrogates(unit, low)
            }
            (c, _) => c,
        };
        out.push_char(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    out.push(rest);
    out.finish()
}
