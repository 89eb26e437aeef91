//! The target Secret without its values: fingerprints of the values, and the writers.

use std::fmt;

use cluster::wire;
use eso_model::{
    GROUP,
    digest::field_manager,
    expected::{HeldValues, SecretFingerprints},
};
use secret::{Fingerprint, RunKey};

use crate::{
    edits::{Writer, is_edited, operators, writers},
    finding::version,
};

/// A target Secret that exists.
#[derive(Clone)]
pub struct Actual {
    /// The keys with fingerprints of the values.
    pub data: SecretFingerprints,
    /// The fingerprint of its uid and resource version.
    pub version: Fingerprint,
    /// Its values, which no name may hold.
    pub values: HeldValues,
    /// True if it was edited after the operator wrote it; None if unknown.
    pub edited: Option<bool>,
    /// The object that controls it.
    pub controller: Option<Controller>,
    pub r#type: String,
    pub immutable: bool,
    /// Writers other than the operator, latest first.
    pub writers: Vec<Writer>,
    /// The operator's writers, one for each ExternalSecret.
    pub operators: Vec<Writer>,
}

/// The object that controls a Secret (`ownerReferences` with `controller: true`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// The API group, without the version; empty for the core group.
    pub group: String,
    pub kind: String,
    pub name: String,
}

impl Controller {
    /// True for an ExternalSecret of the operator. There is an older kind of the same name in another group.
    pub fn is_external_secret(&self) -> bool {
        self.group == GROUP && self.kind == "ExternalSecret"
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, kind, name } = self;
        match &**group {
            "" | GROUP => write!(f, "{kind} {name}"),
            group => write!(f, "{kind}.{group} {name}"),
        }
    }
}

impl From<wire::OwnerReference> for Controller {
    fn from(owner: wire::OwnerReference) -> Self {
        let group = owner.api_version.split_once('/');
        Self {
            group: group.map_or("", |(group, _)| group).to_owned(),
            kind: owner.kind,
            name: owner.name,
        }
    }
}

/// The target Secret of an ExternalSecret, as found in the cluster.
#[derive(Clone)]
pub enum Target {
    There(Box<Actual>),
    Absent,
    /// It could not be read, with the reason.
    Unread(String),
}

/// The number of keys up to which a Secret is kept while others are read. A Secret of 1 MiB may have ten thousands.
const KEPT_KEYS: usize = 200;

impl Target {
    /// It exists.
    pub fn there(actual: Actual) -> Self {
        Self::There(Box::new(actual))
    }

    /// The same Secret, unless it takes too much memory to be kept until it is judged.
    pub fn kept(self) -> Option<Self> {
        let keys = match &self {
            Self::There(actual) => {
                let writers = actual.writers.iter().chain(&actual.operators);
                let written = writers.map(|writer| writer.keys.len());
                actual.data.keys().count() + written.sum::<usize>()
            }
            Self::Absent | Self::Unread(_) => 0,
        };
        (keys <= KEPT_KEYS).then_some(self)
    }
}

impl Actual {
    /// The keys that only this ExternalSecret wrote. The operator removes those that it does not write again.
    pub fn keys_of(&self, external_secret: &str) -> impl Iterator<Item = &str> {
        let manager = field_manager(external_secret);
        let own = self.operators.iter().find(|by| by.manager == manager);
        own.into_iter().flat_map(|by| &by.keys).map(String::as_str)
    }

    /// Keeps fingerprints only. The values are wiped when `secret` is dropped.
    pub fn of(secret: wire::Secret, key: &RunKey) -> Self {
        let (edited, writers) = (is_edited(&secret), writers(&secret));
        let operators = operators(&secret);
        let meta = secret.metadata;
        Self {
            data: SecretFingerprints::of(&secret.data, key),
            version: version(&meta, key),
            values: HeldValues::of(&secret.data, key),
            edited,
            controller: meta
                .owner_references
                .into_iter()
                .find(|owner| owner.controller)
                .map(Controller::from),
            r#type: secret.r#type,
            immutable: secret.immutable,
            writers,
            operators,
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
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "other"},
                    {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "es", "controller": true},
                ],
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
            let controller = actual.controller.unwrap();
            assert_eq!(controller.to_string(), "ExternalSecret es");
            assert!(controller.is_external_secret());
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
        let actual = actual(&secret(HASH, "", &managed));
        assert_eq!(actual.keys_of("es").collect::<Vec<_>>(), ["a"]);
        assert_eq!(actual.keys_of("e").count(), 0);
        let names: Vec<String> = actual
            .writers
            .into_iter()
            .map(|writer| format!("{} {}", writer.manager, writer.keys.join(",")))
            .collect();
        assert_eq!(names, ["late username", "early b"]);
    }
}
