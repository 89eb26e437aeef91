//! Rate limiters: a token bucket with a fixed rate, and one that adapts to provider throttling.
//!
//! The algorithm is governor's (GCRA), driven by tokio's clock. Governor's own clock ignores tokio's paused time, so
//! every test of a rate would have to wait in real time.

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

/// A token bucket with one rate. The burst is limited to a fifth of the requests of one second.
#[derive(Debug)]
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>,
    /// The cost of the last call beyond 1. It is paid before the next call may go.
    debt: u32,
}

impl Bucket {
    pub fn new(rate: Rate) -> Self {
        let per_second = rate.as_per_second();
        let period =
            Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::from_hours(1));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a small range"
        )]
        let burst = NonZeroU32::new((per_second / 5.0).clamp(1.0, 1000.0) as u32)
            .unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period.max(Duration::from_nanos(1)))
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, TokioClock),
            debt: 0,
        }
    }

    /// Takes one permit, or returns the time to wait.
    pub fn take(&mut self) -> Result<(), Duration> {
        self.ready()?;
        self.take_weighted(1)
    }

    /// Takes a permit for a call that costs `cost`, or returns the time to wait. The call may go at once; its cost beyond
    /// 1 is paid before the next call.
    pub fn take_weighted(&mut self, cost: u32) -> Result<(), Duration> {
        self.ready()?;
        self.one()?;
        self.debt = cost.saturating_sub(1);
        Ok(())
    }

    /// Pays off the debt as far as the rate allows.
    fn ready(&mut self) -> Result<(), Duration> {
        while self.debt > 0 {
            self.one()?;
            self.debt -= 1;
        }
        Ok(())
    }

    fn one(&self) -> Result<(), Duration> {
        self.limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(TokioClock.now()))
    }
}

/// A rate limiter that halves its rate when the provider throttles, and recovers slowly.
#[derive(Debug)]
pub struct Adaptive {
    base: Rate,
    current_rate: f64,
    bucket: Bucket,
    changed: Instant,
}

/// Throttling reported within this time of the last reduction belongs to the same overload and is ignored.
const OVERLOAD_WINDOW: Duration = Duration::from_secs(1);

/// After this time without throttling, the rate rises by a tenth of the base rate.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(5);

/// The lowest rate, as a share of the base rate.
const MIN_SHARE: f64 = 1.0 / 64.0;

impl Adaptive {
    /// Starts at the base rate.
    pub fn new(base: Rate) -> Self {
        Self {
            base,
            current_rate: base.as_per_second(),
            bucket: Bucket::new(base),
            changed: Instant::now(),
        }
    }

    /// The current rate per second.
    pub const fn current_rate(&self) -> f64 {
        self.current_rate
    }

    /// Halves the rate because the provider throttled. Returns false if the throttling belongs to an overload that was
    /// already handled.
    pub fn throttled(&mut self) -> bool {
        let echo = self.current_rate < self.base.as_per_second()
            && self.changed.elapsed() < OVERLOAD_WINDOW;
        if !echo {
            self.set((self.current_rate / 2.0).max(self.base.as_per_second() * MIN_SHARE));
        }
        !echo
    }

    /// Takes a permit for a call that costs `cost`, or returns the time to wait.
    pub fn take_weighted(&mut self, cost: u32) -> Result<(), Duration> {
        if self.current_rate < self.base.as_per_second()
            && self.changed.elapsed() >= RECOVERY_INTERVAL
        {
            let base = self.base.as_per_second();
            self.set((self.current_rate + base / 10.0).min(base));
        }
        self.bucket.take_weighted(cost)
    }

    fn set(&mut self, per_second: f64) {
        if let Some(rate) = Rate::per_second(per_second) {
            let debt = self.bucket.debt;
            self.current_rate = per_second;
            self.bucket = Bucket {
                debt,
                ..Bucket::new(rate)
            };
            // A new bucket is full. Empty it, or each change of the rate would allow a burst.
            while self.bucket.one().is_ok() {}
            self.changed = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> Rate {
        Rate::per_second(per_second).unwrap()
    }

    async fn take_all(mut take: impl FnMut() -> Result<(), Duration>, count: usize) -> Duration {
        let start = Instant::now();
        for _ in 0..count {
            while let Err(wait) = take() {
                tokio::time::sleep(wait).await;
            }
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn rate_is_exact_to_the_millisecond() {
        let mut bucket = Bucket::new(rate(5.0));
        assert_eq!(take_all(|| bucket.take(), 101).await.as_millis(), 20_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_a_second_works() {
        let mut bucket = Bucket::new(rate(0.1));
        assert_eq!(take_all(|| bucket.take(), 4).await.as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn call_cost_is_charged() {
        let mut bucket = Bucket::new(rate(5.0));
        let spent = take_all(|| bucket.take_weighted(10), 11).await;
        assert_eq!(
            spent.as_millis(),
            20_000,
            "ten calls of cost ten are paid before the eleventh starts"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_rate_and_it_recovers_slowly() {
        let mut pace = Adaptive::new(rate(8.0));
        assert!(pace.throttled());
        assert!((pace.current_rate() - 4.0).abs() < 1e-9);
        assert!(!pace.throttled(), "belongs to the same overload");
        tokio::time::advance(OVERLOAD_WINDOW).await;
        assert!(pace.throttled());
        assert!((pace.current_rate() - 2.0).abs() < 1e-9);
        tokio::time::advance(RECOVERY_INTERVAL).await;
        pace.take_weighted(1).ok();
        assert!((pace.current_rate() - 2.8).abs() < 1e-9);
        for _ in 0..20 {
            tokio::time::advance(RECOVERY_INTERVAL).await;
            pace.take_weighted(1).ok();
        }
        assert!(
            (pace.current_rate() - 8.0).abs() < 1e-9,
            "must not exceed the base rate"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_never_stops_all_calls() {
        let mut pace = Adaptive::new(rate(64.0));
        for _ in 0..50 {
            tokio::time::advance(OVERLOAD_WINDOW).await;
            pace.throttled();
        }
        assert!((pace.current_rate() - 1.0).abs() < 1e-9);
    }
}
