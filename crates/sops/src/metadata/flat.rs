//! Flat metadata of dotenv and INI: `age__list_0__map_enc` is the field `enc` of the first element of `age`.

use std::collections::BTreeMap;

use crate::{
    refusal::{Reason, Refused},
    source::{Element, Limits, Member, Plain, Stored},
};

const MAP: &str = "__map_";
const LIST: &str = "__list_";

/// A node that is filled in any order.
#[derive(Default)]
struct Slot {
    value: Option<Plain>,
    members: BTreeMap<String, Self>,
    elements: BTreeMap<usize, Self>,
}

/// Restores the tree of these members, the keys of which start with the prefix.
pub(super) fn unflatten(members: Vec<Member>, prefix: &str) -> Result<Vec<Member>, Refused> {
    let mut root = Slot::default();
    for member in members {
        let Member::Entry(key, node) = member else {
            continue;
        };
        let invalid = || Refused::at(Reason::InvalidMetadata, &[&key]);
        let Stored::Scalar(plain) = node else {
            return Err(invalid());
        };
        let path = key.strip_prefix(prefix).unwrap_or(&key);
        let slot = root.find(path).ok_or_else(invalid)?;
        if slot.value.is_some() {
            return Err(invalid());
        }
        // INI has no line breaks in values. Those of dotenv are already restored.
        slot.value = Some(Plain::text(plain.text.replace("\\n", "\n")));
    }
    match root.finish(&mut Limits::default()) {
        Some(Stored::Map(members)) => Ok(members),
        _ => Err(Refused::at(Reason::InvalidMetadata, &["sops"])),
    }
}

impl Slot {
    fn find(&mut self, path: &str) -> Option<&mut Self> {
        let start = [path.find(MAP), path.find(LIST)]
            .into_iter()
            .flatten()
            .min();
        let (key, mut rest) = path.split_at(start.unwrap_or(path.len()));
        let mut slot = self.members.entry(key.to_owned()).or_default();
        while !rest.is_empty() {
            let is_map = rest.starts_with(MAP);
            let after = rest.strip_prefix(MAP).or_else(|| rest.strip_prefix(LIST))?;
            let end = [after.find(MAP), after.find(LIST)]
                .into_iter()
                .flatten()
                .min();
            let (token, next) = after.split_at(end.unwrap_or(after.len()));
            slot = if is_map {
                slot.members.entry(token.to_owned()).or_default()
            } else {
                slot.elements.entry(token.parse().ok()?).or_default()
            };
            rest = next;
        }
        Some(slot)
    }

    /// Returns None if the tree is inconsistent or too deep.
    fn finish(self, limits: &mut Limits) -> Option<Stored> {
        limits.enter().ok()?;
        let node = match (
            self.value,
            self.members.is_empty(),
            self.elements.is_empty(),
        ) {
            (Some(plain), true, true) => Stored::Scalar(plain),
            (None, false, true) => {
                let members = self.members.into_iter().map(|(key, slot)| {
                    let node = slot.finish(limits)?;
                    Some(Member::Entry(key, node))
                });
                Stored::Map(members.collect::<Option<_>>()?)
            }
            (None, true, false) => {
                // The positions must have no gaps.
                let is_dense = self.elements.keys().enumerate().all(|(at, key)| at == *key);
                let elements = self
                    .elements
                    .into_values()
                    .map(|slot| slot.finish(limits).map(Element::Value));
                is_dense.then_some(())?;
                Stored::List(elements.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        limits.leave();
        Some(node)
    }
}
