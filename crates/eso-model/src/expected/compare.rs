//! What the Secret holds against what it should hold, and against what the operator says that it wrote.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use secret::{Buffer, Fingerprint, RunKey, Value};
use serde::Serialize;

use super::verdict::Expected;
use crate::digest::Algorithm;

/// A key in which a Secret differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDifference {
    /// The key.
    pub name: String,
    /// How it differs.
    pub difference: Difference,
}

/// What a Secret holds: fingerprints by key, in the order of the keys. (A tree would take several times the room.)
#[derive(Clone, Default)]
pub struct Held(Box<[(Box<str>, Fingerprint)]>);

impl Held {
    /// The fingerprints of this data.
    pub fn of(data: &BTreeMap<String, Value>, key: &RunKey) -> Self {
        let held = data
            .iter()
            .map(|(name, value)| (Box::from(name.as_str()), value.fingerprint(key)));
        Self(held.collect())
    }

    /// The keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One fingerprint of it all: with another key, or of other data, it is another.
    pub fn digest(&self, key: &RunKey) -> Fingerprint {
        let mut text = Buffer::default();
        for (name, fingerprint) in &self.0 {
            // No name of a key holds a line break, and a fingerprint has no other length.
            text.push(name.as_bytes());
            text.push(b"\n");
            text.push(fingerprint.hex().as_bytes());
        }
        key.fingerprint(text.as_bytes())
    }

    fn get(&self, name: &str) -> Option<&Fingerprint> {
        let index = self
            .0
            .binary_search_by(|(held, _)| (**held).cmp(name))
            .ok()?;
        self.0.get(index).map(|(_, fingerprint)| fingerprint)
    }
}

/// How a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// It has another value.
    Changed,
    /// It is lacking.
    Missing,
    /// It should not be there; for a workload, it was not there when its pods started.
    Extra,
}

/// The keys that differ, by name; what the Secret holds is known by its fingerprints alone. What the expectation is worth (`effect`, `immutable`) is not looked at.
pub fn compare(expected: &Expected, actual: &Held, key: &RunKey) -> Vec<KeyDifference> {
    let mut differences: BTreeMap<&str, Difference> = BTreeMap::new();
    for (name, value) in &expected.data {
        match actual.get(name) {
            None => {
                differences.insert(name, Difference::Missing);
            }
            Some(actual) if *actual != value.fingerprint(key) => {
                differences.insert(name, Difference::Changed);
            }
            Some(_) => {}
        }
    }
    if expected.exact {
        for name in actual.keys() {
            if !expected.data.contains_key(name) {
                differences.insert(name, Difference::Extra);
            }
        }
    }
    differences
        .into_iter()
        .map(|(name, difference)| KeyDifference {
            name: name.to_owned(),
            difference,
        })
        .collect()
}

/// The `reconcile.external-secrets.io/data-hash` that the operator writes to a Secret with this data. It has no key: never show
/// it.
pub fn data_hash(algorithm: Algorithm, data: &BTreeMap<String, Value>) -> String {
    let mut text = Buffer::default();
    text.push(b"map[");
    for (index, (key, value)) in data.iter().enumerate() {
        if index > 0 {
            text.push(b" ");
        }
        text.push(key.as_bytes());
        text.push(b":[");
        for (index, byte) in value.expose().iter().enumerate() {
            if index > 0 {
                text.push(b" ");
            }
            text.push(byte.to_string().as_bytes());
        }
        text.push(b"]");
    }
    text.push(b"]");
    algorithm.hex(std::str::from_utf8(text.as_bytes()).unwrap_or_default())
}

/// Whether the data is what the operator recorded, whichever digest it uses; nothing if the record is no digest.
pub fn is_as_hashed(recorded: &str, data: &BTreeMap<String, Value>) -> Option<bool> {
    let algorithm = match recorded.len() {
        32 => Algorithm::Md5,
        56 => Algorithm::Sha3_224,
        _ => return None,
    };
    Some(data_hash(algorithm, data) == recorded)
}
