//! Objects of the operator as far as they are read: what is not named here is skipped while it is parsed and never held.

use std::collections::BTreeMap;

use cluster::wire::{Condition, Meta};
use eso_model::digest;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::inventory::Ready;

/// The Ready condition among these.
pub fn ready(conditions: &[Condition]) -> Option<Ready> {
    let condition = conditions
        .iter()
        .find(|condition| condition.r#type == "Ready")?;
    Some(Ready {
        ready: condition.status == "True",
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
}

/// An ExternalSecret with its spec: what discovery reads.
#[derive(Clone, Debug, Deserialize)]
pub struct ExternalSecret {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    #[serde(default)]
    pub spec: ExternalSecretSpec,
    /// Its status.
    #[serde(default)]
    pub status: ExternalSecretStatus,
}

/// An ExternalSecret with all that its spec says: what discovery reads where drift is checked.
#[derive(Clone, Debug, Deserialize)]
pub struct WholeExternalSecret {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec, as the API server writes it.
    #[serde(default)]
    pub spec: Box<RawValue>,
    /// Its status.
    #[serde(default)]
    pub status: ExternalSecretStatus,
}

impl WholeExternalSecret {
    /// What decisions need, and the spec as text. A spec that makes no sense says nothing.
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

/// An ExternalSecret without its spec: what a watch and the answer to a patch are read as.
#[derive(Clone, Debug, Deserialize)]
pub struct Observed {
    /// Its metadata.
    pub metadata: Meta,
    /// Its status.
    #[serde(default)]
    pub status: ExternalSecretStatus,
}

impl Observed {
    /// Whether its status says that its metadata, as they are here, were synced.
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
    /// When the last successful sync began.
    pub refresh_time: Option<Timestamp>,
    /// The proof.
    pub synced_resource_version: String,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// `spec` of an ExternalSecret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalSecretSpec {
    /// A duration as Go writes it.
    pub refresh_interval: Option<String>,
    /// `Periodic`, `OnChange` or `CreatedOnce`.
    pub refresh_policy: Option<String>,
    /// The store that entries without one of their own read from.
    pub secret_store_ref: Option<StoreRef>,
    /// How the Secret is written.
    pub target: TargetSpec,
    /// Single values.
    pub data: Vec<DataEntry>,
    /// Whole secrets, searches and generators.
    pub data_from: Vec<DataFromEntry>,
}

/// A reference to a store.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StoreRef {
    /// Empty means SecretStore.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// `spec.target`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetSpec {
    /// The Secret's name, if it is not that of the ExternalSecret.
    pub name: String,
    /// Owner if absent.
    pub creation_policy: Option<String>,
    /// Whether an existing Secret's data stays.
    pub immutable: bool,
    /// Anything at all keeps the ExternalSecret's own metadata off the Secret.
    pub template: Option<serde::de::IgnoredAny>,
}

/// An entry of `spec.data`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataEntry {
    /// What is read.
    pub remote_ref: RemoteRef,
    /// From where, if not from the store of the spec.
    pub source_ref: Option<SourceRef>,
}

/// What is read at the provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RemoteRef {
    /// The remote key.
    pub key: String,
    /// The version, if not the newest.
    pub version: String,
}

/// An entry of `spec.dataFrom`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataFromEntry {
    /// A whole secret.
    pub extract: Option<RemoteRef>,
    /// A search.
    pub find: Option<serde::de::IgnoredAny>,
    /// From where.
    pub source_ref: Option<SourceRef>,
}

/// `sourceRef`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceRef {
    /// Another store.
    pub store_ref: Option<StoreRef>,
    /// A generator.
    pub generator_ref: Option<StoreRef>,
}

/// A SecretStore or ClusterSecretStore.
#[derive(Clone, Debug, Deserialize)]
pub struct Store {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    #[serde(default)]
    pub spec: StoreSpec,
    /// Its status.
    #[serde(default)]
    pub status: StoreStatus,
}

/// `spec` of a store.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StoreSpec {
    /// The controller class.
    pub controller: String,
    /// One provider by its name.
    pub provider: BTreeMap<String, Value>,
    /// Which namespaces a ClusterSecretStore serves.
    pub conditions: Value,
}

/// `status` of a store.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// A ClusterExternalSecret.
#[derive(Clone, Debug, Deserialize)]
pub struct ClusterExternalSecret {
    /// Its metadata.
    pub metadata: Meta,
    /// Its status.
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
