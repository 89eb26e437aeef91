//! Restarts a pod whose controller is of a kind that eso-sync does not handle. The pod is evicted, and its replacement gets the
//! stamp.
//!
//! Without the stamp the replacement would look like a new pod, and its restart count would be lost.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Failure, Job, Open,
    evict::{PAUSE, still_runs},
};
use crate::{
    reason::Reason,
    restart::{
        discover::family_of,
        plan::Step,
        results::{RestartOutcome, RestartResult},
        stamp::Stamp,
        subject::Subject,
    },
    workload::{Kind, Owner, Pod, Pods, STAMP, WorkloadId, health, object::Object},
};

/// The pods of a controller, and the reason if they are not complete and ready.
struct Family {
    pods: Pods,
    /// True if only an evicted pod that does not end is in the way.
    held: bool,
    lacks: Option<String>,
    /// Why they could not be read.
    unread: Option<String>,
}

/// The condition to wait for.
#[derive(Clone, Copy)]
struct WaitUntil<'a> {
    /// The minimum number of pods.
    pods: usize,
    /// The pod that must be gone, by uid.
    without: Option<&'a str>,
}

/// One lock per controller uid, with the number of its pods. Until the controller has replaced an evicted pod, the remaining
/// ones look healthy.
#[derive(Clone, Default)]
pub(in crate::restart) struct Families(Arc<Mutex<BTreeMap<String, ControllerLock>>>);

type ControllerLock = Arc<tokio::sync::Mutex<usize>>;

impl Families {
    fn of(&self, owner: &str) -> ControllerLock {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(owner.to_owned()).or_default())
    }
}

impl Job<'_> {
    /// Evicts one pod once all other pods of its controller are ready, then waits for a ready replacement.
    pub(super) async fn replace(&self, open: &Open<'_>) -> Result<RestartResult, Failure> {
        let (step, rule) = (open.step, open.settings);
        let Some(owner) = self
            .subject(&step.id)
            .and_then(|subject| subject.workload.controller.as_ref())
        else {
            return Err(Failure::Left(Reason::Deleted, String::new()));
        };
        let lock = self.families.of(&owner.uid);
        let mut size = lock.lock().await;
        let give_up = Instant::now() + rule.wait;
        let before = self
            .await_other_pods(step, owner, *size, give_up)
            .await?
            .live;
        *size = before.len().max(*size).max(1);
        self.go_on(|| None)?;
        let at = Instant::now();
        let (subject, _) = self.record_pods_to_evict(step, rule).await?;
        open.progress.send(step.id.clone()).ok();
        for pod in subject.pods.iter().flatten() {
            self.evict_one(pod, give_up).await?;
        }
        let evicted_at = self.clock.now();
        let whole = WaitUntil {
            pods: *size,
            without: Some(&step.uid),
        };
        let after = self.family(step, owner, whole, give_up).await;
        let stays = after.pods.iter().any(|pod| pod.uid == step.uid);
        let came: Vec<Pod> = after
            .pods
            .live
            .into_iter()
            .filter(|pod| before.iter().all(|old| old.uid != pod.uid))
            .collect();
        let stamped = self.copy_stamp(&subject, &came, evicted_at).await;
        let (outcome, reason) = match after.lacks {
            None => (RestartOutcome::Restarted, step.decision.reason),
            Some(_) if after.held => (RestartOutcome::Unproven, Reason::PodsHeldBack),
            Some(_) => (RestartOutcome::Failed, Reason::NotHealthyAgain),
        };
        Ok(RestartResult {
            at: Some(evicted_at),
            took: at.elapsed(),
            pods_before: 1,
            pods_unread: after.unread,
            behind: stays,
            old_pods: stays.then(|| step.id.name.clone()).into_iter().collect(),
            new_pods: match stamped {
                Some(name) => vec![name],
                None => came.into_iter().map(|pod| pod.name).collect(),
            },
            ..RestartResult::without(outcome, reason, after.lacks.unwrap_or_default())
        })
    }

    /// Waits until the pod can be evicted: this run or an earlier one may have evicted another. Returns the current pods.
    async fn await_other_pods(
        &self,
        step: &Step,
        owner: &Owner,
        pods: usize,
        give_up: Instant,
    ) -> Result<Pods, Failure> {
        let whole = WaitUntil {
            pods,
            without: None,
        };
        let mut family = self.family(step, owner, whole, Instant::now()).await;
        // An unready pod can be evicted at once.
        let spare = |pod: &Pod| pod.uid == step.uid && !pod.ready;
        let at_once = self.look.context.retry || family.pods.live.iter().any(spare);
        if family.lacks.is_some() && !at_once {
            family = self.family(step, owner, whole, give_up).await;
        }
        match (family.unread, family.lacks) {
            (Some(why), _) => Err(Failure::Failed(Reason::ApiUnavailable, why)),
            (None, Some(lacks)) if !at_once => Err(Failure::Failed(Reason::NotHealthyAgain, lacks)),
            (None, _) => Ok(family.pods),
        }
    }

    /// Waits until a controller has all of its pods and they are ready.
    async fn family(
        &self,
        step: &Step,
        owner: &Owner,
        whole: WaitUntil<'_>,
        give_up: Instant,
    ) -> Family {
        let mut pods = Pods::default();
        loop {
            let (lacks, unread) =
                match family_of(self.look.cluster, &step.id.namespace, owner).await {
                    Ok(now) => {
                        pods = now;
                        (lacks(&pods, owner, whole), None)
                    }
                    Err(error) => (Some(error.to_string()), Some(error.why().to_owned())),
                };
            if lacks.is_none() || Instant::now() >= give_up {
                let ending = |pod: &Pod| Some(&*pod.uid) == whole.without;
                return Family {
                    held: pods.ending.iter().any(ending) && pods.live.iter().all(|pod| pod.ready),
                    pods,
                    lacks,
                    unread,
                };
            }
            sleep(PAUSE).await;
        }
    }

    /// Copies the stamp of the evicted pod to its replacement. Returns the name of the replacement.
    async fn copy_stamp(&self, evicted: &Subject, came: &[Pod], at: Timestamp) -> Option<String> {
        let mut came: Vec<&Pod> = came.iter().collect();
        came.sort_by_key(|pod| (pod.name != evicted.workload.id.name, Reverse(pod.created)));
        for pod in came {
            let id = WorkloadId {
                namespace: pod.namespace.clone(),
                kind: Kind::Pod,
                name: pod.name.clone(),
            };
            for _ in 0..super::TRIES {
                let new = match self.look.one(&id).await {
                    // A pod with a stamp is the replacement of another evicted pod.
                    Ok(Some(new)) if new.workload.stamp.is_none() => new,
                    _ => break,
                };
                let stamp = self.inherited(evicted, &new, at);
                let body = json!({"metadata": {
                    "uid": new.workload.uid, "resourceVersion": new.workload.resource_version,
                    "annotations": {STAMP: stamp.to_text()},
                }});
                let patched = self.look.cluster.patch::<Object>(&id.path(), &body).await;
                if patched.is_ok() {
                    return Some(id.name);
                }
            }
        }
        None
    }

    /// The data that the new pod started with is only certain if the Secret was not written since the decision.
    fn inherited(&self, evicted: &Subject, new: &Subject, at: Timestamp) -> Stamp {
        let key = self.look.context.key;
        let mut stamp = Stamp::new(&new.workload, key);
        stamp.secrets = new.prints();
        let written = |subject: &Subject, name: &str| {
            let concern = subject.secrets.get(name)?;
            concern.now()?.written
        };
        stamp.assumed = stamp
            .secrets
            .keys()
            .filter(|name| {
                let then = written(evicted, name);
                then.is_none() || then != written(new, name)
            })
            .cloned()
            .collect();
        let old = evicted.workload.stamp.as_deref().map(Stamp::parse);
        if let Some(Ok(old)) = old {
            stamp.restarts = old.restarts;
        }
        stamp.record_restart(at, key, None, None);
        stamp
    }
}

/// Returns why these pods are not complete and ready.
fn lacks(pods: &Pods, owner: &Owner, whole: WaitUntil<'_>) -> Option<String> {
    let left = whole
        .without
        .and_then(|uid| pods.iter().find(|pod| pod.uid == uid));
    if let Some(left) = left {
        return Some(if left.ending {
            still_runs(&left.name)
        } else {
            format!("pod {} does not terminate", left.name)
        });
    }
    let (wanted, pods) = (whole.pods, &pods.live);
    if pods.len() < wanted {
        return Some(format!("{owner} has {} pods, but had {wanted}", pods.len()));
    }
    health::lacking(owner, pods.iter().map(|pod| pod.ready))
}
