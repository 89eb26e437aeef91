//! Executes the sync steps of a plan: annotates within the rates, watches for the proof of each sync, and retries.
//!
//! One loop owns all state and waits for the next event: a patch response, an object, a timer, a stop. It has no tasks and no
//! locks. Decisions are pure (`proof`) or without I/O (`lane`, `track`).

mod annotate;
mod failures;
mod lane;
mod proof;
mod track;
mod watch;

use std::time::Duration;

use cluster::{ApiError, Cluster, Path, wire::Event};
use eso_model::{self, Id};
use futures::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use pace::Clock;
use tokio::time::{Instant, sleep_until};

use self::{
    annotate::PatchFailure,
    lane::Lanes,
    track::{Effect, MemberAt, Tracker},
    watch::Sighting,
};
use crate::{
    discover::{Api, WatchFrom},
    outcome::ItemResult,
    plan::{Item, Plan, StepAt},
    policy::Policy,
    reason::Reason,
    record::Record,
    results::Results,
    stop::{GRACE, Level, Stop},
    wire::Observed,
};

/// Concurrent patches. Each needs a connection, and the rate of the API server limits them too.
const PATCHES: usize = 10;

/// The inputs of a sync.
pub struct Job<'a> {
    pub plan: &'a Plan,
    pub policy: &'a Policy,
    pub cluster: &'a Cluster,
    /// The API version of the operator.
    pub api: &'a Api,
    /// The resource versions to watch from.
    pub watch_from: &'a [WatchFrom],
    /// The unique ID of the run.
    pub run: &'a str,
    pub clock: Clock,
    pub stop: Stop,
    /// Filled as results come.
    pub record: &'a Record,
}

/// A finished operation.
enum Done {
    Patched(StepAt, Result<Observed, PatchFailure>),
    Checked(MemberAt, Result<Observed, ApiError>),
}

struct Engine<'a> {
    job: &'a Job<'a>,
    lanes: Lanes,
    tracker: Tracker<'a>,
    operations: FuturesUnordered<BoxFuture<'a, Done>>,
    results: Results,
    /// The time at which the run ends, even with open items.
    end: Option<Instant>,
    /// True if the rate permit for the next write is taken.
    has_permit: bool,
}

/// Executes the sync steps of the plan. Calls `done` for each finished item.
pub async fn carry_out(job: &Job<'_>, mut done: impl FnMut(&Item, &ItemResult)) -> Results {
    if job.plan.steps.is_empty() {
        return Results::default();
    }
    let mut engine = Engine {
        job,
        lanes: Lanes::new(job.plan, &job.policy.pace),
        tracker: Tracker::new(job.plan, job.policy, job.clock, job.run),
        operations: FuturesUnordered::new(),
        results: Results::default(),
        end: None,
        has_permit: false,
    };
    let mut stop = job.stop.clone();
    // The resource version of the Events is read before the first patch, so that no Event about it is missed.
    let heard = tokio::select! {
        heard = events(job) => Some(heard),
        _ = stop.changed() => None,
    };
    engine.on_stop(stop.level());
    let Some((events, events_unwatched)) = heard else {
        engine.close(&mut done);
        return engine.results;
    };
    engine.results.events_unwatched = events_unwatched;
    let mut events = std::pin::pin!(events);
    let mut sightings = std::pin::pin!(sightings(job));
    loop {
        let next = engine.dispatch();
        engine.report(&mut done);
        if engine.is_finished() {
            break;
        }
        let wake = engine.wake(next);
        tokio::select! {
            Some(operation) = engine.operations.next() => engine.finish(operation),
            Some(sighting) = sightings.next() => engine.on_sighting(sighting),
            Some(event) = events.next() => engine.on_event(event),
            () = sleep_until(wake) => {}
            level = stop.changed() => engine.on_stop(level),
        }
        engine.tick();
    }
    engine.close(&mut done);
    engine.results
}

fn sightings<'a>(job: &Job<'a>) -> impl Stream<Item = Sighting> + use<'a> {
    let run = job.run.to_owned();
    let key = job.policy.sync.annotation.clone();
    let ours = move |object: &Observed| {
        let has = |key: &str| {
            object
                .metadata
                .annotations
                .get(key)
                .is_some_and(|value| value.starts_with(&run))
        };
        has(&key) || has(eso_model::PARENT_FORCE_SYNC)
    };
    let streams = job.watch_from.iter().map(|from| {
        let path = job.api.path(from.namespace.as_deref(), "externalsecrets");
        let (namespace, from) = (from.namespace.clone(), from.resource_version.clone());
        watch::external_secrets(job.cluster.clone(), path, namespace, from, ours.clone()).boxed()
    });
    stream::select_all(streams)
}

/// Returns the Events of all scopes, and the error if some of them cannot be watched.
async fn events(
    job: &Job<'_>,
) -> (
    impl Stream<Item = Result<Event, String>> + use<>,
    Option<String>,
) {
    let mut streams = Vec::new();
    let mut events_unwatched = None;
    for from in job.watch_from {
        let query = watch::events_query(from.namespace.as_deref());
        match job.cluster.resource_version(&query).await {
            Ok(resource_version) => {
                streams.push(watch::events(job.cluster.clone(), query, resource_version).boxed());
            }
            Err(error) => events_unwatched = Some(error.to_string()),
        }
    }
    (stream::select_all(streams), events_unwatched)
}

impl Engine<'_> {
    /// Starts all steps that the rates allow now. Returns the time of the next one.
    fn dispatch(&mut self) -> Option<Instant> {
        while self.results.stopped.is_none() && self.operations.len() < PATCHES {
            if self.lanes.is_empty() {
                return None;
            }
            // The rate permit of the API server is taken first, so that a step that leaves its queue starts at once.
            if !self.has_permit {
                if let Err(wait) = self.job.cluster.take_permit() {
                    return Some(Instant::now() + wait);
                }
                self.has_permit = true;
            }
            let at = match self.lanes.next(&self.job.plan.steps, Instant::now()) {
                Ok(at) => at,
                Err(wake) => return wake,
            };
            self.has_permit = false;
            self.job.record.started(&self.job.plan.steps[at].members);
            let value = self.tracker.start(at);
            let (job, step) = (self.job, &self.job.plan.steps[at]);
            let patch = async move { Done::Patched(at, annotate::patch(job, step, value).await) };
            self.operations.push(patch.boxed());
        }
        None
    }

    fn finish(&mut self, operation: Done) {
        match operation {
            Done::Patched(step, Ok(object)) => {
                self.results.wrote = true;
                self.tracker.annotated(step, &object);
            }
            Done::Patched(step, Err(failure)) => {
                self.results.denied |= failure.denied;
                self.tracker.refused(step, failure.reason, &failure.message);
            }
            Done::Checked(member, object) => self.tracker.checked(member, object.as_ref()),
        }
    }

    fn on_sighting(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Seen(object) => self.tracker.seen(&object),
            Sighting::Gone(id, uid) => self.tracker.gone(&id, &uid),
            Sighting::Listed { namespace, present } => {
                self.tracker.listed(namespace.as_deref(), &present);
            }
            Sighting::WatchDenied(why) => {
                tracing::warn!(
                    why,
                    "cannot watch ExternalSecrets any more; items in flight are read once at their timeout"
                );
            }
        }
    }

    fn on_event(&mut self, event: Result<Event, String>) {
        match event {
            Ok(event) => self.tracker.heard(&event),
            Err(why) => self.results.events_unwatched = Some(why),
        }
    }

    /// Applies the tracker's verdicts to the queues, the count of failures and the operations.
    fn tick(&mut self) {
        let steps = &self.job.plan.steps;
        let now = Instant::now();
        for effect in self.tracker.conclude() {
            match effect {
                Effect::Landed { step, answered } => {
                    self.lanes.landed(&steps[step], answered, now);
                }
                Effect::Throttled(step) => self.lanes.throttled(&steps[step], now),
                Effect::Again(step) => self.lanes.again(step),
                Effect::Check(member) => {
                    let item = self.tracker.item(member);
                    self.operations.push(check(self.job, item, member).boxed());
                }
            }
        }
        self.stop_where_too_many_failed();
    }

    /// Stops the namespaces with too many failures, and the run if there are too many of these.
    fn stop_where_too_many_failed(&mut self) {
        let plan = self.job.plan;
        for namespace in self.tracker.stop_namespaces() {
            let is_in = |at| plan.steps[at].namespace(plan) == Some(namespace);
            let left = self.lanes.remove(is_in);
            if !left.is_empty() {
                tracing::warn!(
                    namespace,
                    "too many syncs failed; this namespace is stopped"
                );
            }
            for step in left {
                self.tracker.abandon(step);
            }
        }
        let left = !self.lanes.is_empty() || !self.tracker.is_idle();
        if self.results.stopped.is_none() && left && self.tracker.failures().stop_the_run() {
            self.results.stopped = Some(Reason::TooManyFailures);
            self.tracker.no_more_tries();
        }
    }

    fn on_stop(&mut self, level: Level) {
        let now = Instant::now();
        let (reason, end) = match level {
            Level::Run => return,
            Level::Drain(reason) => (reason, now + GRACE),
            Level::Now(reason) => (reason, now),
        };
        // If failures stopped the run first, that stays the reason: the failures need a fix.
        self.results.stopped.get_or_insert(reason);
        self.end = Some(self.end.map_or(end, |before| before.min(end)));
        self.tracker.no_more_tries();
    }

    fn is_finished(&self) -> bool {
        let idle = self.operations.is_empty() && self.tracker.is_idle();
        let over = self.end.is_some_and(|end| Instant::now() >= end);
        over || (idle && (self.results.stopped.is_some() || self.lanes.is_empty()))
    }

    /// Returns the time at which the loop must wake up without an event.
    fn wake(&self, next: Option<Instant>) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        [next, self.tracker.wake(), self.end]
            .into_iter()
            .flatten()
            .fold(far, Instant::min)
    }

    fn report(&mut self, done: &mut impl FnMut(&Item, &ItemResult)) {
        for (at, result) in self.tracker.take_results() {
            self.job.record.ended(at, &result);
            done(&self.job.plan.items[at], &result);
            self.results.items.insert(at, result);
        }
    }

    /// Ends open items as interrupted or not reached.
    fn close(&mut self, done: &mut impl FnMut(&Item, &ItemResult)) {
        for step in self.lanes.remove(|_| true) {
            self.tracker.abandon(step);
        }
        self.tracker.interrupt();
        self.report(done);
        let plan = self.job.plan;
        let reason = self.results.stopped.unwrap_or(Reason::Interrupted);
        let interrupted = |result: &ItemResult| result.reason == Some(Reason::Interrupted);
        let mut cut = self.results.items.values().any(interrupted);
        for &member in plan.steps.iter().flat_map(|step| &step.members) {
            if self.results.items.contains_key(&member) {
                continue;
            }
            let namespace = &plan.items[member].id.namespace;
            let result = if let Some(why) = self.tracker.failures().why(namespace) {
                let stopped = &mut self.results.stopped_namespaces;
                stopped.insert(namespace.clone(), why.clone());
                ItemResult {
                    message: why,
                    ..ItemResult::not_reached(Reason::TooManyFailures)
                }
            } else {
                cut = true;
                ItemResult::not_reached(reason)
            };
            self.results.items.insert(member, result);
        }
        // The run was asked to stop, but every item has a result: the report is complete.
        if !cut {
            self.results.stopped = None;
        }
    }
}

/// Reads an item before it times out, because the watch may have missed a change.
async fn check(job: &Job<'_>, item: &Item, member: MemberAt) -> Done {
    let object = job.cluster.get::<Observed>(&path_of(job, &item.id)).await;
    Done::Checked(member, object)
}

fn path_of(job: &Job<'_>, id: &Id) -> Path {
    job.api
        .path(Some(&id.namespace), "externalsecrets")
        .named(&id.name)
}
