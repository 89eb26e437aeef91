//! The operator's object digest, and the proof of a sync that is based on it.
//!
//! `status.syncedResourceVersion` is `{generation}-{digest}`. The digest is computed over the text that Go's `%+v` prints
//! for all annotations and labels (operator source: `pkg/controllers/util/util.go`, `ObjectHash`). The operator writes it
//! only after a successful sync of the object version that it read. So if it equals the value computed for the object
//! with our annotation, the operator read the provider after our write.

use std::collections::BTreeMap;

use md5::Md5;
use sha3::{Digest as _, Sha3_224};

/// Labels or annotations. Go's `%+v` prints the keys of a map in the same byte order.
pub type Metadata = BTreeMap<String, String>;

/// The digest algorithm of an operator version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 32 hex digits: operator v0.3.6 to v0.16.1.
    Md5,
    /// 56 hex digits: operator v0.16.2 and later.
    Sha3_224,
}

impl Algorithm {
    /// All algorithms, the newest first.
    pub const ALL: [Self; 2] = [Self::Sha3_224, Self::Md5];

    /// Returns the digest of `text` in lowercase hexadecimal.
    pub fn hex(self, text: &str) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha3_224 => hex(&Sha3_224::digest(text)),
        }
    }

    /// Detects the algorithm of a `syncedResourceVersion` by the length of its digest.
    pub fn of_synced_resource_version(value: &str) -> Option<Self> {
        let (_, digest) = value.split_once('-')?;
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.hex_len() == digest.len())
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha3_224 => 56,
        }
    }
}

/// The longest name of a field manager.
const MAX_MANAGER: usize = 63;

/// The prefix of the operator's field managers.
pub const FIELD_MANAGERS: &str = "externalsecrets.external-secrets.io/";

/// The field manager of an ExternalSecret's writes to its Secret (`fqdnFor` in the operator).
pub fn field_manager(external_secret: &str) -> String {
    let plain = format!("{FIELD_MANAGERS}{external_secret}");
    if plain.len() <= MAX_MANAGER {
        return plain;
    }
    let digest = Algorithm::Sha3_224.hex(external_secret);
    format!("{FIELD_MANAGERS}sha3/{digest}")
}

/// Returns the `status.syncedResourceVersion` that the operator writes after it has synced an object with this generation
/// and metadata.
pub fn synced_resource_version(
    algorithm: Algorithm,
    generation: i64,
    annotations: &Metadata,
    labels: &Metadata,
) -> String {
    let text = format!(
        "{{annotations:{} labels:{}}}",
        go_map(annotations),
        go_map(labels)
    );
    format!("{generation}-{}", algorithm.hex(&text))
}

/// True if `recorded`, the object's `status.syncedResourceVersion`, belongs to exactly this generation and metadata, with
/// either algorithm.
pub fn is_synced(
    recorded: &str,
    generation: i64,
    annotations: &Metadata,
    labels: &Metadata,
) -> bool {
    Algorithm::of_synced_resource_version(recorded).is_some_and(|algorithm| {
        recorded == synced_resource_version(algorithm, generation, annotations, labels)
    })
}

fn go_map(map: &Metadata) -> String {
    let entries: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    format!("map[{}]", entries.join(" "))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: &[(&str, &str)]) -> Metadata {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn digests_match_values_of_real_operators() {
        let none = Metadata::new();
        assert_eq!(
            synced_resource_version(Algorithm::Sha3_224, 1, &none, &none),
            "1-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2"
        );
        assert_eq!(
            synced_resource_version(Algorithm::Md5, 1, &none, &none),
            "1-2f2c636d06132f67992c15a1daeb0a5f"
        );
    }

    #[test]
    fn both_digests_of_annotations_and_labels() {
        let annotations = metadata(&[("force-sync", "1700000000")]);
        let labels = metadata(&[("app", "demo")]);
        for recorded in [
            "3-28e613b36b44729babd104a28c3861c6cd3837bd1e358dee0d45f3f0",
            "3-d5dc87e2e8aea4657c62081845247920",
        ] {
            assert!(is_synced(recorded, 3, &annotations, &labels), "{recorded}");
            assert!(
                !is_synced(recorded, 4, &annotations, &labels),
                "must not match another generation"
            );
            assert!(
                !is_synced(recorded, 3, &labels, &annotations),
                "must not match other metadata"
            );
        }
    }

    #[test]
    fn keys_are_ordered_by_bytes_and_values_are_raw() {
        let annotations = metadata(&[("force-sync", "1700000000"), ("a/b", "x y")]);
        let labels = metadata(&[("app", "demo")]);
        assert_eq!(
            synced_resource_version(Algorithm::Sha3_224, 7, &annotations, &labels),
            "7-632883c88ca3e334713de9d69be590c3497834854f5984f8bda2ff3f"
        );
    }

    #[test]
    fn malformed_versions_never_match() {
        let none = Metadata::new();
        for recorded in [
            "",
            "1",
            "1-",
            "1-abc",
            "-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2",
        ] {
            assert!(!is_synced(recorded, 1, &none, &none), "{recorded:?}");
        }
    }
}
