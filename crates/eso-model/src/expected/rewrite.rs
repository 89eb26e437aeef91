//! The operations of `rewrite`.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    go_regex::GoRegex,
    json::{check_floats, parse},
    keys::Keys,
    spec::{ConflictPolicy, Merge, MergeStrategy, PriorityPolicy, Regexp, Rewrite, Transform},
    templates::Templates,
    verdict::{Failure, NotComputable, why},
};
use crate::gojson::{self, Node, Numbers, Style};

/// Applies all operations in order.
pub(super) fn rewrite(
    mut keys: Keys,
    operations: &[Rewrite],
    templates: &impl Templates,
) -> Result<Keys, NotComputable> {
    for operation in operations {
        keys = if let Some(operation) = &operation.merge {
            merge(keys, operation)?
        } else if let Some(operation) = &operation.regexp {
            regexp(keys, operation)?
        } else if let Some(operation) = &operation.transform {
            transform(keys, operation, templates)?
        } else {
            keys
        };
    }
    Ok(keys)
}

fn regexp(keys: Keys, operation: &Regexp) -> Result<Keys, NotComputable> {
    let regex =
        GoRegex::new(&operation.source).map_err(|_| NotComputable::unverifiable(why::REGEXP))?;
    rename(keys, |key| Ok(regex.replace_all(key, &operation.target)))
}

fn transform(
    keys: Keys,
    operation: &Transform,
    templates: &impl Templates,
) -> Result<Keys, NotComputable> {
    rename(keys, |key| templates.transform(&operation.template, key))
}

/// Renames all keys. If two get the same name, the operator keeps the value of a random one (Go map order), so the result
/// is unverifiable.
fn rename(
    keys: Keys,
    mut name: impl FnMut(&str) -> Result<String, NotComputable>,
) -> Result<Keys, NotComputable> {
    let mut renamed = Keys::new();
    for (key, value) in keys {
        if renamed.insert(name(&key)?, value).is_some() {
            return Err(NotComputable::unverifiable(why::COLLISION));
        }
    }
    Ok(renamed)
}

fn merge(mut keys: Keys, operation: &Merge) -> Result<Keys, NotComputable> {
    let documents = documents(&keys, operation)?;
    let mut merged: BTreeMap<String, &Node<'_>> = BTreeMap::new();
    for document in &documents {
        for (key, node) in document.members().ok_or(Failure::NotAnObject)? {
            let conflict = merged.insert(key, node).is_some();
            if conflict && operation.conflict_policy == ConflictPolicy::Error {
                return Err(Failure::MergeConflict.into());
            }
        }
    }
    let merged = match operation.strategy {
        MergeStrategy::Extract => {
            let value = |(key, node)| (key, gojson::byte_value(node, Numbers::Float64));
            return Ok(merged.into_iter().map(value).collect());
        }
        MergeStrategy::Json if operation.into.is_empty() => return Err(Failure::Refused.into()),
        MergeStrategy::Json => encode(&merged),
    };
    keys.insert(operation.into.clone(), merged);
    Ok(keys)
}

fn encode(merged: &BTreeMap<String, &Node<'_>>) -> Value {
    let style = Style {
        numbers: Numbers::Float64,
        html: false,
    };
    gojson::encode_members(merged, style)
}

/// Parses the values as JSON documents in the order of their keys, followed by those of `priority` in its order.
fn documents<'k>(keys: &'k Keys, operation: &Merge) -> Result<Vec<Node<'k>>, NotComputable> {
    let plain = keys
        .iter()
        .filter(|(key, _)| !operation.priority.contains(key))
        .map(|(_, value)| Some(value));
    let last = operation.priority.iter().map(|key| keys.get(key));
    let mut documents = Vec::new();
    for value in plain.chain(last) {
        let Some(value) = value else {
            if operation.priority_policy == PriorityPolicy::IgnoreNotFound {
                continue;
            }
            return Err(Failure::MergeKey.into());
        };
        let document = parse(value.expose())?;
        check_floats(&document)?;
        documents.push(document);
    }
    Ok(documents)
}
