//! Tells people what a command waits for. No wait is silent for longer than five seconds.

use std::{
    cell::Cell,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The time after which a wait is announced.
const FIRST: Duration = Duration::from_secs(5);

/// The time after which it is announced again.
const AGAIN: Duration = Duration::from_secs(30);

/// Announces waits of many calls for the same thing once.
#[derive(Debug, Default)]
pub struct Announcer(Mutex<Option<Instant>>);

impl Announcer {
    /// True if no other wait was announced a short time ago.
    fn may_announce(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|last| now.saturating_duration_since(last) >= AGAIN);
        if may {
            *last = Some(now);
        }
        may
    }
}

/// A wait, and when it is announced first.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    first: Duration,
    end: Option<Instant>,
    announcer: Option<&'a Announcer>,
}

impl<'a> Wait<'a> {
    /// A wait that ends at this time at the latest.
    pub const fn until(end: Instant) -> Self {
        Self {
            first: FIRST,
            end: Some(end),
            announcer: None,
        }
    }

    /// A wait that ends after this time at the latest.
    pub fn at_most(limit: Duration) -> Self {
        Self {
            first: FIRST,
            end: Instant::now().checked_add(limit),
            announcer: None,
        }
    }

    /// A wait that something else limits.
    pub const fn unlimited() -> Self {
        Self {
            first: FIRST,
            end: None,
            announcer: None,
        }
    }

    /// Announces the wait after this time instead of five seconds.
    #[must_use]
    pub const fn announced_after(self, first: Duration) -> Self {
        Self { first, ..self }
    }

    /// Is not announced if another wait of this announcer was announced a short time ago.
    #[must_use]
    pub const fn shared(self, announcer: &'a Announcer) -> Self {
        Self {
            announcer: Some(announcer),
            ..self
        }
    }

    /// Awaits `work`. If that takes long, logs what is waited for and until when. `what` completes "waiting for".
    pub async fn on<T>(self, what: impl Fn() -> String, work: impl Future<Output = T>) -> T {
        self.on_changing(|| (what(), self.end), work).await
    }

    /// The same for work that waits for several things in turn, each with an end of its own.
    pub async fn on_changing<T>(
        self,
        what: impl Fn() -> (String, Option<Instant>),
        work: impl Future<Output = T>,
    ) -> T {
        let start = Instant::now();
        let say = |passed| {
            if self.announcer.is_none_or(Announcer::may_announce) {
                let (what, end) = what();
                say(&what, passed, end);
            }
        };
        announced(self.first, || start, say, work).await
    }
}

/// A longer piece of work that reports its progress. Only the time without progress is announced.
#[derive(Debug)]
pub struct Silence {
    /// The last progress.
    last: Cell<Instant>,
    limit: Duration,
}

impl Silence {
    /// After `limit` without progress, the work ends or reports some.
    pub fn new(limit: Duration) -> Self {
        Self {
            last: Cell::new(Instant::now()),
            limit,
        }
    }

    /// Notes that there was progress.
    pub fn broken(&self) {
        self.last.set(Instant::now());
    }

    /// The time at which the work ends or reports progress.
    pub fn end(&self) -> Option<Instant> {
        self.last.get().checked_add(self.limit)
    }

    /// Awaits `work`. If there is no progress for long, logs what is waited for and until when. `what` completes "waiting for".
    pub async fn on<T>(
        &self,
        what: impl Fn() -> (String, Option<Instant>),
        work: impl Future<Output = T>,
    ) -> T {
        self.broken();
        let say = |passed| {
            let (what, end) = what();
            say(&what, passed, end);
        };
        announced(FIRST, || self.last.get(), say, work).await
    }
}

/// Awaits `work`. Calls `say` with the time since `start()` when it exceeds `first`, and then from time to time.
async fn announced<T>(
    first: Duration,
    start: impl Fn() -> Instant,
    say: impl Fn(Duration),
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut said: Option<Instant> = None;
    loop {
        let since = start();
        let next = match said {
            Some(said) if said > since => said + AGAIN,
            _ => since + first,
        };
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep_until(next) => {
                if start() == since {
                    say(since.elapsed());
                    said = Some(Instant::now());
                }
            }
        }
    }
}

fn say(what: &str, passed: Duration, end: Option<Instant>) {
    let left = end.map(|end| {
        let left = end.saturating_duration_since(Instant::now());
        format!(", at most {} more", seconds(left))
    });
    let (passed, left) = (seconds(passed), left.unwrap_or_default());
    tracing::info!(target: "eso_sync::progress", "waiting for {what} (since {passed}{left})");
}

fn seconds(duration: Duration) -> String {
    let seconds = (duration.as_millis() + 500) / 1000;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tokio::time::sleep;
    use tracing::instrument::WithSubscriber as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are logged while `wait` waits for so many seconds.
    async fn lines(wait: Wait<'_>, takes: u64) -> Vec<String> {
        let work = sleep(Duration::from_secs(takes));
        logged(wait.on(|| "the answer".to_owned(), work)).await
    }

    async fn logged(work: impl Future<Output = ()>) -> Vec<String> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_level(false)
            .with_target(false)
            .finish();
        work.with_subscriber(subscriber).await;
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn wait_of_five_seconds_is_announced_with_its_end() {
        let limit = Duration::from_mins(2);
        assert!(lines(Wait::at_most(limit), 4).await.is_empty());
        assert_eq!(
            lines(Wait::at_most(limit), 40).await,
            [
                "waiting for the answer (since 5 s, at most 1 min 55 s more)",
                "waiting for the answer (since 35 s, at most 1 min 25 s more)"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_same_thing_are_announced_once() {
        let announcer = Announcer::default();
        let wait = || Wait::unlimited().shared(&announcer);
        let (first, second) = tokio::join!(lines(wait(), 9), lines(wait(), 9));
        assert_eq!(first.len() + second.len(), 1);
        sleep(AGAIN).await;
        assert_eq!(lines(wait(), 9).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_without_progress_is_announced() {
        let silence = Silence::new(Duration::from_mins(5));
        let work = async {
            for pause in [4, 4, 7] {
                sleep(Duration::from_secs(pause)).await;
                silence.broken();
            }
        };
        let lines = logged(silence.on(|| ("proofs".to_owned(), silence.end()), work)).await;
        assert_eq!(
            lines,
            ["waiting for proofs (since 5 s, at most 4 min 55 s more)"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn wait_may_be_announced_earlier() {
        let wait = Wait::unlimited().announced_after(Duration::from_secs(3));
        assert_eq!(lines(wait, 4).await, ["waiting for the answer (since 3 s)"]);
    }
}
