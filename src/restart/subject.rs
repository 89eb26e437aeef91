//! What is known of one workload when it is decided about.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::stamp::{Prints, Stamp};
use crate::workload::{Keys, Pod, Workload};

/// Pods that were created this long after a Secret was last written have read it as it is: no cache of a kubelet is older.
const WELL_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// A workload that a rule covers, with all that its restart depends on.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The workload.
    pub workload: Workload,
    /// The index of the rule that decides about it.
    pub rule: usize,
    /// The Secrets that concern it, and those that stand in its stamp.
    pub secrets: BTreeMap<String, Concern>,
    /// Its pods, where they have a say; None: not looked at.
    pub pods: Option<Vec<Pod>>,
}

/// A Secret as it concerns one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The keys that count.
    pub keys: Keys,
    /// What it holds now.
    pub view: View,
    /// Whether it may decide about a restart: the policy selects it, and nobody else restarts on it.
    pub counts: bool,
    /// Whether Stakater Reloader restarts the workload on it.
    pub left_to_reloader: bool,
    /// What it says of itself.
    pub found: Found,
}

/// What a Secret says of itself, as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether it holds what the operator's own digest on it was made of; None where that is not known.
    pub intact: Option<bool>,
    /// Whether it holds other data than that which is known to be in sync.
    pub changed: bool,
}

/// What a Secret holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// It was read.
    Seen(Now),
    /// It does not exist.
    Missing,
    /// It could not be read.
    Unreadable(String),
}

/// What one workload gets from a Secret now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The digests of the keys that it uses.
    pub prints: Prints,
    /// Keys without a value.
    pub empty: BTreeSet<String>,
    /// When the Secret was last written in any way; None where nobody knows.
    pub written: Option<Timestamp>,
}

/// Whether a Secret is as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is, as the rule demands it.
    Verified,
    /// The run has not come to that yet.
    Pending,
    /// Somebody edited it.
    Tampered,
    /// It is not known to be.
    Unverified(String),
}

impl Subject {
    /// The Secrets that may decide.
    pub fn counting(&self) -> impl Iterator<Item = (&String, &Concern)> {
        self.secrets.iter().filter(|(_, concern)| concern.counts)
    }

    /// What it uses now of everything that was read.
    pub fn prints(&self) -> BTreeMap<String, Prints> {
        self.secrets
            .iter()
            .filter_map(|(name, concern)| Some((name.clone(), concern.now()?.prints.clone())))
            .collect()
    }

    /// The pods that a partition kept as they were when this stamp's last restart was made. One that came since, and is held back
    /// by somebody else's rollout, has the data.
    pub fn kept_back(&self, stamp: &Stamp) -> Vec<&Pod> {
        let last = stamp.restarts.last();
        let pods = self.pods.iter().flatten();
        let kept = pods.filter(|pod| {
            self.workload.keeps(pod) && last.is_some_and(|last| pod.created < last.at)
        });
        kept.collect()
    }

    /// Whether all of its pods were created well after this Secret was last written. Without pods nothing is known.
    pub fn is_current(&self, concern: &Concern) -> bool {
        let mut pods = self.pods.iter().flatten().peekable();
        pods.peek().is_some() && pods.all(|pod| concern.is_had_by(pod))
    }
}

impl Concern {
    /// What it holds, where it was read.
    pub fn now(&self) -> Option<&Now> {
        match &self.view {
            View::Seen(now) => Some(now),
            View::Missing | View::Unreadable(_) => None,
        }
    }

    /// Whether this pod is known to have read it as it is.
    pub fn is_had_by(&self, pod: &Pod) -> bool {
        let written = self.now().and_then(|now| now.written);
        written.is_some_and(|written| pod.created.duration_since(written) > WELL_AFTER)
    }
}
