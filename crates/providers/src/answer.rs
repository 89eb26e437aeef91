//! The answer to one read, or the reason why it failed.

use std::{collections::BTreeMap, sync::Arc};

use eso_model::{
    ProviderKind,
    expected::{Content, Failure, Raw, Unverifiable},
    unread,
    version::ReadVersion,
};
use secret::Value;

/// The largest value that is read, in bytes. A Secret cannot be larger.
pub const MAX_VALUE: usize = 1 << 20;

/// The memory that an entry of a map takes in addition to its key and value.
pub(super) const ENTRY: usize = 128;

/// The answer to one read.
pub enum Answered {
    /// A secret, or its metadata. With the version of the value, if the answer names it.
    One(Raw, Option<Box<ReadVersion>>),
    /// The result of a search, by the name that the provider's regular expressions match.
    Many(Arc<BTreeMap<String, Raw>>),
    /// The secret or the version does not exist, or is deleted.
    NotFound,
    /// The operator's read would fail.
    Fails(Failure),
    /// The read failed.
    Unread(Unread),
}

impl Answered {
    /// Borrows the answer as input for [`eso_model::expected`].
    pub fn content(&self) -> Content<'_> {
        match self {
            Self::One(raw, _) => Content::One(raw),
            Self::Many(found) => Content::Many(found),
            Self::NotFound => Content::NotFound,
            Self::Fails(failure) => Content::Fails(*failure),
            // The operator refuses it for the same reason.
            Self::Unread(unread) if unread.why.reason == unread::NAMESPACE => {
                Content::Fails(Failure::NamespaceNotAllowed)
            }
            Self::Unread(unread) => Content::Unread(unread.why.clone()),
        }
    }

    /// The memory that the answer takes, in bytes. A result that the provider's client keeps anyway counts nothing.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::One(raw, _) => size_of(raw),
            Self::Many(found) if Arc::strong_count(found) > 1 => 0,
            Self::Many(found) => found
                .iter()
                .map(|(name, raw)| ENTRY + name.len() + size_of(raw))
                .sum(),
            Self::NotFound | Self::Fails(_) => 0,
            Self::Unread(unread) => unread.why.detail.len(),
        }
    }
}

/// The memory that a secret takes, in bytes.
pub(super) fn size_of(raw: &Raw) -> usize {
    let map = |values: &BTreeMap<String, Value>| -> usize {
        let sizes = values.iter();
        sizes
            .map(|(key, value)| ENTRY + key.len() + value.expose().len())
            .sum()
    };
    match raw {
        Raw::Bytes(value) | Raw::Json(value) => value.expose().len(),
        Raw::Keys(values) | Raw::Tags(values) => map(values),
        Raw::Metadata {
            labels,
            annotations,
        } => map(labels) + map(annotations),
    }
}

/// The reason why a read failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// A stable word (see [`unread`]) and a detail. Never contains a part of a value or of a credential.
    pub why: Unverifiable,
    /// The missing permission in the provider's form: `secretsmanager:GetSecretValue on ARN`, `Key Vault Secrets User`.
    pub permission: Option<String>,
    /// True if the whole store cannot be read: it is reported once, not for each secret.
    pub whole_store: bool,
}

impl Unread {
    /// One secret cannot be read.
    pub fn secret(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            why: Unverifiable::new(reason, detail),
            permission: None,
            whole_store: false,
        }
    }

    /// The whole store cannot be read.
    pub fn store(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            whole_store: true,
            ..Self::secret(reason, detail)
        }
    }

    /// The build has no client for the provider.
    pub fn unsupported(provider: &ProviderKind) -> Self {
        let facts = provider.facts();
        let text = match (facts.name.as_ref(), facts.feature) {
            ("", _) => "the store has no provider".to_owned(),
            (name, Some(feature)) => {
                format!(
                    "this build does not support the provider `{name}` (Cargo feature `{feature}`)"
                )
            }
            (name, None) => format!("the provider `{name}` is not supported"),
        };
        Self::store(unread::UNSUPPORTED, text)
    }

    /// The values that are needed at the same time exceed the share of the namespace.
    pub(super) fn too_much_data() -> Self {
        Self::secret(
            unread::TOO_MUCH_DATA,
            "the values that are needed together are larger than a run reads for one target Secret",
        )
    }

    /// One value is too large.
    pub(super) fn value_too_large() -> Self {
        let detail = format!("the value is larger than {} MiB", MAX_VALUE >> 20);
        Self::secret(unread::VALUE_TOO_LARGE, detail)
    }

    /// Adds the missing permission.
    #[must_use]
    pub fn lacking(self, permission: impl Into<String>) -> Self {
        Self {
            permission: Some(permission.into()),
            ..self
        }
    }
}

/// True if the text has the form of an error code, such as `AccessDeniedException`. Other texts of a server are not passed on: they
/// may repeat what the server received.
#[cfg(any(feature = "aws", feature = "azure"))]
pub(crate) fn is_code(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}
