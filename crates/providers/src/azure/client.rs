//! Requests to a vault: paced, retried here alone, and with a new token where the old one ended before its time.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        AsyncRawResponse, ClientOptions, HttpClient, Request, Response, RetryOptions, Transport,
        Url,
        pager::{PagerContinuation, PagerOptions},
    },
};
use azure_security_keyvault_secrets::{
    SecretClient, SecretClientOptions,
    models::{
        ListSecretPropertiesResult, Secret, SecretClientGetSecretOptions,
        SecretClientListSecretPropertiesOptions,
    },
};
use futures::{
    TryStreamExt as _,
    future::{self, BoxFuture},
};
use tokio::sync::{Mutex, Semaphore};
use zeroize::Zeroize as _;

use super::{
    fault::{Fault, Problem},
    login::Login,
    settings::Cloud,
};
use crate::{Turns, Unread, health::Health, turns::LONGEST_PAUSE, unread};

/// Requests at one time.
const CONCURRENT: usize = 8;

/// Attempts at a request that meets a server in trouble.
const FAILED: u32 = 4;

/// Attempts at one that is throttled.
const THROTTLED: u32 = 6;

/// The first pause before another attempt; each next one is twice as long, up to the longest of ours.
const PAUSE: Duration = Duration::from_millis(250);
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// A longer answer is not read to its end: a secret has up to 25 kB, and a page 25 names.
const LONGEST_BODY: usize = 4 << 20;

/// A vault.
pub(super) struct Client {
    vault: Url,
    login: Login,
    cloud: Cloud,
    transport: Transport,
    /// One for each token; it is replaced as a whole.
    connection: Mutex<Option<Arc<SecretClient>>>,
    /// The first request has the only one: it finds out whether, and how, one logs in.
    slots: Semaphore,
    opened: Once,
    health: Health,
}

impl Client {
    pub(super) fn new(vault: Url, login: Login, cloud: Cloud, http: reqwest::Client) -> Self {
        Self {
            vault,
            login,
            cloud,
            transport: Transport::new(Arc::new(Bounded(http))),
            connection: Mutex::new(None),
            slots: Semaphore::new(1),
            opened: Once::new(),
            health: Health::default(),
        }
    }

    /// A secret.
    pub(super) async fn secret(
        &self,
        name: &str,
        version: &str,
        turns: &Turns,
    ) -> Result<Secret, Problem> {
        let version = (!version.is_empty()).then(|| version.to_owned());
        self.ask(name, turns, |client| {
            let secret_version = version.clone();
            Box::pin(async move {
                let options = SecretClientGetSecretOptions {
                    secret_version,
                    ..SecretClientGetSecretOptions::default()
                };
                let (_, _, body) = client.get_secret(name, Some(options)).await?.deconstruct();
                let secret = body.json();
                if let Ok(mut body) = bytes(body).try_into_mut() {
                    body.zeroize();
                }
                secret
            })
        })
        .await
    }

    /// A page of the list of all secrets, which holds no values.
    pub(super) async fn page(
        &self,
        next: Option<&Url>,
        turns: &Turns,
    ) -> Result<ListSecretPropertiesResult, Problem> {
        self.ask("", turns, |client| {
            let options = SecretClientListSecretPropertiesOptions {
                method_options: PagerOptions {
                    continuation: next.cloned().map(PagerContinuation::Link),
                    ..PagerOptions::default()
                },
                ..SecretClientListSecretPropertiesOptions::default()
            };
            Box::pin(async move {
                let mut pages = client.list_secret_properties(Some(options))?.into_pages();
                let page = pages.try_next().await?;
                page.map_or_else(
                    || Ok(ListSecretPropertiesResult::default()),
                    Response::into_model,
                )
            })
        })
        .await
    }

    /// The page behind one. It has to be at the same vault: the token goes along.
    pub(super) fn next(&self, page: &ListSecretPropertiesResult) -> Result<Option<Url>, Unread> {
        let Some(link) = page.next_link.as_deref().filter(|link| !link.is_empty()) else {
            return Ok(None);
        };
        self.vault
            .join(link)
            .ok()
            .filter(|link| link.origin() == self.vault.origin())
            .map(Some)
            .ok_or_else(|| {
                let detail = "the next page of the list is said to be somewhere else";
                Unread::store(unread::UNREADABLE, detail)
            })
    }

    /// `name` is what is asked for; a list has none.
    async fn ask<'a, T>(
        &self,
        name: &str,
        turns: &Turns,
        request: impl Fn(Arc<SecretClient>) -> BoxFuture<'a, azure_core::Result<T>>,
    ) -> Result<T, Problem> {
        // It is not closed.
        let _slot = self.slots.acquire().await;
        let answer = self.tried(name, turns, request).await;
        self.opened
            .call_once(|| self.slots.add_permits(CONCURRENT - 1));
        answer
    }

    async fn tried<'a, T>(
        &self,
        name: &str,
        turns: &Turns,
        request: impl Fn(Arc<SecretClient>) -> BoxFuture<'a, azure_core::Result<T>>,
    ) -> Result<T, Problem> {
        let mut client = self.connection(None).await?;
        let (mut attempt, mut pause, mut renewed) = (1, PAUSE, false);
        loop {
            self.health.check()?;
            turns.turn().await;
            let error = match request(Arc::clone(&client)).await {
                Ok(answer) => {
                    self.health.answered();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let fault = Fault::of(&error);
            let (attempts, asked) = match fault {
                Fault::Final(problem) => return Err(self.kept(name, problem)),
                Fault::Token if renewed => {
                    let detail = "Key Vault takes no token of this identity";
                    return Err(self.kept(name, Unread::store(unread::LOGIN, detail).into()));
                }
                Fault::Token => {
                    client = self.connection(Some(&client)).await?;
                    renewed = true;
                    continue;
                }
                Fault::Throttled(after) => {
                    // How long the vault asks to be left alone holds for the next turn.
                    turns.throttled(after);
                    (THROTTLED, None)
                }
                Fault::Trouble(_, after) => (FAILED, after),
            };
            if attempt >= attempts {
                return Err(self.kept(name, fault.in_the_end()));
            }
            let wait = asked.unwrap_or_default().max(pause);
            tokio::time::sleep(wait.min(LONGEST_PAUSE)).await;
            pause = (pause * 2).min(LONG_PAUSE);
            attempt += 1;
        }
    }

    /// The connection, another one than `bad`: the SDK keeps a token until its time, whatever the vault says of it.
    async fn connection(
        &self,
        bad: Option<&Arc<SecretClient>>,
    ) -> Result<Arc<SecretClient>, Problem> {
        let mut connection = self.connection.lock().await;
        if let Some(present) = &*connection
            && bad.is_none_or(|bad| !Arc::ptr_eq(bad, present))
        {
            return Ok(Arc::clone(present));
        }
        let client_options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(self.transport.clone()),
            cloud: Some(Arc::new(self.cloud.configuration())),
            ..ClientOptions::default()
        };
        let options = SecretClientOptions {
            client_options: client_options.clone(),
            ..SecretClientOptions::default()
        };
        let new = self
            .login
            .credential(client_options)
            .and_then(|login| SecretClient::new(self.vault.as_str(), login, Some(options)))
            .map_err(|_| {
                // Names of tenants and clients that are none, or an empty secret: its text may hold them.
                let detail = "the tenant, the client or its secret is none that Azure could have";
                Problem::from(self.health.lose(Unread::store(unread::LOGIN, detail)))
            })?;
        let new = Arc::new(new);
        *connection = Some(Arc::clone(&new));
        Ok(new)
    }

    /// The same; and what is about the whole vault is kept for whoever asks next.
    fn kept(&self, name: &str, problem: Problem) -> Problem {
        let Problem::Unread(unread) = problem else {
            self.health.answered();
            return problem;
        };
        Problem::Unread(if unread.whole_store {
            self.health.lose(unread)
        } else if unread.why.reason == unread::UNAVAILABLE {
            self.health.failed_at(name, unread)
        } else {
            unread
        })
    }
}

/// Reads no answer that is longer than [`LONGEST_BODY`].
#[derive(Debug)]
struct Bounded(reqwest::Client);

#[async_trait::async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let answer = self.0.execute_request(request).await?;
        let (status, headers, body) = answer.deconstruct();
        let mut length = 0;
        let body = body.and_then(move |chunk| {
            length += chunk.len();
            future::ready(if length <= LONGEST_BODY {
                Ok(chunk)
            } else {
                let detail = "the answer is too long";
                Err(Error::with_message(ErrorKind::DataConversion, detail))
            })
        });
        Ok(AsyncRawResponse::new(status, headers, Box::pin(body)))
    }
}

fn bytes(body: azure_core::http::response::ResponseBody) -> azure_core::Bytes {
    body.into()
}
