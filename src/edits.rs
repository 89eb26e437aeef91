//! Detects edits of a target Secret, and the field managers that made them.

use std::cmp::Reverse;

use cluster::wire::Secret;
use eso_model::{DATA_HASH, digest::FIELD_MANAGERS, expected::matches_recorded_hash};
use jiff::Timestamp;
use serde_json::Value as Json;

/// A field manager other than the operator that wrote data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    pub manager: String,
    /// The time of its last write.
    pub time: Option<Timestamp>,
    /// The keys that it owns.
    pub keys: Vec<String>,
}

/// True if the Secret was edited since the operator wrote it; None if unknown.
pub fn is_edited(secret: &Secret) -> Option<bool> {
    let recorded = secret.metadata.annotations.get(DATA_HASH)?;
    let recorded = std::str::from_utf8(recorded.expose()).ok()?;
    let fits = matches_recorded_hash(recorded, &secret.data)?;
    let md5 = recorded.len() == 32;
    // Operators before v0.11 included removed keys in the hash, so a mismatch alone proves nothing.
    if !fits && md5 && writers(secret).is_empty() {
        return None;
    }
    Some(!fits)
}

/// The field managers other than the operator that wrote data, the latest first.
pub fn writers(secret: &Secret) -> Vec<Writer> {
    managers(secret, |manager| !is_operator(manager))
}

/// The field managers of the operator that wrote data: one for each ExternalSecret.
pub fn operators(secret: &Secret) -> Vec<Writer> {
    managers(secret, |manager| manager.starts_with(FIELD_MANAGERS))
}

fn managers(secret: &Secret, wanted: impl Fn(&str) -> bool) -> Vec<Writer> {
    let entries = secret.metadata.managed_fields.iter();
    let mut writers: Vec<Writer> = entries
        .filter_map(|entry| {
            let manager = entry.get("manager")?.as_str()?;
            let data = entry.get("fieldsV1")?.get("f:data")?.as_object()?;
            wanted(manager).then(|| Writer {
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
    writers.sort_by_key(|writer| Reverse(writer.time));
    writers
}

/// The operator uses one field manager per ExternalSecret. Before v0.11 it used the name of its program.
fn is_operator(manager: &str) -> bool {
    manager.starts_with(FIELD_MANAGERS) || manager == "external-secrets"
}
