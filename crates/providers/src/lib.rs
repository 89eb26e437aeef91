//! What the providers hold now: one trait, one implementation for each provider of the operator's that can be read.
//!
//! A [`Provider`] is a connection to one store with one set of credentials. It reads, and nothing else. What it answers is what
//! [`eso_model::expected`] computes with; what could not be read says why, in a stable word and without any part of a value.

use async_trait::async_trait;

pub use self::{
    answer::{Answered, Unread, unread},
    credentials::{Ambient, Identity, Resolver, StoreSettings},
    limiter::{Backoff, RateLimiter},
};
use cluster::Cluster;
use eso_model::expected::What;
#[cfg(any(feature = "aws", feature = "gcp"))]
use eso_model::expected::{GoRegex, why};

mod answer;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod credentials;
#[cfg(any(feature = "aws", feature = "gcp"))]
mod distinct;
#[cfg(test)]
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
mod double;
mod engine;
mod fake;
#[cfg(feature = "gcp")]
mod gcp;
mod kubernetes;
mod limiter;
pub mod reader;
pub mod trust;
#[cfg(feature = "vault")]
mod vault;

/// A connection to one store with one set of credentials.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Returns one answer per entry, in the same order, with as few calls as the provider's API allows. Each call takes a rate
    /// permit.
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered>;
}

/// Connects to a store. `own` is the cluster that contains the stores.
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

/// Ok if this build can read the provider.
fn supported(provider: &str) -> Result<(), Unread> {
    let supported = matches!(provider, "kubernetes" | "fake")
        || (cfg!(feature = "aws") && provider == "aws")
        || (cfg!(feature = "azure") && provider == "azurekv")
        || (cfg!(feature = "gcp") && provider == "gcpsm")
        // Not `openBao`: the operator reads that provider by different rules.
        || (cfg!(feature = "vault") && provider == "vault");
    if supported {
        Ok(())
    } else {
        Err(unsupported(provider))
    }
}

fn unsupported(provider: &str) -> Unread {
    let text = if provider.is_empty() {
        "the store has no provider".to_owned()
    } else {
        format!("this build does not support the provider `{provider}`")
    };
    Unread::store(unread::UNSUPPORTED, text)
}

/// Compiles the regular expression of a search.
#[cfg(any(feature = "aws", feature = "gcp"))]
fn names(regexp: &str) -> Result<GoRegex, Answered> {
    GoRegex::new(regexp).map_err(|_| {
        let detail = "Go and Rust may understand `find.name.regexp` differently";
        Answered::Unread(Unread::secret(why::REGEXP, detail))
    })
}

/// Formats the error about a store setting that is not understood.
#[cfg(any(feature = "aws", feature = "gcp"))]
fn not_understood(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // Drop the long list of expected values: nobody can choose from it here.
    text.split(", expected")
        .next()
        .map(str::to_owned)
        .unwrap_or(text)
}
