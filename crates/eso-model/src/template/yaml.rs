//! YAML as the operator's parser reads and writes it: YAML 1.1, where `yes` is a boolean and `010` an octal number.
//!
//! The parser here follows YAML 1.2. Texts that both read differently are unverifiable: those with tags, anchors, merge
//! keys, directives, tabs, several documents, or a key that is not plain text on one line.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;

use super::{
    Failure, print,
    value::{Heap, Of, Value},
};

mod order;
mod read;
mod resolve;
mod write;

pub(super) use write::write;

use read::Node;
use resolve::{Resolved, resolve};

fn unknown() -> Failure {
    Failure::unverifiable("YAML of this form")
}

/// Parses rendered text like the operator parses keys and values: as a map of strings. Numbers and booleans become text.
pub(super) fn entries(heap: &mut Heap, text: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let not_a_map = || Failure::fails("text that is not a YAML map of strings");
    let members = match read::document(heap, text)? {
        Node::Map(members) => members,
        Node::Scalar { text, plain } if plain && is_null(&text)? => return Ok(BTreeMap::new()),
        Node::Scalar { .. } | Node::List(_) => return Err(not_a_map()),
    };
    let mut entries = BTreeMap::new();
    for (key, value) in members {
        let value = match value {
            Node::Scalar { text, plain: false } => text,
            Node::Scalar { text, plain: true } => match resolve(&text)? {
                Resolved::Null => String::new(),
                resolved => shown(text, &resolved)?,
            },
            Node::List(_) | Node::Map(_) => return Err(not_a_map()),
        };
        entries.insert(key, value.into_bytes());
    }
    Ok(entries)
}

/// Parses a document like `fromYaml`: as a map. The operator writes an error into the map, whose text depends on its version.
pub(super) fn read(heap: &mut Heap, text: &[u8]) -> Result<Value, Failure> {
    match read::document(heap, text)? {
        Node::Scalar { text, plain } if plain && is_null(&text)? => {
            heap.map(Of::Any, BTreeMap::new())
        }
        map @ Node::Map(_) => value(heap, map),
        Node::Scalar { .. } | Node::List(_) => Err(unknown()),
    }
}

fn is_null(text: &str) -> Result<bool, Failure> {
    Ok(matches!(resolve(text)?, Resolved::Null))
}

/// Converts a node. All numbers become float64, because the operator converts YAML to JSON.
#[expect(clippy::cast_precision_loss, reason = "same conversion as in Go")]
fn value(heap: &mut Heap, node: Node) -> Result<Value, Failure> {
    heap.step(1)?;
    match node {
        Node::Scalar { text, plain } => {
            let resolved = if plain {
                resolve(&text)?
            } else {
                Resolved::Text
            };
            match resolved {
                Resolved::Null => Ok(Value::Nil),
                Resolved::Bool(value) => Ok(Value::Bool(value)),
                Resolved::Int(value) => Ok(Value::Float(value as f64)),
                Resolved::Uint(value) => Ok(Value::Float(value as f64)),
                Resolved::Float(value) if value.is_finite() => Ok(Value::Float(value)),
                Resolved::Float(_) => Err(unknown()),
                Resolved::Time | Resolved::Text => heap.text(text.into_bytes()),
            }
        }
        Node::List(items) => {
            let items = items
                .into_iter()
                .map(|item| value(heap, item))
                .collect::<Result<Vec<_>, _>>()?;
            heap.list(Of::Any, items)
        }
        Node::Map(members) => {
            let members = members
                .into_iter()
                .map(|(key, member)| Ok((key.into_bytes(), value(heap, member)?)))
                .collect::<Result<BTreeMap<_, _>, Failure>>()?;
            heap.map(Of::Any, members)
        }
    }
}

/// Returns a scalar as the text that the operator makes of it in the place of a string or a key.
fn shown(text: String, resolved: &Resolved) -> Result<String, Failure> {
    Ok(match resolved {
        Resolved::Text | Resolved::Time => text,
        Resolved::Null => return Err(unknown()),
        Resolved::Bool(value) => value.to_string(),
        Resolved::Int(value) => value.to_string(),
        Resolved::Uint(value) => value.to_string(),
        Resolved::Float(value) => print::short_float(*value),
    })
}
