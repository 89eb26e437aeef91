//! What the providers hold now: one trait, one implementation for each provider of the operator's that can be read.
//!
//! A [`Provider`] is a connection to one store with one set of credentials. It reads, and nothing else. What it answers is what
//! [`eso_model::expected`] computes with; what could not be read says why, in a stable word and without any part of a value.

use std::collections::BTreeMap;

use async_trait::async_trait;

pub use self::{
    credentials::{Ambient, Identity, Resolver, StoreSettings},
    turns::Turns,
};
use cluster::Cluster;
use eso_model::expected::{Content, Failure, Raw, Unverifiable, What};
#[cfg(any(feature = "aws", feature = "gcp"))]
use eso_model::expected::{GoRegex, why};

#[cfg(any(feature = "aws", feature = "gcp"))]
mod attempts;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod credentials;
#[cfg(test)]
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
mod double;
mod fake;
#[cfg(feature = "gcp")]
mod gcp;
mod health;
mod kubernetes;
pub mod reader;
#[cfg(any(feature = "aws", feature = "gcp"))]
mod session;
#[cfg(any(feature = "aws", feature = "gcp"))]
mod spread;
pub mod trust;
mod turns;
#[cfg(feature = "vault")]
mod vault;

/// One store, read with one set of credentials.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Answers each of these once, in their order, with as few calls as the provider's API allows. Each call takes a turn first.
    async fn read(&self, wanted: &[What], turns: &Turns) -> Vec<Answered>;
}

/// Connects to a store. `own` is the cluster that the stores are in.
pub async fn connect(
    store: &StoreSettings,
    identity: Identity<'_>,
    own: &Cluster,
) -> Result<Box<dyn Provider>, Unread> {
    match store.provider.as_str() {
        "kubernetes" => kubernetes::connect(store, identity, own).await,
        "fake" => Ok(Box::new(fake::Fake::new(store))),
        #[cfg(feature = "aws")]
        "aws" => aws::connect(store, identity).await,
        #[cfg(feature = "azure")]
        "azurekv" => azure::connect(store, identity).await,
        #[cfg(feature = "gcp")]
        "gcpsm" => gcp::connect(store, identity).await,
        #[cfg(feature = "vault")]
        "vault" => vault::connect(store, identity).await,
        other => Err(unsupported(other)),
    }
}

/// Whether this build reads the provider.
fn supported(provider: &str) -> Result<(), Unread> {
    let supported = matches!(provider, "kubernetes" | "fake")
        || (cfg!(feature = "aws") && provider == "aws")
        || (cfg!(feature = "azure") && provider == "azurekv")
        || (cfg!(feature = "gcp") && provider == "gcpsm")
        // Not `openBao`: that provider of the operator's reads by rules of its own.
        || (cfg!(feature = "vault") && provider == "vault");
    if supported {
        Ok(())
    } else {
        Err(unsupported(provider))
    }
}

fn unsupported(provider: &str) -> Unread {
    let text = if provider.is_empty() {
        "the store names no provider".to_owned()
    } else {
        format!("this build does not read the provider `{provider}`")
    };
    Unread::store(unread::UNSUPPORTED, text)
}

/// The names that a search is for.
#[cfg(any(feature = "aws", feature = "gcp"))]
fn names(regexp: &str) -> Result<GoRegex, Answered> {
    GoRegex::new(regexp).map_err(|_| {
        let detail = "Go and Rust may understand `find.name.regexp` differently";
        Answered::Unread(Unread::secret(why::REGEXP, detail))
    })
}

/// Which of a store's settings is not understood.
#[cfg(any(feature = "aws", feature = "gcp"))]
fn not_understood(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // What would be understood is a long list that nobody can choose from here.
    text.split(", expected")
        .next()
        .map(str::to_owned)
        .unwrap_or(text)
}

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
