//! The credentials that a store is read with.

mod resolver;
#[cfg(any(feature = "vault", feature = "azure", feature = "aws", feature = "gcp"))]
mod token;

use std::collections::BTreeMap;

use serde_json::Value as Json;

pub use self::resolver::Resolver;
pub(crate) use self::resolver::TOKEN_LIFETIME;
#[cfg(any(feature = "vault", feature = "azure", feature = "aws", feature = "gcp"))]
pub(crate) use self::token::TokenFile;
use eso_model::{ProviderKind, StoreKey};

use super::{Unread, trust};

/// A store and its provider's settings.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    pub key: StoreKey,
    pub provider: ProviderKind,
    /// The object under the provider's key in the spec.
    pub settings: Json,
}

impl StoreSettings {
    /// `provider` and `settings` are an entry of the store's `spec.provider`.
    pub fn new(key: StoreKey, provider: &str, settings: Json) -> Self {
        Self {
            key,
            provider: ProviderKind::of(provider, &settings),
            settings,
        }
    }

    /// The value at this JSON pointer (`/auth/token`), or null.
    pub fn at(&self, pointer: &str) -> &Json {
        self.settings.pointer(pointer).unwrap_or(&Json::Null)
    }
}

/// The source of the credentials.
#[derive(Clone, Copy)]
pub enum Identity<'a> {
    /// The job's own credentials.
    Ambient(&'a Ambient),
    /// The store's credentials, resolved as the operator does.
    Store(&'a Resolver),
}

/// The job's own credentials, and the addresses that may receive them. No `Debug`, because the environment contains tokens.
#[derive(Clone, Default)]
pub struct Ambient {
    /// The environment for the default credential chains of the SDKs.
    pub environment: BTreeMap<String, String>,
    /// The origins, such as `https://vault.corp:8200`, that may receive the credentials in addition to the clouds' own hosts. An
    /// invalid origin allows nothing.
    pub endpoints: Vec<String>,
    /// True if the job's token for the API server may be sent to a provider, for a login there.
    pub api_server_token: bool,
}

impl Ambient {
    /// Ok if the job's own credentials may be sent to this address. `cloud` lists the suffixes of the provider's own hosts
    /// (`.vault.azure.net`), which are trusted over HTTPS only.
    pub fn may_go_to(&self, url: &str, cloud: &[&str]) -> Result<(), Unread> {
        let endpoints = self.endpoints.iter().filter_map(|text| text.parse().ok());
        trust::may_go_to(url, cloud, endpoints)
    }

    /// Ok if the job's own credentials may be sent to an address from its environment or its credential file: any, but not over
    /// plain HTTP. `source` names the variable or the field.
    #[cfg(any(feature = "azure", feature = "aws", feature = "gcp"))]
    pub(crate) fn over_tls(source: &str, url: &str) -> Result<(), Unread> {
        if trust::is_encrypted(url) {
            return Ok(());
        }
        Err(Unread::store(
            crate::unread::NOT_TRUSTED,
            format!(
                "the job's own credentials are never sent over plain HTTP: {source} must be an https address"
            ),
        ))
    }
}
