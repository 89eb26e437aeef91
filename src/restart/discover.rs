//! Reads workloads, their Secrets, and their pods if the decision needs them. Returns [`Subject`]s. Never writes.
//!
//! Secret values are turned into keyed digests as soon as they are read, then wiped.

mod list;
mod pods;
mod secrets;

use std::collections::BTreeSet;

pub use self::pods::{family_of, pods_of};
use cluster::{ApiError, Cluster, ErrorKind};

use super::{decide::Context, stamp::Stamp, subject::Subject, workloads::Workloads};
use crate::{
    policy::Policy,
    workload::{Health, Kind, Workload, WorkloadId, health, object::Object},
};

/// Everything that reading needs.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub cluster: &'a Cluster,
    pub policy: &'a Policy,
    /// The inputs that all decisions share, with the target Secrets.
    pub context: Context<'a>,
    pub secrets: Secrets,
}

/// How the data of Secrets gets known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// They are read.
    Read,
    /// No Secret is read. Each is assumed to hold the data that the pods started with.
    Assumed,
}

/// The workloads that rules cover, each with the index of its rule, before Secrets and pods are read.
#[derive(Default)]
pub struct Listed {
    found: Vec<(usize, Workload)>,
    seen: Workloads,
}

impl Listed {
    /// Their valid stamps.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        self.found.iter().filter_map(|(_, workload)| {
            let stamp = Stamp::parse(workload.stamp.as_deref()?).ok()?;
            (stamp.of == workload.uid).then_some(stamp)
        })
    }
}

impl Look<'_> {
    /// Reads everything that the rules cover.
    pub async fn all(self) -> Workloads {
        let listed = self.list_all().await;
        self.complete(listed).await
    }

    /// Lists the workloads only.
    pub async fn list_all(self) -> Listed {
        let mut listed = Listed::default();
        if self.context.targets.is_empty() {
            return listed;
        }
        for kind in self.kinds() {
            self.list(kind, &mut listed.found, &mut listed.seen).await;
        }
        listed.found.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        listed
    }

    /// Reads the Secrets and pods of these workloads.
    pub async fn complete(self, listed: Listed) -> Workloads {
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

    /// Reads one workload again with its pods. Returns None if it is gone or no longer covered.
    pub async fn one(self, id: &WorkloadId) -> Result<Option<Subject>, ApiError> {
        let object = match self.cluster.get::<Object>(&id.path()).await {
            Ok(object) => object,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut workload = object.workload(id.kind);
        self.read_referenced_template(&mut workload).await?;
        let rule = self
            .context
            .targets
            .rule_of(&self.policy.restart, &workload);
        let Some(rule) = rule.filter(|_| workload.addressed) else {
            return Ok(None);
        };
        if let (Kind::Pod, Some(owner)) = (id.kind, &workload.controller) {
            let family = family_of(self.cluster, &id.namespace, owner).await?;
            workload.health = health::lacking(owner, family.live.iter().map(|pod| pod.ready))
                .map_or(Health::Healthy, Health::Unavailable);
        }
        let mut subjects = self.subjects(vec![(rule, workload)]).await;
        let Some(mut subject) = subjects.pop() else {
            return Ok(None);
        };
        let pods = pods_of(self.cluster, &subject.workload).await?;
        subject.has(pods);
        Ok(Some(subject))
    }

    fn kinds(self) -> BTreeSet<Kind> {
        let rules = self.policy.restart.iter();
        rules.flat_map(|rule| rule.kinds.iter().copied()).collect()
    }
}
