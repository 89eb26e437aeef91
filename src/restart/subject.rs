//! One workload with everything that its restart decision depends on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::stamp::{Prints, Stamp};
use crate::workload::{Keys, Pod, Workload};

/// Pods created this long after the last write of a Secret have its current data. The cache of a kubelet is never older.
const KUBELET_CACHE: SignedDuration = SignedDuration::from_mins(1);

/// A workload that a rule covers, with its Secrets and pods.
#[derive(Clone, Debug)]
pub struct Subject {
    pub workload: Workload,
    /// The index of its rule.
    pub rule: usize,
    /// The Secrets that the rule considers, and those in the stamp.
    pub secrets: BTreeMap<String, Concern>,
    /// Its pods, or None if they were not read.
    pub pods: Option<Vec<Pod>>,
}

/// A Secret as one workload uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The keys that count.
    pub keys: Keys,
    /// The data that it holds now.
    pub view: View,
    /// True if it may cause a restart: the policy selects it, and no other tool restarts the workload because of it.
    pub counts: bool,
    /// True if Stakater Reloader restarts the workload because of it.
    pub left_to_reloader: bool,
    /// Facts from its annotations and data.
    pub found: Found,
}

/// Facts about a Secret that were found when it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// True if the data matches the operator's own digest on the Secret. None if unknown.
    pub intact: Option<bool>,
    /// True if its data differs from the data that was in sync.
    pub changed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    Seen(Now),
    Missing,
    /// It could not be read, for this reason.
    Unreadable(String),
}

/// The current data of a Secret for one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The digests of the keys that the workload uses.
    pub prints: Prints,
    /// Keys with an empty value.
    pub empty: BTreeSet<String>,
    /// The time of the last write of any kind, or None if unknown.
    pub written: Option<Timestamp>,
}

/// The verification state of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It fulfils `require` of the rule.
    Verified,
    /// The run has not synced it yet.
    Pending,
    /// It was edited by someone other than the operator.
    Tampered,
    /// Not verified, for this reason.
    Unverified(String),
}

impl Subject {
    /// The Secrets that may cause a restart.
    pub fn counting(&self) -> impl Iterator<Item = (&String, &Concern)> {
        self.secrets.iter().filter(|(_, concern)| concern.counts)
    }

    /// The current digests of all Secrets that were read.
    pub fn prints(&self) -> BTreeMap<String, Prints> {
        self.secrets
            .iter()
            .filter_map(|(name, concern)| Some((name.clone(), concern.now()?.prints.clone())))
            .collect()
    }

    /// Pods that a partition excluded from this stamp's last restart. Newer pods have the data, even if another rollout
    /// excludes them.
    pub fn excluded_pods(&self, stamp: &Stamp) -> Vec<&Pod> {
        let last = stamp.restarts.last();
        let pods = self.pods.iter().flatten();
        let kept = pods.filter(|pod| {
            self.workload.keeps(pod) && last.is_some_and(|last| pod.created < last.at)
        });
        kept.collect()
    }

    /// True if all of its pods were created well after the last write of this Secret. False without pods.
    pub fn is_current(&self, concern: &Concern) -> bool {
        let mut pods = self.pods.iter().flatten().peekable();
        pods.peek().is_some() && pods.all(|pod| concern.is_current_for(pod))
    }
}

impl Concern {
    /// The current data, if it was read.
    pub fn now(&self) -> Option<&Now> {
        match &self.view {
            View::Seen(now) => Some(now),
            View::Missing | View::Unreadable(_) => None,
        }
    }

    /// True if this pod is known to have the current data.
    pub fn is_current_for(&self, pod: &Pod) -> bool {
        let written = self.now().and_then(|now| now.written);
        written.is_some_and(|written| pod.created.duration_since(written) > KUBELET_CACHE)
    }
}
