//! The `Progressing` condition of Deployments and Rollouts.

use serde_json::Value;

use super::{
    Key, Workloads,
    condition::{self, Condition},
    number,
};
use crate::object;

/// The state of an update.
pub(super) struct UpdateState {
    /// The name of the new ReplicaSet.
    pub(super) name: String,
    pub(super) replicas: i64,
    /// True if the new ReplicaSet was just created.
    pub(super) created: bool,
}

/// The new content of the condition.
struct NewCondition {
    status: &'static str,
    reason: &'static str,
    message: String,
    /// Write it even if status and reason are the same.
    renewed: bool,
}

impl NewCondition {
    fn new(status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            renewed: false,
        }
    }

    fn renewed(self) -> Self {
        Self {
            renewed: true,
            ..self
        }
    }
}

impl UpdateState {
    fn is_complete(&self, status: &Value) -> bool {
        let mut counts = ["/replicas", "/updatedReplicas", "/availableReplicas"].iter();
        !self.created && counts.all(|pointer| number(status, pointer, 0) == self.replicas)
    }
}

impl Workloads {
    /// Updates the condition. Returns true if the update is complete.
    pub(super) fn progress(
        &mut self,
        key: &Key,
        owner: &Value,
        status: &Value,
        conditions: &mut Vec<Value>,
        update_state: &UpdateState,
    ) -> bool {
        let current = condition::find(conditions, "Progressing").cloned();
        let new_condition = self.new_condition(key, owner, status, current.as_ref(), update_state);
        if let Some(new_condition) = &new_condition {
            let condition = Condition {
                kind: "Progressing",
                status: new_condition.status,
                reason: new_condition.reason,
                message: &new_condition.message,
            };
            let time = self.time(owner);
            condition::set(conditions, condition, &time, new_condition.renewed);
        }
        new_condition.is_none_or(|new_condition| new_condition.status != "Unknown")
            && update_state.is_complete(status)
    }

    fn new_condition(
        &mut self,
        key: &Key,
        owner: &Value,
        status: &Value,
        current: Option<&Value>,
        update_state: &UpdateState,
    ) -> Option<NewCondition> {
        let name = &update_state.name;
        let reason = current.map_or("", |current| object::text(current, "/reason"));
        match (object::at(owner, "/spec/paused") == true, reason) {
            (true, "ProgressDeadlineExceeded") => return None,
            (true, _) => {
                return Some(NewCondition::new(
                    "Unknown",
                    "DeploymentPaused",
                    "Deployment is paused",
                ));
            }
            (false, "DeploymentPaused") => {
                return Some(NewCondition::new(
                    "Unknown",
                    "DeploymentResumed",
                    "Deployment is resumed",
                ));
            }
            (false, _) => {}
        }
        if update_state.created {
            return Some(
                NewCondition::new("True", "NewReplicaSetCreated", "Created new replica set")
                    .renewed(),
            );
        }
        if update_state.is_complete(status) {
            let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
            return Some(NewCondition::new("True", "NewReplicaSetAvailable", message));
        }
        if reason == "NewReplicaSetAvailable" && outdated(status) == 0 {
            // The update was complete before; only Pods have changed since.
            return None;
        }
        if has_progress(status, object::at(owner, "/status")) {
            let message = format!("ReplicaSet \"{name}\" is progressing.");
            return Some(NewCondition::new("True", "ReplicaSetUpdated", message).renewed());
        }
        self.is_overdue(key, owner, current).then(|| {
            let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
            NewCondition::new("False", "ProgressDeadlineExceeded", message)
        })
    }

    /// True if there was no progress until the deadline. Otherwise the owner is queued for the deadline.
    fn is_overdue(&mut self, key: &Key, owner: &Value, current: Option<&Value>) -> bool {
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
        // Times in conditions are truncated to seconds.
        self.requeue_at_time(
            key,
            deadline
                .saturating_add(jiff::SignedDuration::from_secs(1))
                .unwrap_or(deadline),
        );
        false
    }
}

/// The number of Pods of older templates.
fn outdated(status: &Value) -> i64 {
    number(status, "/replicas", 0) - number(status, "/updatedReplicas", 0)
}

/// True if the status shows progress compared to the previous one.
fn has_progress(now: &Value, before: &Value) -> bool {
    let mut counts = ["/updatedReplicas", "/readyReplicas", "/availableReplicas"].iter();
    outdated(now) < outdated(before)
        || counts.any(|pointer| number(now, pointer, 0) > number(before, pointer, 0))
}
