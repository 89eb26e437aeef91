//! The condition that tells how an update gets ahead, and that it does not.

use serde_json::Value;

use super::{
    Key, Workloads,
    condition::{self, Condition},
    number,
};
use crate::object;

/// An update under way.
pub(super) struct Course {
    /// The ReplicaSet that grows.
    pub(super) name: String,
    pub(super) replicas: i64,
    /// It was just made.
    pub(super) founded: bool,
}

/// What is to be said now.
struct Said {
    status: &'static str,
    reason: &'static str,
    message: String,
    /// Even if it was said before.
    renewed: bool,
}

impl Said {
    fn new(status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            renewed: false,
        }
    }

    fn again(self) -> Self {
        Self {
            renewed: true,
            ..self
        }
    }
}

impl Course {
    fn is_complete(&self, status: &Value) -> bool {
        let mut counts = ["/replicas", "/updatedReplicas", "/availableReplicas"].iter();
        !self.founded && counts.all(|pointer| number(status, pointer, 0) == self.replicas)
    }
}

impl Workloads {
    /// Keeps the condition; whether the update is complete.
    pub(super) fn progress(
        &mut self,
        key: &Key,
        owner: &Value,
        status: &Value,
        conditions: &mut Vec<Value>,
        course: &Course,
    ) -> bool {
        let current = condition::find(conditions, "Progressing").cloned();
        let said = self.said(key, owner, status, current.as_ref(), course);
        if let Some(said) = &said {
            let condition = Condition {
                kind: "Progressing",
                status: said.status,
                reason: said.reason,
                message: &said.message,
            };
            let time = self.time(owner);
            condition::set(conditions, condition, &time, said.renewed);
        }
        said.is_none_or(|said| said.status != "Unknown") && course.is_complete(status)
    }

    fn said(
        &mut self,
        key: &Key,
        owner: &Value,
        status: &Value,
        current: Option<&Value>,
        course: &Course,
    ) -> Option<Said> {
        let name = &course.name;
        let reason = current.map_or("", |current| object::text(current, "/reason"));
        match (object::at(owner, "/spec/paused") == true, reason) {
            (true, "ProgressDeadlineExceeded") => return None,
            (true, _) => {
                return Some(Said::new(
                    "Unknown",
                    "DeploymentPaused",
                    "Deployment is paused",
                ));
            }
            (false, "DeploymentPaused") => {
                return Some(Said::new(
                    "Unknown",
                    "DeploymentResumed",
                    "Deployment is resumed",
                ));
            }
            (false, _) => {}
        }
        if course.founded {
            return Some(
                Said::new("True", "NewReplicaSetCreated", "Created new replica set").again(),
            );
        }
        if course.is_complete(status) {
            let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
            return Some(Said::new("True", "NewReplicaSetAvailable", message));
        }
        if reason == "NewReplicaSetAvailable" && outdated(status) == 0 {
            // It was complete; Pods come and go.
            return None;
        }
        if is_ahead(status, object::at(owner, "/status")) {
            let message = format!("ReplicaSet \"{name}\" is progressing.");
            return Some(Said::new("True", "ReplicaSetUpdated", message).again());
        }
        self.is_late(key, owner, current).then(|| {
            let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
            Said::new("False", "ProgressDeadlineExceeded", message)
        })
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

/// The Pods of older templates.
fn outdated(status: &Value) -> i64 {
    number(status, "/replicas", 0) - number(status, "/updatedReplicas", 0)
}

/// Whether a status is nearer to the end than the one before.
fn is_ahead(now: &Value, before: &Value) -> bool {
    let mut counts = ["/updatedReplicas", "/readyReplicas", "/availableReplicas"].iter();
    outdated(now) < outdated(before)
        || counts.any(|pointer| number(now, pointer, 0) > number(before, pointer, 0))
}
