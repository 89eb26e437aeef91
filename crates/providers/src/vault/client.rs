//! Requests to a Vault: their token, their retries, and what an answer that is none means.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::body::Bytes;
use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
};
use secret::{Buffer, Value};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};
use zeroize::Zeroize as _;

use super::{
    body,
    login::{Login, Request},
    path,
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

/// A longer answer is not read to its end: Vault stores no secret of a tenth of this.
const LONGEST_BODY: usize = 16 << 20;

/// A Vault, with what is known about the way in.
pub(super) struct Client {
    http: reqwest::Client,
    server: Url,
    headers: HeaderMap,
    /// Where secrets are read, and where one logs in.
    namespaces: [Option<HeaderValue>; 2],
    login: Login,
    /// Held while one logs in: who waits for it finds the token.
    session: Mutex<State>,
    slots: Semaphore,
    health: Health,
}

enum State {
    Out,
    In(Arc<Session>),
    /// It was tried, and would fail again.
    Refused(Unread),
}

/// A token.
struct Session {
    token: HeaderValue,
    /// When another one is asked for: before it ends.
    renew: Option<Instant>,
    /// Whether it is certain that the token is good, so that a denial is one.
    denials_are_real: AtomicBool,
}

impl Session {
    fn is_ending(&self) -> bool {
        self.renew.is_some_and(|at| at <= Instant::now())
    }
}

/// What was answered: 200, or 404.
pub(super) struct Reply {
    pub(super) found: bool,
    pub(super) body: Value,
}

struct Raw {
    status: u16,
    retry_after: Option<Duration>,
    body: Value,
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
            http,
            server,
            headers,
            namespaces,
            login,
            session: Mutex::new(State::Out),
            slots: Semaphore::new(CONCURRENT),
            health: Health::default(),
        }
    }

    /// Reads a path. `right` is what the token has to be allowed.
    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        right: &str,
        turns: &Turns,
    ) -> Result<Reply, Unread> {
        // It is not closed.
        let _slot = self.slots.acquire().await;
        let url = self.url(path, query)?;
        let mut session = self.session(None).await?;
        let mut again = false;
        loop {
            let raw = self
                .exchange(&url, None, Some(&session), Some(turns))
                .await?;
            match raw.status {
                200 | 404 => {
                    self.health.answered();
                    // One that was given cannot be replaced, and has now been good for something.
                    if raw.status == 200 && matches!(self.login, Login::Token(_)) {
                        session.denials_are_real.store(true, Ordering::Relaxed);
                    }
                    return Ok(Reply {
                        found: raw.status == 200,
                        body: raw.body,
                    });
                }
                403 if again => session.denials_are_real.store(true, Ordering::Relaxed),
                403 if !self.is_valid(&session, turns).await? => {
                    session = self.session(Some(&session)).await?;
                    again = true;
                    continue;
                }
                _ => {}
            }
            return Err(self.refusal(&url, &raw, right));
        }
    }

    /// Whether the token is good. One that may not look itself up passes for expired: it is replaced once.
    async fn is_valid(&self, session: &Session, turns: &Turns) -> Result<bool, Unread> {
        if session.denials_are_real.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let url = self.url(&["auth", "token", "lookup-self"], &[])?;
        let raw = self
            .exchange(&url, None, Some(session), Some(turns))
            .await?;
        let valid = raw.status == 200;
        session.denials_are_real.store(valid, Ordering::Relaxed);
        Ok(valid)
    }

    /// The token, another one than `bad`.
    async fn session(&self, bad: Option<&Arc<Session>>) -> Result<Arc<Session>, Unread> {
        let mut state = self.session.lock().await;
        match &*state {
            State::Refused(unread) => return Err(unread.clone()),
            State::In(session)
                if !session.is_ending() && bad.is_none_or(|bad| !Arc::ptr_eq(bad, session)) =>
            {
                return Ok(Arc::clone(session));
            }
            State::In(_) | State::Out => {}
        }
        let token = match (&self.login, bad) {
            (Login::Token(_), Some(_)) => Err(Unread::store(
                unread::LOGIN,
                "the token is not valid, or not any more",
            )),
            (Login::Token(source), None) => source.value().await.map(|token| (token, None)),
            (Login::Request(request), _) => self.log_in(request).await,
        };
        let opened = token
            .and_then(|(token, lease)| open(&token, lease))
            .map(Arc::new);
        *state = match &opened {
            Ok(session) => State::In(Arc::clone(session)),
            Err(unread) => State::Refused(Unread {
                whole_store: true,
                ..unread.clone()
            }),
        };
        opened
    }

    async fn log_in(&self, request: &Request) -> Result<(Value, Option<Duration>), Unread> {
        let body = request.body().await?;
        let url = self.url(&path::segments(&request.path)?, &[])?;
        let answer = self.exchange(&url, Some(&body), None, None).await;
        let (reason, detail) = match answer {
            Ok(raw) if raw.status == 200 => return body::token(raw.body.expose()),
            Ok(raw) => match self.refusal(&url, &raw, "").why {
                why if why.reason == unread::UNAVAILABLE => (why.reason, why.detail),
                _ => (unread::LOGIN, answered(&raw)),
            },
            Err(unread) => (unread.why.reason, unread.why.detail),
        };
        Err(Unread::store(reason, format!("{}: {detail}", request.path)))
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Unread> {
        let mut url = self.server.clone();
        url.path_segments_mut()
            .map_err(|()| Unread::store(unread::UNSUPPORTED, "spec.provider.vault.server"))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        if !path::leads_to(&url, path) {
            let detail = "the path cannot be asked for as it is written";
            return Err(Unread::secret(unread::UNSUPPORTED, detail));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// One request, until it is answered by something else than throttling or trouble.
    async fn exchange(
        &self,
        url: &Url,
        login: Option<&Value>,
        session: Option<&Session>,
        turns: Option<&Turns>,
    ) -> Result<Raw, Unread> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            self.health.check()?;
            if let Some(turns) = turns {
                turns.turn().await;
                // Another may have found out meanwhile.
                self.health.check()?;
            }
            let answer = self.send(url, login, session).await;
            let (attempts, asked) = match &answer {
                Ok(raw) if raw.status == 429 => {
                    // How long it asks to be left alone holds for all turns; a login takes none.
                    if let Some(turns) = turns {
                        turns.throttled(raw.retry_after);
                    }
                    (THROTTLED, raw.retry_after.filter(|_| turns.is_none()))
                }
                Ok(raw) if is_trouble(raw) => (FAILED, raw.retry_after),
                // It could not even be sent.
                Err(error) if error.is_builder() => (1, None),
                Err(_) => (FAILED, None),
                Ok(_) => return answer.map_err(|error| self.unanswered(url, &error)),
            };
            if attempt >= attempts {
                return Err(self.given_up(url, &answer));
            }
            let wait = asked.unwrap_or_default().max(pause);
            tokio::time::sleep(wait.min(LONGEST_PAUSE)).await;
            pause = (pause * 2).min(LONG_PAUSE);
            attempt += 1;
        }
    }

    fn given_up(&self, url: &Url, answer: &Result<Raw, reqwest::Error>) -> Unread {
        match answer {
            Ok(raw) if raw.status == 429 => {
                let detail = "Vault answered 429 each time, also after having waited";
                Unread::secret(unread::THROTTLED, detail)
            }
            // It may be this one path that the server fails at.
            Ok(raw) => self.failed_at(url, answered(raw)),
            Err(error) if error.is_builder() => {
                Unread::secret(unread::UNSUPPORTED, "no request can be made of this key")
            }
            Err(error) => self.unanswered(url, error),
        }
    }

    async fn send(
        &self,
        url: &Url,
        login: Option<&Value>,
        session: Option<&Session>,
    ) -> Result<Raw, reqwest::Error> {
        let method = login.map_or(Method::GET, |_| Method::POST);
        let mut request = self
            .http
            .request(method, url.clone())
            .headers(self.headers.clone());
        let [reading, logging_in] = &self.namespaces;
        if let Some(namespace) = if login.is_some() { logging_in } else { reading } {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(session) = session {
            request = request.header("x-vault-token", &session.token);
        }
        if let Some(body) = login {
            request = request
                .header("content-type", "application/json")
                .body(Bytes::from_owner(Wiped(body.duplicate())));
        }
        let mut response = request.send().await?;
        let mut body = Buffer::with_capacity(4096);
        while body.as_bytes().len() < LONGEST_BODY
            && let Some(chunk) = response.chunk().await?
        {
            body.push(&chunk);
            if let Ok(mut chunk) = chunk.try_into_mut() {
                chunk.zeroize();
            }
        }
        Ok(Raw {
            status: response.status().as_u16(),
            retry_after: response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|after| after.to_str().ok()?.parse().ok())
                .map(Duration::from_secs),
            body: body.finish(),
        })
    }

    /// What an answer means that is none.
    fn refusal(&self, url: &Url, raw: &Raw, right: &str) -> Unread {
        match raw.status {
            403 => Unread::secret(unread::DENIED, answered(raw)).lacking(right),
            300..=399 => self.failed_at(url, format!(
                "{} (a redirect is not followed: `server` has to name the active node, or one that forwards)",
                answered(raw)
            )),
            401 | 407 => self
                .health
                .failed_at(url.path(), Unread::secret(unread::LOGIN, answered(raw))),
            472 | 473 => {
                let detail = "Vault answered that it is a standby";
                self.health.lose(Unread::store(unread::UNAVAILABLE, detail))
            }
            503 if is_sealed(raw) => {
                self.health.lose(Unread::store(unread::UNAVAILABLE, answered(raw)))
            }
            500..=599 => self.failed_at(url, answered(raw)),
            _ => Unread::secret(unread::UNREADABLE, answered(raw)),
        }
    }

    fn failed_at(&self, url: &Url, detail: String) -> Unread {
        let unread = Unread::secret(unread::UNAVAILABLE, detail);
        self.health.failed_at(url.path(), unread)
    }

    /// Without a connection nothing can be asked; over one it may be this path that is not answered.
    fn unanswered(&self, url: &Url, error: &reqwest::Error) -> Unread {
        if error.is_connect() {
            let unread = Unread::store(unread::UNAVAILABLE, reason(error));
            return self.health.lose(unread);
        }
        self.failed_at(url, reason(error))
    }
}

/// What is sent and wiped then.
struct Wiped(Value);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn open(token: &Value, lease: Option<Duration>) -> Result<Session, Unread> {
    let mut header = HeaderValue::from_bytes(token.expose()).map_err(|_| {
        let detail = "the token is none: it holds a line break, or what no token holds";
        Unread::store(unread::LOGIN, detail)
    })?;
    header.set_sensitive(true);
    Ok(Session {
        token: header,
        // One that lives for ages is not asked for anew.
        renew: lease.and_then(|lease| Instant::now().checked_add(lease / 5 * 4)),
        denials_are_real: AtomicBool::new(false),
    })
}

/// Whether it may go better the next time. A sealed Vault stays sealed.
fn is_trouble(raw: &Raw) -> bool {
    matches!(raw.status, 412 | 500 | 502 | 503 | 504) && !is_sealed(raw)
}

fn is_sealed(raw: &Raw) -> bool {
    body::known_error(raw.body.expose()) == Some("Vault is sealed")
}

/// The status, with the words for it that are known.
fn answered(raw: &Raw) -> String {
    match body::known_error(raw.body.expose()) {
        Some(known) => format!("Vault answered {} ({known})", raw.status),
        None => format!("Vault answered {}", raw.status),
    }
}

/// Why a request got no answer, without the address: a query could hold what it should not.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    format!("{what}: {cause}")
}
