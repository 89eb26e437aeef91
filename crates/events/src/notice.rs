//! What one event says.

use std::{collections::BTreeSet, fmt};

use eso_model::{ProviderKind, expected::What, remote::RemoteKey};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use strum::IntoStaticStr;

/// The stage of Secrets Manager that a read without a version gets.
const CURRENT: &str = "AWSCURRENT";

/// The longest name of a kind that is kept, in characters.
const LONGEST_KIND: usize = 64;

/// What one event says.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    pub says: Says,
    /// The names that the key may have. Empty if `says` is [`Says::Irrelevant`] or [`Says::Unreadable`].
    pub keys: Vec<RemoteKey>,
    /// Which versions of the key are concerned.
    pub touched: Touched,
    /// The version that is current after the change, if the event names it.
    pub version: Option<String>,
    /// When the change was made.
    pub at: Option<Timestamp>,
    /// The name of a kind that is not known, bounded.
    pub kind: Option<String>,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Says {
    /// The value may have changed.
    Changed,
    /// The secret or a version of it was deleted or disabled. Reported; a sync is never forced, because the operator might delete
    /// the Secret.
    Gone,
    /// Reported.
    Warning(Warned),
    /// Known, and nothing is to be done.
    Irrelevant(Ignored),
    /// Not understood, so nothing is known about it.
    Unreadable(Unreadable),
}

/// What a warning is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Warned {
    /// The provider's rotation failed.
    RotationFailed,
    /// The provider's rotation was abandoned.
    RotationAbandoned,
    /// The secret, certificate or key ends soon.
    NearExpiry,
}

/// Why an event is irrelevant.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Ignored {
    /// The call failed, so it changed nothing.
    FailedCall,
    /// The call only read.
    ReadOnly,
    /// The new version is not current yet: a rotation begins.
    Pending,
    /// Only metadata changed.
    Metadata,
    /// A reminder to rotate. Nothing changed.
    Reminder,
    /// From a source that is known, of a kind that is not.
    UnknownKind,
}

/// Why an event is not understood.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Unreadable {
    /// Larger than a queue's largest message.
    TooLarge,
    /// Neither JSON nor JSON in base64.
    NotJson,
    /// Nested too deeply.
    TooDeep,
    /// An object has a field twice.
    FieldTwice,
    /// More events in one message than any source puts there.
    TooManyEvents,
    /// From no known source.
    UnknownShape,
    /// From a known source, but it names no key.
    NoKey,
}

/// Which versions of a key an event concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Any may be concerned.
    #[default]
    Any,
    /// Stages of Secrets Manager.
    Stages(BTreeSet<String>),
    /// The newest version, and the one with this ID.
    Newest(String),
}

impl Says {
    /// The kind in one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Gone => "gone",
            Self::Warning(_) => "warning",
            Self::Irrelevant(_) => "irrelevant",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// The stable word that explains the kind.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Changed | Self::Gone => None,
            Self::Warning(why) => Some(why.into_str()),
            Self::Irrelevant(why) => Some(why.into_str()),
            Self::Unreadable(why) => Some(why.into_str()),
        }
    }
}

impl Notice {
    pub(crate) fn irrelevant(why: Ignored) -> Self {
        Self::bare(Says::Irrelevant(why))
    }

    pub(crate) fn unreadable(why: Unreadable) -> Self {
        Self::bare(Says::Unreadable(why))
    }

    fn bare(says: Says) -> Self {
        Self {
            says,
            keys: Vec::new(),
            touched: Touched::Any,
            version: None,
            at: None,
            kind: None,
        }
    }

    /// An event of a known source, of a kind that is not. Only characters of names are kept of its name.
    pub(crate) fn of_unknown_kind(name: &str) -> Self {
        let name = name.chars().take(LONGEST_KIND);
        let kept = |c: char| {
            if c.is_ascii_alphanumeric() || " ._-".contains(c) {
                c
            } else {
                '?'
            }
        };
        Self {
            kind: Some(name.map(kept).collect()),
            ..Self::irrelevant(Ignored::UnknownKind)
        }
    }

    /// An event about a key. Without one, it is not understood.
    pub(crate) fn about(says: Says, keys: Vec<RemoteKey>) -> Self {
        if keys.iter().all(|key| key.names.is_empty()) {
            return Self::unreadable(Unreadable::NoKey);
        }
        Self {
            keys,
            ..Self::bare(says)
        }
    }
}

impl Touched {
    pub(crate) fn current() -> Self {
        Self::Stages(BTreeSet::from([CURRENT.to_owned()]))
    }

    /// True if a read of the key may return something else after the event. A read of a fixed version does not.
    pub fn concerns(&self, provider: &ProviderKind, what: &What) -> bool {
        let What::Secret { version, .. } = what else {
            return true;
        };
        match (self, provider) {
            (Self::Stages(stages), ProviderKind::SecretsManager) => match version.as_str() {
                "" => stages.contains(CURRENT),
                version => !version.starts_with("uuid/") && stages.contains(version),
            },
            (Self::Newest(id), ProviderKind::AzureKeyVault) => {
                version.is_empty() || version.eq_ignore_ascii_case(id)
            }
            (Self::Newest(id), ProviderKind::GcpSecretManager) => {
                // Anything but a number is an alias.
                version == id || version.parse::<u64>().is_err()
            }
            (Self::Any | Self::Stages(_) | Self::Newest(_), _) => true,
        }
    }
}

/// The names come from strangers, and could be anything.
impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice")
            .field("says", &self.says)
            .field("keys", &self.keys.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
