//! The remedies for Secrets that are still stale after a proven sync (`sync.onStillStale`). The only code that changes Secrets.
//!
//! `refetch` removes the operator's hash from the Secret. The data stays, and the operator writes it again. `recreate` deletes
//! the Secret. Pods cannot start until it exists again, so Secrets are deleted one at a time, and no more after one was not
//! created again.

mod deletion;
mod told;

use std::{collections::BTreeSet, time::Duration};

use cluster::{ApiError, Cluster, ErrorKind, Path, wire};
use eso_model::{DATA_HASH, Id};
use futures::{StreamExt as _, stream};
use pace::Wait;
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::told::Told;

use crate::{
    finding::{Finding, Verdict},
    plan::{Item, ItemAt, Kept, Plan},
    policy::{OnStillStale, Policy},
    record::Record,
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
    /// What the watchdog reports if the run is ended by force.
    pub record: &'a Record,
}

impl Remedy<'_> {
    /// Applies the allowed remedies, the mildest first, and marks the items that stay stale. The results are right at any time,
    /// because the run can end during a remedy.
    pub async fn apply(
        &self,
        verifier: &mut Verifier<'_>,
        mut stale: Stale,
        results: &mut Results,
    ) {
        let mut told = Told::of(&stale, results, self.record);
        for remedy in [OnStillStale::Refetch, OnStillStale::Recreate] {
            let able: BTreeSet<ItemAt> = stale
                .iter()
                .filter(|(at, finding)| applies(&self.plan.items[**at], finding, remedy))
                .map(|(&at, _)| at)
                .collect();
            if remedy == OnStillStale::Recreate {
                self.note_kept(&stale, &mut told);
            }
            if able.is_empty() {
                continue;
            }
            match remedy {
                OnStillStale::Recreate => self.recreate(&able, &stale, &mut told).await,
                OnStillStale::Refetch | OnStillStale::Report => {
                    self.refetch(&able, &stale, &mut told).await;
                }
            }
            let after = told.check(verifier, &able).await;
            for at in able {
                let finding = after.get(&at);
                if finding.is_none() {
                    told.helped(at);
                    stale.remove(&at);
                }
                told.tell(at, finding);
            }
            stale.extend(after);
        }
    }

    /// Says which Secrets are not deleted because it would not be safe.
    fn note_kept(&self, stale: &Stale, told: &mut Told<'_>) {
        for (&at, finding) in stale {
            let kept = self.plan.items[at].kept;
            if let Some(kept) = kept.filter(|_| can_help(finding)) {
                told.note(at, not_deleted(&kept.to_string()));
                told.tell(at, Some(finding));
            }
        }
    }

    /// Removes the operator's hash from each Secret, and waits until the operator writes it again.
    async fn refetch(&self, able: &BTreeSet<ItemAt>, stale: &Stale, told: &mut Told<'_>) {
        let work = able.iter().map(|&at| async move {
            let id = self.plan.items[at].secret_id();
            let message = match self.refetch_one(&id).await {
                Ok(()) => "the Secret was written again (refetch)".to_owned(),
                Err(why) => format!("the Secret could not be written again (refetch): {why}"),
            };
            (at, message)
        });
        let mut done = stream::iter(work.collect::<Vec<_>>()).buffer_unordered(AT_A_TIME);
        while let Some((at, message)) = done.next().await {
            told.note(at, message);
            told.tell(at, stale.get(&at));
        }
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
    async fn recreate(&self, able: &BTreeSet<ItemAt>, stale: &Stale, told: &mut Told<'_>) {
        let mut lost: Option<Id> = None;
        for &at in able {
            let Some(finding) = stale.get(&at) else {
                continue;
            };
            let text = match &lost {
                Some(lost) => not_deleted(&format!("the operator did not create {lost} again")),
                None => match self.recreate_one(at, finding, told).await {
                    Ok(()) => "the Secret was created again (recreate)".to_owned(),
                    Err(Failed::Kept(why)) => not_deleted(&why),
                    Err(Failed::Lost(why)) => {
                        lost = Some(self.plan.items[at].secret_id());
                        format!("the Secret could not be created again (recreate): {why}")
                    }
                },
            };
            told.note(at, text);
            told.tell(at, Some(finding));
        }
    }

    /// Deletes the Secret if it is the one that was compared, and waits until it is created again.
    async fn recreate_one(
        &self,
        at: ItemAt,
        finding: &Finding,
        told: &mut Told<'_>,
    ) -> Result<(), Failed> {
        let item = &self.plan.items[at];
        let id = item.secret_id();
        let secret = self.secret(&id).await?;
        deletion::may_delete(&secret, finding.judged.as_ref(), (&item.id.name, &item.uid))
            .map_err(|kept| Failed::Kept(kept.to_string()))?;
        told.is_deleted(at);
        let uid = secret.metadata.uid.clone();
        self.delete(&id, &uid, &secret.metadata.resource_version)
            .await?;
        drop(secret);
        let is_new = |secret: &wire::Secret| {
            secret.metadata.uid != uid && secret.metadata.annotations.contains_key(DATA_HASH)
        };
        self.until(&id, is_new).await.map_err(Failed::Lost)
    }

    async fn delete(&self, id: &Id, uid: &str, resource_version: &str) -> Result<(), Failed> {
        match self.cluster.delete(&path(id), uid, resource_version).await {
            Ok(()) => Ok(()),
            // The API server compares the uid and the resource version, so a write since it was read is not lost.
            Err(error) if error.kind == ErrorKind::Conflict => {
                Err(Failed::Kept(Kept::ChangedSinceJudged.to_string()))
            }
            // Deleted, by a request whose response was lost or by somebody else.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind == ErrorKind::Unavailable => {
                let why = format!("it is unknown whether it was deleted: {error}");
                Err(Failed::Lost(why))
            }
            Err(error) => Err(error.into()),
        }
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
