//! From the cluster to [`Subject`]s: workloads, the Secrets that concern them, and pods where those have a say. Reads only.
//!
//! Values of Secrets become keyed digests as soon as they are read, and are wiped.

mod list;
mod pods;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

pub use self::pods::{family_of, pods_of};
use cluster::{CallError, Cluster, Trouble};

use super::{decide::Context, stamp::Stamp, subject::Subject, targets::Targets};
use crate::{
    inventory::Gap,
    policy::Policy,
    reason::Reason,
    workload::{Health, Kind, Workload, WorkloadId, health, object::Object},
};

/// All that looking takes.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Where.
    pub cluster: &'a Cluster,
    /// Which rules.
    pub policy: &'a Policy,
    /// Which Secrets.
    pub targets: &'a Targets,
    /// What decisions share.
    pub context: Context<'a>,
}

/// The workloads that rules cover, each with the index of its rule, before anything else is looked at.
#[derive(Debug, Default)]
pub struct Listed {
    found: Vec<(usize, Workload)>,
    seen: Seen,
}

impl Listed {
    /// Their stamps, as far as they can be read and are their own.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        self.found.iter().filter_map(|(_, workload)| {
            let stamp = Stamp::parse(workload.stamp.as_deref()?).ok()?;
            (stamp.of == workload.uid).then_some(stamp)
        })
    }
}

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

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
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

impl Seen {
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

impl Look<'_> {
    /// Looks at everything that the rules cover.
    pub async fn all(self) -> Seen {
        let listed = self.list_all().await;
        self.complete(listed).await
    }

    /// The workloads alone.
    pub async fn list_all(self) -> Listed {
        let mut listed = Listed::default();
        if self.targets.is_empty() {
            return listed;
        }
        for kind in self.kinds() {
            self.list(kind, &mut listed.found, &mut listed.seen).await;
        }
        listed.found.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        listed
    }

    /// All that belongs to them.
    pub async fn complete(self, listed: Listed) -> Seen {
        let Listed { found, mut seen } = listed;
        seen.subjects = self.subjects(found).await;
        let mut wanting: BTreeSet<String> = BTreeSet::new();
        for subject in &seen.subjects {
            if self.wants_pods(subject) {
                wanting.insert(subject.workload.id.namespace.clone());
            }
        }
        for namespace in wanting {
            self.add_pods(&namespace, &mut seen).await;
        }
        seen
    }

    /// Looks at one workload again, with its pods; None if it is gone, or covered no more.
    pub async fn one(self, id: &WorkloadId) -> Result<Option<Subject>, CallError> {
        let object = match self.cluster.get::<Object>(&id.path()).await {
            Ok(object) => object,
            Err(error) if error.trouble == Trouble::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut workload = object.workload(id.kind);
        self.borrow_template(&mut workload).await?;
        let rule = self.targets.rule_of(&self.policy.restart, &workload);
        let Some(rule) = rule.filter(|_| workload.addressed) else {
            return Ok(None);
        };
        if let (Kind::Pod, Some(owner)) = (id.kind, &workload.controller) {
            let family = family_of(self.cluster, &id.namespace, owner).await?;
            workload.health = health::lacking(owner, family.iter().map(|pod| pod.ready))
                .map_or(Health::Healthy, Health::Unavailable);
        }
        let mut subjects = self.subjects(vec![(rule, workload)]).await;
        let Some(mut subject) = subjects.pop() else {
            return Ok(None);
        };
        subject.pods = Some(pods_of(self.cluster, &subject.workload).await?);
        Ok(Some(subject))
    }

    fn kinds(self) -> BTreeSet<Kind> {
        let rules = self.policy.restart.iter();
        rules.flat_map(|rule| rule.kinds.iter().copied()).collect()
    }
}
