//! The provider behind a store, for readers other than the operator: with the same values, latency and failures.

use std::{collections::BTreeMap, sync::Arc};

use eso_model::StoreKey;
use regex::Regex;
use serde_json::Value;

use crate::{
    object,
    provider::{Access, FaultMode, Provider, Time, setting},
    resource::Resource,
    store::Store,
};

/// The provider behind one store.
pub struct Backend {
    store: Arc<Store>,
    values: Arc<Provider>,
    key: StoreKey,
}

/// The reason why a provider call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The store does not exist.
    NoStore,
    /// Too many calls.
    Throttled,
    /// The store's credentials may not read.
    Denied,
    /// The provider is down.
    Unavailable,
}

impl Backend {
    pub(super) const fn new(store: Arc<Store>, values: Arc<Provider>, key: StoreKey) -> Self {
        Self { store, values, key }
    }

    /// True if the store's credentials are accepted.
    pub fn accepts_login(&self) -> Result<bool, CallError> {
        let store = self.found()?;
        Ok(object::annotation(&store, setting::NOT_READY).is_none())
    }

    /// Makes one call, with the latency and the failures that the manifests configure.
    pub async fn call(&self) -> Result<(), CallError> {
        let store = self.found()?;
        self.values
            .call(present(&store))
            .await
            .map_err(|mood| match mood {
                FaultMode::Throttled => CallError::Throttled,
                FaultMode::Denied(_) => CallError::Denied,
                FaultMode::Failing(_) => CallError::Unavailable,
            })
    }

    /// The value of a key. Makes no call.
    pub fn value(&self, key: &str) -> Result<Option<String>, CallError> {
        let store = self.found()?;
        Ok(self.values.value(present(&store), key))
    }

    /// All values whose keys match. Makes no call.
    pub fn matching(&self, pattern: &Regex) -> Result<BTreeMap<String, Vec<u8>>, CallError> {
        let store = self.found()?;
        Ok(self.values.matching(present(&store), pattern))
    }

    fn found(&self) -> Result<Arc<Value>, CallError> {
        let (plural, namespace, name) = match &self.key {
            StoreKey::Cluster { name } => ("clustersecretstores", "", name),
            StoreKey::Namespaced { namespace, name } => ("secretstores", namespace.as_str(), name),
        };
        Resource::of_plural(plural)
            .and_then(|resource| self.store.get(resource, namespace, name))
            .ok_or(CallError::NoStore)
    }
}

const fn present(store: &Value) -> Access<'_> {
    Access {
        store,
        external_secret: None,
        time: Time::Present,
    }
}
