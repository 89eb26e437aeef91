//! A pod of a controller that has no kind of its own here: it is evicted, and the one that comes instead takes its stamp over.
//!
//! Without the stamp it would look like any pod that is seen for the first time, and how often it was restarted would be forgotten.

use std::cmp::Reverse;

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

impl Job<'_> {
    /// Evicts one pod, once all others of its controller are ready, and waits until they are again, with one in its place.
    pub(super) async fn replace(
        &self,
        step: &Step,
        rule: &RestartRule,
        give_up: Instant,
    ) -> Result<RestartResult, Failure> {
        let Some(owner) = self
            .subject(&step.id)
            .and_then(|subject| subject.workload.controller.as_ref())
        else {
            return Err(Failure::Left(Reason::Deleted, String::new()));
        };
        // Another of them may have been evicted just now, or by an earlier run.
        let retry = self.look.context.retry;
        let patience = if retry { Instant::now() } else { give_up };
        let Family {
            pods: before,
            lacks,
            unread,
        } = self.family(step, owner, 0, patience).await;
        if let Some(why) = unread {
            return Err(Failure::Failed(Reason::ApiUnavailable, why));
        }
        if let Some(lacks) = lacks.filter(|_| !retry) {
            return Err(Failure::Failed(Reason::NotHealthyAgain, lacks));
        }
        self.go_on(|| None)?;
        let at = Instant::now();
        let (subject, _) = self.mean_to_evict(step, rule).await?;
        for pod in subject.pods.iter().flatten() {
            self.evict_one(pod, give_up).await?;
        }
        let evicted_at = self.clock.now();
        let after = self.family(step, owner, before.len().max(1), give_up).await;
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

    /// Waits until there are so many pods of a controller, all of them ready; `wanted` is 0 where it is not to be replaced yet.
    async fn family(&self, step: &Step, owner: &Owner, wanted: usize, give_up: Instant) -> Family {
        let mut pods = Vec::new();
        loop {
            let (lacks, unread) =
                match family_of(self.look.cluster, &step.id.namespace, owner).await {
                    Ok(now) => {
                        pods = now;
                        (lacks(&pods, step, owner, wanted), None)
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

/// What these pods lack of what they were: the evicted one is gone, and so many are ready.
fn lacks(pods: &[Pod], step: &Step, owner: &Owner, wanted: usize) -> Option<String> {
    if wanted > 0 && pods.iter().any(|pod| pod.uid == step.uid) {
        return Some(format!("pod {} does not end", step.id.name));
    }
    if pods.len() < wanted {
        let Owner { kind, name, .. } = owner;
        return Some(format!(
            "{kind} {name} has {} pods, and had {wanted}",
            pods.len()
        ));
    }
    health::lacking(owner, pods.iter().map(|pod| pod.ready))
}
