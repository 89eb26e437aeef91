//! A controller's work queue, like client-go's: first in, first out. A waiting key is not queued twice, a key in work is
//! queued again when it is done, and failed keys return with exponential backoff.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// The shortest and the longest backoff after a failure (`BuildRateLimiter` in the operator's `common.go`).
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_mins(7);

/// The rate and burst of the token bucket that all failures share.
const FAILURES_PER_SECOND: f64 = 10.0;
const FAILURE_BURST: f64 = 100.0;

/// A queue of keys.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    work: Notify,
    timer: Notify,
    speed: f64,
}

struct Inner {
    order: VecDeque<String>,
    dirty: BTreeSet<String>,
    processing: BTreeSet<String>,
    failures: BTreeMap<String, u32>,
    waiting: BTreeSet<(Instant, String)>,
    due: BTreeMap<String, Instant>,
    tokens: f64,
    refilled: Instant,
}

impl Queue {
    /// An empty queue whose backoff is divided by `speed`.
    pub(super) fn new(speed: u32) -> Self {
        let inner = Inner {
            order: VecDeque::new(),
            dirty: BTreeSet::new(),
            processing: BTreeSet::new(),
            failures: BTreeMap::new(),
            waiting: BTreeSet::new(),
            due: BTreeMap::new(),
            tokens: FAILURE_BURST,
            refilled: Instant::now(),
        };
        Self {
            inner: Mutex::new(inner),
            work: Notify::new(),
            timer: Notify::new(),
            speed: speed.into(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key now.
    pub(super) fn add(&self, key: String) {
        if self.lock().add(key) {
            self.work.notify_one();
        }
    }

    /// Adds a key after a delay. If it is already waiting, the earlier time counts.
    pub(super) fn add_after(&self, key: String, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut inner = self.lock();
        let at = Instant::now() + delay;
        match inner.due.get(&key).copied() {
            Some(due) if due <= at => return,
            Some(due) => {
                inner.waiting.remove(&(due, key.clone()));
            }
            None => {}
        }
        inner.due.insert(key.clone(), at);
        inner.waiting.insert((at, key));
        drop(inner);
        self.timer.notify_one();
    }

    /// Adds a key after a failure, with exponential backoff.
    pub(super) fn add_rate_limited(&self, key: String) {
        let mut inner = self.lock();
        let failures = inner.failures.entry(key.clone()).or_default();
        let own = FIRST_DELAY
            .saturating_mul(1 << (*failures).min(16))
            .min(LONGEST_DELAY);
        *failures += 1;
        let delay = own.div_f64(self.speed).max(inner.reserve(self.speed));
        drop(inner);
        self.add_after(key, delay);
    }

    /// Resets the backoff of a key.
    pub(super) fn forget(&self, key: &str) {
        self.lock().failures.remove(key);
    }

    /// Waits for a key to work on.
    pub(super) async fn next(&self) -> String {
        loop {
            let woken = self.work.notified();
            if let Some(key) = self.lock().take() {
                return key;
            }
            woken.await;
        }
    }

    /// Marks the work on a key as done.
    pub(super) fn done(&self, key: &str) {
        let mut inner = self.lock();
        inner.processing.remove(key);
        if inner.dirty.contains(key) {
            inner.order.push_back(key.to_owned());
            drop(inner);
            self.work.notify_one();
        }
    }

    /// Moves waiting keys into the queue when they are due. Never returns.
    pub(super) async fn run_timer(&self) {
        loop {
            let woken = self.timer.notified();
            let first = self.lock().waiting.first().map(|(at, _)| *at);
            match first {
                None => woken.await,
                Some(at) => tokio::select! {
                    () = woken => continue,
                    () = tokio::time::sleep_until(at) => {}
                },
            }
            let now = Instant::now();
            let mut inner = self.lock();
            let mut added = 0;
            while inner.waiting.first().is_some_and(|(at, _)| *at <= now) {
                if let Some((_, key)) = inner.waiting.pop_first() {
                    inner.due.remove(&key);
                    added += usize::from(inner.add(key));
                }
            }
            drop(inner);
            for _ in 0..added {
                self.work.notify_one();
            }
        }
    }
}

impl Inner {
    fn add(&mut self, key: String) -> bool {
        if !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return false;
        }
        self.order.push_back(key);
        true
    }

    fn take(&mut self) -> Option<String> {
        let key = self.order.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }

    /// Takes a token from the bucket that all failures share, and returns the wait for it.
    fn reserve(&mut self, speed: f64) -> Duration {
        let now = Instant::now();
        let rate = FAILURES_PER_SECOND * speed;
        let refill = now.duration_since(self.refilled).as_secs_f64() * rate;
        self.tokens = (self.tokens + refill).min(FAILURE_BURST) - 1.0;
        self.refilled = now;
        Duration::from_secs_f64((-self.tokens / rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_waiting_or_in_work_are_queued_once() {
        let queue = Queue::new(1);
        for key in ["a", "b", "a"] {
            queue.add(key.to_owned());
        }
        assert_eq!(queue.next().await, "a");
        queue.add("a".to_owned());
        queue.add("a".to_owned());
        assert_eq!(queue.next().await, "b");
        assert!(queue.lock().order.is_empty(), "a key in work is not queued");
        queue.done("a");
        assert_eq!(queue.next().await, "a");
        queue.done("a");
        assert!(queue.lock().order.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_doubles_until_reset() {
        let queue = Queue::new(1);
        let timer = queue.run_timer();
        let work = async {
            let mut delays = Vec::new();
            for round in 0..4 {
                if round == 3 {
                    queue.forget("a");
                }
                let before = Instant::now();
                queue.add_rate_limited("a".to_owned());
                let key = queue.next().await;
                queue.done(&key);
                delays.push(before.elapsed().as_secs());
            }
            delays
        };
        tokio::select! {
            () = timer => {}
            delays = work => assert_eq!(delays, [1, 2, 4, 1]),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts() {
        let queue = Queue::new(1);
        queue.add_after("a".to_owned(), Duration::from_secs(9));
        queue.add_after("a".to_owned(), Duration::from_secs(5));
        queue.add_after("a".to_owned(), Duration::from_secs(7));
        let start = Instant::now();
        tokio::select! {
            () = queue.run_timer() => {}
            key = queue.next() => assert_eq!((key.as_str(), start.elapsed().as_secs()), ("a", 5)),
        }
        assert!(queue.lock().waiting.is_empty());
    }
}
