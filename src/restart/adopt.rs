//! Writes stamps without a restart, before the first sync, so that the first rotation that a run syncs already causes a
//! restart.

use std::time::Duration;

use cluster::{ApiError, Cluster, ErrorKind};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    decide::Write,
    key,
    known::Known,
    plan::{RestartPlan, Step},
    reasons::reason_of,
    results::{RestartOutcome, RestartResult, RestartResults},
    stamp::Stamp,
    workloads::{Keeper, Stamps, Workloads},
};
use crate::{
    reason::Reason,
    stop::{Level, Stop},
    workload::{Health, STAMP, object::Object},
};

/// Parallel writes.
const AT_ONCE: usize = 10;

/// Attempts if the workload changes at the same time or the API server is unavailable.
const TRIES: usize = 7;

/// The pause before the second attempt. It doubles each time, to wait for an API server that is down for a few seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Writes the stamps of the plan, then records the stamped workloads. In this order, a run killed in between leaves unrecorded
/// stamps instead of records of missing stamps.
pub(super) async fn adopt(
    cluster: &Cluster,
    stamps: &mut Stamps,
    seen: &Workloads,
    plan: &RestartPlan,
    stop: &Stop,
) -> RestartResults {
    let Stamps { keeper, known } = stamps;
    let mut results = RestartResults::default();
    let due = plan.writes().take_while(|_| stop.level() == Level::Run);
    let written: Vec<(&Step, &Write, Result<(), ApiError>)> = stream::iter(due)
        .map(async |(step, write)| {
            let put = put(cluster, seen, step, &write.stamp, stop);
            (step, write, put.await)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let before = known.clone();
    record_existing_stamps(known, seen);
    for (step, write, outcome) in written {
        let result = match outcome {
            Ok(()) => {
                known.note(&step.id, &step.uid, write.stamp.seq);
                let outcome = if write.adopts() {
                    RestartOutcome::Adopted
                } else {
                    RestartOutcome::Renewed
                };
                let message = step.decision.message.clone();
                RestartResult::with_old_data_of(step, outcome, write.reason, message)
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                RestartResult::without(RestartOutcome::Left, Reason::Deleted, "")
            }
            Err(error) => RestartResult::with_old_data_of(
                step,
                RestartOutcome::Failed,
                reason_of(&error),
                format!("its stamp was not written: {error}"),
            ),
        };
        results.of.insert(step.id.clone(), result);
    }
    for (step, _) in plan.writes() {
        if let Level::Drain(reason) | Level::Now(reason) = stop.level() {
            results.stopped = Some(reason);
            results.of.entry(step.id.clone()).or_insert_with(|| {
                RestartResult::with_old_data_of(step, RestartOutcome::NotReached, reason, "")
            });
        }
    }
    if let Err(warning) = remember(cluster, keeper, &before, known).await {
        results.warnings.push(warning);
    }
    results
}

/// Records the stamped workloads if the list changed.
pub(super) async fn remember(
    cluster: &Cluster,
    keeper: &Keeper,
    before: &Known,
    after: &Known,
) -> Result<(), String> {
    if before == after {
        return Ok(());
    }
    key::remember(cluster, &keeper.namespace, before, after)
        .await
        .map_err(|error| {
            format!(
                "could not record which workloads have a stamp, so a removed stamp will not be noticed: {error}"
            )
        })
}

/// Records stamps that a killed run left unrecorded, and removes workloads that no longer exist.
fn record_existing_stamps(known: &mut Known, seen: &Workloads) {
    let gone: Vec<_> = known
        .ids()
        .filter(|id| seen.was_listed(id) && !seen.present.contains(id))
        .cloned()
        .collect();
    for id in &gone {
        known.forget(id);
    }
    for subject in &seen.subjects {
        let workload = &subject.workload;
        let stamp = workload.stamp.as_deref().map(Stamp::parse);
        let Some(Ok(stamp)) =
            stamp.filter(|stamp| stamp.as_ref().is_ok_and(|stamp| stamp.of == workload.uid))
        else {
            continue;
        };
        let (id, uid) = (&workload.id, &workload.uid);
        let healthy = workload.health == Health::Healthy || workload.can_roll(subject.ending.len());
        let noted = known.seq(id, uid);
        // A restored older stamp does not show how the last recorded restart ended.
        let is_newest = noted.is_none_or(|seq| seq <= stamp.seq);
        // A pod from before the restart may still run with the old data.
        let replaced = subject.pods.is_some() && subject.unreplaced(&stamp).is_empty();
        let ended = healthy && replaced && known.is_pending(id, uid);
        if is_newest && (noted != Some(stamp.seq) || ended) {
            let unproven = !healthy || !replaced;
            let pending = unproven && !stamp.restarts.is_empty();
            known.record_restart(id, uid, stamp.seq, pending);
        }
    }
}

/// Writes one stamp. Retries only if the workload's Secrets and stamp are still those that were decided about.
async fn put(
    cluster: &Cluster,
    seen: &Workloads,
    step: &Step,
    stamp: &Stamp,
    until: &Stop,
) -> Result<(), ApiError> {
    let decided = seen
        .subjects
        .iter()
        .find(|subject| subject.workload.id == step.id)
        .map(|subject| &subject.workload);
    let mut version = decided
        .map(|workload| workload.resource_version.clone())
        .unwrap_or_default();
    let path = step.id.path();
    let mut left = TRIES;
    let mut pause = FIRST_PAUSE;
    loop {
        let body = body(&step.uid, &version, stamp);
        let patched = cluster.patch::<serde::de::IgnoredAny>(&path, &body);
        let Err(error) = patched.await else {
            return Ok(());
        };
        left -= 1;
        let may_help = matches!(error.kind, ErrorKind::Conflict | ErrorKind::Unavailable);
        if left == 0 || !may_help || until.level() != Level::Run {
            return Err(error);
        }
        sleep(pause).await;
        pause *= 2;
        // Most conflicts are status updates by the controller.
        let now = match cluster.get::<Object>(&path).await {
            Ok(now) => now.workload(step.id.kind),
            Err(error) if error.kind == ErrorKind::Unavailable => continue,
            Err(error) => return Err(error),
        };
        if now.stamp == stamp.to_text() {
            return Ok(());
        }
        let same = decided.is_some_and(|decided| {
            decided.uid == now.uid && decided.stamp == now.stamp && decided.uses == now.uses
        });
        if !same {
            return Err(error);
        }
        version = now.resource_version;
    }
}

fn body(uid: &str, version: &str, stamp: &Stamp) -> Value {
    json!({"metadata": {
        "uid": uid, "resourceVersion": version, "annotations": {STAMP: stamp.to_text()},
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::{fixtures::subject, subject::Subject};

    fn seen(subject: Subject) -> Workloads {
        Workloads {
            subjects: vec![subject],
            ..Workloads::default()
        }
    }

    #[test]
    fn a_restored_old_stamp_keeps_the_restart_pending() {
        let old = subject("web", &[]).stamped(&[]);
        let (id, uid) = (old.workload.id.clone(), old.workload.uid.clone());
        let mut known = Known::default();
        known.record_restart(&id, &uid, 2, true);
        record_existing_stamps(&mut known, &seen(old.clone()));
        assert_eq!(known.seq(&id, &uid), Some(2));
        assert!(known.is_pending(&id, &uid));
        let new = old.with_stamp(|stamp| stamp.seq = 2);
        record_existing_stamps(&mut known, &seen(new));
        assert!(!known.is_pending(&id, &uid), "it is healthy");
    }
}
