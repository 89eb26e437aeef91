//! Executes all restarts: starts them one after another as the queue allows, and waits for all that have started.

use std::time::Duration;

use cluster::ErrorKind;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    time::{Instant, sleep_until},
};

use super::{
    Failure, Job, Open, Waited, healthy,
    queue::{Dropped, End, Queue},
    spacing::Pace,
};
use crate::{
    policy::RestartRule,
    reason::Reason,
    restart::{
        plan::Step,
        results::{RestartOutcome, RestartResult, RestartResults},
    },
    stop::{GRACE, Level},
    workload::{Kind, STAMP, WorkloadId, object::Object},
};

/// The timeout for the final read of an interrupted workload.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// When something may start that cannot start now.
fn wake(now: Instant, next_start: Instant, release: Option<Instant>) -> Instant {
    let far = now + Duration::from_hours(1);
    let times = [next_start, far].into_iter().chain(release);
    times.filter(|time| *time > now).min().unwrap_or(far)
}

/// The state of the execution.
struct Progress<'a, F> {
    queue: Queue<'a>,
    /// The steps that have started and have no result.
    open: Vec<&'a Step>,
    results: RestartResults,
    done: F,
}

impl<'a, F: FnMut(&WorkloadId, &RestartResult)> Progress<'a, F> {
    fn finish(&mut self, Open { rule, step, .. }: &Open<'a>, result: RestartResult) {
        self.open.retain(|open| open.id != step.id);
        let end = match (result.outcome, result.reason) {
            (RestartOutcome::Restarted | RestartOutcome::Unproven, _) => End::Healthy,
            // The owner took the restart back, so its pods show nothing about the new data.
            (RestartOutcome::Failed, Reason::RestartReverted) => End::Neutral,
            (RestartOutcome::Failed, _) => End::Failed(&result.message),
            _ => End::Neutral,
        };
        let dropped = self.queue.end(*rule, &step.id, &end);
        (self.done)(&step.id, &result);
        self.results.of.insert(step.id.clone(), result);
        self.drop_all(dropped);
    }

    fn drop_all(&mut self, dropped: Vec<Dropped<'a>>) {
        for Dropped {
            step,
            reason,
            message,
        } in dropped
        {
            self.not_reached(step, reason, message);
        }
    }

    fn not_reached(&mut self, step: &Step, reason: Reason, message: String) {
        let outcome = RestartOutcome::NotReached;
        let result = RestartResult::with_old_data_of(step, outcome, reason, message);
        self.results.of.insert(step.id.clone(), result);
    }
}

/// Restarts the workloads of the plan. Calls `done` for each result of a restart that started.
pub(in crate::restart) async fn carry_out(
    job: &Job<'_>,
    done: impl FnMut(&WorkloadId, &RestartResult),
) -> RestartResults {
    let rules = &job.look.policy.restart;
    let mut progress = Progress {
        queue: Queue::new(job.plan, rules),
        open: Vec::new(),
        results: RestartResults::default(),
        done,
    };
    job.restart_all(&mut progress).await;
    for step in std::mem::take(&mut progress.open) {
        let result = job.interrupted(step).await;
        progress.results.of.insert(step.id.clone(), result);
    }
    let mut results = progress.results;
    let left = |result: &RestartResult| {
        matches!(
            result.outcome,
            RestartOutcome::NotReached | RestartOutcome::Unproven
        )
    };
    if let (Level::Drain(reason) | Level::Now(reason), true) =
        (job.stop.level(), results.of.values().any(left))
    {
        results.stopped.get_or_insert(reason);
    }
    results
}

impl<'a, F: FnMut(&WorkloadId, &RestartResult)> Progress<'a, F> {
    /// Starts the next restart that may start now.
    fn start(
        &mut self,
        rules: &'a [RestartRule],
        now: Instant,
        progress: &UnboundedSender<WorkloadId>,
    ) -> Option<Open<'a>> {
        let (rule, step) = self.queue.next(now)?;
        let settings = rules.get(rule)?;
        self.open.push(step);
        Some(Open {
            rule,
            settings,
            step,
            give_up: now + settings.wait,
            progress: progress.clone(),
        })
    }

    /// Starts nothing more if the run must end. Returns true in that case.
    fn is_stopped(&mut self, level: Level) -> bool {
        let (Level::Drain(reason) | Level::Now(reason)) = level else {
            return false;
        };
        for step in self.queue.drain() {
            self.not_reached(step, reason, String::new());
        }
        true
    }
}

impl<'a> Job<'a> {
    /// Starts the restarts and waits for them, until all have ended or the run must end.
    async fn restart_all<F: FnMut(&WorkloadId, &RestartResult)>(
        &self,
        progress: &mut Progress<'a, F>,
    ) {
        let rules = &self.look.policy.restart;
        let mut pace = Pace::new(self.look.policy.pace.restarts);
        let (sender, mut happened) = mpsc::unbounded_channel();
        let mut beginning = FuturesUnordered::new();
        let mut running = FuturesUnordered::new();
        let mut proving = FuturesUnordered::new();
        let mut earlier: FuturesUnordered<_> = progress
            .queue
            .earlier()
            .filter_map(|(rule, id)| Some(self.await_earlier(rule, id, rules.get(rule)?.wait)))
            .collect();
        let mut ended = std::pin::pin!(self.ended());
        let mut stop = self.stop.clone();
        loop {
            let now = Instant::now();
            if progress.is_stopped(stop.level()) {
                earlier.clear();
            }
            let may_start = beginning.is_empty() && pace.next_start() <= now;
            if may_start && let Some(open) = progress.start(rules, now, &sender) {
                beginning.push(self.begin(open));
            }
            let waits = !(beginning.is_empty() && running.is_empty() && proving.is_empty());
            if !waits && earlier.is_empty() && progress.queue.is_empty() {
                return;
            }
            let release = progress.queue.next_release(now);
            tokio::select! {
                Some((open, begun)) = beginning.next() => {
                    if !matches!(begun, Err(Failure::Left(..) | Failure::Decided(_))) {
                        pace.record();
                    }
                    running.push(self.await_health(open, begun));
                }
                Some((open, waited)) = running.next() => match waited {
                    Waited::Done(result) => progress.finish(&open, *result),
                    Waited::Unproven { begun, took, healthy } => {
                        // A healthy workload needs no slot while its old pods end.
                        if healthy.is_ok() {
                            progress.queue.end(open.rule, &open.step.id, &End::Healthy);
                        }
                        proving.push(self.prove(open, *begun, took, healthy));
                    }
                },
                Some((open, result)) = proving.next() => progress.finish(&open, result),
                Some((rule, id, failed)) = earlier.next() => {
                    let failed: Option<String> = failed;
                    let dropped = progress.queue.end_earlier(rule, id, failed.as_deref());
                    progress.drop_all(dropped);
                }
                Some(id) = happened.recv() => progress.queue.progressed(&id, Instant::now()),
                () = sleep_until(wake(now, pace.next_start(), release)) => {}
                _ = stop.changed() => {}
                () = &mut ended => break,
            }
        }
    }

    /// Waits for a workload that an earlier run restarted. Returns a message if it is not healthy in time.
    async fn await_earlier<'b>(
        &self,
        rule: usize,
        id: &'b WorkloadId,
        wait: Duration,
    ) -> (usize, &'b WorkloadId, Option<String>) {
        let give_up = Instant::now() + wait;
        let waited = healthy::wait(self.look.cluster, id, None, give_up).await;
        let failed = waited.err().filter(|_| !self.look.context.retry);
        (rule, id, failed.map(|ended| ended.message))
    }

    /// Returns when the run must stop waiting.
    pub(super) async fn ended(&self) {
        let mut stop = self.stop.clone();
        let mut level = stop.level();
        let mut end: Option<Instant> = None;
        loop {
            match level {
                Level::Run => {}
                Level::Drain(_) => {
                    end.get_or_insert(Instant::now() + GRACE);
                }
                Level::Now(_) => return,
            }
            let far = Instant::now() + Duration::from_hours(1);
            tokio::select! {
                changed = stop.changed() => level = changed,
                () = sleep_until(end.unwrap_or(far)), if end.is_some() => return,
            }
        }
    }

    /// Reads an interrupted workload once. Its stamp shows whether it was restarted.
    async fn interrupted(&self, step: &Step) -> RestartResult {
        let (Level::Drain(reason) | Level::Now(reason)) = self.stop.level() else {
            let outcome = RestartOutcome::NotReached;
            return RestartResult::with_old_data_of(step, outcome, Reason::Interrupted, "");
        };
        let before = self
            .subject(&step.id)
            .map(|subject| &subject.workload.stamp);
        let path = step.id.path();
        let now = self.look.cluster.get::<Object>(&path);
        let began = match tokio::time::timeout(LAST_LOOK, now).await {
            Ok(Ok(object)) => before
                .is_some_and(|before| object.metadata.annotations.get(STAMP) != before.as_ref()),
            // An evicted pod is gone.
            Ok(Err(error)) => step.id.kind == Kind::Pod && error.kind == ErrorKind::NotFound,
            _ => false,
        };
        if began {
            RestartResult::with_old_data_of(
                step,
                RestartOutcome::Unproven,
                Reason::Interrupted,
                "it was restarted, but the run ended before it was healthy",
            )
        } else {
            RestartResult::with_old_data_of(step, RestartOutcome::NotReached, reason, "")
        }
    }
}
