//! Objects of Kubernetes as far as they are read: what is not named here is skipped while it is parsed and never held.

mod secret;

use std::collections::BTreeMap;

pub use secret::{Secret, SecretMeta, TokenRequest, TokenRequestStatus};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// The name.
    pub name: String,
    /// Empty for an object of the whole cluster.
    pub namespace: String,
    /// The identity: another object of the same name has another.
    pub uid: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Changes with every write.
    pub resource_version: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// Set once the object is being deleted.
    pub deletion_timestamp: Option<Timestamp>,
    /// Who owns it.
    pub owner_references: Vec<OwnerReference>,
}

/// An owner of an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it is the one that controls the object.
    pub controller: bool,
}

/// A condition of a status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Its type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A stable word.
    pub reason: String,
    /// A text.
    pub message: String,
}

/// A Namespace.
#[derive(Clone, Debug, Deserialize)]
pub struct Namespace {
    /// Its metadata.
    pub metadata: Meta,
}

/// A ServiceAccount.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceAccount {
    /// Its metadata.
    pub metadata: Meta,
}

/// A ConfigMap.
#[derive(Clone, Debug, Deserialize)]
pub struct ConfigMap {
    /// Its data, as far as it is text.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
}

/// An Event of core/v1.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its metadata.
    pub metadata: Meta,
    /// What it is about.
    #[serde(default)]
    pub involved_object: InvolvedObject,
    /// `Normal` or `Warning`.
    #[serde(default)]
    pub r#type: String,
    /// A stable word.
    #[serde(default)]
    pub reason: String,
    /// A text.
    #[serde(default)]
    pub message: String,
}

/// What an Event is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InvolvedObject {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
}

/// A group of the API, as discovery answers.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiGroup {
    /// The versions that are served.
    #[serde(default)]
    pub versions: Vec<GroupVersion>,
}

/// A version in an [`ApiGroup`].
#[derive(Clone, Debug, Deserialize)]
pub struct GroupVersion {
    /// `v1`, `v1beta1`, …
    pub version: String,
}

/// The operator's CRD of ExternalSecrets: its fields tell the operator's age.
#[derive(Clone, Debug, Deserialize)]
pub struct CustomResourceDefinition {
    /// Its spec.
    pub spec: CustomResourceDefinitionSpec,
}

/// `spec` of a CRD.
#[derive(Clone, Debug, Deserialize)]
pub struct CustomResourceDefinitionSpec {
    /// The versions.
    #[serde(default)]
    pub versions: Vec<CustomResourceVersion>,
}

/// A version of a CRD.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomResourceVersion {
    /// Its name.
    pub name: String,
    /// Fields that a field selector may use.
    #[serde(default)]
    pub selectable_fields: Vec<serde::de::IgnoredAny>,
    /// The schema.
    #[serde(default)]
    pub schema: Value,
}
