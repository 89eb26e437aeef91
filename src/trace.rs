//! When the phases of a command began and ended, and the work on each of its objects. It is kept only for a trace.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use pace::Clock;

/// A phase of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Phase {
    /// Reads ExternalSecrets and their stores.
    Discover,
    /// Compares Secrets with their providers.
    Check,
    /// Reads the workloads that use the Secrets.
    ReadWorkloads,
    /// Waits for other runs.
    Lock,
    /// Writes the stamps of workloads.
    Adopt,
    /// Syncs ExternalSecrets, and proves it.
    Sync,
    /// Compares the synced Secrets again.
    Verify,
    /// Writes Secrets again that are still stale.
    Remedy,
    /// Restarts workloads, and proves it.
    Restart,
    /// Reads what is to be published, and what is there.
    ReadSources,
    /// Writes to providers.
    Publish,
}

/// When something began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: Timestamp,
    /// None if it has not ended.
    pub end: Option<Timestamp>,
}

/// An object: its kind, namespace and name.
pub type Object = (&'static str, String, String);

/// The times so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// In the order of their start. A command with several runs has phases of the same name.
    pub phases: Vec<(Phase, Span)>,
    pub objects: BTreeMap<Object, Span>,
}

/// Keeps the times, if it is switched on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Option<Times>>>);

/// A phase, which ends when this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Timed {
    trace: Trace,
    at: Option<usize>,
    clock: Clock,
}

impl Trace {
    fn times(&self) -> MutexGuard<'_, Option<Times>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps times from now on.
    pub fn switch_on(&self) {
        self.times().get_or_insert_default();
    }

    /// The times so far; empty if it is not switched on.
    pub fn so_far(&self) -> Times {
        self.times().clone().unwrap_or_default()
    }

    /// Begins a phase.
    pub fn phase(&self, phase: Phase, clock: Clock) -> Timed {
        let at = self.times().as_mut().map(|times| {
            let span = Span {
                start: clock.now(),
                end: None,
            };
            times.phases.push((phase, span));
            times.phases.len() - 1
        });
        Timed {
            trace: self.clone(),
            at,
            clock,
        }
    }

    /// The work on an object has ended, and took this time.
    pub fn ended(&self, object: impl FnOnce() -> Object, clock: Clock, took: Duration) {
        let mut times = self.times();
        let Some(times) = times.as_mut() else {
            return;
        };
        let end = clock.now();
        let took = SignedDuration::try_from(took).unwrap_or_default();
        let start = end.checked_sub(took).unwrap_or(end);
        let end = Some(end);
        times.objects.insert(object(), Span { start, end });
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let mut times = self.trace.times();
        let phases = times.as_mut().map(|times| &mut times.phases);
        let phase = self.at.and_then(|at| phases?.get_mut(at));
        if let Some((_, span)) = phase {
            span.end = Some(self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_are_kept_only_if_it_is_switched_on() {
        let (trace, second) = (Trace::default(), Duration::from_secs(1));
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        drop(trace.phase(Phase::Check, clock));
        assert_eq!(trace.so_far(), Times::default());
        trace.switch_on();
        let phase = trace.phase(Phase::Sync, clock);
        tokio::time::advance(3 * second).await;
        let object = || ("ExternalSecret", "shop".to_owned(), "db".to_owned());
        trace.ended(object, clock, second);
        let open = trace.so_far().phases[0].1;
        assert_eq!(open.end, None);
        drop(phase);
        let times = trace.so_far();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let span = |start, end| Span {
            start: at(start),
            end: Some(at(end)),
        };
        assert_eq!(times.phases, [(Phase::Sync, span(0, 3))]);
        assert_eq!(times.objects[&object()], span(2, 3));
    }
}
