//! Whose pods are whose.

use std::collections::BTreeMap;

use super::{Look, Seen};
use crate::{
    cluster::{CallError, Cluster, Query},
    discover::gap,
    restart::{decide::needs_pods, subject::Subject},
    workload::{Kind, Owner, Pod, Workload, object::PodObject},
};

impl Look<'_> {
    pub(super) fn wants_pods(self, subject: &Subject) -> bool {
        let rule = self.policy.restart.get(subject.rule);
        rule.is_some_and(|rule| needs_pods(subject, rule, self.context))
    }

    pub(super) async fn add_pods(self, namespace: &str, seen: &mut Seen) {
        let pods = match pods(self.cluster, &pods_in(namespace), |_| true).await {
            Ok(pods) => pods,
            Err(error) => {
                seen.gaps.push(gap("pods", Some(namespace), &error));
                return;
            }
        };
        let pods = Owned::new(&pods);
        for subject in &mut seen.subjects {
            if subject.workload.id.namespace == namespace && self.wants_pods(subject) {
                subject.pods = Some(pods.of(&subject.workload));
            }
        }
    }
}

/// Pods by what controls them: a namespace can have thousands, of as many workloads.
struct Owned<'a> {
    by_uid: BTreeMap<&'a str, Vec<&'a Pod>>,
    /// By the name of what stands above their ReplicaSet.
    by_name: BTreeMap<&'a str, Vec<&'a Pod>>,
}

impl<'a> Owned<'a> {
    fn new(pods: &'a [Pod]) -> Self {
        let mut owned = Self {
            by_uid: BTreeMap::new(),
            by_name: BTreeMap::new(),
        };
        for pod in pods {
            if let Some(owner) = &pod.owner {
                owned.by_uid.entry(&owner.uid).or_default().push(pod);
            }
            let above = [Kind::Deployment, Kind::Rollout].map(|kind| pod.above(kind));
            for name in above.into_iter().flatten() {
                owned.by_name.entry(name).or_default().push(pod);
            }
        }
        owned
    }

    fn of(&self, workload: &Workload) -> Vec<Pod> {
        let found = match (workload.id.kind, &workload.controller) {
            (Kind::Deployment | Kind::Rollout, _) => self.by_name.get(&*workload.id.name),
            (Kind::Pod, Some(owner)) => self.by_uid.get(&*owner.uid),
            (Kind::Pod, None) => None,
            (Kind::DaemonSet | Kind::ReplicaSet | Kind::StatefulSet, _) => {
                self.by_uid.get(&*workload.uid)
            }
        };
        let own = found.into_iter().flatten().copied();
        own.filter(|pod| workload.owns(pod)).cloned().collect()
    }
}

/// The pods of one workload.
pub async fn pods_of(cluster: &Cluster, workload: &Workload) -> Result<Vec<Pod>, CallError> {
    let mut query = pods_in(&workload.id.namespace);
    if workload.id.kind == Kind::Pod {
        query = query.with(
            "fieldSelector",
            format!("metadata.name={}", workload.id.name),
        );
    }
    if let Some(labels) = workload.selector.to_query() {
        query = query.with("labelSelector", labels);
    }
    pods(cluster, &query, |pod| workload.owns(pod)).await
}

/// The pods that a controller keeps. What their labels have in common only it knows: all of the namespace are looked through.
pub async fn family_of(
    cluster: &Cluster,
    namespace: &str,
    owner: &Owner,
) -> Result<Vec<Pod>, CallError> {
    let own = |pod: &Pod| pod.owner.as_ref().is_some_and(|of| of.uid == owner.uid);
    pods(cluster, &pods_in(namespace), own).await
}

fn pods_in(namespace: &str) -> Query {
    Query::new(Kind::Pod.path(Some(namespace)))
}

async fn pods(
    cluster: &Cluster,
    query: &Query,
    wanted: impl Fn(&Pod) -> bool,
) -> Result<Vec<Pod>, CallError> {
    // A list that starts anew hands out items again: by name, so that each is kept once.
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    cluster
        .list(query, |pod: PodObject| {
            if let Some(pod) = pod.pod().filter(&wanted) {
                pods.insert(pod.name.clone(), pod);
            }
        })
        .await?;
    Ok(pods.into_values().collect())
}
