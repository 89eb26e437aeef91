//! The workloads that the rules of `restart` cover, as they were read: what the plan and the conditions of restarts are decided from.
//! Pure.

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

/// Workloads that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Of which kind; None: of all.
    pub kind: Option<Kind>,
    /// In which namespace; None: in all.
    pub namespace: Option<String>,
    /// In a word.
    pub reason: Reason,
    /// For people.
    pub why: String,
}

/// What was read of the workloads that the rules cover, and of all that their restarts depend on.
#[derive(Default)]
pub struct Workloads {
    /// Every workload that a rule covers, in order.
    pub subjects: Vec<Subject>,
    /// Every workload that there is, of the kinds and namespaces that were listed in full.
    pub present: BTreeSet<WorkloadId>,
    /// The lists that were read in full: kind, and namespace or all.
    pub listed: Vec<(Kind, Option<String>)>,
    /// The lists that could not be had.
    pub unseen: Vec<Unseen>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
    /// The Secrets by which they were found.
    pub targets: Targets,
    /// What stamps are read with; None where nothing is restarted, or where the key could not be read.
    pub stamps: Option<Stamps>,
}

/// The keys of stamps, and the workloads that bear one.
pub struct Stamps {
    /// The keys.
    pub keeper: Keeper,
    /// The workloads that were stamped before.
    pub known: Known,
}

/// The key, and where it lives.
pub struct Keeper {
    /// The key.
    pub key: StampKey,
    /// The keys of others.
    pub others: Others,
    /// The namespace of its Secret.
    pub namespace: String,
    /// Whether its Secret exists. If not, the key is one that nothing was ever stamped with.
    pub kept: bool,
}

/// What restarts are told beside the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where the job keeps what it owns: the first of these namespaces that exists.
    pub namespaces: Vec<String>,
    /// Stamps that vanished or cannot be read are made anew.
    pub adopt_anew: bool,
    /// Workloads that are not healthy are restarted too, and stop no other; those that were restarted too often or too recently
    /// are as well.
    pub retry: bool,
}

impl Keeper {
    /// Whose keys are used beside the own one: whoever keeps another has another lock too.
    pub fn kept_elsewhere(&self) -> Option<String> {
        let homes: BTreeSet<&str> = self.others.homes().collect();
        let first = homes.first()?;
        let all: Vec<&str> = homes.iter().copied().collect();
        Some(format!(
            "workloads bear stamps whose key is kept in namespace {}, by another installation: they are held against that, but its lock \
             is not this run's. One home for all is better: --lock-namespace {first}",
            all.join(", ")
        ))
    }
}

impl Stamps {
    /// What decisions share before anything is synced.
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
    /// Whether this workload may be one of them.
    fn may_be(&self, id: &WorkloadId) -> bool {
        self.kind.is_none_or(|kind| kind == id.kind) && self.is_in(&id.namespace)
    }

    /// Whether some of them may be in this namespace.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|of| of == namespace)
    }
}

impl Workloads {
    /// The key of the cluster, where it is known.
    pub fn key(&self) -> Option<&StampKey> {
        self.stamps.as_ref().map(|stamps| &stamps.keeper.key)
    }

    /// Whether there is a key that was never kept, so that nothing may be written with it.
    pub fn lack_a_key(&self) -> bool {
        self.stamps
            .as_ref()
            .is_some_and(|stamps| !stamps.keeper.kept)
    }

    /// Every workload that a rule covers, by its name.
    pub fn by_id(&self) -> BTreeMap<&WorkloadId, &Subject> {
        self.subjects
            .iter()
            .map(|subject| (&subject.workload.id, subject))
            .collect()
    }

    /// Why this workload could not be seen, if it could not.
    pub fn unseen(&self, id: &WorkloadId) -> Option<&Unseen> {
        self.unseen.iter().find(|unseen| unseen.may_be(id))
    }

    /// Whether this workload would have been seen if it were there.
    pub fn would_show(&self, id: &WorkloadId) -> bool {
        self.listed.iter().any(|(kind, namespace)| {
            *kind == id.kind
                && namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == id.namespace)
        })
    }
}
