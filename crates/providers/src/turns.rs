//! The pace of reads, and their count: what shares a quota takes turns at one rate, which adapts to throttling.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pace::{Adaptive, rate::Rate};
use tokio::time::Instant;

/// However long a provider asks for, nobody waits longer: who answers may be a tenant's server, and what it holds up is others'.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long one read may wait for its provider, beyond what its calls give it.
const PATIENCE: Duration = Duration::from_mins(2);

/// What each call adds. Several are on their way at once: one that takes ten times as long is still within it.
const PATIENCE_PER_CALL: Duration = Duration::from_secs(1);

/// How often it is looked who waits for whom.
const GLANCE: Duration = Duration::from_secs(1);

/// The pauses between attempts: exponential, with jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first pause. Each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
        }
    }
}

/// The turns at one quota, and the rate that one store may have on top.
#[derive(Clone, Debug)]
pub struct Turns {
    quota: Arc<Quota>,
    store: Option<Arc<Line>>,
    meter: Arc<Meter>,
    backoff: Backoff,
}

/// How those who read one thing get on.
#[derive(Debug, Default)]
struct Meter {
    /// Who waits for a turn: then it is the pace that is waited for, and not the provider.
    waiting: AtomicUsize,
    calls: AtomicU64,
}

/// Waits for a turn as long as it lives.
struct Waiting<'a>(&'a Meter);

impl<'a> Waiting<'a> {
    fn at(meter: &'a Meter) -> Self {
        meter.waiting.fetch_add(1, Ordering::Relaxed);
        Self(meter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What shares a quota.
#[derive(Debug)]
struct Quota {
    line: Line,
    calls: AtomicU64,
    /// Nothing goes before this: the provider said how long to wait.
    not_before: Mutex<Option<Instant>>,
}

/// Who waits at one rate; the line is fair.
#[derive(Debug)]
struct Line {
    pace: Mutex<Adaptive>,
    queue: tokio::sync::Mutex<()>,
}

impl Line {
    fn new(rate: Rate) -> Self {
        Self {
            pace: Mutex::new(Adaptive::new(rate)),
            queue: tokio::sync::Mutex::new(()),
        }
    }

    async fn turn(&self, not_before: &Mutex<Option<Instant>>) {
        let _place = self.queue.lock().await;
        loop {
            let pause = *lock(not_before);
            if let Some(at) = pause.filter(|at| *at > Instant::now()) {
                tokio::time::sleep_until(at).await;
                continue;
            }
            let taken = lock(&self.pace).take_weighted(1);
            match taken {
                Ok(()) => break,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

impl Turns {
    /// At this rate, in calls per second.
    pub fn new(rate: Rate) -> Self {
        Self {
            quota: Arc::new(Quota {
                line: Line::new(rate),
                calls: AtomicU64::new(0),
                not_before: Mutex::new(None),
            }),
            store: None,
            meter: Arc::default(),
            backoff: Backoff::default(),
        }
    }

    /// The same, with other pauses between the attempts at a call.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// The pauses between the attempts at a call.
    pub(super) const fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// At the same quota, for a store that has this rate on top.
    #[must_use]
    pub fn also_at(&self, rate: Rate) -> Self {
        Self {
            quota: Arc::clone(&self.quota),
            store: Some(Arc::new(Line::new(rate))),
            meter: Arc::default(),
            backoff: self.backoff,
        }
    }

    /// The same turns, for one read whose slowness is measured on its own.
    #[must_use]
    fn metered(&self) -> Self {
        Self {
            meter: Arc::default(),
            ..self.clone()
        }
    }

    /// What a read with these turns answers; nothing if the provider takes too long. What is waited for the turns themselves is
    /// the pace's affair and not counted, so that a check of thousands at a slow pace is not cut off; what is waited for the
    /// provider may be two minutes, and a second more for each call that was made.
    pub async fn within_patience<T>(&self, read: impl AsyncFnOnce(&Self) -> T) -> Option<T> {
        let turns = self.metered();
        let too_long = async {
            let mut waited = Duration::ZERO;
            loop {
                tokio::time::sleep(GLANCE).await;
                if turns.meter.waiting.load(Ordering::Relaxed) == 0 || turns.are_paused() {
                    waited += GLANCE;
                }
                let calls = turns.meter.calls.load(Ordering::Relaxed);
                let more = u32::try_from(calls).unwrap_or(u32::MAX);
                if waited > PATIENCE.saturating_add(PATIENCE_PER_CALL.saturating_mul(more)) {
                    return;
                }
            }
        };
        tokio::select! {
            answer = read(&turns) => Some(answer),
            () = too_long => None,
        }
    }

    /// Waits until one call may go, and counts it.
    pub async fn turn(&self) {
        let _waiting = Waiting::at(&self.meter);
        if let Some(store) = &self.store {
            store.turn(&self.quota.not_before).await;
        }
        self.quota.line.turn(&self.quota.not_before).await;
        self.quota.calls.fetch_add(1, Ordering::Relaxed);
        self.meter.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The provider throttled: the rate is halved at once, and nothing goes before `retry_after` has passed, or a minute.
    pub fn throttled(&self, retry_after: Option<Duration>) {
        for line in self
            .store
            .iter()
            .map(|line| &**line)
            .chain([&self.quota.line])
        {
            lock(&line.pace).throttled();
        }
        if let Some(wait) = retry_after
            && let Some(at) = Instant::now().checked_add(wait.min(LONGEST_PAUSE))
        {
            let mut pause = lock(&self.quota.not_before);
            *pause = Some(pause.map_or(at, |before| before.max(at)));
        }
    }

    /// Whether the provider asked to be left alone: that is waited for it, and not for the pace.
    fn are_paused(&self) -> bool {
        lock(&self.quota.not_before).is_some_and(|at| at > Instant::now())
    }

    /// Calls at the quota so far.
    pub fn calls(&self) -> u64 {
        self.quota.calls.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_rate_and_waits_as_long_as_it_was_told() {
        let turns = Turns::new(Rate::per_second(10.0).unwrap());
        let start = Instant::now();
        for _ in 0..12 {
            turns.turn().await;
        }
        assert_eq!(
            start.elapsed(),
            Duration::from_secs(1),
            "two at once, then ten a second"
        );
        turns.throttled(Some(Duration::from_secs(3)));
        let start = Instant::now();
        turns.turn().await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert_eq!(turns.calls(), 13);
    }

    /// Of a tenant's server, for a start.
    #[tokio::test(start_paused = true)]
    async fn a_pause_of_years_ends_in_a_minute() {
        let turns = Turns::new(Rate::per_second(10.0).unwrap());
        for seconds in [1_000_000_000, u64::MAX] {
            turns.throttled(Some(Duration::from_secs(seconds)));
            let start = Instant::now();
            turns.turn().await;
            assert_eq!(start.elapsed().as_secs(), LONGEST_PAUSE.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_slow_pace_is_not_cut_off() {
        let turns = Turns::new(Rate::per_second(0.5).unwrap());
        let start = Instant::now();
        let read = turns
            .within_patience(async |turns| {
                for _ in 0..2000 {
                    turns.turn().await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            })
            .await;
        assert!(read.is_some());
        assert!(start.elapsed() > Duration::from_hours(1));
    }

    /// Each answer comes in time, and the last of a thousand would tomorrow.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_as_late_as_it_may_does_not_hold_up_the_run() {
        let turns = Turns::new(Rate::per_second(100.0).unwrap());
        let start = Instant::now();
        let read = turns
            .within_patience(async |turns| {
                for _ in 0..1000 {
                    turns.turn().await;
                    tokio::time::sleep(Duration::from_secs(50)).await;
                }
            })
            .await;
        assert!(read.is_none());
        assert!(start.elapsed() < Duration::from_mins(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_to_be_left_alone_each_time_does_not_hold_up_the_run() {
        let turns = Turns::new(Rate::per_second(100.0).unwrap());
        let start = Instant::now();
        let read = turns
            .within_patience(async |turns| {
                for _ in 0..1000 {
                    turns.turn().await;
                    turns.throttled(Some(Duration::from_hours(1)));
                }
            })
            .await;
        assert!(read.is_none());
        assert!(start.elapsed() < Duration::from_mins(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_of_its_own_rate_holds_nobody_up() {
        let quota = Turns::new(Rate::per_second(1000.0).unwrap());
        let slow = quota.also_at(Rate::per_second(1.0).unwrap());
        let start = Instant::now();
        let ten = async |turns: &Turns| {
            for _ in 0..10 {
                turns.turn().await;
            }
            start.elapsed()
        };
        let (slowly, fast) = tokio::join!(ten(&slow), ten(&quota));
        assert_eq!(slowly.as_secs(), 9, "one at once, then one a second");
        assert!(fast < Duration::from_secs(1));
        assert_eq!(quota.calls(), 20);
    }
}
