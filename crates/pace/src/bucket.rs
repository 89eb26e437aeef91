//! Rate limiters: a token bucket with a fixed rate, and one that adapts to provider throttling.
//!
//! The algorithm is GCRA (the generic cell rate algorithm). It keeps one time instead of a number of tokens, so it is exact.

use std::time::Duration;

use tokio::time::Instant;

use crate::rate::Rate;

/// The default burst. Calls that were not made in this time may be made at once.
const BURST: Duration = Duration::from_millis(200);

/// A token bucket with one rate. At least one call may always be made at once.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    burst: Duration,
    /// The time at which the bucket is full again. If it is later than the burst, calls were made in advance.
    full: Instant,
}

impl Bucket {
    /// A full bucket for the calls of this time.
    pub(crate) fn with_burst(rate: Rate, burst: Duration) -> Self {
        Self {
            rate,
            burst,
            full: Instant::now(),
        }
    }

    /// Returns the time to wait for a call that costs `cost`. A call that costs more than the burst waits until the bucket is
    /// full. The rest of its cost is paid before the next call.
    pub(crate) fn ready(&self, now: Instant, cost: u32) -> Result<(), Duration> {
        let burst = self.burst.max(self.rate.time_of(1));
        let price = self.rate.time_of(cost).min(burst);
        let due = self.full.max(now) + price;
        match due.saturating_duration_since(now + burst) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Pays for a call. It need not be ready: then the next calls wait longer.
    pub(crate) fn pay(&mut self, now: Instant, cost: u32) {
        self.full = self.full.max(now) + self.rate.time_of(cost);
    }

    /// Changes the rate. What was paid in advance stays the same number of calls. The burst starts empty, or each change of the
    /// rate would allow one.
    fn set(&mut self, now: Instant, rate: Rate) {
        let owed = self.full.saturating_duration_since(now + self.burst);
        let owed = owed.mul_f64(self.rate.as_per_second() / rate.as_per_second());
        self.rate = rate;
        self.full = now + owed + self.burst.max(rate.time_of(1));
    }
}

/// A rate limiter that halves its rate when the provider throttles, and recovers slowly.
#[derive(Clone, Debug)]
pub struct Adaptive {
    base: Rate,
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
        Self::with_burst(base, BURST)
    }

    pub(crate) fn with_burst(base: Rate, burst: Duration) -> Self {
        Self {
            base,
            bucket: Bucket::with_burst(base, burst),
            changed: Instant::now(),
        }
    }

    /// The current rate per second.
    pub const fn current_rate(&self) -> f64 {
        self.bucket.rate.as_per_second()
    }

    /// True until the rate has recovered from throttling.
    pub fn is_reduced(&self) -> bool {
        self.current_rate() < self.base.as_per_second()
    }

    /// Halves the rate because the provider throttled. Returns false if the throttling belongs to an overload that was
    /// already handled.
    pub fn throttled(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.changed);
        let echo = self.is_reduced() && since < OVERLOAD_WINDOW;
        if !echo {
            let least = self.base.as_per_second() * MIN_SHARE;
            self.set(now, (self.current_rate() / 2.0).max(least));
        }
        !echo
    }

    /// Takes a permit for a call, or returns the time to wait.
    pub fn take(&mut self) -> Result<(), Duration> {
        let now = Instant::now();
        self.ready(now, 1)?;
        self.pay(now, 1);
        Ok(())
    }

    /// Returns the time to wait for a call that costs `cost`, as `Bucket::ready`.
    pub fn ready(&mut self, now: Instant, cost: u32) -> Result<(), Duration> {
        if self.is_reduced() && now.saturating_duration_since(self.changed) >= RECOVERY_INTERVAL {
            let base = self.base.as_per_second();
            self.set(now, (self.current_rate() + base / 10.0).min(base));
        }
        self.bucket.ready(now, cost)
    }

    /// Pays for a call.
    pub fn pay(&mut self, now: Instant, cost: u32) {
        self.bucket.pay(now, cost);
    }

    fn set(&mut self, now: Instant, per_second: f64) {
        if let Some(rate) = Rate::per_second(per_second) {
            self.bucket.set(now, rate);
            self.changed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> Rate {
        Rate::per_second(per_second).unwrap()
    }

    /// Makes calls of this cost as early as possible. Returns the time of the last one.
    fn time_of_calls(mut bucket: Bucket, cost: u32, count: usize) -> Duration {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..count {
            if let Err(wait) = bucket.ready(now, cost) {
                now += wait;
            }
            bucket.pay(now, cost);
        }
        now - start
    }

    #[tokio::test(start_paused = true)]
    async fn rate_is_exact_to_the_millisecond() {
        let bucket = Bucket::with_burst(rate(5.0), BURST);
        assert_eq!(time_of_calls(bucket, 1, 101).as_millis(), 20_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_a_second_works() {
        let bucket = Bucket::with_burst(rate(0.1), BURST);
        assert_eq!(time_of_calls(bucket, 1, 4).as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn call_cost_is_charged() {
        let bucket = Bucket::with_burst(rate(5.0), BURST);
        assert_eq!(
            time_of_calls(bucket, 10, 11).as_millis(),
            20_000,
            "ten calls of cost ten are paid before the eleventh starts"
        );
        let bucket = Bucket::with_burst(rate(5.0), Duration::from_secs(2));
        assert_eq!(
            time_of_calls(bucket, 3, 4).as_millis(),
            400,
            "ten are paid at the start, and two more after 400 ms"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_rate_and_it_recovers_slowly() {
        let mut pace = Adaptive::new(rate(8.0));
        let start = Instant::now();
        assert!(pace.throttled(start));
        assert!((pace.current_rate() - 4.0).abs() < 1e-9);
        assert!(!pace.throttled(start), "belongs to the same overload");
        let mut now = start + OVERLOAD_WINDOW;
        assert!(pace.throttled(now));
        assert!((pace.current_rate() - 2.0).abs() < 1e-9);
        now += RECOVERY_INTERVAL;
        pace.ready(now, 1).ok();
        assert!((pace.current_rate() - 2.8).abs() < 1e-9);
        for _ in 0..20 {
            now += RECOVERY_INTERVAL;
            pace.ready(now, 1).ok();
        }
        assert!(
            (pace.current_rate() - 8.0).abs() < 1e-9,
            "must not exceed the base rate"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_rate_allows_no_burst_and_forgives_no_debt() {
        let mut pace = Adaptive::with_burst(rate(10.0), Duration::from_secs(2));
        let now = Instant::now();
        pace.throttled(now);
        assert_eq!(pace.ready(now, 1), Err(Duration::from_millis(200)));
        let mut pace = Adaptive::with_burst(rate(10.0), Duration::from_secs(2));
        pace.pay(now, 30);
        pace.throttled(now);
        assert_eq!(
            pace.ready(now, 1),
            Err(Duration::from_millis(2200)),
            "ten calls were made in advance, and five per second are allowed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_never_stops_all_calls() {
        let mut pace = Adaptive::new(rate(64.0));
        let mut now = Instant::now();
        for _ in 0..50 {
            now += OVERLOAD_WINDOW;
            pace.throttled(now);
        }
        assert!((pace.current_rate() - 1.0).abs() < 1e-9);
    }
}
