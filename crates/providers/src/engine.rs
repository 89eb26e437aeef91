//! The one way to call a provider: a rate permit for each attempt, backoff, renewal of credentials, and the health of the store.
//!
//! A provider implements [`Service`]: how to log in, and what its errors mean. The engine does the rest, by one rule for all:
//!
//! | the error | repeated | in the end |
//! |---|---|---|
//! | [`Throttled`](ErrorClass::Throttled) | up to 8 attempts, also for a write: nothing was done | that call |
//! | [`Failed`](ErrorClass::Failed) | up to 4 attempts; never for a write | that key, or the store after five keys without an answer |
//! | [`Misdirected`](ErrorClass::Misdirected) | no | likewise |
//! | [`Unreachable`](ErrorClass::Unreachable) | up to 4 attempts, also for a write: nothing was sent | the store |
//! | [`Expired`](ErrorClass::Expired) | once, with new credentials | the store |
//! | [`Refused`](ErrorClass::Refused) | once, if [`Service::accepts`] says that the credentials expired | that call |
//! | [`Final`](ErrorClass::Final), [`Unusable`](ErrorClass::Unusable) | no | that call |
//!
//! A store that is lost is not called again: each further call gets the reason.

mod attempts;
mod health;

use std::sync::{
    Arc, Once,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use futures::{StreamExt as _, future::BoxFuture, stream};
use tokio::sync::{Mutex, Semaphore};

pub(super) use self::attempts::Attempts;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
pub(super) use self::attempts::retry_after;
pub(super) use self::attempts::{Effect, ErrorClass};
use self::health::Health;
use super::{RateLimiter, Unread};

/// Calls to one store that are under way at once. The rate limiter decides how many start in a second.
const IN_FLIGHT: usize = 8;

/// One provider, as the engine calls it.
#[async_trait]
pub(super) trait Service: Send + Sync {
    /// A client with its credentials. Clones are cheap.
    type Client: Clone + Send + Sync;
    /// The provider's error.
    type Error: Send;

    /// Logs in. `refused` is the client whose credentials the server did not accept, if that is the reason.
    async fn connect(&self, refused: Option<&Self::Client>) -> Result<Self::Client, Unread>;

    /// What the error means for the attempts at its call.
    fn class(&self, error: &Self::Error) -> ErrorClass;

    /// Why the request has no answer. The store is lost if this says so ([`Unread::whole_store`]).
    fn unread(&self, error: &Self::Error, request: &Request<'_>) -> Unread;

    /// True if the credentials have to be renewed before the next call.
    fn expires_soon(&self, _client: &Self::Client) -> bool {
        false
    }

    /// True if [`Service::connect`] can get other credentials than the first ones. If not, credentials that worked once are
    /// not doubted again.
    fn is_renewable(&self) -> bool {
        true
    }

    /// Asks the server whether it still accepts these credentials. Called after [`ErrorClass::Refused`]; uses
    /// [`Engine::probe`].
    async fn accepts(
        &self,
        _engine: &Engine<Self>,
        _client: &Self::Client,
        _turns: &RateLimiter,
    ) -> Result<bool, Unread>
    where
        Self: Sized,
    {
        Ok(true)
    }
}

/// What is asked of a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// The provider's own name of the call (`GetSecretValue`).
    pub(super) call: &'static str,
    /// The secret or path; none for a list.
    pub(super) key: Option<&'a str>,
    pub(super) effect: Effect,
}

impl<'a> Request<'a> {
    /// A call that changes nothing.
    pub(super) const fn read(call: &'static str, key: Option<&'a str>) -> Self {
        Self {
            call,
            key,
            effect: Effect::Read,
        }
    }

    /// By what failures are counted.
    fn health_key(&self) -> String {
        format!("{} {}", self.call, self.key.unwrap_or_default())
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// The provider's own answer: there is no such secret, access is denied, the request is invalid.
    Answer(E),
    /// There is no answer. A write was not done.
    Unread(Unread),
    /// Nobody knows whether the write was done: read it back first.
    Unknown(Unread),
}

impl<E> Failure<E> {
    /// The answer to a read; `answer` translates the provider's own.
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

/// A store, called with one set of credentials.
pub(super) struct Engine<S: Service> {
    service: S,
    /// Locked while somebody logs in: who waits for it finds the new credentials.
    session: Mutex<Option<Arc<Session<S::Client>>>>,
    health: Health,
    /// The first call is alone: it finds out whether the server answers and accepts the credentials.
    slots: Semaphore,
    opened: Once,
}

struct Session<C> {
    client: C,
    /// How many sessions there were before.
    generation: u64,
    /// The server is known to accept the credentials, so a refusal is a missing right.
    accepted: AtomicBool,
}

impl<S: Service> Engine<S> {
    /// An engine that logs in at its first call.
    pub(super) fn new(service: S) -> Self {
        Self {
            service,
            session: Mutex::new(None),
            health: Health::default(),
            slots: Semaphore::new(1),
            opened: Once::new(),
        }
    }

    /// An engine that is logged in: a login that fails is reported once, before anything is read.
    pub(super) async fn connected(service: S) -> Result<Self, Unread> {
        let engine = Self::new(service);
        engine.session().await?;
        Ok(engine)
    }

    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
    pub(super) const fn service(&self) -> &S {
        &self.service
    }

    /// The reason for a failure, where the provider's own answer is a failure too.
    pub(super) fn unread(&self, failure: Failure<S::Error>, request: &Request<'_>) -> Unread {
        match failure {
            Failure::Answer(error) => self.service.unread(&error, request),
            Failure::Unread(unread) | Failure::Unknown(unread) => unread,
        }
    }

    /// Makes a call: `send` is invoked once for each attempt.
    pub(super) async fn call<T, F>(
        &self,
        request: &Request<'_>,
        limiter: &RateLimiter,
        send: impl Fn(S::Client) -> F,
    ) -> Result<T, Failure<S::Error>>
    where
        F: Future<Output = Result<T, S::Error>> + Send,
    {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await;
        let result = self.attempt(request, limiter, None, send).await;
        self.opened
            .call_once(|| self.slots.add_permits(IN_FLIGHT - 1));
        result
    }

    #[cfg(feature = "vault")]
    /// Makes a call with these credentials and does not renew them. For [`Service::accepts`], which is within a call.
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
            // Logs in before the permit: a login that fails takes none.
            self.session().await?;
            limiter.permit().await;
            // Meanwhile another call may have lost the store, or renewed the credentials.
            self.health.check()?;
            let session = self.session().await?;
            let client = fixed.unwrap_or(&session.client).clone();
            let error = match send(client).await {
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
                session.accepted.store(true, Ordering::Relaxed);
            }
            if !attempts.again(class).await {
                return Err(self.failure(request, class, error));
            }
        }
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

    /// Logs in again, unless another call has done so since.
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

    /// A login that fails loses the store.
    async fn log_in(
        &self,
        current: &mut Option<Arc<Session<S::Client>>>,
        refused: Option<&S::Client>,
    ) -> Result<Arc<Session<S::Client>>, Unread> {
        // Who held the lock before may have failed.
        self.health.check()?;
        let client = self.service.connect(refused).await;
        let session = Arc::new(Session {
            client: client.map_err(|unread| self.health.lose(unread))?,
            generation: current.as_ref().map_or(0, |session| session.generation + 1),
            accepted: AtomicBool::new(false),
        });
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    /// What the last error means for the call, its key, and the store.
    fn failure(
        &self,
        request: &Request<'_>,
        class: ErrorClass,
        error: S::Error,
    ) -> Failure<S::Error> {
        let unread = self.service.unread(&error, request);
        match class {
            ErrorClass::Unusable => Failure::Answer(error),
            ErrorClass::Throttled(_) => Failure::Unread(unread),
            ErrorClass::Expired | ErrorClass::Unreachable => {
                Failure::Unread(self.health.lose(unread))
            }
            ErrorClass::Failed(_) if request.effect == Effect::Write => {
                Failure::Unknown(self.failed(request, unread))
            }
            ErrorClass::Failed(_) | ErrorClass::Misdirected => {
                Failure::Unread(self.failed(request, unread))
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

/// Runs these futures, several at once. The engine's own limit holds for the calls that they make; this one bounds memory.
pub(super) async fn in_flight<T>(calls: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(calls)
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await
}

#[cfg(test)]
mod tests;
