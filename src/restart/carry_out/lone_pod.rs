//! A pod of a controller that has no kind of its own here: it is evicted, and the one that comes instead takes its stamp over.
//!
//! Without the stamp it would look like any pod that is seen for the first time, and how often it was restarted would be forgotten.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Failure, Job, evict::PAUSE};
use crate::{
    policy::RestartRule,
    reason::Reason,
    restart::{
        discover::family_of,
        plan::Step,
        results::{RestartOutcome, RestartResult},
        stamp::Stamp,
        subject::Subject,
    },
    workload::{Kind, Owner, Pod, STAMP, WorkloadId, health, object::Object},
};

/// The pods of a controller, and what they lack of being well.
struct Family {
    pods: Vec<Pod>,
    lacks: Option<String>,
    /// Why they could not be read in the end, if they could not.
    unread: Option<String>,
}

/// What a controller's pods are waited for to be.
#[derive(Clone, Copy)]
struct Whole<'a> {
    /// So many, at the least.
    pods: usize,
    /// None of them with this uid.
    without: Option<&'a str>,
}

/// Whose turn it is, by the uid of the controller, with the number of its pods: until it has made another in the place of one that was
/// evicted, those that are left look well.
#[derive(Clone, Default)]
pub(in crate::restart) struct Families(Arc<Mutex<BTreeMap<String, Turn>>>);

type Turn = Arc<tokio::sync::Mutex<usize>>;

impl Families {
    fn of(&self, owner: &str) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(owner.to_owned()).or_default())
    }
}

impl Job<'_> {
    /// Evicts one pod, once all others of its controller are ready, and waits until they are again, with one in its place.
    pub(super) async fn replace(
        &self,
        step: &Step,
        rule: &RestartRule,
    ) -> Result<RestartResult, Failure> {
        let Some(owner) = self
            .subject(&step.id)
            .and_then(|subject| subject.workload.controller.as_ref())
        else {
            return Err(Failure::Left(Reason::Deleted, String::new()));
        };
        let turn = self.families.of(&owner.uid);
        let mut size = turn.lock().await;
        let give_up = Instant::now() + rule.wait;
        let before = self.may_go(step, owner, *size, give_up).await?;
        *size = before.len().max(*size).max(1);
        self.go_on(|| None)?;
        let at = Instant::now();
        let (subject, _) = self.mean_to_evict(step, rule).await?;
        for pod in subject.pods.iter().flatten() {
            self.evict_one(pod, give_up).await?;
        }
        let evicted_at = self.clock.now();
        let whole = Whole {
            pods: *size,
            without: Some(&step.uid),
        };
        let after = self.family(step, owner, whole, give_up).await;
        let stays = after.pods.iter().any(|pod| pod.uid == step.uid);
        let came: Vec<Pod> = after
            .pods
            .into_iter()
            .filter(|pod| before.iter().all(|old| old.uid != pod.uid))
            .collect();
        let heir = self.hand_on(&subject, &came, evicted_at).await;
        let (outcome, reason) = match after.lacks {
            None => (RestartOutcome::Restarted, step.decision.reason),
            Some(_) => (RestartOutcome::Failed, Reason::NotHealthyAgain),
        };
        Ok(RestartResult {
            at: Some(evicted_at),
            took: at.elapsed(),
            pods_before: 1,
            pods_unread: after.unread,
            behind: stays,
            old_pods: stays.then(|| step.id.name.clone()).into_iter().collect(),
            new_pods: match heir {
                Some(heir) => vec![heir],
                None => came.into_iter().map(|pod| pod.name).collect(),
            },
            ..RestartResult::without(outcome, reason, after.lacks.unwrap_or_default())
        })
    }

    /// Waits until a pod can be done without: another may have been evicted just now, or by an earlier run. Those that there are.
    async fn may_go(
        &self,
        step: &Step,
        owner: &Owner,
        pods: usize,
        give_up: Instant,
    ) -> Result<Vec<Pod>, Failure> {
        let whole = Whole {
            pods,
            without: None,
        };
        let mut family = self.family(step, owner, whole, Instant::now()).await;
        // One that is not ready itself is not missed.
        let spare = |pod: &Pod| pod.uid == step.uid && !pod.ready;
        let at_once = self.look.context.retry || family.pods.iter().any(spare);
        if family.lacks.is_some() && !at_once {
            family = self.family(step, owner, whole, give_up).await;
        }
        match (family.unread, family.lacks) {
            (Some(why), _) => Err(Failure::Failed(Reason::ApiUnavailable, why)),
            (None, Some(lacks)) if !at_once => Err(Failure::Failed(Reason::NotHealthyAgain, lacks)),
            (None, _) => Ok(family.pods),
        }
    }

    /// Waits until a controller has all of its pods, and they are ready.
    async fn family(
        &self,
        step: &Step,
        owner: &Owner,
        whole: Whole<'_>,
        give_up: Instant,
    ) -> Family {
        let mut pods = Vec::new();
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
                return Family {
                    pods,
                    lacks,
                    unread,
                };
            }
            sleep(PAUSE).await;
        }
    }

    /// Writes the stamp of the pod that was evicted onto the one that came instead, and names that.
    async fn hand_on(&self, evicted: &Subject, came: &[Pod], at: Timestamp) -> Option<String> {
        let mut came: Vec<&Pod> = came.iter().collect();
        came.sort_by_key(|pod| (pod.name != evicted.workload.id.name, Reverse(pod.created)));
        for pod in came {
            let id = WorkloadId {
                namespace: pod.namespace.clone(),
                kind: Kind::Pod,
                name: pod.name.clone(),
            };
            for _ in 0..super::TRIES {
                let heir = match self.look.one(&id).await {
                    // One that bears a stamp came for another that was evicted at the same time.
                    Ok(Some(heir)) if heir.workload.stamp.is_none() => heir,
                    _ => break,
                };
                let stamp = self.inherited(evicted, &heir, at);
                let body = json!({"metadata": {
                    "uid": heir.workload.uid, "resourceVersion": heir.workload.resource_version,
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

    /// What the new pod started with is only certain where nobody wrote the Secret since it was decided about.
    fn inherited(&self, evicted: &Subject, heir: &Subject, at: Timestamp) -> Stamp {
        let key = self.look.context.key;
        let mut stamp = Stamp::new(&heir.workload, key);
        stamp.secrets = heir.prints();
        let written = |subject: &Subject, name: &str| {
            let concern = subject.secrets.get(name)?;
            concern.now()?.written
        };
        stamp.assumed = stamp
            .secrets
            .keys()
            .filter(|name| {
                let then = written(evicted, name);
                then.is_none() || then != written(heir, name)
            })
            .cloned()
            .collect();
        let old = evicted.workload.stamp.as_deref().map(Stamp::parse);
        if let Some(Ok(old)) = old {
            stamp.restarts = old.restarts;
        }
        stamp.note_restart(at, key);
        stamp
    }
}

/// What these pods lack of being all that there were, and ready.
fn lacks(pods: &[Pod], owner: &Owner, whole: Whole<'_>) -> Option<String> {
    let left = whole
        .without
        .and_then(|uid| pods.iter().find(|pod| pod.uid == uid));
    if let Some(left) = left {
        return Some(format!("pod {} does not end", left.name));
    }
    let wanted = whole.pods;
    if pods.len() < wanted {
        let Owner { kind, name, .. } = owner;
        return Some(format!(
            "{kind} {name} has {} pods, and had {wanted}",
            pods.len()
        ));
    }
    health::lacking(owner, pods.iter().map(|pod| pod.ready))
}
