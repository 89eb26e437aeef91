//! Problems that stop all writes of an item.

use std::collections::{BTreeMap, BTreeSet};

use secret::Value;

use super::{Group, Input};
use crate::{Reason, RemoteKey, Wanted};

/// Texts that only an encrypted value contains.
const ENCRYPTED: [&[u8]; 3] = [
    b"ENC[AES256_GCM",
    b"-----BEGIN AGE ENCRYPTED FILE-----",
    b"-----BEGIN PGP MESSAGE-----",
];

/// The items that are stopped.
pub(super) struct Stops {
    items: BTreeSet<usize>,
    /// By item and secret.
    reasons: BTreeMap<(usize, RemoteKey), Reason>,
}

impl Stops {
    pub(super) fn of(input: &Input<'_>, groups: &[Group<'_>]) -> Self {
        let mut owners: BTreeMap<&RemoteKey, BTreeSet<usize>> = BTreeMap::new();
        for group in groups {
            owners.entry(&group.key).or_default().insert(group.item);
        }
        let mut reasons = BTreeMap::new();
        for group in groups {
            let shared = owners.get(&group.key).is_some_and(|items| items.len() > 1);
            let reason = if shared || has_duplicates(group) {
                Some(Reason::Collision)
            } else {
                let allow_empty = input
                    .items
                    .get(group.item)
                    .is_some_and(|item| item.rules.allow_empty);
                let mut of_values = group.wanted.iter();
                of_values.find_map(|wanted| stop(wanted, allow_empty))
            };
            if let Some(reason) = reason {
                reasons.insert((group.item, group.key.clone()), reason);
            }
        }
        Self {
            items: reasons.keys().map(|(item, _)| *item).collect(),
            reasons,
        }
    }

    /// The reason why a secret is not written.
    pub(super) fn reason(&self, group: &Group<'_>) -> Option<Reason> {
        let own = self.reasons.get(&(group.item, group.key.clone()));
        own.copied()
            .or_else(|| self.stops(group.item).then_some(Reason::ItemStopped))
    }

    pub(super) fn stops(&self, item: usize) -> bool {
        self.items.contains(&item)
    }
}

/// True if two values have the same target, or if a value is a whole secret and a document at the same time.
fn has_duplicates(group: &Group<'_>) -> bool {
    let properties: BTreeSet<Option<&str>> = group
        .wanted
        .iter()
        .map(|wanted| wanted.target.property.as_deref())
        .collect();
    let mixed = properties.contains(&None) && properties.len() > 1;
    properties.len() != group.wanted.len() || mixed
}

fn stop(wanted: &Wanted, allow_empty: bool) -> Option<Reason> {
    let is_key_of_sops = |key: &str| key == "sops" || key.starts_with("sops_");
    if ENCRYPTED.iter().any(|text| contains(&wanted.value, text))
        || is_key_of_sops(&wanted.origin.key)
    {
        return Some(Reason::Encrypted);
    }
    (wanted.value.expose().is_empty() && !allow_empty).then_some(Reason::EmptyValue)
}

fn contains(value: &Value, text: &[u8]) -> bool {
    let mut windows = value.expose().windows(text.len());
    windows.any(|window| window == text)
}
