//! Carries a plan out: annotates at the pace, watches for the proof of each, tries again where that may help.
//!
//! One loop owns all state and waits for what comes first: an answer to a patch, something seen, a time, a stop. No tasks,
//! no locks; the decisions it asks for are pure (`proof`) or without I/O (`lane`, `track`).

mod lane;
mod proof;
mod track;
mod watch;

use std::time::Duration;

use cluster::{CallError, Cluster, Trouble, wire::Event};
use eso_model::{self, Id};
use futures::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use pace::Clock;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use self::{
    lane::Lanes,
    track::{Effect, MemberAt, Tracker},
    watch::Sighting,
};
use crate::{
    discover::{Api, WatchFrom},
    outcome::{ItemResult, Outcome},
    plan::{Item, Plan, Step, StepAt, StepTarget},
    policy::{FailureLimit, Policy},
    reason::Reason,
    results::Results,
    stop::{GRACE, Level, Stop},
    wire::Observed,
};

/// Patches under way at once: each takes a connection, and the API's pace bounds them anyway.
const PATCHES: usize = 10;

/// Where the API server cannot be reached a patch is tried again after this pause, which doubles …
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// … up to this one, for as long as an item may take. Each time what became of the last try is read first.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The share of failures stops a run only once so many were attempted.
const ENOUGH: usize = 10;

/// All that carrying out takes.
pub struct Job<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// How.
    pub policy: &'a Policy,
    /// Where.
    pub cluster: &'a Cluster,
    /// The operator's API.
    pub api: &'a Api,
    /// From where on to watch.
    pub watch_from: &'a [WatchFrom],
    /// Unique to the run.
    pub run: &'a str,
    /// The time.
    pub clock: Clock,
    /// Learns when to end.
    pub stop: Stop,
}

/// Something that an operation on a step answered.
enum Done {
    Patched(StepAt, Result<Observed, PatchFailure>),
    Checked(MemberAt, Result<Observed, CallError>),
}

/// Why a patch did not go through.
#[derive(Debug)]
struct PatchFailure {
    reason: Reason,
    message: String,
    denied: bool,
}

struct Engine<'a> {
    job: &'a Job<'a>,
    lanes: Lanes,
    tracker: Tracker<'a>,
    operations: FuturesUnordered<BoxFuture<'a, Done>>,
    results: Results,
    /// From when on nothing is waited for any more.
    end: Option<Instant>,
    /// Whether the turn for the next write has been taken.
    turn: bool,
}

/// Carries the steps of the plan that sync out; `done` hears of each item as it is finished.
pub async fn carry_out(job: &Job<'_>, mut done: impl FnMut(&Item, &ItemResult)) -> Results {
    if job.plan.steps.is_empty() {
        return Results::default();
    }
    let mut engine = Engine {
        job,
        lanes: Lanes::new(job.plan, &job.policy.pace, fastrand::f64),
        tracker: Tracker::new(job.plan, job.policy, job.clock, job.run),
        operations: FuturesUnordered::new(),
        results: Results::default(),
        end: None,
        turn: false,
    };
    let mut stop = job.stop.clone();
    // The place from which Events are watched is found before the first patch, so that none of its answers is missed.
    let heard = tokio::select! {
        heard = events(job) => Some(heard),
        _ = stop.changed() => None,
    };
    engine.heed(stop.level());
    let Some((events, deaf)) = heard else {
        engine.close(&mut done);
        return engine.results;
    };
    engine.results.deaf = deaf;
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
            Some(sighting) = sightings.next() => engine.see(sighting),
            Some(event) = events.next() => engine.hear(event),
            () = sleep_until(wake) => {}
            level = stop.changed() => engine.heed(level),
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

/// The Events of all scopes, and why some of them cannot be heard.
async fn events(
    job: &Job<'_>,
) -> (
    impl Stream<Item = Result<Event, String>> + use<>,
    Option<String>,
) {
    let mut streams = Vec::new();
    let mut deaf = None;
    for from in job.watch_from {
        let query = watch::events_query(from.namespace.as_deref());
        match job.cluster.resource_version(&query).await {
            Ok(resource_version) => {
                streams.push(watch::events(job.cluster.clone(), query, resource_version).boxed());
            }
            Err(error) => deaf = Some(error.to_string()),
        }
    }
    (stream::select_all(streams), deaf)
}

impl Engine<'_> {
    /// Starts what may go now; the answer is when the next may.
    fn dispatch(&mut self) -> Option<Instant> {
        while self.results.stopped.is_none() && self.operations.len() < PATCHES {
            if self.lanes.is_empty() {
                return None;
            }
            // The turn at the API server comes first: a step that has left its lane goes at once, or not at all.
            if !self.turn {
                if let Err(wait) = self.job.cluster.take_turn() {
                    return Some(Instant::now() + wait);
                }
                self.turn = true;
            }
            let at = match self.lanes.next(&self.job.plan.steps) {
                Ok(at) => at,
                Err(wake) => return wake,
            };
            self.turn = false;
            let value = self.tracker.start(at);
            self.operations.push(patch(self.job, at, value).boxed());
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

    fn see(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Seen(object) => self.tracker.seen(&object),
            Sighting::Gone(id, uid) => self.tracker.gone(&id, &uid),
            Sighting::Listed { namespace, present } => {
                self.tracker.listed(namespace.as_deref(), &present);
            }
            Sighting::Blind(why) => {
                tracing::warn!(
                    why,
                    "ExternalSecrets cannot be watched any more; what is in flight is read once at the end"
                );
            }
        }
    }

    fn hear(&mut self, event: Result<Event, String>) {
        match event {
            Ok(event) => self.tracker.heard(&event),
            Err(why) => self.results.deaf = Some(why),
        }
    }

    /// Lets the lanes, the count of failures and the operations follow what the tracker has concluded.
    fn tick(&mut self) {
        let steps = &self.job.plan.steps;
        for effect in self.tracker.conclude() {
            match effect {
                Effect::Landed { step, proven } => {
                    self.lanes.landed(&steps[step]);
                    if proven {
                        self.lanes.proven(&steps[step]);
                    }
                }
                Effect::Throttled(step) => self.lanes.throttled(&steps[step]),
                Effect::Again(step) => self.lanes.again(&steps[step], step),
                Effect::Check(member) => {
                    let item = self.tracker.item(member);
                    self.operations.push(check(self.job, item, member).boxed());
                }
            }
        }
        let left = !self.lanes.is_empty() || !self.tracker.is_idle();
        if self.results.stopped.is_none() && left && self.too_many_failures() {
            self.results.stopped = Some(Reason::TooManyFailures);
            self.tracker.no_more_tries();
        }
    }

    fn too_many_failures(&self) -> bool {
        let (failed, attempted) = self.tracker.failures();
        match self.job.policy.safety.stop_after_failures {
            FailureLimit::Count(limit) => failed > limit as usize,
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            FailureLimit::Share(share) => {
                attempted >= ENOUGH && failed as f64 > share * attempted as f64
            }
        }
    }

    fn heed(&mut self, level: Level) {
        let now = Instant::now();
        let (reason, end) = match level {
            Level::Run => return,
            Level::Drain(reason) => (reason, now + GRACE),
            Level::Now(reason) => (reason, now),
        };
        // A run that failures stopped first still says so: that is what to mend.
        self.results.stopped.get_or_insert(reason);
        self.end = Some(self.end.map_or(end, |before| before.min(end)));
        self.tracker.no_more_tries();
    }

    fn is_finished(&self) -> bool {
        let idle = self.operations.is_empty() && self.tracker.is_idle();
        let over = self.end.is_some_and(|end| Instant::now() >= end);
        over || (idle && (self.results.stopped.is_some() || self.lanes.is_empty()))
    }

    /// When something has to be looked at, whatever comes before.
    fn wake(&self, next: Option<Instant>) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        [next, self.tracker.wake(), self.end]
            .into_iter()
            .flatten()
            .fold(far, Instant::min)
    }

    fn report(&mut self, done: &mut impl FnMut(&Item, &ItemResult)) {
        for (at, result) in self.tracker.take_results() {
            done(&self.job.plan.items[at], &result);
            self.results.items.insert(at, result);
        }
    }

    /// What is still open was interrupted, or not reached.
    fn close(&mut self, done: &mut impl FnMut(&Item, &ItemResult)) {
        for step in self.lanes.drain() {
            self.tracker.abandon(step);
        }
        self.tracker.interrupt();
        self.report(done);
        let reason = self.results.stopped.unwrap_or(Reason::Interrupted);
        let planned = self.job.plan.steps.iter().flat_map(|step| &step.members);
        for &member in planned {
            let not_reached = || ItemResult::not_reached(reason);
            self.results.items.entry(member).or_insert_with(not_reached);
        }
        // Asked to end, but everything has its answer: then nothing was cut short.
        let cut = self.results.items.values().any(|result| {
            result.outcome == Outcome::NotReached || result.reason == Some(Reason::Interrupted)
        });
        if !cut {
            self.results.stopped = None;
        }
    }
}

/// Writes the annotation of a step. After a lost answer the object is read before it is tried again.
async fn patch(job: &Job<'_>, at: StepAt, value: String) -> Done {
    let Annotated { path, key, uid } = annotated(job, &job.plan.steps[at]);
    let body = json!({"metadata": {"uid": uid, "annotations": {key: value}}});
    let give_up = Instant::now() + job.policy.sync.timeout;
    let mut pause = FIRST_PAUSE;
    let outcome = loop {
        let error = match job.cluster.patch_paced::<Observed>(&path, &body).await {
            Ok(object) => break Ok(object),
            Err(error) => error,
        };
        let now = job.cluster.get::<Observed>(&path).await;
        if let Ok(object) = &now
            && carries(object, uid, key, &value)
        {
            break now.map_err(|error| refusal(&error, None, uid));
        }
        let other = now.as_ref().is_ok_and(|object| object.metadata.uid != uid);
        let may_pass = matches!(error.trouble, Trouble::Unavailable | Trouble::Conflict) && !other;
        if !may_pass || Instant::now() + pause >= give_up {
            break Err(refusal(&error, now.as_ref().ok(), uid));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    Done::Patched(at, outcome)
}

/// What a step annotates.
struct Annotated<'a> {
    path: String,
    key: &'a str,
    uid: &'a str,
}

fn annotated<'a>(job: &Job<'a>, step: &'a Step) -> Annotated<'a> {
    match &step.target {
        StepTarget::ExternalSecret(member) => {
            let item = &job.plan.items[*member];
            Annotated {
                path: path_of(job, &item.id),
                key: &job.policy.sync.annotation,
                uid: &item.uid,
            }
        }
        StepTarget::Parent { name, uid } => Annotated {
            path: format!("{}/{name}", job.api.path(None, "clusterexternalsecrets")),
            key: eso_model::PARENT_FORCE_SYNC,
            uid,
        },
    }
}

/// Whether it is the object that was planned for, with our annotation on it.
fn carries(object: &Observed, uid: &str, key: &str, value: &str) -> bool {
    object.metadata.uid == uid
        && object
            .metadata
            .annotations
            .get(key)
            .is_some_and(|present| present == value)
}

/// What a refused patch means, given the object as it is now.
fn refusal(error: &CallError, now: Option<&Observed>, uid: &str) -> PatchFailure {
    let other = now.is_some_and(|object| object.metadata.uid != uid);
    let reason = if error.trouble == Trouble::NotFound {
        Reason::Deleted
    } else if other {
        Reason::Replaced
    } else if error.trouble == Trouble::Unavailable {
        Reason::ApiUnavailable
    } else {
        Reason::Refused
    };
    PatchFailure {
        reason,
        message: error.to_string(),
        denied: error.trouble == Trouble::Denied,
    }
}

/// Reads an item once more before it is said to have timed out: the watch may have been silent.
async fn check(job: &Job<'_>, item: &Item, member: MemberAt) -> Done {
    let object = job.cluster.get::<Observed>(&path_of(job, &item.id)).await;
    Done::Checked(member, object)
}

fn path_of(job: &Job<'_>, id: &Id) -> String {
    format!(
        "{}/{}",
        job.api.path(Some(&id.namespace), "externalsecrets"),
        id.name
    )
}
