//! Executes restarts in the order of the queue: reads each workload again, decides again, patches it, watches it until it is
//! healthy, and checks that its old pods are gone.

mod all;
mod evict;
mod healthy;
mod proof;
mod queue;
mod spacing;
mod unmanaged_pod;

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep},
};

pub(super) use self::{all::carry_out, unmanaged_pod::Families};
use cluster::{ApiError, ErrorKind};
use pace::Clock;

use self::healthy::Ended;
use super::{
    decide::{Action, evaluate, restarted},
    discover::{Look, pods_of},
    plan::{self, RestartPlan, Step},
    reasons::reason_of,
    results::{RestartOutcome, RestartResult},
    stamp::Stamp,
    subject::Subject,
};
use crate::{
    policy::RestartRule,
    reason::Reason,
    stop::{Level, Stop},
    workload::{
        Kind, Pod, RESTARTED_AT, STAMP, Strategy, Workload, WorkloadId, object::Object, restart_at,
    },
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

/// A workload whose restart has started.
struct Open<'a> {
    /// The index of its rule.
    rule: usize,
    settings: &'a RestartRule,
    step: &'a Step,
    /// The end of the rule's `wait`.
    give_up: Instant,
    /// Receives the workload when something happened to it, for example an eviction.
    progress: UnboundedSender<WorkloadId>,
}

/// Why a restart ended before the workload was healthy.
enum Failure {
    /// The workload was not touched.
    Left(Reason, String),
    /// The workload was not touched, because the decision is now a different one.
    Decided(Box<Step>),
    Failed(Reason, String),
    /// Pods were evicted, but one does not end.
    HeldBack(String),
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
    /// The pods to replace.
    pods: Vec<Pod>,
}

/// A restart after the wait for a healthy workload.
enum Waited {
    /// Its result is known.
    Done(Box<RestartResult>),
    /// Its pods remain to be checked.
    Unproven {
        begun: Box<Begun>,
        took: Duration,
        healthy: Result<(), Ended>,
    },
}

impl<'a> Job<'a> {
    fn subject(&self, id: &WorkloadId) -> Option<&Subject> {
        let at = self
            .subjects
            .binary_search_by(|subject| subject.workload.id.cmp(id));
        self.subjects.get(at.ok()?)
    }

    /// Sends the patch of a rollout. Evictions begin later, in `await_health`.
    async fn begin(&self, open: Open<'a>) -> (Open<'a>, Result<Option<Begun>, Failure>) {
        let begun = match open.settings.strategy {
            Strategy::Rollout => self.roll(open.step, open.settings).await.map(Some),
            Strategy::Evict => Ok(None),
        };
        (open, begun)
    }

    /// Waits until it is healthy.
    async fn await_health(
        &self,
        open: Open<'a>,
        begun: Result<Option<Begun>, Failure>,
    ) -> (Open<'a>, Waited) {
        let begun = match begun {
            Ok(Some(begun)) => Ok(begun),
            Ok(None) if open.step.id.kind == Kind::Pod => {
                let result = match self.replace(&open).await {
                    Ok(result) => result,
                    Err(failure) => self.result_of(open.step, failure).await,
                };
                return (open, Waited::Done(Box::new(result)));
            }
            Ok(None) => self.evict(&open).await,
            Err(failure) => Err(failure),
        };
        let waited = match begun {
            Ok(begun) => {
                let healthy = self.healthy(&begun, open.give_up).await;
                Waited::Unproven {
                    took: begun.at.elapsed(),
                    begun: Box::new(begun),
                    healthy,
                }
            }
            Err(failure) => Waited::Done(Box::new(self.result_of(open.step, failure).await)),
        };
        (open, waited)
    }

    /// The result of a restart that ended early.
    async fn result_of(&self, step: &Step, failure: Failure) -> RestartResult {
        match failure {
            Failure::Left(reason @ (Reason::Deleted | Reason::Replaced), message) => {
                RestartResult::without(RestartOutcome::Left, reason, message)
            }
            Failure::Left(reason, message) => {
                RestartResult::with_old_data_of(step, RestartOutcome::Left, reason, message)
            }
            Failure::Decided(now) => RestartResult::left(&now),
            Failure::Failed(reason, message) => {
                let outcome = RestartOutcome::Failed;
                self.incomplete(step, outcome, reason, message).await
            }
            Failure::HeldBack(message) => {
                let (outcome, reason) = (RestartOutcome::Unproven, Reason::PodsHeldBack);
                self.incomplete(step, outcome, reason, message).await
            }
            Failure::Stopped(reason, None) => {
                RestartResult::with_old_data_of(step, RestartOutcome::NotReached, reason, "")
            }
            Failure::Stopped(_, Some(done)) => {
                let outcome = RestartOutcome::Unproven;
                RestartResult::with_old_data_of(step, outcome, Reason::Interrupted, done)
            }
        }
    }

    /// The result of a restart that was not completed. Some old pods may be gone nevertheless.
    async fn incomplete(
        &self,
        step: &Step,
        outcome: RestartOutcome,
        reason: Reason,
        message: String,
    ) -> RestartResult {
        let mut result = RestartResult::with_old_data_of(step, outcome, reason, message);
        let Some(subject) = self.subject(&step.id).filter(|_| !step.old_pods.is_empty()) else {
            return result;
        };
        match pods_of(self.look.cluster, &subject.workload).await {
            Ok(now) => {
                let left = subject
                    .all_pods()
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
            decision.behind &= subject.pods.is_none() || subject.all_pods().next().is_some();
            let stamp = plan::stamp_of(&subject);
            let now = plan::step(&subject, decision, stamp.as_ref(), rule);
            return Err(Failure::Decided(Box::new(now)));
        }
        let same = self
            .subject(&step.id)
            .is_some_and(|seen| seen.prints() == subject.prints());
        if !same {
            let message = "its Secrets changed after they were verified".to_owned();
            return Err(Failure::Left(Reason::ChangedMeanwhile, message));
        }
        match subject.stamp() {
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
            let value = value(&subject, context.now);
            let Some(next) = restarted(&subject, context, &stamp, Some(value.clone())) else {
                return Err(Failure::Left(Reason::StampTooLarge, String::new()));
            };
            let body = rollout(&subject.workload, &next, &value);
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
            object,
            stamp,
            at: Instant::now(),
            pods: subject.all_pods().cloned().collect(),
            workload: subject.workload,
        }
    }
}

/// One patch: a new pod template (or a Rollout's `restartAt`), and the stamp with the data of the new pods.
fn rollout(workload: &Workload, stamp: &Stamp, value: &str) -> Value {
    let spec = if workload.id.kind == Kind::Rollout {
        json!({"restartAt": value})
    } else {
        json!({"template": {"metadata": {"annotations": {RESTARTED_AT: value}}}})
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

/// The value that a restart writes to the spec.
fn value(subject: &Subject, now: jiff::Timestamp) -> String {
    if subject.workload.id.kind == Kind::Rollout {
        restart_at(after_all_pods(subject, now))
    } else {
        // With subseconds, so that two restarts within one second make two templates.
        now.to_string()
    }
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
