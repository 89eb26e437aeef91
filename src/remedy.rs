//! The remedies for Secrets that are still stale after a proven sync (`sync.onStillStale`). The only code that changes Secrets.
//!
//! `refetch` removes the operator's hash from the Secret. The data stays, and the operator writes it again. `recreate` deletes
//! the Secret. Pods cannot start until it exists again, so Secrets are deleted one at a time, and no more after one was not
//! created again.

mod deletion;

use std::time::Duration;

use cluster::{ApiError, Cluster, ErrorKind, Path, wire};
use eso_model::{DATA_HASH, Id};
use futures::{StreamExt as _, stream};
use pace::Wait;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    finding::{Finding, Verdict},
    outcome::Outcome,
    plan::{Item, ItemAt, Kept, Plan},
    policy::{OnStillStale, Policy},
    reason::Reason,
    results::Results,
    verify::{Stale, Verifier},
};

/// Parallel refetches.
const AT_A_TIME: usize = 8;

/// The shortest and longest pause between reads of a Secret.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Applies the remedies.
pub struct Remedy<'a> {
    /// A client that may change Secrets.
    pub cluster: &'a Cluster,
    /// The allowed remedy of each item.
    pub plan: &'a Plan,
    /// The timeout for the operator.
    pub policy: &'a Policy,
}

impl Remedy<'_> {
    /// Applies the allowed remedies, the mildest first, and marks the items that stay stale.
    pub async fn apply(
        &self,
        verifier: &mut Verifier<'_>,
        mut stale: Stale,
        results: &mut Results,
    ) {
        for remedy in [OnStillStale::Refetch, OnStillStale::Recreate] {
            let able: Stale = stale
                .iter()
                .filter(|(at, finding)| applies(&self.plan.items[**at], finding, remedy))
                .map(|(at, finding)| (*at, finding.clone()))
                .collect();
            if remedy == OnStillStale::Recreate {
                self.note_kept(&stale, results);
            }
            if able.is_empty() {
                continue;
            }
            let messages = match remedy {
                OnStillStale::Recreate => self.recreate(&able).await,
                OnStillStale::Refetch | OnStillStale::Report => self.refetch(&able).await,
            };
            let after = verifier
                .check(&able.keys().copied().collect(), results)
                .await;
            results.wrote = true;
            for (at, message) in messages {
                let helped = !after.contains_key(&at);
                let end = if helped { ", and is in sync" } else { "" };
                note(results, at, &format!("{message}{end}"));
                stale.remove(&at);
            }
            stale.extend(after);
        }
        for (at, finding) in stale {
            fail(results, at, &finding);
        }
    }

    /// Says which Secrets are not deleted because it would not be safe.
    fn note_kept(&self, stale: &Stale, results: &mut Results) {
        for (&at, finding) in stale {
            let kept = self.plan.items[at].kept;
            if let Some(kept) = kept.filter(|_| can_help(finding)) {
                note(results, at, &not_deleted(&kept.to_string()));
            }
        }
    }

    /// Removes the operator's hash from each Secret, and waits until the operator writes it again.
    async fn refetch(&self, stale: &Stale) -> Vec<(ItemAt, String)> {
        let work: Vec<_> = stale
            .keys()
            .map(|&at| async move {
                let id = self.plan.items[at].secret_id();
                let message = match self.refetch_one(&id).await {
                    Ok(()) => "the Secret was written again (refetch)".to_owned(),
                    Err(why) => format!("the Secret could not be written again (refetch): {why}"),
                };
                (at, message)
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
            return Err("the Secret does not have the operator's hash".to_owned());
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

    /// Deletes the Secrets one at a time, and waits until each is created again.
    async fn recreate(&self, stale: &Stale) -> Vec<(ItemAt, String)> {
        let mut messages = Vec::new();
        let mut lost: Option<Id> = None;
        for (&at, finding) in stale {
            let text = match &lost {
                Some(lost) => not_deleted(&format!("the operator did not create {lost} again")),
                None => match self.recreate_one(&self.plan.items[at], finding).await {
                    Ok(()) => "the Secret was created again (recreate)".to_owned(),
                    Err(Failed::Kept(why)) => not_deleted(&why),
                    Err(Failed::Lost(why)) => {
                        lost = Some(self.plan.items[at].secret_id());
                        format!("the Secret could not be created again (recreate): {why}")
                    }
                },
            };
            messages.push((at, text));
        }
        messages
    }

    /// Deletes the Secret if it is the one that was compared, and waits until it is created again.
    async fn recreate_one(&self, item: &Item, finding: &Finding) -> Result<(), Failed> {
        let id = item.secret_id();
        let secret = self.secret(&id).await?;
        deletion::may_delete(&secret, finding.judged.as_ref(), (&item.id.name, &item.uid))
            .map_err(|kept| Failed::Kept(kept.to_string()))?;
        let (path, meta) = (path(&id), &secret.metadata);
        let uid = meta.uid.clone();
        let deleting = self.cluster.delete(&path, &uid, &meta.resource_version);
        match deleting.await {
            Ok(()) => {}
            // The API server compares the uid and the resource version, so a write since the read above is not lost.
            Err(error) if error.kind == ErrorKind::Conflict => {
                return Err(Failed::Kept(Kept::ChangedSinceJudged.to_string()));
            }
            // Deleted, by a request whose response was lost or by somebody else.
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) if error.kind == ErrorKind::Unavailable => {
                let why = format!("it is unknown whether it was deleted: {error}");
                return Err(Failed::Lost(why));
            }
            Err(error) => return Err(error.into()),
        }
        drop(secret);
        let is_new = |secret: &wire::Secret| {
            secret.metadata.uid != uid && secret.metadata.annotations.contains_key(DATA_HASH)
        };
        self.until(&id, is_new).await.map_err(Failed::Lost)
    }

    async fn secret(&self, id: &Id) -> Result<wire::Secret, ApiError> {
        self.cluster.get(&path(id)).await
    }

    /// Waits until the operator has written the Secret, for at most the timeout of a sync.
    async fn until(&self, id: &Id, done: impl Fn(&wire::Secret) -> bool) -> Result<(), String> {
        let wait = Wait::at_most(self.policy.sync.timeout);
        let what = || format!("the operator to write the Secret {id}");
        wait.on(what, self.read_until(id, done)).await
    }

    async fn read_until(
        &self,
        id: &Id,
        done: impl Fn(&wire::Secret) -> bool,
    ) -> Result<(), String> {
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
                return Err(format!("the operator did not write it within {timeout}"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn path(id: &Id) -> Path {
    Path::core(Some(&id.namespace), "secrets").named(&id.name)
}

/// Why a Secret was not created again.
enum Failed {
    /// It was not deleted.
    Kept(String),
    /// It was deleted.
    Lost(String),
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Kept(error.to_string())
    }
}

fn not_deleted(why: &str) -> String {
    format!("the Secret was not deleted (recreate): {why}")
}

/// True if the plan allows this remedy and it can help.
fn applies(item: &Item, finding: &Finding, remedy: OnStillStale) -> bool {
    can_help(finding) && item.if_still_stale.is_some_and(|most| most >= remedy)
}

/// True if the Secret is known to differ from the provider, and a new write would fix it.
fn can_help(finding: &Finding) -> bool {
    let differs = matches!(
        finding.verdict,
        Verdict::Stale | Verdict::Tampered | Verdict::Partial
    );
    differs && !finding.keys.is_empty() && finding.beyond_sync.is_none()
}

fn note(results: &mut Results, at: ItemAt, message: &str) {
    if let Some(result) = results.items.get_mut(&at) {
        let before = std::mem::take(&mut result.message);
        let first = if before.is_empty() {
            "still stale after its sync".to_owned()
        } else {
            before
        };
        result.message = format!("{first}; {message}");
    }
}

/// Marks an item that is still stale after a proven sync.
fn fail(results: &mut Results, at: ItemAt, finding: &Finding) {
    if let Some(result) = results.items.get_mut(&at) {
        // Pods cannot start without the Secret, so this is a failure.
        result.outcome = if finding.verdict == Verdict::Missing {
            Outcome::Failed
        } else {
            Outcome::Unproven
        };
        result.reason = Some(Reason::StillStale);
        let before = std::mem::take(&mut result.message);
        let joint = if before.is_empty() { "" } else { "; " };
        let verdict = finding.verdict.into_str();
        result.message = format!(
            "{before}{joint}{verdict} after its sync: {}",
            finding.message
        );
    }
}
