//! One Lease per cluster prevents parallel runs that write.
//!
//! A killed holder does not release the Lease. A run takes it over only after it has watched the Lease stay unchanged for its
//! whole duration, by its own monotonic clock (like client-go's leader election). The times in the Lease are those of another
//! clock, so they prove nothing.

use std::time::Duration;

use cluster::{ApiError, Cluster, ErrorKind, Path};
use jiff::Timestamp;
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

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("another run holds the lock: {0}. Use --wait-lock to wait")]
    Held(String),
    /// No namespace is given, and the one of the manifests does not exist.
    #[error("the namespace {0} of the lock does not exist")]
    NoNamespace(String),
    /// The Lease cannot be read or written.
    #[error("cannot acquire the lock")]
    Call(#[from] ApiError),
}

pub struct Lock {
    cluster: Cluster,
    path: Path,
    identity: String,
    resource_version: String,
    /// The version of the Lease before.
    replaced: String,
    transitions: i64,
    acquired: Timestamp,
    renewed: Instant,
    /// True if the run had to wait for the lock.
    waited: bool,
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
    /// How long the Lease must stay unchanged before another run may take it over.
    fn duration(&self) -> Duration {
        let seconds = self
            .lease_duration_seconds
            .and_then(|it| it.try_into().ok());
        seconds.map_or(DURATION, Duration::from_secs)
    }

    fn holder(&self) -> Option<&str> {
        self.holder_identity
            .as_deref()
            .filter(|holder| !holder.is_empty())
    }
}

/// The version of the Lease now: its resource version, empty if it does not exist, or None if it cannot be read.
pub async fn version(cluster: &Cluster, namespace: &str) -> Option<String> {
    let lease = read(cluster, &leases(namespace).named(LEASE)).await.ok()?;
    Some(
        lease
            .map(|lease| lease.metadata.resource_version)
            .unwrap_or_default(),
    )
}

/// True if the Lease names a holder, who may have been killed: only time shows that. An unreadable Lease counts as free, because
/// [`acquire`] reports the error.
pub async fn is_held(cluster: &Cluster, namespace: &str) -> bool {
    let lease = read(cluster, &leases(namespace).named(LEASE)).await;
    lease.is_ok_and(|lease| lease.is_some_and(|lease| lease.spec.holder().is_some()))
}

fn leases(namespace: &str) -> Path {
    Path::api("coordination.k8s.io", "v1").collection(Some(namespace), "leases")
}

/// Acquires the lock. Waits for up to `wait`, but at least for one lease duration.
pub async fn acquire(
    cluster: &Cluster,
    namespace: &str,
    identity: &str,
    wait: Duration,
    clock: Clock,
) -> Result<Lock, LockError> {
    let collection = leases(namespace);
    let path = collection.clone().named(LEASE);
    let give_up = Instant::now() + longest_wait(wait);
    let mut seen: Option<(String, Instant)> = None;
    let mut waited = false;
    let mut logged: Option<String> = None;
    loop {
        let lease = read(cluster, &path).await?;
        let version = lease.as_ref().map(|lease| &lease.metadata.resource_version);
        let version = version.cloned().unwrap_or_default();
        if seen.as_ref().is_none_or(|(before, _)| *before != version) {
            seen = Some((version.clone(), Instant::now()));
        }
        let since = seen.as_ref().map(|(_, since)| since.elapsed());
        let spec = lease.as_ref().map(|lease| &lease.spec);
        let attempt = Lock {
            cluster: cluster.clone(),
            path: path.clone(),
            identity: identity.to_owned(),
            resource_version: String::new(),
            replaced: version,
            transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0) + 1,
            acquired: clock.now(),
            renewed: Instant::now(),
            waited,
        };
        match held(spec, identity, since.unwrap_or_default()) {
            None => match attempt.take(&collection, lease.as_ref(), clock).await {
                Ok(lock) => return Ok(lock),
                // Another run was faster.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            },
            Some(holder) if Instant::now() >= give_up => {
                return Err(LockError::Held(holder.to_owned()));
            }
            Some(holder) if logged.as_deref() != Some(holder) => {
                tracing::info!(target: "eso_sync::progress", holder, "another run holds the lock; waiting");
                logged = Some(holder.to_owned());
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

/// The current holder, or None if the lock is free. `unchanged` is how long we have watched the Lease stay as it is.
fn held<'a>(spec: Option<&'a Spec>, identity: &str, unchanged: Duration) -> Option<&'a str> {
    let spec = spec?;
    // Our own identity is there if the response to our first attempt was lost.
    let holder = spec.holder().filter(|holder| *holder != identity)?;
    (unchanged < spec.duration()).then_some(holder)
}

impl Lock {
    /// True if another run may have written since the Lease had this version.
    pub fn follows_another_run(&self, version: Option<&str>) -> bool {
        self.waited || version != Some(&*self.replaced)
    }

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

    fn spec(holder: &str, renewed: &str) -> Spec {
        serde_json::from_value(json!({
            "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed,
        }))
        .unwrap()
    }

    fn holder(spec: &Spec, unchanged: u64) -> Option<&str> {
        held(Some(spec), "me", Duration::from_secs(unchanged))
    }

    #[test]
    fn lease_is_held_until_it_stayed_unchanged_for_its_duration() {
        let renewed = spec("a", "2026-03-01T11:59:58.000000Z");
        assert_eq!(holder(&renewed, 14), Some("a"));
        assert_eq!(holder(&renewed, 15), None);
        let long = Spec {
            lease_duration_seconds: Some(60),
            ..spec("a", "2026-03-01T11:59:58.000000Z")
        };
        assert_eq!(holder(&long, 59), Some("a"));
        assert_eq!(holder(&long, 60), None);
    }

    /// The holder's clock may be wrong by any amount, or the Lease has no times.
    #[test]
    fn times_in_the_lease_decide_nothing() {
        for renewed in [
            "1970-01-01T00:00:00Z",
            "2026-03-01T12:00:00Z",
            "9999-01-01T00:00:00Z",
        ] {
            let spec = spec("a", renewed);
            assert_eq!((holder(&spec, 0), holder(&spec, 15)), (Some("a"), None));
        }
        for seconds in [None, Some(-1)] {
            let without = Spec {
                renew_time: None,
                lease_duration_seconds: seconds,
                ..spec("a", "2026-03-01T12:00:00Z")
            };
            assert_eq!(
                (holder(&without, 14), holder(&without, 15)),
                (Some("a"), None)
            );
        }
    }

    #[test]
    fn absent_or_released_lease_is_free_at_once() {
        assert_eq!(held(None, "me", Duration::ZERO), None);
        assert_eq!(holder(&spec("", "2026-03-01T11:59:59.000000Z"), 0), None);
    }

    #[test]
    fn a_lease_with_our_identity_is_ours() {
        assert_eq!(holder(&spec("me", "2026-03-01T11:59:58.000000Z"), 0), None);
    }

    #[test]
    fn times_have_microseconds() {
        assert_eq!(
            micro_time("2026-03-01T12:00:00.5Z".parse().unwrap()),
            "2026-03-01T12:00:00.500000Z"
        );
    }
}
