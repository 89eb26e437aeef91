//! The work queue of a controller, as client-go has it: first in, first out; what waits is not queued twice; what is being
//! worked on is queued again only when it is done; failures come back later and later.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// The first delay after a failure, and the longest (`BuildRateLimiter` in the operator's `common.go`).
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_mins(7);

/// All failures together come back at this rate, once so many have.
const FAILURES_PER_SECOND: f64 = 10.0;
const FAILURES_AT_ONCE: f64 = 100.0;

/// Keys to work on.
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
    /// An empty queue whose delays after failures are divided by `speed`.
    pub(super) fn new(speed: u32) -> Self {
        let inner = Inner {
            order: VecDeque::new(),
            dirty: BTreeSet::new(),
            processing: BTreeSet::new(),
            failures: BTreeMap::new(),
            waiting: BTreeSet::new(),
            due: BTreeMap::new(),
            tokens: FAILURES_AT_ONCE,
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

    /// Adds a key later; the earlier of two times counts.
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

    /// Adds a key again after a failure, later each time.
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

    /// Forgets the failures of a key.
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

    /// Says that the work on a key is done.
    pub(super) fn done(&self, key: &str) {
        let mut inner = self.lock();
        inner.processing.remove(key);
        if inner.dirty.contains(key) {
            inner.order.push_back(key.to_owned());
            drop(inner);
            self.work.notify_one();
        }
    }

    /// Moves keys into the queue when their time has come, for ever.
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

    /// The wait for a token of the bucket that all failures share.
    fn reserve(&mut self, speed: f64) -> Duration {
        let now = Instant::now();
        let rate = FAILURES_PER_SECOND * speed;
        let refill = now.duration_since(self.refilled).as_secs_f64() * rate;
        self.tokens = (self.tokens + refill).min(FAILURES_AT_ONCE) - 1.0;
        self.refilled = now;
        Duration::from_secs_f64((-self.tokens / rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_or_is_worked_on_is_queued_once() {
        let queue = Queue::new(1);
        for key in ["a", "b", "a"] {
            queue.add(key.to_owned());
        }
        assert_eq!(queue.next().await, "a");
        queue.add("a".to_owned());
        queue.add("a".to_owned());
        assert_eq!(queue.next().await, "b");
        assert!(queue.lock().order.is_empty(), "being worked on");
        queue.done("a");
        assert_eq!(queue.next().await, "a");
        queue.done("a");
        assert!(queue.lock().order.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_after_twice_the_time_until_forgotten() {
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
    async fn of_two_times_the_earlier_counts() {
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
