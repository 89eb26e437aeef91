//! One Lease per cluster prevents parallel runs that write.
//!
//! A killed holder does not release the Lease. A waiting run therefore watches for one lease duration whether the Lease still
//! changes, without comparing clocks (like client-go's leader election). Only a Lease that expired long ago is taken over at
//! once.

use std::time::Duration;

use cluster::{ApiError, Cluster, ErrorKind, Path};
use jiff::{SignedDuration, Timestamp};
use pace::Clock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::rbac::LEASE;

/// The lease duration.
const DURATION: Duration = Duration::from_secs(15);

/// The renewal interval.
const RENEWAL: Duration = Duration::from_secs(5);

/// How often a Lease that another run holds is read.
const LOOK: Duration = Duration::from_secs(1);

/// How long before the end of the lease duration the lock counts as lost, so that nothing is written after it.
const MARGIN: Duration = Duration::from_secs(3);

/// The timeout for releasing. Releasing only helps the next run, so it must not delay the report.
const RELEASE: Duration = Duration::from_secs(2);

/// The clock skew that is tolerated before a Lease counts as expired long ago.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error(
        "another run holds the lock: {holder}, until {until} or longer. Use --wait-lock to wait"
    )]
    Held {
        holder: String,
        /// The end of the lease duration if it is not renewed.
        until: Timestamp,
    },
    /// The Lease cannot be read or written.
    #[error("cannot acquire the lock")]
    Call(#[from] ApiError),
}

pub struct Lock {
    cluster: Cluster,
    path: Path,
    identity: String,
    resource_version: String,
    transitions: i64,
    acquired: Timestamp,
    renewed: Instant,
    /// True if the run had to wait for the lock.
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

/// Acquires the lock. Waits for up to `wait`, but at least for one lease duration.
pub async fn acquire(
    cluster: &Cluster,
    namespace: &str,
    identity: &str,
    wait: Duration,
    clock: Clock,
) -> Result<Lock, LockError> {
    let collection = Path::api("coordination.k8s.io", "v1").collection(Some(namespace), "leases");
    let path = collection.clone().named(LEASE);
    let give_up = Instant::now() + longest_wait(wait);
    let mut seen: Option<(String, Instant)> = None;
    let mut waited = false;
    let mut logged: Option<String> = None;
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
                // Another run was faster.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            },
            Some((holder, until)) if Instant::now() >= give_up => {
                return Err(LockError::Held { holder, until });
            }
            Some((holder, until)) if logged.as_ref() != Some(&holder) => {
                tracing::info!(target: "eso_sync::progress", holder, %until, "another run holds the lock; waiting");
                logged = Some(holder);
            }
            Some(_) => {}
        }
        waited = true;
        sleep(LOOK).await;
    }
}

/// How long to wait for the lock: a bit more than one lease duration, because a live holder renews the Lease within it.
pub fn longest_wait(wait: Duration) -> Duration {
    wait.max(DURATION + LOOK)
}

async fn read(cluster: &Cluster, path: &Path) -> Result<Option<Lease>, ApiError> {
    match cluster.get::<Lease>(path).await {
        Ok(lease) => Ok(Some(lease)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The current holder and the end of its lease duration, or None if the lock is free.
fn held(
    lease: Option<&Lease>,
    identity: &str,
    now: Timestamp,
    unchanged: Duration,
) -> Option<(String, Timestamp)> {
    let spec = &lease?.spec;
    // Our own identity is there if the response to our first attempt was lost.
    let holder = spec.holder().filter(|holder| *holder != identity)?;
    let until = spec.until()?;
    let long_past = until.checked_add(SKEW).is_ok_and(|until| until < now);
    (!long_past && unchanged < DURATION).then(|| (holder.to_owned(), until))
}

impl Lock {
    async fn take(
        mut self,
        collection: &Path,
        lease: Option<&Lease>,
        clock: Clock,
    ) -> Result<Self, ApiError> {
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
        // Without a resource version the object is created. The key must then be absent.
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

    /// Renews the lock while it is held. Returns when it is lost.
    pub async fn keep(&mut self, clock: Clock) {
        loop {
            sleep(RENEWAL).await;
            // From this time on, another run may take over the lock.
            let lost = self.renewed + DURATION - MARGIN;
            let ours = tokio::select! {
                ours = self.renew(clock) => ours,
                () = sleep_until(lost) => false,
            };
            if !ours {
                tracing::error!(
                    "the lock was lost: another run took it over, or it could not be renewed in time"
                );
                return;
            }
        }
    }

    /// Renews the lock, with retries. Returns false if another run has it.
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
                Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {
                    if !self.is_still_ours().await {
                        return false;
                    }
                    // The conflict may persist, for example because of a webhook.
                    sleep(LOOK).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "could not renew the lock");
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
            Err(error) => error.kind == ErrorKind::Unavailable,
            Ok(_) => false,
        }
    }

    /// Releases the lock, so that the next run does not have to wait.
    pub async fn release(self, clock: Clock) {
        let object = self.object_held_by("", 1, Some(&self.resource_version), clock.now());
        let released = timeout(RELEASE, self.cluster.replace::<Lease>(&self.path, &object)).await;
        if !matches!(released, Ok(Ok(_))) {
            tracing::warn!("could not release the lock; it will expire");
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
    fn a_lease_is_held_while_it_changes() {
        let renewed = lease("a", "2026-03-01T11:59:58.000000Z");
        assert_eq!(holder(Some(&renewed), 0), Some("a".to_owned()));
        assert_eq!(
            holder(Some(&renewed), 15),
            None,
            "not renewed for one lease duration"
        );
    }

    #[test]
    fn clock_skew_does_not_expire_a_lease() {
        let behind = lease("a", "2026-03-01T11:59:20.000000Z");
        assert_eq!(holder(Some(&behind), 0), Some("a".to_owned()));
        let ahead = lease("a", "2026-03-01T12:10:00.000000Z");
        assert_eq!(holder(Some(&ahead), 15), None);
    }

    #[test]
    fn a_released_or_long_expired_lease_is_free_at_once() {
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
    fn a_lease_with_our_identity_is_ours() {
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
