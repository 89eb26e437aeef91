//! The answer to one read, or the reason why it failed.

use std::collections::BTreeMap;

use eso_model::{
    ProviderKind,
    expected::{Content, Failure, Raw, Unverifiable},
};

/// The answer to one read.
pub enum Answered {
    /// A secret, or its metadata.
    One(Raw),
    /// The result of a search, by the name that the provider's regular expressions match.
    Many(BTreeMap<String, Raw>),
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
            Self::One(raw) => Content::One(raw),
            Self::Many(found) => Content::Many(found),
            Self::NotFound => Content::NotFound,
            Self::Fails(failure) => Content::Fails(*failure),
            Self::Unread(unread) => Content::Unread(unread.why.clone()),
        }
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
    pub(crate) fn unsupported(provider: &ProviderKind) -> Self {
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

    /// Adds the missing permission.
    #[must_use]
    pub fn lacking(self, permission: impl Into<String>) -> Self {
        Self {
            permission: Some(permission.into()),
            ..self
        }
    }
}

/// Stable reason words for a failed read.
pub mod unread {
    /// The provider denies the read.
    pub const DENIED: &str = "denied";
    /// No credentials, or the provider rejects them.
    pub const LOGIN: &str = "login-failed";
    /// The provider still throttles after retries.
    pub const THROTTLED: &str = "throttled";
    /// The provider cannot be reached, or fails.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The provider's answer is invalid.
    pub const UNREADABLE: &str = "unreadable";
    /// The store needs something that is not supported: a provider, an auth method, a setting.
    pub const UNSUPPORTED: &str = "unsupported-store";
    /// The job's own credentials may not be sent to this store's address, or may not be used for this store.
    pub const NOT_TRUSTED: &str = "store-not-trusted";
    /// The conditions of the ClusterSecretStore exclude the namespace: the operator refuses it too.
    pub const NAMESPACE: &str = "namespace-not-allowed";
    /// The operator reads this store with the identity of its own Pod, which the job does not have.
    pub const CONTROLLER_IDENTITY: &str = "controller-identity";
    /// The store, or the object that holds its credentials, is missing or cannot be read.
    pub const STORE: &str = "store-unreadable";
}
