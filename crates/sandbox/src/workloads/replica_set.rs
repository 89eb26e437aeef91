//! ReplicaSets and the similar kind `ReplicationController`: a number of Pods with one template. eso-sync does not
//! support the latter, so tests use it as an example of an unknown controller.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Key, Kind, Workloads, number,
    pods::{self, NewPod},
    without_zeros,
};
use crate::object;

/// The node of all Pods that need no specific node.
const NODE: &str = "node-1";

impl Workloads {
    pub(super) fn replica_set(&mut self, key: &Key, set: &Value) {
        let pods = self.pods_of(set);
        let wanted = usize::try_from(number(set, "/spec/replicas", 1)).unwrap_or_default();
        if pods.len() < wanted {
            let template = object::at(set, "/spec/template");
            for _ in pods.len()..wanted {
                let name = format!("{}-{}", object::name(set), self.suffix());
                self.make_pod(NewPod {
                    owner: set,
                    template,
                    name,
                    labels: &[],
                    node: NODE,
                });
            }
        } else {
            let surplus = pods.len() - wanted;
            for pod in deletion_order(pods).iter().take(surplus) {
                self.delete(pod, Kind::Pod);
            }
        }
        self.replica_set_status(key, set);
    }

    fn replica_set_status(&mut self, key: &Key, set: &Value) {
        // Pods that were just created or deleted are not in the index yet. Their events update the status again.
        let pods = self.pods_of(set);
        let ready = pods.iter().filter(|pod| pods::is_ready(pod)).count();
        let mut available = 0;
        for pod in &pods {
            available += usize::from(self.is_available(key, set, pod));
        }
        let mut status = without_zeros(json!({
            "fullyLabeledReplicas": pods.len(), "readyReplicas": ready, "availableReplicas": available,
            "observedGeneration": object::generation(set),
        }));
        object::set(&mut status, "replicas", pods.len());
        self.report(key, status);
    }
}

/// Sorts Pods in the order of deletion: those that are not ready, then the youngest.
fn deletion_order(mut pods: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
    pods.sort_by_cached_key(|pod| {
        let created = object::text(pod, "/metadata/creationTimestamp").to_owned();
        (pods::is_ready(pod), std::cmp::Reverse(created))
    });
    pods
}
