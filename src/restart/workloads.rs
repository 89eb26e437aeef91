//! The workloads that the `restart` rules cover, as discovery read them. Input for the plan and the conditions of restarts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    decide::Context, known::Known, others::Others, stamp::StampKey, subject::Subject,
    targets::Targets,
};
use crate::{
    inventory::Gap,
    reason::Reason,
    workload::{Kind, WorkloadId},
};

/// Workloads that could not be listed or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// The kind, or None for all.
    pub kind: Option<Kind>,
    /// The namespace, or None for all.
    pub namespace: Option<String>,
    pub reason: Reason,
    /// Details for people.
    pub why: String,
}

/// The workloads that the rules cover, with everything that their restarts depend on.
#[derive(Default)]
pub struct Workloads {
    /// One for each workload that a rule covers, sorted.
    pub subjects: Vec<Subject>,
    /// All existing workloads of the kinds and namespaces that were listed completely.
    pub present: BTreeSet<WorkloadId>,
    /// The complete lists: kind, and namespace or None for all.
    pub listed: Vec<(Kind, Option<String>)>,
    /// The lists that failed.
    pub unseen: Vec<Unseen>,
    /// The same as messages for the report.
    pub gaps: Vec<Gap>,
    /// The Secrets that the workloads were searched for.
    pub targets: Targets,
    /// The stamp keys and the list of stamped workloads. None if there are no restart rules or the key could not be read.
    pub stamps: Option<Stamps>,
}

/// The stamp keys, and the workloads that have a stamp.
pub struct Stamps {
    /// The stamp keys.
    pub keeper: Keeper,
    /// The workloads that were stamped before.
    pub known: Known,
}

/// The stamp key and its namespace.
pub struct Keeper {
    pub key: StampKey,
    /// Keys of other installations.
    pub others: Others,
    /// The namespace of the Secret.
    pub namespace: String,
    /// True if the Secret exists. If false, the key is a temporary one that made no stamp.
    pub kept: bool,
}

/// Options for restarts that are not part of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The namespace of the stamp key and the list of stamped workloads, if one is given.
    pub lock_namespace: Option<String>,
    /// Creates missing or unreadable stamps again.
    pub adopt_anew: bool,
    /// Also restarts unhealthy workloads and those that were restarted too often or too recently. Unhealthy workloads do not
    /// stop their namespace.
    pub retry: bool,
}

impl Keeper {
    /// Returns a warning if stamps were made with another installation's key, because that installation uses another lock. It
    /// recommends no namespace: everyone who can edit a workload can write any namespace into its stamp.
    pub fn foreign_keys_warning(&self) -> Option<String> {
        let namespaces: BTreeSet<&str> = self.others.namespaces().collect();
        if namespaces.is_empty() {
            return None;
        }
        let all: Vec<&str> = namespaces.into_iter().collect();
        Some(format!(
            "workloads have stamps that another installation made, with a key in a namespace that this run does not use ({}). They are \
             compared with that key, but its lock is not this run's. Find out who runs there: all runs in a cluster should use one namespace",
            all.join(", ")
        ))
    }
}

impl Stamps {
    /// Returns the inputs that all decisions share, before the first sync.
    pub fn context<'a>(
        &'a self,
        targets: &'a Targets,
        options: &Options,
        now: Timestamp,
    ) -> Context<'a> {
        Context {
            key: &self.keeper.key,
            others: &self.keeper.others,
            known: &self.known,
            targets,
            now,
            adopt_anew: options.adopt_anew,
            retry: options.retry,
        }
    }
}

impl Unseen {
    /// True if this workload may be one of them.
    fn may_be(&self, id: &WorkloadId) -> bool {
        self.kind.is_none_or(|kind| kind == id.kind) && self.is_in(&id.namespace)
    }

    /// True if some of them may be in this namespace.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|of| of == namespace)
    }
}

impl Workloads {
    /// The stamp key, if it is known.
    pub fn key(&self) -> Option<&StampKey> {
        self.stamps.as_ref().map(|stamps| &stamps.keeper.key)
    }

    /// True if the stamp key is only a temporary one, so no stamp may be written with it.
    pub fn lack_a_key(&self) -> bool {
        self.stamps
            .as_ref()
            .is_some_and(|stamps| !stamps.keeper.kept)
    }

    pub fn by_id(&self) -> BTreeMap<&WorkloadId, &Subject> {
        self.subjects
            .iter()
            .map(|subject| (&subject.workload.id, subject))
            .collect()
    }

    /// Why this workload could not be read, if so.
    pub fn unseen(&self, id: &WorkloadId) -> Option<&Unseen> {
        self.unseen.iter().find(|unseen| unseen.may_be(id))
    }

    /// True if this workload would have been listed if it existed.
    pub fn was_listed(&self, id: &WorkloadId) -> bool {
        self.listed.iter().any(|(kind, namespace)| {
            *kind == id.kind
                && namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == id.namespace)
        })
    }
}
