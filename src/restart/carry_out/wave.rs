//! Executes one wave: begins its restarts one after another, then waits for all of them together.

use std::time::Duration;

use cluster::ErrorKind;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use super::{Failure, Job, spacing::Pace};
use crate::{
    policy::RestartRule,
    reason::Reason,
    restart::{
        plan::Step,
        results::{RestartOutcome, RestartResult},
        waves::Wave,
    },
    stop::{GRACE, Level},
    workload::{Kind, STAMP, WorkloadId, object::Object},
};

/// The timeout for the final read of an interrupted workload.
const LAST_LOOK: Duration = Duration::from_secs(2);

impl Job<'_> {
    /// Restarts the members of a wave, one after another at the rate limit, then waits for all. Returns one result for each.
    pub(super) async fn wave(
        &self,
        wave: &Wave,
        rule: &RestartRule,
        pace: &mut Pace,
    ) -> Vec<(WorkloadId, RestartResult)> {
        let mut open: Vec<&Step> = self.steps(wave).collect();
        let mut waiting = open.clone().into_iter();
        let mut beginning = FuturesUnordered::new();
        let mut running = FuturesUnordered::new();
        let mut results = Vec::new();
        let mut next = waiting.next();
        let mut ended = std::pin::pin!(self.ended());
        let mut stop = self.stop.clone();
        while next.is_some() || !beginning.is_empty() || !running.is_empty() {
            let mut wake_at = None;
            if let (Some(step), true) = (next, beginning.is_empty()) {
                if stop.level() != Level::Run {
                    next = None;
                    continue;
                }
                if pace.next_start() <= Instant::now() {
                    beginning.push(self.begin(step, rule));
                    next = waiting.next();
                } else {
                    wake_at = Some(pace.next_start());
                }
            }
            let far = Instant::now() + Duration::from_hours(1);
            tokio::select! {
                Some((of, begun, give_up)) = beginning.next() => {
                    if !matches!(begun, Err(Failure::Left(..) | Failure::Decided(_))) {
                        pace.record();
                    }
                    running.push(self.await_health(of, rule, begun, give_up));
                }
                Some((id, result)) = running.next() => {
                    open.retain(|step| step.id != id);
                    results.push((id, result));
                }
                () = sleep_until(wake_at.unwrap_or(far)) => {}
                _ = stop.changed() => {}
                () = &mut ended => break,
            }
        }
        drop((beginning, running));
        for step in open {
            let result = self.interrupted(step).await;
            results.push((step.id.clone(), result));
        }
        results
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
