//! Compares a Secret with its expected data, and with the digest that the operator recorded.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use secret::{Buffer, Fingerprint, RunKey, Value};
use serde::Serialize;

use super::verdict::Expected;
use crate::digest::Algorithm;

/// A key whose value differs from the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDifference {
    pub name: String,
    pub difference: Difference,
}

/// The contents of a Secret: a fingerprint per key, sorted by key. (A map would need several times the memory.)
#[derive(Clone, Default)]
pub struct SecretFingerprints(Box<[(Box<str>, Fingerprint)]>);

impl SecretFingerprints {
    /// Computes the fingerprints of the data.
    pub fn of(data: &BTreeMap<String, Value>, key: &RunKey) -> Self {
        let held = data
            .iter()
            .map(|(name, value)| (Box::from(name.as_str()), value.fingerprint(key)));
        Self(held.collect())
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// True if there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns one fingerprint of all keys and values.
    pub fn digest(&self, key: &RunKey) -> Fingerprint {
        let mut text = Buffer::default();
        for (name, fingerprint) in &self.0 {
            // Unambiguous: key names contain no line break, and all fingerprints have the same length.
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

/// The kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// The value differs.
    Changed,
    /// The key is missing.
    Missing,
    /// The key is not expected. For a workload: the key did not exist when its pods started.
    Extra,
}

/// Returns the keys that differ, by name. Ignores `effect` and `immutable`.
pub fn compare(
    expected: &Expected,
    actual: &SecretFingerprints,
    key: &RunKey,
) -> Vec<KeyDifference> {
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

/// Computes the `reconcile.external-secrets.io/data-hash` that the operator writes for this data. The digest is not
/// keyed: with it, guesses of the values can be tested. So it must never be shown for real values.
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

/// True if the data matches the operator's recorded digest, for any known algorithm; None if the record is not a digest.
pub fn matches_recorded_hash(recorded: &str, data: &BTreeMap<String, Value>) -> Option<bool> {
    let algorithm = match recorded.len() {
        32 => Algorithm::Md5,
        56 => Algorithm::Sha3_224,
        _ => return None,
    };
    Some(data_hash(algorithm, data) == recorded)
}
