//! The stamp: keyed digests of the data that a workload's pods started with, in an annotation of the workload.
//!
//! The annotation is not in the pod template, so writing it starts no rollout. Each digest depends on the workload, the Secret
//! and the key, so that equal digests do not reveal equal passwords and a copied stamp is useless.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use secret::{Buffer, RunKey};
use serde::{Deserialize, Serialize};

use crate::{
    key_names::{KeyName, Names},
    workload::{Keys, Pod, Workload},
};

/// The format version. Other versions are not read.
const VERSION: u32 = 1;

/// Hexadecimal digits of a digest: 64 bits. A change stays undetected only on a collision.
const DIGITS: usize = 16;

/// How long restarts are kept in the stamp.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The limit for one stamp. The API server allows 256 KiB for all annotations.
const LARGEST: usize = 128 * 1024;

/// The digests of a Secret's values, by key. [`ABSENT`] for a key without which the pods started. A digest takes the place of a
/// name that is not shown.
pub type Prints = BTreeMap<KeyName, String>;

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

    /// The key itself, for other digests of this process.
    pub const fn run_key(&self) -> &RunKey {
        &self.key
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

    /// A short digest of all data of a workload. Each print depends on the key's name, so the labels, which may differ between
    /// runs, do not matter.
    pub fn digest_of(&self, workload: &str, secrets: &BTreeMap<String, Prints>) -> String {
        let sorted = |prints: &Prints| {
            let mut prints: Vec<String> = prints.values().cloned().collect();
            prints.sort_unstable();
            prints
        };
        let secrets: BTreeMap<&String, Vec<String>> = secrets
            .iter()
            .map(|(name, prints)| (name, sorted(prints)))
            .collect();
        let text = serde_json::to_vec(&secrets).unwrap_or_default();
        start(&self.key, &[b"data", workload.as_bytes(), &text], 8)
    }
}

/// The keys of one Secret in the stamp of one workload.
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    pub key: &'a StampKey,
    /// The uid of the workload.
    pub workload: &'a str,
    pub secret: &'a str,
    /// The rule for the names.
    pub names: &'a Names,
}

impl Labels<'_> {
    /// The name, or a digest of it if it is not shown.
    pub fn of(self, name: &str) -> KeyName {
        self.names.labelled(name, || self.digest(name))
    }

    /// The keys of a workload.
    pub fn of_all(self, keys: &Keys) -> Keys<KeyName> {
        match keys {
            Keys::All => Keys::All,
            Keys::Some(keys) => Keys::Some(keys.iter().map(|name| self.of(name)).collect()),
        }
    }

    /// The digests of these of the keys.
    pub fn prints<'d>(
        self,
        keys: &Keys<KeyName>,
        data: impl Iterator<Item = (&'d str, &'d [u8])>,
    ) -> Prints {
        let all = data.map(|(name, value)| {
            let print = self.key.print(self.workload, self.secret, name, value);
            (self.of(name), print)
        });
        all.filter(|(name, _)| keys.covers(name)).collect()
    }

    /// Returns what the labels in a stamp are now, as far as it differs: an earlier run may have had another rule. `data` has the
    /// names that the Secret has now.
    pub fn renewed<'d>(
        self,
        stamped: &Prints,
        data: impl Iterator<Item = &'d str>,
    ) -> BTreeMap<KeyName, KeyName> {
        let mut renewed = BTreeMap::new();
        for label in stamped.keys() {
            if let Some(name) = label.shown() {
                renewed.insert(label.clone(), self.of(name));
            }
        }
        if renewed.len() < stamped.len() {
            for name in data {
                renewed.insert(KeyName::hidden(&self.digest(name)), self.of(name));
            }
        }
        renewed.retain(|before, now| before != now && stamped.contains_key(before));
        renewed
    }

    fn digest(self, name: &str) -> String {
        let fields = [
            b"name",
            self.workload.as_bytes(),
            self.secret.as_bytes(),
            name.as_bytes(),
        ];
        start(&self.key.key, &fields, DIGITS)
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
    use eso_model::expected::SpecNames;

    use super::*;
    use crate::policy::KeyNames;

    fn labels<'a>(
        key: &'a StampKey,
        workload: &'a str,
        secret: &'a str,
        names: &'a Names,
    ) -> Labels<'a> {
        Labels {
            key,
            workload,
            secret,
            names,
        }
    }

    fn prints(key: &StampKey, workload: &str, secret: &str) -> Prints {
        let data: [(&str, &[u8]); 2] = [("password", b"hunter2"), ("user", b"hunter2")];
        labels(key, workload, secret, &Names::default()).prints(&Keys::All, data.into_iter())
    }

    #[test]
    fn equal_values_have_equal_digests_only_in_the_same_place() {
        let [key, other] = [1, 2].map(|byte| StampKey::from_bytes([byte; 32]));
        let here = prints(&key, "uid-1", "db");
        let password = KeyName::from("password");
        assert_eq!(here, prints(&key, "uid-1", "db"));
        assert_ne!(here[&password], here[&"user".into()]);
        for elsewhere in [
            prints(&key, "uid-2", "db"),
            prints(&key, "uid-1", "db2"),
            prints(&other, "uid-1", "db"),
        ] {
            assert_ne!(here[&password], elsewhere[&password]);
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
    fn label_of_a_hidden_name_follows_the_rule_of_each_run() {
        let key = StampKey::from_bytes([7; 32]);
        let (shown, hidden) = (
            Names::default(),
            Names::new(KeyNames::None, SpecNames::default()),
        );
        let (open, closed) = (
            labels(&key, "uid-1", "db", &shown),
            labels(&key, "uid-1", "db", &hidden),
        );
        let data = || [("gone", &b"1"[..]), ("user", &b"2"[..])].into_iter();
        let (before, after) = (
            open.prints(&Keys::All, data()),
            closed.prints(&Keys::All, data()),
        );
        assert!(after.keys().all(|name| name.shown().is_none()));
        let digest = |prints: &Prints| {
            key.digest_of(
                "uid-1",
                &BTreeMap::from([("db".to_owned(), prints.clone())]),
            )
        };
        assert_eq!(digest(&before), digest(&after));
        // The Secret has the key `user` only.
        let now = || ["user"].into_iter();
        let closing = closed.renewed(&before, now());
        assert_eq!(
            closing,
            BTreeMap::from([
                ("gone".into(), closed.of("gone")),
                ("user".into(), closed.of("user"))
            ])
        );
        assert_eq!(
            open.renewed(&after, now()),
            BTreeMap::from([(closed.of("user"), "user".into())])
        );
        assert!(
            open.renewed(&before, now()).is_empty() && closed.renewed(&after, now()).is_empty()
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
