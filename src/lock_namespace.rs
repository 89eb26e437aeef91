//! Where the job lives: the Pod that it runs in, and the namespace of what it owns, the lock and the key of stamps.

use std::time::Duration;

use cluster::{Cluster, ErrorKind};

use crate::{
    announce::JobPod,
    cli::{ActArgs, LockNamespaceArgs},
    lock::{self, Lock, LockError},
    rbac,
    session::World,
};

/// Where the job lives.
#[derive(Clone, Debug)]
pub struct LockNamespace {
    /// The namespace of what it owns, where one is given.
    namespace: Option<String>,
    pod_namespace: Option<String>,
    pod_name: Option<String>,
    /// How long another run is waited for.
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
    /// The namespaces in which what it owns may be. Where nothing is installed, `default` always is.
    pub fn namespaces(&self) -> Vec<String> {
        match &self.namespace {
            Some(namespace) => vec![namespace.clone()],
            None => vec![rbac::DEFAULT_NAMESPACE.to_owned(), "default".to_owned()],
        }
    }

    /// The own Pod, where the job runs in one.
    pub fn pod(&self) -> Option<JobPod> {
        let (namespace, name) = (self.pod_namespace.clone()?, self.pod_name.clone()?);
        Some(JobPod { namespace, name })
    }

    /// Takes the lock. Where nothing is installed, runs by hand keep apart from each other in a namespace that always is.
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
