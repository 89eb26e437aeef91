//! Reads of the drift check in the cluster: target Secrets, and the ConfigMaps and Secrets that hold templates.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{ApiError, Cluster, ErrorKind, Path, Query, wire};
use eso_model::Id;
use futures::{StreamExt as _, stream};
use secret::{RunKey, Value};

use super::{
    target::{Actual, Target},
    templates::{Source, SourceKind, SourceName},
};

/// Up to this number, Secrets are read one by one. Above it, the Secrets with the operator's label are listed.
const ONE_BY_ONE: usize = 20;

/// Concurrent reads.
const AT_A_TIME: usize = 16;

/// The label that the operator sets on its Secrets (since v0.11).
const MANAGED: &str = "reconcile.external-secrets.io/managed=true";

/// Reads the target Secrets. `namespaces` are the namespaces that the policy names; None: all.
pub(super) async fn targets(
    cluster: &Cluster,
    wanted: &BTreeSet<Id>,
    namespaces: Option<&BTreeSet<String>>,
    key: &RunKey,
) -> BTreeMap<Id, Target> {
    let mut found = BTreeMap::new();
    if wanted.len() > ONE_BY_ONE {
        let whole = match namespaces {
            None => list(cluster, None, wanted, key, &mut found).await,
            Some(_) => Ok(false),
        };
        // A job without the right to list all Secrets may still list those of single namespaces.
        if !matches!(whole, Ok(true)) {
            let all: BTreeSet<&str> = wanted.iter().map(|id| &*id.namespace).collect();
            for namespace in all {
                let listed = list(cluster, Some(namespace), wanted, key, &mut found).await;
                if let Err(error) = listed {
                    let refused = wanted.iter().filter(|id| id.namespace == namespace);
                    let unread = refused.map(|id| (id.clone(), Target::Unread(error.to_string())));
                    found.extend(unread);
                }
            }
        }
    }
    // The list does not contain Secrets without the label: old operators do not set it, and users can remove it.
    let single: Vec<&Id> = wanted.iter().filter(|id| !found.contains_key(id)).collect();
    let reads: Vec<_> = single
        .into_iter()
        .map(|id| target(cluster, id, key))
        .collect();
    let read: Vec<(Id, Target)> = stream::iter(reads)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    found.extend(read);
    found
}

/// Returns true after a successful list.
async fn list(
    cluster: &Cluster,
    namespace: Option<&str>,
    wanted: &BTreeSet<Id>,
    key: &RunKey,
    found: &mut BTreeMap<Id, Target>,
) -> Result<bool, ApiError> {
    let each = |secret: wire::Secret| {
        let id = Id {
            namespace: secret.metadata.namespace.clone(),
            name: secret.metadata.name.clone(),
        };
        if wanted.contains(&id) {
            found.insert(id, Target::There(Actual::of(secret, key)));
        }
    };
    let query = Query::new(Path::core(namespace, "secrets")).with("labelSelector", MANAGED);
    cluster.list(&query, each).await.map(|_| true)
}

async fn target(cluster: &Cluster, id: &Id, key: &RunKey) -> (Id, Target) {
    let target = match cluster.get::<wire::Secret>(&path(id)).await {
        Ok(secret) => Target::There(Actual::of(secret, key)),
        Err(error) if error.kind == ErrorKind::NotFound => Target::Absent,
        Err(error) => Target::Unread(error.to_string()),
    };
    (id.clone(), target)
}

/// Returns the API path of a Secret.
fn path(id: &Id) -> Path {
    Path::core(Some(&id.namespace), "secrets").named(&id.name)
}

/// Reads the objects that hold templates, by namespace.
pub(super) async fn sources(
    cluster: &Cluster,
    wanted: BTreeSet<(String, SourceName)>,
) -> BTreeMap<String, super::templates::Sources> {
    let reads: Vec<_> = wanted
        .into_iter()
        .map(|(namespace, name)| async move {
            let source = source(cluster, &namespace, &name).await;
            (namespace, name, source)
        })
        .collect();
    let read: Vec<(String, SourceName, Source)> = stream::iter(reads)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let mut sources: BTreeMap<String, super::templates::Sources> = BTreeMap::new();
    for (namespace, name, source) in read {
        sources.entry(namespace).or_default().insert(name, source);
    }
    sources
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
        Ok(texts) => Source::Texts(texts),
        Err(error) if error.kind == ErrorKind::NotFound => Source::Absent,
        Err(error) => Source::Unread(error.to_string()),
    }
}
