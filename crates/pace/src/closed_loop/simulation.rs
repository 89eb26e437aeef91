//! A simulated operator: workers, a queue in order of arrival, second passes, and client limits. It needs no time to run.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::ClosedLoop;
use crate::{bucket::Bucket, rate::Rate};

/// The operator and its provider.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    pub(super) workers: usize,
    /// The time of one provider call, each from a time on.
    pub(super) latency: Vec<(Duration, Duration)>,
    /// A latency differs by at most this share.
    pub(super) jitter: f64,
    /// The time of a pass without calls and limits.
    pub(super) first_pass: Duration,
    pub(super) second_pass: Duration,
    /// The requests per second to the API server for each kind. None: no limit.
    pub(super) client_limit: Option<f64>,
    /// The share of second passes that write again, because the operator's cache does not have its own write yet.
    pub(super) repeats: f64,
}

/// How steps are fed to the operator.
pub(super) enum Feed {
    /// At a rate.
    Rate(f64),
    /// By a closed loop, and at most at the rate of API requests.
    Closed(Box<ClosedLoop>),
}

/// What happened, each with its time since the start.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) calls: Vec<Duration>,
    pub(super) started: Vec<Duration>,
    pub(super) proofs: Vec<Duration>,
    /// The calls that are outstanding after each start and proof.
    pub(super) outstanding: Vec<(Duration, u32)>,
    /// The time at which we see that the provider throttles.
    pub(super) throttled: Option<Duration>,
}

impl Course {
    pub(super) fn seconds(&self) -> f64 {
        let last = self.proofs.iter().max();
        last.map_or(0.0, Duration::as_secs_f64)
    }

    /// The most calls in any ten seconds.
    pub(super) fn most_calls_in_ten_seconds(&self) -> usize {
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        let within = calls.iter().enumerate().map(|(index, first)| {
            let end = *first + Duration::from_secs(10);
            calls.partition_point(|at| *at < end) - index
        });
        within.max().unwrap_or_default()
    }

    /// The calls that are outstanding at this time.
    pub(super) fn outstanding_at(&self, time: Duration) -> u32 {
        let before = self.outstanding.iter().rfind(|(at, _)| *at <= time);
        before.map_or(0, |(_, calls)| *calls)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Only the time has changed.
    Wake,
    Queued(Pass),
    Reached(Pass, Stage),
    /// We see the proof.
    Proven(usize),
    /// We see that the provider throttled.
    Throttled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pass {
    step: usize,
    second: bool,
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// So many provider calls are left.
    Calls(u32),
    Written,
    Done,
}

/// The time from a write until a watch shows it.
const WATCH: Duration = Duration::from_millis(10);

/// The engine decides again at least this often.
const LOOK: Duration = Duration::from_millis(200);

struct World<'a> {
    operator: &'a Operator,
    costs: &'a [u32],
    /// The time from which the provider throttles.
    throttles: Option<Duration>,
    start: Instant,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    number: u64,
    queue: VecDeque<Pass>,
    idle: usize,
    secrets: Option<Bucket>,
    statuses: Option<Bucket>,
    course: Course,
    outstanding: u32,
    /// True if the next decision is scheduled.
    wakes: bool,
}

/// Syncs one step for each cost.
pub(super) fn simulate(
    operator: &Operator,
    costs: &[u32],
    feed: Feed,
    throttles: Option<Duration>,
) -> Course {
    let client = || {
        let limit = Rate::per_second(operator.client_limit?)?;
        Some(Bucket::with_burst(limit, Duration::from_secs(2)))
    };
    let mut world = World {
        operator,
        costs,
        throttles,
        start: Instant::now(),
        now: Duration::ZERO,
        events: BinaryHeap::new(),
        number: 0,
        queue: VecDeque::new(),
        idle: operator.workers,
        secrets: client(),
        statuses: client(),
        course: Course::default(),
        outstanding: 0,
        wakes: false,
    };
    let (mut api, mut closed) = match feed {
        Feed::Rate(rate) => (
            Bucket::with_burst(Rate::clamped(rate), Duration::from_millis(200)),
            None,
        ),
        Feed::Closed(closed) => (
            Bucket::with_burst(Rate::clamped(200.0), Duration::from_secs(2)),
            Some(*closed),
        ),
    };
    loop {
        world.feed(&mut api, closed.as_mut());
        world.work();
        let Some(Reverse((at, _, event))) = world.events.pop() else {
            break;
        };
        world.now = at;
        world.happen(event, closed.as_mut());
    }
    assert_eq!(world.course.proofs.len(), costs.len());
    world.course
}

impl World<'_> {
    fn after(&mut self, time: Duration, event: Event) {
        self.number += 1;
        let at = self.now + time;
        self.events.push(Reverse((at, self.number, event)));
    }

    fn wake(&mut self, after: Duration) {
        if !self.wakes {
            self.wakes = true;
            self.after(after.min(LOOK), Event::Wake);
        }
    }

    /// A number from 0 to 1 that is the same in every run.
    fn chance(&self) -> f64 {
        let mixed = self.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        u32::try_from(mixed).map_or(0.0, f64::from) / f64::from(1 << 24)
    }

    fn feed(&mut self, api: &mut Bucket, mut closed: Option<&mut ClosedLoop>) {
        while let Some(&cost) = self.costs.get(self.course.started.len()) {
            let now = self.start + self.now;
            if let Err(wait) = api.ready(now, 1) {
                return self.wake(wait);
            }
            if let Some(closed) = closed.as_deref_mut() {
                if let Err(until) = closed.ready(now, cost) {
                    return self.wake(until.map_or(LOOK, |until| until - now));
                }
                closed.start(now, cost);
            }
            api.pay(now, 1);
            let pass = Pass {
                step: self.course.started.len(),
                second: false,
            };
            self.course.started.push(self.now);
            self.outstanding += cost;
            self.course.outstanding.push((self.now, self.outstanding));
            self.after(WATCH, Event::Queued(pass));
        }
    }

    /// Gives the queue to idle workers.
    fn work(&mut self) {
        while self.idle > 0
            && let Some(pass) = self.queue.pop_front()
        {
            self.idle -= 1;
            if !pass.second {
                // The credentials of the store are read from the API server.
                let wait = self.api_request(Kind::Secret) + self.operator.first_pass;
                let calls = Stage::Calls(self.costs[pass.step]);
                self.after(wait, Event::Reached(pass, calls));
            } else if self.chance() < self.operator.repeats {
                let wait = self.api_request(Kind::Secret) + self.operator.second_pass;
                self.after(wait, Event::Reached(pass, Stage::Calls(0)));
            } else {
                self.after(self.operator.second_pass, Event::Reached(pass, Stage::Done));
            }
        }
    }

    /// The time until the client limit allows a request.
    fn api_request(&mut self, kind: Kind) -> Duration {
        let now = self.start + self.now;
        let client = match kind {
            Kind::Secret => &mut self.secrets,
            Kind::Status => &mut self.statuses,
        };
        client.as_mut().map_or(Duration::ZERO, |client| {
            let wait = client.ready(now, 1).err().unwrap_or_default();
            client.pay(now, 1);
            wait
        })
    }

    fn happen(&mut self, event: Event, closed: Option<&mut ClosedLoop>) {
        let now = self.start + self.now;
        match event {
            Event::Wake => self.wakes = false,
            Event::Queued(pass) => self.queue.push_back(pass),
            Event::Reached(pass, stage) => self.reached(pass, stage),
            Event::Proven(step) => {
                let cost = self.costs[step];
                self.course.proofs.push(self.now);
                self.outstanding -= cost;
                self.course.outstanding.push((self.now, self.outstanding));
                if let Some(closed) = closed {
                    closed.end(now, cost, true);
                }
            }
            Event::Throttled => {
                self.course.throttled = Some(self.now);
                if let Some(closed) = closed {
                    closed.throttled(now);
                }
            }
        }
    }

    fn reached(&mut self, pass: Pass, stage: Stage) {
        match stage {
            Stage::Calls(0) => {
                let wait = self.api_request(Kind::Secret);
                self.after(wait, Event::Reached(pass, Stage::Written));
            }
            Stage::Calls(left) => {
                self.course.calls.push(self.now);
                if self.throttles.is_some_and(|from| self.now >= from) {
                    self.throttles = None;
                    self.after(WATCH, Event::Throttled);
                }
                let mut latencies = self.operator.latency.iter();
                let latency = latencies.rfind(|(from, _)| *from <= self.now);
                let latency = latency.map_or(Duration::ZERO, |(_, latency)| *latency);
                let share = self.chance().mul_add(2.0, -1.0);
                let time = latency.mul_f64(self.operator.jitter.mul_add(share, 1.0));
                self.after(time, Event::Reached(pass, Stage::Calls(left - 1)));
            }
            Stage::Written => {
                let wait = self.api_request(Kind::Status);
                self.after(wait, Event::Reached(pass, Stage::Done));
                if !pass.second {
                    let second = Pass {
                        second: true,
                        ..pass
                    };
                    self.after(WATCH, Event::Queued(second));
                }
            }
            Stage::Done => {
                self.idle += 1;
                if !pass.second {
                    self.after(WATCH, Event::Proven(pass.step));
                }
            }
        }
    }
}

/// The operator has a client for each kind.
#[derive(Clone, Copy)]
enum Kind {
    Secret,
    Status,
}
