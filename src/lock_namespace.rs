//! The namespace of the lock and the stamp key, and the Pod that the job runs in.

use std::time::Duration;

use cluster::{Cluster, ErrorKind};

use crate::{
    announce::JobPod,
    cli::{ActArgs, LockNamespaceArgs},
    lock::{self, Lock, LockError},
    rbac,
    session::World,
};

/// The namespace of the lock and the stamp key, and the job's Pod.
#[derive(Clone, Debug)]
pub struct LockNamespace {
    /// The namespace of the lock and the stamp key, if one is given.
    namespace: Option<String>,
    pod_namespace: Option<String>,
    pod_name: Option<String>,
    /// How long to wait for a lock that another run holds.
    wait_lock: Duration,
}

impl From<&ActArgs> for LockNamespace {
    fn from(args: &ActArgs) -> Self {
        let own = args.lock_namespace.as_ref().or(args.pod_namespace.as_ref());
        Self {
            namespace: own.cloned(),
            pod_namespace: args.pod_namespace.clone(),
            pod_name: args.pod_name.clone(),
            wait_lock: args.wait_lock.0,
        }
    }
}

impl From<&LockNamespaceArgs> for LockNamespace {
    fn from(args: &LockNamespaceArgs) -> Self {
        let own = args.lock_namespace.as_ref().or(args.pod_namespace.as_ref());
        Self {
            namespace: own.cloned(),
            pod_namespace: args.pod_namespace.clone(),
            pod_name: None,
            wait_lock: Duration::ZERO,
        }
    }
}

impl LockNamespace {
    /// The candidate namespaces of the lock and the stamp key. `default` always exists, even if nothing is installed.
    pub fn namespaces(&self) -> Vec<String> {
        match &self.namespace {
            Some(namespace) => vec![namespace.clone()],
            None => vec![rbac::DEFAULT_NAMESPACE.to_owned(), "default".to_owned()],
        }
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

    /// Acquires the lock. If the first namespace does not exist, uses the next one, so that manual runs exclude each other too.
    pub async fn lock(&self, cluster: &Cluster, world: &World) -> Result<Lock, LockError> {
        let host = self.pod_name.as_ref();
        let host = host.or_else(|| world.environment.get("HOSTNAME"));
        let host = host.map_or("eso-sync", |host| &**host);
        let identity = format!("{host}_{}", world.run);
        let mut namespaces = self.namespaces().into_iter();
        let first = namespaces.next().unwrap_or_default();
        let taken = lock::acquire(cluster, &first, &identity, self.wait_lock, world.clock).await;
        match (taken, namespaces.next()) {
            (Err(LockError::Call(error)), Some(next)) if error.kind == ErrorKind::NotFound => {
                lock::acquire(cluster, &next, &identity, self.wait_lock, world.clock).await
            }
            (taken, _) => taken,
        }
    }
}
