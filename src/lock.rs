//! One Lease per cluster keeps apart all runs that change things.
//!
//! A killed holder does not release it, so who finds it held watches for one duration whether it is still renewed. Whether
//! it is, is told by seeing it change, not by comparing clocks (as client-go's leader election does); only a Lease that is
//! long past is taken over at once.

use std::time::Duration;

use cluster::{CallError, Cluster, Trouble};
use jiff::{SignedDuration, Timestamp};
use pace::Clock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::rbac::LEASE;

/// How long a Lease holds without being renewed.
const DURATION: Duration = Duration::from_secs(15);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(5);

/// How often a held Lease is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Before the end of its duration the lock counts as lost by this much, so that nothing is written after it.
const MARGIN: Duration = Duration::from_secs(3);

/// Releasing is a courtesy to the next run, and must not keep this one from telling how it went.
const RELEASE: Duration = Duration::from_secs(2);

/// Clocks may differ by this much before "long past" is believed.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(
        "another run holds the lock: {holder}, until {until} unless it renews it; wait for it with --wait-lock"
    )]
    Held {
        /// Who.
        holder: String,
        /// Until when.
        until: Timestamp,
    },
    /// The Lease cannot be read or written.
    #[error("the lock cannot be had")]
    Call(#[from] CallError),
}

/// The lock, held.
pub struct Lock {
    cluster: Cluster,
    path: String,
    identity: String,
    resource_version: String,
    transitions: i64,
    acquired: Timestamp,
    renewed: Instant,
    /// Whether it had to be waited for.
    pub waited: bool,
}

#[derive(Debug, Deserialize)]
struct Lease {
    metadata: cluster::wire::Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    lease_duration_seconds: Option<i64>,
    acquire_time: Option<Timestamp>,
    renew_time: Option<Timestamp>,
    lease_transitions: Option<i64>,
}

impl Spec {
    fn until(&self) -> Option<Timestamp> {
        let renewed = self.renew_time?;
        let duration = SignedDuration::from_secs(self.lease_duration_seconds.unwrap_or(15));
        renewed.checked_add(duration).ok()
    }

    fn holder(&self) -> Option<&str> {
        self.holder_identity
            .as_deref()
            .filter(|holder| !holder.is_empty())
    }
}

/// Takes the lock; waits `wait` for it, and one duration at the least.
pub async fn acquire(
    cluster: &Cluster,
    namespace: &str,
    identity: &str,
    wait: Duration,
    clock: Clock,
) -> Result<Lock, LockError> {
    let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let path = format!("{collection}/{LEASE}");
    // A little more than one duration: a holder that still lives renews within it.
    let give_up = Instant::now() + wait.max(DURATION + LOOK);
    let mut seen: Option<(String, Instant)> = None;
    let mut waited = false;
    let mut told: Option<String> = None;
    loop {
        let lease = read(cluster, &path).await?;
        let now = clock.now();
        let resource_version = lease
            .as_ref()
            .map(|lease| lease.metadata.resource_version.clone())
            .unwrap_or_default();
        if seen
            .as_ref()
            .is_none_or(|(version, _)| *version != resource_version)
        {
            seen = Some((resource_version, Instant::now()));
        }
        let unchanged = seen
            .as_ref()
            .map(|(_, since)| since.elapsed())
            .unwrap_or_default();
        let attempt = Lock {
            cluster: cluster.clone(),
            path: path.clone(),
            identity: identity.to_owned(),
            resource_version: String::new(),
            transitions: lease
                .as_ref()
                .and_then(|lease| lease.spec.lease_transitions)
                .unwrap_or(0)
                + 1,
            acquired: now,
            renewed: Instant::now(),
            waited,
        };
        match held(lease.as_ref(), identity, now, unchanged) {
            None => match attempt.take(&collection, lease.as_ref(), clock).await {
                Ok(lock) => return Ok(lock),
                // Somebody else was quicker.
                Err(error) if error.trouble == Trouble::Conflict => {}
                Err(error) => return Err(error.into()),
            },
            Some((holder, until)) if Instant::now() >= give_up => {
                return Err(LockError::Held { holder, until });
            }
            Some((holder, until)) if told.as_ref() != Some(&holder) => {
                tracing::info!(target: "eso_sync::progress", holder, %until, "another run holds the lock; waiting");
                told = Some(holder);
            }
            Some(_) => {}
        }
        waited = true;
        sleep(LOOK).await;
    }
}

/// The Lease, if there is one.
async fn read(cluster: &Cluster, path: &str) -> Result<Option<Lease>, CallError> {
    match cluster.get::<Lease>(path).await {
        Ok(lease) => Ok(Some(lease)),
        Err(error) if error.trouble == Trouble::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who holds it, if anybody still does.
fn held(
    lease: Option<&Lease>,
    identity: &str,
    now: Timestamp,
    unchanged: Duration,
) -> Option<(String, Timestamp)> {
    let spec = &lease?.spec;
    // Our own name stands there where the answer to our first try was lost.
    let holder = spec.holder().filter(|holder| *holder != identity)?;
    let until = spec.until()?;
    let long_past = until.checked_add(SKEW).is_ok_and(|until| until < now);
    (!long_past && unchanged < DURATION).then(|| (holder.to_owned(), until))
}

impl Lock {
    async fn take(
        mut self,
        collection: &str,
        lease: Option<&Lease>,
        clock: Clock,
    ) -> Result<Self, CallError> {
        let lease: Lease = match lease {
            None => {
                self.cluster
                    .create(collection, &self.object(None, clock.now()))
                    .await?
            }
            Some(lease) => {
                let object = self.object(Some(&lease.metadata.resource_version), clock.now());
                self.cluster.replace(&self.path, &object).await?
            }
        };
        self.resource_version = lease.metadata.resource_version;
        self.renewed = Instant::now();
        Ok(self)
    }

    fn object(&self, resource_version: Option<&str>, now: Timestamp) -> serde_json::Value {
        self.object_held_by(&self.identity, DURATION.as_secs(), resource_version, now)
    }

    fn object_held_by(
        &self,
        holder: &str,
        seconds: u64,
        resource_version: Option<&str>,
        now: Timestamp,
    ) -> serde_json::Value {
        // Without a resource version the object is created; JSON has no way to leave a key out by its value.
        let mut metadata = json!({"name": LEASE});
        if let (Some(version), Some(metadata)) = (resource_version, metadata.as_object_mut()) {
            metadata.insert("resourceVersion".to_owned(), json!(version));
        }
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": seconds,
                "acquireTime": micro_time(self.acquired),
                "renewTime": micro_time(now),
                "leaseTransitions": self.transitions,
            },
        })
    }

    /// Renews the lock for as long as it is held; returns once it is lost.
    pub async fn keep(&mut self, clock: Clock) {
        loop {
            sleep(RENEWAL).await;
            // Not renewed by then, another run may take it over: so from then on it is not ours.
            let lost = self.renewed + DURATION - MARGIN;
            let ours = tokio::select! {
                ours = self.renew(clock) => ours,
                () = sleep_until(lost) => false,
            };
            if !ours {
                tracing::error!(
                    "the lock is lost: another run took it over, or it could not be renewed in time"
                );
                return;
            }
        }
    }

    /// Renews the lock, with as many tries as it takes; false where another run has it.
    async fn renew(&mut self, clock: Clock) -> bool {
        loop {
            let now = Instant::now();
            let object = self.object(Some(&self.resource_version), clock.now());
            match self.cluster.replace::<Lease>(&self.path, &object).await {
                Ok(lease) => {
                    self.resource_version = lease.metadata.resource_version;
                    self.renewed = now;
                    return true;
                }
                Err(error) if matches!(error.trouble, Trouble::Conflict | Trouble::NotFound) => {
                    if !self.is_still_ours().await {
                        return false;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the lock was not renewed");
                    sleep(LOOK).await;
                }
            }
        }
    }

    async fn is_still_ours(&mut self) -> bool {
        match self.cluster.get::<Lease>(&self.path).await {
            Ok(lease) if lease.spec.holder() == Some(&self.identity) => {
                self.resource_version = lease.metadata.resource_version;
                true
            }
            Err(error) => error.trouble == Trouble::Unavailable,
            Ok(_) => false,
        }
    }

    /// Gives the lock back, so that the next run need not wait.
    pub async fn release(self, clock: Clock) {
        let object = self.object_held_by("", 1, Some(&self.resource_version), clock.now());
        let released = timeout(RELEASE, self.cluster.replace::<Lease>(&self.path, &object)).await;
        if !matches!(released, Ok(Ok(_))) {
            tracing::warn!("the lock was not released; it expires by itself");
        }
    }
}

fn micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed: &str) -> Lease {
        serde_json::from_value(json!({
            "metadata": {"name": LEASE, "resourceVersion": "1"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
        }))
        .unwrap()
    }

    fn holder(lease: Option<&Lease>, unchanged: u64) -> Option<String> {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        held(lease, "me", now, Duration::from_secs(unchanged)).map(|(holder, _)| holder)
    }

    #[test]
    fn a_lease_is_held_while_it_is_seen_to_change() {
        let renewed = lease("a", "2026-03-01T11:59:58.000000Z");
        assert_eq!(holder(Some(&renewed), 0), Some("a".to_owned()));
        assert_eq!(
            holder(Some(&renewed), 15),
            None,
            "not renewed for one duration"
        );
    }

    #[test]
    fn clocks_that_differ_do_not_make_a_lease_expire() {
        let behind = lease("a", "2026-03-01T11:59:20.000000Z");
        assert_eq!(holder(Some(&behind), 0), Some("a".to_owned()));
        let ahead = lease("a", "2026-03-01T12:10:00.000000Z");
        assert_eq!(holder(Some(&ahead), 15), None);
    }

    #[test]
    fn a_released_or_long_past_lease_is_free_at_once() {
        assert_eq!(holder(None, 0), None);
        assert_eq!(
            holder(Some(&lease("", "2026-03-01T11:59:59.000000Z")), 0),
            None
        );
        assert_eq!(
            holder(Some(&lease("a", "2026-03-01T11:00:00.000000Z")), 0),
            None
        );
    }

    #[test]
    fn a_lease_in_our_own_name_is_ours() {
        assert_eq!(
            holder(Some(&lease("me", "2026-03-01T11:59:58.000000Z")), 0),
            None
        );
    }

    #[test]
    fn times_have_microseconds() {
        assert_eq!(
            micro_time("2026-03-01T12:00:00.5Z".parse().unwrap()),
            "2026-03-01T12:00:00.500000Z"
        );
    }
}
