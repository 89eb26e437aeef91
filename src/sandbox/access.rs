//! The stores of the sandbox as eso-sync reads providers: the values that the operator gets, by the same calls.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value as Json;

use super::{
    object,
    provider::{Access, Mood, Provider as Values, Time, knob},
    resource::Resource,
    store::Store,
};
use crate::{
    eso::expected::{Raw, What},
    inventory::StoreKey,
    provider::{Answered, Provider, StoreSettings, Turns, Unread, unread},
    secret::Value,
};

/// How often a call is made that is throttled, and what the provider says of when to come again.
const ATTEMPTS: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One store.
struct Reader {
    store: Arc<Store>,
    values: Arc<Values>,
    key: StoreKey,
    holds: Holds,
    permission: &'static str,
}

/// What the secrets of a provider are.
#[derive(Clone, Copy)]
enum Holds {
    Bytes,
    Json,
    Keys,
}

/// Connects to a store.
pub(super) fn connect(
    store: &Arc<Store>,
    values: &Arc<Values>,
    settings: &StoreSettings,
) -> Result<Box<dyn Provider>, Unread> {
    let (holds, permission) = match settings.provider.as_str() {
        "aws" if object::text(&settings.settings, "/service") == "ParameterStore" => {
            (Holds::Bytes, "ssm:GetParameters")
        }
        "aws" => (Holds::Bytes, "secretsmanager:GetSecretValue"),
        "azurekv" => (Holds::Bytes, "Key Vault Secrets User"),
        "gcpsm" => (Holds::Bytes, "secretmanager.versions.access"),
        "fake" => (Holds::Bytes, ""),
        "vault" => (Holds::Json, "the capability read"),
        "kubernetes" => (Holds::Keys, "get secrets"),
        other => {
            let detail = format!("the provider {other}");
            return Err(Unread::store(unread::UNSUPPORTED, detail));
        }
    };
    let reader = Reader {
        store: Arc::clone(store),
        values: Arc::clone(values),
        key: settings.key.clone(),
        holds,
        permission,
    };
    let found = reader.found()?;
    if object::annotation(&found, knob::NOT_READY).is_some() {
        return Err(Unread::store(
            unread::LOGIN,
            "the provider does not take the store's credentials",
        ));
    }
    Ok(Box::new(reader))
}

#[async_trait]
impl Provider for Reader {
    async fn read(&self, wanted: &[What], turns: &Turns) -> Vec<Answered> {
        let mut answers = Vec::with_capacity(wanted.len());
        for what in wanted {
            answers.push(
                self.answer(what, turns)
                    .await
                    .unwrap_or_else(Answered::Unread),
            );
        }
        answers
    }
}

impl Reader {
    fn found(&self) -> Result<Arc<Json>, Unread> {
        let (plural, namespace, name) = match &self.key {
            StoreKey::Cluster { name } => ("clustersecretstores", "", name),
            StoreKey::Namespaced { namespace, name } => ("secretstores", namespace.as_str(), name),
        };
        Resource::of_plural(plural)
            .and_then(|resource| self.store.get(resource, namespace, name))
            .ok_or_else(|| Unread::store(unread::STORE, "there is no such store"))
    }

    async fn answer(&self, what: &What, turns: &Turns) -> Result<Answered, Unread> {
        let store = self.found()?;
        let access = Access {
            store: &store,
            external_secret: None,
            time: Time::Present,
        };
        match what {
            What::Secret { version, .. } if !version.is_empty() => Err(lacks("keeps no versions")),
            What::Secret { metadata: true, .. } => Err(lacks("has no metadata")),
            What::Secret { key, .. } => {
                self.call(access, turns).await?;
                match self.values.value(access, key) {
                    Some(text) => self.raw(&text).map(Answered::One),
                    None => Ok(Answered::NotFound),
                }
            }
            What::Find {
                path: None,
                name: Some(name),
                tags: None,
            } => {
                self.call(access, turns).await?;
                let pattern = regex::Regex::new(name)
                    .map_err(|_| lacks("does not understand this regular expression"))?;
                let found = self.values.matching(access, &pattern);
                let raw = |(key, value): (String, Vec<u8>)| {
                    let text = String::from_utf8_lossy(&value);
                    Ok((key, self.raw(&text)?))
                };
                let found = found.into_iter().map(raw).collect::<Result<_, Unread>>()?;
                Ok(Answered::Many(found))
            }
            What::Find { .. } => Err(lacks("finds by name only")),
        }
    }

    /// Takes a turn and calls, again where the provider throttles.
    async fn call(&self, access: Access<'_>, turns: &Turns) -> Result<(), Unread> {
        for _ in 0..ATTEMPTS {
            turns.turn().await;
            match self.values.call(access).await {
                Ok(()) => return Ok(()),
                Err(Mood::Throttled) => turns.throttled(Some(RETRY_AFTER)),
                Err(Mood::Denied(_)) => {
                    let unread = Unread::store(unread::DENIED, "the provider refuses the read");
                    return Err(unread.lacking(self.permission));
                }
                Err(Mood::Failing(_)) => {
                    return Err(Unread::secret(unread::UNAVAILABLE, "the provider fails"));
                }
            }
        }
        Err(Unread::secret(unread::THROTTLED, "the provider throttles"))
    }

    fn raw(&self, text: &str) -> Result<Raw, Unread> {
        Ok(match self.holds {
            Holds::Bytes => Raw::Bytes(Value::from(text)),
            Holds::Json => Raw::Json(Value::from(text)),
            Holds::Keys => {
                let Ok(Json::Object(keys)) = serde_json::from_str(text) else {
                    let detail = "the secret is no object";
                    return Err(Unread::secret(unread::UNREADABLE, detail));
                };
                let value = |found: Json| match found.as_str() {
                    Some(text) => Value::from(text),
                    None => Value::from(found.to_string().as_str()),
                };
                Raw::Keys(
                    keys.into_iter()
                        .map(|(key, found)| (key, value(found)))
                        .collect(),
                )
            }
        })
    }
}

fn lacks(what: &str) -> Unread {
    Unread::secret(
        unread::UNSUPPORTED,
        format!("the sandbox's provider {what}"),
    )
}
