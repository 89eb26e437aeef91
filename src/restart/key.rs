//! The cluster's key for stamps, in a Secret that the job owns, and the ConfigMap with the names of what was stamped.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::{CallError, Cluster, Trouble, names::is_name, wire};
use rustls::crypto::aws_lc_rs;
use secret::Value;
use serde_json::json;

use super::{
    known::Known,
    others::{Origin, Other, Others},
    stamp::{Stamp, StampKey},
    workloads::Keeper,
};
use crate::rbac::{KNOWN, STAMP_KEY};

/// The key's entry in its Secret.
const ENTRY: &str = "key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its Secret cannot be read or written.
    #[error("the key for stamps cannot be had")]
    Call(#[from] CallError),
    /// Its Secret holds something else.
    #[error(
        "the Secret {0} holds no key for stamps: 32 bytes under `key`; delete it, and every workload is noted anew"
    )]
    NoKey(String),
    /// There is no randomness.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Reads the key from the first of these namespaces that has one.
pub async fn read(cluster: &Cluster, namespaces: &[String]) -> Result<Keeper, KeyError> {
    for namespace in namespaces {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{STAMP_KEY}");
        match cluster.get::<wire::Secret>(&path).await {
            Ok(secret) => return from_secret(&secret, namespace),
            Err(error) if error.trouble == Trouble::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let namespace = namespaces.first().cloned().unwrap_or_default();
    Ok(Keeper {
        key: StampKey::from_bytes(random()?).kept_in(&namespace),
        others: Others::default(),
        namespace,
        kept: false,
    })
}

/// Reads the keys that these stamps were made with, where they say that those are kept elsewhere. Who may write a workload says
/// where; so a key has to be the very one of the stamp, and counts for that stamp only.
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
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{STAMP_KEY}");
    match cluster.get::<wire::Secret>(&path).await {
        Ok(secret) => match from_secret(&secret, namespace) {
            Ok(keeper) if keeper.key.id == *id => Other::Kept(keeper.key),
            Ok(_) | Err(_) => Other::Gone,
        },
        Err(error) if error.trouble == Trouble::NotFound => Other::Gone,
        Err(error) => Other::Unknown(error.why().to_owned()),
    }
}

/// Reads the key, and makes one where there is none. Of two runs that make one, the first wins and the other takes that.
pub async fn ensure(cluster: &Cluster, namespaces: &[String]) -> Result<Keeper, KeyError> {
    let found = read(cluster, namespaces).await?;
    if found.kept {
        return Ok(found);
    }
    let mut refused = None;
    for namespace in namespaces {
        let bytes = zeroize::Zeroizing::new(random()?);
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "eso-sync/stamp-key", "immutable": true,
            "metadata": {"name": STAMP_KEY, "labels": {"app.kubernetes.io/name": "eso-sync"}},
            "data": {ENTRY: STANDARD.encode(*bytes)},
        });
        match cluster.create::<wire::Secret>(&path, &object).await {
            Ok(secret) => return from_secret(&secret, namespace),
            // Made meanwhile, or by the try whose answer was lost.
            Err(error) if matches!(error.trouble, Trouble::Conflict | Trouble::Unavailable) => {
                let again = read(cluster, std::slice::from_ref(namespace)).await?;
                return if again.kept {
                    Ok(again)
                } else {
                    Err(error.into())
                };
            }
            // The namespace does not exist.
            Err(error) if error.trouble == Trouble::NotFound => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused.map_or(KeyError::NoRandomness, KeyError::Call))
}

fn from_secret(secret: &wire::Secret, namespace: &str) -> Result<Keeper, KeyError> {
    let bytes = secret.data.get(ENTRY).map(Value::expose);
    let bytes: [u8; 32] = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KeyError::NoKey(format!("{namespace}/{STAMP_KEY}")))?;
    Ok(Keeper {
        key: StampKey::from_bytes(bytes).kept_in(namespace),
        others: Others::default(),
        namespace: namespace.to_owned(),
        kept: true,
    })
}

/// From the system's generator for cryptography.
fn random() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| KeyError::NoRandomness)?;
    Ok(bytes)
}

fn known_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{KNOWN}")
}

/// Reads which workloads were stamped.
pub async fn known(cluster: &Cluster, namespace: &str) -> Result<Known, CallError> {
    match cluster.get::<wire::ConfigMap>(&known_path(namespace)).await {
        Ok(object) => Ok(Known::parse(&object.data)),
        Err(error) if error.trouble == Trouble::NotFound => Ok(Known::default()),
        Err(error) => Err(error),
    }
}

/// Writes which workloads were stamped. Only one run at a time does that: the lock sees to it.
pub async fn remember(
    cluster: &Cluster,
    namespace: &str,
    before: &Known,
    after: &Known,
) -> Result<(), CallError> {
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
        Err(error) if error.trouble == Trouble::NotFound => {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": KNOWN, "labels": {"app.kubernetes.io/name": "eso-sync"}},
                "data": data,
            });
            let path = format!("/api/v1/namespaces/{namespace}/configmaps");
            let created = cluster.create::<serde::de::IgnoredAny>(&path, &object);
            created.await.map(drop)
        }
        other => other.map(drop),
    }
}
