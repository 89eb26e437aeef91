//! An ExternalSecret's spec, with its refresh rule.

use std::{ops::Deref, time::Duration};

use eso_model::{
    duration::GoDuration,
    expected::{self, StoreRef, Unverifiable},
    refresh::{DEFAULT_INTERVAL, Refresh},
};
use serde_json::Value;

use crate::object;

/// `spec`
pub(super) struct Spec {
    inner: expected::Spec,
    pub(super) refresh: Refresh,
    /// The refresh interval. With `refreshPolicy: Periodic`, zero means that it is refreshed only once.
    pub(super) interval: Duration,
}

impl Deref for Spec {
    type Target = expected::Spec;

    fn deref(&self) -> &expected::Spec {
        &self.inner
    }
}

impl Spec {
    pub(super) fn of(external_secret: &Value) -> Result<Self, Unverifiable> {
        let policy = object::text(external_secret, "/spec/refreshPolicy");
        let interval = object::text(external_secret, "/spec/refreshInterval").parse();
        let interval = interval.map_or(DEFAULT_INTERVAL, |GoDuration(interval)| interval);
        Ok(Self {
            inner: expected::Spec::parse(object::at(external_secret, "/spec"))?,
            refresh: Refresh::from_spec(Some(policy), Some(interval)),
            interval,
        })
    }

    /// The same spec without a template.
    pub(super) fn without_template(mut self) -> Self {
        self.inner.target.template = None;
        self
    }

    /// The name of the target Secret.
    pub(super) fn secret_name<'a>(&'a self, external_secret: &'a str) -> &'a str {
        match self.target.name.as_str() {
            "" => external_secret,
            name => name,
        }
    }

    /// All stores that the spec references, in the operator's order.
    pub(super) fn stores(&self) -> impl Iterator<Item = &StoreRef> {
        let own = self
            .secret_store_ref
            .as_ref()
            .filter(|store| !store.name.is_empty());
        let of_data = self.data.iter().map(|data| &data.source_ref);
        let of_data_from = self.data_from.iter().map(|from| &from.source_ref);
        let of_entries = of_data
            .chain(of_data_from)
            .filter_map(|source| source.as_ref()?.store_ref.as_ref());
        own.into_iter().chain(of_entries)
    }
}

/// True if it references a ClusterSecretStore.
pub(super) fn is_cluster_wide(store: &StoreRef) -> bool {
    store.kind == "ClusterSecretStore"
}
