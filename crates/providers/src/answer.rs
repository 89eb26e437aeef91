//! The answer to one read, or why there is none.

use std::collections::BTreeMap;

use eso_model::expected::{Content, Failure, Raw, Unverifiable};

/// The answer to one read.
pub enum Answered {
    /// A secret, or its metadata.
    One(Raw),
    /// What a search found, by the names that the provider's regular expressions are matched against.
    Many(BTreeMap<String, Raw>),
    /// There is no such secret, no such version, or it is deleted.
    NotFound,
    /// The operator would fail.
    Fails(Failure),
    /// It could not be read.
    Unread(Unread),
}

impl Answered {
    /// The same, borrowed, as the computation takes it.
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

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// A stable word (see [`unread`]), and what is to be known beyond it. Never a part of a value or of a credential.
    pub why: Unverifiable,
    /// The right that is missing, as the provider names it: `secretsmanager:GetSecretValue on ARN`, `Key Vault Secrets User`.
    pub permission: Option<String>,
    /// Whether it is the store that cannot be read, and not only this secret: it is told once then, and not for each one.
    pub whole_store: bool,
}

impl Unread {
    /// One secret.
    pub fn secret(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            why: Unverifiable::new(reason, detail),
            permission: None,
            whole_store: false,
        }
    }

    /// The whole store.
    pub fn store(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            whole_store: true,
            ..Self::secret(reason, detail)
        }
    }

    /// The same, with the right that is missing.
    #[must_use]
    pub fn lacking(self, permission: impl Into<String>) -> Self {
        Self {
            permission: Some(permission.into()),
            ..self
        }
    }
}

/// The words for what was not read.
pub mod unread {
    /// The provider refuses the read.
    pub const DENIED: &str = "denied";
    /// No credentials, or the provider does not take them.
    pub const LOGIN: &str = "login-failed";
    /// The provider throttles, also after having waited.
    pub const THROTTLED: &str = "throttled";
    /// The provider cannot be reached, or fails.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The provider's answer makes no sense.
    pub const UNREADABLE: &str = "unreadable";
    /// The store asks for what is not supported here: a provider, an auth method, a setting.
    pub const UNSUPPORTED: &str = "unsupported-store";
    /// The job's own credentials do not go where this store points, or do not read for it.
    pub const NOT_TRUSTED: &str = "store-not-trusted";
    /// The conditions of the ClusterSecretStore leave the namespace out: the operator refuses it too.
    pub const NAMESPACE: &str = "namespace-not-allowed";
    /// The operator reads this store with the identity of its own Pod, which is not ours.
    pub const CONTROLLER_IDENTITY: &str = "controller-identity";
    /// The store, or what its credentials are in, is not there or may not be read.
    pub const STORE: &str = "store-unreadable";
}
