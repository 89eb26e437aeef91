//! The stamp: what data a workload's pods started with, as keyed digests in an annotation of the workload's own.
//!
//! Never in the pod template: writing it rolls nothing. Each digest is bound to the workload, the Secret and the key, so that
//! equal digests do not tell equal passwords, and a stamp that was copied to another workload says nothing there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use secret::{Buffer, RunKey};
use serde::{Deserialize, Serialize};

use crate::workload::{Keys, Pod, Workload};

/// The form that is written; of a later one nothing is understood.
const VERSION: u32 = 1;

/// Hexadecimal digits of a digest: 64 bits of a keyed digest, of which a change has to hit the very same.
const DIGITS: usize = 16;

/// Restarts are remembered for this long.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The API server takes 256 KiB of annotations in all.
const LARGEST: usize = 128 * 1024;

/// The digests of one Secret's keys, by their names.
pub type Prints = BTreeMap<String, String>;

/// What a workload's pods started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// The form.
    v: u32,
    /// Grows with every write: a smaller one than was seen before is an old stamp that somebody brought back.
    pub seq: u64,
    /// The uid of the workload that it was written for.
    pub of: String,
    /// The id of the key that the digests were made with.
    pub key: String,
    /// The namespace in which that key is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key_in: String,
    /// By Secret.
    pub secrets: BTreeMap<String, Prints>,
    /// Secrets of which nobody knows whether the pods started with that data.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub assumed: BTreeSet<String>,
    /// The restarts of the last day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<Restarted>,
    /// Set while pods are being evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicting: Option<Evicting>,
}

/// A restart that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    /// When.
    pub at: Timestamp,
    /// A digest of all that the stamp then held.
    pub data: String,
}

/// An eviction of all pods that is under way: if the run is killed, the next one goes on with what is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicting {
    /// When the newest of the old pods was created, by the API server's clock, which knows whole seconds only …
    pub since: Timestamp,
    /// … so that the old ones of that second are told by the uid.
    pub last: BTreeSet<String>,
    /// What new pods start with.
    pub secrets: BTreeMap<String, Prints>,
}

impl Evicting {
    /// Evicts these pods.
    pub fn of(pods: &[Pod], secrets: BTreeMap<String, Prints>) -> Self {
        let newest = pods.iter().map(|pod| pod.created).max();
        let since = newest.unwrap_or(Timestamp::UNIX_EPOCH);
        let last = pods.iter().filter(|pod| pod.created == since);
        Self {
            since,
            last: last.map(|pod| pod.uid.clone()).collect(),
            secrets,
        }
    }

    /// Whether this pod has to go.
    pub fn covers(&self, pod: &Pod) -> bool {
        pod.created < self.since || (pod.created == self.since && self.last.contains(&pod.uid))
    }
}

/// Why an annotation is no stamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It was written by another version.
    #[error("it is of version {0}, and this eso-sync knows version {VERSION}")]
    Version(u32),
    /// It is something else.
    #[error("it is no stamp")]
    Form,
}

impl Stamp {
    /// The first stamp of a workload.
    pub fn new(workload: &Workload, key: &StampKey) -> Self {
        Self {
            v: VERSION,
            seq: 1,
            of: workload.uid.clone(),
            key: key.id.clone(),
            key_in: key.home.clone(),
            secrets: BTreeMap::new(),
            assumed: BTreeSet::new(),
            restarts: Vec::new(),
            evicting: None,
        }
    }

    /// Reads an annotation.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        let Versioned { v } = serde_json::from_str(text).map_err(|_| Unreadable::Form)?;
        if v != VERSION {
            return Err(Unreadable::Version(v));
        }
        serde_json::from_str(text).map_err(|_| Unreadable::Form)
    }

    /// As it is written; None where it would not fit into an annotation.
    pub fn to_text(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        (text.len() <= LARGEST).then_some(text)
    }

    /// Notes a restart; those of before the last day are forgotten.
    pub fn note_restart(&mut self, at: Timestamp, key: &StampKey) {
        self.restarts
            .retain(|restart| at.duration_since(restart.at) < DAY);
        let data = key.digest_of(&self.of, &self.secrets);
        self.restarts.push(Restarted { at, data });
    }
}

/// A key that stamps are made with: one for all of a cluster, unless somebody keeps another elsewhere.
pub struct StampKey {
    key: RunKey,
    /// Tells keys apart, and nothing of the key.
    pub id: String,
    /// The namespace in which it is kept.
    pub home: String,
}

impl StampKey {
    /// From its bytes, which are wiped.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let key = RunKey::from_bytes(bytes);
        let id = start(&key, &[b"id"], 12);
        let home = String::new();
        Self { key, id, home }
    }

    /// The same, kept there.
    #[must_use]
    pub fn kept_in(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.home);
        self
    }

    /// The digest of a value, for this workload.
    fn print(&self, workload: &str, secret: &str, name: &str, value: &[u8]) -> String {
        let fields = [
            b"value",
            workload.as_bytes(),
            secret.as_bytes(),
            name.as_bytes(),
            value,
        ];
        start(&self.key, &fields, DIGITS)
    }

    /// The digests of the keys that this workload uses.
    pub fn prints<'a>(
        &self,
        workload: &str,
        secret: &str,
        keys: &Keys,
        data: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Prints {
        data.filter(|(name, _)| keys.covers(name))
            .map(|(name, value)| (name.to_owned(), self.print(workload, secret, name, value)))
            .collect()
    }

    /// A short digest of all data of a workload.
    pub fn digest_of(&self, workload: &str, secrets: &BTreeMap<String, Prints>) -> String {
        let text = serde_json::to_vec(secrets).unwrap_or_default();
        start(&self.key, &[b"data", workload.as_bytes(), &text], 8)
    }
}

/// The first digits of the keyed digest of these fields.
fn start(key: &RunKey, fields: &[&[u8]], digits: usize) -> String {
    let length = fields.iter().map(|field| field.len() + 8).sum();
    let mut message = Buffer::with_capacity(length);
    for field in fields {
        // With its length, so that no two lists of fields are the same bytes.
        message.push(&(field.len() as u64).to_be_bytes());
        message.push(field);
    }
    let mut text = key.fingerprint(message.as_bytes()).hex();
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(key: &StampKey, workload: &str, secret: &str) -> Prints {
        let data: [(&str, &[u8]); 2] = [("password", b"hunter2"), ("user", b"hunter2")];
        key.prints(workload, secret, &Keys::All, data.into_iter())
    }

    #[test]
    fn equal_values_have_equal_digests_only_in_the_same_place() {
        let [key, other] = [1, 2].map(|byte| StampKey::from_bytes([byte; 32]));
        let here = prints(&key, "uid-1", "db");
        assert_eq!(here, prints(&key, "uid-1", "db"));
        assert_ne!(here["password"], here["user"]);
        for elsewhere in [
            prints(&key, "uid-2", "db"),
            prints(&key, "uid-1", "db2"),
            prints(&other, "uid-1", "db"),
        ] {
            assert_ne!(here["password"], elsewhere["password"]);
        }
        assert_ne!(key.id, other.id);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = StampKey::from_bytes([7; 32]);
        assert_ne!(
            key.print("a", "bc", "k", b"v"),
            key.print("ab", "c", "k", b"v")
        );
        assert_ne!(
            key.print("a", "b", "k", b"vw"),
            key.print("a", "b", "kv", b"w")
        );
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        for text in ["", "{}", "true", "{\"v\":1}", "{\"v\":\"1\"}"] {
            assert_eq!(Stamp::parse(text), Err(Unreadable::Form), "{text}");
        }
        assert_eq!(
            Stamp::parse("{\"v\":2,\"new\":true}"),
            Err(Unreadable::Version(2))
        );
    }
}
