//! Completes the results after the second read: workloads that are no longer covered, those left to another tool, and Secrets.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::Id;

use super::{
    decide::{Action, Context},
    plan::{RestartPlan, Step},
    results::{RestartOutcome, RestartResult, RestartResults, SecretSeen},
    subject::{Concern, Standing},
    workloads::Workloads,
};
use crate::{key_names::KeyName, policy::Policy, reason::Reason, workload::WorkloadId};

/// Adds the workloads that were not restarted: all that the plan restarts or may restart, and all that ran or run with old
/// data.
pub(super) fn complete(
    results: &mut RestartResults,
    (before, seen_before): (&RestartPlan, &Workloads),
    (now, seen_now): (&RestartPlan, &Workloads),
) {
    let told: BTreeSet<&WorkloadId> = before
        .steps
        .iter()
        .filter(|step| step.decision.action != Action::Leave || step.decision.behind)
        .map(|step| &step.id)
        .collect();
    for step in &now.steps {
        if told.contains(&step.id) || step.decision.behind {
            let left = || RestartResult::left(step);
            results.of.entry(step.id.clone()).or_insert_with(left);
        }
    }
    results
        .of
        .extend(left_to_others(now, seen_before, seen_now));
    for step in &before.steps {
        if step.decision.action != Action::Leave {
            let unseen = || result_if_not_covered(step, seen_now);
            results.of.entry(step.id.clone()).or_insert_with(unseen);
        }
    }
}

/// The result of a planned workload that no rule covers any more.
fn result_if_not_covered(step: &Step, seen: &Workloads) -> RestartResult {
    if let Some(unseen) = seen.unseen(&step.id) {
        let outcome = RestartOutcome::NotReached;
        return RestartResult::with_old_data_of(step, outcome, unseen.reason, unseen.why.clone());
    }
    let reason = if seen.present.contains(&step.id) {
        Reason::NoReference
    } else {
        Reason::Deleted
    };
    RestartResult::without(RestartOutcome::Left, reason, "")
}

/// Workloads that another tool restarts and whose data changed between the two reads, with their remaining old pods.
fn left_to_others(
    plan: &RestartPlan,
    before: &Workloads,
    now: &Workloads,
) -> Vec<(WorkloadId, RestartResult)> {
    let (before, now) = (before.by_id(), now.by_id());
    let left = |step: &Step| {
        let (was, is) = before.get(&step.id).zip(now.get(&step.id))?;
        let changed = is.secrets.iter().any(|(name, concern)| {
            let then = was.secrets.get(name).and_then(Concern::now);
            let both = then.zip(concern.now());
            concern.left_to_other && both.is_some_and(|(then, now)| then.prints != now.prints)
        });
        let (pods_then, pods_now) = was.pods.as_ref().zip(is.pods.as_ref())?;
        let old = pods_now
            .iter()
            .filter(|pod| pods_then.iter().any(|then| then.uid == pod.uid));
        let mut result = RestartResult::left(step);
        result.old_pods = old.map(|pod| pod.name.clone()).collect();
        result.behind = !result.old_pods.is_empty();
        changed.then_some((step.id.clone(), result))
    };
    plan.steps
        .iter()
        .filter(|step| step.decision.reason.is_left_to_another_tool())
        .filter_map(left)
        .collect()
}

/// The Secrets that count for any of the workloads.
pub(super) fn secrets_seen(
    seen: &Workloads,
    policy: &Policy,
    context: Context<'_>,
) -> BTreeMap<Id, SecretSeen> {
    let mut secrets: BTreeMap<Id, SecretSeen> = BTreeMap::new();
    for subject in &seen.subjects {
        let workload = &subject.workload.id;
        let Some(rule) = policy.restart.get(subject.rule) else {
            continue;
        };
        for (name, concern) in subject.counting() {
            let id = Id {
                namespace: workload.namespace.clone(),
                name: name.clone(),
            };
            let entry = secrets.entry(id).or_default();
            entry.used_by.push(workload.clone());
            let keys = || concern.now().into_iter().flat_map(|now| now.prints.keys());
            let shown = keys().filter_map(KeyName::shown).map(str::to_owned);
            entry.keys.extend(shown);
            // Each workload has its own label for a hidden name.
            let hidden = keys().filter(|name| name.shown().is_none()).count();
            entry.hidden_keys = entry.hidden_keys.max(hidden);
            entry.doubt = match context.standing(&subject.workload, rule, name, concern) {
                Standing::Verified => None,
                Standing::Pending => Some("it was not synced".to_owned()),
                Standing::Tampered => Some("someone other than the operator edited it".to_owned()),
                Standing::Unverified(why) => Some(why),
            };
        }
    }
    secrets
}
