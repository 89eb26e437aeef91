//! What comes of a computation, and why none comes.

use std::{collections::BTreeMap, fmt};

use secret::Value;

/// What the Secret of an ExternalSecret should hold.
pub struct Expected {
    /// The keys and values that the operator would write.
    pub data: BTreeMap<String, Value>,
    /// Whether the Secret holds these keys and no others (Owner, Orphan), or others of other origin too (Merge).
    pub exact: bool,
    /// What the operator would do with the data.
    pub effect: Effect,
    /// Whether it leaves an existing Secret as it is (`immutable: true`).
    pub immutable: bool,
}

/// What the operator would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Create or update the Secret.
    Write,
    /// Add the keys to a Secret that exists; nothing where there is none.
    WriteIfThere,
    /// Leave the Secret as it is: the provider holds nothing, and `deletionPolicy` is Retain.
    Keep,
    /// Delete the Secret: the provider holds nothing, and `deletionPolicy` is Delete.
    Delete,
    /// Write nothing (`creationPolicy: None`).
    Nothing,
}

/// Why there is no expected data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotComputable {
    /// It cannot be told what the operator would write.
    Unverifiable(Unverifiable),
    /// The operator would write nothing, because its sync would fail.
    WouldFail(WouldFail),
}

impl NotComputable {
    /// The same, with the place in the spec that it is about.
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

impl From<Failure> for NotComputable {
    fn from(failure: Failure) -> Self {
        Self::WouldFail(WouldFail {
            failure,
            detail: String::new(),
        })
    }
}

/// It cannot be told what the operator would write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverifiable {
    /// A stable word (see [`why`]; those who read providers and templates have words of their own).
    pub reason: &'static str,
    /// Where, and what. Never a part of a value.
    pub detail: String,
}

impl Unverifiable {
    /// With a stable word, and a detail that holds no part of a value.
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

/// The words for what is not evaluated here.
pub mod why {
    /// The spec says something that is not known here.
    pub const SPEC: &str = "spec";
    /// `target.manifest`: not a Secret.
    pub const MANIFEST: &str = "manifest";
    /// A generator makes another value each time.
    pub const GENERATOR: &str = "generator";
    /// A template.
    pub const TEMPLATE: &str = "template";
    /// A `property` that is more than a path of keys and indexes, or a text that is not JSON below one.
    pub const PROPERTY_PATH: &str = "property-path";
    /// A regular expression that Go and Rust may understand differently.
    pub const REGEXP: &str = "regexp";
    /// Two keys become one, and chance decides which value the operator keeps.
    pub const COLLISION: &str = "collision";
    /// A kind of object that is not read: certificates and keys of Azure.
    pub const KIND: &str = "kind";
    /// Metadata that differs from one version of the operator to the next.
    pub const METADATA: &str = "metadata";
    /// A document that is nested too deeply.
    pub const DEPTH: &str = "depth";
    /// Other ExternalSecrets write the same Secret, and fight about it.
    pub const SHARED: &str = "shared";
    /// The provider was answered for in a way that does not fit it.
    pub const PROVIDER: &str = "provider";
}

/// The operator's sync would fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldFail {
    /// Why.
    pub failure: Failure,
    /// Where. Never a part of a value.
    pub detail: String,
}

impl fmt::Display for WouldFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.failure.as_str(), self.detail)
    }
}

/// Why the operator's sync would fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The provider has no such secret, or no such version; the operator knows it as absent, which `deletionPolicy` may allow.
    NotFound,
    /// It has not, and the operator takes this for an error like any other.
    NotFoundError,
    /// The secret has no such property.
    NoProperty,
    /// The secret has no value.
    NoValue,
    /// The value, which has to be JSON, is not.
    NotJson,
    /// The value, which has to be an object, is none.
    NotAnObject,
    /// A number that is too large for the operator.
    Number,
    /// The value is not what `decodingStrategy` says.
    Decoding,
    /// Two keys become one.
    KeyCollision,
    /// A key that no Secret may have.
    InvalidKey,
    /// A value holds a null byte, and `nullBytePolicy` is Fail.
    NullByte,
    /// `rewrite.merge`: a key is in more than one object.
    MergeConflict,
    /// `rewrite.merge`: a key of `priority` is not there.
    MergeKey,
    /// The spec asks for what the operator refuses.
    Refused,
    /// `deletionPolicy: Delete` needs `creationPolicy: Owner`.
    DeleteNotOwned,
    /// The data is larger than a Secret may be.
    TooLarge,
    /// A template fails.
    Template,
}

impl Failure {
    /// A stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound | Self::NotFoundError => "not-found",
            Self::NoProperty => "no-property",
            Self::NoValue => "no-value",
            Self::NotJson => "not-json",
            Self::NotAnObject => "not-an-object",
            Self::Number => "number",
            Self::Decoding => "decoding",
            Self::KeyCollision => "key-collision",
            Self::InvalidKey => "invalid-key",
            Self::NullByte => "null-byte",
            Self::MergeConflict => "merge-conflict",
            Self::MergeKey => "merge-key",
            Self::Refused => "refused",
            Self::DeleteNotOwned => "delete-not-owned",
            Self::TooLarge => "too-large",
            Self::Template => "template",
        }
    }
}
