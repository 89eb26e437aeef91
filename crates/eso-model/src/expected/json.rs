//! Provider values as JSON: parsing, paths, and the texts that Go's `json.Marshal` makes of maps.

use std::collections::BTreeMap;

use secret::Value;

use super::verdict::{Failure, NotComputable, why};
use crate::{
    budget::Budget,
    gjson,
    gojson::{self, Node, NotJson, Numbers, Shape, Style},
};

/// The style of Go's `json.Marshal`.
pub(super) const MARSHAL: Style = Style {
    numbers: Numbers::Verbatim,
    html: true,
};

pub(super) fn path(text: &[u8], path: &str) -> Result<Option<Value>, NotComputable> {
    gjson::get(text, path).map_err(|_| NotComputable::unverifiable(why::PROPERTY_PATH))
}

pub(super) fn parse(text: &[u8]) -> Result<Node<'_>, NotComputable> {
    gojson::parse(text).map_err(|error| match error {
        NotJson::Invalid => Failure::NotJson.into(),
        NotJson::TooDeep => NotComputable::unverifiable(why::DEPTH),
        NotJson::TooCostly(error) => error.into(),
    })
}

pub(super) fn parse_within<'a>(text: &'a [u8], budget: &Budget) -> Result<Node<'a>, NotComputable> {
    gojson::parse_within(text, budget).map_err(|error| match error {
        NotJson::Invalid => Failure::NotJson.into(),
        NotJson::TooDeep => NotComputable::unverifiable(why::DEPTH),
        NotJson::TooCostly(error) => error.into(),
    })
}

/// Fails if any number is out of range, even one that a duplicate key replaces later, like Go.
pub(super) fn check_floats(node: &Node<'_>) -> Result<(), Failure> {
    match &node.shape {
        Shape::Number if gojson::to_f64(node.raw).is_none() => Err(Failure::Number),
        Shape::Array(items) => items.iter().try_for_each(check_floats),
        Shape::Object(members) => members.iter().try_for_each(|(_, node)| check_floats(node)),
        Shape::Null | Shape::Bool | Shape::Number | Shape::String(_) => Ok(()),
    }
}

pub(super) fn strings(members: &BTreeMap<String, Value>, html: bool) -> Value {
    let members = members
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose()));
    gojson::encode_strings(members, html)
}

/// Encodes the map as JSON; an empty map is `null`, like an absent map in Go.
pub(super) fn strings_or_null(entries: &BTreeMap<String, Value>, html: bool) -> Value {
    if entries.is_empty() {
        Value::from("null")
    } else {
        strings(entries, html)
    }
}

/// Encodes labels and annotations as one object.
pub(super) fn both(
    labels: &BTreeMap<String, Value>,
    annotations: &BTreeMap<String, Value>,
    html: bool,
) -> Value {
    let mut out = secret::Buffer::default();
    out.push(b"{\"annotations\":");
    out.push(strings_or_null(annotations, html).expose());
    out.push(b",\"labels\":");
    out.push(strings_or_null(labels, html).expose());
    out.push(b"}");
    out.finish()
}
