//! What is done about a Secret that is still stale although the operator has proven to have read the provider: the only code that
//! changes Secrets.
//!
//! Taking the operator's hash off a Secret keeps the data where it is, and makes the operator write it again. Deleting a Secret takes
//! it away from whoever starts in the meantime: it is done for one after the other, and for no other once one has not come back.

use std::time::Duration;

use cluster::{ApiError, Cluster, ErrorKind, wire};
use eso_model::{DATA_HASH, Id};
use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    finding::{Finding, Verdict},
    outcome::Outcome,
    plan::{Item, ItemAt, Plan},
    policy::{OnStillStale, Policy},
    reason::Reason,
    results::Results,
    verify::{Stale, Verifier},
};

/// Secrets that are written again at a time.
const AT_A_TIME: usize = 8;

/// How long to wait before a Secret is looked at again, at first and at the most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where, by which plan and policy.
pub struct Remedy<'a> {
    /// The connection that may change Secrets.
    pub cluster: &'a Cluster,
    /// How far each may be taken.
    pub plan: &'a Plan,
    /// How long the operator may take.
    pub policy: &'a Policy,
}

impl Remedy<'_> {
    /// Climbs the ladder of the policy with what is still stale, and says so of what stays so.
    pub async fn apply(
        &self,
        verifier: &mut Verifier<'_>,
        mut stale: Stale,
        results: &mut Results,
    ) {
        for rung in [OnStillStale::Refetch, OnStillStale::Recreate] {
            let able: Stale = stale
                .iter()
                .filter(|(at, finding)| may_climb(&self.plan.items[**at], finding, rung))
                .map(|(at, finding)| (*at, finding.clone()))
                .collect();
            if able.is_empty() {
                continue;
            }
            let told = match rung {
                OnStillStale::Recreate => self.recreate(&able).await,
                OnStillStale::Refetch | OnStillStale::Report => self.refetch(&able).await,
            };
            let after = verifier
                .check(&able.keys().copied().collect(), results)
                .await;
            for (at, told) in told {
                note(results, at, &told, !after.contains_key(&at));
                stale.remove(&at);
            }
            stale.extend(after);
        }
        for (at, finding) in stale {
            fail(results, at, &finding);
        }
    }

    /// Takes the operator's hash off each, and waits until it is back.
    async fn refetch(&self, stale: &Stale) -> Vec<(ItemAt, String)> {
        let work: Vec<_> = stale
            .keys()
            .map(|&at| async move {
                let id = self.plan.items[at].secret_id();
                let told = match self.refetch_one(&id).await {
                    Ok(()) => "its Secret was written anew (refetch)".to_owned(),
                    Err(why) => format!("the Secret could not be written again (refetch): {why}"),
                };
                (at, told)
            })
            .collect();
        stream::iter(work)
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await
    }

    async fn refetch_one(&self, id: &Id) -> Result<(), String> {
        let secret = self.secret(id).await.map_err(|error| error.to_string())?;
        if !secret.metadata.annotations.contains_key(DATA_HASH) {
            return Err("the Secret has no hash of the operator".to_owned());
        }
        let change = json!({"metadata": {
            "uid": secret.metadata.uid,
            "resourceVersion": secret.metadata.resource_version,
            "annotations": {DATA_HASH: null},
        }});
        self.cluster
            .patch::<serde::de::IgnoredAny>(&path(id), &change)
            .await
            .map_err(|error| error.to_string())?;
        let has_hash = |secret: &wire::Secret| secret.metadata.annotations.contains_key(DATA_HASH);
        self.until(id, has_hash).await
    }

    /// Deletes one after the other, and waits until each is back.
    async fn recreate(&self, stale: &Stale) -> Vec<(ItemAt, String)> {
        let mut told = Vec::new();
        let mut lost: Option<Id> = None;
        for &at in stale.keys() {
            let id = self.plan.items[at].secret_id();
            let text = match &lost {
                Some(lost) => format!(
                    "the Secret was not deleted, because the operator did not create {lost} again"
                ),
                None => match self.recreate_one(&id).await {
                    Ok(()) => "its Secret was created anew (recreate)".to_owned(),
                    Err((deleted, why)) => {
                        lost = deleted.then_some(id);
                        format!("the Secret could not be created again (recreate): {why}")
                    }
                },
            };
            told.push((at, text));
        }
        told
    }

    /// Why it failed, and whether the Secret was deleted all the same.
    async fn recreate_one(&self, id: &Id) -> Result<(), (bool, String)> {
        let kept = |error: ApiError| (false, error.to_string());
        let secret = self.secret(id).await.map_err(kept)?;
        let uid = secret.metadata.uid.clone();
        self.cluster
            .delete(&path(id), &uid, &secret.metadata.resource_version)
            .await
            .map_err(kept)?;
        drop(secret);
        let is_new = |secret: &wire::Secret| {
            secret.metadata.uid != uid && secret.metadata.annotations.contains_key(DATA_HASH)
        };
        self.until(id, is_new).await.map_err(|why| (true, why))
    }

    async fn secret(&self, id: &Id) -> Result<wire::Secret, ApiError> {
        self.cluster.get(&path(id)).await
    }

    /// Waits for the operator's answer, as long as one sync may take.
    async fn until(&self, id: &Id, done: impl Fn(&wire::Secret) -> bool) -> Result<(), String> {
        let end = Instant::now() + self.policy.sync.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.secret(id).await {
                Ok(secret) if done(&secret) => return Ok(()),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Unavailable) => {}
                Err(error) => return Err(error.to_string()),
            }
            if Instant::now() + pause >= end {
                let timeout = eso_model::duration::GoDuration(self.policy.sync.timeout);
                return Err(format!("the operator has not written it within {timeout}"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn path(id: &Id) -> String {
    format!("/api/v1/namespaces/{}/secrets/{}", id.namespace, id.name)
}

/// Whether the plan allows this rung, and it could help: what the provider holds is known, and it is not what the Secret holds.
fn may_climb(item: &Item, finding: &Finding, rung: OnStillStale) -> bool {
    let differs = matches!(
        finding.verdict,
        Verdict::Stale | Verdict::Tampered | Verdict::Partial
    );
    differs
        && !finding.keys.is_empty()
        && finding.beyond_sync.is_none()
        && item.if_still_stale.is_some_and(|most| most >= rung)
}

fn note(results: &mut Results, at: ItemAt, told: &str, helped: bool) {
    results.wrote = true;
    if let Some(result) = results.items.get_mut(&at) {
        let before = std::mem::take(&mut result.message);
        let first = if before.is_empty() {
            "it was still stale after its sync".to_owned()
        } else {
            before
        };
        result.message = format!(
            "{first}; {told}{}",
            if helped { ", and is in sync" } else { "" }
        );
    }
}

/// The operator has proven to have read the provider, and the Secret holds something else all the same.
fn fail(results: &mut Results, at: ItemAt, finding: &Finding) {
    if let Some(result) = results.items.get_mut(&at) {
        // Without its Secret a workload does not start: that is worse than not proven.
        result.outcome = if finding.verdict == Verdict::Missing {
            Outcome::Failed
        } else {
            Outcome::Unproven
        };
        result.reason = Some(Reason::StillStale);
        let before = std::mem::take(&mut result.message);
        let joint = if before.is_empty() { "" } else { "; " };
        let verdict = finding.verdict.as_str();
        result.message = format!(
            "{before}{joint}{verdict} after its sync: {}",
            finding.message
        );
    }
}
