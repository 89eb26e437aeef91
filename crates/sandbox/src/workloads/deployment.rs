//! Deployments: rolling updates and `Recreate`, paused Deployments, and the progress deadline.

use serde_json::{Value, json};

use super::{
    Key, Workloads, amount,
    condition::{self, Condition},
    family::{Family, RolloutBounds},
    number,
    progress::UpdateState,
    without_zeros,
};
use crate::object;

/// The label that identifies the template of a Pod.
const HASH: &str = "pod-template-hash";

impl Workloads {
    pub(super) fn deployment(&mut self, key: &Key, deployment: &Value) {
        let replicas = number(deployment, "/spec/replicas", 1);
        let recreates = object::text(deployment, "/spec/strategy/type") == "Recreate";
        let strategy = object::at(deployment, "/spec/strategy/rollingUpdate");
        let (surge, unavailable) = if recreates {
            (0, replicas)
        } else {
            amount::surge_and_unavailable(strategy, replicas)
        };
        let bounds = RolloutBounds {
            replicas,
            surge,
            unavailable,
        };
        let family = self.family(deployment, HASH);
        let mut created = false;
        if object::at(deployment, "/spec/paused") == true {
            self.scale_paused(&family, replicas);
        } else if recreates
            && family
                .old
                .iter()
                .any(|set| number(set, "/status/replicas", 0) > 0)
        {
            for set in &family.old {
                self.scale(set, 0);
            }
        } else if family.new.is_none() {
            let total = family.sum("/spec/replicas");
            let first = (replicas + surge - total).clamp(0, replicas);
            self.create_replica_set(deployment, &family, HASH, first);
            created = true;
        } else {
            self.annotate(key, deployment, &family);
            self.roll(&family, bounds);
        }
        let status = self.deployment_status(key, deployment, &family, bounds, created);
        self.report(key, status);
    }

    /// Scales a paused Deployment that has only one active ReplicaSet.
    fn scale_paused(&self, family: &Family, replicas: i64) {
        let mut active = family
            .all()
            .filter(|set| number(set, "/spec/replicas", 0) > 0);
        if let (Some(only), None) = (active.next(), active.next()) {
            self.scale(only, replicas);
        }
    }

    fn deployment_status(
        &mut self,
        key: &Key,
        deployment: &Value,
        family: &Family,
        bounds: RolloutBounds,
        created: bool,
    ) -> Value {
        let available = family.sum("/status/availableReplicas");
        let mut status = without_zeros(json!({
            "observedGeneration": object::generation(deployment),
            "replicas": family.sum("/status/replicas"),
            "updatedReplicas": family.of_new("/status/replicas"),
            "readyReplicas": family.sum("/status/readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": (family.sum("/spec/replicas") - available).max(0),
        }));
        let mut conditions = object::items(deployment, "/status/conditions").to_vec();
        let enough = if available >= bounds.replicas - bounds.unavailable {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        let enough = Condition {
            kind: "Available",
            status: enough.0,
            reason: enough.1,
            message: enough.2,
        };
        let time = self.time(deployment);
        condition::set(&mut conditions, enough, &time, false);
        let update_state = UpdateState {
            name: family
                .new
                .as_ref()
                .map_or(String::new(), |set| object::name(set).to_owned()),
            replicas: bounds.replicas,
            created,
        };
        if self.progress(key, deployment, &status, &mut conditions, &update_state) {
            self.delete_old_replica_sets(deployment, family);
        }
        object::set(&mut status, "conditions", conditions);
        status
    }
}
