//! Objects of the operator as far as they are read: what is not named here is skipped while it is parsed and never held.

use std::collections::BTreeMap;

use cluster::wire::{Condition, Meta};
use eso_model::{digest, window};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::inventory::Ready;

/// The part of a condition's message that is kept, in characters. Whoever may write the status may write megabytes.
const MESSAGE: usize = 2000;

/// Returns the Ready condition.
pub fn ready(conditions: &[Condition]) -> Option<Ready> {
    let condition = conditions
        .iter()
        .find(|condition| condition.r#type == "Ready")?;
    Some(Ready {
        ready: condition.status == "True",
        reason: condition.reason.clone(),
        message: condition.message.chars().take(MESSAGE).collect(),
    })
}

/// An ExternalSecret with the used parts of its spec, for discovery.
#[derive(Clone, Debug, Deserialize)]
pub struct ExternalSecret {
    pub metadata: Meta,
    #[serde(default)]
    pub spec: ExternalSecretSpec,
    #[serde(default)]
    pub status: ExternalSecretStatus,
}

/// An ExternalSecret with its whole spec, for discovery with a drift check.
#[derive(Clone, Debug, Deserialize)]
pub struct WholeExternalSecret {
    pub metadata: Meta,
    /// Its spec, as the API server writes it.
    #[serde(default)]
    pub spec: Box<RawValue>,
    #[serde(default)]
    pub status: ExternalSecretStatus,
}

impl WholeExternalSecret {
    /// Returns the used parts, and the whole spec as text. An invalid spec counts as empty.
    pub fn split(self) -> (ExternalSecret, Box<str>) {
        let spec = serde_json::from_str(self.spec.get()).unwrap_or_default();
        let text = self.spec.into();
        let object = ExternalSecret {
            metadata: self.metadata,
            spec,
            status: self.status,
        };
        (object, text)
    }
}

/// An ExternalSecret without its spec, for watches and the answers to patches.
#[derive(Clone, Debug, Deserialize)]
pub struct Observed {
    pub metadata: Meta,
    #[serde(default)]
    pub status: ExternalSecretStatus,
}

impl Observed {
    /// True if the status says that the operator synced exactly this metadata.
    pub fn is_synced(&self) -> bool {
        let Meta {
            generation,
            annotations,
            labels,
            ..
        } = &self.metadata;
        digest::is_synced(
            &self.status.synced_resource_version,
            *generation,
            annotations,
            labels,
        )
    }
}

/// `status` of an ExternalSecret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalSecretStatus {
    /// The start of the last successful sync.
    pub refresh_time: Option<Timestamp>,
    /// The proof of a sync: the resource version that the operator processed.
    pub synced_resource_version: String,
    pub conditions: Vec<Condition>,
}

/// `spec` of an ExternalSecret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalSecretSpec {
    /// A Go duration.
    pub refresh_interval: Option<String>,
    /// `Periodic`, `OnChange` or `CreatedOnce`.
    pub refresh_policy: Option<String>,
    /// When the operator makes no periodic sync.
    pub sync_windows: Option<window::Spec>,
    /// The default store of the entries.
    pub secret_store_ref: Option<StoreRef>,
    pub target: TargetSpec,
    pub data: Vec<DataEntry>,
    /// Whole secrets, searches and generators.
    pub data_from: Vec<DataFromEntry>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StoreRef {
    /// Empty means SecretStore.
    pub kind: String,
    pub name: String,
}

/// `spec.target`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetSpec {
    /// The Secret's name. Empty means the name of the ExternalSecret.
    pub name: String,
    /// Owner by default.
    pub creation_policy: Option<String>,
    /// True if the data of an existing Secret is never changed.
    pub immutable: bool,
    /// If set, the operator does not copy the ExternalSecret's metadata to the Secret.
    pub template: Option<serde::de::IgnoredAny>,
}

/// An entry of `spec.data`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataEntry {
    pub remote_ref: RemoteRef,
    /// The source, if it is not the default store.
    pub source_ref: Option<SourceRef>,
}

/// A reference to a secret of the provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RemoteRef {
    pub key: String,
    /// The version. Empty means the newest.
    pub version: String,
}

/// An entry of `spec.dataFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataFromEntry {
    pub extract: Option<RemoteRef>,
    pub find: Option<serde::de::IgnoredAny>,
    /// The source, if it is not the default store.
    pub source_ref: Option<SourceRef>,
}

/// `sourceRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceRef {
    pub store_ref: Option<StoreRef>,
    pub generator_ref: Option<StoreRef>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Store {
    pub metadata: Meta,
    #[serde(default)]
    pub spec: StoreSpec,
    #[serde(default)]
    pub status: StoreStatus,
}

/// `spec` of a store.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct StoreSpec {
    pub controller: String,
    /// The settings by provider name. It has one entry.
    pub provider: BTreeMap<String, Value>,
    /// The namespaces that a ClusterSecretStore allows.
    pub conditions: Value,
}

/// `status` of a store.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ClusterExternalSecret {
    pub metadata: Meta,
    #[serde(default)]
    pub status: ClusterExternalSecretStatus,
}

/// `status` of a ClusterExternalSecret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterExternalSecretStatus {
    /// The namespaces that have a child.
    pub provisioned_namespaces: Vec<String>,
}
