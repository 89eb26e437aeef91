//! The namespace of the lock and the stamp key, and the Pod that the job runs in.
//!
//! Who can write in that namespace can choose the stamp key and hold the lock. So it is never read from an object and never
//! guessed: a flag names it, or it is the namespace of the job's own Pod.

use std::time::Duration;

use cluster::{Cluster, ErrorKind};

use crate::{
    announce::JobPod,
    cli::{ActArgs, LockNamespaceArgs, PublishWhat},
    history::Keeper,
    lock::{self, Lock, LockError},
    policy::Report,
    rbac,
    session::{Connected, Session, World},
};

/// The namespace of the lock and the stamp key, and the job's Pod.
#[derive(Clone, Debug)]
pub struct LockNamespace {
    /// The namespace of the lock and the stamp key, if one is given.
    given: Option<String>,
    pod_namespace: Option<String>,
    pod_name: Option<String>,
    /// How long to wait for a lock that another run holds.
    wait_lock: Duration,
}

impl LockNamespace {
    /// The namespace that the flags of a run name.
    pub fn of_run(args: &ActArgs, session: &Session) -> Self {
        Self {
            pod_name: args.pod_name.clone(),
            wait_lock: args.wait_lock.0,
            ..Self::given(
                args.lock_namespace.as_ref(),
                args.pod_namespace.as_ref(),
                session,
            )
        }
    }

    /// The namespace that the flags of a read-only command name.
    pub fn of_reader(args: &LockNamespaceArgs, session: &Session) -> Self {
        Self::given(
            args.lock_namespace.as_ref(),
            args.pod_namespace.as_ref(),
            session,
        )
    }

    /// The namespace that the flags of `publish` name.
    pub fn of_publisher(args: &PublishWhat, session: &Session) -> Self {
        let given = Self::given(
            args.lock_namespace.as_ref(),
            args.pod_namespace.as_ref(),
            session,
        );
        Self {
            pod_name: args.pod_name.clone(),
            ..given
        }
    }

    /// Waits for another run for this time.
    #[must_use]
    pub fn waiting(mut self, time: Duration) -> Self {
        self.wait_lock = time;
        self
    }

    fn given(
        lock_namespace: Option<&String>,
        pod_namespace: Option<&String>,
        session: &Session,
    ) -> Self {
        let own = lock_namespace.or(pod_namespace);
        // The embedded cluster has no untrusted tenants, and always has this namespace.
        let embedded = session.connection.sandbox.is_some();
        let embedded = || embedded.then(|| "default".to_owned());
        Self {
            given: own.cloned().or_else(embedded),
            pod_namespace: pod_namespace.cloned(),
            pod_name: None,
            wait_lock: Duration::ZERO,
        }
    }

    /// The namespace of the stamp key, if one is given.
    pub fn of_stamps(&self) -> Option<String> {
        self.given.clone()
    }

    /// The Pod that the job runs in, if any.
    pub fn pod(&self) -> Option<JobPod> {
        let (namespace, name) = (self.pod_namespace.clone()?, self.pod_name.clone()?);
        Some(JobPod { namespace, name })
    }

    /// The longest time that acquiring the lock takes.
    pub fn longest_wait(&self) -> Duration {
        lock::longest_wait(self.wait_lock)
    }

    /// The namespace of the Lease. Without a given one, runs by hand exclude each other, and the job that the manifests install.
    fn of_lease(&self) -> &str {
        self.given.as_deref().unwrap_or(rbac::DEFAULT_NAMESPACE)
    }

    /// The namespace of the history: that of the Lease.
    pub fn of_history(&self) -> &str {
        self.of_lease()
    }

    /// Lets the command add a summary to the history when it ends, if the policy keeps one.
    pub fn keep_history(&self, session: &Session, connected: &Connected, report: &Report) {
        let files = session.world.record.files();
        let (Some(reporting), Ok(run)) = (files.reporting(), session.world.run.parse()) else {
            return;
        };
        if report.history > 0 {
            files.kept_by(Keeper {
                cluster: connected.cluster.clone(),
                namespace: self.of_history().to_owned(),
                most: usize::try_from(report.history).unwrap_or(usize::MAX),
                run,
                command: reporting.command,
                job: reporting.job,
                sandbox: connected.running(),
            });
        }
    }

    /// The version of the Lease now, if it can be read.
    pub async fn lease_version(&self, cluster: &Cluster) -> Option<String> {
        lock::version(cluster, self.of_lease()).await
    }

    /// True if a run holds the lock, or was killed while it held it.
    pub async fn is_locked(&self, cluster: &Cluster) -> bool {
        lock::is_held(cluster, self.of_lease()).await
    }

    /// Acquires the lock.
    pub async fn lock(&self, cluster: &Cluster, world: &World) -> Result<Lock, LockError> {
        let host = self.pod_name.as_ref();
        let host = host.or_else(|| world.environment.get("HOSTNAME"));
        let host = host.map_or("eso-sync", |host| &**host);
        let identity = format!("{host}_{}", world.run);
        let namespace = self.of_lease();
        let taken = lock::acquire(cluster, namespace, &identity, self.wait_lock, world.clock).await;
        match taken {
            Err(LockError::Call(error))
                if error.kind == ErrorKind::NotFound && self.given.is_none() =>
            {
                Err(LockError::NoNamespace(namespace.to_owned()))
            }
            taken => taken,
        }
    }
}
