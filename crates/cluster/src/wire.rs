//! The parts of Kubernetes objects that are used. All other fields are skipped during parsing.

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
    /// Empty for a cluster-scoped object.
    pub namespace: String,
    /// Another object with the same name has another UID.
    pub uid: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Changes with every write.
    pub resource_version: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<Timestamp>,
    pub owner_references: Vec<OwnerReference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// `GROUP/VERSION`, or `v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    /// True if this owner is the controller of the object.
    pub controller: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A stable word.
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Namespace {
    pub metadata: Meta,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ServiceAccount {
    pub metadata: Meta,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ConfigMap {
    /// The text data, without `binaryData`.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
}

/// An Event of core/v1.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub metadata: Meta,
    #[serde(default)]
    pub involved_object: InvolvedObject,
    /// `Normal` or `Warning`.
    #[serde(default)]
    pub r#type: String,
    /// A stable word for programs.
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

/// The object that an Event is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InvolvedObject {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// An API group in the answer of API discovery.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiGroup {
    /// The served versions.
    #[serde(default)]
    pub versions: Vec<GroupVersion>,
}

/// A version in an [`ApiGroup`].
#[derive(Clone, Debug, Deserialize)]
pub struct GroupVersion {
    /// `v1`, `v1beta1`, …
    pub version: String,
}

/// The operator's CRD of ExternalSecrets. Its fields show the age of the operator.
#[derive(Clone, Debug, Deserialize)]
pub struct CustomResourceDefinition {
    pub spec: CustomResourceDefinitionSpec,
}

/// `spec` of a CRD.
#[derive(Clone, Debug, Deserialize)]
pub struct CustomResourceDefinitionSpec {
    #[serde(default)]
    pub versions: Vec<CustomResourceVersion>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomResourceVersion {
    pub name: String,
    /// The fields that a field selector may use.
    #[serde(default)]
    pub selectable_fields: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    pub schema: Value,
}
