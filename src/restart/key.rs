//! The cluster's stamp key, in a Secret of the job, and the ConfigMap that lists the stamped workloads.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::{ApiError, Cluster, ErrorKind, FIELD_MANAGER, Path, names::is_name, wire};
use eso_model::DATA_HASH;
use secret::Value;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    known::Known,
    others::{Origin, Other, Others},
    stamp::{Stamp, StampKey},
    workloads::Keeper,
};
use crate::{
    edits::writers,
    random,
    rbac::{KNOWN, STAMP_KEY},
};

/// The data key in the Secret.
const ENTRY: &str = "key";

/// The type of the Secret.
const KEY_TYPE: &str = "eso-sync/stamp-key";

/// The operator's label on the Secrets that it writes.
const MANAGED: &str = "reconcile.external-secrets.io/managed";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The Secret cannot be read or written.
    #[error("cannot read or create the stamp key")]
    Call(#[from] ApiError),
    /// The Secret has no valid key.
    #[error(
        "the Secret {0} has no valid stamp key (32 bytes in `key`). Delete it to create a new key and all stamps again"
    )]
    NoKey(String),
    /// The Secret may have been written by somebody else.
    #[error(
        "the Secret {0} was not created by eso-sync, or was written by another client, so its key is not used. Delete it to create a new \
         key and all stamps again"
    )]
    Foreign(String),
    #[error("the system's random number generator failed")]
    NoRandomness,
}

/// Reads the key in this namespace. If the Secret does not exist, returns a new key, which is not stored yet.
pub async fn read(cluster: &Cluster, namespace: &str) -> Result<Keeper, KeyError> {
    let path = Path::core(Some(namespace), "secrets").named(STAMP_KEY);
    match cluster.get::<wire::Secret>(&path).await {
        Ok(secret) => from_secret(&secret, namespace),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Keeper {
            key: StampKey::from_bytes(*random()?).kept_in(namespace),
            others: Others::default(),
            namespace: namespace.to_owned(),
            kept: false,
        }),
        Err(error) => Err(error.into()),
    }
}

/// Reads the stamp keys in other namespaces that these stamps refer to. Anyone who can edit a workload can write any namespace
/// into its stamp, so a key is only used for stamps with its id.
pub async fn others(
    cluster: &Cluster,
    own: &StampKey,
    stamps: impl Iterator<Item = Stamp>,
) -> Others {
    let origins: BTreeSet<Origin> = stamps.filter_map(|stamp| Origin::of(&stamp, own)).collect();
    let mut found = BTreeMap::new();
    for origin in origins {
        let other = other(cluster, &origin).await;
        found.insert(origin, other);
    }
    Others::new(found)
}

async fn other(cluster: &Cluster, origin: &Origin) -> Other {
    let Origin { namespace, id } = origin;
    if !is_name(namespace) {
        return Other::Gone;
    }
    let path = Path::core(Some(namespace), "secrets").named(STAMP_KEY);
    match cluster.get::<wire::Secret>(&path).await {
        Ok(secret) => match from_secret(&secret, namespace) {
            Ok(keeper) if keeper.key.id == *id => Other::Kept(keeper.key),
            Ok(_) | Err(_) => Other::Gone,
        },
        Err(error) if error.kind == ErrorKind::NotFound => Other::Gone,
        Err(error) => Other::Unknown(error.why().to_owned()),
    }
}

/// Reads the key, or creates it. If two runs create it at the same time, the first one wins.
pub async fn ensure(cluster: &Cluster, namespace: &str) -> Result<Keeper, KeyError> {
    let found = read(cluster, namespace).await?;
    if found.kept {
        return Ok(found);
    }
    let bytes = random()?;
    let path = Path::core(Some(namespace), "secrets");
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": KEY_TYPE, "immutable": true,
        "metadata": {"name": STAMP_KEY, "labels": {"app.kubernetes.io/name": "eso-sync"}},
        "data": {ENTRY: STANDARD.encode(*bytes)},
    });
    match cluster.create::<wire::Secret>(&path, &object).await {
        Ok(secret) => from_secret(&secret, namespace),
        // Created by another run, or by an attempt whose response was lost.
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Unavailable) => {
            let again = read(cluster, namespace).await?;
            if again.kept {
                Ok(again)
            } else {
                Err(error.into())
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn from_secret(secret: &wire::Secret, namespace: &str) -> Result<Keeper, KeyError> {
    let name = || format!("{namespace}/{STAMP_KEY}");
    if !is_ours(secret) {
        return Err(KeyError::Foreign(name()));
    }
    let bytes = secret.data.get(ENTRY).map(Value::expose);
    let bytes: [u8; 32] = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KeyError::NoKey(name()))?;
    Ok(Keeper {
        key: StampKey::from_bytes(bytes).kept_in(namespace),
        others: Others::default(),
        namespace: namespace.to_owned(),
        kept: true,
    })
}

/// True if the Secret is as eso-sync creates it: of its own type, unchangeable, and not the target of an ExternalSecret. Who
/// knows the key can guess the values behind the stamps, so a key that somebody else may have written is not used. The one who
/// names the namespace decides who can create Secrets there.
fn is_ours(secret: &wire::Secret) -> bool {
    let meta = &secret.metadata;
    secret.r#type == KEY_TYPE
        && secret.immutable
        && meta.owner_references.is_empty()
        && !meta.labels.contains_key(MANAGED)
        && !meta.annotations.contains_key(DATA_HASH)
        && writers(secret)
            .iter()
            .all(|writer| writer.manager == FIELD_MANAGER)
}

fn random() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    random::key().map_err(|_| KeyError::NoRandomness)
}

fn known_path(namespace: &str) -> Path {
    Path::core(Some(namespace), "configmaps").named(KNOWN)
}

/// Reads the list of stamped workloads.
pub async fn known(cluster: &Cluster, namespace: &str) -> Result<Known, ApiError> {
    match cluster.get::<wire::ConfigMap>(&known_path(namespace)).await {
        Ok(object) => Ok(Known::parse(&object.data)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Known::default()),
        Err(error) => Err(error),
    }
}

/// Writes the list of stamped workloads. The lock ensures that only one run does so at a time.
pub async fn remember(
    cluster: &Cluster,
    namespace: &str,
    before: &Known,
    after: &Known,
) -> Result<(), ApiError> {
    let data = after.to_data();
    let gone = before.to_data().into_keys();
    let mut change: BTreeMap<String, Option<String>> = gone.map(|name| (name, None)).collect();
    change.extend(
        data.iter()
            .map(|(name, lines)| (name.clone(), Some(lines.clone()))),
    );
    let patched = cluster
        .patch::<serde::de::IgnoredAny>(&known_path(namespace), &json!({"data": change}))
        .await;
    match patched {
        Err(error) if error.kind == ErrorKind::NotFound => {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": KNOWN, "labels": {"app.kubernetes.io/name": "eso-sync"}},
                "data": data,
            });
            let path = Path::core(Some(namespace), "configmaps");
            let created = cluster.create::<serde::de::IgnoredAny>(&path, &object);
            created.await.map(drop)
        }
        other => other.map(drop),
    }
}
