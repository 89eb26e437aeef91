//! How a workload is: told by its own status, never by the time that has passed.

use jiff::Timestamp;

use super::{
    Kind, Owner,
    object::{Object, is_ready},
};

/// How a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All of its pods are of the present template, and available.
    Healthy,
    /// Its controller has not seen it as it is: nothing can be told. A stamp is enough for that, on a Deployment.
    Unobserved,
    /// Pods are being replaced.
    Rolling(String),
    /// It is said to have failed.
    Failing(String),
    /// Nothing is being replaced, but pods are lacking.
    Unavailable(String),
}

/// What health is told by, in the same words for all kinds.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Whether the controller has seen the present spec.
    observed: bool,
    /// Pods that are asked for.
    pub(super) wanted: i64,
    /// Pods that have to be of the present template: fewer where a partition holds some back.
    renewed: i64,
    /// Pods of the present template.
    updated: i64,
    /// Pods that there are.
    present: i64,
    /// Pods that are available.
    available: i64,
    /// What the controller says has failed.
    failed: Option<String>,
    /// Of a Rollout.
    pub(super) phase: String,
    /// Of a Rollout: a restart that is asked for and not carried out yet.
    restarting: bool,
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
            }
        }
        // Where pods are only replaced by hand, old ones are no rollout under way.
        if matches!(kind, Kind::DaemonSet | Kind::StatefulSet)
            && spec.update_strategy.r#type == "OnDelete"
        {
            counts.renewed = 0;
        }
        counts
    }

    /// A pod is as its kubelet reports it.
    fn pod(&mut self, object: &Object) {
        self.phase.clone_from(&object.status.phase);
        (self.observed, self.wanted, self.renewed) = (true, 1, 0);
        self.available = i64::from(is_ready(&object.status.conditions));
    }

    fn stateful_set(&mut self, object: &Object) {
        let status = &object.status;
        let partition = object.spec.update_strategy.rolling_update.partition;
        self.renewed = (self.wanted - partition).max(0);
        // Once all are of one revision, `updatedReplicas` is no longer counted by every version of the controller.
        if status.current_revision == status.update_revision {
            self.updated = self.updated.max(status.replicas);
        }
        // Those that the partition holds back are meant to be old.
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
        // During canary steps both templates have pods by design; the phase tells.
        self.renewed = 0;
        if status.phase != "Healthy" && status.phase != "Paused" {
            self.restarting = true;
        }
    }
}

/// A pod is one of those that its controller keeps: while another of them is lacking, it is not the time to take this one away.
/// Says what is lacking.
pub fn lacking(owner: &Owner, ready: impl Iterator<Item = bool>) -> Option<String> {
    let (mut all, mut lacking) = (0_usize, 0_usize);
    for ready in ready {
        all += 1;
        lacking += usize::from(!ready);
    }
    if lacking == 0 {
        return None;
    }
    let Owner { kind, name, .. } = owner;
    Some(format!(
        "{} of {all} pods of {kind} {name} are ready",
        all - lacking
    ))
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
        return Health::Rolling(format!(
            "{updated} of {renewed} pods are of the present template, {available} of {wanted} available"
        ));
    }
    if counts.restarting {
        return Health::Rolling(format!(
            "its pods are being replaced, {available} of {wanted} available"
        ));
    }
    if available < wanted {
        return Health::Unavailable(format!("{available} of {wanted} pods are available"));
    }
    Health::Healthy
}
