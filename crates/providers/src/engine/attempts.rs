//! The attempts of one call. The clients' own retries are disabled, so that each attempt takes a rate permit and is counted.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::{
    RateLimiter,
    limiter::{Backoff, LONGEST_PAUSE},
};
#[cfg(any(feature = "aws", feature = "gcp"))]
use crate::{Unread, unread};

/// The maximum number of attempts of a throttled call. They take about 16 s in total: longer than the 10 s windows in which
/// Azure counts calls, and much shorter than the time limit of a read.
const THROTTLED: usize = 8;

/// The maximum number of attempts of a call that failed or got no connection: enough for a server restart or a leader election.
const FAILED: usize = 4;

fn pauses(backoff: Backoff, attempts: usize) -> Pauses {
    ExponentialBuilder::new()
        .with_min_delay(backoff.first)
        .with_max_delay(backoff.longest)
        .with_max_times(attempts - 1)
        .with_jitter()
        .build()
}

type Pauses = <ExponentialBuilder as BackoffBuilder>::Backoff;

/// The effect of a call at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes nothing, so it can be retried.
    Read,
    /// Changes something, so it is not retried if it may have been done.
    Write,
    /// Changes something, but a repetition changes nothing more, so it can be retried.
    RepeatableWrite,
}

/// The class of an error. It decides about retries, and if the store is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// The provider answered. A retry would get the same answer.
    Final,
    /// The request could not be created, or its answer is invalid. The server may work for other requests.
    Unusable,
    /// The provider throttled the call. Nothing was done. Holds the `Retry-After`.
    Throttled(Option<Duration>),
    /// The provider failed, or its answer did not arrive. The call may have been done. Holds the `Retry-After`.
    Failed(Option<Duration>),
    /// A redirect, or an answer of something other than the provider, such as a proxy. A retry does not help.
    Misdirected,
    /// There is no connection. Nothing was sent.
    Unreachable,
    /// The provider rejected the credentials. Nothing was done. After the last attempt, it also rejected new ones.
    Expired,
    /// Access is denied: a permission is missing, or the credentials expired. Nothing was done.
    Refused,
}

impl ErrorClass {
    /// Returns the reason for a read that failed with this class.
    #[cfg(any(feature = "aws", feature = "gcp"))]
    pub(crate) fn unread(self, detail: String) -> Unread {
        match self {
            Self::Throttled(_) => Unread::secret(unread::THROTTLED, detail),
            Self::Failed(_) | Self::Misdirected => Unread::secret(unread::UNAVAILABLE, detail),
            Self::Unreachable => Unread::store(unread::UNAVAILABLE, detail),
            Self::Expired => Unread::store(unread::CREDENTIALS_EXPIRED, detail),
            Self::Refused => Unread::secret(unread::DENIED, detail),
            Self::Final | Self::Unusable => Unread::secret(unread::UNREADABLE, detail),
        }
    }
}

/// The attempts of one call.
pub(crate) struct Attempts<'a> {
    /// None for a login, which takes no rate permit.
    limiter: Option<&'a RateLimiter>,
    effect: Effect,
    throttled: Pauses,
    failed: Pauses,
}

impl<'a> Attempts<'a> {
    /// The attempts of a call that takes rate permits.
    pub(super) fn at(limiter: &'a RateLimiter, effect: Effect) -> Self {
        Self {
            limiter: Some(limiter),
            effect,
            ..Self::unpaced(limiter.backoff())
        }
    }

    /// The attempts of a login, which takes no rate permits.
    pub(crate) fn unpaced(backoff: Backoff) -> Self {
        Self {
            limiter: None,
            effect: Effect::Read,
            throttled: pauses(backoff, THROTTLED),
            failed: pauses(backoff, FAILED),
        }
    }

    /// Waits and returns true if the call should be retried after this error. Throttling and failures are counted separately,
    /// because a provider that throttles is not failing.
    pub(crate) async fn again(&mut self, class: ErrorClass) -> bool {
        let (pauses, asked) = match class {
            ErrorClass::Throttled(asked) => {
                // The limiter delays all calls of the quota by the `Retry-After`. The backoff applies too, because a provider
                // that rounds down may send 0.
                let asked = match self.limiter {
                    Some(limiter) => {
                        limiter.throttled(asked);
                        None
                    }
                    None => asked,
                };
                (&mut self.throttled, asked)
            }
            ErrorClass::Failed(_) if self.effect == Effect::Write => return false,
            ErrorClass::Failed(asked) => (&mut self.failed, asked),
            ErrorClass::Unreachable => (&mut self.failed, None),
            ErrorClass::Final
            | ErrorClass::Unusable
            | ErrorClass::Misdirected
            | ErrorClass::Expired
            | ErrorClass::Refused => return false,
        };
        let Some(pause) = pauses.next() else {
            return false;
        };
        let asked = asked.unwrap_or_default().min(LONGEST_PAUSE);
        tokio::time::sleep(pause.max(asked)).await;
        true
    }
}

/// The seconds of a `Retry-After`. (The providers do not send the form with a date.)
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
pub(crate) fn retry_after(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use pace::rate::Rate;
    use tokio::time::Instant;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter() -> RateLimiter {
        RateLimiter::new(Rate::per_second(1000.0).unwrap())
    }

    /// Retries until no attempt is left. Returns the number of attempts and the time.
    async fn exhausted(
        limiter: &RateLimiter,
        effect: Effect,
        class: ErrorClass,
    ) -> (usize, Duration) {
        let (start, mut attempts, mut made) = (Instant::now(), Attempts::at(limiter, effect), 1);
        while attempts.again(class).await {
            made += 1;
        }
        (made, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn throttled_call_has_eight_attempts() {
        for asked in [None, Some(Duration::ZERO)] {
            let (made, took) =
                exhausted(&limiter(), Effect::Read, ErrorClass::Throttled(asked)).await;
            assert_eq!(made, THROTTLED);
            // 0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 5 + 5 s, plus jitter.
            assert!((16 * SECOND..33 * SECOND).contains(&took), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_call_has_four_attempts() {
        for class in [ErrorClass::Failed(None), ErrorClass::Unreachable] {
            let (made, took) = exhausted(&limiter(), Effect::Read, class).await;
            assert_eq!(made, FAILED);
            assert!(took < 3 * SECOND, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_and_failures_are_counted_separately() {
        let (limiter, mut made) = (limiter(), 1);
        let mut attempts = Attempts::at(&limiter, Effect::Read);
        while attempts.again(ErrorClass::Failed(None)).await
            && attempts.again(ErrorClass::Throttled(None)).await
        {
            made += 2;
        }
        assert_eq!(made, 1 + 2 * (FAILED - 1));
    }

    #[tokio::test(start_paused = true)]
    async fn answered_call_is_not_retried() {
        for class in [
            ErrorClass::Final,
            ErrorClass::Unusable,
            ErrorClass::Misdirected,
            ErrorClass::Expired,
            ErrorClass::Refused,
        ] {
            assert_eq!(
                exhausted(&limiter(), Effect::Read, class).await,
                (1, Duration::ZERO)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn write_is_retried_only_if_nothing_was_done() {
        let made = async |class| exhausted(&limiter(), Effect::Write, class).await.0;
        assert_eq!(made(ErrorClass::Failed(None)).await, 1);
        assert_eq!(made(ErrorClass::Failed(Some(SECOND))).await, 1);
        assert_eq!(made(ErrorClass::Throttled(None)).await, THROTTLED);
        assert_eq!(made(ErrorClass::Unreachable).await, FAILED);
        let repeated = Effect::RepeatableWrite;
        let failed = ErrorClass::Failed(None);
        assert_eq!(exhausted(&limiter(), repeated, failed).await.0, FAILED);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_of_a_throttled_call_delays_all_calls() {
        let limiter = limiter();
        let start = Instant::now();
        let asked = ErrorClass::Throttled(Some(9 * SECOND));
        assert!(Attempts::at(&limiter, Effect::Read).again(asked).await);
        limiter.permit().await;
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_of_a_failed_call_delays_only_that_call() {
        let limiter = limiter();
        for (asked, slept) in [(9, 9), (u64::MAX, 60)] {
            let start = Instant::now();
            let asked = ErrorClass::Failed(Some(Duration::from_secs(asked)));
            assert!(Attempts::at(&limiter, Effect::Read).again(asked).await);
            assert_eq!(start.elapsed().as_secs(), slept);
        }
        let start = Instant::now();
        limiter.permit().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "other calls do not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn login_honours_retry_after() {
        let start = Instant::now();
        let asked = ErrorClass::Throttled(Some(9 * SECOND));
        assert!(Attempts::unpaced(Backoff::default()).again(asked).await);
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
    #[test]
    fn retry_after_accepts_seconds_only() {
        assert_eq!(retry_after(" 7 "), Some(7 * SECOND));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(retry_after("-1"), None);
    }
}
