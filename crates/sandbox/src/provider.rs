//! The provider behind all stores: values in memory, and simulated failures.
//!
//! A `fake` store contains its values. The values of any other store are in a ConfigMap whose annotation
//! `sandbox.eso-sync/store` names the store: `values.yaml` maps remote keys to current values (a string, or a map that
//! becomes JSON), and `previous.yaml` contains the values that were different before the rotation. For a store without
//! such a ConfigMap, values are generated. `rotation.yaml` maps remote keys to their rotation, which nobody carries out:
//! `{every: 720h, next: TIMESTAMP}`.

mod generated;
pub(super) mod setting;
mod values;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use self::{
    generated::Parts,
    setting::Settings,
    values::{Epoch, Values},
};
use super::{object, resource::Resource, store::Store};

pub(super) use self::values::{Epoch as Time, go_json_error};

/// The reason why a provider returned no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProviderError {
    /// The secret does not exist (`NoSecretErr`).
    NoSecret,
    /// Any other error, with the provider's message.
    Failed(String),
}

impl std::fmt::Display for ProviderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSecret => f.write_str("Secret does not exist"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

/// The reason why a simulated provider call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FaultMode {
    /// Access is denied. Holds the provider's message.
    Denied(String),
    /// The provider is unavailable. Holds its message, if it has one.
    Failing(Option<String>),
    /// The rate limit is exceeded.
    Throttled,
}

impl FaultMode {
    /// The error that the operator gets.
    fn into_error(self, store: &Value) -> ProviderError {
        ProviderError::Failed(match self {
            Self::Denied(text) | Self::Failing(Some(text)) => text,
            Self::Failing(None) => {
                "the provider is unavailable (simulated by the sandbox)".to_owned()
            }
            Self::Throttled => throttled(kind(store)),
        })
    }
}

pub(super) struct Provider {
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The failures so far, by the identity of the object that configures them.
    failures: BTreeMap<String, u32>,
    /// The remaining calls of each throttled store, and the time of the last update.
    allowances: BTreeMap<String, (Instant, f64)>,
    /// The values from ConfigMaps, by store, and the last change of a ConfigMap that they include.
    values: BTreeMap<String, Arc<Values>>,
    values_as_of: u64,
    /// The requested parts of generated secrets.
    parts: Parts,
}

/// The context of one call to a provider's API.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) store: &'a Value,
    /// The ExternalSecret that needs the value; None for eso-sync's own reads.
    pub(super) external_secret: Option<&'a Value>,
    /// The point in time whose values are read. Reads of the past are not subject to simulated failures.
    pub(super) time: Time,
}

impl Provider {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            state: Mutex::default(),
        }
    }

    /// The value of a key, or of a property in it.
    pub(super) async fn get(
        &self,
        access: Access<'_>,
        key: &str,
        property: &str,
    ) -> Result<Vec<u8>, ProviderError> {
        self.call(access)
            .await
            .map_err(|fault| fault.into_error(access.store))?;
        let kind = kind(access.store);
        let value = self.value(access, key).ok_or(ProviderError::NoSecret)?;
        if property.is_empty() {
            return Ok(if kind == "vault" {
                values::escaped(&value).into_bytes()
            } else {
                value.into_bytes()
            });
        }
        let found = values::property(&value, property)?;
        let found = found.ok_or_else(|| missing_property(kind, key, property))?;
        Ok(found.into_bytes())
    }

    /// The members of the JSON object under a key.
    pub(super) async fn get_map(
        &self,
        access: Access<'_>,
        key: &str,
        property: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, ProviderError> {
        let value = self.get(access, key, property).await?;
        values::members(&String::from_utf8_lossy(&value))
    }

    /// All values whose keys match.
    pub(super) async fn find(
        &self,
        access: Access<'_>,
        regexp: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, ProviderError> {
        self.call(access)
            .await
            .map_err(|fault| fault.into_error(access.store))?;
        let pattern = regex::Regex::new(regexp).map_err(|_| {
            ProviderError::Failed(format!(
                "could not compile find.name.regexp [{regexp}]: error parsing regexp"
            ))
        })?;
        Ok(self.matching(access, &pattern))
    }

    /// The complete value of a key, without simulated failures.
    pub(super) fn value(&self, access: Access<'_>, key: &str) -> Option<String> {
        if let Some(values) = self.values(access.store) {
            return values.get(key, access.time);
        }
        let structured = ["vault", "kubernetes"].contains(&kind(access.store));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.parts.update(&self.store);
        let identity = identity(access.store);
        Some(state.parts.value(&identity, key, structured, access.time))
    }

    /// All complete values whose keys match, also without simulated failures. Empty for stores with generated values.
    pub(super) fn matching(
        &self,
        access: Access<'_>,
        pattern: &regex::Regex,
    ) -> BTreeMap<String, Vec<u8>> {
        self.values(access.store)
            .map_or_else(BTreeMap::new, |values| {
                values.matching(pattern, access.time)
            })
    }

    /// Simulates the call: its latency and failures.
    pub(super) async fn call(&self, access: Access<'_>) -> Result<(), FaultMode> {
        if access.time == Epoch::Previous {
            return Ok(());
        }
        for asked in [Some(access.store), access.external_secret]
            .into_iter()
            .flatten()
        {
            let settings = Settings::of(asked);
            tokio::time::sleep(settings.latency).await;
            if let Some(text) = &settings.deny {
                return Err(FaultMode::Denied(text.clone()));
            }
            if self.still_fails(asked, &settings) {
                return Err(FaultMode::Failing(settings.fail_text));
            }
            if self.is_throttled(asked, &settings) {
                return Err(FaultMode::Throttled);
            }
        }
        Ok(())
    }

    fn still_fails(&self, asked: &Value, settings: &Settings) -> bool {
        if settings.fail_first == 0 {
            return false;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = state.failures.entry(identity(asked)).or_default();
        let fails = *shown < settings.fail_first;
        *shown += u32::from(fails);
        fails
    }

    /// A token bucket with a burst of one second's calls.
    fn is_throttled(&self, asked: &Value, settings: &Settings) -> bool {
        let Some(rate) = settings.throttle else {
            return false;
        };
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, calls) = state
            .allowances
            .entry(identity(asked))
            .or_insert((now, rate));
        *calls = (*calls + now.duration_since(*last).as_secs_f64() * rate).min(rate);
        *last = now;
        let throttled = *calls < 1.0;
        if !throttled {
            *calls -= 1.0;
        }
        throttled
    }

    /// The values of a store; None if they must be generated.
    fn values(&self, store: &Value) -> Option<Arc<Values>> {
        if let Some(data) = store.pointer("/spec/provider/fake/data") {
            let values = Values::of_fake(data, self.previous(store).as_deref());
            return Some(Arc::new(values));
        }
        self.previous(store)
    }

    fn previous(&self, store: &Value) -> Option<Arc<Values>> {
        let config_maps = Resource::of_plural("configmaps")?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.store.last_change(config_maps);
        if state.values_as_of != changed {
            state.values = self.read(config_maps);
            state.values_as_of = changed;
        }
        state.values.get(&identity(store)).cloned()
    }

    fn read(&self, config_maps: &Resource) -> BTreeMap<String, Arc<Values>> {
        let mut read = BTreeMap::new();
        for (_, config_map) in self.store.list(config_maps, None).objects {
            let Some(store) = object::annotation(&config_map, setting::STORE) else {
                continue;
            };
            match Values::of_config_map(&config_map) {
                Ok(values) => {
                    read.insert(store.to_owned(), Arc::new(values));
                }
                Err(key) => tracing::warn!(
                    store,
                    key,
                    "the sandbox could not read the values of a store"
                ),
            }
        }
        read
    }
}

/// `ClusterSecretStore/aws-prod`, `SecretStore/payments/vault`, `ExternalSecret/payments/db`
fn identity(asked: &Value) -> String {
    let kind = object::text(asked, "/kind");
    match object::namespace(asked) {
        "" => format!("{kind}/{}", object::name(asked)),
        namespace => format!("{kind}/{namespace}/{}", object::name(asked)),
    }
}

pub(super) fn kind(store: &Value) -> &str {
    let provider = store.pointer("/spec/provider").and_then(Value::as_object);
    provider
        .and_then(|provider| provider.keys().next())
        .map_or("", String::as_str)
}

/// The operator's error for a value without the property. Only its fake provider treats this as a missing secret.
fn missing_property(kind: &str, key: &str, property: &str) -> ProviderError {
    ProviderError::Failed(match kind {
        "fake" => return ProviderError::NoSecret,
        "vault" => format!("cannot find secret data for key: {property:?}"),
        "azurekv" => format!("property {property} does not exist in key {key}"),
        _ => format!("key {property} does not exist in secret {key}"),
    })
}

/// A provider's message for an exceeded rate limit.
fn throttled(kind: &str) -> String {
    match kind {
        "azurekv" => "GET secrets: RESPONSE 429: 429 Too Many Requests ERROR CODE: Throttled".to_owned(),
        "gcpsm" => "unable to access Secret from SecretManager Client: rpc error: code = ResourceExhausted desc = Quota \
                    exceeded for quota metric 'Access requests'"
            .to_owned(),
        "vault" => "cannot read secret data from Vault: Error making API request. Code: 429. Errors: * request path: rate \
                    limit quota exceeded"
            .to_owned(),
        _ => "operation error Secrets Manager: GetSecretValue, exceeded maximum number of attempts, 3, https response \
              error StatusCode: 400, RequestID: 00000000-0000-0000-0000-000000000000, api error ThrottlingException: \
              Rate exceeded"
            .to_owned(),
    }
}

/// The default latency.
const NO_LATENCY: Duration = Duration::ZERO;
