//! The results of a computation, and the reasons for a missing result.

use std::{collections::BTreeMap, fmt};

use secret::Value;

use super::secret_type::SecretType;
use crate::budget::TooCostly;

/// The expected contents of an ExternalSecret's Secret.
pub struct Expected {
    /// The keys and values that the operator would write.
    pub data: BTreeMap<String, Value>,
    /// True if the Secret holds exactly these keys (Owner, Orphan). False if it may hold others (Merge).
    pub exact: bool,
    /// The operator's action with the data.
    pub effect: Effect,
    /// True if an existing Secret is not changed (`immutable: true`).
    pub immutable: bool,
    /// What decides if the API server accepts the Secret.
    pub secret_type: SecretType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Create or update the Secret.
    Write,
    /// Add the keys to the Secret if it exists.
    WriteIfExists,
    /// Keep the Secret unchanged: the provider holds nothing, and `deletionPolicy` is Retain.
    Keep,
    /// Delete the Secret: the provider holds nothing, and `deletionPolicy` is Delete.
    Delete,
    /// Write nothing (`creationPolicy: None`).
    Nothing,
}

/// The reason why there is no expected data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotComputable {
    /// The result of the operator's sync is unknown.
    Unverifiable(Unverifiable),
    /// The operator's sync would fail, so it would write nothing.
    WouldFail(WouldFail),
}

impl NotComputable {
    /// Adds the place in the spec to the error.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        let prefix = |detail: &str| match detail {
            "" => place.to_owned(),
            detail => format!("{place}: {detail}"),
        };
        match self {
            Self::Unverifiable(it) => Self::Unverifiable(Unverifiable {
                detail: prefix(&it.detail),
                ..it
            }),
            Self::WouldFail(it) => Self::WouldFail(WouldFail {
                detail: prefix(&it.detail),
                ..it
            }),
        }
    }

    pub fn unverifiable(reason: &'static str) -> Self {
        Unverifiable::new(reason, "").into()
    }
}

impl From<Unverifiable> for NotComputable {
    fn from(unverifiable: Unverifiable) -> Self {
        Self::Unverifiable(unverifiable)
    }
}

impl From<TooCostly> for NotComputable {
    fn from(error: TooCostly) -> Self {
        Unverifiable::new(why::TOO_COSTLY, error.to_string()).into()
    }
}

impl From<Failure> for NotComputable {
    fn from(failure: Failure) -> Self {
        Self::WouldFail(WouldFail {
            failure,
            detail: String::new(),
        })
    }
}

/// The result of the operator's sync is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverifiable {
    /// A stable word: one of [`why`], or one defined by the readers of providers and templates.
    pub reason: &'static str,
    /// The place and the cause. Never contains a part of a value.
    pub detail: String,
}

impl Unverifiable {
    /// The `detail` must not contain a part of a value.
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Unverifiable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.detail)
    }
}

/// The stable words for unverifiable results.
pub mod why {
    crate::words::words! {
        /// The spec contains something unknown.
        SPEC = "spec", "a newer eso-sync may know it";
        /// `target.manifest`: the target is not a Secret.
        MANIFEST = "manifest";
        /// A generator creates a new value each time.
        GENERATOR = "generator", "use `sync.generators` if each sync may create a new value";
        /// A template that cannot be evaluated.
        TEMPLATE = "template";
        /// A `property` that is not a simple path of keys and indexes, or a path into text that is not JSON.
        PROPERTY_PATH = "property-path";
        /// A regular expression that Go and Rust may understand differently.
        REGEXP = "regexp";
        /// Two keys get the same name, and the operator keeps the value of a random one.
        COLLISION = "collision", "give each key a name of its own with `rewrite`";
        /// A kind of object that is not supported: certificates and keys of Azure.
        KIND = "kind";
        /// Metadata that depends on the operator's version.
        METADATA = "metadata";
        /// A document that is nested too deeply.
        DEPTH = "depth";
        /// Several ExternalSecrets write the Secret and conflict with each other.
        SHARED = "shared", "let one ExternalSecret own the Secret";
        /// Computing the data needs more steps or memory than one ExternalSecret may use.
        TOO_COSTLY = "too-costly", "split the ExternalSecret, or simplify its template";
        /// The answer does not fit the provider.
        PROVIDER = "provider";
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldFail {
    pub failure: Failure,
    /// The place. Never contains a part of a value.
    pub detail: String,
}

impl fmt::Display for WouldFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.failure.into_str(), self.detail)
    }
}

/// The reason why the operator's sync would fail.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumMessage, strum::IntoStaticStr, strum::VariantArray,
)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Failure {
    /// The provider has no such secret or version. The operator recognises it as absent, so `deletionPolicy` applies.
    NotFound,
    /// The secret does not exist, but the operator treats this like any other error.
    #[strum(serialize = "not-found")]
    NotFoundError,
    /// The version is deleted. The operator recognises it as absent, so `deletionPolicy` applies.
    VersionDeleted,
    /// The version is destroyed, and the operator recognises it as absent.
    #[strum(serialize = "version-destroyed")]
    DestroyedAsAbsent,
    /// The version is disabled.
    VersionDisabled,
    /// The version is destroyed.
    VersionDestroyed,
    /// The secret is scheduled for deletion.
    ScheduledForDeletion,
    /// The conditions of the ClusterSecretStore exclude the namespace.
    NamespaceNotAllowed,
    /// The secret has no such property.
    NoProperty,
    /// The secret has no value.
    NoValue,
    /// The value is not valid JSON.
    NotJson,
    /// The value is not a JSON object.
    NotAnObject,
    /// A number that is too large for the operator.
    Number,
    /// The value cannot be decoded with the `decodingStrategy`.
    Decoding,
    /// Two keys get the same name.
    KeyCollision,
    /// A key that Kubernetes does not allow in a Secret.
    InvalidKey,
    /// A value contains a null byte, and `nullBytePolicy` is Fail.
    NullByte,
    /// `rewrite.merge`: several objects contain the same key.
    MergeConflict,
    /// `rewrite.merge`: a key of `priority` does not exist.
    MergeKey,
    /// The operator rejects the spec.
    Refused,
    /// `deletionPolicy: Delete` needs `creationPolicy: Owner`.
    DeleteNotOwned,
    /// The data exceeds the maximum size of a Secret.
    TooLarge,
    /// A template fails.
    Template,
}

impl Failure {
    /// True if the operator recognises the secret as absent, so that `deletionPolicy` applies.
    pub const fn is_absent(self) -> bool {
        matches!(
            self,
            Self::NotFound | Self::VersionDeleted | Self::DestroyedAsAbsent
        )
    }
}
