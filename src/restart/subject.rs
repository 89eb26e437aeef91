//! One workload with everything that its restart decision depends on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::stamp::{ABSENT, Prints, Stamp, Unreadable};
use crate::{
    key_names::KeyName,
    workload::{Keys, Pod, Pods, Workload},
};

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
    /// The labels in its stamp, by Secret, that are now others.
    pub relabelled: BTreeMap<String, BTreeMap<KeyName, KeyName>>,
    /// Its pods that are not being deleted, or None if its pods were not read.
    pub pods: Option<Vec<Pod>>,
    /// Its pods that are being deleted.
    pub ending: Vec<Pod>,
}

/// A Secret as one workload uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The keys that count.
    pub keys: Keys<KeyName>,
    /// Those of them without which the pods start too.
    pub optional: Option<Keys<KeyName>>,
    /// The data that it holds now.
    pub view: View,
    /// True if it may cause a restart: the policy selects it, and no other tool restarts the workload because of it.
    pub counts: bool,
    /// True if another tool (Stakater Reloader or wave) restarts the workload because of it.
    pub left_to_other: bool,
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
    /// The creation time of the Secret.
    pub created: Option<Timestamp>,
    /// Keys with an empty value.
    pub empty: BTreeSet<KeyName>,
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
    /// Its stamp, if it has one. The names of keys have their present labels.
    pub fn stamp(&self) -> Option<Result<Stamp, Unreadable>> {
        let mut stamp = Stamp::parse(self.workload.stamp.as_deref()?);
        if let Ok(stamp) = &mut stamp {
            let evicting = stamp
                .evicting
                .iter_mut()
                .map(|evicting| &mut evicting.secrets);
            for secrets in evicting.chain([&mut stamp.secrets]) {
                for (secret, labels) in &self.relabelled {
                    let Some(prints) = secrets.get_mut(secret) else {
                        continue;
                    };
                    for (before, now) in labels {
                        if let Some(print) = prints.remove(before) {
                            prints.insert(now.clone(), print);
                        }
                    }
                }
            }
        }
        Some(stamp)
    }

    /// True if its stamp has a name that must not be shown, of a key of a Secret that counts.
    pub fn shows_a_hidden_name(&self) -> bool {
        self.counting().any(|(secret, _)| {
            let mut labels = self.relabelled.get(secret).into_iter().flatten();
            labels.any(|(_, now)| now.shown().is_none())
        })
    }

    /// The Secrets that may cause a restart.
    pub fn counting(&self) -> impl Iterator<Item = (&String, &Concern)> {
        self.secrets.iter().filter(|(_, concern)| concern.counts)
    }

    /// The digests that new pods start with.
    pub fn prints(&self) -> BTreeMap<String, Prints> {
        self.secrets
            .iter()
            .filter_map(|(name, concern)| Some((name.clone(), concern.prints()?)))
            .collect()
    }

    /// Returns the digests with which the pods started, if they certainly started without this Secret: they are older.
    pub fn started_without(&self, concern: &Concern) -> Option<Prints> {
        let created = concern.now()?.created?;
        let started = |pod: &Pod| pod.started.unwrap_or(pod.created);
        let older = self.pods.iter().flatten().any(|pod| started(pod) < created);
        (older && concern.may_be_absent()).then(|| concern.without())
    }

    /// Sets its pods.
    pub fn has(&mut self, pods: Pods) {
        self.pods = Some(pods.live);
        self.ending = pods.ending;
    }

    /// All of its pods that were read.
    pub fn all_pods(&self) -> impl Iterator<Item = &Pod> + Clone {
        self.pods.iter().flatten().chain(&self.ending)
    }

    /// Its pods that the last restart of this stamp has not replaced. They may run with the data from before that restart,
    /// whatever the stamp says.
    pub fn unreplaced(&self, stamp: &Stamp) -> Vec<&Pod> {
        self.all_pods().filter(|pod| stamp.is_old(pod)).collect()
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

    /// True if the pods start without the Secret too.
    pub fn may_be_absent(&self) -> bool {
        self.optional.as_ref() == Some(&self.keys)
    }

    /// The digests of pods that start without the Secret.
    pub fn without(&self) -> Prints {
        match &self.optional {
            Some(Keys::Some(keys)) => keys
                .iter()
                .map(|key| (key.clone(), ABSENT.to_owned()))
                .collect(),
            Some(Keys::All) | None => Prints::new(),
        }
    }

    /// The digests that new pods start with, or None if they do not start, or if the Secret could not be read.
    pub fn prints(&self) -> Option<Prints> {
        match &self.view {
            View::Seen(now) => Some(now.prints.clone()),
            View::Missing => self.may_be_absent().then(|| self.without()),
            View::Unreadable(_) => None,
        }
    }

    /// True if this pod is known to have the current data.
    pub fn is_current_for(&self, pod: &Pod) -> bool {
        let written = self.now().and_then(|now| now.written);
        written.is_some_and(|written| pod.created.duration_since(written) > KUBELET_CACHE)
    }
}
