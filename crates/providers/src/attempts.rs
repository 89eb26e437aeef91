//! How often one call is tried, and how many are on their way at once. The clients' own retries are off, so that each attempt
//! takes a turn and is counted.

use std::time::Duration;

use futures::{StreamExt as _, future::BoxFuture, stream};

use super::{Turns, turns::LONGEST_PAUSE as LONGEST_ASKED};

/// So often a call is tried that the provider throttles.
const THROTTLED: u32 = 8;

/// So often one is tried that got no answer, or one of the provider's own failure.
const FAILED: u32 = 4;

/// The first pause where the provider does not say how long to wait; it doubles each time.
const PAUSE: Duration = Duration::from_millis(200);

/// No pause of ours is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// So many calls are on their way at once. How many go in a second is the pace's affair.
const IN_FLIGHT: usize = 8;

/// Makes these calls, several at once.
pub(super) async fn in_flight<T>(calls: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(calls)
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await
}

/// What an error means for the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It was too much; after this time at the earliest, if the provider said so.
    Throttled(Option<Duration>),
    /// It may work the next time; after this time at the earliest, if the provider said so.
    Transient(Option<Duration>),
    /// Nobody answers. It may be otherwise the next time; where it is not, nobody answers other calls either.
    Unreachable,
    /// The credentials are out of date.
    Expired,
    /// It will not.
    Never,
}

/// The attempts at one call.
pub(super) struct Attempts<'a> {
    turns: &'a Turns,
    throttled: u32,
    failed: u32,
}

impl<'a> Attempts<'a> {
    /// None yet.
    pub(super) const fn new(turns: &'a Turns) -> Self {
        Self {
            turns,
            throttled: 0,
            failed: 0,
        }
    }

    /// Waits until the next may go, and counts it.
    pub(super) async fn turn(&self) {
        self.turns.turn().await;
    }

    /// Whether there is another after this error; if so, when the time for it has come. A wait that a provider names which
    /// throttles is that of the next turn; the pause is slept all the same, for who rounds down names no time at all.
    pub(super) async fn again(&mut self, error: Again) -> bool {
        let (tried, limit, asked) = match error {
            Again::Never | Again::Expired => return false,
            Again::Throttled(retry_after) => {
                self.turns.throttled(retry_after);
                self.throttled += 1;
                (self.throttled, THROTTLED, None)
            }
            Again::Transient(retry_after) => {
                self.failed += 1;
                (self.failed, FAILED, retry_after)
            }
            Again::Unreachable => {
                self.failed += 1;
                (self.failed, FAILED, None)
            }
        };
        let left = tried < limit;
        if left {
            let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
            tokio::time::sleep(pause(tried).max(asked)).await;
        }
        left
    }
}

/// The pause after so many attempts: doubled each time, and up to half of it left to chance, lest all that failed together come
/// back together.
fn pause(tried: u32) -> Duration {
    let whole = PAUSE
        .saturating_mul(1 << tried.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The seconds of a `Retry-After`. (The clouds do not send the form with a date.)
pub(super) fn retry_after(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use pace::rate::Rate;
    use tokio::time::Instant;

    use super::*;

    fn turns() -> Turns {
        Turns::new(Rate::per_second(1000.0).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_throttled_for_ever_is_given_up() {
        let turns = turns();
        let mut attempts = Attempts::new(&turns);
        let start = Instant::now();
        let mut tried = 1;
        while attempts.again(Again::Throttled(None)).await {
            tried += 1;
        }
        assert_eq!(tried, THROTTLED);
        assert!(
            start.elapsed() > Duration::from_secs(11),
            "{:?}",
            start.elapsed()
        );
        assert!(
            start.elapsed() < Duration::from_secs(24),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_provider_names_holds_all_turns_back() {
        let turns = turns();
        let mut attempts = Attempts::new(&turns);
        let start = Instant::now();
        assert!(
            attempts
                .again(Again::Throttled(Some(Duration::from_secs(9))))
                .await
        );
        turns.turn().await;
        assert_eq!(start.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_of_no_time_does_not_do_away_with_the_pauses() {
        let turns = turns();
        let mut attempts = Attempts::new(&turns);
        let start = Instant::now();
        while attempts.again(Again::Throttled(Some(Duration::ZERO))).await {}
        assert!(
            start.elapsed() > Duration::from_secs(11),
            "{:?}",
            start.elapsed()
        );
    }

    /// Of this call alone: the provider did not say that it is too much.
    #[tokio::test(start_paused = true)]
    async fn a_failure_that_says_when_it_is_over_is_waited_out() {
        let turns = turns();
        for (asked, slept) in [(9, 9), (u64::MAX, 60)] {
            let mut attempts = Attempts::new(&turns);
            let start = Instant::now();
            let asked = Some(Duration::from_secs(asked));
            assert!(attempts.again(Again::Transient(asked)).await);
            assert_eq!(start.elapsed().as_secs(), slept);
        }
        let start = Instant::now();
        turns.turn().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "others go on");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_a_few_times_and_others_never() {
        let turns = turns();
        let mut attempts = Attempts::new(&turns);
        let mut tried = 1;
        while attempts.again(Again::Transient(None)).await {
            tried += 1;
        }
        assert_eq!(tried, FAILED);
        for never in [Again::Never, Again::Expired] {
            assert!(!Attempts::new(&turns).again(never).await);
        }
    }

    #[test]
    fn only_seconds_are_taken() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(retry_after("-1"), None);
    }
}
