//! One pass over groups of ExternalSecrets: reads what each group needs, and returns each group as soon as it is complete.
//!
//! | bound | by |
//! |---|---|
//! | the reads that are planned | a window, with a share for each namespace |
//! | the calls in flight | [`CALLS`], and the turns of the namespaces |
//! | the bytes of answers | the byte budget, with a share for each namespace |
//!
//! An answer that does not fit in the share now is given up, and read again after others were freed. If the namespace itself
//! holds nothing that will be freed, the group is read alone, with bytes of its own. So the result for a group depends on its
//! own values only, whatever other namespaces do.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use eso_model::{
    QuotaKey,
    budget::Limits,
    expected::{Read, What},
};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, LocalBoxFuture},
    stream::FuturesUnordered,
};
use pace::bytes::{Budget, Share};
use tokio::time::{Instant, Interval};

use super::{
    Core, Link, ReadProgress, Routes,
    answers::{Answers, Kept, Outcome},
    line::{Line, Place, Progress, State},
    too_slow,
    turns::Turns,
};
use crate::{Answered, MAX_VALUE, Provider, RateLimiter, Unread, unread};

/// The calls in flight to all providers.
const CALLS: usize = 128;

/// The maximum number of idle connections of one namespace each that are kept. Each has TLS settings of its own, which take as much
/// memory as hundreds of ExternalSecrets, and there may be thousands.
pub(super) const KEPT_OPEN: usize = 16;

/// The reads of groups that are not complete: of all namespaces, of one, and the number that a namespace may always have.
const WINDOW: usize = 8000;
const WINDOW_OF_NAMESPACE: usize = 1000;
const WINDOW_FLOOR: usize = 64;

/// The reads that one group may need.
const READS_OF_GROUP: usize = 2000;

/// The complete groups that wait for the caller.
const READY: usize = 100;

/// The times that an answer is given up before its groups are read alone.
const TRIES: u8 = 2;

/// The bytes of a group that is read alone, the number of such groups at a time, and the time limit for each.
const ALONE_BYTES: usize = 4 << 20;
const ALONE: usize = 2;
const ALONE_TIMEOUT: Duration = Duration::from_mins(1);

/// A connection is lost after this number of calls that were cut off without an answer in between.
const SLOW_UNTIL_LOST: usize = 2;

/// The interval at which the progress of a read is reported. The first report comes at its start.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The reads of a group.
pub(super) type ReadsOf<'r> = Box<dyn Fn(usize) -> LocalBoxFuture<'r, Vec<Read>> + 'r>;

/// For each read of a group, the members that it needs of the value.
pub(super) type MembersOf<'r> = Box<dyn Fn(usize) -> LocalBoxFuture<'r, Members> + 'r>;

/// The members of JSON objects that are all a group needs of its values. A read is missing if the group needs more.
pub type Members = BTreeMap<Read, Names>;

/// Names of members of a JSON object.
pub(super) type Names = BTreeSet<String>;

/// The groups to read for. A group is what must be read before any of it can be judged.
pub struct Wanted<'r> {
    /// The namespace of each group.
    pub namespaces: Vec<&'r str>,
    /// The reads of a group. Called several times, so that the reads of waiting groups take no memory.
    pub reads: ReadsOf<'r>,
    /// Called for a group that is read alone.
    pub members: MembersOf<'r>,
}

/// A group that is complete.
pub struct Ready {
    /// The index in [`Wanted`].
    pub group: usize,
    pub answers: Answers,
}

/// A pass over all groups.
pub struct Round<'r> {
    core: &'r Core,
    routes: &'r Routes,
    lines: &'r mut [Line],
    quotas: &'r BTreeMap<QuotaKey, RateLimiter>,
    wanted: Wanted<'r>,
    until: Option<Instant>,
    spaces: Vec<Space>,
    turns: Turns,
    /// The namespaces with groups that are not admitted yet, in the order of their turns.
    waiting: VecDeque<usize>,
    /// The reads of groups that are computed now, with their namespace.
    computing: FuturesUnordered<LocalBoxFuture<'r, (usize, Vec<Read>)>>,
    admitted: BTreeMap<usize, Admitted>,
    window: usize,
    ready: VecDeque<Ready>,
    gave_up: bool,
    /// The groups that were returned.
    read: usize,
    calls: FuturesUnordered<BoxFuture<'r, Done>>,
    /// The groups to be read alone, by namespace.
    to_read_alone: BTreeMap<usize, VecDeque<usize>>,
    alone: FuturesUnordered<LocalBoxFuture<'r, (usize, Answers)>>,
    /// Cloned for each group that is read alone, until its answers are dropped.
    alone_in_use: Arc<()>,
    calls_before: u64,
    ticks: Interval,
}

/// A namespace.
struct Space {
    share: Share,
    /// The groups that are not admitted yet, and the reads of the first of them.
    groups: VecDeque<usize>,
    next: Next,
    /// The limits of the work of each search.
    limits: Limits,
    /// The reads of admitted groups.
    window: usize,
    /// The reads that were given up because they did not fit in the share.
    blocked: Vec<(usize, What)>,
    /// Cloned for the answers of each group, until they are dropped.
    in_use: Arc<()>,
}

/// The reads of the next group of a namespace.
enum Next {
    Unknown,
    Computing,
    Known(Vec<Read>),
}

/// A group whose reads are planned.
struct Admitted {
    space: usize,
    reads: Vec<(Read, Result<usize, Unread>)>,
    /// The number of answers that are missing.
    missing: usize,
    /// True if the group is read alone.
    alone: bool,
}

/// What a future of [`Round::calls`] did.
enum Done {
    Connected {
        line: usize,
        space: usize,
        provider: Result<Arc<dyn Provider>, Unread>,
    },
    Read {
        line: usize,
        spaces: Vec<usize>,
        whats: Vec<What>,
        /// None if the provider took too long.
        answers: Option<Vec<Answered>>,
    },
}

impl<'r> Round<'r> {
    pub(super) fn new(
        core: &'r Core,
        routes: &'r Routes,
        lines: &'r mut [Line],
        quotas: &'r BTreeMap<QuotaKey, RateLimiter>,
        (budget, searches): (&Budget, &BTreeMap<&str, usize>),
        wanted: Wanted<'r>,
        until: Option<Instant>,
    ) -> Self {
        let mut groups: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
        for (group, namespace) in wanted.namespaces.iter().enumerate() {
            groups.entry(namespace).or_default().push_back(group);
        }
        let spaces: Vec<Space> = groups
            .into_iter()
            .map(|(namespace, groups)| Space {
                share: budget.share(namespace),
                groups,
                next: Next::Unknown,
                limits: Limits::in_namespace_of(searches.get(namespace).copied().unwrap_or(1)),
                window: 0,
                blocked: Vec::new(),
                in_use: Arc::default(),
            })
            .collect();
        let next = Instant::now() + PROGRESS_INTERVAL;
        let round = Self {
            core,
            routes,
            lines,
            calls_before: calls(quotas),
            quotas,
            wanted,
            until,
            turns: Turns::of(spaces.len()),
            waiting: (0..spaces.len()).collect(),
            computing: FuturesUnordered::new(),
            spaces,
            admitted: BTreeMap::new(),
            window: 0,
            ready: VecDeque::new(),
            gave_up: false,
            read: 0,
            calls: FuturesUnordered::new(),
            to_read_alone: BTreeMap::new(),
            alone: FuturesUnordered::new(),
            alone_in_use: Arc::default(),
            ticks: tokio::time::interval_at(next, PROGRESS_INTERVAL),
        };
        if round.lines.iter().any(Line::is_wanted) {
            round.report(false);
        }
        round
    }

    /// Returns the next group that is complete, or None after the last one. Drop the answers of a group before the next call, or
    /// the bytes that they hold slow down the other groups of the namespace.
    pub async fn next(&mut self) -> Option<Ready> {
        loop {
            if self.is_over() && !std::mem::replace(&mut self.gave_up, true) {
                self.give_up();
            }
            self.admit();
            self.unblock();
            self.start();
            self.start_alone();
            if let Some(ready) = self.ready.pop_front() {
                self.read += 1;
                return Some(ready);
            }
            if self.admitted.is_empty() && self.waiting.is_empty() {
                self.report(true);
                return None;
            }
            let over = self
                .until
                .unwrap_or_else(|| Instant::now() + PROGRESS_INTERVAL);
            tokio::select! {
                Some(done) = self.calls.next() => self.done(done),
                Some((group, answers)) = self.alone.next() => self.done_alone(group, answers),
                Some((space, reads)) = self.computing.next() => self.computed(space, reads),
                _ = self.ticks.tick() => self.report(false),
                () = tokio::time::sleep_until(over) => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    fn report(&self, ended: bool) {
        let Some(on_progress) = &self.core.on_progress else {
            return;
        };
        let used = self.lines.iter().filter(|line| line.was_wanted());
        let stores = used.clone().count();
        let done = used.filter(|line| !line.is_wanted()).count();
        on_progress(ReadProgress {
            stores,
            done,
            calls: calls(self.quotas) - self.calls_before,
            groups: self.wanted.namespaces.len(),
            read: self.read,
            ended,
        });
    }

    /// Plans the reads of more groups, one group of each namespace in turn.
    fn admit(&mut self) {
        let mut passed = 0;
        while passed < self.waiting.len()
            && self.ready.len() < READY
            && let Some(index) = self.waiting.pop_front()
            && let Some(space) = self.spaces.get_mut(index)
        {
            let Some(&group) = space.groups.front() else {
                continue;
            };
            let reads = match std::mem::replace(&mut space.next, Next::Computing) {
                Next::Known(reads) => Some(reads),
                Next::Computing => None,
                Next::Unknown => {
                    let mut reads = (self.wanted.reads)(group);
                    let known = (&mut reads).now_or_never();
                    if known.is_none() {
                        let reads = reads.map(move |reads| (index, reads));
                        self.computing.push(Box::pin(reads));
                    }
                    known
                }
            };
            let Some(reads) = reads else {
                passed += 1;
                self.waiting.push_back(index);
                continue;
            };
            space.next = Next::Unknown;
            if has_room(space.window, self.window, reads.len()) || self.gave_up {
                passed = 0;
                space.groups.pop_front();
                self.plan(group, index, reads);
            } else {
                passed += 1;
                space.next = Next::Known(reads);
            }
            self.waiting.push_back(index);
        }
    }

    fn computed(&mut self, space: usize, reads: Vec<Read>) {
        if let Some(space) = self.spaces.get_mut(space) {
            space.next = Next::Known(reads);
        }
    }

    /// Queues the reads of a group.
    fn plan(&mut self, group: usize, space: usize, reads: Vec<Read>) {
        let namespace = self.wanted.namespaces.get(group).copied();
        let too_many = reads.len() > READS_OF_GROUP;
        let mut missing = 0;
        let count = reads.len();
        let mut placed = Vec::with_capacity(count);
        for read in reads {
            let namespace = namespace.unwrap_or_default();
            let key = (read.store.key(namespace), namespace.to_owned());
            let route = match self.routes.get(&key) {
                Some(route) => route.clone(),
                None => Err(not_read_in_time()),
            };
            let place = match route {
                Ok(line) if too_many => {
                    self.release(line, &read.what);
                    Err(Unread::too_much_data())
                }
                route => route,
            };
            if let Ok(line) = place
                && let Some(line) = self.lines.get_mut(line)
                && line.wait(group, space, &read.what, self.gave_up)
            {
                missing += 1;
            }
            placed.push((read, place));
        }
        self.window += count;
        if let Some(space) = self.spaces.get_mut(space) {
            space.window += count;
        }
        let admitted = Admitted {
            space,
            reads: placed,
            missing,
            alone: false,
        };
        self.admitted.insert(group, admitted);
        if missing == 0 {
            self.complete(group);
        }
    }

    /// Starts calls while there are free slots.
    fn start(&mut self) {
        while self.calls.len() < CALLS {
            let lines = self.lines.iter().enumerate();
            let candidates =
                lines.flat_map(|(index, line)| line.candidates().map(move |space| (index, space)));
            let Some((index, space)) = self.turns.next(candidates) else {
                return;
            };
            let Some(line) = self.lines.get_mut(index) else {
                return;
            };
            let core = self.core;
            let provider = match &line.state {
                State::Open(provider) => Arc::clone(provider),
                State::Untried | State::Connecting | State::Lost(_) => {
                    line.state = State::Connecting;
                    line.in_flight += 1;
                    self.turns.begin(space);
                    let connect = connect(core, index, space, line.link.clone());
                    self.calls.push(Box::pin(connect));
                    continue;
                }
            };
            let (whats, spaces) = take(line, space, provider.batch(), &mut self.turns);
            if whats.is_empty() {
                continue;
            }
            line.in_flight += 1;
            let limiter = match self.spaces.get(space) {
                Some(space) => line.limiter.within(&space.share, space.limits),
                None => line.limiter.clone(),
            };
            let limiter = limiter.reading(&line.store, self.until.or(core.deadline));
            let read = read(index, spaces, whats, provider, limiter);
            self.calls.push(Box::pin(read));
        }
    }

    fn done(&mut self, done: Done) {
        let (index, spaces) = match &done {
            Done::Connected { line, space, .. } => (*line, vec![*space]),
            Done::Read { line, spaces, .. } => (*line, spaces.clone()),
        };
        for &space in &spaces {
            self.turns.end(space);
        }
        let Some(line) = self.lines.get_mut(index) else {
            return;
        };
        line.in_flight = line.in_flight.saturating_sub(1);
        match done {
            Done::Connected { provider, .. } => match provider {
                Ok(provider) => line.state = State::Open(provider),
                Err(unread) => self.lose(index, &unread),
            },
            Done::Read {
                whats,
                answers: Some(answers),
                ..
            } => {
                line.slow = 0;
                let mut lost = None;
                for (what, answered) in whats.into_iter().zip(answers) {
                    if let Answered::Unread(unread) = &answered
                        && unread.whole_store
                    {
                        lost = Some(unread.clone());
                    }
                    self.keep(index, what, answered);
                }
                if let Some(unread) = lost {
                    self.lose(index, &unread);
                }
            }
            Done::Read { whats, .. } => {
                line.slow += 1;
                let slow = line.slow >= SLOW_UNTIL_LOST;
                for what in whats {
                    self.settle(index, &what, Err(too_slow()));
                }
                if slow {
                    self.lose(index, &too_slow());
                }
            }
        }
    }

    /// Keeps an answer if its bytes fit in the share of the namespace.
    fn keep(&mut self, index: usize, what: What, answered: Answered) {
        let line = self.lines.get_mut(index);
        let entry = line.and_then(|line| line.entries.get_mut(&what));
        // No group waits any more.
        let Some(entry) = entry else { return };
        let Some(space) = self.spaces.get_mut(entry.space) else {
            return;
        };
        let size = answered.size();
        let needed = match &answered {
            Answered::Unread(unread) if unread.why.reason == unread::TOO_MUCH_DATA => MAX_VALUE,
            Answered::One(..)
            | Answered::Many(_)
            | Answered::NotFound
            | Answered::Fails(_)
            | Answered::Unread(_) => size,
        };
        if needed == size
            && let Ok(held) = space.share.hold(size)
        {
            return self.settle(index, &what, Ok(kept(answered, Some(held))));
        }
        entry.tries += 1;
        entry.progress = Progress::Blocked(needed);
        if entry.tries > TRIES {
            self.read_alone(index, &what);
        } else {
            space.blocked.push((index, what));
        }
    }

    /// Gives an answer to the groups that wait for it.
    fn settle(&mut self, index: usize, what: &What, outcome: Outcome) {
        let entry = self
            .lines
            .get_mut(index)
            .and_then(|line| line.entries.get_mut(what));
        let Some(entry) = entry else { return };
        let outcome = match outcome {
            Ok(kept) if is_too_large(&kept.answered) => Ok(self::kept(
                Answered::Unread(Unread::value_too_large()),
                None,
            )),
            outcome => outcome,
        };
        entry.progress = Progress::Done(outcome);
        for group in std::mem::take(&mut entry.waiting) {
            let Some(admitted) = self.admitted.get_mut(&group) else {
                continue;
            };
            admitted.missing = admitted.missing.saturating_sub(1);
            if admitted.missing == 0 && !admitted.alone {
                self.complete(group);
            }
        }
    }

    /// Marks a store as lost, and answers all reads that wait for it.
    fn lose(&mut self, index: usize, unread: &Unread) {
        let Some(line) = self.lines.get_mut(index) else {
            return;
        };
        line.state = State::Lost(unread.clone());
        self.settle_all(index, unread);
    }

    fn settle_all(&mut self, index: usize, unread: &Unread) {
        let entries = self
            .lines
            .get(index)
            .into_iter()
            .flat_map(|line| &line.entries);
        let open: Vec<What> = entries
            .filter(|(_, entry)| !matches!(entry.progress, Progress::Done(_) | Progress::Alone))
            .map(|(what, _)| what.clone())
            .collect();
        for what in open {
            self.settle(index, &what, Err(unread.clone()));
        }
    }

    /// Returns a group, or has it read alone.
    fn complete(&mut self, group: usize) {
        let Some(admitted) = self.admitted.get(&group) else {
            return;
        };
        let is_alone = admitted.reads.iter().any(|(read, place)| {
            let line = place.as_ref().ok().and_then(|&line| self.lines.get(line));
            line.is_some_and(|line| {
                // Read alone, the group may need only some members of a value that is too large.
                line.is_alone(&read.what)
                    || line.outcome(&read.what).is_some_and(is_value_too_large)
            })
        });
        if is_alone && !self.gave_up {
            return self.push_alone(group);
        }
        let mut answers = Answers::default();
        for (read, place) in &admitted.reads {
            let outcome = match place {
                Ok(line) => self
                    .lines
                    .get(*line)
                    .and_then(|line| line.outcome(&read.what)),
                Err(unread) => Some(Err(unread.clone())),
            };
            let outcome = outcome.unwrap_or_else(|| Err(not_read_in_time()));
            let provider = self.provider(group, read);
            answers.of.insert(read.clone(), (provider, outcome));
        }
        self.emit(group, answers);
    }

    fn provider(&self, group: usize, read: &Read) -> eso_model::ProviderKind {
        let namespace = self.wanted.namespaces.get(group).copied();
        self.core
            .provider(&read.store.key(namespace.unwrap_or_default()))
    }

    /// Passes on a group, and frees the answers that no other group needs.
    fn emit(&mut self, group: usize, mut answers: Answers) {
        let Some(admitted) = self.admitted.remove(&group) else {
            return;
        };
        self.window = self.window.saturating_sub(admitted.reads.len());
        if let Some(space) = self.spaces.get_mut(admitted.space) {
            space.window = space.window.saturating_sub(admitted.reads.len());
            answers.in_use.push(Arc::clone(&space.in_use));
        }
        for (read, place) in &admitted.reads {
            if let Ok(line) = place {
                self.release(*line, &read.what);
            }
        }
        self.ready.push_back(Ready { group, answers });
    }

    fn release(&mut self, line: usize, what: &What) {
        let Some(line) = self.lines.get_mut(line) else {
            return;
        };
        line.release(what);
        if !line.is_idle() || !line.is_of_one_namespace() {
            return;
        }
        // A later round may need it again, so that closing it costs a login.
        let open = self.lines.iter().filter(|line| line.is_open());
        if open.filter(|line| line.is_of_one_namespace()).count() > KEPT_OPEN {
            self.close_idle();
        }
    }

    /// Closes the connections of one namespace that no group needs any more.
    fn close_idle(&mut self) {
        for line in &mut *self.lines {
            if line.is_idle() && line.is_of_one_namespace() {
                line.state = State::Untried;
            }
        }
    }

    /// Reads given up answers again if they fit now. A group is read alone if nothing that its namespace holds will be freed.
    fn unblock(&mut self) {
        for space in 0..self.spaces.len() {
            let Some(state) = self.spaces.get_mut(space) else {
                continue;
            };
            if state.blocked.is_empty() {
                continue;
            }
            let mut still = Vec::new();
            for (index, what) in std::mem::take(&mut state.blocked) {
                let Some(line) = self.lines.get_mut(index) else {
                    continue;
                };
                let Some(entry) = line.entries.get_mut(&what) else {
                    continue;
                };
                match entry.progress {
                    Progress::Blocked(bytes) if state.share.has_room(bytes) => {
                        entry.progress = Progress::Queued;
                        line.push_front(space, what);
                    }
                    Progress::Blocked(_) => still.push((index, what)),
                    Progress::Queued | Progress::InFlight | Progress::Alone | Progress::Done(_) => {
                    }
                }
            }
            let will_free = self.turns.in_flight(space) > 0 || Arc::strong_count(&state.in_use) > 1;
            let stuck = still.first().filter(|_| !will_free).cloned();
            state.blocked = still;
            if let Some((index, what)) = stuck {
                self.read_alone(index, &what);
            }
        }
    }

    /// Has the groups that wait for this answer read alone.
    fn read_alone(&mut self, index: usize, what: &What) {
        let line = self.lines.get_mut(index);
        let Some(entry) = line.and_then(|line| line.entries.get_mut(what)) else {
            return;
        };
        entry.progress = Progress::Alone;
        for group in std::mem::take(&mut entry.waiting) {
            self.push_alone(group);
        }
    }

    fn push_alone(&mut self, group: usize) {
        if let Some(admitted) = self.admitted.get_mut(&group)
            && !std::mem::replace(&mut admitted.alone, true)
        {
            let waiting = self.to_read_alone.entry(admitted.space).or_default();
            waiting.push_back(group);
        }
    }

    /// Starts to read groups alone, at most one of each namespace.
    fn start_alone(&mut self) {
        while Arc::strong_count(&self.alone_in_use) <= ALONE {
            let candidates = self.to_read_alone.keys().map(|&space| (0, space));
            let Some((_, space)) = self.turns.next(candidates) else {
                return;
            };
            let Some(waiting) = self.to_read_alone.get_mut(&space) else {
                return;
            };
            let group = waiting.pop_front();
            if waiting.is_empty() {
                self.to_read_alone.remove(&space);
            }
            let Some((group, admitted)) =
                group.and_then(|group| Some((group, self.admitted.get(&group)?)))
            else {
                continue;
            };
            let namespace = self.wanted.namespaces.get(group).copied();
            let share = Budget::of(ALONE_BYTES).share(namespace.unwrap_or_default());
            let limits = self.spaces.get(space).map(|space| space.limits);
            let mut reads = Vec::new();
            for (read, place) in &admitted.reads {
                let place = match place {
                    Err(unread) => Err(unread.clone()),
                    Ok(line) => match self.lines.get(*line) {
                        Some(line) => line.alone(
                            &share,
                            limits.unwrap_or_default(),
                            Instant::now().checked_add(ALONE_TIMEOUT),
                        ),
                        None => Err(not_read_in_time()),
                    },
                };
                let provider = self.provider(group, read);
                reads.push((read.clone(), provider, place));
            }
            let members = (self.wanted.members)(group);
            self.turns.begin(space);
            let in_use = Arc::clone(&self.alone_in_use);
            let core = self.core;
            self.alone.push(Box::pin(async move {
                let mut answers = Answers::default();
                answers.in_use.push(in_use);
                let mut members = members.await;
                for (read, provider, place) in reads {
                    let members = members.remove(&read);
                    let outcome = match place {
                        Err(unread) => Err(unread),
                        Ok(place) => alone(core, &read.what, members, place, &share).await,
                    };
                    answers.of.insert(read, (provider, outcome));
                }
                (group, answers)
            }));
        }
    }

    fn done_alone(&mut self, group: usize, answers: Answers) {
        if let Some(admitted) = self.admitted.get(&group) {
            self.turns.end(admitted.space);
        }
        self.emit(group, answers);
    }

    /// Ends all reads. What is not read yet is not read in time.
    fn give_up(&mut self) {
        self.calls.clear();
        self.alone.clear();
        for line in &mut *self.lines {
            line.in_flight = 0;
        }
        for index in 0..self.lines.len() {
            self.settle_all(index, &not_read_in_time());
        }
        self.to_read_alone.clear();
        let rest: Vec<usize> = self.admitted.keys().copied().collect();
        for group in rest {
            self.complete(group);
        }
    }
}

/// True if a group with this number of reads fits in the window, which has reads of its namespace and of all.
const fn has_room(own: usize, all: usize, reads: usize) -> bool {
    own + reads <= WINDOW_FLOOR
        || (own + reads <= WINDOW_OF_NAMESPACE && all + reads <= WINDOW)
        // A group with many reads needs room of its own. One with too many is not read at all.
        || (own == 0 && all < WINDOW)
        || reads > READS_OF_GROUP
}

async fn connect(core: &Core, index: usize, space: usize, link: Link) -> Done {
    let provider = core.connect(&link).await;
    Done::Connected {
        line: index,
        space,
        provider,
    }
}

async fn read(
    line: usize,
    spaces: Vec<usize>,
    whats: Vec<What>,
    provider: Arc<dyn Provider>,
    limiter: RateLimiter,
) -> Done {
    let read = async |limiter: &RateLimiter| provider.read(&whats, limiter).await;
    let answers = limiter.within_timeout(read).await;
    Done::Read {
        line,
        spaces,
        whats,
        answers,
    }
}

/// Reads a value for a group that is read alone: as a whole, or only some members if it is too large.
async fn alone(
    core: &Core,
    what: &What,
    members: Option<BTreeSet<String>>,
    place: Place,
    share: &Share,
) -> Outcome {
    let work = async {
        let provider = match place.provider {
            Some(provider) => provider,
            None => core.connect(&place.link).await?,
        };
        let answers = provider
            .read(std::slice::from_ref(what), &place.limiter)
            .await;
        let mut answered = answers.into_iter().next();
        if let Some(members) = members
            && answered.as_ref().is_some_and(is_too_large)
        {
            answered = Some(provider.read_members(what, &members, &place.limiter).await);
        }
        let answered = answered.ok_or_else(too_slow)?;
        if is_too_large(&answered) {
            return Err(Unread::value_too_large());
        }
        let held = share.hold(answered.size());
        let held = held.map_err(|_| Unread::too_much_data())?;
        Ok(kept(answered, Some(held)))
    };
    let done = tokio::time::timeout(ALONE_TIMEOUT, work).await;
    done.unwrap_or_else(|_| Err(too_slow()))
}

/// Takes reads for one call: of one namespace, or of several if the call can read several secrets.
fn take(line: &mut Line, space: usize, batch: usize, turns: &mut Turns) -> (Vec<What>, Vec<usize>) {
    let mut whats = line.take(space);
    let mut spaces = vec![space];
    turns.begin(space);
    let joins = |whats: &[What]| matches!(whats.last(), Some(What::Secret { .. }));
    while joins(&whats) && whats.len() < batch {
        let queued = line
            .queued_spaces()
            .filter(|&space| line.next_is_secret(space));
        let Some((_, next)) = turns.next(queued.map(|space| (0, space))) else {
            break;
        };
        let more = line.take(next);
        if !spaces.contains(&next) {
            spaces.push(next);
            turns.begin(next);
        }
        whats.extend(more);
    }
    if whats.is_empty() {
        for &space in &spaces {
            turns.end(space);
        }
    }
    (whats, spaces)
}

fn kept(answered: Answered, held: Option<pace::bytes::Held>) -> Arc<Kept> {
    Arc::new(Kept {
        answered,
        _held: held,
    })
}

/// True for a value that is too large to be kept, and for the answer that says so.
fn is_too_large(answered: &Answered) -> bool {
    match answered {
        Answered::One(..) => answered.size() > MAX_VALUE,
        Answered::Unread(unread) => unread.why.reason == unread::VALUE_TOO_LARGE,
        Answered::Many(_) | Answered::NotFound | Answered::Fails(_) => false,
    }
}

fn is_value_too_large(outcome: Outcome) -> bool {
    outcome.is_ok_and(|kept| is_too_large(&kept.answered))
}

fn not_read_in_time() -> Unread {
    let detail = "it was not read within half of the run's deadline";
    Unread::secret(unread::NOT_READ_IN_TIME, detail)
}

fn calls(quotas: &BTreeMap<QuotaKey, RateLimiter>) -> u64 {
    quotas.values().map(RateLimiter::calls).sum()
}
