//! The stamp: keyed digests of the data that a workload's pods started with, in an annotation of the workload.
//!
//! The annotation is not in the pod template, so writing it starts no rollout. Each digest depends on the workload, the Secret
//! and the key, so that equal digests do not reveal equal passwords and a copied stamp is useless.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use secret::{Buffer, RunKey};
use serde::{Deserialize, Serialize};

use crate::workload::{Keys, Pod, Workload};

/// The format version. Other versions are not read.
const VERSION: u32 = 1;

/// Hexadecimal digits of a digest: 64 bits. A change stays undetected only on a collision.
const DIGITS: usize = 16;

/// How long restarts are kept in the stamp.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The limit for one stamp. The API server allows 256 KiB for all annotations.
const LARGEST: usize = 128 * 1024;

/// The digests of a Secret's values, by key. [`ABSENT`] for a key without which the pods started.
pub type Prints = BTreeMap<String, String>;

/// Takes the place of a digest if there was no value.
pub const ABSENT: &str = "";

/// The data that a workload's pods started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// The format version.
    v: u32,
    /// Grows with every write. A smaller number than the last one means that an old stamp was restored.
    pub seq: u64,
    /// The uid of the workload.
    pub of: String,
    /// The id of the key that made the digests.
    pub key: String,
    /// The namespace of that key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key_in: String,
    pub secrets: BTreeMap<String, Prints>,
    /// Secrets for which it is unknown whether the pods started with this data.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub assumed: BTreeSet<String>,
    /// The restarts of the last day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<Restarted>,
    /// Set while pods are being evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicting: Option<Evicting>,
}

/// A restart in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    /// The time of the restart, by this program's clock. Only for intervals between restarts.
    pub at: Timestamp,
    /// A digest of all data in the stamp at that time.
    pub data: String,
    /// The value that the restart wrote to the pod template, or to a Rollout's `restartAt`. Only in the last restart, and not
    /// for an eviction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrote: Option<String>,
    /// The pods that the restart has to replace. Only in the last restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<OldPods>,
}

impl Restarted {
    /// True if the workload no longer holds the value that the restart wrote, nor that of a later restart.
    pub fn is_taken_back(&self, workload: &Workload) -> bool {
        let Some(wrote) = &self.wrote else {
            return false;
        };
        let Some(now) = &workload.restarted else {
            return true;
        };
        match (now.parse::<Timestamp>(), wrote.parse::<Timestamp>()) {
            (Ok(now), Ok(wrote)) => now < wrote,
            _ => now != wrote,
        }
    }
}

/// The pods that existed at a certain time, by the API server's clock and the uids of the newest ones.
///
/// A pod that is created later starts with the data of that time or newer data, whatever its template is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldPods {
    /// The creation time of the newest pod, in whole seconds.
    pub since: Timestamp,
    /// The uids of the pods created in that second.
    pub last: BTreeSet<String>,
}

impl OldPods {
    /// These pods. None if there are none.
    pub fn of<'a>(pods: impl Iterator<Item = &'a Pod> + Clone) -> Option<Self> {
        let since = pods.clone().map(|pod| pod.created).max()?;
        let last = pods.filter(|pod| pod.created == since);
        Some(Self {
            since,
            last: last.map(|pod| pod.uid.clone()).collect(),
        })
    }

    /// True if this pod is one of them.
    pub fn covers(&self, pod: &Pod) -> bool {
        pod.created < self.since || (pod.created == self.since && self.last.contains(&pod.uid))
    }
}

/// An eviction in progress. If the run is killed, the next run continues with the remaining pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicting {
    /// The pods to evict. None if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<OldPods>,
    /// The data that the new pods start with.
    pub secrets: BTreeMap<String, Prints>,
}

impl Evicting {
    /// True if this pod is to be evicted.
    pub fn covers(&self, pod: &Pod) -> bool {
        self.old.as_ref().is_some_and(|old| old.covers(pod))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another format version.
    #[error("its version is {0}, but this eso-sync supports version {VERSION}")]
    Version(u32),
    /// Not a stamp.
    #[error("it is not a valid stamp")]
    Form,
}

impl Stamp {
    /// The first stamp of a workload, without data.
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

    /// Parses the annotation.
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

    /// The annotation's text, or None if it is too long.
    pub fn to_text(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        (text.len() <= LARGEST).then_some(text)
    }

    /// Records a restart and removes those older than a day. `wrote` and `old` are as in [`Restarted`].
    pub fn record_restart(
        &mut self,
        at: Timestamp,
        key: &StampKey,
        wrote: Option<String>,
        old: Option<OldPods>,
    ) {
        self.restarts
            .retain(|restart| at.duration_since(restart.at) < DAY);
        for earlier in &mut self.restarts {
            (earlier.wrote, earlier.old) = (None, None);
        }
        let data = key.digest_of(&self.of, &self.secrets);
        self.restarts.push(Restarted {
            at,
            data,
            wrote,
            old,
        });
    }

    /// True if this pod existed before the last restart, which has to replace it.
    pub fn is_old(&self, pod: &Pod) -> bool {
        let last = self.restarts.last();
        last.and_then(|last| last.old.as_ref())
            .is_some_and(|old| old.covers(pod))
    }

    /// True if the last restart was taken back.
    pub fn is_taken_back(&self, workload: &Workload) -> bool {
        self.restarts
            .last()
            .is_some_and(|last| last.is_taken_back(workload))
    }
}

/// A key that makes stamps. Usually there is one per cluster.
pub struct StampKey {
    key: RunKey,
    /// Identifies the key without revealing it.
    pub id: String,
    /// The namespace of its Secret.
    pub home: String,
}

impl StampKey {
    /// Creates a key from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let key = RunKey::from_bytes(bytes);
        let id = start(&key, &[b"id"], 12);
        let home = String::new();
        Self { key, id, home }
    }

    /// Sets the namespace of the key.
    #[must_use]
    pub fn kept_in(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.home);
        self
    }

    /// The digest of one value.
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
        // Each field has a length prefix, so that different lists never have the same bytes.
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
    fn fields_with_equal_concatenation_have_different_digests() {
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
    fn an_invalid_stamp_is_rejected() {
        for text in ["", "{}", "true", "{\"v\":1}", "{\"v\":\"1\"}"] {
            assert_eq!(Stamp::parse(text), Err(Unreadable::Form), "{text}");
        }
        assert_eq!(
            Stamp::parse("{\"v\":2,\"new\":true}"),
            Err(Unreadable::Version(2))
        );
    }
}
