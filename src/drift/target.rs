//! The target Secret without its values: fingerprints of the values, and the writers.

use cluster::wire;
use eso_model::expected::SecretFingerprints;
use secret::{Fingerprint, RunKey};

use crate::{
    edits::{Writer, is_edited, writers},
    finding::version,
};

/// A target Secret that exists.
#[derive(Clone)]
pub struct Actual {
    /// The keys with fingerprints of the values.
    pub data: SecretFingerprints,
    /// The fingerprint of its uid and resource version.
    pub version: Fingerprint,
    /// True if it was edited after the operator wrote it; None if unknown.
    pub edited: Option<bool>,
    /// The ExternalSecret that controls it.
    pub owner: Option<String>,
    pub immutable: bool,
    /// Writers other than the operator, latest first.
    pub writers: Vec<Writer>,
}

/// The target Secret of an ExternalSecret, as found in the cluster.
#[derive(Clone)]
pub enum Target {
    There(Actual),
    Absent,
    /// It could not be read, with the reason.
    Unread(String),
}

/// The number of keys up to which a Secret is kept while others are read. A Secret of 1 MiB may have ten thousands.
const KEPT_KEYS: usize = 200;

impl Target {
    /// The same Secret, unless it takes too much memory to be kept until it is judged.
    pub fn kept(self) -> Option<Self> {
        let keys = match &self {
            Self::There(actual) => {
                let written = actual.writers.iter().map(|writer| writer.keys.len());
                actual.data.keys().count() + written.sum::<usize>()
            }
            Self::Absent | Self::Unread(_) => 0,
        };
        (keys <= KEPT_KEYS).then_some(self)
    }
}

impl Actual {
    /// Keeps fingerprints only. The values are wiped when `secret` is dropped.
    pub fn of(secret: wire::Secret, key: &RunKey) -> Self {
        let (edited, writers) = (is_edited(&secret), writers(&secret));
        let meta = secret.metadata;
        Self {
            data: SecretFingerprints::of(&secret.data, key),
            version: version(&meta, key),
            edited,
            owner: meta
                .owner_references
                .into_iter()
                .find(|owner| owner.controller && owner.kind == "ExternalSecret")
                .map(|owner| owner.name),
            immutable: secret.immutable,
            writers,
        }
    }
}

#[cfg(test)]
mod tests {
    use eso_model::DATA_HASH;
    use serde_json::{Value as Json, json};

    use super::*;

    fn actual(secret: &Json) -> Actual {
        let secret = serde_json::from_value(secret.clone()).unwrap();
        Actual::of(secret, &RunKey::from_bytes([3; 32]))
    }

    /// `{username: admin, password: s3cr3t}`, as the operator hashes it.
    const HASH: &str = "4dc87f1bc1b42f99971f11cd8a752c3c1babc6486c0744d841d68c6a";
    const OLD_HASH: &str = "bd97a990a322595f67156a368159c206";

    fn secret(hash: &str, username: &str, managed: &Json) -> Json {
        json!({
            "metadata": {
                "annotations": {DATA_HASH: hash},
                "managedFields": managed,
                "ownerReferences": [{"kind": "ExternalSecret", "name": "es", "controller": true}],
            },
            "data": {"username": username, "password": "czNjcjN0"},
        })
    }

    #[test]
    fn edits_change_the_operators_hash() {
        for (hash, username, edited) in [
            (HASH, "YWRtaW4=", Some(false)),
            (HASH, "cm9vdA==", Some(true)),
            (OLD_HASH, "YWRtaW4=", Some(false)),
            (OLD_HASH, "cm9vdA==", None),
            ("", "YWRtaW4=", None),
        ] {
            let actual = actual(&secret(hash, username, &json!([])));
            assert_eq!(actual.edited, edited, "{hash} {username}");
            assert_eq!(actual.owner.as_deref(), Some("es"));
        }
        let managed =
            json!([{"manager": "kubectl-edit", "fieldsV1": {"f:data": {"f:username": {}}}}]);
        assert_eq!(
            actual(&secret(OLD_HASH, "cm9vdA==", &managed)).edited,
            Some(true)
        );
    }

    #[test]
    fn writers_are_sorted_latest_first() {
        let managed = json!([
            {"manager": "externalsecrets.external-secrets.io/es", "time": "2026-03-01T12:00:00Z", "fieldsV1": {"f:data": {"f:a": {}}}},
            {"manager": "early", "time": "2026-03-01T10:00:00Z", "fieldsV1": {"f:data": {".": {}, "f:b": {}}}},
            {"manager": "late", "time": "2026-03-01T11:00:00Z", "fieldsV1": {"f:data": {"f:username": {}}}},
            {"manager": "labels", "time": "2026-03-01T13:00:00Z", "fieldsV1": {"f:metadata": {}}},
        ]);
        let names: Vec<String> = actual(&secret(HASH, "", &managed))
            .writers
            .into_iter()
            .map(|writer| format!("{} {}", writer.manager, writer.keys.join(",")))
            .collect();
        assert_eq!(names, ["late username", "early b"]);
    }
}
