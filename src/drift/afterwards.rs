//! After the syncs: what was synced is checked anew, and what is still stale climbs the ladder of the policy.
//!
//! Taking the operator's hash off a Secret keeps the data where it is, and makes the operator write it anew. Deleting a Secret
//! takes it away from whoever starts in the meantime: it is done for one after the other, and for no other once one has not come
//! back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cluster::{CallError, Cluster, Trouble, wire};
use eso_model::{DATA_HASH, Id};
use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Finding, Verdict, check::Check, read};
use crate::{
    inventory::Inventory,
    outcome::{Outcome, Results, SecretChange},
    plan::{Item, Plan},
    policy::{OnStillStale, Policy},
    reason::Reason,
};

/// Secrets that are written anew at a time.
const AT_A_TIME: usize = 8;

/// How long to wait before a Secret is looked at again, at first and at the most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What was carried out, and by which policy.
pub struct Afterwards<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What was seen.
    pub inventory: &'a Inventory,
    /// How.
    pub policy: &'a Policy,
    /// Where.
    pub cluster: &'a Cluster,
}

/// The items that are still stale, by index, with what was found.
type Stale<'a> = BTreeMap<usize, (&'a Item, Finding)>;

impl<'a> Afterwards<'a> {
    /// Checks what was synced, and does what the policy says about what is still stale.
    pub async fn verify(&self, check: &mut Check, results: &mut Results) {
        let synced: BTreeSet<usize> = (0..)
            .zip(&results.items)
            .filter(|(_, result)| {
                result.as_ref().is_some_and(|result| {
                    result.outcome == Outcome::Synced
                        || (result.outcome == Outcome::Unproven
                            && result.reason != Some(Reason::Interrupted))
                })
            })
            .map(|(index, _)| index)
            .collect();
        let mut stale = self.check(check, results, &synced).await;
        stale.retain(|index, _| is_proven(results, *index));
        for rung in [OnStillStale::Refetch, OnStillStale::Recreate] {
            let able: Stale<'_> = stale
                .iter()
                .filter(|(_, (item, finding))| may_climb(item, finding, rung))
                .map(|(index, found)| (*index, found.clone()))
                .collect();
            if able.is_empty() {
                continue;
            }
            let told = match rung {
                OnStillStale::Recreate => self.recreate(&able).await,
                OnStillStale::Refetch | OnStillStale::Report => self.refetch(&able).await,
            };
            let after = self
                .check(check, results, &able.keys().copied().collect())
                .await;
            for (index, told) in told {
                note(results, index, &told, !after.contains_key(&index));
                stale.remove(&index);
            }
            stale.extend(after);
        }
        for (index, (_, finding)) in stale {
            fail(results, index, &finding);
        }
    }

    /// Checks these anew, and answers with those that differ.
    async fn check(
        &self,
        check: &mut Check,
        results: &mut Results,
        indices: &BTreeSet<usize>,
    ) -> Stale<'a> {
        let items: Vec<(usize, &Item)> = indices
            .iter()
            .filter_map(|&index| Some((index, self.plan.items.get(index)?)))
            .collect();
        if items.is_empty() {
            return Stale::new();
        }
        let wanted = items.iter().map(|(_, item)| item.id.clone()).collect();
        let mut findings = check.anew(self.inventory, &wanted).await;
        results.reads = findings.reads;
        let mut stale = Stale::new();
        for (index, item) in items {
            let Some(finding) = findings.of.remove(&item.id) else {
                continue;
            };
            if finding.verdict.is_drift() {
                stale.insert(index, (item, finding.clone()));
            }
            if let Some(Some(result)) = results.items.get_mut(index) {
                result.secret = changed(item.finding.as_ref(), &finding, result.secret);
            }
            results.checked.insert(index, finding);
        }
        stale
    }

    /// Takes the operator's hash off each, and waits until it is back.
    async fn refetch(&self, stale: &Stale<'_>) -> Vec<(usize, String)> {
        let work: Vec<_> = stale
            .iter()
            .map(|(index, (item, _))| async move {
                let told = match self.refetch_one(&secret_of(item)).await {
                    Ok(()) => "its Secret was written anew (refetch)".to_owned(),
                    Err(why) => format!("its Secret could not be written anew (refetch): {why}"),
                };
                (*index, told)
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
            return Err("the operator has left no hash on it".to_owned());
        }
        let change = json!({"metadata": {
            "uid": secret.metadata.uid,
            "resourceVersion": secret.metadata.resource_version,
            "annotations": {DATA_HASH: null},
        }});
        self.cluster
            .patch::<serde::de::IgnoredAny>(&read::path(id), &change)
            .await
            .map_err(|error| error.to_string())?;
        let has_hash = |secret: &wire::Secret| secret.metadata.annotations.contains_key(DATA_HASH);
        self.until(id, has_hash).await
    }

    /// Deletes one after the other, and waits until each is back.
    async fn recreate(&self, stale: &Stale<'_>) -> Vec<(usize, String)> {
        let mut told = Vec::new();
        let mut lost: Option<Id> = None;
        for (index, (item, _)) in stale {
            let id = secret_of(item);
            let text = match &lost {
                Some(lost) => format!("its Secret was not deleted, since {lost} has not come back"),
                None => match self.recreate_one(&id).await {
                    Ok(()) => "its Secret was created anew (recreate)".to_owned(),
                    Err((deleted, why)) => {
                        lost = deleted.then_some(id);
                        format!("its Secret could not be created anew (recreate): {why}")
                    }
                },
            };
            told.push((*index, text));
        }
        told
    }

    /// Why it failed, and whether the Secret was deleted all the same.
    async fn recreate_one(&self, id: &Id) -> Result<(), (bool, String)> {
        let kept = |error: CallError| (false, error.to_string());
        let secret = self.secret(id).await.map_err(kept)?;
        let uid = secret.metadata.uid.clone();
        self.cluster
            .delete(&read::path(id), &uid, &secret.metadata.resource_version)
            .await
            .map_err(kept)?;
        drop(secret);
        let is_new = |secret: &wire::Secret| {
            secret.metadata.uid != uid && secret.metadata.annotations.contains_key(DATA_HASH)
        };
        self.until(id, is_new).await.map_err(|why| (true, why))
    }

    async fn secret(&self, id: &Id) -> Result<wire::Secret, CallError> {
        self.cluster.get(&read::path(id)).await
    }

    /// Waits for the operator's answer, as long as one sync may take.
    async fn until(&self, id: &Id, done: impl Fn(&wire::Secret) -> bool) -> Result<(), String> {
        let end = Instant::now() + self.policy.sync.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.secret(id).await {
                Ok(secret) if done(&secret) => return Ok(()),
                Ok(_) => {}
                Err(error) if matches!(error.trouble, Trouble::NotFound | Trouble::Unavailable) => {
                }
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

fn secret_of(item: &Item) -> Id {
    Id {
        namespace: item.id.namespace.clone(),
        name: item.secret.clone(),
    }
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

fn is_proven(results: &Results, index: usize) -> bool {
    let result = results.items.get(index).and_then(Option::as_ref);
    result.is_some_and(|result| result.outcome == Outcome::Synced)
}

fn note(results: &mut Results, index: usize, told: &str, mended: bool) {
    results.wrote = true;
    if let Some(Some(result)) = results.items.get_mut(index) {
        let before = std::mem::take(&mut result.message);
        let first = if before.is_empty() {
            "it was still stale after its sync".to_owned()
        } else {
            before
        };
        result.message = format!(
            "{first}; {told}{}",
            if mended { ", and is in sync" } else { "" }
        );
    }
}

/// The operator has proven to have read the provider, and the Secret holds something else all the same.
fn fail(results: &mut Results, index: usize, finding: &Finding) {
    if let Some(Some(result)) = results.items.get_mut(index) {
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

/// Whether the Secret changed: what differed before the sync and does not now was written.
fn changed(before: Option<&Finding>, after: &Finding, heard: SecretChange) -> SecretChange {
    match before.map(|before| before.verdict) {
        Some(Verdict::Missing) if after.verdict == Verdict::InSync => SecretChange::Created,
        Some(before) if before.is_drift() && after.verdict == Verdict::InSync => {
            SecretChange::Updated
        }
        _ => heard,
    }
}
