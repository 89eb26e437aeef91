//! Reads the current data of providers: one trait, with an implementation for each supported provider of the operator.
//!
//! A [`Provider`] is a read-only connection to one store with one set of credentials. Its answers are the input of
//! [`eso_model::expected`]. A failed read has a stable reason word, and its text contains no part of a value.

#![cfg_attr(
    all(
        not(test),
        not(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))
    ),
    expect(
        dead_code,
        unused_imports,
        reason = "a build without clients does not use what they share"
    )
)]

use std::collections::BTreeSet;

use async_trait::async_trait;

pub use self::{
    answer::{Answered, MAX_VALUE, Unread},
    credentials::{Ambient, Identity, Resolver, StoreSettings},
    limiter::{Backoff, RateLimiter},
};
use cluster::Cluster;
pub use eso_model::unread;
use eso_model::{ProviderKind, expected::What, rotation::Rotation};
use futures::future::BoxFuture;
use pace::Clock;
use serde_json::Value as Json;

use self::trust::Origin;

mod answer;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod arguments;
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
mod found;
#[cfg(feature = "gcp")]
mod gcp;
pub mod holder;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod key_service;
pub mod kms;
mod kubernetes;
mod limiter;
mod names;
mod no_answer;
pub mod plugin;
pub mod queue;
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

    /// The number of entries that one call can read.
    fn batch(&self) -> usize {
        1
    }

    /// Reads a secret whose value is larger than [`MAX_VALUE`], and keeps only these members of its JSON object.
    async fn read_members(
        &self,
        _what: &What,
        _members: &BTreeSet<String>,
        _limiter: &RateLimiter,
    ) -> Answered {
        Answered::Unread(Unread::value_too_large())
    }

    /// Returns when these secrets are rotated, in the same order. Reads their metadata, never a value. Each call takes a rate permit.
    async fn rotations(
        &self,
        keys: &[String],
        _limiter: &RateLimiter,
    ) -> Vec<Result<Rotation, Unread>> {
        keys.iter().map(|_| Ok(Rotation::NotKept)).collect()
    }
}

/// Connects to a store. `own` is the cluster that contains the stores.
pub async fn connect(
    store: &StoreSettings,
    identity: Identity<'_>,
    own: &Cluster,
) -> Result<Box<dyn Provider>, Unread> {
    let client = client(&store.provider)?;
    client(store, identity, own).await
}

/// The origins, besides a cloud's own hosts, that would receive the job's own credentials for this store. A policy must list them.
pub fn origins_to_trust(store: &StoreSettings) -> Result<BTreeSet<Origin>, Unread> {
    let mut origins = BTreeSet::new();
    for (address, cloud) in receivers(store)? {
        if trust::may_go_to(&address, &cloud, []).is_err() {
            origins.insert(Origin::of_address(&address).map_err(|error| {
                Unread::store(unread::NOT_TRUSTED, format!("its address {error}"))
            })?);
        }
    }
    Ok(origins)
}

/// An address, and the suffixes of a cloud's own hosts that need no trust.
type Receiver = (String, Vec<&'static str>);

/// The addresses that a store names for the job's own credentials.
fn receivers(store: &StoreSettings) -> Result<Vec<Receiver>, Unread> {
    #[cfg(feature = "azure")]
    if store.provider == ProviderKind::AzureKeyVault {
        return azure::receivers(&store.settings);
    }
    if store.provider == ProviderKind::Vault {
        let server = store.settings.pointer("/server").and_then(Json::as_str);
        return Ok(vec![(server.unwrap_or_default().to_owned(), Vec::new())]);
    }
    Ok(Vec::new())
}

/// Connects to a store of one provider.
type Client = for<'a> fn(
    &'a StoreSettings,
    Identity<'a>,
    &'a Cluster,
) -> BoxFuture<'a, Result<Box<dyn Provider>, Unread>>;

/// The client, if this build has the feature.
macro_rules! with_feature {
    ($feature:literal, $connect:path) => {{
        #[cfg(feature = $feature)]
        {
            Some((|store, identity, _| Box::pin($connect(store, identity))) as Client)
        }
        #[cfg(not(feature = $feature))]
        {
            None
        }
    }};
}

/// Returns the client of a provider, or an error if this build has none.
fn client(provider: &ProviderKind) -> Result<Client, Unread> {
    let client: Option<Client> = match provider {
        ProviderKind::ParameterStore => with_feature!("aws-parameter-store", aws::connect),
        ProviderKind::SecretsManager => with_feature!("aws", aws::connect),
        ProviderKind::AzureKeyVault => with_feature!("azure", azure::connect),
        ProviderKind::Fake => {
            Some(|store, _, _| Box::pin(async { Ok(Box::new(fake::Fake::new(store)) as _) }))
        }
        ProviderKind::GcpSecretManager => with_feature!("gcp", gcp::connect),
        ProviderKind::Kubernetes => {
            Some(|store, identity, own| Box::pin(kubernetes::connect(store, identity, own)))
        }
        ProviderKind::Vault => with_feature!("vault", vault::connect),
        // Also `openBao`: the operator reads it by other rules than `vault`.
        ProviderKind::Other(_) => None,
    };
    client.ok_or_else(|| Unread::unsupported(provider))
}

/// Connects to a store for one publisher, to write it. `owner` is the ID of the publisher.
pub async fn connect_writer(
    store: &StoreSettings,
    identity: Identity<'_>,
    owner: &str,
    clock: Clock,
) -> Result<Box<dyn holder::Writer>, Unread> {
    let connect: Option<Write> = match &store.provider {
        ProviderKind::SecretsManager => writes_with!("aws", aws::connect_writer),
        ProviderKind::ParameterStore => writes_with!("aws-parameter-store", aws::connect_writer),
        ProviderKind::Vault => writes_with!("vault", vault::connect_writer),
        ProviderKind::AzureKeyVault => writes_with!("azure", azure::connect_writer),
        ProviderKind::GcpSecretManager => writes_with!("gcp", gcp::connect_writer),
        ProviderKind::Fake | ProviderKind::Kubernetes | ProviderKind::Other(_) => None,
    };
    let connect = connect.ok_or_else(|| Unread::unsupported(&store.provider))?;
    connect(store, identity, owner, clock).await
}

/// The client for writes, if this build has the feature.
macro_rules! writes_with {
    ($feature:literal, $connect:path) => {{
        #[cfg(feature = $feature)]
        {
            Some(
                (|store, identity, owner, clock| Box::pin($connect(store, identity, owner, clock)))
                    as Write,
            )
        }
        #[cfg(not(feature = $feature))]
        {
            None
        }
    }};
}
use writes_with;

/// Connects to a store of one provider, to write it.
type Write = for<'a> fn(
    &'a StoreSettings,
    Identity<'a>,
    &'a str,
    Clock,
) -> BoxFuture<'a, Result<Box<dyn holder::Writer>, Unread>>;

/// Connects to a queue with rotation events, with the job's own credentials.
pub async fn connect_queue(
    address: &queue::address::Address,
    ambient: &Ambient,
) -> Result<Box<dyn queue::Queue>, Unread> {
    let (connect, feature): (Option<Receive>, &str) = match address {
        queue::address::Address::Sqs { .. } => (
            receives_with!("events-aws", aws::connect_queue),
            "events-aws",
        ),
        queue::address::Address::AzureQueue { .. } => (
            receives_with!("events-azure", azure::connect_queue),
            "events-azure",
        ),
        queue::address::Address::PubSub { .. } => (
            receives_with!("events-gcp", gcp::connect_queue),
            "events-gcp",
        ),
    };
    if let Some(connect) = connect {
        return connect(address, ambient).await;
    }
    let detail = format!("this build does not support it (Cargo feature `{feature}`)");
    Err(Unread::store(unread::UNSUPPORTED, detail))
}

/// The client of a queue, if this build has the feature.
macro_rules! receives_with {
    ($feature:literal, $connect:path) => {{
        #[cfg(feature = $feature)]
        {
            Some((|address, ambient| Box::pin($connect(address, ambient))) as Receive)
        }
        #[cfg(not(feature = $feature))]
        {
            None
        }
    }};
}
use receives_with;

/// Connects to one kind of queue.
type Receive = for<'a> fn(
    &'a queue::address::Address,
    &'a Ambient,
) -> BoxFuture<'a, Result<Box<dyn queue::Queue>, Unread>>;

/// Says what is wrong with a store setting. Names a field or variant, but never repeats another part of the store's spec.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
fn not_understood(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // `unknown variant \`x\`, expected …`
    let named = |kind: &str| {
        let name = text.strip_prefix(kind)?.strip_prefix(" `")?;
        let name = name.split('`').next()?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let good = name.len() <= 64 && name.bytes().all(is_word);
        good.then(|| format!("{kind} `{name}`"))
    };
    let kinds = [
        "missing field",
        "unknown field",
        "duplicate field",
        "unknown variant",
    ];
    kinds
        .into_iter()
        .find_map(named)
        .unwrap_or_else(|| "a value has the wrong type".to_owned())
}
