//! Requests to a Vault: the token, and the classification of answers other than 200 and 404.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use hyper::body::Bytes;
use pace::bytes::Held;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
};
use secret::{Buffer, Value};
use tokio::time::Instant;
use zeroize::Zeroize as _;

use super::{
    body,
    login::{self, Login},
    members::Members,
    path::{self, Version},
};
use crate::{
    MAX_VALUE, RateLimiter, Unread,
    engine::{Attempts, Engine, ErrorClass, Failure, Request, Service, retry_after},
    limiter::Backoff,
    unread,
};

/// The maximum size of an answer: a value of the largest size, with its metadata.
const MAX_BODY: usize = MAX_VALUE + (64 << 10);

/// A connection to a Vault.
pub(super) struct Client {
    engine: Engine<Server>,
}

/// A Vault, as the engine calls it.
struct Server {
    http: reqwest::Client,
    address: Url,
    headers: HeaderMap,
    /// The namespaces for reads and for the login.
    namespaces: [Option<HeaderValue>; 2],
    login: Login,
    /// The first path that could be read, usually that of a mount. With it, a token that is rejected can be told from one that lacks a
    /// capability.
    readable: OnceLock<Url>,
}

struct Token {
    header: HeaderValue,
    /// The time to request a new token, before this one expires.
    renew: Option<Instant>,
}

/// How an answer is read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) limiter: &'a RateLimiter,
    /// The members of a secret's data that are read. None: all.
    pub(super) members: Option<(&'a BTreeSet<String>, Version)>,
}

impl<'a> Reading<'a> {
    /// Reads the whole answer.
    pub(super) const fn whole(limiter: &'a RateLimiter) -> Self {
        Self {
            limiter,
            members: None,
        }
    }
}

/// What is sent to a path.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) body: Option<&'a Value>,
    pub(super) content_type: &'static str,
}

impl Outgoing<'_> {
    const GET: Self = Self {
        method: &Method::GET,
        body: None,
        content_type: JSON,
    };
}

pub(super) const JSON: &str = "application/json";

/// An answer with status 200, 204 or 404.
pub(super) struct Reply {
    pub(super) found: bool,
    pub(super) body: Value,
    /// The bytes of the body.
    _held: Option<Held>,
}

pub(super) struct Raw {
    status: u16,
    retry_after: Option<Duration>,
    body: Value,
    /// The bytes of the body.
    held: Option<Held>,
}

/// The error of a request.
pub(super) enum Fault {
    /// An answer other than 200 and 404.
    Answer(Raw),
    NoAnswer(reqwest::Error),
    /// The answer is too large, or the share of the namespace is used up.
    TooLarge(Unread),
}

impl Fault {
    /// True if a write was refused because another version is current.
    pub(super) fn is_cas_mismatch(&self) -> bool {
        matches!(self, Self::Answer(raw) if raw.status == 400
            && body::known_error(raw.body.expose()) == Some(body::CAS_MISMATCH))
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        Self::NoAnswer(error)
    }
}

impl Client {
    pub(super) fn new(
        http: reqwest::Client,
        server: Url,
        headers: HeaderMap,
        namespaces: [Option<HeaderValue>; 2],
        login: Login,
    ) -> Self {
        Self {
            engine: Engine::new(Server {
                http,
                address: server,
                headers,
                namespaces,
                login,
                readable: OnceLock::new(),
            }),
        }
    }

    /// Reads a path. `request` names the capability that the token needs, and the path.
    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        request: &Request<'_>,
        reading: Reading<'_>,
    ) -> Result<Reply, Unread> {
        let server = self.engine.service();
        let url = server.url(path, query)?;
        let answer = self
            .engine
            .call(request, reading.limiter, |token: Arc<Token>| {
                let url = &url;
                async move { server.reply(url, Outgoing::GET, &token, reading).await }
            })
            .await;
        if answer.as_ref().is_ok_and(|reply| reply.found) {
            server.readable.get_or_init(|| url);
        }
        answer.map_err(|failure| self.engine.unread(failure, request))
    }

    /// Sends something to a path.
    pub(super) async fn send(
        &self,
        path: &[&str],
        outgoing: Outgoing<'_>,
        request: &Request<'_>,
        limiter: &RateLimiter,
    ) -> Result<Reply, Failure<Fault>> {
        let server = self.engine.service();
        let url = server.url(path, &[])?;
        let reading = Reading::whole(limiter);
        self.engine
            .call(request, limiter, |token: Arc<Token>| {
                let url = &url;
                async move { server.reply(url, outgoing, &token, reading).await }
            })
            .await
    }

    /// The reason for a failure.
    pub(super) fn unread(&self, failure: Failure<Fault>, request: &Request<'_>) -> Unread {
        self.engine.unread(failure, request)
    }
}

#[async_trait]
impl Service for Server {
    type Client = Arc<Token>;
    type Error = Fault;

    async fn connect(&self, refused: Option<&Arc<Token>>) -> Result<Arc<Token>, Unread> {
        let (token, lease) = match (&self.login, refused) {
            (Login::Token(_), Some(_)) => {
                return Err(Unread::store(
                    unread::CREDENTIALS_EXPIRED,
                    "the token is invalid or has expired",
                ));
            }
            (Login::Token(source), None) => (source.value().await?, None),
            (Login::Request(request), _) => self.log_in(request).await?,
        };
        open(&token, lease).map(Arc::new)
    }

    fn class(&self, fault: &Fault) -> ErrorClass {
        match fault {
            Fault::NoAnswer(error) if error.is_builder() => ErrorClass::Unusable,
            Fault::NoAnswer(error) if error.is_connect() => ErrorClass::Unreachable,
            Fault::NoAnswer(_) => ErrorClass::Failed(None),
            Fault::TooLarge(_) => ErrorClass::Final,
            // A sealed Vault stays sealed.
            Fault::Answer(raw) if raw.status == 503 && is_sealed(raw) => ErrorClass::Final,
            Fault::Answer(raw) => match raw.status {
                403 => ErrorClass::Refused,
                429 => ErrorClass::Throttled(raw.retry_after),
                // 412: the node has not caught up with a write.
                412 | 500..=599 => ErrorClass::Failed(raw.retry_after),
                300..=399 | 401 | 407 => ErrorClass::Misdirected,
                _ => ErrorClass::Final,
            },
        }
    }

    fn unread(&self, fault: &Fault, request: &Request<'_>) -> Unread {
        match fault {
            Fault::Answer(raw) => classify_error(raw, request),
            Fault::NoAnswer(error) if error.is_builder() => {
                Unread::secret(unread::UNSUPPORTED, "this key cannot be part of a request")
            }
            Fault::NoAnswer(error) => Unread::no_answer(error),
            Fault::TooLarge(unread) => unread.clone(),
        }
    }

    fn expires_soon(&self, token: &Arc<Token>) -> bool {
        token.renew.is_some_and(|at| at <= Instant::now())
    }

    fn is_renewable(&self) -> bool {
        matches!(self.login, Login::Request(_))
    }

    /// A token that may not look itself up counts as expired, and is replaced once.
    async fn accepts(
        &self,
        engine: &Engine<Self>,
        token: &Arc<Token>,
        limiter: &RateLimiter,
    ) -> Result<bool, Unread> {
        let url = self.url(&["auth", "token", "lookup-self"], &[])?;
        self.probes(engine, token, &url, limiter).await
    }

    /// A new token that may not look itself up either is rejected if it also cannot read what an earlier one could. Otherwise it may
    /// be valid.
    async fn rejects_new(
        &self,
        engine: &Engine<Self>,
        token: &Arc<Token>,
        limiter: &RateLimiter,
    ) -> Result<Option<Unread>, Unread> {
        let (Login::Request(login), Some(readable)) = (&self.login, self.readable.get()) else {
            return Ok(None);
        };
        let valid = self.accepts(engine, token, limiter).await?
            || self.probes(engine, token, readable, limiter).await?;
        let rejected = || {
            let detail = format!(
                "Vault answered 403, also with a new token: it can neither look itself up nor read what an earlier token could. Check the role of {}, for example its policies, `token_bound_cidrs` and `token_num_uses`",
                login.path
            );
            Unread::store(unread::CREDENTIALS_EXPIRED, detail)
        };
        Ok((!valid).then(rejected))
    }
}

impl Server {
    /// True if this token can read this path.
    async fn probes(
        &self,
        engine: &Engine<Self>,
        token: &Arc<Token>,
        url: &Url,
        limiter: &RateLimiter,
    ) -> Result<bool, Unread> {
        let request = Request::read("read", Some(url.path()));
        let answer = engine
            .probe(&request, limiter, token, |token: Arc<Token>| async move {
                let whole = Reading::whole(limiter);
                self.reply(url, Outgoing::GET, &token, whole).await
            })
            .await;
        match answer {
            Ok(reply) => Ok(reply.found),
            Err(Failure::Answer(_)) => Ok(false),
            Err(Failure::Unread(unread) | Failure::Unknown(unread)) => Err(unread),
        }
    }

    /// Requests a token. Takes no rate permit.
    async fn log_in(&self, request: &login::Request) -> Result<(Value, Option<Duration>), Unread> {
        let body = request.body().await?;
        let url = self.url(&path::segments(&request.path)?, &[])?;
        let asked = Request::read("update", Some(&request.path));
        let mut attempts = Attempts::unpaced(Backoff::default());
        loop {
            let login = Outgoing {
                method: &Method::POST,
                body: Some(&body),
                content_type: JSON,
            };
            let fault = match self.send(&url, login, None, None).await {
                Ok(raw) if raw.status == 200 => return body::token(raw.body.expose()),
                Ok(raw) => Fault::Answer(raw),
                Err(fault) => fault,
            };
            if !attempts.again(self.class(&fault)).await {
                let why = self.unread(&fault, &asked).why;
                let (reason, detail) = match &fault {
                    Fault::Answer(raw)
                        if !matches!(
                            why.reason,
                            unread::UNAVAILABLE | unread::THROTTLED | unread::SEALED
                        ) =>
                    {
                        (unread::LOGIN, answered(raw))
                    }
                    Fault::Answer(_) | Fault::NoAnswer(_) | Fault::TooLarge(_) => {
                        (why.reason, why.detail)
                    }
                };
                return Err(Unread::store(reason, format!("{}: {detail}", request.path)));
            }
        }
    }

    async fn reply(
        &self,
        url: &Url,
        outgoing: Outgoing<'_>,
        token: &Token,
        reading: Reading<'_>,
    ) -> Result<Reply, Fault> {
        match self.send(url, outgoing, Some(token), Some(reading)).await {
            Ok(raw) if matches!(raw.status, 200 | 204 | 404) => Ok(Reply {
                found: raw.status != 404,
                body: raw.body,
                _held: raw.held,
            }),
            Ok(raw) => Err(Fault::Answer(raw)),
            Err(fault) => Err(fault),
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Unread> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| Unread::store(unread::UNSUPPORTED, "spec.provider.vault.server"))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        if !path::ends_in_segments(&url, path) {
            let detail = "the path contains characters that cannot be sent unchanged";
            return Err(Unread::secret(unread::UNSUPPORTED, detail));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(
        &self,
        url: &Url,
        outgoing: Outgoing<'_>,
        token: Option<&Token>,
        reading: Option<Reading<'_>>,
    ) -> Result<Raw, Fault> {
        let mut request = self
            .http
            .request(outgoing.method.clone(), url.clone())
            .headers(self.headers.clone());
        let [of_secrets, logging_in] = &self.namespaces;
        if let Some(namespace) = if token.is_none() {
            logging_in
        } else {
            of_secrets
        } {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header("x-vault-token", &token.header);
        }
        if let Some(body) = outgoing.body {
            request = request
                .header("content-type", outgoing.content_type)
                .body(Bytes::from_owner(Wiped(body.duplicate())));
        }
        let mut response = request.send().await?;
        let (body, held) = receive(&mut response, reading).await?;
        Ok(Raw {
            status: response.status().as_u16(),
            retry_after: response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|after| retry_after(after.to_str().ok()?)),
            body,
            held,
        })
    }
}

/// Receives a body, and holds its bytes. If only some members are read, the others are dropped.
async fn receive(
    response: &mut Response,
    reading: Option<Reading<'_>>,
) -> Result<(Value, Option<Held>), Fault> {
    let too_large = || Fault::TooLarge(Unread::value_too_large());
    let members = reading.and_then(|reading| reading.members);
    let mut members = members
        .filter(|_| response.status() == StatusCode::OK)
        .map(|(wanted, version)| Members::new(wanted, version));
    let announced = response.content_length().unwrap_or_default();
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    let first = match members {
        None if announced > MAX_BODY => return Err(too_large()),
        None => announced,
        Some(_) => 0,
    };
    let limiter = reading.map(|reading| reading.limiter);
    let held = limiter.map(|limiter| limiter.hold(first)).transpose();
    let mut held = held.map_err(Fault::TooLarge)?;
    let mut body = Buffer::with_capacity(first);
    let mut length = first;
    while let Some(chunk) = response.chunk().await? {
        let now = if let Some(members) = &mut members {
            members.push(&chunk).map_err(Fault::TooLarge)?;
            members.len()
        } else {
            body.as_bytes().len() + chunk.len()
        };
        if now > MAX_BODY {
            return Err(too_large());
        }
        if let Some(held) = &mut held {
            let grown = held.grow(now.saturating_sub(length));
            grown.map_err(|_| Fault::TooLarge(Unread::too_much_data()))?;
        }
        length = length.max(now);
        if members.is_none() {
            body.push(&chunk);
        }
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.zeroize();
        }
    }
    let body = match members {
        Some(members) => members.finish().map_err(Fault::TooLarge)?,
        None => body.finish(),
    };
    Ok((body, held))
}

/// The reason for a failed read, from an answer other than 200 and 404.
fn classify_error(raw: &Raw, request: &Request<'_>) -> Unread {
    match raw.status {
        403 => Unread::secret(unread::DENIED, answered(raw)).lacking(format!(
            "`{}` on {}",
            request.call,
            request.key.unwrap_or_default()
        )),
        429 => {
            let detail = "Vault still answers 429 after several attempts";
            Unread::secret(unread::THROTTLED, detail)
        }
        300..=399 => Unread::secret(
            unread::UNAVAILABLE,
            format!(
                "{} (a redirect is not followed: set `server` to the active node or to a node that forwards)",
                answered(raw)
            ),
        ),
        401 | 407 => Unread::secret(unread::LOGIN, answered(raw)),
        472 | 473 => {
            let detail = "Vault answered that it is a standby node";
            Unread::store(unread::UNAVAILABLE, detail)
        }
        503 if is_sealed(raw) => Unread::store(unread::SEALED, answered(raw)),
        412 | 500..=599 => Unread::secret(unread::UNAVAILABLE, answered(raw)),
        _ => Unread::secret(unread::UNREADABLE, answered(raw)),
    }
}

/// A request body that is wiped after it was sent.
struct Wiped(Value);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn open(token: &Value, lease: Option<Duration>) -> Result<Token, Unread> {
    let mut header = HeaderValue::from_bytes(token.expose()).map_err(|_| {
        let detail = "the token is invalid: it contains a line break or another invalid character";
        Unread::store(unread::LOGIN, detail)
    })?;
    header.set_sensitive(true);
    Ok(Token {
        header,
        // A time too far in the future overflows: such a token is not renewed.
        renew: lease.and_then(|lease| Instant::now().checked_add(lease / 5 * 4)),
    })
}

fn is_sealed(raw: &Raw) -> bool {
    body::known_error(raw.body.expose()) == Some("Vault is sealed")
}

/// The status and the known error text.
fn answered(raw: &Raw) -> String {
    match body::known_error(raw.body.expose()) {
        Some(known) => format!("Vault answered {} ({known})", raw.status),
        None => format!("Vault answered {}", raw.status),
    }
}
