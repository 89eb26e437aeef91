//! The parts of an ExternalSecret's spec that determine its data, with the defaults of the CRD.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::verdict::{Unverifiable, why};
use crate::id::StoreKey;

/// `spec` of an ExternalSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The store for entries that do not name one.
    pub secret_store_ref: Option<StoreRef>,
    pub target: Target,
    /// Single keys.
    pub data: Vec<Data>,
    /// Whole secrets, searches and generators.
    pub data_from: Vec<DataFrom>,
}

impl Spec {
    /// Parses `spec`. Unknown values, such as a policy of a newer operator version, cannot be computed.
    pub fn parse(spec: &Json) -> Result<Self, Unverifiable> {
        Self::deserialize(spec)
            .map_err(|error| Unverifiable::new(why::SPEC, format!("spec: {error}")))
    }

    /// Parses the JSON text of `spec`, without a tree in between.
    pub fn from_json(text: &str) -> Result<Self, Unverifiable> {
        serde_json::from_str(text)
            .map_err(|error| Unverifiable::new(why::SPEC, format!("spec: {error}")))
    }
}

/// A reference to a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct StoreRef {
    /// `SecretStore` or `ClusterSecretStore`.
    #[serde(default = "secret_store")]
    pub kind: String,
    #[serde(default)]
    pub name: String,
}

impl StoreRef {
    /// The store that it names in an ExternalSecret of this namespace.
    pub fn key(&self, namespace: &str) -> StoreKey {
        let name = self.name.clone();
        if self.kind == "ClusterSecretStore" {
            StoreKey::Cluster { name }
        } else {
            StoreKey::Namespaced {
                namespace: namespace.to_owned(),
                name,
            }
        }
    }
}

fn secret_store() -> String {
    "SecretStore".to_owned()
}

/// `sourceRef`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceRef {
    pub store_ref: Option<StoreRef>,
    pub generator_ref: Option<Json>,
}

/// An entry of `spec.data`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    pub secret_key: String,
    pub remote_ref: RemoteRef,
    /// The source, if it is not the store of the spec.
    #[serde(default)]
    pub source_ref: Option<SourceRef>,
}

/// `remoteRef` and `extract`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteRef {
    pub key: String,
    /// The part of the value to use.
    pub property: String,
    /// The version, if not the newest.
    pub version: String,
    /// Reads the value, or tags and labels instead.
    pub metadata_policy: MetadataPolicy,
    /// How keys are converted to valid names.
    pub conversion_strategy: ConversionStrategy,
    pub decoding_strategy: DecodingStrategy,
    /// Allows or rejects null bytes in the value.
    pub null_byte_policy: NullBytePolicy,
}

/// An entry of `spec.dataFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataFrom {
    /// A whole secret.
    pub extract: Option<RemoteRef>,
    /// A search.
    pub find: Option<Find>,
    /// The operations on the keys, in order.
    pub rewrite: Vec<Rewrite>,
    pub source_ref: Option<SourceRef>,
}

/// `find`, a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Find {
    /// The path to search in.
    pub path: Option<String>,
    pub name: Option<FindName>,
    pub tags: Option<BTreeMap<String, String>>,
    /// How keys are converted to valid names.
    pub conversion_strategy: ConversionStrategy,
    pub decoding_strategy: DecodingStrategy,
    pub null_byte_policy: NullBytePolicy,
}

/// `find.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FindName {
    /// A regular expression that must match a part of the name.
    pub regexp: String,
}

/// An entry of `rewrite`. Only the first of merge, regexp and transform is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    /// Merges the values, which are JSON objects.
    pub merge: Option<Merge>,
    /// Replaces matches in the keys.
    pub regexp: Option<Regexp>,
    /// Renders each key.
    pub transform: Option<Transform>,
}

/// `rewrite.regexp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Regexp {
    pub source: String,
    pub target: String,
}

/// `rewrite.transform`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Transform {
    /// A template that gets the key as `.value`.
    pub template: String,
}

/// `rewrite.merge`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Merge {
    /// The key that receives the merged object (strategy JSON).
    pub into: String,
    /// The keys that are merged last, in this order.
    pub priority: Vec<String>,
    /// Decides if all keys of `priority` must exist.
    pub priority_policy: PriorityPolicy,
    /// Decides if several objects may contain the same key.
    pub conflict_policy: ConflictPolicy,
    /// The use of the merged object.
    pub strategy: MergeStrategy,
}

/// `spec.target`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    pub name: String,
    /// Decides if the ExternalSecret owns the Secret, and if the operator creates it.
    pub creation_policy: CreationPolicy,
    /// The operator's action if the provider has no such secret.
    pub deletion_policy: DeletionPolicy,
    /// If true, the data of an existing Secret is not changed.
    pub immutable: bool,
    /// The template of the data.
    pub template: Option<Template>,
    /// Another kind of target than a Secret.
    pub manifest: Option<Json>,
}

/// `spec.target.template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Template {
    pub r#type: String,
    /// `v2`; `v1` was removed in v0.16.
    pub engine_version: Option<String>,
    /// Labels, annotations and finalizers, which may contain templates.
    pub metadata: Option<Json>,
    /// Decides if the provider's keys are kept in addition to the template's keys.
    pub merge_policy: MergePolicy,
    /// Templates by key.
    pub data: BTreeMap<String, String>,
    /// Templates from other sources.
    pub template_from: Vec<Map<String, Json>>,
}

impl Template {
    /// True if the template defines data.
    pub fn has_data(&self) -> bool {
        !self.data.is_empty() || !self.template_from.is_empty()
    }

    /// True if the template contains anything to render. Errors in labels and annotations also fail a sync.
    pub fn has_templates(&self) -> bool {
        let metadata = self.metadata.as_ref();
        let filled = |field| {
            metadata
                .and_then(|metadata| metadata.get(field)?.as_object())
                .is_some_and(|texts: &Map<String, Json>| !texts.is_empty())
        };
        self.has_data() || filled("labels") || filled("annotations")
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $(#[$first_doc:meta])* $first:ident, $($(#[$variant_doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        pub enum $name {
            $(#[$first_doc])*
            #[default]
            #[serde(alias = "")]
            $first,
            $($(#[$variant_doc])* $variant),*
        }
    };
}

words! {
    /// `metadataPolicy`.
    MetadataPolicy {
        None,
        Fetch,
    }
}
words! {
    /// `conversionStrategy`.
    ConversionStrategy {
        /// Invalid characters become `_`.
        Default,
        /// Invalid characters become `_U002f_` (with their code).
        Unicode,
    }
}
words! {
    /// `decodingStrategy`.
    DecodingStrategy {
        /// Values are not decoded.
        None,
        /// Standard base64.
        Base64,
        /// URL-safe base64.
        #[serde(rename = "Base64URL")]
        Base64Url,
        /// Base64 or URL-safe base64 if the value is valid as one of them, else unchanged.
        Auto,
    }
}
words! {
    /// `nullBytePolicy` (since v2.3.0).
    NullBytePolicy {
        Ignore,
        Fail,
    }
}
words! {
    /// `rewrite.merge.priorityPolicy`.
    PriorityPolicy {
        /// The keys must exist.
        Strict,
        /// The keys may be missing.
        IgnoreNotFound,
    }
}
words! {
    /// `rewrite.merge.conflictPolicy`.
    ConflictPolicy {
        /// The sync fails.
        Error,
        /// The later one wins.
        Ignore,
    }
}
words! {
    /// `rewrite.merge.strategy`.
    MergeStrategy {
        /// The members become keys of the Secret.
        Extract,
        /// The object becomes the value of one key.
        #[serde(rename = "JSON")]
        Json,
    }
}
words! {
    /// `target.creationPolicy`.
    CreationPolicy {
        /// The ExternalSecret owns the Secret.
        Owner,
        /// The operator writes the whole Secret, and nothing owns it.
        Orphan,
        /// The operator adds keys to an existing Secret.
        Merge,
        /// The operator adds keys to a Secret, and creates it if it does not exist (since v2.8.0).
        CreateOrMerge,
        /// Nothing is written.
        None,
    }
}

impl CreationPolicy {
    /// True if the Secret contains only what the operator writes.
    pub const fn is_exclusive(self) -> bool {
        matches!(self, Self::Owner | Self::Orphan)
    }
}

words! {
    /// `target.deletionPolicy`.
    DeletionPolicy {
        /// A missing secret fails the sync.
        Retain,
        /// Missing secrets are left out; if all are missing, the Secret is deleted.
        Delete,
        /// Missing secrets are left out.
        Merge,
    }
}
words! {
    /// `target.template.mergePolicy`.
    MergePolicy {
        /// Only the template's keys are written.
        Replace,
        /// The provider's keys are written too.
        Merge,
    }
}
