//! One connection, the reads that wait for it, and the answers that groups still need.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use eso_model::{budget::Limits, expected::What};

use pace::bytes::Share;
use tokio::time::Instant;

use super::{Link, answers::Outcome};
use crate::{Provider, RateLimiter, Unread, engine::IN_FLIGHT};

pub(super) struct Line {
    pub(super) link: Link,
    /// The store, for people.
    pub(super) store: Arc<str>,
    pub(super) limiter: RateLimiter,
    pub(super) state: State,
    /// The calls in flight.
    pub(super) in_flight: usize,
    /// The calls that were cut off since the last answer.
    pub(super) slow: usize,
    pub(super) entries: BTreeMap<What, Entry>,
    /// The queued reads, by namespace.
    queue: BTreeMap<usize, VecDeque<What>>,
    /// The groups that still need each read, by its hash. The reads themselves would take megabytes.
    users: HashMap<u64, usize>,
    /// True if groups of this round needed reads.
    was_wanted: bool,
}

pub(super) enum State {
    Untried,
    Connecting,
    Open(Arc<dyn Provider>),
    /// The store cannot be read and gets no more requests.
    Lost(Unread),
}

/// A read of an admitted group.
pub(super) struct Entry {
    pub(super) progress: Progress,
    /// The groups that wait for the answer.
    pub(super) waiting: Vec<usize>,
    /// The namespace that the bytes belong to: that of the first group.
    pub(super) space: usize,
    /// The number of answers that were given up.
    pub(super) tries: u8,
}

pub(super) enum Progress {
    Queued,
    InFlight,
    /// The answer was given up, because this number of bytes did not fit in the share.
    Blocked(usize),
    /// The groups that need it are read alone.
    Alone,
    Done(Outcome),
}

/// A connection for a group that is read alone.
pub(super) struct Place {
    pub(super) link: Link,
    pub(super) provider: Option<Arc<dyn Provider>>,
    pub(super) limiter: RateLimiter,
}

impl Line {
    pub(super) fn new(link: Link, limiter: RateLimiter) -> Self {
        Self {
            store: link.store.to_string().into(),
            link,
            limiter,
            state: State::Untried,
            in_flight: 0,
            slow: 0,
            entries: BTreeMap::new(),
            queue: BTreeMap::new(),
            users: HashMap::new(),
            was_wanted: false,
        }
    }

    /// Forgets the earlier round.
    pub(super) fn begin(&mut self) {
        if matches!(self.state, State::Connecting) {
            self.state = State::Untried;
        }
        self.in_flight = 0;
        self.entries.clear();
        self.queue.clear();
        self.users.clear();
        self.was_wanted = false;
    }

    /// Counts a group that needs this read.
    pub(super) fn expect(&mut self, what: &What) {
        *self.users.entry(hash(what)).or_default() += 1;
        self.was_wanted = true;
    }

    /// True if the connection serves one namespace only, as many others may.
    pub(super) fn is_of_one_namespace(&self) -> bool {
        self.link.namespace.is_some() || self.link.store.namespace().is_some()
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// True if the connection is open and no group needs it any more.
    pub(super) fn is_idle(&self) -> bool {
        self.users.is_empty() && self.in_flight == 0 && self.is_open()
    }

    /// Frees the answer if no other group needs it.
    pub(super) fn release(&mut self, what: &What) {
        let hash = hash(what);
        if let Some(users) = self.users.get_mut(&hash) {
            *users -= 1;
            if *users == 0 {
                self.users.remove(&hash);
                self.entries.remove(what);
            }
        }
    }

    /// True if groups of this round still need reads.
    pub(super) fn is_wanted(&self) -> bool {
        !self.users.is_empty()
    }

    pub(super) fn was_wanted(&self) -> bool {
        self.was_wanted
    }

    /// The answer, if there is one.
    pub(super) fn outcome(&self, what: &What) -> Option<Outcome> {
        match self.entries.get(what).map(|entry| &entry.progress) {
            Some(Progress::Done(outcome)) => Some(outcome.clone()),
            _ => match &self.state {
                State::Lost(unread) => Some(Err(unread.clone())),
                State::Untried | State::Connecting | State::Open(_) => None,
            },
        }
    }

    /// True if the groups that need this read are read alone.
    pub(super) fn is_alone(&self, what: &What) -> bool {
        let entry = self.entries.get(what);
        entry.is_some_and(|entry| matches!(entry.progress, Progress::Alone))
    }

    /// Has a group wait for a read, which is queued unless it is already. Returns false if the group need not wait.
    pub(super) fn wait(&mut self, group: usize, space: usize, what: &What, over: bool) -> bool {
        if over || matches!(self.state, State::Lost(_)) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(what) {
            let waits = !matches!(entry.progress, Progress::Done(_) | Progress::Alone);
            if waits {
                entry.waiting.push(group);
            }
            return waits;
        }
        let entry = Entry {
            progress: Progress::Queued,
            waiting: vec![group],
            space,
            tries: 0,
        };
        self.entries.insert(what.clone(), entry);
        self.queue.entry(space).or_default().push_back(what.clone());
        true
    }

    /// The connection for a group that is read alone.
    pub(super) fn alone(
        &self,
        share: &Share,
        limits: Limits,
        end: Option<Instant>,
    ) -> Result<Place, Unread> {
        let provider = match &self.state {
            State::Open(provider) => Some(Arc::clone(provider)),
            State::Untried | State::Connecting => None,
            State::Lost(unread) => return Err(unread.clone()),
        };
        Ok(Place {
            link: self.link.clone(),
            provider,
            limiter: self.limiter.within(share, limits).reading(&self.store, end),
        })
    }

    pub(super) fn push_front(&mut self, space: usize, what: What) {
        self.queue.entry(space).or_default().push_front(what);
    }

    /// The namespaces with queued reads, if a call may start.
    pub(super) fn candidates(&self) -> impl Iterator<Item = usize> {
        let slots = match self.state {
            State::Untried => 1,
            State::Open(_) => IN_FLIGHT,
            State::Connecting | State::Lost(_) => 0,
        };
        let free = self.in_flight < slots;
        self.queue.keys().copied().filter(move |_| free)
    }

    /// Takes the next read of a namespace, and those of the same secret, for one call.
    pub(super) fn take(&mut self, space: usize) -> Vec<What> {
        let mut taken = Vec::new();
        while taken.is_empty()
            && let Some(what) = self.pop(space)
        {
            let same: Vec<What> = match &what {
                What::Secret { key, .. } => self
                    .entries
                    .range(what.clone()..)
                    .map(|(other, _)| other)
                    .take_while(|other| matches!(other, What::Secret { key: of, .. } if of == key))
                    .cloned()
                    .collect(),
                What::Find { .. } => vec![what],
            };
            for what in same {
                if let Some(entry) = self.entries.get_mut(&what)
                    && matches!(entry.progress, Progress::Queued)
                {
                    entry.progress = Progress::InFlight;
                    taken.push(what);
                }
            }
        }
        taken
    }

    /// True if the next read of this namespace can share a call with others.
    pub(super) fn next_is_secret(&self, space: usize) -> bool {
        let next = self.queue.get(&space).and_then(VecDeque::front);
        matches!(next, Some(What::Secret { .. }))
    }

    pub(super) fn queued_spaces(&self) -> impl Iterator<Item = usize> {
        self.queue.keys().copied()
    }

    fn pop(&mut self, space: usize) -> Option<What> {
        let queue = self.queue.get_mut(&space)?;
        let what = queue.pop_front();
        if queue.is_empty() {
            self.queue.remove(&space);
        }
        what
    }
}

fn hash(what: &What) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
