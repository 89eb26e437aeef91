//! The operations of `rewrite`.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    go_regex::GoRegex,
    json::{check_floats, members, parse},
    keys::Keys,
    spec::{ConflictPolicy, Merge, MergeStrategy, PriorityPolicy, Regexp, Rewrite, Transform},
    templates::Templates,
    verdict::{Failure, NotComputable, why},
};
use crate::{
    budget::{Budget, TooCostly},
    gojson::{self, Node, Numbers, Style},
};

/// Applies all operations in order.
pub(super) fn rewrite(
    mut keys: Keys,
    operations: &[Rewrite],
    templates: &impl Templates,
    budget: &Budget,
) -> Result<Keys, NotComputable> {
    for operation in operations {
        keys = if let Some(operation) = &operation.merge {
            merge(keys, operation, budget)?
        } else if let Some(operation) = &operation.regexp {
            regexp(keys, operation, budget)?
        } else if let Some(operation) = &operation.transform {
            transform(keys, operation, templates, budget)?
        } else {
            keys
        };
    }
    Ok(keys)
}

fn regexp(keys: Keys, operation: &Regexp, budget: &Budget) -> Result<Keys, NotComputable> {
    let regex = GoRegex::within(&operation.source, budget)?;
    rename(keys, budget, |key| {
        Ok(regex.replace_all(key, &operation.target, false, budget)?)
    })
}

fn transform(
    keys: Keys,
    operation: &Transform,
    templates: &impl Templates,
    budget: &Budget,
) -> Result<Keys, NotComputable> {
    rename(keys, budget, |key| {
        templates.transform(&operation.template, key, budget)
    })
}

/// Renames all keys. If two get the same name, the operator keeps the value of a random one (Go map order), so the result
/// is unverifiable.
fn rename(
    keys: Keys,
    budget: &Budget,
    mut name: impl FnMut(&str) -> Result<String, NotComputable>,
) -> Result<Keys, NotComputable> {
    let mut renamed = Keys::new();
    for (key, value) in keys {
        budget.step(1)?;
        if renamed.insert(name(&key)?, value).is_some() {
            return Err(NotComputable::unverifiable(why::COLLISION));
        }
    }
    Ok(renamed)
}

fn merge(mut keys: Keys, operation: &Merge, budget: &Budget) -> Result<Keys, NotComputable> {
    let documents = documents(&keys, operation, budget)?;
    let mut merged: BTreeMap<String, &Node<'_>> = BTreeMap::new();
    for document in &documents {
        for (key, node) in members(document, budget)? {
            let conflict = merged.insert(key, node).is_some();
            if conflict && operation.conflict_policy == ConflictPolicy::Error {
                return Err(Failure::MergeConflict.into());
            }
        }
    }
    let merged = match operation.strategy {
        MergeStrategy::Extract => {
            charge(&merged, budget)?;
            let value = |(key, node)| (key, gojson::byte_value(node, Numbers::Float64));
            return Ok(merged.into_iter().map(value).collect());
        }
        MergeStrategy::Json if operation.into.is_empty() => return Err(Failure::Refused.into()),
        MergeStrategy::Json => {
            charge(&merged, budget)?;
            encode(&merged)
        }
    };
    keys.insert(operation.into.clone(), merged);
    Ok(keys)
}

/// Takes from the budget what it costs to write these members. A byte becomes at most six.
fn charge(merged: &BTreeMap<String, &Node<'_>>, budget: &Budget) -> Result<(), TooCostly> {
    for (key, node) in merged {
        let size = key.len() + node.raw.len();
        budget.step(1)?;
        budget.room(size.saturating_mul(6))?;
        budget.write(size)?;
    }
    Ok(())
}

fn encode(merged: &BTreeMap<String, &Node<'_>>) -> Value {
    let style = Style {
        numbers: Numbers::Float64,
        html: false,
    };
    gojson::encode_members(merged, style)
}

/// Parses the values as JSON documents in the order of their keys, followed by those of `priority` in its order.
fn documents<'k>(
    keys: &'k Keys,
    operation: &Merge,
    budget: &Budget,
) -> Result<Vec<Node<'k>>, NotComputable> {
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
        let document = parse(value.expose(), budget)?;
        check_floats(&document)?;
        documents.push(document);
    }
    Ok(documents)
}
