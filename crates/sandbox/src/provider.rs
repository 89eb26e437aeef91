//! The provider behind all stores: values in memory, and the moods of a real one.
//!
//! A `fake` store carries its values itself. Those of any other stand in a ConfigMap whose annotation
//! `sandbox.eso-sync/store` names the store: `values.yaml` maps remote keys to values as they are now (a text, or a map that
//! becomes JSON), `previous.yaml` those that were others before the rotation. A store without either gets made-up values.

pub(super) mod knob;
mod made_up;
mod values;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use self::{
    knob::Knobs,
    made_up::Parts,
    values::{Epoch, Values},
};
use super::{object, resource::Resource, store::Store};

pub(super) use self::values::{Epoch as Time, go_json_error};

/// Why a provider gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It says that there is none (`NoSecretErr`).
    NoSecret,
    /// Anything else, in its own words.
    Failed(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSecret => f.write_str("Secret does not exist"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

/// Why a provider did not listen at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// The right is missing, in the provider's words.
    Denied(String),
    /// It does not work, in its own words or in none.
    Failing(Option<String>),
    /// It was asked too often.
    Throttled,
}

impl Mood {
    /// What the operator makes of it.
    fn trouble(self, store: &Value) -> Trouble {
        Trouble::Failed(match self {
            Self::Denied(text) | Self::Failing(Some(text)) => text,
            Self::Failing(None) => {
                "the provider is unavailable (the sandbox was told to fail)".to_owned()
            }
            Self::Throttled => throttled(kind(store)),
        })
    }
}

/// All providers.
pub(super) struct Provider {
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Failures shown so far, by the object that asks for them.
    failures: BTreeMap<String, u32>,
    /// Calls that a throttled store allows at once, and when that was counted.
    allowances: BTreeMap<String, (Instant, f64)>,
    /// Values that stand in a ConfigMap, by store, and as of which change of any ConfigMap.
    values: BTreeMap<String, Arc<Values>>,
    values_as_of: u64,
    /// What made-up secrets consist of.
    parts: Parts,
}

/// One call of a provider's API.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    /// The store.
    pub(super) store: &'a Value,
    /// For whom; None where somebody looks for himself.
    pub(super) external_secret: Option<&'a Value>,
    /// Which of the values that a key has had. What was is told without moods.
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
    ) -> Result<Vec<u8>, Trouble> {
        self.call(access)
            .await
            .map_err(|mood| mood.trouble(access.store))?;
        let kind = kind(access.store);
        let value = self.value(access, key).ok_or(Trouble::NoSecret)?;
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
    ) -> Result<BTreeMap<String, Vec<u8>>, Trouble> {
        let value = self.get(access, key, property).await?;
        values::members(&String::from_utf8_lossy(&value))
    }

    /// All values whose keys match.
    pub(super) async fn find(
        &self,
        access: Access<'_>,
        regexp: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, Trouble> {
        self.call(access)
            .await
            .map_err(|mood| mood.trouble(access.store))?;
        let pattern = regex::Regex::new(regexp).map_err(|_| {
            Trouble::Failed(format!(
                "could not compile find.name.regexp [{regexp}]: error parsing regexp"
            ))
        })?;
        Ok(self.matching(access, &pattern))
    }

    /// The whole value of a key, without asking the provider's mood.
    pub(super) fn value(&self, access: Access<'_>, key: &str) -> Option<String> {
        if let Some(values) = self.values(access.store) {
            return values.get(key, access.time);
        }
        let structured = ["vault", "kubernetes"].contains(&kind(access.store));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.parts.look(&self.store);
        let identity = identity(access.store);
        Some(state.parts.value(&identity, key, structured, access.time))
    }

    /// All whole values whose keys match, likewise. Nothing can be found where values are made up.
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

    /// What happens on the way to the provider.
    pub(super) async fn call(&self, access: Access<'_>) -> Result<(), Mood> {
        if access.time == Epoch::Previous {
            return Ok(());
        }
        for asked in [Some(access.store), access.external_secret]
            .into_iter()
            .flatten()
        {
            let knobs = Knobs::of(asked);
            tokio::time::sleep(knobs.latency).await;
            if let Some(text) = &knobs.deny {
                return Err(Mood::Denied(text.clone()));
            }
            if self.fails_yet(asked, &knobs) {
                return Err(Mood::Failing(knobs.fail_text));
            }
            if self.is_throttled(asked, &knobs) {
                return Err(Mood::Throttled);
            }
        }
        Ok(())
    }

    fn fails_yet(&self, asked: &Value, knobs: &Knobs) -> bool {
        if knobs.fail_first == 0 {
            return false;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = state.failures.entry(identity(asked)).or_default();
        let fails = *shown < knobs.fail_first;
        *shown += u32::from(fails);
        fails
    }

    /// A bucket that holds the calls of one second.
    fn is_throttled(&self, asked: &Value, knobs: &Knobs) -> bool {
        let Some(rate) = knobs.throttle else {
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

    /// The values of a store; None where nothing is known of them.
    fn values(&self, store: &Value) -> Option<Arc<Values>> {
        if let Some(data) = store.pointer("/spec/provider/fake/data") {
            let values = Values::of_fake(data, self.previous(store).as_deref());
            return Some(Arc::new(values));
        }
        self.previous(store)
    }

    /// The values of a store's ConfigMap.
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
            let Some(store) = object::annotation(&config_map, knob::STORE) else {
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

/// `aws`, `vault`, …
pub(super) fn kind(store: &Value) -> &str {
    let provider = store.pointer("/spec/provider").and_then(Value::as_object);
    provider
        .and_then(|provider| provider.keys().next())
        .map_or("", String::as_str)
}

/// What the operator says of a value that has no such property; only its fake provider takes that for a missing secret.
fn missing_property(kind: &str, key: &str, property: &str) -> Trouble {
    Trouble::Failed(match kind {
        "fake" => return Trouble::NoSecret,
        "vault" => format!("cannot find secret data for key: {property:?}"),
        "azurekv" => format!("property {property} does not exist in key {key}"),
        _ => format!("key {property} does not exist in secret {key}"),
    })
}

/// What a provider says when it is asked too often.
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

/// A latency that no knob asks for.
const NO_LATENCY: Duration = Duration::ZERO;
