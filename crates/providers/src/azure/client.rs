//! Requests to a vault.

use std::sync::Arc;

use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        AsyncRawResponse, ClientOptions, HttpClient, Pager, Request as HttpRequest, Response,
        RetryOptions, Transport, Url,
        pager::{PagerContinuation, PagerOptions},
    },
};
use azure_security_keyvault_secrets::{
    SecretClient, SecretClientOptions,
    models::{
        ListSecretPropertiesResult, Secret, SecretClientGetSecretOptions,
        SecretClientListSecretPropertiesOptions, SecretClientListSecretPropertiesVersionsOptions,
    },
};
use futures::{TryStreamExt as _, future};
use zeroize::Zeroize as _;

use super::{
    fault::{Fault, Problem},
    login::Login,
    settings::Cloud,
};
use crate::{
    RateLimiter, Unread,
    engine::{Arriving, Engine, ErrorClass, Failure, Request, Service},
    unread,
};

/// The maximum size of an answer. A secret has up to 25 kB, and a page 25 names.
const MAX_BODY: usize = 4 << 20;

/// A connection to a vault.
pub(super) struct Client {
    engine: Engine<Server>,
}

/// Key Vault, as the engine calls it.
struct Server {
    vault: Url,
    login: Login,
    cloud: Cloud,
    transport: Transport,
}

#[async_trait::async_trait]
impl Service for Server {
    type Client = Arc<SecretClient>;
    type Error = Fault;

    /// Creates a new client, because the SDK keeps a token until it expires, even if the vault rejects it. The client logs in at
    /// its first request.
    async fn connect(
        &self,
        _refused: Option<&Arc<SecretClient>>,
    ) -> Result<Arc<SecretClient>, Unread> {
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
        self.login
            .credential(client_options)
            .and_then(|login| SecretClient::new(self.vault.as_str(), login, Some(options)))
            .map(Arc::new)
            .map_err(|_| {
                // The names of the tenant and client are invalid, or the secret is empty. The SDK's text may contain them.
                let detail = "the tenant id, the client id or the client secret is invalid";
                Unread::store(unread::LOGIN, detail)
            })
    }

    fn class(&self, fault: &Fault) -> ErrorClass {
        fault.class
    }

    fn unread(&self, fault: &Fault, _request: &Request<'_>) -> Unread {
        fault.unread()
    }
}

impl Client {
    pub(super) fn new(vault: Url, login: Login, cloud: Cloud, http: reqwest::Client) -> Self {
        Self {
            engine: Engine::new(Server {
                vault,
                login,
                cloud,
                transport: transport(http),
            }),
        }
    }

    /// Makes a call with the SDK.
    pub(super) async fn call<T, F>(
        &self,
        request: &Request<'_>,
        limiter: &RateLimiter,
        send: impl Fn(Arc<SecretClient>) -> F,
    ) -> Result<T, Failure<Fault>>
    where
        F: Future<Output = azure_core::Result<T>> + Send,
    {
        self.engine
            .call(request, limiter, |client| {
                let answer = send(client);
                async move { answer.await.map_err(|error| Fault::of(&error)) }
            })
            .await
    }

    /// Reads a secret.
    pub(super) async fn secret(
        &self,
        name: &str,
        version: &str,
        limiter: &RateLimiter,
    ) -> Result<Secret, Problem> {
        let request = Request::read("GetSecret", Some(name));
        let answer = self.call(&request, limiter, async |client| {
            get(&client, name, version).await
        });
        Ok(answer.await?)
    }

    /// Reads a page of a list. It contains no values.
    pub(super) async fn page(
        &self,
        of: Listing<'_>,
        next: Option<&Url>,
        limiter: &RateLimiter,
    ) -> Result<ListSecretPropertiesResult, Problem> {
        let request = match of {
            Listing::Secrets => Request::read("GetSecrets", None),
            Listing::Versions(name) => Request::read("GetSecretVersions", Some(name)),
        };
        let answer = self.call(&request, limiter, |client| {
            let next = next.cloned();
            async move { list(&client, of, next).await }
        });
        Ok(answer.await?)
    }

    /// The URL of the next page. It must be at the same vault because the token is sent with it.
    pub(super) fn next(&self, page: &ListSecretPropertiesResult) -> Result<Option<Url>, Unread> {
        let Some(link) = page.next_link.as_deref().filter(|link| !link.is_empty()) else {
            return Ok(None);
        };
        let vault = &self.engine.service().vault;
        vault
            .join(link)
            .ok()
            .filter(|link| link.origin() == vault.origin())
            .map(Some)
            .ok_or_else(|| {
                let detail = "the next page of the list is on another host";
                Unread::store(unread::UNREADABLE, detail)
            })
    }
}

/// A list of a vault.
#[derive(Clone, Copy)]
pub(super) enum Listing<'a> {
    /// The secrets, with the properties of their current versions.
    Secrets,
    /// The versions of a secret, in no order.
    Versions(&'a str),
}

async fn get(client: &SecretClient, name: &str, version: &str) -> azure_core::Result<Secret> {
    let options = SecretClientGetSecretOptions {
        secret_version: (!version.is_empty()).then(|| version.to_owned()),
        ..SecretClientGetSecretOptions::default()
    };
    parsed(client.get_secret(name, Some(options)).await?)
}

/// Parses an answer with a value, and wipes its bytes.
pub(super) fn parsed(answer: Response<Secret>) -> azure_core::Result<Secret> {
    let (_, _, body) = answer.deconstruct();
    let secret = body.json();
    if let Ok(mut body) = bytes(body).try_into_mut() {
        body.zeroize();
    }
    secret
}

async fn list(
    client: &SecretClient,
    of: Listing<'_>,
    next: Option<Url>,
) -> azure_core::Result<ListSecretPropertiesResult> {
    let method_options = PagerOptions {
        continuation: next.map(PagerContinuation::Link),
        ..PagerOptions::default()
    };
    let pager: Pager<ListSecretPropertiesResult> = match of {
        Listing::Secrets => {
            let options = SecretClientListSecretPropertiesOptions {
                method_options,
                ..SecretClientListSecretPropertiesOptions::default()
            };
            client.list_secret_properties(Some(options))?
        }
        Listing::Versions(name) => {
            let options = SecretClientListSecretPropertiesVersionsOptions {
                method_options,
                ..SecretClientListSecretPropertiesVersionsOptions::default()
            };
            client.list_secret_properties_versions(name, Some(options))?
        }
    };
    let page = pager.into_pages().try_next().await?;
    page.map_or_else(
        || Ok(ListSecretPropertiesResult::default()),
        Response::into_model,
    )
}

/// The transport of requests to a vault or for a token.
pub(super) fn transport(http: reqwest::Client) -> Transport {
    let most = MAX_BODY;
    Transport::new(Arc::new(Bounded { http, most }))
}

/// Limits answers to a size in bytes and to the share of the namespace, before they are kept.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) http: reqwest::Client,
    pub(super) most: usize,
}

#[async_trait::async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &HttpRequest) -> azure_core::Result<AsyncRawResponse> {
        let most = self.most;
        let answer = self.http.execute_request(request).await?;
        let (status, headers, body) = answer.deconstruct();
        let mut length = 0;
        let answer = Arriving::current();
        let body = body.and_then(move |chunk| {
            length += chunk.len();
            let fits = answer
                .as_ref()
                .is_none_or(|answer| answer.take(chunk.len()).is_ok());
            future::ready(if fits && length <= most {
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
