//! Whose credentials a store is read with.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Unread;
use crate::{cluster::Cluster, inventory::StoreKey, secret::Value};

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

/// Whose credentials.
#[derive(Clone, Copy)]
pub enum Identity<'a> {
    /// The job's own.
    Ambient(&'a Ambient),
    /// Those that the store names, resolved as the operator does.
    Store(&'a Resolver),
}

/// The job's own identity, and where it may go.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    /// The environment that the SDKs' default chains look at.
    pub environment: BTreeMap<String, String>,
    /// Where it may go beyond the clouds' own hosts: origins such as `https://vault.corp:8200`.
    pub endpoints: Vec<String>,
}

impl Ambient {
    /// Whether the job's own credentials may be sent to this address. `cloud` are the suffixes of the provider's own hosts
    /// (`.vault.azure.net`), which are trusted over HTTPS only.
    pub fn may_go_to(&self, url: &str, cloud: &[&str]) -> Result<(), Unread> {
        let _ = (url, cloud);
        todo!("written with the rules on trust")
    }
}

/// Reads what a store's `auth` refers to.
#[derive(Clone)]
pub struct Resolver {
    cluster: Cluster,
    store: StoreKey,
    /// The namespace of the ExternalSecret: that of references without one, where the store is a ClusterSecretStore.
    namespace: String,
}

impl Resolver {
    /// For an ExternalSecret in this namespace.
    pub fn new(cluster: Cluster, store: StoreKey, namespace: impl Into<String>) -> Self {
        Self {
            cluster,
            store,
            namespace: namespace.into(),
        }
    }

    /// The value that a `{name, key, namespace}` points at.
    pub async fn secret_key(&self, reference: &Json) -> Result<Value, Unread> {
        let _ = (reference, &self.cluster, &self.store, &self.namespace);
        todo!()
    }

    /// A token of the account that a `{name, namespace, audiences}` names, for its own audiences and these.
    pub async fn service_account_token(
        &self,
        account: &Json,
        audiences: &[String],
    ) -> Result<Value, Unread> {
        let _ = (account, audiences);
        todo!()
    }

    /// The annotations of such an account.
    pub async fn service_account_annotations(
        &self,
        account: &Json,
    ) -> Result<BTreeMap<String, String>, Unread> {
        let _ = account;
        todo!()
    }

    /// The PEM of `caBundle` or `caProvider` in a store's settings, if there is one.
    pub async fn ca_bundle(&self, settings: &Json) -> Result<Option<Vec<u8>>, Unread> {
        let _ = settings;
        todo!()
    }
}
