//! Limits of reads: all users of a quota share one rate, which adapts to throttling, and each read holds bytes of its
//! namespace's share. Also counts the calls.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use eso_model::budget::Limits;
use pace::{
    Adaptive, Workers,
    bytes::{Budget, Held, Share},
    rate::Rate,
};
use tokio::time::Instant;

use super::{Unread, unread};

/// The longest `Retry-After` that is honoured. The server may belong to a tenant and must not delay the reads of others.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The time that one read may wait for its provider, plus [`READ_TIMEOUT_PER_CALL`] for each call.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// The extra time per call. Calls run concurrently, so a single call may take about ten times as long.
const READ_TIMEOUT_PER_CALL: Duration = Duration::from_secs(1);

/// The interval at which the waiting time is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

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

/// The rate permits of one quota, an optional additional rate for one store, and the bytes and the work that one read may take.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    quota: Arc<Quota>,
    store: Option<Arc<RateQueue>>,
    meter: Arc<Meter>,
    backoff: Backoff,
    bytes: Share,
    /// None: the caller's thread computes.
    workers: Option<Arc<Workers>>,
    limits: Limits,
    wait: ReadWait,
}

/// A read that people may wait for.
#[derive(Clone, Debug, Default)]
struct ReadWait {
    /// The store.
    store: Option<Arc<str>>,
    /// The end of the whole read, at the latest.
    end: Option<Instant>,
    /// The end if the provider does not answer.
    answer: Option<Instant>,
}

/// Measures one read.
#[derive(Debug, Default)]
struct Meter {
    /// The calls that wait for a rate permit. While there are any, the delay is not the provider's.
    waiting: AtomicUsize,
    calls: AtomicU64,
}

/// Counts as waiting for a rate permit until it is dropped.
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

/// The state that all users of a quota share.
#[derive(Debug)]
struct Quota {
    line: RateQueue,
    /// The additional limit of calls that list or that read metadata.
    lists: Option<RateQueue>,
    calls: AtomicU64,
    throttled: AtomicU64,
    /// No call starts before this time, because the provider sent a `Retry-After`.
    not_before: Mutex<Option<Instant>>,
}

/// A fair queue at one rate.
#[derive(Debug)]
struct RateQueue {
    pace: Mutex<Adaptive>,
    queue: tokio::sync::Mutex<()>,
}

impl RateQueue {
    fn new(rate: Rate) -> Self {
        Self {
            pace: Mutex::new(Adaptive::new(rate)),
            queue: tokio::sync::Mutex::new(()),
        }
    }

    async fn permit(&self, not_before: &Mutex<Option<Instant>>) {
        let _place = self.queue.lock().await;
        loop {
            let pause = *lock(not_before);
            if let Some(at) = pause.filter(|at| *at > Instant::now()) {
                tokio::time::sleep_until(at).await;
                continue;
            }
            let taken = lock(&self.pace).take();
            match taken {
                Ok(()) => break,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

impl RateLimiter {
    /// Creates a limiter with this rate, in calls per second.
    pub fn new(rate: Rate) -> Self {
        Self::with_list_rate(rate, None)
    }

    /// Creates a limiter with this rate, and an additional one for calls that list or that read metadata.
    pub fn with_list_rate(rate: Rate, lists: Option<Rate>) -> Self {
        Self {
            quota: Arc::new(Quota {
                line: RateQueue::new(rate),
                lists: lists.map(RateQueue::new),
                calls: AtomicU64::new(0),
                throttled: AtomicU64::new(0),
                not_before: Mutex::new(None),
            }),
            store: None,
            meter: Arc::default(),
            backoff: Backoff::default(),
            bytes: Budget::of(usize::MAX).share(""),
            workers: None,
            limits: Limits::default(),
            wait: ReadWait::default(),
        }
    }

    /// The same limiter for a read of this store, which ends at this time at the latest.
    #[must_use]
    pub(super) fn reading(&self, store: &Arc<str>, end: Option<Instant>) -> Self {
        let wait = ReadWait {
            store: Some(Arc::clone(store)),
            end,
            answer: end,
        };
        Self {
            wait,
            ..self.clone()
        }
    }

    /// The store that is read, for people.
    pub(super) fn store(&self) -> &str {
        self.wait.store.as_deref().unwrap_or("a store")
    }

    /// The time until which a call waits, at the latest. None if nothing limits it.
    pub(super) const fn end(&self, of_answer: bool) -> Option<Instant> {
        if of_answer {
            self.wait.answer
        } else {
            self.wait.end
        }
    }

    /// The same limiter for reads that compute on these threads.
    #[must_use]
    pub fn computing_on(self, workers: &Arc<Workers>) -> Self {
        Self {
            workers: Some(Arc::clone(workers)),
            ..self
        }
    }

    /// The same limiter with another backoff between attempts.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// The backoff between the attempts of a call.
    pub(super) const fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// Shares the quota, with an additional rate for one store.
    #[must_use]
    pub fn with_store_rate(&self, rate: Rate) -> Self {
        Self {
            quota: Arc::clone(&self.quota),
            store: Some(Arc::new(RateQueue::new(rate))),
            meter: Arc::default(),
            ..self.clone()
        }
    }

    /// The same limiter for a read that may hold bytes of this share only, and may compute within these limits.
    #[must_use]
    pub fn within(&self, bytes: &Share, limits: Limits) -> Self {
        Self {
            bytes: bytes.clone(),
            limits,
            ..self.clone()
        }
    }

    /// The limits of the work of one search.
    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Computes with what a tenant wrote, so that the runtime's thread stays free. The namespaces take turns.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unread> {
        let Some(workers) = &self.workers else {
            return Ok(work());
        };
        let computed = workers.compute(self.bytes.namespace(), work).await;
        computed.map_err(|_| {
            Unread::secret(
                unread::UNREADABLE,
                "computing the search failed unexpectedly",
            )
        })
    }

    pub(super) const fn bytes(&self) -> &Share {
        &self.bytes
    }

    /// Holds these bytes, before they are read into memory.
    pub(super) fn hold(&self, bytes: usize) -> Result<Held, Unread> {
        self.bytes.hold(bytes).map_err(|_| Unread::too_much_data())
    }

    /// The same limiter with a separate meter for one read.
    #[must_use]
    fn metered(&self) -> Self {
        // The time limit may be extended by the calls, so this is the end of the first one.
        let first = Instant::now() + READ_TIMEOUT + READ_TIMEOUT_PER_CALL;
        let answer = self.wait.end.map_or(first, |end| end.min(first));
        Self {
            meter: Arc::default(),
            wait: ReadWait {
                answer: Some(answer),
                ..self.wait.clone()
            },
            ..self.clone()
        }
    }

    /// Runs a read. Returns None if the provider takes too long: more than two minutes, plus one second for each call. Time spent
    /// waiting for rate permits does not count, so that a large check at a slow rate is not cut off.
    pub async fn within_timeout<T>(&self, read: impl AsyncFnOnce(&Self) -> T) -> Option<T> {
        let limiter = self.metered();
        let too_long = async {
            let mut waited = Duration::ZERO;
            loop {
                tokio::time::sleep(MEASURE_INTERVAL).await;
                if limiter.meter.waiting.load(Ordering::Relaxed) == 0
                    || limiter.retry_after_is_pending()
                {
                    waited += MEASURE_INTERVAL;
                }
                let calls = limiter.meter.calls.load(Ordering::Relaxed);
                let more = u32::try_from(calls).unwrap_or(u32::MAX);
                if waited > READ_TIMEOUT.saturating_add(READ_TIMEOUT_PER_CALL.saturating_mul(more))
                {
                    return;
                }
            }
        };
        tokio::select! {
            answer = read(&limiter) => Some(answer),
            () = too_long => None,
        }
    }

    /// Waits for a rate permit of a call that lists or that reads metadata, and counts the call.
    pub async fn list_permit(&self) {
        if let Some(lists) = &self.quota.lists {
            let _waiting = Waiting::at(&self.meter);
            lists.permit(&self.quota.not_before).await;
        }
        self.permit().await;
    }

    /// Waits for a rate permit and counts the call.
    pub async fn permit(&self) {
        let _waiting = Waiting::at(&self.meter);
        if let Some(store) = &self.store {
            store.permit(&self.quota.not_before).await;
        }
        self.quota.line.permit(&self.quota.not_before).await;
        self.quota.calls.fetch_add(1, Ordering::Relaxed);
        self.meter.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the provider throttled: halves the rate, and delays all calls by `retry_after`, at most one minute.
    pub fn throttled(&self, retry_after: Option<Duration>) {
        self.quota.throttled.fetch_add(1, Ordering::Relaxed);
        for line in self
            .store
            .iter()
            .map(|line| &**line)
            .chain([&self.quota.line])
        {
            let mut pace = lock(&line.pace);
            if pace.throttled(Instant::now()) {
                let (store, rate) = (self.store(), pace.current_rate());
                tracing::info!(%store, rate, "the provider throttles reads; their rate is halved");
            }
        }
        if let Some(wait) = retry_after
            && let Some(at) = Instant::now().checked_add(wait.min(LONGEST_PAUSE))
        {
            let mut pause = lock(&self.quota.not_before);
            *pause = Some(pause.map_or(at, |before| before.max(at)));
        }
    }

    /// True while a `Retry-After` delays all calls. That time counts as waiting for the provider.
    fn retry_after_is_pending(&self) -> bool {
        lock(&self.quota.not_before).is_some_and(|at| at > Instant::now())
    }

    /// The number of calls so far at this quota.
    pub fn calls(&self) -> u64 {
        self.quota.calls.load(Ordering::Relaxed)
    }

    /// The number of answers so far with which the provider throttled this quota.
    pub fn throttles(&self) -> u64 {
        self.quota.throttled.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_rate_and_honours_retry_after() {
        let limiter = RateLimiter::new(Rate::per_second(10.0).unwrap());
        let start = Instant::now();
        for _ in 0..12 {
            limiter.permit().await;
        }
        assert_eq!(
            start.elapsed(),
            Duration::from_secs(1),
            "two immediately, then ten per second"
        );
        limiter.throttled(Some(Duration::from_secs(3)));
        let start = Instant::now();
        limiter.permit().await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert_eq!((limiter.calls(), limiter.throttles()), (13, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn lists_are_slower_than_reads_and_do_not_delay_them() {
        let rate = |rate| Rate::per_second(rate).unwrap();
        let limiter = RateLimiter::with_list_rate(rate(100.0), Some(rate(2.5)));
        let start = Instant::now();
        let lists = async {
            for _ in 0..100 {
                limiter.list_permit().await;
            }
            start.elapsed()
        };
        let reads = async {
            for _ in 0..1000 {
                limiter.permit().await;
            }
            start.elapsed()
        };
        let (lists, reads) = tokio::join!(lists, reads);
        assert!((35..=40).contains(&lists.as_secs()), "{lists:?}");
        assert!((8..=11).contains(&reads.as_secs()), "{reads:?}");
        assert_eq!(limiter.calls(), 1100);
    }

    /// The server may belong to a tenant.
    #[tokio::test(start_paused = true)]
    async fn retry_after_is_capped_at_one_minute() {
        let limiter = RateLimiter::new(Rate::per_second(10.0).unwrap());
        for seconds in [1_000_000_000, u64::MAX] {
            limiter.throttled(Some(Duration::from_secs(seconds)));
            let start = Instant::now();
            limiter.permit().await;
            assert_eq!(start.elapsed().as_secs(), LONGEST_PAUSE.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_rate_permits_does_not_time_out() {
        let limiter = RateLimiter::new(Rate::per_second(0.5).unwrap());
        let start = Instant::now();
        let read = limiter
            .within_timeout(async |limiter| {
                for _ in 0..2000 {
                    limiter.permit().await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            })
            .await;
        assert!(read.is_some());
        assert!(start.elapsed() > Duration::from_hours(1));
    }

    /// Each answer comes in time, but a thousand of them would take hours.
    #[tokio::test(start_paused = true)]
    async fn slow_answers_time_out() {
        let limiter = RateLimiter::new(Rate::per_second(100.0).unwrap());
        let start = Instant::now();
        let read = limiter
            .within_timeout(async |limiter| {
                for _ in 0..1000 {
                    limiter.permit().await;
                    tokio::time::sleep(Duration::from_secs(50)).await;
                }
            })
            .await;
        assert!(read.is_none());
        assert!(start.elapsed() < Duration::from_mins(3));
    }

    #[tokio::test(start_paused = true)]
    async fn endless_retry_after_times_out() {
        let limiter = RateLimiter::new(Rate::per_second(100.0).unwrap());
        let start = Instant::now();
        let read = limiter
            .within_timeout(async |limiter| {
                for _ in 0..1000 {
                    limiter.permit().await;
                    limiter.throttled(Some(Duration::from_hours(1)));
                }
            })
            .await;
        assert!(read.is_none());
        assert!(start.elapsed() < Duration::from_mins(3));
    }

    #[tokio::test(start_paused = true)]
    async fn rate_of_one_store_does_not_slow_down_others() {
        let quota = RateLimiter::new(Rate::per_second(1000.0).unwrap());
        let slow = quota.with_store_rate(Rate::per_second(1.0).unwrap());
        let start = Instant::now();
        let ten = async |limiter: &RateLimiter| {
            for _ in 0..10 {
                limiter.permit().await;
            }
            start.elapsed()
        };
        let (slowly, fast) = tokio::join!(ten(&slow), ten(&quota));
        assert_eq!(slowly.as_secs(), 9, "one immediately, then one per second");
        assert!(fast < Duration::from_secs(1));
        assert_eq!(quota.calls(), 20);
    }
}
