//! Deployments: rolling updates, or all at once; paused ones; ones that do not get ahead.

use serde_json::{Value, json};

use super::{
    Key, Workloads, amount,
    condition::{self, Condition},
    family::{Family, Room},
    number,
    progress::Course,
    without_zeros,
};
use crate::object;

/// The label that tells the Pods of its templates apart.
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
        let room = Room {
            replicas,
            surge,
            unavailable,
        };
        let family = self.family(deployment, HASH);
        let mut founded = false;
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
            self.found(deployment, &family, HASH, first);
            founded = true;
        } else {
            self.annotate(key, deployment, &family);
            self.roll(&family, room);
        }
        let status = self.deployment_status(key, deployment, &family, room, founded);
        self.report(key, status);
    }

    /// A Deployment that is paused can still grow and shrink, while it has one ReplicaSet.
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
        room: Room,
        founded: bool,
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
        let enough = if available >= room.replicas - room.unavailable {
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
        let course = Course {
            name: family
                .new
                .as_ref()
                .map_or(String::new(), |set| object::name(set).to_owned()),
            replicas: room.replicas,
            founded,
        };
        if self.progress(key, deployment, &status, &mut conditions, &course) {
            self.forget(deployment, family);
        }
        object::set(&mut status, "conditions", conditions);
        status
    }
}
