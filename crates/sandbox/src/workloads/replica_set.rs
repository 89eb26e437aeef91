//! ReplicaSets: so many Pods of one template. A `ReplicationController` does the same, and stands for all controllers that keep
//! Pods and that eso-sync knows nothing of.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Key, Kind, Workloads, number,
    pods::{self, NewPod},
    without_zeros,
};
use crate::object;

/// A node for all Pods that need none in particular.
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
            for pod in least_missed(pods).iter().take(surplus) {
                self.delete(pod, Kind::Pod);
            }
        }
        self.replica_set_status(key, set);
    }

    fn replica_set_status(&mut self, key: &Key, set: &Value) {
        // What was just made or deleted is not in the index yet: it is seen at the next look.
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

/// The Pods in the order in which they go: first what is not ready, of the rest the youngest.
fn least_missed(mut pods: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
    pods.sort_by_cached_key(|pod| {
        let created = object::text(pod, "/metadata/creationTimestamp").to_owned();
        (pods::is_ready(pod), std::cmp::Reverse(created))
    });
    pods
}
