//! Tests of the engine with a service whose answers the test defines.

use std::{
    collections::VecDeque,
    sync::{
        Mutex as StdMutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use pace::rate::Rate;
use tokio::time::Instant;

use super::*;
use crate::unread;

const READ: Request<'static> = Request::read("get", Some("key"));

/// A service whose clients are the numbers of their logins, and whose errors are error classes.
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
struct Double {
    /// The number of logins that succeed. Later ones fail.
    logins: usize,
    made: AtomicUsize,
    /// The result of [`Service::accepts`].
    accepts: bool,
    /// True if new credentials are known to be rejected.
    rejects_new: bool,
    renewable: bool,
    /// True if credentials expire immediately.
    ends: bool,
}

impl Double {
    fn new(logins: usize) -> Self {
        Self {
            logins,
            made: AtomicUsize::new(0),
            accepts: false,
            rejects_new: false,
            renewable: true,
            ends: false,
        }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Service for Double {
    type Client = usize;
    type Error = ErrorClass;

    async fn connect(&self, _: Option<&usize>) -> Result<usize, Unread> {
        // Lets other calls run during the login.
        tokio::task::yield_now().await;
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        if made < self.logins {
            Ok(made)
        } else {
            Err(Unread::secret(unread::LOGIN, "no more logins"))
        }
    }

    fn class(&self, error: &ErrorClass) -> ErrorClass {
        *error
    }

    fn unread(&self, error: &ErrorClass, request: &Request<'_>) -> Unread {
        Unread::secret(unread::UNAVAILABLE, format!("{}: {error:?}", request.call))
    }

    fn expires_soon(&self, _: &usize) -> bool {
        self.ends
    }

    fn is_renewable(&self) -> bool {
        self.renewable
    }

    async fn accepts(
        &self,
        engine: &Engine<Self>,
        client: &usize,
        limiter: &RateLimiter,
    ) -> Result<bool, Unread> {
        let asked = Request::read("look up", None);
        let answer = if self.accepts {
            Ok(())
        } else {
            Err(ErrorClass::Refused)
        };
        match engine
            .probe(&asked, limiter, client, |_| async move { answer })
            .await
        {
            Ok(()) => Ok(true),
            Err(Failure::Answer(_)) => Ok(false),
            Err(Failure::Unread(unread) | Failure::Unknown(unread)) => Err(unread),
        }
    }

    async fn rejects_new(
        &self,
        _: &Engine<Self>,
        _: &usize,
        _: &RateLimiter,
    ) -> Result<Option<Unread>, Unread> {
        let unread = || Unread::store(unread::CREDENTIALS_EXPIRED, "also new ones");
        Ok(self.rejects_new.then(unread))
    }
}

fn limiter() -> RateLimiter {
    RateLimiter::new(Rate::per_second(1000.0).unwrap())
}

/// Makes a call whose attempts fail with these errors in order, then succeed. Returns the result, and the client of each attempt.
async fn called(
    engine: &Engine<Double>,
    limiter: &RateLimiter,
    request: Request<'_>,
    answers: &[ErrorClass],
) -> (Result<(), Failure<ErrorClass>>, Vec<usize>) {
    let answers: StdMutex<VecDeque<ErrorClass>> = StdMutex::new(answers.iter().copied().collect());
    let sent = StdMutex::new(Vec::new());
    let result = engine
        .call(&request, limiter, |client| {
            sent.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(client);
            let next = answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            async move { next.map_or(Ok(()), Err) }
        })
        .await;
    (
        result,
        sent.into_inner().unwrap_or_else(PoisonError::into_inner),
    )
}

async fn connected(double: Double) -> Engine<Double> {
    match Engine::connected(double).await {
        Ok(engine) => engine,
        Err(unread) => panic!("{unread:?}"),
    }
}

/// Makes a hundred calls for different keys that all fail with this error. Returns the number of attempts and the last failure.
async fn call_hundred_keys(class: ErrorClass) -> (u64, Unread) {
    let engine = connected(Double::new(1)).await;
    let limiter = limiter();
    let mut last = None;
    for index in 0..100 {
        let key = index.to_string();
        let request = Request::read("get", Some(&key));
        let (result, _) = called(&engine, &limiter, request, &[class; 10]).await;
        last = result.err();
    }
    let unread = engine.unread(last.expect("it fails"), &READ);
    (limiter.calls(), unread)
}

#[tokio::test(start_paused = true)]
async fn each_attempt_takes_a_rate_permit() {
    let (engine, limiter) = (connected(Double::new(1)).await, limiter());
    let errors = [
        ErrorClass::Failed(None),
        ErrorClass::Throttled(None),
        ErrorClass::Unreachable,
    ];
    let (result, sent) = called(&engine, &limiter, READ, &errors).await;
    assert!(result.is_ok());
    assert_eq!((sent.len(), limiter.calls()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn unreachable_server_is_called_four_times() {
    let (calls, unread) = call_hundred_keys(ErrorClass::Unreachable).await;
    assert_eq!(calls, 4);
    assert!(unread.whole_store);
}

#[tokio::test(start_paused = true)]
async fn failures_of_five_keys_lose_the_store() {
    let (calls, unread) = call_hundred_keys(ErrorClass::Failed(None)).await;
    assert_eq!(calls, 5 * 4);
    assert!(unread.whole_store);
    let (calls, _) = call_hundred_keys(ErrorClass::Misdirected).await;
    assert_eq!(calls, 5);
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_key_do_not_lose_the_store() {
    let (engine, limiter) = (connected(Double::new(1)).await, limiter());
    for _ in 0..10 {
        let (result, _) = called(&engine, &limiter, READ, &[ErrorClass::Failed(None); 4]).await;
        let Err(Failure::Unread(unread)) = result else {
            panic!("{result:?}");
        };
        assert!(!unread.whole_store);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_and_throttling_do_not_lose_the_store() {
    for class in [ErrorClass::Final, ErrorClass::Unusable] {
        let (calls, unread) = call_hundred_keys(class).await;
        assert_eq!(calls, 100);
        assert!(!unread.whole_store, "{class:?}");
    }
    let (calls, unread) = call_hundred_keys(ErrorClass::Throttled(None)).await;
    assert_eq!(calls, 100 * 8);
    assert!(!unread.whole_store);
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_renewed_once() {
    let (engine, limiter) = (connected(Double::new(9)).await, limiter());
    let (result, sent) = called(&engine, &limiter, READ, &[ErrorClass::Expired]).await;
    assert!(result.is_ok());
    assert_eq!(sent, [0, 1]);

    let (result, sent) = called(&engine, &limiter, READ, &[ErrorClass::Expired; 9]).await;
    let Err(Failure::Unread(unread)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(sent, [1, 2]);
    assert!(
        unread.whole_store,
        "the store is lost if no credentials are accepted"
    );
}

#[tokio::test(start_paused = true)]
async fn failed_login_is_not_retried() {
    let (engine, limiter) = (Engine::new(Double::new(0)), limiter());
    for _ in 0..10 {
        let (result, sent) = called(&engine, &limiter, READ, &[]).await;
        let Err(Failure::Unread(unread)) = result else {
            panic!("{result:?}");
        };
        assert_eq!(
            (unread.why.reason, unread.whole_store),
            (unread::LOGIN, true)
        );
        assert!(sent.is_empty());
    }
    assert_eq!((engine.service().made(), limiter.calls()), (1, 0));

    let engine = connected(Double::new(1)).await;
    for _ in 0..10 {
        let (result, _) = called(&engine, &limiter, READ, &[ErrorClass::Expired]).await;
        assert!(result.is_err());
    }
    assert_eq!((engine.service().made(), limiter.calls()), (2, 1));
}

/// A login that worked before and now fails says that the credentials have expired. A first one that fails does not.
#[tokio::test(start_paused = true)]
async fn failed_renewal_is_reported_as_expired_credentials() {
    let said = |result| match result {
        Err(Failure::Unread(Unread { why, .. })) => why.to_string(),
        other => panic!("{other:?}"),
    };
    let limiter = limiter();
    let engine = connected(Double::new(1)).await;
    let (result, _) = called(&engine, &limiter, READ, &[ErrorClass::Expired]).await;
    assert_eq!(
        said(result),
        "credentials-expired (the credentials cannot be renewed: no more logins)"
    );
    let engine = Engine::new(Double::new(0));
    let (result, _) = called(&engine, &limiter, READ, &[]).await;
    assert_eq!(said(result), "login-failed (no more logins)");
}

#[tokio::test(start_paused = true)]
async fn concurrent_calls_share_one_renewal() {
    let (engine, limiter) = (connected(Double::new(9)).await, limiter());
    // After the first call, calls run concurrently.
    assert!(called(&engine, &limiter, READ, &[]).await.0.is_ok());
    let calls = (0..20).map(|_| {
        let (engine, limiter) = (&engine, &limiter);
        async move {
            let send = |client| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if client == 0 {
                    Err(ErrorClass::Expired)
                } else {
                    Ok(())
                }
            };
            engine.call(&READ, limiter, send).await
        }
    });
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(engine.service().made(), 2);
}

#[tokio::test(start_paused = true)]
async fn denied_call_with_accepted_credentials_is_not_retried() {
    let (engine, limiter) = (
        connected(Double {
            accepts: true,
            ..Double::new(9)
        })
        .await,
        limiter(),
    );
    for _ in 0..3 {
        let (result, sent) = called(&engine, &limiter, READ, &[ErrorClass::Refused; 9]).await;
        assert!(matches!(result, Err(Failure::Answer(_))), "{result:?}");
        assert_eq!(sent, [0]);
    }
    assert_eq!(limiter.calls(), 3 + 1, "the credentials are checked once");
}

#[tokio::test(start_paused = true)]
async fn denied_call_with_new_credentials_is_not_retried() {
    let (engine, limiter) = (connected(Double::new(9)).await, limiter());
    for expected in [&[0, 1][..], &[1]] {
        let (result, sent) = called(&engine, &limiter, READ, &[ErrorClass::Refused; 9]).await;
        assert!(matches!(result, Err(Failure::Answer(_))), "{result:?}");
        assert_eq!(sent, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn fixed_credentials_that_worked_are_not_checked() {
    let double = Double {
        renewable: false,
        ..Double::new(1)
    };
    let (engine, limiter) = (connected(double).await, limiter());
    assert!(called(&engine, &limiter, READ, &[]).await.0.is_ok());
    let (result, _) = called(&engine, &limiter, READ, &[ErrorClass::Refused]).await;
    assert!(matches!(result, Err(Failure::Answer(_))), "{result:?}");
    assert_eq!(limiter.calls(), 2, "the credentials are not checked");
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_before_they_expire() {
    let (engine, limiter) = (
        Engine::new(Double {
            ends: true,
            ..Double::new(99)
        }),
        limiter(),
    );
    for _ in 0..3 {
        assert!(called(&engine, &limiter, READ, &[]).await.0.is_ok());
    }
    assert!(engine.service().made() >= 3);
}

#[tokio::test(start_paused = true)]
async fn write_that_may_have_been_done_is_not_retried() {
    let write = Request {
        effect: Effect::Write,
        ..READ
    };
    let (engine, limiter) = (connected(Double::new(2)).await, limiter());
    let (result, sent) = called(&engine, &limiter, write, &[ErrorClass::Failed(None)]).await;
    assert!(matches!(result, Err(Failure::Unknown(_))), "{result:?}");
    assert_eq!(sent.len(), 1);
    let harmless = [
        ErrorClass::Throttled(None),
        ErrorClass::Unreachable,
        ErrorClass::Expired,
    ];
    let (result, sent) = called(&engine, &limiter, write, &harmless).await;
    assert!(result.is_ok());
    assert_eq!(sent.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn first_call_runs_alone_and_later_ones_concurrently() {
    let (engine, limiter) = (connected(Double::new(1)).await, limiter());
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (now, most) = (&now, &most);
    let start = Instant::now();
    let calls = (0..17).map(|_| {
        let (engine, limiter) = (&engine, &limiter);
        async move {
            let send = |_| async move {
                let present = now.fetch_add(1, Ordering::Relaxed) + 1;
                most.fetch_max(present, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            };
            engine.call(&READ, limiter, send).await
        }
    });
    join_all(calls).await;
    assert_eq!(most.load(Ordering::Relaxed), IN_FLIGHT);
    assert_eq!(start.elapsed().as_secs(), 3, "one, then eight, then eight");
}

#[tokio::test(start_paused = true)]
async fn new_credentials_that_are_rejected_lose_the_store() {
    let engine = Engine::new(Double {
        rejects_new: true,
        ..Double::new(5)
    });
    let refused = [ErrorClass::Refused, ErrorClass::Refused];
    for asked in [vec![0, 1], Vec::new()] {
        let (result, clients) = called(&engine, &limiter(), READ, &refused).await;
        let Err(Failure::Unread(unread)) = result else {
            panic!("{result:?}");
        };
        assert_eq!(
            unread.why.to_string(),
            "credentials-expired (also new ones)"
        );
        assert_eq!(clients, asked, "a lost store is not called");
    }
    assert_eq!(engine.service().made(), 2, "they are renewed once");
}
