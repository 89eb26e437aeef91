//! Paths of `property`, as the gjson library (v1.18) that the operator uses evaluates them.
//!
//! Keys, indexes of arrays, `#` for the length of an array and escapes are evaluated on valid documents, exactly. The rest of
//! the language (wildcards, queries, pipes, modifiers, lists of paths, lines), and texts that are no JSON but hold a bracket, in
//! which the library may find something or not, are refused.

use secret::{Buffer, Value};

use super::gojson::{self, Node, NotJson, Shape, float, hex4, join_surrogates, simple_escape};

/// The path, or the text that it is to be looked up in, is of a kind that is not evaluated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEvaluated;

/// The value at `path`; nothing if the library says that it does not exist.
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
        Err(NotJson::Invalid | NotJson::TooDeep) => return Err(NotEvaluated),
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

/// Integers are kept as they are written, other numbers go through a float64.
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

/// Looks for the path below a container. (Where duplicate keys lead to nothing, the next of them is tried.)
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

/// The first part of a path where an object stands. A backslash takes the meaning from what follows it.
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

/// The first part of a path where an array stands: here a backslash means nothing.
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
    // The library does not notice an overflow either.
    let index = part.iter().fold(0_u64, |index, digit| {
        index.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    Ok(usize::try_from(index).map_or(ArrayStep::Nothing, |index| ArrayStep::Item(index, rest)))
}

/// After a dot, these start a modifier or a list of paths.
const fn refuse_pipe(rest: &[u8]) -> Result<(), NotEvaluated> {
    if matches!(rest.first(), Some(b'@' | b'[' | b'{')) {
        Err(NotEvaluated)
    } else {
        Ok(())
    }
}

/// The library's own decoding of strings: what is not UTF-8 stays, and a surrogate swallows any `\u` that follows it.
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
