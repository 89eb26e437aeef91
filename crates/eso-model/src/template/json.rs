//! JSON in templates, as Go's encoding/json reads and writes it: numbers are float64.

use std::collections::BTreeMap;

use super::{
    Failure,
    value::{Heap, MAX_DEPTH, Of, Value},
};
use crate::gojson::{self, Node, NotJson, Shape};

mod write;

pub(super) use write::{Style, write};

/// Parses a document. Returns `None` if it is not valid JSON.
pub(super) fn read(heap: &mut Heap, text: &[u8]) -> Result<Option<Value>, Failure> {
    match gojson::parse_within(text, &heap.budget) {
        Ok(node) => value(heap, &node, 0).map(Some),
        Err(NotJson::Invalid) => Ok(None),
        Err(NotJson::TooDeep) => Err(Failure::unverifiable("deep nesting")),
        Err(NotJson::TooCostly(error)) => Err(error.into()),
    }
}

fn value(heap: &mut Heap, node: &Node<'_>, depth: usize) -> Result<Value, Failure> {
    heap.step(1)?;
    if depth >= MAX_DEPTH {
        return Err(Failure::unverifiable("deep nesting"));
    }
    Ok(match &node.shape {
        Shape::Null => Value::Nil,
        Shape::Bool => Value::Bool(node.raw == b"true"),
        Shape::Number => Value::Float(
            gojson::to_f64(node.raw)
                .ok_or_else(|| Failure::unverifiable("a number of this size"))?,
        ),
        Shape::String(inner) => heap.text(bytes(heap, inner)?)?,
        Shape::Array(items) => {
            let items = items
                .iter()
                .map(|item| value(heap, item, depth + 1))
                .collect::<Result<Vec<_>, _>>()?;
            heap.list(Of::Any, items)?
        }
        Shape::Object(members) => {
            // The last of duplicates counts.
            let entries = members
                .iter()
                .map(|(key, member)| Ok((bytes(heap, key)?, value(heap, member, depth + 1)?)))
                .collect::<Result<BTreeMap<_, _>, Failure>>()?;
            heap.map(Of::Any, entries)?
        }
    })
}

/// Decodes a string. The result is at most three times as long.
fn bytes(heap: &Heap, inner: &[u8]) -> Result<Vec<u8>, Failure> {
    heap.consume_bytes(inner.len())?;
    heap.budget.room(inner.len().saturating_mul(3))?;
    Ok(gojson::unquote(inner).expose().to_vec())
}
