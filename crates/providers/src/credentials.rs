//! Whose credentials a store is read with.

mod resolver;

use std::collections::BTreeMap;

use serde_json::Value as Json;

pub use self::resolver::Resolver;
use eso_model::StoreKey;

use super::{Unread, trust};

/// A store as its provider is to read it.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Which one.
    pub key: StoreKey,
    /// The provider's name in the spec: `aws`, `azurekv`, …
    pub provider: String,
    /// What stands under that name.
    pub settings: Json,
}

impl StoreSettings {
    /// What stands there in the settings (`/auth/token`); null where nothing does.
    pub fn at(&self, pointer: &str) -> &Json {
        self.settings.pointer(pointer).unwrap_or(&Json::Null)
    }
}

/// Whose credentials.
#[derive(Clone, Copy)]
pub enum Identity<'a> {
    /// The job's own.
    Ambient(&'a Ambient),
    /// Those that the store names, resolved as the operator does.
    Store(&'a Resolver),
}

/// The job's own identity, and where it may go. (No `Debug`: an environment holds tokens.)
#[derive(Clone, Default)]
pub struct Ambient {
    /// The environment that the SDKs' default chains look at.
    pub environment: BTreeMap<String, String>,
    /// Where it may go beyond the clouds' own hosts: origins such as `https://vault.corp:8200`. What is no origin allows nothing.
    pub endpoints: Vec<String>,
}

impl Ambient {
    /// Whether the job's own credentials may be sent to this address. `cloud` are the suffixes of the provider's own hosts
    /// (`.vault.azure.net`), which are trusted over HTTPS only.
    pub fn may_go_to(&self, url: &str, cloud: &[&str]) -> Result<(), Unread> {
        let endpoints = self.endpoints.iter().filter_map(|text| text.parse().ok());
        trust::may_go_to(url, cloud, endpoints)
    }
}
