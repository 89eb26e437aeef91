//! Argo Rollouts, as far as restarts need them: `spec.restartAt` evicts older Pods, and a new template is rolled out as
//! in a Deployment. Canary steps and other strategies are not implemented.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Key, Kind, Workloads, amount,
    condition::{self, Condition},
    family::{Family, RolloutBounds},
    number,
    progress::UpdateState,
    without_zeros,
};
use crate::{api::evict, object};

/// The label that identifies the template of a Pod.
const HASH: &str = "rollouts-pod-template-hash";

impl Workloads {
    pub(super) fn rollout(&mut self, key: &Key, rollout: &Value) {
        let replicas = number(rollout, "/spec/replicas", 1);
        let (surge, unavailable) =
            amount::surge_and_unavailable(object::at(rollout, "/spec/strategy/canary"), replicas);
        let bounds = RolloutBounds {
            replicas,
            surge,
            unavailable,
        };
        let family = self.family(rollout, HASH);
        let mut created = false;
        if object::at(rollout, "/spec/paused") == true {
            // A paused Rollout is neither scaled nor updated.
        } else if family.new.is_none() {
            let first = (replicas + surge - family.sum("/spec/replicas")).clamp(0, replicas);
            self.create_replica_set(rollout, &family, HASH, first);
            created = true;
        } else {
            self.annotate(key, rollout, &family);
            self.roll(&family, bounds);
        }
        let restarted = self.restart(key, rollout, &family, bounds);
        let status = self.rollout_status(key, rollout, &family, (bounds, created), restarted);
        self.report(key, status);
    }

    /// Evicts Pods that are older than `restartAt`, at most `unavailable` at a time. Returns `restartedAt`.
    fn restart(
        &mut self,
        key: &Key,
        rollout: &Value,
        family: &Family,
        bounds: RolloutBounds,
    ) -> Option<String> {
        let before = || {
            Some(object::text(rollout, "/status/restartedAt").to_owned())
                .filter(|time| !time.is_empty())
        };
        let asked = object::text(rollout, "/spec/restartAt");
        let Ok(at) = asked.parse::<Timestamp>() else {
            return before();
        };
        let done: Option<Timestamp> = before().and_then(|time| time.parse().ok());
        if done.is_some_and(|done| done >= at) {
            return before();
        }
        if at > self.store.clock.now() {
            self.requeue_at_time(key, at);
            return before();
        }
        let total = family.sum("/spec/replicas").max(bounds.replicas);
        let mut pods = Vec::new();
        for set in family.all() {
            pods.extend(self.owned(set, Kind::Pod));
        }
        let mut available = 0;
        for pod in &pods {
            available += i64::from(self.is_available(key, rollout, pod));
        }
        let mut allowed = bounds.unavailable.max(1) - (total - available);
        let is_older = |pod: &Value| {
            object::text(pod, "/metadata/creationTimestamp")
                .parse::<Timestamp>()
                .is_ok_and(|created| created < at)
        };
        let older: Vec<_> = pods.into_iter().filter(|pod| is_older(pod)).collect();
        if older.is_empty() {
            return Some(asked.to_owned());
        }
        for pod in older {
            if allowed <= 0 {
                break;
            }
            if evict(&self.store, &Value::Null, &pod).is_err() {
                // The budget does not allow it. The real controller also retries after a delay.
                self.requeue(
                    key,
                    tokio::time::Instant::now() + std::time::Duration::from_secs(1),
                );
                break;
            }
            allowed -= 1;
        }
        before()
    }

    fn rollout_status(
        &mut self,
        key: &Key,
        rollout: &Value,
        family: &Family,
        (bounds, created): (RolloutBounds, bool),
        restarted: Option<String>,
    ) -> Value {
        let available = family.sum("/status/availableReplicas");
        let hash = |set: &Value| object::label(set, HASH).unwrap_or_default().to_owned();
        let present = family.new.as_ref().map(|set| hash(set)).unwrap_or_default();
        // This controller writes the generation as a string.
        let mut status = without_zeros(json!({
            "observedGeneration": object::generation(rollout).to_string(),
            "replicas": family.sum("/status/replicas"), "HPAReplicas": family.sum("/status/replicas"),
            "updatedReplicas": family.of_new("/status/replicas"),
            "readyReplicas": family.sum("/status/readyReplicas"), "availableReplicas": available,
            "currentPodHash": present,
        }));
        let mut conditions = object::items(rollout, "/status/conditions").to_vec();
        let enough = available >= bounds.replicas - bounds.unavailable;
        let enough = Condition {
            kind: "Available",
            status: if enough { "True" } else { "False" },
            reason: "AvailableReason",
            message: if enough {
                "Rollout has minimum availability"
            } else {
                "Rollout does not have minimum availability"
            },
        };
        let time = self.time(rollout);
        condition::set(&mut conditions, enough, &time, false);
        let update_state = UpdateState {
            name: family
                .new
                .as_ref()
                .map_or(String::new(), |set| object::name(set).to_owned()),
            replicas: bounds.replicas,
            created,
        };
        let complete = self.progress(key, rollout, &status, &mut conditions, &update_state);
        let stable = match object::text(rollout, "/status/stableRS") {
            stable if !complete && !stable.is_empty() => stable.to_owned(),
            _ => present,
        };
        let (phase, message) = phase(rollout, &conditions, complete, restarted.as_deref());
        for (field, text) in [
            ("stableRS", stable.as_str()),
            ("phase", phase),
            ("message", message),
        ] {
            if !text.is_empty() {
                object::set(&mut status, field, text);
            }
        }
        if let Some(time) = restarted {
            object::set(&mut status, "restartedAt", time);
        }
        object::set(&mut status, "conditions", conditions);
        status
    }
}

/// The phase of a Rollout and its reason.
fn phase(
    rollout: &Value,
    conditions: &[Value],
    complete: bool,
    restarted: Option<&str>,
) -> (&'static str, &'static str) {
    let asked = object::text(rollout, "/spec/restartAt");
    let is_overdue = condition::find(conditions, "Progressing")
        .is_some_and(|condition| object::text(condition, "/status") == "False");
    if object::at(rollout, "/spec/paused") == true {
        ("Paused", "manually paused")
    } else if is_overdue {
        ("Degraded", "ProgressDeadlineExceeded")
    } else if !complete {
        (
            "Progressing",
            "updated replicas are still becoming available",
        )
    } else if !asked.is_empty() && restarted != Some(asked) {
        ("Progressing", "rollout is restarting")
    } else {
        ("Healthy", "")
    }
}
