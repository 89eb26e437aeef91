//! The health of a workload, from its status only, never from elapsed time.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Kind, Owner,
    object::{ContainerStatus, Object, PodObject, Terminated, is_ready},
};

/// The health of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All pods are available and have the current template.
    Healthy,
    /// The controller has not observed the latest generation. Even a new stamp causes this on a Deployment.
    Unobserved,
    /// Pods are being replaced.
    Rolling(String),
    /// The controller reports a failure.
    Failing(String),
    /// Nothing is being replaced, but pods are not available.
    Unavailable(String),
}

/// The pods that a DaemonSet lacks, and how many its own rollout may take away. All zero for other kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// `maxUnavailable` of its update strategy.
    pub allowed: i64,
    /// Pods that are not available.
    pub lacking: i64,
    /// Pods that do not have the current template.
    pub outdated: i64,
}

/// The facts that decide about health, for all kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// True if the controller has observed the latest spec.
    observed: bool,
    /// Desired pods.
    pub(super) wanted: i64,
    /// Pods that must have the current template: fewer if a partition excludes some.
    renewed: i64,
    /// Pods with the current template.
    updated: i64,
    /// All pods.
    present: i64,
    /// Available pods.
    available: i64,
    /// The controller's message about a failure.
    failed: Option<String>,
    /// For a Rollout or a pod.
    pub(super) phase: String,
    /// For a Rollout: a restart was requested and is not done yet.
    restarting: bool,
    /// For a DaemonSet: `maxUnavailable`.
    allowed: i64,
}

impl Counts {
    pub(super) fn of(kind: Kind, object: &Object) -> Self {
        let Object {
            metadata,
            spec,
            status,
        } = object;
        let observed = &status.observed_generation;
        let observed = match observed.as_str() {
            Some(text) => text.parse().ok(),
            None => observed.as_i64(),
        };
        let wanted = spec.replicas.unwrap_or(1);
        let mut counts = Self {
            observed: observed.is_some_and(|observed| observed >= metadata.generation),
            wanted,
            renewed: wanted,
            updated: status.updated_replicas,
            present: status.replicas,
            available: status.available_replicas,
            ..Self::default()
        };
        match kind {
            Kind::Deployment => counts.failed = deadline_exceeded(object),
            Kind::Pod => counts.pod(object),
            Kind::ReplicaSet => counts.updated = status.replicas,
            Kind::Rollout => counts.rollout(object),
            Kind::StatefulSet => counts.stateful_set(object),
            Kind::DaemonSet => {
                counts.wanted = status.desired_number_scheduled;
                counts.renewed = counts.wanted;
                counts.updated = status.updated_number_scheduled;
                counts.present = counts.wanted;
                counts.available = status.number_available;
                let rolling = &spec.update_strategy.rolling_update;
                counts.allowed = max_unavailable(&rolling.max_unavailable, counts.wanted);
            }
        }
        // With OnDelete, old pods do not mean that a rollout is in progress.
        if matches!(kind, Kind::DaemonSet | Kind::StatefulSet)
            && spec.update_strategy.r#type == "OnDelete"
        {
            counts.renewed = 0;
        }
        counts
    }

    pub(super) fn tolerance(&self) -> Tolerance {
        Tolerance {
            allowed: self.allowed,
            lacking: (self.wanted - self.available).max(0),
            outdated: (self.renewed - self.updated).max(0),
        }
    }

    /// A pod has no controller status of its own. Its conditions decide.
    fn pod(&mut self, object: &Object) {
        self.phase.clone_from(&object.status.phase);
        (self.observed, self.wanted, self.renewed) = (true, 1, 0);
        self.available = i64::from(is_ready(&object.status.conditions));
    }

    fn stateful_set(&mut self, object: &Object) {
        let status = &object.status;
        let partition = object.spec.update_strategy.rolling_update.partition;
        self.renewed = (self.wanted - partition).max(0);
        // Not every version of the controller sets `updatedReplicas` once all pods have one revision.
        if status.current_revision == status.update_revision {
            self.updated = self.updated.max(status.replicas);
        }
        // Pods that the partition excludes are expected to be old.
        self.present = self.present.min(self.wanted);
    }

    fn rollout(&mut self, object: &Object) {
        let status = &object.status;
        self.phase.clone_from(&status.phase);
        let done = |at: Timestamp| status.restarted_at.is_some_and(|done| done >= at);
        self.restarting = object.spec.restart_at.is_some_and(|at| !done(at));
        if status.phase == "Degraded" {
            self.failed = Some(status.message.clone());
        }
        // During canary steps both templates have pods on purpose, so only the phase counts.
        self.renewed = 0;
        if status.phase != "Healthy" && status.phase != "Paused" {
            self.restarting = true;
        }
    }
}

/// Returns which pods of a controller are not ready. While another pod of the controller is not ready, this one must not be
/// evicted.
pub fn lacking(owner: &Owner, ready: impl Iterator<Item = bool>) -> Option<String> {
    let (mut all, mut lacking) = (0_usize, 0_usize);
    for ready in ready {
        all += 1;
        lacking += usize::from(!ready);
    }
    if lacking == 0 {
        return None;
    }
    Some(format!(
        "{} of {all} pods of {owner} are ready",
        all - lacking
    ))
}

/// A number, or a share of the desired pods, rounded up. The default is 1.
fn max_unavailable(value: &Value, wanted: i64) -> i64 {
    let share = value.as_str().and_then(|text| text.strip_suffix('%'));
    match share.map(str::parse::<i64>) {
        Some(Ok(share)) => (wanted.max(0).saturating_mul(share) + 99) / 100,
        Some(Err(_)) => 0,
        None if value.is_null() => 1,
        None => value.as_i64().unwrap_or(0),
    }
}

fn deadline_exceeded(object: &Object) -> Option<String> {
    object
        .status
        .conditions
        .iter()
        .find(|condition| {
            condition.r#type == "Progressing" && condition.reason == "ProgressDeadlineExceeded"
        })
        .map(|condition| condition.message.clone())
}

pub(super) fn health(counts: &Counts) -> Health {
    let Counts {
        wanted,
        renewed,
        updated,
        present,
        available,
        ..
    } = counts;
    if !counts.observed {
        return Health::Unobserved;
    }
    if let Some(message) = &counts.failed {
        return Health::Failing(message.clone());
    }
    if updated < renewed || (*renewed > 0 && present > wanted) {
        let old = match present - wanted {
            old @ 1.. => format!(", {old} old pods still running"),
            _ => String::new(),
        };
        return Health::Rolling(format!(
            "{updated} of {renewed} pods have the current template, {available} of {wanted} are available{old}"
        ));
    }
    if counts.restarting {
        return Health::Rolling(format!(
            "its pods are being replaced, {available} of {wanted} are available"
        ));
    }
    if available < wanted {
        return Health::Unavailable(format!("{available} of {wanted} pods are available"));
    }
    Health::Healthy
}

/// Returns why a pod is not ready, or None if it is ready. Never includes text that a container wrote.
pub fn unready_reason(pod: &PodObject) -> Option<String> {
    let status = &pod.status;
    let holds = |name: &str, wanted: &str| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.r#type == name && condition.status == wanted)
    };
    if holds("Ready", "True") {
        return None;
    }
    let name = &pod.metadata.name;
    if holds("PodScheduled", "False") {
        return Some(format!("pod {name} cannot be scheduled"));
    }
    let mut containers = status
        .init_container_statuses
        .iter()
        .map(|it| ("init ", it));
    let first = containers
        .find(|(_, container)| !container.ready)
        .or_else(|| {
            let mut containers = status.container_statuses.iter().map(|it| ("", it));
            containers.find(|(_, container)| !container.ready)
        });
    Some(match first {
        Some((init, container)) => {
            let of = &container.name;
            format!(
                "{init}container {of} of pod {name} {}",
                container_state(container)
            )
        }
        None => format!("pod {name} is not ready"),
    })
}

fn container_state(container: &ContainerStatus) -> String {
    let ended = |how: &Terminated| {
        let code = how.exit_code;
        format!(
            "ended with exit code {code}{}",
            reason_in_brackets(&how.reason)
        )
    };
    let now = match (&container.state.waiting, &container.state.terminated) {
        (Some(waiting), _) => format!("is waiting{}", reason_in_brackets(&waiting.reason)),
        (None, Some(how)) => ended(how),
        (None, None) => "is running but not ready".to_owned(),
    };
    let again = match container.restart_count {
        0 => String::new(),
        count => format!(", restarted {count} times"),
    };
    let before = container.last_state.terminated.as_ref();
    let before = before.map(|how| format!(", last {}", ended(how)));
    format!("{now}{again}{}", before.unwrap_or_default())
}

/// A valid reason is one word. Anything else is dropped, because it may contain data.
fn reason_in_brackets(reason: &str) -> String {
    let is_word = !reason.is_empty() && reason.chars().all(|letter| letter.is_ascii_alphanumeric());
    if is_word {
        format!(" ({reason})")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::unready_reason;

    fn reason(status: &Value) -> Option<String> {
        let pod = json!({"metadata": {"name": "web-1"}, "status": status});
        unready_reason(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn unready_reason_omits_container_output() {
        let not_ready = json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}]);
        let of = |containers: &Value| {
            let status = json!({"conditions": not_ready, "containerStatuses": containers});
            reason(&status).unwrap()
        };
        assert_eq!(
            reason(&json!({"conditions": [{"type": "Ready", "status": "True"}]})),
            None
        );
        assert_eq!(
            of(&json!([
                {"name": "side", "ready": true, "state": {"running": {}}},
                {"name": "main", "ready": false, "restartCount": 5,
                 "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "wonderwall"}},
                 "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "message": "wonderwall"}}},
            ])),
            "container main of pod web-1 is waiting (CrashLoopBackOff), restarted 5 times, last ended with exit code 1 (Error)"
        );
        assert_eq!(
            of(&json!([{"name": "main", "ready": false, "state": {"running": {}}}])),
            "container main of pod web-1 is running but not ready"
        );
        assert_eq!(
            of(
                &json!([{"name": "main", "ready": false, "state": {"terminated": {"reason": "no word: wonderwall", "exitCode": 137}}}])
            ),
            "container main of pod web-1 ended with exit code 137"
        );
        assert_eq!(of(&json!([])), "pod web-1 is not ready");
        assert_eq!(
            reason(&json!({
                "conditions": not_ready,
                "initContainerStatuses": [{"name": "migrate", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
                "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}],
            }))
            .unwrap(),
            "init container migrate of pod web-1 is waiting (ImagePullBackOff)"
        );
        let unscheduled =
            json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]);
        assert_eq!(
            reason(&json!({"conditions": unscheduled})).unwrap(),
            "pod web-1 cannot be scheduled"
        );
    }
}
