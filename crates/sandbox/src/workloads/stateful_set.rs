//! StatefulSets: Pods with ordinals, created in ascending and replaced in descending order, one at a time.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    Key, Kind, Workloads, number,
    pods::{self, NewPod},
    revision::HASH,
    without_zeros,
};
use crate::object;

/// The Pods by their ordinal.
type PodsByOrdinal = BTreeMap<i64, Arc<Value>>;

struct Revisions {
    current: String,
    update: String,
}

impl Workloads {
    pub(super) fn stateful_set(&mut self, key: &Key, set: &Value) {
        let update = self.ensure_revision(set);
        let current = match object::text(set, "/status/currentRevision") {
            "" => update.clone(),
            current => current.to_owned(),
        };
        let revisions = Revisions { current, update };
        let pods = self.pods_by_ordinal(set);
        self.step(set, &pods, &revisions);
        let status = self.stateful_set_status(key, set, &pods, revisions);
        self.report(key, status);
    }

    fn pods_by_ordinal(&self, set: &Value) -> PodsByOrdinal {
        let prefix = format!("{}-", object::name(set));
        let number = |pod: &Arc<Value>| object::name(pod).strip_prefix(&prefix)?.parse().ok();
        self.owned(set, Kind::Pod)
            .into_iter()
            .filter_map(|pod| Some((number(&pod)?, pod)))
            .collect()
    }

    /// Performs the next steps: creates, deletes or replaces Pods.
    fn step(&self, set: &Value, pods: &PodsByOrdinal, revisions: &Revisions) {
        let replicas = number(set, "/spec/replicas", 1);
        let parallel = object::text(set, "/spec/podManagementPolicy") == "Parallel";
        let mut complete = true;
        for index in 0..replicas {
            match pods.get(&index) {
                None => {
                    self.create_pod_with_ordinal(set, index, revisions);
                    complete = false;
                    if !parallel {
                        return;
                    }
                }
                Some(pod) if !parallel && !pods::is_ready(pod) => return,
                Some(_) => {}
            }
        }
        for (_, pod) in pods.range(replicas..).rev() {
            self.delete(pod, Kind::Pod);
            if !parallel {
                return;
            }
        }
        // With podManagementPolicy Parallel, Pods are still replaced one at a time.
        if !complete || object::text(set, "/spec/updateStrategy/type") == "OnDelete" {
            return;
        }
        for (_, pod) in pods
            .range(partition(set)..replicas.max(partition(set)))
            .rev()
        {
            if object::label(pod, HASH) != Some(&revisions.update) {
                return self.delete(pod, Kind::Pod);
            }
            if !pods::is_ready(pod) {
                return;
            }
        }
    }

    fn create_pod_with_ordinal(&self, set: &Value, index: i64, revisions: &Revisions) {
        let rolls = object::text(set, "/spec/updateStrategy/type") != "OnDelete";
        let revision = if rolls && index < partition(set) {
            &revisions.current
        } else {
            &revisions.update
        };
        let name = format!("{}-{index}", object::name(set));
        let template = self.template_of(set, revision);
        self.make_pod(NewPod {
            owner: set,
            template: &template,
            name: name.clone(),
            labels: &[
                (HASH, revision),
                ("statefulset.kubernetes.io/pod-name", &name),
                ("apps.kubernetes.io/pod-index", &index.to_string()),
            ],
            node: "node-1",
        });
    }

    fn stateful_set_status(
        &mut self,
        key: &Key,
        set: &Value,
        pods: &PodsByOrdinal,
        revisions: Revisions,
    ) -> Value {
        let Revisions {
            mut current,
            update,
        } = revisions;
        let of = |revision: &str| {
            pods.values()
                .filter(|pod| object::label(pod, HASH) == Some(revision))
                .count()
        };
        let ready = pods.values().filter(|pod| pods::is_ready(pod)).count();
        let mut available = 0;
        for pod in pods.values() {
            available += usize::from(self.is_available(key, set, pod));
        }
        let rolls = object::text(set, "/spec/updateStrategy/type") != "OnDelete";
        let all = usize::try_from(number(set, "/spec/replicas", 1)).unwrap_or_default();
        if rolls && of(&update) == all && pods.len() == all && ready == all {
            current.clone_from(&update);
        }
        let mut status = without_zeros(json!({
            "observedGeneration": object::generation(set), "readyReplicas": ready,
            "currentReplicas": of(&current), "updatedReplicas": of(&update),
            "currentRevision": current, "updateRevision": update,
        }));
        for (field, count) in [
            ("replicas", pods.len()),
            ("availableReplicas", available),
            ("collisionCount", 0),
        ] {
            object::set(&mut status, field, count);
        }
        status
    }
}

fn partition(set: &Value) -> i64 {
    number(set, "/spec/updateStrategy/rollingUpdate/partition", 0)
}
