//! Proves a restart by the pods: all pods from before it must be gone.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Begun, Job, Open,
    evict::PAUSE,
    healthy::{self, Ended},
    reason_of,
};
use crate::{
    reason::Reason,
    restart::{
        discover::pods_of,
        owner,
        results::{RestartOutcome, RestartResult},
        stamp::Stamp,
    },
    workload::{Kind, Pod, Pods, Workload, object::Object},
};

/// The outcome of a restart with its reason and a message.
type Verdict = (RestartOutcome, Reason, String);

impl<'a> Job<'a> {
    /// Waits until the workload is healthy.
    pub(super) async fn healthy(&self, begun: &Begun, give_up: Instant) -> Result<(), Ended> {
        let workload = &begun.workload;
        healthy::wait(
            self.look.cluster,
            &workload.id,
            Some(&begun.object),
            give_up,
        )
        .await?;
        // Argo Rollouts deletes pods like an eviction and reports done after the last deletion. Its replacement may still be
        // missing.
        if workload.id.kind == Kind::Rollout {
            let gone: Vec<&Pod> = begun.pods.iter().collect();
            self.replaced(workload, &gone, give_up, Some(&begun.stamp))
                .await?;
        }
        Ok(())
    }

    /// Checks the pods, and waits for those that are being deleted.
    pub(super) async fn prove(
        &self,
        open: Open<'a>,
        begun: Begun,
        took: Duration,
        healthy: Result<(), Ended>,
    ) -> (Open<'a>, RestartResult) {
        let id = &begun.workload.id;
        let (now, (outcome, reason, message)) = loop {
            let now = match pods_of(self.look.cluster, &begun.workload).await {
                Ok(pods) => Now::of(pods, &begun.pods),
                Err(error) => {
                    let verdict = unread(&healthy, &error);
                    return (open, begun.result(took, verdict, Err(error.why())));
                }
            };
            // If all old pods are gone, it does not matter what the object says.
            let workload = if now.old.is_empty() && healthy.is_ok() {
                None
            } else {
                let object = self.look.cluster.get::<Object>(&id.path()).await;
                object.ok().map(|object| object.workload(id.kind))
            };
            let late = Instant::now() + PAUSE >= open.give_up;
            let verdict = now.verdict(&begun.stamp, workload.as_ref(), &healthy, late);
            match verdict {
                Some((RestartOutcome::Restarted, ..)) => {
                    let reason = open.step.decision.reason;
                    break (now, (RestartOutcome::Restarted, reason, String::new()));
                }
                Some(verdict) => break (now, verdict),
                None => sleep(PAUSE).await,
            }
        };
        let result = begun.result(took, (outcome, reason, message), Ok(&now));
        (open, result)
    }
}

/// The verdict if the pods cannot be read.
fn unread(healthy: &Result<(), Ended>, error: &cluster::ApiError) -> Verdict {
    match healthy {
        Ok(()) => (
            RestartOutcome::Unproven,
            reason_of(error),
            format!(
                "it is healthy again, but its pods could not be read: {}",
                error.why()
            ),
        ),
        Err(Ended { reason, message }) => (RestartOutcome::Failed, *reason, message.clone()),
    }
}

/// The pods of a workload after its restart.
#[derive(Debug, Default)]
pub(super) struct Now {
    /// Pods from before the restart.
    old: Vec<Pod>,
    /// Pods that started since, except those that are being deleted.
    new: Vec<Pod>,
}

impl Now {
    fn of(pods: Pods, before: &[Pod]) -> Self {
        let is_old = |pod: &Pod| before.iter().any(|before| before.uid == pod.uid);
        let (mut old, new): (Vec<Pod>, Vec<Pod>) = pods.live.into_iter().partition(is_old);
        old.extend(pods.ending.into_iter().filter(is_old));
        Self { old, new }
    }

    /// Returns what the pods prove, or None as long as waiting may prove more. `late` says that the time is over.
    fn verdict(
        &self,
        stamp: &Stamp,
        workload: Option<&Workload>,
        healthy: &Result<(), Ended>,
        late: bool,
    ) -> Option<Verdict> {
        let old: Vec<&Pod> = self.old.iter().collect();
        let stays = old.iter().any(|pod| !pod.ending);
        if let Some(workload) = workload
            && stays
            && stamp.is_taken_back(workload)
        {
            let message = owner::who_took_back(workload);
            return Some((RestartOutcome::Failed, Reason::RestartReverted, message));
        }
        let keeps = || workload.and_then(|workload| workload.keeps(&old));
        let held_back = |why: String| (RestartOutcome::Unproven, Reason::PodsHeldBack, why);
        match healthy {
            Ok(()) if old.is_empty() => {
                Some((RestartOutcome::Restarted, Reason::Current, String::new()))
            }
            Ok(()) if !stays && !late => None,
            Ok(()) => {
                let why = keeps();
                Some(held_back(why.unwrap_or_else(|| {
                    "its controller does not replace them".to_owned()
                })))
            }
            Err(Ended { reason, message }) => {
                let ready = self.new.iter().all(|pod| pod.ready);
                let kept = keeps().filter(|_| ready && *reason == Reason::NotHealthyAgain);
                Some(match kept {
                    Some(why) => held_back(format!("{why}; {message}")),
                    None => (RestartOutcome::Failed, *reason, message.clone()),
                })
            }
        }
    }
}

impl Begun {
    /// The result with the pods, or with the reason why they could not be read.
    fn result(&self, took: Duration, verdict: Verdict, now: Result<&Now, &str>) -> RestartResult {
        let names = |pods: &[Pod]| pods.iter().map(|pod| pod.name.clone()).collect();
        let (outcome, reason, message) = verdict;
        // If the pods could not be read, it is unknown which old pods are left.
        let (old, new) = match now {
            Ok(now) => (names(&now.old), names(&now.new)),
            Err(_) => (names(&self.pods), Vec::new()),
        };
        let old: Vec<String> = old;
        RestartResult {
            outcome,
            reason,
            message,
            behind: !old.is_empty(),
            at: self.stamp.restarts.last().map(|restart| restart.at),
            seq: Some(self.stamp.seq),
            took,
            pods_before: self.pods.len(),
            old_pods: old,
            new_pods: new,
            pods_unread: now.err().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::fixtures::{pod, subject};

    const OLD: &[(&str, &str)] = &[("password", "old")];

    fn ready(name: &str, ready: bool) -> Pod {
        let mut pod = pod(name, "12:00:01");
        pod.ready = ready;
        pod
    }

    /// `outcome(reason)`, or `-` as long as it waits.
    fn shown(
        now: &Now,
        change: impl Fn(&mut Workload),
        healthy: &Result<(), Ended>,
        late: bool,
    ) -> String {
        let subject = subject("web", OLD).stamped(OLD).rolled();
        let stamp = crate::restart::plan::stamp_of(&subject).unwrap();
        let mut workload = subject.workload;
        change(&mut workload);
        let verdict = now.verdict(&stamp, Some(&workload), healthy, late);
        verdict.map_or_else(
            || "-".to_owned(),
            |(outcome, reason, _)| format!("{}({})", outcome.into_str(), reason.as_str()),
        )
    }

    type Change = fn(&mut Workload);

    fn unhealthy() -> Result<(), Ended> {
        Err(Ended {
            reason: Reason::NotHealthyAgain,
            message: "1 of 3".to_owned(),
        })
    }

    #[test]
    fn a_healthy_workload_with_old_pods_is_not_restarted() {
        let none = |_: &mut Workload| ();
        let new = || vec![ready("new", true)];
        let gone = Now {
            old: Vec::new(),
            new: new(),
        };
        assert_eq!(shown(&gone, none, &Ok(()), false), "restarted(current)");
        let mut ending = pod("old", "10:00:00");
        ending.ending = true;
        let ending = Now {
            old: vec![ending],
            new: new(),
        };
        assert_eq!(shown(&ending, none, &Ok(()), false), "-");
        assert_eq!(
            shown(&ending, none, &Ok(()), true),
            "unproven(pods-held-back)"
        );
        let stays = Now {
            old: vec![pod("old", "10:00:00")],
            new: new(),
        };
        assert_eq!(
            shown(&stays, none, &Ok(()), false),
            "unproven(pods-held-back)"
        );
        let taken_back = |workload: &mut Workload| workload.restarted = None;
        assert_eq!(
            shown(&stays, taken_back, &Ok(()), false),
            "failed(restart-reverted)"
        );
        assert_eq!(
            shown(&stays, taken_back, &unhealthy(), true),
            "failed(restart-reverted)"
        );
        assert_eq!(
            shown(&gone, taken_back, &Ok(()), false),
            "restarted(current)",
            "all pods are new"
        );
    }

    #[test]
    fn only_ready_new_pods_excuse_old_ones() {
        let stays = |ready_new: bool| Now {
            old: vec![pod("old-0", "10:00:00")],
            new: vec![ready("new", ready_new)],
        };
        let keeps: [Change; 3] = [
            |it| it.holds.paused = true,
            |it| it.holds.on_delete = true,
            |it| it.excluded_below = Some(5),
        ];
        for change in keeps {
            // A pod's number is the end of its name.
            assert_eq!(
                shown(&stays(true), change, &unhealthy(), true),
                "unproven(pods-held-back)"
            );
            assert_eq!(
                shown(&stays(false), change, &unhealthy(), true),
                "failed(not-healthy-again)"
            );
        }
        let unexplained = |_: &mut Workload| ();
        assert_eq!(
            shown(&stays(true), unexplained, &unhealthy(), true),
            "failed(not-healthy-again)",
            "for example a quota that allows no new pod"
        );
    }
}
