//! The pace of reads, and their count: what shares a quota takes turns at one rate, which adapts to throttling.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{pace::Adaptive, policy::Rate};

/// The turns at one quota.
#[derive(Debug)]
pub struct Turns {
    pace: Mutex<Adaptive>,
    calls: AtomicU64,
    /// Nothing goes before this: the provider said how long to wait.
    not_before: Mutex<Option<Instant>>,
    /// Who waits stands in this queue; it is fair.
    queue: tokio::sync::Mutex<()>,
}

impl Turns {
    /// At this rate, in calls per second.
    pub fn new(rate: Rate) -> Self {
        Self {
            pace: Mutex::new(Adaptive::new(rate)),
            calls: AtomicU64::new(0),
            not_before: Mutex::new(None),
            queue: tokio::sync::Mutex::new(()),
        }
    }

    /// Waits until one call may go, and counts it.
    pub async fn turn(&self) {
        let _place = self.queue.lock().await;
        loop {
            let pause = *lock(&self.not_before);
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
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The provider throttled: the rate is halved at once, and nothing goes before `retry_after` has passed.
    pub fn throttled(&self, retry_after: Option<Duration>) {
        lock(&self.pace).throttled();
        if let Some(wait) = retry_after {
            let at = Instant::now() + wait;
            let mut pause = lock(&self.not_before);
            *pause = Some(pause.map_or(at, |before| before.max(at)));
        }
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
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
}
