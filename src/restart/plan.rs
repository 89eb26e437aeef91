//! The part of the plan that restarts: every workload that a rule covers, once, with what becomes of it and why.

use std::collections::BTreeMap;

use super::{
    decide::{Action, Context, Decision, Write, decide},
    stamp::Stamp,
    subject::Subject,
    waves::{Wave, waves},
};
use crate::{
    inventory::Gap,
    policy::Policy,
    reason::Reason,
    workload::{Health, WorkloadId},
};

/// What is restarted, what may be, and what is left alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestartPlan {
    /// Every workload that a rule covers, in order.
    pub steps: Vec<Step>,
    /// The order in which those are restarted that are, or may be.
    pub waves: Vec<Wave>,
    /// By rule: workloads that were restarted on the present data and still roll. They are waited for first.
    pub awaited: BTreeMap<usize, Vec<WorkloadId>>,
    /// Set where a limit refuses the run as a whole.
    pub refusal: Option<Refusal>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// One workload and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which one.
    pub id: WorkloadId,
    /// The object that it was planned for.
    pub uid: String,
    /// The rule that decides about it.
    pub rule: usize,
    /// What is decided.
    pub decision: Decision,
    /// Its place among the waves of its rule.
    pub wave: Option<u32>,
    /// Where it runs on old data: the pods that may.
    pub old_pods: Vec<String>,
}

/// A limit that the plan passes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} workloads would be restarted if their data changes, and safety.maxRestarts allows {limit}"
)]
pub struct Refusal {
    /// What the policy allows.
    pub limit: u32,
    /// What may be done.
    pub wanted: usize,
}

impl RestartPlan {
    /// Those that are restarted, or may be.
    pub fn restarts(&self) -> usize {
        self.waves.iter().map(|wave| wave.members.len()).sum()
    }

    /// The stamps that are written without a restart.
    pub fn writes(&self) -> impl Iterator<Item = (&Step, &Write)> {
        self.steps
            .iter()
            .filter_map(|step| Some((step, step.decision.write.as_ref()?)))
    }

    /// Whether carrying it out writes anything.
    pub fn writes_anything(&self) -> bool {
        self.restarts() > 0 || self.writes().next().is_some()
    }
}

/// Decides about all of them.
pub fn plan(policy: &Policy, subjects: &[Subject], context: Context<'_>) -> RestartPlan {
    let mut plan = RestartPlan::default();
    let mut stopped: BTreeMap<usize, String> = BTreeMap::new();
    for subject in subjects {
        let Some(rule) = policy.restart.get(subject.rule) else {
            continue;
        };
        let decision = decide(subject, rule, context);
        if decision.action != Action::Restart && carries_a_restart(subject, context) {
            let id = &subject.workload.id;
            match &subject.workload.health {
                Health::Healthy => {}
                Health::Unobserved | Health::Rolling(_) => {
                    let awaited = plan.awaited.entry(subject.rule).or_default();
                    awaited.push(id.clone());
                }
                Health::Failing(why) | Health::Unavailable(why) => {
                    let why =
                        format!("{id} was restarted on the present data and is not healthy: {why}");
                    stopped.entry(subject.rule).or_insert(why);
                }
            }
        }
        plan.steps.push(step(subject, decision));
    }
    if !context.retry {
        stop(&mut plan.steps, &stopped);
    }
    order(&mut plan, policy);
    plan.warnings = warnings(&plan.steps);
    let wanted = plan.restarts();
    if wanted > policy.safety.max_restarts as usize {
        plan.refusal = Some(Refusal {
            limit: policy.safety.max_restarts,
            wanted,
        });
    }
    plan
}

/// What is decided about a workload, with the pods that may run on old data.
pub(super) fn step(subject: &Subject, decision: Decision) -> Step {
    let mut old_pods = Vec::new();
    if decision.behind {
        let old = |pod: &&crate::workload::Pod| {
            decision.changes.iter().any(|change| {
                let concern = subject.secrets.get(&change.secret);
                concern.is_some_and(|concern| !concern.is_had_by(pod))
            })
        };
        let pods = subject.pods.iter().flatten().filter(old);
        old_pods.extend(pods.map(|pod| pod.name.clone()));
        old_pods.sort();
    }
    Step {
        id: subject.workload.id.clone(),
        uid: subject.workload.uid.clone(),
        rule: subject.rule,
        decision,
        wave: None,
        old_pods,
    }
}

/// Whether the last thing that happened to it was a restart of ours, on the data as it is.
fn carries_a_restart(subject: &Subject, context: Context<'_>) -> bool {
    let stamp = subject
        .workload
        .stamp
        .as_deref()
        .map(Stamp::parse)
        .and_then(Result::ok);
    let Some(stamp) = stamp.filter(|stamp| stamp.of == subject.workload.uid) else {
        return false;
    };
    stamp
        .restarts
        .last()
        .is_some_and(|last| last.data == context.key.digest_of(&stamp.of, &stamp.secrets))
}

/// Starts no other of a rule while one that it restarted is not healthy.
fn stop(steps: &mut [Step], stopped: &BTreeMap<usize, String>) {
    for step in steps {
        let Some(why) = stopped.get(&step.rule) else {
            continue;
        };
        if step.decision.action != Action::Leave {
            step.decision.action = Action::Leave;
            step.decision.reason = Reason::RuleStopped;
            step.decision.message.clone_from(why);
        }
    }
}

/// Puts the restarts in waves.
pub(super) fn order(plan: &mut RestartPlan, policy: &Policy) {
    let restarts: Vec<(usize, usize)> = plan
        .steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.decision.action != Action::Leave)
        .map(|(index, step)| (index, step.rule))
        .collect();
    plan.waves = waves(&policy.restart, &restarts);
    for step in &mut plan.steps {
        step.wave = None;
    }
    for wave in &plan.waves {
        for &member in &wave.members {
            if let Some(step) = plan.steps.get_mut(member) {
                step.wave = Some(wave.number);
            }
        }
    }
}

fn warnings(steps: &[Step]) -> Vec<String> {
    let count = |reason: Reason| {
        let written = steps.iter().filter_map(|step| step.decision.write.as_ref());
        written.filter(|write| write.reason == reason).count()
    };
    let mut warnings = Vec::new();
    let replaced = count(Reason::KeyReplaced);
    if replaced > 0 {
        warnings.push(format!(
            "{replaced} workloads bear stamps that were made with another key: they are noted anew, and a restart that was owed \
             before is no longer known. Was the key deleted, or does another run keep one elsewhere?"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
