//! The target Secret, as far as it may be kept: fingerprints in place of values, and who wrote it.

use std::{fmt, sync::Arc};

use cluster::wire;
use eso_model::{
    DATA_HASH,
    expected::{Held, is_as_hashed},
};
use jiff::Timestamp;
use secret::{Fingerprint, RunKey};
use serde_json::Value as Json;

/// A Secret.
#[derive(Clone)]
pub struct Actual {
    /// What it holds.
    pub data: Held,
    /// Whether it was edited since the operator wrote it; None where that cannot be told.
    pub edited: Option<bool>,
    /// The ExternalSecret that controls it.
    pub owner: Option<String>,
    /// Whether the API server refuses changes of its data.
    pub immutable: bool,
    /// Who else has written data, the last one first.
    pub writers: Vec<Writer>,
}

/// Somebody other than the operator who wrote data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The field manager.
    pub manager: String,
    /// When it last wrote.
    pub time: Option<Timestamp>,
    /// The keys that are its.
    pub keys: Vec<String>,
}

/// The target of an ExternalSecret, as it was found.
pub enum Target {
    /// It is there.
    There(Actual),
    /// There is none.
    Absent,
    /// It could not be read, for this reason.
    Unread(String),
}

/// What a Secret held as it was judged: it tells whether it still does.
#[derive(Clone)]
pub struct Judged {
    data: Fingerprint,
    key: Arc<RunKey>,
}

impl Judged {
    /// What was found there; None where nothing was.
    pub fn of(target: &Target, key: &Arc<RunKey>) -> Option<Self> {
        match target {
            Target::There(actual) => Some(Self {
                data: actual.data.digest(key),
                key: key.clone(),
            }),
            Target::Absent | Target::Unread(_) => None,
        }
    }

    /// Whether this Secret holds the same.
    pub fn fits(&self, secret: &wire::Secret) -> bool {
        Held::of(&secret.data, &self.key).digest(&self.key) == self.data
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}

impl PartialEq for Judged {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for Judged {}

impl Actual {
    /// Takes what may be kept; the values are wiped with `secret`.
    pub fn of(secret: wire::Secret, key: &RunKey) -> Self {
        let edited = is_edited(&secret);
        let meta = secret.metadata;
        let writers = writers(&meta.managed_fields);
        Self {
            data: Held::of(&secret.data, key),
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

/// Whether a Secret was edited since the operator wrote it; None where that cannot be told.
pub fn is_edited(secret: &wire::Secret) -> Option<bool> {
    let recorded = secret.metadata.annotations.get(DATA_HASH)?;
    let recorded = std::str::from_utf8(recorded.expose()).ok()?;
    let fits = is_as_hashed(recorded, &secret.data)?;
    let md5 = recorded.len() == 32;
    // Operators before v0.11 recorded keys too that they had removed: that it does not fit proves nothing alone.
    if !fits && md5 && writers(&secret.metadata.managed_fields).is_empty() {
        return None;
    }
    Some(!fits)
}

fn writers(managed_fields: &[Json]) -> Vec<Writer> {
    let mut writers: Vec<Writer> = managed_fields
        .iter()
        .filter_map(|entry| {
            let manager = entry.get("manager")?.as_str()?;
            let data = entry.get("fieldsV1")?.get("f:data")?.as_object()?;
            (!is_operator(manager)).then(|| Writer {
                manager: manager.to_owned(),
                time: entry
                    .get("time")
                    .and_then(Json::as_str)
                    .and_then(|time| time.parse().ok()),
                keys: data
                    .keys()
                    .filter_map(|field| Some(field.strip_prefix("f:")?.to_owned()))
                    .collect(),
            })
        })
        .collect();
    writers.sort_by_key(|writer| std::cmp::Reverse(writer.time));
    writers
}

/// The operator writes under a name for each ExternalSecret; before v0.11 under that of its program.
fn is_operator(manager: &str) -> bool {
    manager.starts_with("externalsecrets.external-secrets.io/") || manager == "external-secrets"
}

#[cfg(test)]
mod tests {
    use eso_model::DATA_HASH;
    use serde_json::json;

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
    fn an_edit_shows_in_the_operators_hash() {
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
    fn other_data_is_not_what_was_judged() {
        let key = Arc::new(RunKey::from_bytes([3; 32]));
        let read = |secret: &Json| serde_json::from_value::<wire::Secret>(secret.clone()).unwrap();
        let of = |data: &Json| read(&json!({"data": data}));
        let data = json!({"user": "YWRtaW4=", "password": "czNjcjN0"});
        let target = Target::There(Actual::of(of(&data), &key));
        let judged = Judged::of(&target, &key).unwrap();
        let mut written_again = of(&data);
        written_again.metadata.resource_version = "2".to_owned();
        assert!(judged.fits(&written_again));
        for other in [
            json!({"user": "YWRtaW4=", "password": "YWRtaW4="}),
            json!({"user": "YWRtaW4="}),
            json!({"user": "czNjcjN0", "password": "YWRtaW4="}),
            json!({}),
        ] {
            assert!(!judged.fits(&of(&other)), "{other}");
        }
        assert!(Judged::of(&Target::Absent, &key).is_none());
    }

    #[test]
    fn those_who_wrote_data_are_named_the_last_one_first() {
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
