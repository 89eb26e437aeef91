//! The workload controllers, modelled on the real ones (Kubernetes v1.34, Argo Rollouts v1.8): Deployments, ReplicaSets,
//! StatefulSets, DaemonSets, Rollouts, Pods on simulated nodes, and PodDisruptionBudgets.
//!
//! One task processes each change and all objects that it affects. Timers exist only for Pods that become ready later and
//! for deadlines. Annotations (see [`pods`]) configure how Pods behave.

mod amount;
mod budget;
mod condition;
mod daemon_set;
mod deployment;
mod family;
mod pods;
mod progress;
mod replica_set;
mod revision;
mod rollout;
mod stateful_set;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    object,
    resource::Resource,
    store::{Changes, Store, Write},
    time::stamp,
};

pub(super) use self::pods::check;

const MANAGER: &str = "kube-controller-manager";

/// On a workload: the controllers ignore it, so that a test can write its status.
const UNMANAGED: &str = "sandbox.eso-sync/unmanaged";

/// The kinds with a controller, in the order in which they are processed: dependents before their owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pod,
    Budget,
    ReplicaSet,
    ReplicationController,
    Deployment,
    StatefulSet,
    DaemonSet,
    Rollout,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Pod,
        Self::Budget,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Rollout,
    ];

    const fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Budget => "poddisruptionbudgets",
            Self::ReplicaSet => "replicasets",
            Self::ReplicationController => "replicationcontrollers",
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::Rollout => "rollouts",
        }
    }

    fn resource(self) -> Option<&'static Resource> {
        Resource::of_plural(self.plural())
    }

    fn of(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| {
            known
                .resource()
                .is_some_and(|resource| resource.kind == kind)
        })
    }
}

/// The key of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Key {
    fn of(kind: Kind, object: &Value) -> Self {
        Self {
            kind,
            namespace: object::namespace(object).to_owned(),
            name: object::name(object).to_owned(),
        }
    }
}

/// The controllers. All their state is in the store, except for indexes and timers.
struct Workloads {
    store: Arc<Store>,
    dirty: BTreeSet<Key>,
    due: BTreeMap<Key, Instant>,
    cursors: BTreeMap<Kind, u64>,
    /// Pods and ReplicaSets by the uid of their controller.
    owned: BTreeMap<String, BTreeSet<Key>>,
    /// When Pods become ready, by the Pod's uid.
    ready: BTreeMap<String, Instant>,
    /// True while loaded workloads are set up: created objects get the creation time of their owner.
    backdating: bool,
    random: fastrand::Rng,
}

/// The running controllers. They stop when this is dropped.
pub(super) struct Controllers(JoinHandle<()>);

impl Drop for Controllers {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Brings loaded workloads into the state that they would have had since their creation, then runs the controllers.
pub(super) async fn start(store: Arc<Store>) -> Controllers {
    let mut workloads = Workloads::new(store);
    workloads.backdating = true;
    workloads.process_pending().await;
    workloads.backdating = false;
    Controllers(tokio::spawn(workloads.run()))
}

impl Workloads {
    fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            dirty: BTreeSet::new(),
            due: BTreeMap::new(),
            cursors: BTreeMap::new(),
            owned: BTreeMap::new(),
            ready: BTreeMap::new(),
            backdating: false,
            random: fastrand::Rng::with_seed(0x90d5),
        }
    }

    async fn run(mut self) {
        let mut revision = self.store.subscribe();
        loop {
            revision.borrow_and_update();
            self.process_pending().await;
            let next = self.due.values().min().copied();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = revision.changed() => if changed.is_err() {
                    return;
                },
                () = sleep => {}
            }
        }
    }

    /// Processes changes until there is nothing left to do now.
    async fn process_pending(&mut self) {
        loop {
            for kind in Kind::ALL {
                self.process_changes(kind);
            }
            let now = Instant::now();
            let due: Vec<Key> = self
                .due
                .iter()
                .filter(|(_, at)| **at <= now)
                .map(|(key, _)| key.clone())
                .collect();
            for key in due {
                self.due.remove(&key);
                self.dirty.insert(key);
            }
            let Some(key) = self.dirty.pop_first() else {
                return;
            };
            self.work(&key);
            // Lets the API process requests in between.
            tokio::task::yield_now().await;
        }
    }

    fn work(&mut self, key: &Key) {
        let Some(object) = self.get(key) else {
            return;
        };
        if object::is_deleting(&object) || object::annotation(&object, UNMANAGED).is_some() {
            return;
        }
        match key.kind {
            Kind::Pod => self.pod(key, &object),
            Kind::Budget => self.budget(key, &object),
            Kind::ReplicaSet | Kind::ReplicationController => self.replica_set(key, &object),
            Kind::Deployment => self.deployment(key, &object),
            Kind::StatefulSet => self.stateful_set(key, &object),
            Kind::DaemonSet => self.daemon_set(key, &object),
            Kind::Rollout => self.rollout(key, &object),
        }
    }

    fn process_changes(&mut self, kind: Kind) {
        let Some(resource) = kind.resource() else {
            return;
        };
        let since = self.cursors.get(&kind).copied();
        if since.is_some_and(|cursor| self.store.last_change(resource) <= cursor) {
            return;
        }
        let since = since.map(|cursor| self.store.changes_since(resource, cursor));
        let revision = if let Some(Ok(Changes { revision, changes })) = since {
            for change in changes {
                self.on_object(kind, &change.object, change.deleted);
            }
            revision
        } else {
            let page = self.store.list(resource, None);
            for (_, object) in &page.objects {
                self.on_object(kind, object, false);
            }
            page.revision
        };
        self.cursors.insert(kind, revision);
    }

    fn on_object(&mut self, kind: Kind, object: &Value, deleted: bool) {
        let key = Key::of(kind, object);
        if let Some(owner) = object::controller(object) {
            let uid = object::text(owner, "/uid").to_owned();
            let children = self.owned.entry(uid).or_default();
            if deleted {
                children.remove(&key);
            } else {
                children.insert(key.clone());
            }
            if let Some(above) = Kind::of(object::text(owner, "/kind")) {
                self.dirty.insert(Key {
                    kind: above,
                    namespace: key.namespace.clone(),
                    name: object::text(owner, "/name").to_owned(),
                });
            }
        }
        if kind == Kind::Pod {
            self.on_pod(object, deleted);
        }
        if deleted {
            self.owned.remove(object::uid(object));
            self.due.remove(&key);
        } else {
            self.dirty.insert(key);
        }
    }

    /// A changed Pod affects the PodDisruptionBudgets of its namespace.
    fn on_pod(&mut self, pod: &Value, deleted: bool) {
        if deleted {
            self.ready.remove(object::uid(pod));
        }
        if let Some(budgets) = Kind::Budget.resource() {
            let namespace = object::namespace(pod);
            for (_, budget) in self.store.list(budgets, Some(namespace)).objects {
                self.dirty.insert(Key::of(Kind::Budget, &budget));
            }
        }
    }

    fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.store
            .get(key.kind.resource()?, &key.namespace, &key.name)
    }

    /// The objects of a kind that an object controls, sorted by name.
    fn owned(&self, owner: &Value, kind: Kind) -> Vec<Arc<Value>> {
        let children = self.owned.get(object::uid(owner)).into_iter().flatten();
        children
            .filter(|key| key.kind == kind)
            .filter_map(|key| self.get(key))
            .filter(|child| !object::is_deleting(child))
            .collect()
    }

    /// Queues the object for this time. If it is already waiting, the earlier time counts.
    fn requeue(&mut self, key: &Key, at: Instant) {
        let due = self.due.entry(key.clone()).or_insert(at);
        *due = (*due).min(at);
    }

    /// Queues the object for this wall clock time.
    fn requeue_at_time(&mut self, key: &Key, time: Timestamp) {
        let wait = time.duration_since(self.store.clock.now());
        let wait = std::time::Duration::try_from(wait).unwrap_or_default();
        self.requeue(key, Instant::now() + wait);
    }

    /// The current time as a timestamp, or the owner's creation time while loaded workloads are set up.
    fn time(&self, owner: &Value) -> String {
        match object::text(owner, "/metadata/creationTimestamp") {
            began if self.backdating && !began.is_empty() => began.to_owned(),
            _ => stamp(self.store.clock),
        }
    }

    /// Creates an object for its owner.
    fn create(&self, kind: &str, object: Value, owner: &Value) -> Option<Arc<Value>> {
        let resource = Resource::of_plural(kind)?;
        let created = self.store.create(resource, object, Write::by(MANAGER));
        match created {
            Ok(created) if self.backdating => {
                let time = self.time(owner);
                Some(self.store.backdate(resource, &created, &time))
            }
            Ok(created) => Some(created),
            Err(failure) => {
                let message = failure.message;
                tracing::debug!(
                    message,
                    "a controller of the sandbox could not create something"
                );
                None
            }
        }
    }

    fn change(&self, key: &Key, status: bool, change: impl FnOnce(&mut Value)) {
        let Some(resource) = key.kind.resource() else {
            return;
        };
        let write = Write {
            status,
            ..Write::by(MANAGER)
        };
        let written = self
            .store
            .update(resource, &key.namespace, &key.name, write, |current| {
                let mut next = current.clone();
                change(&mut next);
                Ok(next)
            });
        if let Err(failure) = written {
            let message = failure.message;
            tracing::debug!(
                message,
                "a controller of the sandbox could not write something"
            );
        }
    }

    /// Writes a status if it has changed.
    fn report(&self, key: &Key, status: Value) {
        self.change(key, true, |object| object::set(object, "status", status));
    }

    /// Random characters that make a name unique.
    fn suffix(&mut self) -> String {
        const SIGNS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5)
            .filter_map(|_| SIGNS.get(self.random.usize(..SIGNS.len())))
            .map(|sign| char::from(*sign))
            .collect()
    }
}

/// The number at a JSON pointer, or `otherwise` if it is missing.
fn number(object: &Value, pointer: &str, otherwise: i64) -> i64 {
    object::at(object, pointer).as_i64().unwrap_or(otherwise)
}

/// A status without the numbers that are zero, like Go's `omitempty`.
fn without_zeros(mut status: Value) -> Value {
    object::as_map(&mut status).retain(|_, value| *value != 0);
    status
}

/// The owner references of an object that `owner` controls.
fn reference(owner: &Value) -> Value {
    serde_json::json!([{
        "apiVersion": object::at(owner, "/apiVersion"), "kind": object::at(owner, "/kind"),
        "name": object::name(owner), "uid": object::uid(owner), "controller": true, "blockOwnerDeletion": true,
    }])
}
