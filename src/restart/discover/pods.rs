//! Finds the pods of workloads.

use std::collections::BTreeMap;

use cluster::{ApiError, Cluster, Query};

use super::Look;
use crate::{
    discover::gap,
    restart::{decide::needs_pods, subject::Subject, workloads::Workloads},
    workload::{Kind, Owner, Pod, Pods, Workload, object::PodObject},
};

impl Look<'_> {
    pub(super) fn wants_pods(self, subject: &Subject) -> bool {
        let rule = self.policy.restart.get(subject.rule);
        rule.is_some_and(|rule| needs_pods(subject, rule, self.context))
    }

    /// Adds the pods to each workload of a namespace whose decision depends on them. Other pods are not kept, because there can
    /// be thousands.
    pub(super) async fn add_pods(self, namespace: &str, seen: &mut Workloads) {
        let wanting = seen
            .subjects
            .iter()
            .enumerate()
            .filter(|(_, subject)| subject.workload.id.namespace == namespace)
            .filter(|(_, subject)| self.wants_pods(subject));
        let mut owners = OwnerIndex::default();
        for (index, subject) in wanting {
            owners.note(index, &subject.workload);
        }
        let subjects = &seen.subjects;
        let mut found: BTreeMap<usize, BTreeMap<String, Pod>> = BTreeMap::new();
        let listed = self
            .cluster
            .list(&pods_in(namespace), |pod: PodObject| {
                let Some(mut pod) = pod.pod() else { return };
                let owns = |index: &usize| {
                    subjects
                        .get(*index)
                        .is_some_and(|subject| subject.workload.owns(&pod))
                };
                if let Some(index) = owners.of(&pod).into_iter().flatten().find(owns) {
                    pod.drop_unneeded_fields();
                    found
                        .entry(index)
                        .or_default()
                        .insert(pod.name.clone(), pod);
                }
            })
            .await;
        if let Err(error) = listed {
            seen.gaps.push(gap("pods", Some(namespace), &error));
            return;
        }
        for index in owners.all {
            if let Some(subject) = seen.subjects.get_mut(index) {
                let pods = found.remove(&index).unwrap_or_default();
                subject.has(Pods::of(pods));
            }
        }
    }
}

/// Possible owners of pods, indexed by what a pod knows about its owner.
#[derive(Default)]
struct OwnerIndex {
    all: Vec<usize>,
    by_uid: BTreeMap<String, usize>,
    /// Workloads with a ReplicaSet between them and their pods.
    by_name: BTreeMap<(Kind, String), usize>,
}

impl OwnerIndex {
    fn note(&mut self, index: usize, workload: &Workload) {
        self.all.push(index);
        let id = &workload.id;
        if matches!(id.kind, Kind::Deployment | Kind::Rollout) {
            self.by_name.insert((id.kind, id.name.clone()), index);
        } else {
            self.by_uid.insert(workload.uid.clone(), index);
        }
    }

    fn of(&self, pod: &Pod) -> [Option<usize>; 4] {
        let above = |kind: Kind| {
            let name = pod.above(kind)?.to_owned();
            self.by_name.get(&(kind, name)).copied()
        };
        let by_uid = |uid: &str| self.by_uid.get(uid).copied();
        let owner = pod.owner.as_ref();
        [
            above(Kind::Deployment),
            above(Kind::Rollout),
            owner.and_then(|owner| by_uid(&owner.uid)),
            by_uid(&pod.uid),
        ]
    }
}

/// The pods of one workload.
pub async fn pods_of(cluster: &Cluster, workload: &Workload) -> Result<Pods, ApiError> {
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

/// The pods of one controller. Lists all pods of the namespace, because the controller's label selector is unknown.
pub async fn family_of(
    cluster: &Cluster,
    namespace: &str,
    owner: &Owner,
) -> Result<Pods, ApiError> {
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
) -> Result<Pods, ApiError> {
    // A list that is restarted returns items twice.
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    cluster
        .list(query, |pod: PodObject| {
            if let Some(pod) = pod.pod().filter(&wanted) {
                pods.insert(pod.name.clone(), pod);
            }
        })
        .await?;
    Ok(Pods::of(pods))
}
