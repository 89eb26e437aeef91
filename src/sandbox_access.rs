//! Reads the sandbox's stores for the drift check, and writes them for `publish`. They have the values that the sandbox's operator
//! gets.

pub mod writer;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use eso_model::{
    expected::{Raw, What},
    provider::Payload,
    rotation::Rotation,
};
use providers::{Answered, Provider, RateLimiter, StoreSettings, Unread, unread};
use sandbox::{Backend, CallError, Sandbox};
use secret::Value;
use serde_json::Value as Json;

/// The attempts for a throttled call, and the pause that the provider requests.
const ATTEMPTS: u32 = 15;
const RETRY_AFTER: Duration = Duration::from_millis(200);

struct Reader {
    backend: Backend,
    payload: Payload,
    permission: &'static str,
}

/// Connects to a store of the sandbox.
pub fn connect(sandbox: &Sandbox, settings: &StoreSettings) -> Result<Box<dyn Provider>, Unread> {
    Ok(Box::new(Reader::connect(sandbox, settings)?))
}

#[async_trait]
impl Provider for Reader {
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered> {
        let mut answers = Vec::with_capacity(wanted.len());
        for what in wanted {
            answers.push(
                self.answer(what, limiter)
                    .await
                    .unwrap_or_else(Answered::Unread),
            );
        }
        answers
    }

    async fn rotations(
        &self,
        keys: &[String],
        limiter: &RateLimiter,
    ) -> Vec<Result<Rotation, Unread>> {
        let mut rotations = Vec::with_capacity(keys.len());
        for key in keys {
            let called = self.call(limiter).await;
            let rotation = || {
                self.backend
                    .rotation(key)
                    .map_err(|error| self.failed(error))
            };
            rotations.push(called.and_then(|()| rotation()));
        }
        rotations
    }
}

impl Reader {
    fn connect(sandbox: &Sandbox, settings: &StoreSettings) -> Result<Self, Unread> {
        let facts = settings.provider.facts();
        if facts.rules.payload == Payload::Unknown {
            let detail = format!("the provider {}", facts.name);
            return Err(Unread::store(unread::UNSUPPORTED, detail));
        }
        let reader = Self {
            backend: sandbox.backend(&settings.key),
            payload: facts.rules.payload,
            permission: facts.permission,
        };
        let accepted = reader.backend.accepts_login();
        if accepted.map_err(|error| reader.failed(error))? {
            Ok(reader)
        } else {
            Err(Unread::store(
                unread::LOGIN,
                "the provider rejected the store's credentials",
            ))
        }
    }

    async fn answer(&self, what: &What, limiter: &RateLimiter) -> Result<Answered, Unread> {
        match what {
            What::Secret { version, .. } if !version.is_empty() => {
                Err(unsupported("does not support versions"))
            }
            What::Secret { metadata: true, .. } => Err(unsupported("does not support metadata")),
            What::Secret { key, .. } => {
                self.call(limiter).await?;
                let value = self
                    .backend
                    .value(key)
                    .map_err(|error| self.failed(error))?;
                match value {
                    Some(text) => self.raw(&text).map(|raw| Answered::One(raw, None)),
                    None => Ok(Answered::NotFound),
                }
            }
            What::Find {
                path: None,
                name: Some(name),
                tags: None,
            } => {
                self.call(limiter).await?;
                let pattern = regex::Regex::new(name)
                    .map_err(|_| unsupported("does not support this regular expression"))?;
                let found = self
                    .backend
                    .matching(&pattern)
                    .map_err(|error| self.failed(error))?;
                let raw = |(key, value): (String, Vec<u8>)| {
                    let text = String::from_utf8_lossy(&value);
                    Ok((key, self.raw(&text)?))
                };
                let found = found.into_iter().map(raw).collect::<Result<_, Unread>>()?;
                Ok(Answered::Many(Arc::new(found)))
            }
            What::Find { .. } => Err(unsupported("supports `find` by name only")),
        }
    }

    /// Waits for a rate permit and calls. Retries if the provider throttles the call.
    async fn call(&self, limiter: &RateLimiter) -> Result<(), Unread> {
        for _ in 0..ATTEMPTS {
            limiter.permit().await;
            match self.backend.call().await {
                Ok(()) => return Ok(()),
                Err(CallError::Throttled) => limiter.throttled(Some(RETRY_AFTER)),
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(self.failed(CallError::Throttled))
    }

    fn failed(&self, error: CallError) -> Unread {
        match error {
            CallError::NoStore => Unread::store(unread::STORE, "the store does not exist"),
            CallError::Throttled => {
                Unread::secret(unread::THROTTLED, "the provider throttles requests")
            }
            CallError::Denied => Unread::store(unread::DENIED, "the provider denied the read")
                .lacking(self.permission),
            CallError::Unavailable => {
                Unread::secret(unread::UNAVAILABLE, "the provider returns errors")
            }
            CallError::NotWritable => {
                unsupported("generates the values of this store, so nothing can be written to it")
            }
        }
    }

    fn raw(&self, text: &str) -> Result<Raw, Unread> {
        Ok(match self.payload {
            Payload::Bytes | Payload::Unknown => Raw::Bytes(Value::from(text)),
            Payload::Json => Raw::Json(Value::from(text)),
            Payload::Keys => {
                let Ok(Json::Object(keys)) = serde_json::from_str(text) else {
                    let detail = "the secret is not a JSON object";
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

fn unsupported(what: &str) -> Unread {
    Unread::secret(
        unread::UNSUPPORTED,
        format!("the sandbox's provider {what}"),
    )
}
