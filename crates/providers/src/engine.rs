//! Makes all calls to providers, with a rate permit for each attempt, retries with backoff, and renewal of credentials. Stops
//! calling a store that is lost.
//!
//! A provider implements [`Service`]: it logs in and classifies its errors. The class of an error decides what happens:
//!
//! | class | retries | fails after the retries |
//! |---|---|---|
//! | [`Throttled`](ErrorClass::Throttled) | up to 8 attempts, even for a write: nothing was done | the call |
//! | [`Failed`](ErrorClass::Failed) | up to 4 attempts; not for a write that must not be repeated | the key; after five keys without an answer, the store |
//! | [`Misdirected`](ErrorClass::Misdirected) | none | as for `Failed` |
//! | [`Unreachable`](ErrorClass::Unreachable) | up to 4 attempts, even for a write: nothing was sent | the store |
//! | [`Expired`](ErrorClass::Expired) | one, with new credentials | the store, as `credentials-expired` |
//! | [`Refused`](ErrorClass::Refused) | one with new credentials, if [`Service::accepts`] returns false | the call; or the store, if [`Service::rejects_new`] |
//! | [`Final`](ErrorClass::Final), [`Unusable`](ErrorClass::Unusable) | none | the call |
//!
//! A lost store is not called again: each further call fails with the reason of the loss.

mod attempts;
mod bounded;
mod health;

use std::sync::{
    Arc, MutexGuard, Once, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use futures::{StreamExt as _, future::BoxFuture, stream};
use pace::{Announcer, Wait};
use tokio::sync::{Mutex, Semaphore};

pub(super) use self::attempts::Attempts;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
pub(super) use self::attempts::retry_after;
pub(super) use self::attempts::{Effect, ErrorClass};
#[cfg(any(feature = "aws", feature = "azure"))]
pub(super) use self::bounded::Arriving;
use self::health::Health;
use super::{RateLimiter, Unread, unread};

/// The maximum number of concurrent calls to one store. The rate limiter controls how many start per second.
pub(super) const IN_FLIGHT: usize = 8;

/// The maximum number of concurrent calls of one search. The rest of [`IN_FLIGHT`] is left to the reads of others.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
pub(super) const SEARCH_CALLS: usize = 4;

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Login,
    RateLimit,
    Answer,
    Throttled,
    Unreachable,
    Failed,
}

impl Cause {
    /// The text for people, which completes "waiting for".
    fn of(self, store: &str, call: &str) -> String {
        let provider = format!("the provider of {store}");
        match self {
            Self::Login => format!("the login at {provider}"),
            Self::RateLimit => format!("the rate limit of the calls to {provider} ({call})"),
            Self::Answer => format!("{provider} to answer ({call})"),
            Self::Throttled => format!("{provider}, which throttles calls ({call})"),
            Self::Unreachable => format!("{provider}, which cannot be reached ({call})"),
            Self::Failed => format!("{provider}, which failed ({call})"),
        }
    }

    /// The cause of the pause after an error.
    const fn of_pause(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Throttled(_) => Self::Throttled,
            ErrorClass::Unreachable => Self::Unreachable,
            ErrorClass::Failed(_)
            | ErrorClass::Final
            | ErrorClass::Unusable
            | ErrorClass::Misdirected
            | ErrorClass::Expired
            | ErrorClass::Refused => Self::Failed,
        }
    }
}

/// A provider's part of the engine: logging in and classifying errors.
#[async_trait]
pub(super) trait Service: Send + Sync {
    /// A client with its credentials. Clones are cheap.
    type Client: Clone + Send + Sync;
    /// The provider's error.
    type Error: Send;

    /// Logs in. `refused` is the client whose credentials the server rejected, if that is the reason for the login.
    async fn connect(&self, refused: Option<&Self::Client>) -> Result<Self::Client, Unread>;

    /// Returns the class of the error, which decides about retries.
    fn class(&self, error: &Self::Error) -> ErrorClass;

    /// Returns the reason for a failed request. If [`Unread::whole_store`] is set, the store is lost.
    fn unread(&self, error: &Self::Error, request: &Request<'_>) -> Unread;

    /// True if the credentials must be renewed before the next call.
    fn expires_soon(&self, _client: &Self::Client) -> bool {
        false
    }

    /// True if [`Service::connect`] can get new credentials. If not, credentials that worked once count as valid from then on.
    fn is_renewable(&self) -> bool {
        true
    }

    /// Asks the server if it still accepts these credentials. Called after [`ErrorClass::Refused`]; uses
    /// [`Engine::probe`].
    async fn accepts(
        &self,
        _engine: &Engine<Self>,
        _client: &Self::Client,
        _limiter: &RateLimiter,
    ) -> Result<bool, Unread>
    where
        Self: Sized,
    {
        Ok(true)
    }

    /// Returns why the store is lost if the server is known to reject new credentials as well. None if they may only lack a
    /// permission. Called after the second [`ErrorClass::Refused`] of a call; uses [`Engine::probe`].
    async fn rejects_new(
        &self,
        _engine: &Engine<Self>,
        _client: &Self::Client,
        _limiter: &RateLimiter,
    ) -> Result<Option<Unread>, Unread>
    where
        Self: Sized,
    {
        Ok(None)
    }
}

/// A request to a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// The provider's own name of the call (`GetSecretValue`).
    pub(super) call: &'static str,
    /// The secret or path; None for a list.
    pub(super) key: Option<&'a str>,
    pub(super) effect: Effect,
    /// True if it counts against the quota of calls that list or that read metadata.
    pub(super) lists: bool,
}

impl<'a> Request<'a> {
    /// A call that changes nothing.
    pub(super) const fn read(call: &'static str, key: Option<&'a str>) -> Self {
        Self {
            call,
            key,
            effect: Effect::Read,
            lists: false,
        }
    }

    /// A call that changes something, and that must not be repeated if it may have been done.
    #[cfg(any(feature = "aws-parameter-store", feature = "azure", feature = "gcp"))]
    pub(super) const fn write(call: &'static str, key: &'a str) -> Self {
        Self {
            effect: Effect::Write,
            ..Self::read(call, Some(key))
        }
    }

    /// A call that changes something, and that changes nothing more if it is repeated.
    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
    pub(super) const fn repeatable_write(call: &'static str, key: &'a str) -> Self {
        Self {
            effect: Effect::RepeatableWrite,
            ..Self::read(call, Some(key))
        }
    }

    #[cfg(feature = "gcp")]
    /// The same request, against the quota of calls that list or that read metadata.
    pub(super) const fn listing(self) -> Self {
        Self {
            lists: true,
            ..self
        }
    }

    /// The key under which failures are counted.
    fn health_key(&self) -> String {
        format!("{} {}", self.call, self.key.unwrap_or_default())
    }
}

/// The reason why a call failed.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// The provider answered with an error: the secret does not exist, access is denied, the request is invalid.
    Answer(E),
    /// The provider did not answer. A write was not done.
    Unread(Unread),
    /// The write may have been done. Read it back before writing again.
    Unknown(Unread),
}

impl<E> Failure<E> {
    /// Converts the failure of a read to an answer. `answer` converts the provider's own error.
    #[cfg(any(feature = "aws", feature = "gcp"))]
    pub(super) fn answered(self, answer: impl FnOnce(E) -> super::Answered) -> super::Answered {
        match self {
            Self::Answer(error) => answer(error),
            Self::Unread(unread) | Self::Unknown(unread) => super::Answered::Unread(unread),
        }
    }
}

impl<E> From<Unread> for Failure<E> {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

/// Calls one store with one set of credentials.
pub(super) struct Engine<S: Service> {
    service: S,
    /// Locked during a login, so that waiting calls use the new credentials.
    session: Mutex<Option<Arc<Session<S::Client>>>>,
    health: Health,
    /// Limits concurrent calls. The first call runs alone, to find out if the server answers and accepts the credentials.
    slots: Semaphore,
    opened: Once,
    /// What the last call waits for, for people.
    waits_for: std::sync::Mutex<Cause>,
    announcer: Announcer,
}

struct Session<C> {
    client: C,
    /// The number of earlier sessions.
    generation: u64,
    /// True if the server is known to accept the credentials. Then a denied call lacks a permission.
    accepted: AtomicBool,
}

impl<S: Service> Engine<S> {
    /// Creates an engine that logs in at its first call.
    pub(super) fn new(service: S) -> Self {
        Self {
            service,
            session: Mutex::new(None),
            health: Health::default(),
            slots: Semaphore::new(1),
            opened: Once::new(),
            waits_for: std::sync::Mutex::new(Cause::Answer),
            announcer: Announcer::default(),
        }
    }

    fn waits_for(&self) -> MutexGuard<'_, Cause> {
        self.waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates an engine and logs in, so that a failed login is reported once and before the first read.
    pub(super) async fn connected(service: S) -> Result<Self, Unread> {
        let engine = Self::new(service);
        engine.session().await?;
        Ok(engine)
    }

    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
    pub(super) const fn service(&self) -> &S {
        &self.service
    }

    /// The reason for a failure, including the provider's own errors.
    pub(super) fn unread(&self, failure: Failure<S::Error>, request: &Request<'_>) -> Unread {
        match failure {
            Failure::Answer(error) => self.service.unread(&error, request),
            Failure::Unread(unread) | Failure::Unknown(unread) => unread,
        }
    }

    /// Makes a call. `send` is called for each attempt.
    pub(super) async fn call<T, F>(
        &self,
        request: &Request<'_>,
        limiter: &RateLimiter,
        send: impl Fn(S::Client) -> F,
    ) -> Result<T, Failure<S::Error>>
    where
        F: Future<Output = Result<T, S::Error>> + Send,
    {
        // On the heap, because the futures of the clients are large.
        let attempt = Box::pin(async {
            // The semaphore is never closed.
            let _slot = self.slots.acquire().await;
            self.attempt(request, limiter, None, send).await
        });
        let what = || {
            let cause = *self.waits_for();
            let end = limiter.end(cause != Cause::RateLimit);
            (cause.of(limiter.store(), request.call), end)
        };
        let result = Wait::unlimited()
            .shared(&self.announcer)
            .on_changing(what, attempt)
            .await;
        self.opened
            .call_once(|| self.slots.add_permits(IN_FLIGHT - 1));
        result
    }

    #[cfg(feature = "vault")]
    /// Makes a call with these credentials, without renewing them. For use in [`Service::accepts`], which runs during a call.
    pub(super) async fn probe<T, F>(
        &self,
        request: &Request<'_>,
        limiter: &RateLimiter,
        client: &S::Client,
        send: impl Fn(S::Client) -> F,
    ) -> Result<T, Failure<S::Error>>
    where
        F: Future<Output = Result<T, S::Error>> + Send,
    {
        self.attempt(request, limiter, Some(client), send).await
    }

    async fn attempt<T, F>(
        &self,
        request: &Request<'_>,
        limiter: &RateLimiter,
        fixed: Option<&S::Client>,
        send: impl Fn(S::Client) -> F,
    ) -> Result<T, Failure<S::Error>>
    where
        F: Future<Output = Result<T, S::Error>> + Send,
    {
        let mut attempts = Attempts::at(limiter, request.effect);
        let mut renewed = false;
        loop {
            self.health.check()?;
            // Log in before waiting for a rate permit, so that a failed login takes none.
            self.session().await?;
            self.permit(request, limiter).await;
            // Check again: another call may have lost the store or renewed the credentials during the wait.
            self.health.check()?;
            let session = self.session().await?;
            let client = fixed.unwrap_or(&session.client).clone();
            let Ok(answer) = bounded::within(limiter.bytes(), send(client)).await else {
                let unread = Unread::too_much_data();
                return Err(match request.effect {
                    Effect::Read => Failure::Unread(unread),
                    Effect::Write | Effect::RepeatableWrite => Failure::Unknown(unread),
                });
            };
            let error = match answer {
                Ok(answer) => {
                    self.health.answered();
                    if fixed.is_none() && !self.service.is_renewable() {
                        session.accepted.store(true, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let class = self.service.class(&error);
            if fixed.is_none() && !renewed && self.is_expired(class, &session, limiter).await? {
                self.renew(&session).await?;
                renewed = true;
                continue;
            }
            if renewed && class == ErrorClass::Refused {
                self.check_new(&session, limiter).await?;
            }
            *self.waits_for() = Cause::of_pause(class);
            if !attempts.again(class).await {
                return Err(self.failure(request, class, error, renewed));
            }
        }
    }

    async fn permit(&self, request: &Request<'_>, limiter: &RateLimiter) {
        *self.waits_for() = Cause::RateLimit;
        if request.lists {
            limiter.list_permit().await;
        } else {
            limiter.permit().await;
        }
        *self.waits_for() = Cause::Answer;
    }

    /// True if new credentials may help.
    async fn is_expired(
        &self,
        class: ErrorClass,
        session: &Session<S::Client>,
        limiter: &RateLimiter,
    ) -> Result<bool, Unread> {
        if class != ErrorClass::Refused || session.accepted.load(Ordering::Relaxed) {
            return Ok(class == ErrorClass::Expired);
        }
        let accepted = self.service.accepts(self, &session.client, limiter).await?;
        session.accepted.store(accepted, Ordering::Relaxed);
        Ok(!accepted)
    }

    /// Loses the store if the server also rejects new credentials. If not, a denied call lacks a permission.
    async fn check_new(
        &self,
        session: &Session<S::Client>,
        limiter: &RateLimiter,
    ) -> Result<(), Unread> {
        if session.accepted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let rejected = self.service.rejects_new(self, &session.client, limiter);
        if let Some(unread) = rejected.await? {
            return Err(self.health.lose(unread));
        }
        session.accepted.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn session(&self) -> Result<Arc<Session<S::Client>>, Unread> {
        let mut current = self.session.lock().await;
        let usable = current
            .as_ref()
            .filter(|session| !self.service.expires_soon(&session.client));
        if let Some(session) = usable {
            return Ok(Arc::clone(session));
        }
        self.log_in(&mut current, None).await
    }

    /// Logs in again, unless another call already has.
    async fn renew(&self, refused: &Session<S::Client>) -> Result<(), Unread> {
        let mut current = self.session.lock().await;
        if current
            .as_ref()
            .is_some_and(|session| session.generation == refused.generation)
        {
            self.log_in(&mut current, Some(&refused.client)).await?;
        }
        Ok(())
    }

    /// Logs in. If that fails, the store is lost.
    async fn log_in(
        &self,
        current: &mut Option<Arc<Session<S::Client>>>,
        refused: Option<&S::Client>,
    ) -> Result<Arc<Session<S::Client>>, Unread> {
        // The previous holder of the lock may have failed to log in.
        self.health.check()?;
        *self.waits_for() = Cause::Login;
        let client = self.service.connect(refused).await;
        *self.waits_for() = Cause::Answer;
        let is_renewal = current.is_some();
        let session = Arc::new(Session {
            client: client.map_err(|unread| {
                self.health.lose(if is_renewal {
                    not_renewed(unread)
                } else {
                    unread
                })
            })?,
            generation: current.as_ref().map_or(0, |session| session.generation + 1),
            accepted: AtomicBool::new(false),
        });
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Applies the last error of a call to its key and to the store, and returns the failure of the call.
    fn failure(
        &self,
        request: &Request<'_>,
        class: ErrorClass,
        error: S::Error,
        renewed: bool,
    ) -> Failure<S::Error> {
        let unread = self.service.unread(&error, request);
        match class {
            // The answer may be the part that is invalid.
            ErrorClass::Unusable if request.effect != Effect::Read => Failure::Unknown(unread),
            ErrorClass::Unusable => Failure::Answer(error),
            ErrorClass::Throttled(_) => Failure::Unread(unread),
            ErrorClass::Expired | ErrorClass::Unreachable => {
                Failure::Unread(self.health.lose(unread))
            }
            ErrorClass::Failed(_) if request.effect != Effect::Read => {
                Failure::Unknown(self.failed(request, unread))
            }
            ErrorClass::Failed(_) | ErrorClass::Misdirected => {
                Failure::Unread(self.failed(request, unread))
            }
            // Some clients log in at their first call.
            ErrorClass::Final | ErrorClass::Refused if unread.whole_store && renewed => {
                Failure::Unread(self.health.lose(not_renewed(unread)))
            }
            ErrorClass::Final | ErrorClass::Refused if unread.whole_store => {
                Failure::Unread(self.health.lose(unread))
            }
            ErrorClass::Final | ErrorClass::Refused => {
                self.health.answered();
                Failure::Answer(error)
            }
        }
    }

    fn failed(&self, request: &Request<'_>, unread: Unread) -> Unread {
        if unread.whole_store {
            self.health.lose(unread)
        } else {
            self.health.failed_at(&request.health_key(), unread)
        }
    }
}

/// The reason after a failed login that had to replace credentials which worked before. A missing permission stays what it is.
fn not_renewed(mut unread: Unread) -> Unread {
    if unread.why.reason == unread::LOGIN && unread.permission.is_none() {
        unread.why.reason = unread::CREDENTIALS_EXPIRED;
        unread.why.detail = format!("the credentials cannot be renewed: {}", unread.why.detail);
    }
    unread
}

/// Runs these futures concurrently. The engine limits their calls; the limit here saves memory.
pub(super) async fn in_flight<T>(calls: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(calls)
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await
}

/// The same, for futures whose results are needed in their order.
#[cfg(any(feature = "aws", feature = "gcp"))]
pub(super) async fn in_order<T>(calls: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(calls).buffered(IN_FLIGHT).collect().await
}

#[cfg(test)]
mod tests;
