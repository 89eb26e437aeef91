//! The spec of an ExternalSecret as far as it decides about data, with the defaults of its CRD.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::verdict::{Unverifiable, why};

/// `spec` of an ExternalSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The store that entries without one of their own read from.
    pub secret_store_ref: Option<StoreRef>,
    /// How the Secret is written.
    pub target: Target,
    /// Single values.
    pub data: Vec<Data>,
    /// Whole secrets, searches and generators.
    pub data_from: Vec<DataFrom>,
}

impl Spec {
    /// Reads `spec`. What is not known here, such as the policy of a later version, cannot be computed.
    pub fn parse(spec: &Json) -> Result<Self, Unverifiable> {
        Self::deserialize(spec)
            .map_err(|error| Unverifiable::new(why::SPEC, format!("spec: {error}")))
    }
}

/// A reference to a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub struct StoreRef {
    /// `SecretStore` or `ClusterSecretStore`.
    #[serde(default = "secret_store")]
    pub kind: String,
    /// The name.
    #[serde(default)]
    pub name: String,
}

fn secret_store() -> String {
    "SecretStore".to_owned()
}

/// `sourceRef`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceRef {
    /// Another store.
    pub store_ref: Option<StoreRef>,
    /// A generator.
    pub generator_ref: Option<Json>,
}

/// An entry of `spec.data`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// The key in the Secret.
    pub secret_key: String,
    /// What is read.
    pub remote_ref: RemoteRef,
    /// From where, if not from the store of the spec.
    #[serde(default)]
    pub source_ref: Option<SourceRef>,
}

/// `remoteRef` and `extract`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemoteRef {
    /// The remote key.
    pub key: String,
    /// A part of the value.
    pub property: String,
    /// The version, if not the newest.
    pub version: String,
    /// Whether tags and labels are read in place of the value.
    pub metadata_policy: MetadataPolicy,
    /// How keys become names.
    pub conversion_strategy: ConversionStrategy,
    /// How values are decoded.
    pub decoding_strategy: DecodingStrategy,
    /// Whether a value may hold a null byte.
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
    /// What is done to the keys, in order.
    pub rewrite: Vec<Rewrite>,
    /// From where.
    pub source_ref: Option<SourceRef>,
}

/// `find`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Find {
    /// Where to search.
    pub path: Option<String>,
    /// By name.
    pub name: Option<FindName>,
    /// By tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// How keys become names.
    pub conversion_strategy: ConversionStrategy,
    /// How values are decoded.
    pub decoding_strategy: DecodingStrategy,
    /// Whether a value may hold a null byte.
    pub null_byte_policy: NullBytePolicy,
}

/// `find.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FindName {
    /// Matches anywhere in the name.
    pub regexp: String,
}

/// An entry of `rewrite`: the first that is set of merge, regexp and transform is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    /// Merges the values, which are JSON objects.
    pub merge: Option<Merge>,
    /// Replaces in the keys.
    pub regexp: Option<Regexp>,
    /// Renders each key.
    pub transform: Option<Transform>,
}

/// `rewrite.regexp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Regexp {
    /// What is looked for.
    pub source: String,
    /// What takes its place.
    pub target: String,
}

/// `rewrite.transform`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Transform {
    /// A template over `.value`, the key.
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
    /// Whether those have to be there.
    pub priority_policy: PriorityPolicy,
    /// Whether a key may be in more than one object.
    pub conflict_policy: ConflictPolicy,
    /// What becomes of the merged object.
    pub strategy: MergeStrategy,
}

/// `spec.target`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    /// The name, if it is not that of the ExternalSecret.
    pub name: String,
    /// Whose the Secret is.
    pub creation_policy: CreationPolicy,
    /// What happens where the provider has no such secret.
    pub deletion_policy: DeletionPolicy,
    /// Whether an existing Secret's data stays.
    pub immutable: bool,
    /// How the data is made.
    pub template: Option<Template>,
    /// Another kind than a Secret.
    pub manifest: Option<Json>,
}

/// `spec.target.template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Template {
    /// The type of the Secret.
    pub r#type: String,
    /// `v2`; `v1` is gone since v0.16.
    pub engine_version: Option<String>,
    /// Labels, annotations and finalizers, which are templates too.
    pub metadata: Option<Json>,
    /// Whether the provider's keys stay beside those of the template.
    pub merge_policy: MergePolicy,
    /// Templates by key.
    pub data: BTreeMap<String, String>,
    /// Templates from elsewhere.
    pub template_from: Vec<Map<String, Json>>,
}

impl Template {
    /// Whether it makes data of its own.
    pub fn has_data(&self) -> bool {
        !self.data.is_empty() || !self.template_from.is_empty()
    }

    /// Whether there is anything in it that has to be rendered: labels and annotations fail a sync too.
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
        /// The value is read.
        None,
        /// Tags, labels and annotations are read.
        Fetch,
    }
}
words! {
    /// `conversionStrategy`.
    ConversionStrategy {
        /// What no key may hold becomes `_`.
        Default,
        /// It becomes `_U002f_`.
        Unicode,
    }
}
words! {
    /// `decodingStrategy`.
    DecodingStrategy {
        /// Not at all.
        None,
        /// Standard base64.
        Base64,
        /// URL-safe base64.
        #[serde(rename = "Base64URL")]
        Base64Url,
        /// Whichever of the two it is, or not at all.
        Auto,
    }
}
words! {
    /// `nullBytePolicy` (since v2.3.0).
    NullBytePolicy {
        /// It is kept.
        Ignore,
        /// The sync fails.
        Fail,
    }
}
words! {
    /// `rewrite.merge.priorityPolicy`.
    PriorityPolicy {
        /// They have to be there.
        Strict,
        /// They may be absent.
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
        /// Its members become the keys.
        Extract,
        /// It becomes the value of one key.
        #[serde(rename = "JSON")]
        Json,
    }
}
words! {
    /// `target.creationPolicy`.
    CreationPolicy {
        /// The ExternalSecret owns the Secret.
        Owner,
        /// The Secret is written whole, and owned by nobody.
        Orphan,
        /// Keys are added to a Secret that exists.
        Merge,
        /// Keys are added to a Secret, which is made if there is none (since v2.8.0).
        CreateOrMerge,
        /// Nothing is written.
        None,
    }
}

impl CreationPolicy {
    /// Whether the Secret holds what the operator writes and nothing else: others may add no keys.
    pub const fn is_exclusive(self) -> bool {
        matches!(self, Self::Owner | Self::Orphan)
    }
}

words! {
    /// `target.deletionPolicy`.
    DeletionPolicy {
        /// A missing secret fails the sync.
        Retain,
        /// Missing secrets are left out; when all are, the Secret is deleted.
        Delete,
        /// Missing secrets are left out.
        Merge,
    }
}
words! {
    /// `target.template.mergePolicy`.
    MergePolicy {
        /// Only the template's keys.
        Replace,
        /// The provider's too.
        Merge,
    }
}
