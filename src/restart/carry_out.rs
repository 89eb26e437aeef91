//! Executes restarts, wave by wave: reads each workload again, decides again, patches it, and watches it until it is healthy.

mod evict;
mod healthy;
mod spacing;
mod unmanaged_pod;
mod wave;

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(super) use self::unmanaged_pod::Families;
use cluster::{ApiError, ErrorKind};
use pace::Clock;

use self::{healthy::Ended, spacing::Pace};
use super::{
    decide::{Action, evaluate, restarted},
    discover::{Look, pods_of},
    plan::{self, RestartPlan, Step},
    reasons::reason_of,
    results::{RestartOutcome, RestartResult, RestartResults},
    stamp::Stamp,
    subject::Subject,
    waves::Wave,
};
use crate::{
    policy::RestartRule,
    reason::Reason,
    stop::{Level, Stop},
    workload::{Kind, Pod, RESTARTED_AT, STAMP, Strategy, Workload, WorkloadId, object::Object},
};

/// Attempts if the workload changes at the same time.
const TRIES: usize = 5;

/// The pause before a retry when the API server is unavailable.
const PAUSE: Duration = Duration::from_secs(1);

/// Everything that the execution needs.
#[derive(Clone)]
pub(super) struct Job<'a> {
    /// How to read a workload again.
    pub(super) look: Look<'a>,
    /// The workloads that were read and decided about.
    pub(super) subjects: &'a [Subject],
    pub(super) plan: &'a RestartPlan,
    pub(super) clock: Clock,
    /// Signals when to end.
    pub(super) stop: Stop,
    /// Ensures that only one unmanaged pod per controller is replaced at a time.
    pub(super) families: Families,
}

/// Why a restart ended before the workload was healthy.
enum Failure {
    /// The workload was not touched.
    Left(Reason, String),
    /// The workload was not touched, because the decision is now a different one.
    Decided(Box<Step>),
    Failed(Reason, String),
    /// The run has to end, for this reason. The text says what was done, if anything.
    Stopped(Reason, Option<String>),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Failed(reason_of(&error), error.to_string())
    }
}

impl From<Ended> for Failure {
    fn from(Ended { reason, message }: Ended) -> Self {
        Self::Failed(reason, message)
    }
}

/// A restart that has begun.
struct Begun {
    workload: Workload,
    object: Object,
    stamp: Stamp,
    at: Instant,
    pods: Vec<Pod>,
}

/// Restarts the workloads of the plan. Calls `done` for each result.
pub(super) async fn carry_out(
    job: &Job<'_>,
    mut done: impl FnMut(&WorkloadId, &RestartResult),
) -> RestartResults {
    let mut results = RestartResults::default();
    let mut pace = Pace::new(job.look.policy.pace.restarts);
    let mut halted: Option<(usize, String)> = None;
    let mut awaited = None;
    for wave in &job.plan.waves {
        let Some(rule) = job.look.policy.restart.get(wave.rule) else {
            continue;
        };
        if awaited != Some(wave.rule) {
            awaited = Some(wave.rule);
            halted = job
                .await_earlier(wave.rule, rule)
                .await
                .map(|why| (wave.rule, why));
        }
        let stopped = match job.stop.level() {
            Level::Run => halted
                .as_ref()
                .filter(|(of, _)| *of == wave.rule)
                .map(|(_, why)| (Reason::RuleStopped, why.clone())),
            Level::Drain(reason) | Level::Now(reason) => {
                results.stopped.get_or_insert(reason);
                Some((reason, String::new()))
            }
        };
        if let Some((reason, message)) = stopped {
            for step in job.steps(wave) {
                let outcome = RestartOutcome::NotReached;
                let result =
                    RestartResult::with_old_data_of(step, outcome, reason, message.clone());
                results.of.insert(step.id.clone(), result);
            }
            continue;
        }
        for (id, result) in job.wave(wave, rule, &mut pace).await {
            if result.outcome == RestartOutcome::Failed {
                halted = Some((wave.rule, format!("{id} failed: {}", result.message)));
            }
            done(&id, &result);
            results.of.insert(id, result);
        }
    }
    if let (Level::Drain(reason) | Level::Now(reason), true) = (
        job.stop.level(),
        results.of.values().any(|result| {
            matches!(
                result.outcome,
                RestartOutcome::NotReached | RestartOutcome::Unproven
            )
        }),
    ) {
        results.stopped.get_or_insert(reason);
    }
    results
}

impl<'a> Job<'a> {
    fn steps<'b>(&'b self, wave: &'b Wave) -> impl Iterator<Item = &'a Step> + use<'a, 'b> {
        wave.members.iter().map(|&member| &self.plan.steps[member])
    }

    /// Waits for workloads that an earlier run restarted. Returns a message if one is not healthy in time.
    async fn await_earlier(&self, rule: usize, settings: &RestartRule) -> Option<String> {
        let give_up = Instant::now() + settings.wait;
        for id in self.plan.awaited.get(&rule).into_iter().flatten() {
            let waited = tokio::select! {
                waited = healthy::wait(self.look.cluster, id, None, give_up) => waited,
                () = self.ended() => return Some(String::new()),
            };
            if let Err(Ended { message, .. }) = waited
                && !self.look.context.retry
            {
                return Some(format!(
                    "{id} was restarted with the current data and is not healthy: {message}"
                ));
            }
        }
        None
    }

    fn subject(&self, id: &WorkloadId) -> Option<&Subject> {
        let at = self
            .subjects
            .binary_search_by(|subject| subject.workload.id.cmp(id));
        self.subjects.get(at.ok()?)
    }

    /// Sends the patch of a rollout. Evictions begin later, in `await_health`.
    async fn begin<'b>(
        &self,
        step: &'b Step,
        rule: &RestartRule,
    ) -> (&'b Step, Result<Option<Begun>, Failure>, Instant) {
        let give_up = Instant::now() + rule.wait;
        let begun = match rule.strategy {
            Strategy::Rollout => self.roll(step, rule).await.map(Some),
            Strategy::Evict => Ok(None),
        };
        (step, begun, give_up)
    }

    /// Waits until it is healthy.
    async fn await_health(
        &self,
        step: &Step,
        rule: &RestartRule,
        begun: Result<Option<Begun>, Failure>,
        give_up: Instant,
    ) -> (WorkloadId, RestartResult) {
        let ended = match begun {
            Ok(Some(begun)) => Ok(self.finish(begun, give_up, step).await),
            Ok(None) if step.id.kind == Kind::Pod => self.replace(step, rule).await,
            Ok(None) => match self.evict(step, rule, give_up).await {
                Ok(begun) => Ok(self.finish(begun, give_up, step).await),
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        let result = match ended {
            Ok(result) => result,
            Err(Failure::Left(reason @ (Reason::Deleted | Reason::Replaced), message)) => {
                RestartResult::without(RestartOutcome::Left, reason, message)
            }
            Err(Failure::Left(reason, message)) => {
                RestartResult::with_old_data_of(step, RestartOutcome::Left, reason, message)
            }
            Err(Failure::Decided(now)) => RestartResult::left(&now),
            Err(Failure::Failed(reason, message)) => self.failed(step, reason, message).await,
            Err(Failure::Stopped(reason, None)) => {
                RestartResult::with_old_data_of(step, RestartOutcome::NotReached, reason, "")
            }
            Err(Failure::Stopped(_, Some(done))) => {
                let outcome = RestartOutcome::Unproven;
                RestartResult::with_old_data_of(step, outcome, Reason::Interrupted, done)
            }
        };
        (step.id.clone(), result)
    }

    /// The result of a failed restart. Some old pods may be gone nevertheless.
    async fn failed(&self, step: &Step, reason: Reason, message: String) -> RestartResult {
        let mut result =
            RestartResult::with_old_data_of(step, RestartOutcome::Failed, reason, message);
        let Some(subject) = self.subject(&step.id).filter(|_| !step.old_pods.is_empty()) else {
            return result;
        };
        match pods_of(self.look.cluster, &subject.workload).await {
            Ok(now) => {
                let before = subject.pods.as_deref().unwrap_or_default();
                let left = before
                    .iter()
                    .filter(|pod| now.iter().any(|other| other.uid == pod.uid));
                let left: Vec<&str> = left.map(|pod| &*pod.name).collect();
                result.old_pods.retain(|name| left.contains(&&**name));
                result.behind = !result.old_pods.is_empty();
            }
            Err(error) => result.pods_unread = Some(error.why().to_owned()),
        }
        result
    }

    /// Returns an error if the run has to end.
    fn go_on(&self, done: impl FnOnce() -> Option<String>) -> Result<(), Failure> {
        match self.stop.level() {
            Level::Run => Ok(()),
            Level::Drain(reason) | Level::Now(reason) => Err(Failure::Stopped(reason, done())),
        }
    }

    /// Reads the workload and its Secrets again, and evaluates the condition of its restart.
    async fn again(&self, step: &Step, rule: &RestartRule) -> Result<(Subject, Stamp), Failure> {
        let Some(subject) = self.look.one(&step.id).await? else {
            return Err(Failure::Left(Reason::Deleted, String::new()));
        };
        if subject.workload.uid != step.uid {
            return Err(Failure::Left(Reason::Replaced, String::new()));
        }
        let mut context = self.look.context;
        context.now = self.clock.now();
        let mut decision = evaluate(&subject, rule, context);
        if decision.action != Action::Restart {
            decision.behind &= subject.pods.as_ref().is_none_or(|pods| !pods.is_empty());
            let stamp = plan::stamp_of(&subject);
            let now = plan::step(&subject, decision, stamp.as_ref());
            return Err(Failure::Decided(Box::new(now)));
        }
        let same = self
            .subject(&step.id)
            .is_some_and(|seen| seen.prints() == subject.prints());
        if !same {
            let message = "its Secrets changed after they were verified".to_owned();
            return Err(Failure::Left(Reason::ChangedMeanwhile, message));
        }
        let stamp = subject.workload.stamp.as_deref().map(Stamp::parse);
        match stamp {
            Some(Ok(stamp)) => Ok((subject, stamp)),
            _ => Err(Failure::Left(Reason::StampReverted, String::new())),
        }
    }

    /// Writes the restart and the new stamp in one patch.
    async fn roll(&self, step: &Step, rule: &RestartRule) -> Result<Begun, Failure> {
        let mut left = TRIES;
        loop {
            let (subject, stamp) = self.again(step, rule).await?;
            let mut context = self.look.context;
            context.now = self.clock.now();
            let Some(next) = restarted(&subject, context, &stamp) else {
                return Err(Failure::Left(Reason::StampTooLarge, String::new()));
            };
            let body = rollout(&subject, &next, context.now);
            let error = match self
                .look
                .cluster
                .patch::<Object>(&step.id.path(), &body)
                .await
            {
                Ok(object) => return Ok(Self::begun(step, object, next, subject)),
                Err(error) => error,
            };
            left -= 1;
            if left == 0 || !matches!(error.kind, ErrorKind::Conflict | ErrorKind::Unavailable) {
                return Err(error.into());
            }
            // The response may be lost although the patch was applied.
            if error.kind == ErrorKind::Unavailable {
                sleep(PAUSE).await;
                let now = self.look.cluster.get::<Object>(&step.id.path()).await?;
                if now.metadata.annotations.get(STAMP) == next.to_text().as_ref() {
                    return Ok(Self::begun(step, now, next, subject));
                }
            }
        }
    }

    fn begun(step: &Step, object: Object, stamp: Stamp, subject: Subject) -> Begun {
        tracing::info!(workload = %step.id, "restarted");
        Begun {
            workload: subject.workload,
            object,
            stamp,
            at: Instant::now(),
            pods: subject.pods.unwrap_or_default(),
        }
    }

    /// Waits until it is healthy, and reads its pods.
    async fn finish(&self, begun: Begun, give_up: Instant, step: &Step) -> RestartResult {
        let Begun {
            workload,
            object,
            at,
            pods,
            stamp,
        } = begun;
        let id = &workload.id;
        let mut waited = healthy::wait(self.look.cluster, id, Some(&object), give_up).await;
        // Argo Rollouts deletes pods like an eviction and reports done after the last deletion. Its replacement may still be
        // missing.
        if id.kind == Kind::Rollout && waited.is_ok() {
            let gone: Vec<&Pod> = pods.iter().collect();
            waited = self.replaced(&workload, &gone, give_up).await;
        }
        let took = at.elapsed();
        let (now, unread) = match pods_of(self.look.cluster, &workload).await {
            Ok(now) => (now, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let (old, new): (Vec<Pod>, Vec<Pod>) = now
            .into_iter()
            .partition(|pod| pods.iter().any(|before| before.uid == pod.uid));
        let names = |pods: Vec<Pod>| pods.into_iter().map(|pod| pod.name).collect();
        let (outcome, reason, message) = match (waited, &unread) {
            (Ok(()), None) => (
                RestartOutcome::Restarted,
                step.decision.reason,
                String::new(),
            ),
            (Ok(()), Some(error)) => (
                RestartOutcome::Unproven,
                reason_of(error),
                format!(
                    "it is healthy again, but its pods could not be read: {}",
                    error.why()
                ),
            ),
            (Err(Ended { reason, message }), _) => (RestartOutcome::Failed, reason, message),
        };
        // If the pods could not be read, it is unknown which old pods are left.
        let (behind, old_pods) = match &unread {
            None => (!old.is_empty(), names(old)),
            Some(_) => (step.decision.behind, step.old_pods.clone()),
        };
        RestartResult {
            outcome,
            reason,
            message,
            behind,
            at: stamp.restarts.last().map(|restart| restart.at),
            seq: Some(stamp.seq),
            took,
            pods_before: pods.len(),
            old_pods,
            new_pods: names(new),
            pods_unread: unread.map(|error| error.why().to_owned()),
        }
    }
}

/// One patch: a new pod template (or a Rollout's `restartAt`), and the stamp with the data of the new pods.
fn rollout(subject: &Subject, stamp: &Stamp, now: jiff::Timestamp) -> Value {
    let workload = &subject.workload;
    let spec = if workload.id.kind == Kind::Rollout {
        let at = after_all_pods(subject, now);
        json!({"restartAt": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()})
    } else {
        // With subseconds, so that two restarts within one second make two templates.
        json!({"template": {"metadata": {"annotations": {RESTARTED_AT: now.to_string()}}}})
    };
    json!({
        "metadata": {
            "uid": workload.uid,
            "resourceVersion": workload.resource_version,
            "annotations": {STAMP: stamp.to_text()},
        },
        "spec": spec,
    })
}

/// Argo Rollouts replaces pods created before `restartAt`, with a resolution of one second. A pod created in the second of the
/// restart would stay.
///
/// Uses the creation time of the newest pod rather than our clock, because a clock that is ahead would delay the restart.
fn after_all_pods(subject: &Subject, now: jiff::Timestamp) -> jiff::Timestamp {
    let newest = subject.pods.iter().flatten().map(|pod| pod.created).max();
    let after = newest.and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok());
    after.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::fixtures::{pod, subject, time};

    #[test]
    fn restart_at_is_after_the_newest_pods_creation_time() {
        let mut rollout = subject("web", &[]);
        rollout.pods = Some(vec![pod("web", "10:00:00"), pod("web", "10:30:00")]);
        for ours in ["09:00:00", "10:30:00", "23:00:00"] {
            assert_eq!(
                after_all_pods(&rollout, time(ours)),
                time("10:30:01"),
                "{ours}"
            );
        }
        rollout.pods = None;
        assert_eq!(after_all_pods(&rollout, time("11:00:00")), time("11:00:00"));
    }
}
