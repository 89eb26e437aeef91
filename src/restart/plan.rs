//! The restart plan: one step for each workload that a rule covers, with the decision and its reason.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    decide::{Action, Context, Decision, Write, decide, evaluate, guard, is_held_back},
    stamp::Stamp,
    subject::Subject,
    waves::{Due, RestartAt, Wave, waves},
};
use crate::{
    index::Table,
    inventory::Gap,
    noun::counted,
    policy::{Policy, RestartRule},
    reason::Reason,
    workload::{Health, Owner, Pod, Strategy, Workload, WorkloadId},
};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestartPlan {
    /// One for each workload that a rule covers, sorted.
    pub steps: Table<RestartAt, Step>,
    /// The order of the restarts, including conditional ones.
    pub waves: Vec<Wave>,
    /// By rule: workloads that were restarted with the current data and are still rolling out. Their namespaces wait for them.
    pub awaited: BTreeMap<usize, Vec<WorkloadId>>,
    /// Rules with the namespaces in which a restarted workload is not healthy. They go last.
    pub failed_before: BTreeSet<(usize, String)>,
    /// Lists and objects that could not be read.
    pub gaps: Vec<Gap>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub id: WorkloadId,
    /// The uid of the object that was planned for.
    pub uid: String,
    /// The index of the rule.
    pub rule: usize,
    pub decision: Decision,
    /// The number of its wave within its rule.
    pub wave: Option<u32>,
    /// If it runs with old data: the pods that may have it.
    pub old_pods: Vec<String>,
    /// True if it goes before the others of its namespace: an unhealthy workload that was already restarted.
    pub first: bool,
    pub owner: Option<Owner>,
    /// True if its restart changes the object, so that its owner may take it back.
    pub may_be_taken_back: bool,
}

impl RestartPlan {
    /// The number of restarts, including conditional ones.
    pub fn restarts(&self) -> usize {
        self.waves.iter().map(|wave| wave.members.len()).sum()
    }

    /// Stamps that are written without a restart.
    pub fn writes(&self) -> impl Iterator<Item = (&Step, &Write)> {
        self.steps
            .iter()
            .filter_map(|step| Some((step, step.decision.write.as_ref()?)))
    }

    /// The workloads that are restarted or may be restarted.
    pub fn foreseen(&self) -> BTreeSet<&WorkloadId> {
        let foreseen = self.steps.iter();
        foreseen
            .filter(|step| step.decision.action != Action::Leave)
            .map(|step| &step.id)
            .collect()
    }

    /// True if executing the plan writes anything.
    pub fn writes_anything(&self) -> bool {
        self.restarts() > 0 || self.writes().next().is_some()
    }

    /// Restarts only these workloads.
    pub fn confine_to(&mut self, foreseen: &BTreeSet<&WorkloadId>, policy: &Policy) {
        leave_all_but(&mut self.steps, foreseen);
        order(self, policy);
    }

    /// Restarts nothing in these namespaces. Each has a text that says why. Stamps are still written, so that a pending restart
    /// stays known.
    pub fn leave_namespaces(
        &mut self,
        policy: &Policy,
        reason: Reason,
        namespaces: &BTreeMap<String, String>,
    ) {
        for step in &mut self.steps {
            let decision = &mut step.decision;
            // A Secret whose sync the same limit prevents is not verified.
            let is_due =
                decision.action != Action::Leave || decision.reason == Reason::SecretNotVerified;
            if is_due && let Some(why) = namespaces.get(&step.id.namespace) {
                decision.action = Action::Leave;
                decision.reason = reason;
                decision.message.clone_from(why);
            }
        }
        if !namespaces.is_empty() {
            order(self, policy);
        }
    }
}

/// Decides about all workloads, before the first sync. If a plan was shown before, only workloads that it `foresaw` are
/// restarted.
pub fn plan(
    policy: &Policy,
    subjects: &[Subject],
    context: Context<'_>,
    foresaw: Option<&BTreeSet<&WorkloadId>>,
) -> RestartPlan {
    let mut plan = of_each(policy, subjects, context, decide);
    if let Some(foresaw) = foresaw {
        leave_all_but(&mut plan.steps, foresaw);
    }
    order(&mut plan, policy);
    plan
}

/// Returns the plan after the syncs, with the conditions evaluated. Restarts only workloads that the plan foresaw.
pub fn due(
    plan: &RestartPlan,
    policy: &Policy,
    subjects: &[Subject],
    context: Context<'_>,
) -> RestartPlan {
    let mut due = of_each(policy, subjects, context, evaluate);
    leave_all_but(&mut due.steps, &plan.foreseen());
    let without_pods =
        |subject: &&Subject| subject.pods.is_some() && subject.all_pods().next().is_none();
    let without_pods: BTreeSet<&WorkloadId> = subjects
        .iter()
        .filter(without_pods)
        .map(|subject| &subject.workload.id)
        .collect();
    for step in &mut due.steps {
        // A workload without pods does not run with old data.
        step.decision.behind &= !without_pods.contains(&step.id);
    }
    order(&mut due, policy);
    due
}

/// Creates a step for each workload from its decision and from the state of the other workloads of its rule.
fn of_each(
    policy: &Policy,
    subjects: &[Subject],
    context: Context<'_>,
    decide: impl Fn(&Subject, &RestartRule, Context<'_>) -> Decision,
) -> RestartPlan {
    let mut plan = RestartPlan::default();
    let mut stopped: BTreeMap<(usize, String), String> = BTreeMap::new();
    for subject in subjects {
        let Some(rule) = policy.restart.get(subject.rule) else {
            continue;
        };
        let decision = decide(subject, rule, context);
        let stamp = stamp_of(subject);
        let stamp = stamp.as_ref();
        let id = &subject.workload.id;
        let of = (subject.rule, id.namespace.clone());
        // Pods that are held back show nothing about the new data.
        let pending = stamp.filter(|stamp| {
            guard::is_pending(subject, context, stamp) && !is_held_back(subject, stamp)
        });
        let lacks =
            |workload: &Workload| workload.health != Health::Healthy && !workload.can_roll(0);
        if pending.is_some() && lacks(&subject.workload) {
            plan.failed_before.insert(of.clone());
        }
        if decision.action != Action::Restart
            && pending.is_some_and(|stamp| guard::is_on_present_data(subject, context, stamp))
        {
            match &subject.workload.health {
                Health::Healthy => {}
                _ if subject.workload.can_roll(0) => {}
                Health::Unobserved | Health::Rolling(_) | Health::Unavailable(_) => {
                    let awaited = plan.awaited.entry(subject.rule).or_default();
                    awaited.push(id.clone());
                }
                // The run may change the data, which may fix the workload. The condition is then evaluated with the new data.
                Health::Failing(_) if may_change(subject, context) => {}
                Health::Failing(why) => {
                    let why = format!(
                        "{id} was restarted with the current data and is not healthy: {why}"
                    );
                    stopped.entry(of).or_insert(why);
                }
            }
        }
        plan.steps.push(step(subject, decision, stamp, rule));
    }
    if !context.retry {
        stop(&mut plan.steps, &stopped);
    }
    plan.warnings = warnings(&plan.steps);
    plan
}

/// The step for a workload, with the pods that may run with old data.
pub(super) fn step(
    subject: &Subject,
    decision: Decision,
    stamp: Option<&Stamp>,
    rule: &RestartRule,
) -> Step {
    let evicting = stamp
        .and_then(|stamp| stamp.evicting.as_ref())
        .filter(|evicting| evicting.secrets == subject.prints());
    let mut old_pods = Vec::new();
    if decision.behind {
        let old = |pod: &&Pod| {
            let changed = decision.changes.iter().any(|change| {
                let concern = subject.secrets.get(&change.secret);
                concern.is_some_and(|concern| !concern.is_current_for(pod))
            });
            // Pods created after an eviction began have the current data.
            match evicting {
                Some(evicting) => evicting.covers(pod),
                None => changed || stamp.is_some_and(|stamp| stamp.is_old(pod)),
            }
        };
        let pods = subject.all_pods().filter(old);
        old_pods.extend(pods.map(|pod| pod.name.clone()));
        old_pods.sort();
    }
    let unhealthy = subject.workload.health != Health::Healthy;
    let first = unhealthy
        && decision.action == Action::Restart
        && stamp.is_some_and(|stamp| stamp.evicting.is_some() || !stamp.restarts.is_empty());
    Step {
        first,
        id: subject.workload.id.clone(),
        uid: subject.workload.uid.clone(),
        rule: subject.rule,
        decision,
        wave: None,
        old_pods,
        owner: subject.workload.owner.clone(),
        may_be_taken_back: rule.strategy == Strategy::Rollout && subject.workload.owner.is_some(),
    }
}

/// True if the run may change the data of one of its Secrets.
fn may_change(subject: &Subject, context: Context<'_>) -> bool {
    let workload = &subject.workload;
    subject
        .counting()
        .any(|(name, _)| context.may_change(workload, name))
}

/// Returns the stamp of a workload, if it is valid and was made for this object.
pub(super) fn stamp_of(subject: &Subject) -> Option<Stamp> {
    let stamp = subject.stamp()?.ok()?;
    (stamp.of == subject.workload.uid).then_some(stamp)
}

/// Starts no other restart of a rule in a namespace that has an unhealthy workload after a restart by the rule.
fn stop(steps: &mut Table<RestartAt, Step>, stopped: &BTreeMap<(usize, String), String>) {
    for step in &mut *steps {
        let Some(why) = stopped.get(&(step.rule, step.id.namespace.clone())) else {
            continue;
        };
        if step.decision.action != Action::Leave {
            step.decision.action = Action::Leave;
            step.decision.reason = Reason::NamespaceStopped;
            step.decision.message.clone_from(why);
        }
    }
}

/// Restarts only workloads that the shown plan contained.
fn leave_all_but(steps: &mut Table<RestartAt, Step>, foreseen: &BTreeSet<&WorkloadId>) {
    for step in &mut *steps {
        if step.decision.action != Action::Leave && !foreseen.contains(&step.id) {
            step.decision.action = Action::Leave;
            step.decision.reason = Reason::NotPlanned;
        }
    }
}

/// Groups the restarts into waves.
fn order(plan: &mut RestartPlan, policy: &Policy) {
    let restarts = plan
        .steps
        .entries()
        .filter(|(_, step)| step.decision.action != Action::Leave)
        .map(|(at, step)| Due {
            at,
            rule: step.rule,
            namespace: &step.id.namespace,
            first: step.first,
            last: plan
                .failed_before
                .contains(&(step.rule, step.id.namespace.clone())),
        })
        .collect();
    plan.waves = waves(&policy.restart, restarts);
    for step in &mut plan.steps {
        step.wave = None;
    }
    for wave in &plan.waves {
        for &member in &wave.members {
            plan.steps[member].wave = Some(wave.number);
        }
    }
}

fn warnings(steps: &Table<RestartAt, Step>) -> Vec<String> {
    let count = |reason: Reason| {
        let written = steps.iter().filter_map(|step| step.decision.write.as_ref());
        written.filter(|write| write.reason == reason).count()
    };
    let mut warnings = Vec::new();
    let replaced = count(Reason::KeyReplaced);
    if replaced > 0 {
        warnings.push(format!(
            "the stamps of {} were made with another key. They are created again, and pending restarts are no longer \
             known. Check if the key was deleted, or if another run keeps a key elsewhere",
            counted(replaced, "workload")
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
