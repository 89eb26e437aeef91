//! The provider behind a store, for eso-sync: with the values, latency and failures that the operator gets.
//!
//! What is written goes to the ConfigMap with the store's values: the value to `values.yaml`, and what is recorded beside it to
//! `published.yaml`. `rotation.yaml` says when keys are rotated.

use std::{collections::BTreeMap, sync::Arc};

use eso_model::{
    StoreKey,
    duration::GoDuration,
    rotation::{Rotation, Schedule},
};
use jiff::Timestamp;
use regex::Regex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    failure::Failure,
    object,
    provider::{Access, FaultMode, Provider, Time, setting},
    resource::Resource,
    store::{Store, Write},
};

const VALUES: &str = "values.yaml";
const PUBLISHED: &str = "published.yaml";
const ROTATION: &str = "rotation.yaml";

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
    /// The store's values are not in a ConfigMap, so that nothing can be written.
    NotWritable,
}

/// When a key is rotated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotated {
    every: GoDuration,
    next: Timestamp,
}

/// What a store keeps under a key.
pub struct Kept {
    pub value: String,
    pub records: Records,
}

/// What a store records beside a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Records {
    /// Counts the writes of the value. Zero if it was never written by eso-sync.
    pub version: u64,
    pub tags: BTreeMap<String, String>,
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

    /// When a key is rotated. Makes no call.
    pub fn rotation(&self, key: &str) -> Result<Rotation, CallError> {
        self.found()?;
        // Without values in a ConfigMap, all are generated, and none is rotated.
        let Ok(config_map) = self.config_map() else {
            return Ok(Rotation::Unscheduled);
        };
        let mut rotated: BTreeMap<String, Rotated> = parsed(&config_map, ROTATION);
        let scheduled = rotated.remove(key).map(|of| {
            Rotation::Scheduled(Schedule {
                next: Some(of.next),
                period: Some(of.every.0),
            })
        });
        Ok(scheduled.unwrap_or(Rotation::Unscheduled))
    }

    /// Everything that the store keeps. Makes no call.
    pub fn kept(&self) -> Result<BTreeMap<String, Kept>, CallError> {
        self.found()?;
        let config_map = self.config_map()?;
        let mut records: BTreeMap<String, Records> = parsed(&config_map, PUBLISHED);
        let values: BTreeMap<String, Value> = parsed(&config_map, VALUES);
        let kept = |(key, value): (String, Value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let records = records.remove(&key).unwrap_or_default();
            (key, Kept { value, records })
        };
        Ok(values.into_iter().map(kept).collect())
    }

    /// Writes the records, and the value if one is given. `version` is the one to replace; a new key replaces None. Returns false and
    /// writes nothing if the key has another version. Makes no call.
    pub fn keep(
        &self,
        key: &str,
        version: Option<u64>,
        value: Option<&str>,
        records: &Records,
    ) -> Result<bool, CallError> {
        self.change(key, version, |values, published| {
            if let Some(value) = value {
                values.insert(key.to_owned(), value.into());
            }
            published.insert(key.to_owned(), records.clone());
        })
    }

    /// Deletes a key with this version. Returns false if it has another one. Makes no call.
    pub fn remove(&self, key: &str, version: u64) -> Result<bool, CallError> {
        self.change(key, Some(version), |values, published| {
            values.remove(key);
            published.remove(key);
        })
    }

    fn change(
        &self,
        key: &str,
        version: Option<u64>,
        change: impl FnOnce(&mut BTreeMap<String, Value>, &mut BTreeMap<String, Records>),
    ) -> Result<bool, CallError> {
        let found = self.config_map()?;
        let resource = Resource::of_plural("configmaps").ok_or(CallError::NotWritable)?;
        let (namespace, name) = (object::namespace(&found), object::name(&found));
        let mut is_current = false;
        let changed = |current: &Value| -> Result<Value, Failure> {
            let mut values: BTreeMap<String, Value> = parsed(current, VALUES);
            let mut published: BTreeMap<String, Records> = parsed(current, PUBLISHED);
            let held = values
                .contains_key(key)
                .then(|| published.get(key).map_or(0, |records| records.version));
            is_current = held == version;
            let mut next = current.clone();
            if is_current {
                change(&mut values, &mut published);
                let data = object::child(&mut next, "data");
                // JSON is YAML. Serialisation cannot fail: all maps have string keys.
                let text = serde_json::to_string(&values).unwrap_or_default();
                data.insert(VALUES.to_owned(), text.into());
                let text = serde_json::to_string(&published).unwrap_or_default();
                data.insert(PUBLISHED.to_owned(), text.into());
            }
            Ok(next)
        };
        let write = Write::by("provider");
        self.store
            .update(resource, namespace, name, write, changed)
            .map_err(|_| CallError::Unavailable)?;
        Ok(is_current)
    }

    /// The ConfigMap with the store's values.
    fn config_map(&self) -> Result<Arc<Value>, CallError> {
        let resource = Resource::of_plural("configmaps").ok_or(CallError::NotWritable)?;
        let store = self.key.to_string();
        let mut all = self.store.list(resource, None).objects.into_iter();
        all.find(|(_, object)| object::annotation(object, setting::STORE) == Some(&*store))
            .map(|(_, object)| object)
            .ok_or(CallError::NotWritable)
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

/// A map in the data of a ConfigMap. Empty if it is missing, or not a map.
fn parsed<T: DeserializeOwned>(config_map: &Value, key: &str) -> BTreeMap<String, T> {
    let text = object::member(object::at(config_map, "/data"), key)
        .as_str()
        .unwrap_or_default();
    if text.trim().is_empty() {
        return BTreeMap::new();
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).unwrap_or_default()
}

const fn present(store: &Value) -> Access<'_> {
    Access {
        store,
        external_secret: None,
        time: Time::Present,
    }
}
