//! Argo Rollouts, as far as restarts go: `spec.restartAt` evicts older Pods, a new template rolls in as with a Deployment. Steps
//! of a canary and the like are not taken.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Key, Kind, Workloads, amount,
    condition::{self, Condition},
    family::{Family, Room},
    number,
    progress::Course,
    without_zeros,
};
use crate::{api::evict, object};

/// The label that tells the Pods of its templates apart.
const HASH: &str = "rollouts-pod-template-hash";

impl Workloads {
    pub(super) fn rollout(&mut self, key: &Key, rollout: &Value) {
        let replicas = number(rollout, "/spec/replicas", 1);
        let (surge, unavailable) =
            amount::surge_and_unavailable(object::at(rollout, "/spec/strategy/canary"), replicas);
        let room = Room {
            replicas,
            surge,
            unavailable,
        };
        let family = self.family(rollout, HASH);
        let mut founded = false;
        if object::at(rollout, "/spec/paused") == true {
            // Neither grows nor moves.
        } else if family.new.is_none() {
            let first = (replicas + surge - family.sum("/spec/replicas")).clamp(0, replicas);
            self.found(rollout, &family, HASH, first);
            founded = true;
        } else {
            self.annotate(key, rollout, &family);
            self.roll(&family, room);
        }
        let restarted = self.restart(key, rollout, &family, room);
        let status = self.rollout_status(key, rollout, &family, (room, founded), restarted);
        self.report(key, status);
    }

    /// Evicts Pods that are older than `restartAt`, as many at a time as may be missing. Gives `restartedAt`.
    fn restart(
        &mut self,
        key: &Key,
        rollout: &Value,
        family: &Family,
        room: Room,
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
            self.again_at(key, at);
            return before();
        }
        let total = family.sum("/spec/replicas").max(room.replicas);
        let mut pods = Vec::new();
        for set in family.all() {
            pods.extend(self.owned(set, Kind::Pod));
        }
        let mut available = 0;
        for pod in &pods {
            available += i64::from(self.is_available(key, rollout, pod));
        }
        let mut allowed = room.unavailable.max(1) - (total - available);
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
                // The budget says no: the real controller comes back after a while too.
                self.again(
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
        (room, founded): (Room, bool),
        restarted: Option<String>,
    ) -> Value {
        let available = family.sum("/status/availableReplicas");
        let hash = |set: &Value| object::label(set, HASH).unwrap_or_default().to_owned();
        let present = family.new.as_ref().map(|set| hash(set)).unwrap_or_default();
        // To this controller a generation is a text.
        let mut status = without_zeros(json!({
            "observedGeneration": object::generation(rollout).to_string(),
            "replicas": family.sum("/status/replicas"), "HPAReplicas": family.sum("/status/replicas"),
            "updatedReplicas": family.of_new("/status/replicas"),
            "readyReplicas": family.sum("/status/readyReplicas"), "availableReplicas": available,
            "currentPodHash": present,
        }));
        let mut conditions = object::items(rollout, "/status/conditions").to_vec();
        let enough = available >= room.replicas - room.unavailable;
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
        let course = Course {
            name: family
                .new
                .as_ref()
                .map_or(String::new(), |set| object::name(set).to_owned()),
            replicas: room.replicas,
            founded,
        };
        let complete = self.progress(key, rollout, &status, &mut conditions, &course);
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

/// How it is with a Rollout, in one word, and why.
fn phase(
    rollout: &Value,
    conditions: &[Value],
    complete: bool,
    restarted: Option<&str>,
) -> (&'static str, &'static str) {
    let asked = object::text(rollout, "/spec/restartAt");
    let is_late = condition::find(conditions, "Progressing")
        .is_some_and(|condition| object::text(condition, "/status") == "False");
    if object::at(rollout, "/spec/paused") == true {
        ("Paused", "manually paused")
    } else if is_late {
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
