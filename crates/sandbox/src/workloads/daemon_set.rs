//! DaemonSets: one Pod on each of three simulated nodes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Key, Kind, Workloads, amount, number,
    pods::{self, NewPod},
    revision::HASH,
    without_zeros,
};
use crate::object;

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

impl Workloads {
    pub(super) fn daemon_set(&mut self, key: &Key, set: &Value) {
        let revision = self.ensure_revision(set);
        let pods = self.pods_of(set);
        let template = object::at(set, "/spec/template");
        for node in NODES {
            if !pods
                .iter()
                .any(|pod| object::text(pod, "/spec/nodeName") == node)
            {
                let name = format!("{}-{}", object::name(set), self.suffix());
                let generation = object::generation(set).to_string();
                self.make_pod(NewPod {
                    owner: set,
                    template,
                    name,
                    labels: &[(HASH, &revision), ("pod-template-generation", &generation)],
                    node,
                });
            }
        }
        let mut available = Vec::new();
        for pod in &pods {
            available.push(self.is_available(key, set, pod));
        }
        if object::text(set, "/spec/updateStrategy/type") != "OnDelete" {
            self.replace(set, &pods, &available, &revision);
        }
        let updated = pods
            .iter()
            .filter(|pod| object::label(pod, HASH) == Some(&revision))
            .count();
        let count = available.iter().filter(|available| **available).count();
        let mut status = without_zeros(json!({
            "observedGeneration": object::generation(set), "updatedNumberScheduled": updated,
            "numberAvailable": count, "numberUnavailable": NODES.len() - count.min(NODES.len()),
        }));
        let ready = pods.iter().filter(|pod| pods::is_ready(pod)).count();
        for (field, count) in [
            ("currentNumberScheduled", pods.len()),
            ("desiredNumberScheduled", NODES.len()),
            ("numberReady", ready),
            ("numberMisscheduled", 0),
        ] {
            object::set(&mut status, field, count);
        }
        self.report(key, status);
    }

    /// Deletes Pods of older templates: unavailable ones at once, available ones up to `maxUnavailable`.
    fn replace(&self, set: &Value, pods: &[Arc<Value>], available: &[bool], revision: &str) {
        let nodes = i64::try_from(NODES.len()).unwrap_or_default();
        let allowed = object::at(set, "/spec/updateStrategy/rollingUpdate/maxUnavailable");
        let allowed = if allowed.is_null() {
            1
        } else {
            amount::resolve(allowed, nodes, true).max(1)
        };
        let with_state = || pods.iter().zip(available);
        let is_old = |pod: &Value| object::label(pod, HASH) != Some(revision);
        let missing = nodes - number(&json!({"n": pods.len()}), "/n", 0);
        let mut down = missing;
        for (pod, available) in with_state() {
            down += i64::from(!available);
            if is_old(pod) && !available {
                self.delete(pod, Kind::Pod);
            }
        }
        for (pod, available) in with_state() {
            if is_old(pod) && *available && down < allowed {
                self.delete(pod, Kind::Pod);
                down += 1;
            }
        }
    }
}
