//! The rate limiter of requests to the Kubernetes API: governor, driven by tokio's clock. Governor's own clock ignores tokio's
//! paused time, so every test of a rate would have to wait in real time.
//!
//! Providers have limiters of their own (`bucket`, `closed_loop`): a sync needs permits of several accounts at once, so
//! each limiter is asked before any of them is charged, which governor cannot do.

use std::{num::NonZeroU32, ops::Add, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

use crate::rate::Rate;

#[derive(Clone, Copy, Debug, Default)]
struct TokioClock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TokioInstant(Instant);

impl Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(Instant::now())
    }
}

impl Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Add<Nanos> for TokioInstant {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0 + Duration::from(duration))
    }
}

/// A rate limiter that many tasks can share.
#[derive(Debug)]
pub struct Requests(RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>);

impl Requests {
    /// Requests that were not made in the time `burst` may be made at once. At least one may always be.
    pub fn new(rate: Rate, burst: Duration) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a small range"
        )]
        let at_once = (rate.as_per_second() * burst.as_secs_f64()).clamp(1.0, 1e6) as u32;
        let quota = Quota::with_period(rate.time_of(1).max(Duration::from_nanos(1)))
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN));
        Self(RateLimiter::direct_with_clock(quota, TokioClock))
    }

    /// Takes a permit, or returns the time to wait.
    pub fn take(&self) -> Result<(), Duration> {
        self.0
            .check()
            .map_err(|not_until| not_until.wait_time_from(TokioClock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn time_of(limiter: &Requests, count: usize) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            while let Err(wait) = limiter.take() {
                tokio::time::sleep(wait).await;
            }
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_follow_the_rate_after_the_burst() {
        let rate = Rate::per_second(10.0).unwrap();
        let limiter = Requests::new(rate, Duration::from_secs(2));
        assert_eq!(time_of(&limiter, 20).await, Duration::ZERO);
        assert_eq!(time_of(&limiter, 30).await.as_millis(), 3000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_a_second_works() {
        let rate = Rate::per_second(0.1).unwrap();
        let limiter = Requests::new(rate, Duration::from_secs(2));
        assert_eq!(time_of(&limiter, 4).await.as_secs(), 30);
    }
}
