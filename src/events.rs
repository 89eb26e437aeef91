//! Receives rotation events, syncs what they concern, and acknowledges what is proven.
//!
//! ```text
//!   receive → decode → group by key → run over the ExternalSecrets that use the keys → decide per message → acknowledge, keep or release
//! ```
//!
//! The run is that of [`crate::run`], with the same rates, limits and restarts. An event only selects. Whatever it says, only the
//! comparison with the provider and the operator's proof count.

mod concern;
mod document;
mod ends;
mod inbox;
mod rounds;
mod sheet;
mod sight;
pub mod story;
mod tally;

use std::{sync::Arc, time::Duration};

use ::events::{Attempts, Decoder, Disposal, End, Groups, Says, dispose};
use pace::Wait;
use tokio::time::Instant;

use self::inbox::{Inbox, Message};
pub use self::{
    document::{EventsDocument, Refused},
    inbox::Source,
    tally::Tally,
};
use crate::{
    exit::Exit,
    failure::Failure,
    lock::LockError,
    policy::{Events, EventsWhen, OnUnverifiable, Policy, RequireOwner, When},
    record::{CutOff, Whole},
    run::{self, Context, Narrow, Pipeline},
    stop::Level,
};

/// A run over events.
pub struct Job<'a> {
    /// The run over the ExternalSecrets that use a key. Its `only` is set for each round.
    pub pipeline: Pipeline<'a>,
    pub events: &'a Events,
    pub queues: &'a [Source],
    /// How long to wait for more messages.
    pub listen: Duration,
    pub tally: Tally,
}

/// Looks at the queues. Returns those that belong to this cluster, and reports the others: nothing is received from them.
pub async fn check_owners(
    queues: Vec<Source>,
    owner: &str,
    required: RequireOwner,
    tally: &Tally,
) -> Result<Vec<Source>, Failure> {
    let mut own = Vec::with_capacity(queues.len());
    for source in queues {
        let state = source
            .queue
            .look()
            .await
            .map_err(|unread| source.failure("look at", unread))?;
        let tag = source.queue.owner_tag();
        let refused = match &state.owner {
            Some(found) if found == owner => None,
            Some(_) => Some(Refused::OtherOwner),
            None if required == RequireOwner::Require => Some(Refused::NoOwner),
            None => {
                tally.warn(format!("the queue {} has no tag `{tag}`", source.name));
                None
            }
        };
        tally.looked_at(&source.name, &state, refused);
        match refused {
            None => own.push(source),
            Some(why) => tally.refuse(&source.name, why, [tag, owner]),
        }
    }
    Ok(own)
}

/// How often a run that listens looks at the lock and for a stop.
const LOOKS: Duration = Duration::from_secs(10);

impl Job<'_> {
    /// Receives and handles messages until the queues are empty, or until the time is over.
    pub async fn carry_out(&self) -> Result<(), Failure> {
        let session = self.pipeline.context.session;
        let end = Instant::now() + self.listen;
        if self.queues.is_empty() {
            return Ok(());
        }
        let mut inbox = Inbox::new(
            self.queues,
            decoder(self.events),
            self.events,
            session.world.clock,
        );
        loop {
            self.wait_for_the_lock(end).await?;
            let left = end.saturating_duration_since(Instant::now());
            let received = self.receive(&mut inbox, left.min(LOOKS)).await?;
            if received == 0 {
                if inbox.is_full() || Instant::now() >= end {
                    return Ok(());
                }
                continue;
            }
            session.say(&format!("received {received} messages"));
            match self.handle(inbox.take()).await {
                // Another run took the lock after the last look. The messages are visible again.
                Err(failure) if failure.exit == Exit::Locked && Instant::now() < end => {}
                done => done?,
            }
            if session.world.stop.level() != Level::Run {
                return Ok(());
            }
        }
    }

    /// Handles events from a file: one body on each line.
    pub async fn from_lines(&self, text: &str) -> Result<(), Failure> {
        self.handle(self.messages(text)).await
    }

    /// Prints what would be done about events from a file.
    pub async fn preview(&self, text: &str) -> Result<Exit, Failure> {
        let mut groups = Groups::default();
        let mut unreadable = Vec::new();
        for (index, message) in self.messages(text).into_iter().enumerate() {
            unreadable.extend(message.line.filter(|_| message.is_unreadable()));
            let changed = message.notices.into_iter();
            for notice in changed.filter(|notice| notice.says == Says::Changed) {
                groups.add(index, notice);
            }
        }
        let groups = groups.into_vec();
        let only = |inventory: &_| rounds::part(&groups, inventory);
        let pipeline = self.narrowed(&only);
        let exit = Box::pin(run::preview(&pipeline)).await?;
        let Some(first) = unreadable.first() else {
            return Ok(exit);
        };
        let count = unreadable.len();
        tracing::warn!(
            "{count} lines of the file are not understood, the first one is line {first}"
        );
        Ok(exit.or(Exit::Failed))
    }

    /// Looks at the first messages of the queues that can show them without a delivery, and plans what a run would do about them.
    pub async fn peek(&self) -> Result<(), Failure> {
        let session = self.pipeline.context.session;
        session.world.end_in(self.pipeline.context.policy.deadline);
        let decoder = decoder(self.events);
        let mut groups = Groups::default();
        let mut message = 0..;
        for source in self.queues {
            let peeked = session.unless_stopped(source.queue.peek()).await?;
            let peeked = peeked.unwrap_or_else(|unread| {
                let name = &source.name;
                self.tally.warn(format!(
                    "cannot look at the messages of {name}: {}",
                    unread.why
                ));
                None
            });
            let bodies = peeked.into_iter().flatten();
            for (body, index) in bodies.zip(message.by_ref()) {
                for notice in decoder.decode(&body) {
                    self.tally.count(&notice);
                    if notice.says == Says::Changed {
                        groups.add(index, notice);
                    }
                }
            }
        }
        let groups = groups.into_vec();
        if groups.is_empty() {
            return Ok(());
        }
        let only = |inventory: &_| rounds::part(&groups, inventory);
        let pipeline = self.narrowed(&only);
        let done = Box::pin(run::foresee(&pipeline)).await?;
        let (document, exit) = pipeline.document(&done);
        self.tally.ran(document, exit);
        Ok(())
    }

    /// The run over a part of the ExternalSecrets.
    fn narrowed<'n>(&'n self, only: &'n Narrow<'n>) -> Pipeline<'n> {
        Pipeline {
            context: Context {
                only: Some(only),
                ..self.pipeline.context
            },
            ..self.pipeline.clone()
        }
    }

    /// If the process is cut off, the watchdog reports what was done so far.
    pub fn reports_when_cut_off(&self) {
        let tally = self.tally.clone();
        let (run, output) = (self.pipeline.heading().run, self.pipeline.output);
        let clock = self.pipeline.context.session.world.clock;
        let report = move |cut: CutOff| {
            let mut run = run.clone();
            run.finished = clock.now();
            tally.cut_off(run, output, cut);
        };
        let record = &self.pipeline.context.session.world.record;
        record.reports_together(Whole(Arc::new(report)));
    }

    fn messages(&self, text: &str) -> Vec<Message> {
        let decoder = decoder(self.events);
        let lines = (1..).zip(text.lines());
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, line)| Message::of_line(number, decoder.decode(line)))
            .collect()
    }

    /// Receives nothing while another run holds the lock: that would use up deliveries for nothing. Takes over the lock of a
    /// killed run, and does not keep it, because listening must not lock out others.
    async fn wait_for_the_lock(&self, end: Instant) -> Result<(), Failure> {
        let Context {
            session,
            connected,
            policy,
            ..
        } = self.pipeline.context;
        let (cluster, home) = (&connected.cluster, &self.pipeline.lock_namespace);
        if !policy.lock.enabled {
            return Ok(());
        }
        loop {
            if !session.unless_stopped(home.is_locked(cluster)).await? {
                return Ok(());
            }
            let taking = Box::pin(home.lock(cluster, &session.world));
            let taking = Wait::at_most(home.longest_wait()).on(|| "the lock".to_owned(), taking);
            match session.unless_stopped(taking).await? {
                Ok(lock) => {
                    lock.release(session.world.clock).await;
                    return Ok(());
                }
                Err(LockError::Held(_)) if Instant::now() < end => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives until the queues are empty. A receive that was sent is not dropped at a stop, because its messages would be lost for
    /// minutes; they are released.
    async fn receive(&self, inbox: &mut Inbox<'_>, wait: Duration) -> Result<usize, Failure> {
        let stop = &self.pipeline.context.session.world.stop;
        inbox.fill(wait, stop, &self.tally).await?;
        if stop.level() != Level::Run {
            self.release(&inbox.take()).await;
            return Err(Failure::stopped(stop.level()));
        }
        Ok(inbox.len())
    }

    /// Handles messages. If the run fails as a whole, they are visible again at once.
    async fn handle(&self, mut messages: Vec<Message>) -> Result<(), Failure> {
        let mut groups = Groups::default();
        let mut ends: Vec<Vec<End>> = vec![Vec::new(); messages.len()];
        for (index, message) in messages.iter().enumerate() {
            for notice in &message.notices {
                self.tally.count(notice);
                match notice.says {
                    Says::Irrelevant(_) => push(&mut ends, index, End::Irrelevant),
                    Says::Unreadable(_) => push(&mut ends, index, End::Unreadable),
                    Says::Changed | Says::Gone | Says::Warning(_) => {
                        groups.add(index, notice.clone());
                    }
                }
            }
        }
        let groups = groups.into_vec();
        let rounds = Box::pin(self.rounds(&groups));
        let ended = match inbox::while_hidden(self.queues, &mut messages, rounds).await {
            Ok(ended) => ended,
            Err(failure) => {
                self.release(&messages).await;
                return Err(failure);
            }
        };
        for (group, ended) in groups.iter().zip(&ended) {
            for &message in &group.messages {
                push(&mut ends, message, ended.end);
            }
        }
        for (group, ended) in groups.iter().zip(ended) {
            self.tally.ended(group, ended);
        }
        self.dispose(&messages, &ends).await;
        Ok(())
    }

    /// Acknowledges, keeps or releases each message.
    async fn dispose(&self, messages: &[Message], ends: &[Vec<End>]) {
        let mut all = Vec::with_capacity(messages.len());
        for (message, ends) in messages.iter().zip(ends) {
            let attempts = Attempts {
                received: message.attempts,
                most: self.events.max_attempts,
                poisons: message.can_be_poisoned(),
            };
            let disposals = ends.iter().map(|&end| dispose(end, attempts));
            // Of a message that no end is known for, nothing is known to be handled.
            let unknown = || dispose(End::NotReached, attempts);
            let disposal = disposals.max().unwrap_or_else(unknown);
            if let Some(line) = message.line
                && disposal != Disposal::Acknowledge
            {
                self.tally.left(line, message.is_unreadable());
            }
            all.push(disposal);
        }
        inbox::carry_out(self.queues, messages, &all, &self.tally).await;
    }

    async fn release(&self, messages: &[Message]) {
        let all = vec![Disposal::Release; messages.len()];
        inbox::carry_out(self.queues, messages, &all, &self.tally).await;
    }
}

fn push(ends: &mut [Vec<End>], message: usize, end: End) {
    if let Some(ends) = ends.get_mut(message) {
        ends.push(end);
    }
}

/// Sets what a run over events does, whatever the policy does in other runs: events say what is due.
pub fn settings(policy: &mut Policy, events: &Events) -> Result<(), Failure> {
    policy.sync.when = match (events.when, policy.drift.enabled) {
        (EventsWhen::Auto | EventsWhen::Drifted, true) => When::Drifted,
        (EventsWhen::Auto, false) | (EventsWhen::Always, _) => When::Always,
        (EventsWhen::Drifted, false) => {
            return Err(Failure::usage(
                "events.when: `drifted` needs `drift.enabled: true`",
            ));
        }
    };
    if events.when == EventsWhen::Auto && policy.drift.on_unverifiable == OnUnverifiable::Fail {
        policy.drift.on_unverifiable = OnUnverifiable::Sync;
    }
    Ok(())
}

/// Decodes bodies by the policy.
fn decoder(events: &Events) -> Decoder {
    Decoder {
        key: events.key.clone(),
    }
}
