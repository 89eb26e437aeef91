//! Restarts by evicting pods, one at a time. The next pod is evicted once the workload is healthy again.
//!
//! The old pods are recorded in the stamp first. If the run is killed, the next run evicts the remaining ones and no new pod.

use std::time::Duration;

use cluster::{ApiError, ErrorKind, Path, Repeat};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Begun, Failure, Job, Open,
    healthy::{self, Ended},
    reason_of,
};
use crate::{
    policy::RestartRule,
    reason::Reason,
    restart::{
        decide::{guard::may_fix, restarted},
        discover::pods_of,
        plan::{Step, stamp_of},
        stamp::{Evicting, OldPods, Stamp},
        subject::Subject,
    },
    workload::{Health, Pod, STAMP, Workload, object::Object},
};

/// The pause before an eviction that a PodDisruptionBudget rejected is tried again.
pub(super) const PAUSE: Duration = Duration::from_secs(2);

impl Job<'_> {
    /// Evicts all pods that are older than the restart.
    pub(super) async fn evict(&self, open: &Open<'_>) -> Result<Begun, Failure> {
        let Open { step, give_up, .. } = *open;
        let at = Instant::now();
        let (subject, evicting) = self.record_pods_to_evict(step, open.settings).await?;
        let before = subject.pods.clone().unwrap_or_default();
        let mut old: Vec<&Pod> = before.iter().filter(|pod| evicting.covers(pod)).collect();
        old.sort_by(|a, b| (a.ready, a.created, &a.name).cmp(&(b.ready, b.created, &b.name)));
        // A pod that an earlier run evicted may have no healthy replacement. Then evict no other pod, unless an unready pod
        // goes first and the new data may fix it.
        let context = self.look.context;
        let cure = stamp_of(&subject).is_some_and(|stamp| may_fix(&subject, context, &stamp));
        let first_is_sick = old.first().is_some_and(|pod| !pod.ready);
        let can_roll = subject.workload.can_roll(subject.ending.len());
        let at_once = context.retry || can_roll || (cure && first_is_sick);
        if !old.is_empty() && !at_once {
            healthy::wait(self.look.cluster, &step.id, None, give_up).await?;
        }
        for (index, pod) in old.iter().enumerate() {
            self.go_on(|| {
                (index > 0).then(|| {
                    format!(
                        "{index} of {} pods were evicted; the next run continues",
                        old.len()
                    )
                })
            })?;
            self.evict_one(pod, give_up).await?;
            let gone = [*pod];
            let replaced = self.replaced(&subject.workload, &gone, give_up, None).await;
            if let Err(ended) = replaced {
                return Err(if self.is_held(&subject.workload, pod).await {
                    Failure::HeldBack(still_runs(&pod.name))
                } else {
                    ended.into()
                });
            }
            open.progress.send(step.id.clone()).ok();
        }
        let (object, stamp) = self.record_restart(step, &subject).await?;
        Ok(Begun {
            pods: old.into_iter().cloned().collect(),
            workload: subject.workload,
            object,
            stamp,
            at,
        })
    }

    /// Decides again, and records which pods to evict unless an earlier run did.
    pub(super) async fn record_pods_to_evict(
        &self,
        step: &Step,
        rule: &RestartRule,
    ) -> Result<(Subject, Evicting), Failure> {
        let mut left = super::TRIES;
        loop {
            let (subject, stamp) = self.again(step, rule).await?;
            if let Some(evicting) = under_way(&subject, &stamp) {
                return Ok((subject, evicting));
            }
            match self.write_pods_to_evict(&subject, &stamp).await {
                Ok(evicting) => return Ok((subject, evicting)),
                Err(Failure::Failed(Reason::ChangedMeanwhile, _)) if left > 1 => left -= 1,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Records all current pods in the stamp as pods to evict.
    async fn write_pods_to_evict(
        &self,
        subject: &Subject,
        stamp: &Stamp,
    ) -> Result<Evicting, Failure> {
        let secrets = subject.prints();
        let last = stamp.restarts.last();
        // Pods that started after the last restart have the data that it recorded.
        let old = match last.and_then(|last| last.old.clone()) {
            Some(old) if stamp.secrets == secrets && !subject.unreplaced(stamp).is_empty() => {
                Some(old)
            }
            _ => OldPods::of(subject.pods.iter().flatten()),
        };
        let evicting = Evicting { old, secrets };
        let mut next = stamp.clone();
        next.seq += 1;
        next.evicting = Some(evicting.clone());
        let Some(text) = next.to_text() else {
            return Err(Failure::Left(Reason::StampTooLarge, String::new()));
        };
        let workload = &subject.workload;
        let body = json!({"metadata": {
            "uid": workload.uid, "resourceVersion": workload.resource_version, "annotations": {STAMP: text},
        }});
        self.look
            .cluster
            .patch::<Object>(&workload.id.path(), &body)
            .await?;
        Ok(evicting)
    }

    pub(super) async fn evict_one(&self, pod: &Pod, give_up: Instant) -> Result<(), Failure> {
        let (namespace, name) = (&pod.namespace, &pod.name);
        let path = Path::core(Some(namespace), "pods")
            .named(name)
            .named("eviction");
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": name},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        });
        loop {
            let evicted = self
                .look
                .cluster
                .create::<serde::de::IgnoredAny>(&path, &body);
            let error = match tokio::time::timeout_at(give_up, evicted).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => return Err(blocked(pod, "no response in time")),
            };
            // The pod is gone, or another pod has its name now.
            if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Conflict) {
                return Ok(());
            }
            if error.kind != ErrorKind::Unavailable {
                return Err(error.into());
            }
            if Instant::now() + PAUSE >= give_up {
                return Err(match error.repeat {
                    // The API server answers 429 if a PodDisruptionBudget does not allow it.
                    Repeat::Throttled(_) => Failure::HeldBack(format!(
                        "pod {} could not be evicted: {}. See `kubectl get pdb`",
                        pod.name,
                        error.why().trim_end_matches('.')
                    )),
                    Repeat::Failed(_) | Repeat::NotSent | Repeat::Never => {
                        blocked(pod, error.why())
                    }
                });
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until these pods are gone or being deleted, and the workload is healthy without them. For a rollout, also returns
    /// when it was taken back.
    pub(super) async fn replaced(
        &self,
        workload: &Workload,
        gone: &[&Pod],
        give_up: Instant,
        rolled: Option<&Stamp>,
    ) -> Result<(), Ended> {
        loop {
            let lacks = match self.lacks(workload, gone, rolled).await {
                Ok(None) => return Ok(()),
                Ok(Some(lacks)) => lacks,
                Err(error) if error.kind == ErrorKind::Unavailable => error.to_string(),
                Err(error) => {
                    return Err(Ended {
                        reason: reason_of(&error),
                        message: error.to_string(),
                    });
                }
            };
            if Instant::now() + PAUSE >= give_up {
                let lacks = healthy::explained(self.look.cluster, &workload.id, lacks).await;
                return Err(Ended {
                    reason: Reason::NotHealthyAgain,
                    message: lacks,
                });
            }
            sleep(PAUSE).await;
        }
    }

    /// Returns why the workload is not healthy without these pods. The pods count first, because the workload's status lags
    /// behind. They are compared with the current replica count.
    async fn lacks(
        &self,
        workload: &Workload,
        gone: &[&Pod],
        rolled: Option<&Stamp>,
    ) -> Result<Option<String>, ApiError> {
        let id = &workload.id;
        let object = self.look.cluster.get::<Object>(&id.path()).await?;
        let now = object.workload(id.kind);
        if rolled.is_some_and(|stamp| stamp.is_taken_back(&now)) {
            return Ok(None);
        }
        let pods = pods_of(self.look.cluster, workload).await?.live;
        let spared = workload.spared();
        let workload = now;
        let left = |gone: &&&Pod| pods.iter().any(|pod| pod.uid == gone.uid);
        if let Some(left) = gone.iter().find(left) {
            return Ok(Some(format!("pod {} does not terminate", left.name)));
        }
        let ready = pods.iter().filter(|pod| pod.ready).count();
        let wanted = usize::try_from(workload.wanted - spared).unwrap_or_default();
        if ready < wanted {
            return Ok(Some(format!("{ready} of {wanted} pods are ready")));
        }
        Ok(match workload.health {
            Health::Healthy => None,
            Health::Unavailable(_) if workload.tolerance.lacking <= spared => None,
            Health::Unobserved => {
                Some("its controller has not observed its latest generation yet".to_owned())
            }
            Health::Rolling(why) | Health::Failing(why) | Health::Unavailable(why) => Some(why),
        })
    }

    /// True if this evicted pod does not end, and all others are ready.
    async fn is_held(&self, workload: &Workload, pod: &Pod) -> bool {
        let pods = pods_of(self.look.cluster, workload).await;
        pods.is_ok_and(|pods| {
            pods.ending.iter().any(|ending| ending.uid == pod.uid)
                && pods.live.iter().all(|pod| pod.ready)
        })
    }

    /// Writes the stamp with the data of the new pods.
    async fn record_restart(
        &self,
        step: &Step,
        subject: &Subject,
    ) -> Result<(Object, Stamp), Failure> {
        let mut context = self.look.context;
        context.now = self.clock.now();
        let mut left = super::TRIES;
        loop {
            let object = self.look.cluster.get::<Object>(&step.id.path()).await?;
            let version = object.metadata.resource_version.clone();
            let stamp = object.metadata.annotations.get(STAMP);
            let Some(Ok(stamp)) = stamp.map(|text| Stamp::parse(text)) else {
                return Err(Failure::Failed(Reason::StampReverted, String::new()));
            };
            let Some(next) = restarted(subject, context, &stamp, None) else {
                return Err(Failure::Failed(Reason::StampTooLarge, String::new()));
            };
            let body = json!({"metadata": {
                "uid": step.uid, "resourceVersion": version, "annotations": {STAMP: next.to_text()},
            }});
            match self
                .look
                .cluster
                .patch::<Object>(&step.id.path(), &body)
                .await
            {
                Ok(object) => return Ok((object, next)),
                Err(error) if error.kind == ErrorKind::Conflict && left > 1 => left -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The eviction that an earlier run began, if it was for the current data.
fn under_way(subject: &Subject, stamp: &Stamp) -> Option<Evicting> {
    let evicting = stamp.evicting.clone()?;
    (evicting.secrets == subject.prints()).then_some(evicting)
}

/// Why an evicted pod is still there.
pub(super) fn still_runs(pod: &str) -> String {
    format!("pod {pod} was evicted and still runs. Its node may be down")
}

fn blocked(pod: &Pod, why: &str) -> Failure {
    Failure::Failed(
        Reason::EvictionBlocked,
        format!("pod {} could not be evicted in time: {why}", pod.name),
    )
}
