//! Deployments: rolling updates, or all at once; paused ones; ones that do not get ahead.

use serde_json::{Value, json};

use super::{
    Key, Workloads, amount,
    condition::{self, Condition},
    family::{Family, Room},
    number, without_zeros,
};
use crate::sandbox::object;

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
            self.count_revision(key, deployment, &family);
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

    /// Keeps the condition that tells how an update gets ahead; whether it is complete.
    pub(super) fn progress(
        &mut self,
        key: &Key,
        owner: &Value,
        status: &Value,
        conditions: &mut Vec<Value>,
        course: &Course,
    ) -> bool {
        let time = self.time(owner);
        let current = condition::find(conditions, "Progressing").cloned();
        let reason = current
            .as_ref()
            .map_or("", |current| object::text(current, "/reason"));
        let mut say = |status: &str, reason: &str, message: &str, renewed: bool| {
            let condition = Condition {
                kind: "Progressing",
                status,
                reason,
                message,
            };
            condition::set(conditions, condition, &time, renewed);
        };
        let is_paused = object::at(owner, "/spec/paused") == true;
        if is_paused || reason == "DeploymentPaused" {
            match (is_paused, reason) {
                (true, "ProgressDeadlineExceeded") => {}
                (true, _) => say("Unknown", "DeploymentPaused", "Deployment is paused", false),
                (false, _) => say(
                    "Unknown",
                    "DeploymentResumed",
                    "Deployment is resumed",
                    false,
                ),
            }
            return false;
        }
        let name = &course.name;
        let before = |pointer: &str| number(owner, &format!("/status{pointer}"), 0);
        let now = |pointer: &str| number(status, pointer, 0);
        let old = |count: &dyn Fn(&str) -> i64| count("/replicas") - count("/updatedReplicas");
        let complete = !course.founded
            && ["/replicas", "/updatedReplicas", "/availableReplicas"]
                .iter()
                .all(|pointer| now(pointer) == course.replicas);
        let ahead = now("/updatedReplicas") > before("/updatedReplicas")
            || old(&now) < old(&before)
            || now("/readyReplicas") > before("/readyReplicas")
            || now("/availableReplicas") > before("/availableReplicas");
        if course.founded {
            say(
                "True",
                "NewReplicaSetCreated",
                "Created new replica set",
                true,
            );
        } else if complete {
            let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
            say("True", "NewReplicaSetAvailable", &message, false);
        } else if reason == "NewReplicaSetAvailable" && now("/replicas") == now("/updatedReplicas")
        {
            // It was complete; Pods come and go.
        } else if ahead {
            say(
                "True",
                "ReplicaSetUpdated",
                &format!("ReplicaSet \"{name}\" is progressing."),
                true,
            );
        } else if self.is_late(key, owner, current.as_ref()) {
            let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
            say("False", "ProgressDeadlineExceeded", &message, false);
        }
        complete
    }

    /// Whether nothing got ahead for too long. Otherwise it is looked at again when it would be.
    fn is_late(&mut self, key: &Key, owner: &Value, current: Option<&Value>) -> bool {
        let Some(current) = current else {
            return false;
        };
        match object::text(current, "/reason") {
            "NewReplicaSetAvailable" => return false,
            "ProgressDeadlineExceeded" => return true,
            _ => {}
        }
        let seconds = number(owner, "/spec/progressDeadlineSeconds", 600);
        let from: Option<jiff::Timestamp> = object::text(current, "/lastUpdateTime").parse().ok();
        let deadline = from.and_then(|from| {
            from.checked_add(jiff::SignedDuration::from_secs(seconds))
                .ok()
        });
        let Some(deadline) = deadline else {
            return false;
        };
        if deadline < self.store.clock.now() {
            return true;
        }
        // Times in conditions are whole seconds.
        self.again_at(
            key,
            deadline
                .saturating_add(jiff::SignedDuration::from_secs(1))
                .unwrap_or(deadline),
        );
        false
    }
}

/// An update under way.
pub(super) struct Course {
    /// The ReplicaSet that grows.
    pub(super) name: String,
    pub(super) replicas: i64,
    /// It was just made.
    pub(super) founded: bool,
}
