//! PodDisruptionBudgets: how many of the covered Pods may be disrupted now.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{Key, Kind, Workloads, amount, number, pods};
use crate::{object, select};

impl Workloads {
    pub(super) fn budget(&mut self, key: &Key, budget: &Value) {
        let pods = self.covered(budget);
        let expected = self.expected(&pods);
        let healthy = pods.iter().filter(|pod| pods::is_ready(pod)).count();
        let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
        let desired = match (
            budget.pointer("/spec/maxUnavailable"),
            budget.pointer("/spec/minAvailable"),
        ) {
            (Some(most), _) => expected - amount::resolve(most, expected, true),
            (None, Some(least)) => amount::resolve(least, expected, true),
            (None, None) => expected,
        };
        let desired = desired.max(0);
        let allowed = if expected > 0 {
            (healthy - desired).max(0)
        } else {
            0
        };
        let (status, reason) = if allowed > 0 {
            ("True", "SufficientPods")
        } else {
            ("False", "InsufficientPods")
        };
        let time = self.time(budget);
        let before = object::items(budget, "/status/conditions")
            .iter()
            .find(|before| object::text(before, "/status") == status);
        let since = before.map_or(time.as_str(), |before| {
            object::text(before, "/lastTransitionTime")
        });
        let condition = json!({
            "type": "DisruptionAllowed", "status": status, "reason": reason, "message": "", "lastTransitionTime": since,
            "observedGeneration": object::generation(budget),
        });
        self.report(key, json!({
            "observedGeneration": object::generation(budget), "expectedPods": expected, "currentHealthy": healthy,
            "desiredHealthy": desired, "disruptionsAllowed": allowed, "conditions": [condition],
        }));
    }

    fn covered(&self, budget: &Value) -> Vec<Arc<Value>> {
        let (Some(resource), Some(selector)) =
            (Kind::Pod.resource(), budget.pointer("/spec/selector"))
        else {
            return Vec::new();
        };
        let page = self.store.list(resource, Some(object::namespace(budget)));
        let all = page.objects.into_iter().map(|(_, pod)| pod);
        all.filter(|pod| !object::is_deleting(pod) && select::matches_selector(selector, pod))
            .collect()
    }

    /// The sum of the desired replicas of the Pods' controllers. A Pod without a controller counts as one.
    fn expected(&self, pods: &[Arc<Value>]) -> i64 {
        let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
        for pod in pods {
            let Some(owner) = object::controller(pod) else {
                wanted.insert(object::uid(pod), 1);
                continue;
            };
            let key = Kind::of(object::text(owner, "/kind")).map(|kind| Key {
                kind,
                namespace: object::namespace(pod).to_owned(),
                name: object::text(owner, "/name").to_owned(),
            });
            let replicas = key
                .and_then(|key| self.get(&key))
                .map_or(1, |owner| number(&owner, "/spec/replicas", 1));
            wanted.insert(object::text(owner, "/uid"), replicas);
        }
        wanted.values().sum()
    }
}
