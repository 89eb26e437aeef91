//! The rate limiter for provider calls that the operator makes: it limits how many of them may be outstanding.
//!
//! A request to sync reaches the provider only when the operator gets to it. If the operator is slower than the provider's rate,
//! pacing the requests protects nobody, and it slows the operator down: after each sync it looks at the ExternalSecret a second
//! time, and these second passes then compete with the syncs that were requested late. So the loop is closed on the operator's
//! answers:
//!
//! - A token bucket at the rate, for two seconds at most, always allows a call.
//! - While the operator answers at most 80 % of the rate, more may be outstanding than the bucket allows: as much as would
//!   reach the rate if the operator became faster in proportion. These calls are paid for too, so that the bucket is empty if the
//!   operator turns out to be fast.
//! - No more is outstanding than the operator answers in two minutes, so that what others create does not wait longer behind
//!   it, and no more than 60 seconds' worth of the rate, which is what a provider that becomes fast gets at once. Until the
//!   operator's speed is known, two seconds' worth of the rate.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{Adaptive, rate::Rate};

/// What may start at once, as time at the rate.
const START: Duration = Duration::from_secs(2);

/// The number of answers from which the speed is known.
const ENOUGH: u32 = 10;

/// The share of the rate up to which the operator counts as slower than the provider's rate.
const SLOWER: f64 = 0.8;

/// As much is outstanding as the operator answers in this time.
const QUEUE: Duration = Duration::from_mins(2);

/// The most that is outstanding, as time at the rate.
const MOST: Duration = Duration::from_mins(1);

/// The seconds over which the operator's speed is measured.
const MEASURED: usize = 20;

const SECOND: Duration = Duration::from_secs(1);

/// The rate limiter for the calls of one account. It is driven by what starts, what ends, and the time.
#[derive(Clone, Debug)]
pub struct ClosedLoop {
    pace: Adaptive,
    has_window: bool,
    /// The calls that have started and not ended.
    outstanding: u32,
    answers: u32,
    /// The last seconds, oldest first, and the current one at the end.
    seconds: VecDeque<Second>,
    /// The start of the current second.
    second: Instant,
    updated: Instant,
}

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// The calls that the operator answered for.
    answered: u32,
    /// The average number of outstanding calls.
    outstanding: f64,
}

impl ClosedLoop {
    pub fn new(rate: Rate) -> Self {
        Self::from(Adaptive::with_burst(rate, START), true)
    }

    /// Only a token bucket, for a caller that limits itself what is outstanding.
    pub fn without_window(rate: Rate) -> Self {
        Self::from(Adaptive::new(rate), false)
    }

    fn from(pace: Adaptive, has_window: bool) -> Self {
        let now = Instant::now();
        Self {
            pace,
            has_window,
            outstanding: 0,
            answers: 0,
            seconds: VecDeque::from([Second::default()]),
            second: now,
            updated: now,
        }
    }

    /// True if `cost` more calls may start now. Otherwise the time at which they may, or None if something must end first.
    pub fn ready(&mut self, now: Instant, cost: u32) -> Result<(), Option<Instant>> {
        self.advance(now);
        let after = f64::from(self.outstanding) + f64::from(cost);
        let bucket = self.pace.ready(now, cost);
        if self.has_window {
            if self.outstanding > 0 && after > self.most(now) {
                return Err(None);
            }
            if self.window().is_some_and(|window| after <= window) {
                return Ok(());
            }
        }
        bucket.map_err(|wait| Some(now + wait))
    }

    /// Records the start of so many calls.
    pub fn start(&mut self, now: Instant, cost: u32) {
        self.advance(now);
        self.outstanding = self.outstanding.saturating_add(cost);
        self.pace.pay(now, cost);
    }

    /// Records the end of calls. `answered` is true if the operator made them.
    pub fn end(&mut self, now: Instant, cost: u32, answered: bool) {
        self.advance(now);
        self.outstanding = self.outstanding.saturating_sub(cost);
        if answered && let Some(second) = self.seconds.back_mut() {
            second.answered = second.answered.saturating_add(cost);
            self.answers = self.answers.saturating_add(1);
        }
    }

    /// Records that the provider throttled: halves the rate, and allows only what the token bucket allows until it has
    /// recovered. Returns false if the throttling belongs to an overload that was already handled.
    pub fn throttled(&mut self, now: Instant) -> bool {
        self.pace.throttled(now)
    }

    /// The current rate per second.
    pub const fn current_rate(&self) -> f64 {
        self.pace.current_rate()
    }

    /// The calls that may be outstanding at most.
    fn most(&self, now: Instant) -> f64 {
        let rate = self.current_rate();
        let least = rate * START.as_secs_f64();
        if self.answers < ENOUGH {
            return least;
        }
        let answered: u32 = self.seconds.iter().map(|second| second.answered).sum();
        #[expect(clippy::cast_precision_loss, reason = "at most ten")]
        let whole = (self.seconds.len() - 1) as f64;
        let current = now.saturating_duration_since(self.second).as_secs_f64();
        let speed = f64::from(answered) / (whole + current).max(1.0);
        (speed * QUEUE.as_secs_f64()).clamp(least, rate * MOST.as_secs_f64())
    }

    /// The calls that may be outstanding although the token bucket does not allow them: as many as would reach the rate if the
    /// operator became faster in proportion. None unless the operator answered in each of the last two seconds, and at most
    /// 80 % of the rate: only then its speed is known, and it is not waiting for us.
    fn window(&self) -> Option<f64> {
        let mut latest = self.seconds.iter().rev();
        let (current, last, before) = (latest.next()?, latest.next()?, latest.next()?);
        if self.answers < ENOUGH || last.answered == 0 || before.answered == 0 {
            return None;
        }
        let speed = f64::from(current.answered.max(last.answered).max(before.answered));
        let rate = self.current_rate();
        let slower = !self.pace.is_reduced() && speed <= SLOWER * rate;
        slower.then(|| f64::midpoint(last.outstanding, before.outstanding) * rate / speed)
    }

    /// Brings the record of the last seconds up to this time.
    fn advance(&mut self, now: Instant) {
        while now > self.updated {
            let end = self.second + SECOND;
            let until = now.min(end);
            if let Some(second) = self.seconds.back_mut() {
                let time = (until - self.updated).as_secs_f64();
                second.outstanding += f64::from(self.outstanding) * time;
            }
            self.updated = until;
            if until == end {
                self.second = end;
                self.seconds.push_back(Second::default());
                if self.seconds.len() > MEASURED + 1 {
                    self.seconds.pop_front();
                }
            }
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
