//! Rates: a bucket that follows governor's algorithm on tokio's clock, and a lane that adapts to throttling.
//!
//! Governor brings the algorithm (GCRA); its own clock and timer are not used, since they ignore tokio's paused time and
//! would make every test of a rate wait for real.

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

/// Tokio's clock for governor.
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

/// One rate. At most a fifth of a second's worth goes out at once, so that a rate is a rate and not a burst.
#[derive(Debug)]
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>,
    /// What the last one taken cost beyond one; paid before the next goes.
    owed: u32,
}

impl Bucket {
    /// A full bucket.
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
            owed: 0,
        }
    }

    /// Takes one, or says how long to wait.
    pub fn take(&mut self) -> Result<(), Duration> {
        self.ready()?;
        self.take_weighted(1)
    }

    /// Takes something that costs `cost`, or says how long to wait. The first call goes at once; what it costs beyond one
    /// is paid before the next.
    pub fn take_weighted(&mut self, cost: u32) -> Result<(), Duration> {
        self.ready()?;
        self.one()?;
        self.owed = cost.saturating_sub(1);
        Ok(())
    }

    /// Pays what is owed, as far as the rate allows.
    fn ready(&mut self) -> Result<(), Duration> {
        while self.owed > 0 {
            self.one()?;
            self.owed -= 1;
        }
        Ok(())
    }

    fn one(&self) -> Result<(), Duration> {
        self.limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(TokioClock.now()))
    }
}

/// A rate that halves when the provider throttles, and comes back slowly.
#[derive(Debug)]
pub struct Adaptive {
    base: Rate,
    present: f64,
    bucket: Bucket,
    changed: Instant,
}

/// Throttling reported within this time of the last cut is the echo of the same overload.
const ECHO: Duration = Duration::from_secs(1);

/// Quiet for this long raises the rate by a tenth of the base.
const QUIET: Duration = Duration::from_secs(5);

/// However much a provider throttles, this share of the base stays.
const FLOOR: f64 = 1.0 / 64.0;

impl Adaptive {
    /// Starts at its base.
    pub fn new(base: Rate) -> Self {
        Self {
            base,
            present: base.as_per_second(),
            bucket: Bucket::new(base),
            changed: Instant::now(),
        }
    }

    /// The rate as it is now, per second.
    pub const fn present(&self) -> f64 {
        self.present
    }

    /// The provider throttled: half the rate, at once. False where this is the echo of an overload already answered.
    pub fn throttled(&mut self) -> bool {
        let echo = self.present < self.base.as_per_second() && self.changed.elapsed() < ECHO;
        if !echo {
            self.set((self.present / 2.0).max(self.base.as_per_second() * FLOOR));
        }
        !echo
    }

    /// Takes something that costs `cost`, or says how long to wait.
    pub fn take_weighted(&mut self, cost: u32) -> Result<(), Duration> {
        if self.present < self.base.as_per_second() && self.changed.elapsed() >= QUIET {
            let base = self.base.as_per_second();
            self.set((self.present + base / 10.0).min(base));
        }
        self.bucket.take_weighted(cost)
    }

    fn set(&mut self, per_second: f64) {
        if let Some(rate) = Rate::per_second(per_second) {
            let owed = self.bucket.owed;
            self.present = per_second;
            self.bucket = Bucket {
                owed,
                ..Bucket::new(rate)
            };
            // A new bucket is full; without this each change of the rate would let a burst go.
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
    async fn a_rate_is_kept_to_the_millisecond() {
        let mut bucket = Bucket::new(rate(5.0));
        assert_eq!(take_all(|| bucket.take(), 101).await.as_millis(), 20_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_a_second_works() {
        let mut bucket = Bucket::new(rate(0.1));
        assert_eq!(take_all(|| bucket.take(), 4).await.as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn cost_weighs() {
        let mut bucket = Bucket::new(rate(5.0));
        let spent = take_all(|| bucket.take_weighted(10), 11).await;
        assert_eq!(
            spent.as_millis(),
            20_000,
            "ten of cost ten are paid before the eleventh goes"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_at_once_and_quiet_restores_slowly() {
        let mut pace = Adaptive::new(rate(8.0));
        assert!(pace.throttled());
        assert!((pace.present() - 4.0).abs() < 1e-9);
        assert!(!pace.throttled(), "the echo of the same overload");
        tokio::time::advance(ECHO).await;
        assert!(pace.throttled());
        assert!((pace.present() - 2.0).abs() < 1e-9);
        tokio::time::advance(QUIET).await;
        pace.take_weighted(1).ok();
        assert!((pace.present() - 2.8).abs() < 1e-9);
        for _ in 0..20 {
            tokio::time::advance(QUIET).await;
            pace.take_weighted(1).ok();
        }
        assert!((pace.present() - 8.0).abs() < 1e-9, "never above the base");
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_never_stops_a_lane() {
        let mut pace = Adaptive::new(rate(64.0));
        for _ in 0..50 {
            tokio::time::advance(ECHO).await;
            pace.throttled();
        }
        assert!((pace.present() - 1.0).abs() < 1e-9);
    }
}
