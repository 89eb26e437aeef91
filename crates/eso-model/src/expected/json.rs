//! Provider values as JSON: parsing, paths, and the texts that Go's `json.Marshal` makes of maps.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    verdict::{Failure, NotComputable, why},
    work::Work,
};
use crate::{
    budget::{Budget, TooCostly},
    gjson::NotEvaluated,
    gojson::{self, Node, NotJson, Numbers, Shape, Style},
};

/// The style of Go's `json.Marshal`.
pub(super) const MARSHAL: Style = Style {
    numbers: Numbers::Verbatim,
    html: true,
};

pub(super) fn path<'s>(
    text: &'s [u8],
    path: &str,
    work: &Work<'s>,
) -> Result<Option<Value>, NotComputable> {
    let document = work.document(text)?;
    document
        .get(path, work.budget)
        .map_err(|error| match error {
            NotEvaluated::Unsupported => NotComputable::unverifiable(why::PROPERTY_PATH),
            NotEvaluated::TooCostly(error) => error.into(),
        })
}

/// Parses a text that is used once. For the text of an answer, use [`Work::document`].
pub(super) fn parse<'a>(text: &'a [u8], budget: &Budget) -> Result<Node<'a>, NotComputable> {
    gojson::parse_within(text, budget).map_err(not_json)
}

pub(super) fn not_json(error: NotJson) -> NotComputable {
    match error {
        NotJson::Invalid => Failure::NotJson.into(),
        NotJson::TooDeep => NotComputable::unverifiable(why::DEPTH),
        NotJson::TooCostly(error) => error.into(),
    }
}

/// Returns the members of an object, like Go.
pub(super) fn members<'n, 'a>(
    node: &'n Node<'a>,
    budget: &Budget,
) -> Result<BTreeMap<String, &'n Node<'a>>, NotComputable> {
    if let Shape::Object(members) = &node.shape {
        budget.step(members.len())?;
        for (key, _) in members {
            budget.write(key.len() + size_of::<(String, &Node<'_>)>())?;
        }
    }
    node.members().ok_or_else(|| Failure::NotAnObject.into())
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

pub(super) fn strings(
    members: &BTreeMap<String, Value>,
    html: bool,
    work: &Work<'_>,
) -> Result<Value, TooCostly> {
    let sizes = members
        .iter()
        .map(|(key, value)| key.len() + value.expose().len() + 6);
    work.budget.step(members.len())?;
    work.charge_json(sizes.sum())?;
    let members = members
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose()));
    Ok(gojson::encode_strings(members, html))
}

/// Encodes the map as JSON; an empty map is `null`, like an absent map in Go.
pub(super) fn strings_or_null(
    entries: &BTreeMap<String, Value>,
    html: bool,
    work: &Work<'_>,
) -> Result<Value, TooCostly> {
    if entries.is_empty() {
        Ok(Value::from("null"))
    } else {
        strings(entries, html, work)
    }
}

/// Encodes labels and annotations as one object.
pub(super) fn both(
    labels: &BTreeMap<String, Value>,
    annotations: &BTreeMap<String, Value>,
    html: bool,
    work: &Work<'_>,
) -> Result<Value, TooCostly> {
    let mut out = secret::Buffer::default();
    out.push(b"{\"annotations\":");
    out.push(strings_or_null(annotations, html, work)?.expose());
    out.push(b",\"labels\":");
    out.push(strings_or_null(labels, html, work)?.expose());
    out.push(b"}");
    Ok(out.finish())
}
