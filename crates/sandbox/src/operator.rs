//! A small External Secrets Operator with the semantics of v0.20.4.
//!
//! It implements refresh policies, failures, Events, targets and ClusterExternalSecrets like the real operator, with a
//! configurable number of workers on one queue. It supports only some provider features and templates, and fails for all
//! others. Its retry delays are [`Settings::speed`] times shorter, so that users do not wait for minutes.

mod events;
mod fetch;
mod history;
mod hold;
mod parent;
mod queue;
mod readiness;
mod reconcile;
mod refresh;
mod spec;
mod status;
mod target;
mod template;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use eso_model::digest::Algorithm;
use serde_json::Value;
use tokio::task::JoinSet;

use self::{events::Recorder, queue::Queue, spec::Spec};
use super::{
    Settings, object,
    provider::Provider,
    resource::Resource,
    store::{Changes, Store},
};

/// The operator's name: its field manager and the component of its Events.
const CONTROLLER: &str = "external-secrets";

/// The operator's controller class.
const CLASS: &str = "default";

/// The next action for a key after its reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Done,
    /// Reconcile again after this delay.
    After(Duration),
    /// Reconcile again soon (`Requeue: true`).
    Again,
    /// Reconcile again with backoff.
    Failed,
}

/// The state that the controllers share.
pub(super) struct Reconciler {
    store: Arc<Store>,
    provider: Arc<Provider>,
    algorithm: Algorithm,
    recorder: Recorder,
    store_recorders: [Recorder; 2],
    /// The uids of stores whose Ready condition this operator wrote.
    validated: Mutex<BTreeSet<String>>,
}

impl Reconciler {
    pub(super) fn new(store: Arc<Store>, settings: Settings) -> Self {
        let algorithm = if settings.md5 {
            Algorithm::Md5
        } else {
            Algorithm::Sha3_224
        };
        Self {
            provider: Arc::new(Provider::new(Arc::clone(&store))),
            store,
            algorithm,
            recorder: Recorder::new(CONTROLLER),
            store_recorders: [
                Recorder::new("secret-store"),
                Recorder::new("cluster-secret-store"),
            ],
            validated: Mutex::default(),
        }
    }

    fn event(&self, about: &Value, kind: &str, reason: &str, message: &str) {
        self.recorder
            .event(&self.store, about, kind, reason, message);
    }

    fn store_event(&self, about: &Value, kind: &str, reason: &str, message: &str) {
        let [namespaced, cluster_wide] = &self.store_recorders;
        let recorder = if object::text(about, "/kind") == "ClusterSecretStore" {
            cluster_wide
        } else {
            namespaced
        };
        recorder.event(&self.store, about, kind, reason, message);
    }
}

/// A running operator. It stops when it is dropped.
pub(super) struct Operator {
    reconciler: Arc<Reconciler>,
    settings: Settings,
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Operator {
    /// An operator that is not running yet.
    pub(super) fn new(reconciler: Arc<Reconciler>, settings: Settings) -> Self {
        Self {
            reconciler,
            settings,
            tasks: Mutex::new(None),
        }
    }

    /// The providers that the operator reads.
    pub(super) fn provider(&self) -> &Arc<Provider> {
        &self.reconciler.provider
    }

    /// Starts the operator as a new process that reconciles everything. Does nothing if it is running.
    pub(super) fn start(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.get_or_insert_with(|| self.spawn());
    }

    /// Stops the operator immediately, even during a reconciliation.
    pub(super) fn stop(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn spawn(&self) -> JoinSet<()> {
        self.reconciler.recorder.forget();
        let speed = self.settings.speed.max(1);
        let queues = Arc::new(Queues {
            external_secrets: Queue::new(speed),
            parents: Queue::new(speed),
        });
        let mut tasks = JoinSet::new();
        let informer = Informer::new(Arc::clone(&self.reconciler), Arc::clone(&queues));
        tasks.spawn(informer.run());
        let timers = Arc::clone(&queues);
        tasks.spawn(async move {
            tokio::join!(
                timers.external_secrets.run_timer(),
                timers.parents.run_timer()
            );
        });
        for _ in 0..self.settings.workers.max(1) {
            let (reconciler, queues) = (Arc::clone(&self.reconciler), Arc::clone(&queues));
            tasks.spawn(async move {
                loop {
                    let key = queues.external_secrets.next().await;
                    let (namespace, name) = key.split_once('/').unwrap_or_default();
                    let next = reconciler.external_secret(namespace, name).await;
                    finish(&queues.external_secrets, &key, next);
                }
            });
        }
        let (reconciler, queues) = (Arc::clone(&self.reconciler), queues);
        tasks.spawn(async move {
            loop {
                let key = queues.parents.next().await;
                let next = reconciler.cluster_external_secret(&key);
                finish(&queues.parents, &key, next);
            }
        });
        tasks
    }
}

struct Queues {
    external_secrets: Queue,
    parents: Queue,
}

fn finish(queue: &Queue, key: &str, next: Next) {
    match next {
        Next::Done => queue.forget(key),
        Next::After(delay) => {
            queue.forget(key);
            queue.add_after(key.to_owned(), delay);
        }
        Next::Again | Next::Failed => queue.add_rate_limited(key.to_owned()),
    }
    queue.done(key);
}

/// Watches objects and queues the keys that each change affects.
struct Informer {
    reconciler: Arc<Reconciler>,
    queues: Arc<Queues>,
    /// The keys of ExternalSecrets, by namespace and name of their target Secret.
    by_target: BTreeMap<String, BTreeSet<String>>,
    cursors: BTreeMap<&'static str, u64>,
}

/// The order matters: a store must be validated before its ExternalSecrets are queued.
const WATCHED: [&str; 6] = [
    "secretstores",
    "clustersecretstores",
    "namespaces",
    "clusterexternalsecrets",
    "externalsecrets",
    "secrets",
];

impl Informer {
    fn new(reconciler: Arc<Reconciler>, queues: Arc<Queues>) -> Self {
        Self {
            reconciler,
            queues,
            by_target: BTreeMap::new(),
            cursors: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        let mut revision = self.reconciler.store.subscribe();
        loop {
            revision.borrow_and_update();
            for resource in WATCHED
                .iter()
                .filter_map(|plural| Resource::of_plural(plural))
            {
                self.process_changes(resource);
            }
            if revision.changed().await.is_err() {
                return;
            }
        }
    }

    fn process_changes(&mut self, resource: &'static Resource) {
        let store = Arc::clone(&self.reconciler.store);
        let since = self
            .cursors
            .get(resource.plural)
            .map(|cursor| store.changes_since(resource, *cursor));
        let revision = if let Some(Ok(Changes { revision, changes })) = since {
            for change in changes {
                self.on_object(resource, &change.object, change.deleted);
            }
            revision
        } else {
            // On the first call, or after a compaction, every object counts as new.
            let page = store.list(resource, None);
            for (_, object) in &page.objects {
                self.on_object(resource, object, false);
            }
            page.revision
        };
        self.cursors.insert(resource.plural, revision);
    }

    fn on_object(&mut self, resource: &Resource, object: &Value, deleted: bool) {
        match resource.kind {
            "ExternalSecret" => self.on_external_secret(object, deleted),
            "Secret" if target::is_managed(object) => {
                let key = format!("{}/{}", object::namespace(object), object::name(object));
                for external_secret in self.by_target.get(&key).into_iter().flatten() {
                    self.queues.external_secrets.add(external_secret.clone());
                }
            }
            "ClusterExternalSecret" => self.queues.parents.add(object::name(object).to_owned()),
            "Namespace" => {
                let parents = Resource::of_plural("clusterexternalsecrets");
                let parents =
                    parents.map(|parents| self.reconciler.store.list(parents, None).objects);
                for (name, _) in parents.into_iter().flatten() {
                    self.queues.parents.add(name);
                }
            }
            "SecretStore" | "ClusterSecretStore" if !deleted => {
                self.reconciler.validate(resource, object);
            }
            _ => {}
        }
    }

    fn on_external_secret(&mut self, object: &Value, deleted: bool) {
        let (namespace, name) = (object::namespace(object), object::name(object));
        let key = format!("{namespace}/{name}");
        if let Ok(spec) = Spec::of(object) {
            let target = format!("{namespace}/{}", spec.secret_name(name));
            let sources = self.by_target.entry(target).or_default();
            if deleted {
                sources.remove(&key);
            } else {
                sources.insert(key.clone());
            }
        }
        if let Some(parent) = parent::parent_of(object) {
            self.queues.parents.add(parent.to_owned());
        }
        self.queues.external_secrets.add(key);
    }
}
