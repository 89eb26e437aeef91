//! Reads of the drift check in the cluster: target Secrets, and the ConfigMaps and Secrets that hold templates.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cluster::{ApiError, Cluster, ErrorKind, Path, Query, wire};
use eso_model::Id;
use futures::{StreamExt as _, stream};
use pace::Workers;
use secret::{RunKey, Value};
use tokio::sync::OnceCell;

use super::{
    target::{Actual, Target},
    templates::{Source, SourceKind, SourceName, Sources},
};

/// Up to this number, Secrets are read one by one. Above it, the Secrets with the operator's label are listed.
const ONE_BY_ONE: usize = 20;

/// Concurrent reads.
const AT_A_TIME: usize = 8;

/// The largest template, in bytes, that is kept for other ExternalSecrets.
const KEPT_TEMPLATE: usize = 4 << 10;

/// The label that the operator sets on its Secrets (since v0.11).
const MANAGED: &str = "reconcile.external-secrets.io/managed=true";

/// Reads target Secrets. A Secret of 1 MiB takes many milliseconds to hash, so other threads do it.
#[derive(Clone, Copy)]
pub(super) struct Secrets<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) workers: &'a Workers,
    pub(super) key: &'a Arc<RunKey>,
}

/// The Secrets that were read. None for one that is too large to be kept.
type Found = BTreeMap<Id, Option<Target>>;

impl Secrets<'_> {
    /// Reads these Secrets, and returns those that are not too large to be kept. `namespaces` are the namespaces that the policy
    /// names; None: all.
    pub(super) async fn all(
        self,
        wanted: &BTreeSet<Id>,
        namespaces: Option<&BTreeSet<String>>,
    ) -> BTreeMap<Id, Target> {
        let mut found = Found::new();
        if wanted.len() > ONE_BY_ONE {
            let whole = match namespaces {
                None => self.list(None, wanted, &mut found).await,
                Some(_) => Ok(false),
            };
            // A job without the right to list all Secrets may still list those of single namespaces.
            if !matches!(whole, Ok(true)) {
                let all: BTreeSet<&str> = wanted.iter().map(|id| &*id.namespace).collect();
                for namespace in all {
                    let listed = self.list(Some(namespace), wanted, &mut found).await;
                    if let Err(error) = listed {
                        let refused = wanted.iter().filter(|id| id.namespace == namespace);
                        let unread =
                            refused.map(|id| (id.clone(), Some(Target::Unread(error.to_string()))));
                        found.extend(unread);
                    }
                }
            }
        }
        // The list does not contain Secrets without the label: old operators do not set it, and users can remove it.
        let single: Vec<&Id> = wanted.iter().filter(|id| !found.contains_key(id)).collect();
        let reads: Vec<_> = single
            .into_iter()
            .map(async |id| (id.clone(), self.one(id).await.kept()))
            .collect();
        let read: Vec<(Id, Option<Target>)> = stream::iter(reads)
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        found.extend(read);
        let kept = found.into_iter();
        kept.filter_map(|(id, target)| Some((id, target?)))
            .collect()
    }

    /// Returns true after a successful list.
    async fn list(
        self,
        namespace: Option<&str>,
        wanted: &BTreeSet<Id>,
        found: &mut Found,
    ) -> Result<bool, ApiError> {
        let query = Query::new(Path::core(namespace, "secrets")).with("labelSelector", MANAGED);
        let mut pages = self.cluster.pages(&query);
        loop {
            let mut page = Vec::new();
            let each = |secret: wire::Secret| {
                let id = Id {
                    namespace: secret.metadata.namespace.clone(),
                    name: secret.metadata.name.clone(),
                };
                if wanted.contains(&id) {
                    page.push((id, secret));
                }
                ControlFlow::Continue(())
            };
            if !pages.next(each).await? {
                return Ok(true);
            }
            let key = Arc::clone(self.key);
            let ids: Vec<Id> = page.iter().map(|(id, _)| id.clone()).collect();
            let hash = move || -> Found {
                let targets = page.into_iter();
                let target = |(id, secret)| (id, Target::there(Actual::of(secret, &key)).kept());
                targets.map(target).collect()
            };
            let hashed = self.workers.compute(namespace.unwrap_or_default(), hash);
            let failed = |_| ids.into_iter().map(|id| (id, Some(not_hashed()))).collect();
            found.extend(hashed.await.unwrap_or_else(failed));
        }
    }

    /// Reads one target Secret.
    pub(super) async fn one(self, id: &Id) -> Target {
        match self.cluster.get::<wire::Secret>(&path(id)).await {
            Ok(secret) => {
                let key = Arc::clone(self.key);
                let hash = move || Target::there(Actual::of(secret, &key));
                let hashed = self.workers.compute(&id.namespace, hash);
                hashed.await.unwrap_or_else(|_| not_hashed())
            }
            Err(error) if error.kind == ErrorKind::NotFound => Target::Absent,
            Err(error) => Target::Unread(error.to_string()),
        }
    }
}

fn not_hashed() -> Target {
    Target::Unread("comparing it failed unexpectedly".to_owned())
}

/// Returns the API path of a Secret.
fn path(id: &Id) -> Path {
    Path::core(Some(&id.namespace), "secrets").named(&id.name)
}

/// The templates by namespace and name.
type Known = BTreeMap<(String, SourceName), Arc<OnceCell<Source>>>;

/// Reads the objects that hold templates, each once.
pub(super) struct Templates<'a> {
    cluster: &'a Cluster,
    known: Mutex<Known>,
}

impl<'a> Templates<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            known: Mutex::default(),
        }
    }

    /// Reads objects of a namespace.
    pub(super) async fn read(&self, namespace: &str, wanted: BTreeSet<SourceName>) -> Sources {
        let reads = wanted.into_iter().map(async |name| {
            let source = self.source(namespace, &name).await;
            (name, source)
        });
        let reads: Vec<_> = reads.collect();
        stream::iter(reads).buffer_unordered(2).collect().await
    }

    async fn source(&self, namespace: &str, name: &SourceName) -> Source {
        let id = (namespace.to_owned(), name.clone());
        let cell = Arc::clone(self.known().entry(id.clone()).or_default());
        let source = cell
            .get_or_init(|| source(self.cluster, namespace, name))
            .await
            .clone();
        // Many templates are small and shared. A large one would take the memory until the end of the check.
        if source.size() > KEPT_TEMPLATE {
            self.known().remove(&id);
        }
        source
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn source(cluster: &Cluster, namespace: &str, name: &SourceName) -> Source {
    let texts = match name.kind {
        SourceKind::ConfigMap => {
            let path = Path::core(Some(namespace), "configmaps").named(&name.name);
            let object = cluster.get::<wire::ConfigMap>(&path).await;
            object.map(|object| {
                let texts = object.data.into_iter();
                texts
                    .map(|(key, text)| (key, Value::new(text.into_bytes())))
                    .collect()
            })
        }
        SourceKind::Secret => {
            let id = Id {
                namespace: namespace.to_owned(),
                name: name.name.clone(),
            };
            let object = cluster.get::<wire::Secret>(&path(&id)).await;
            object.map(|object| object.data)
        }
    };
    match texts {
        Ok(texts) => Source::Texts(Arc::new(texts)),
        Err(error) if error.kind == ErrorKind::NotFound => Source::Absent,
        Err(error) => Source::Unread(error.to_string()),
    }
}
