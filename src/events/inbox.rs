//! The messages that were received and not yet disposed of.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use ::events::{Decoder, Disposal, Notice, Says, deliveries_within};
use jiff::Timestamp;
use pace::Clock;
use providers::{
    Unread,
    queue::{Delivery, NotDone, Queue, Receipt},
};
use tokio::time::{Instant, sleep};

use super::tally::Tally;
use crate::{
    exit::Exit,
    failure::Failure,
    policy::Events,
    stop::{Level, Stop},
};

/// How long messages are hidden from others. Extended while they are handled.
const HIDDEN: Duration = Duration::from_mins(2);

/// A queue is empty after so many answers without a message: a single one asks only some of a queue's servers.
const EMPTY: u32 = 2;

/// The messages of one call.
const BATCH: usize = 100;

/// A queue with its name in the policy.
pub struct Source {
    pub name: String,
    pub queue: Box<dyn Queue>,
}

/// The bodies of messages that a run keeps to move them to a poison queue, in bytes. The others are moved by the next run.
const POISON: usize = 4 << 20;

/// A message, without its body.
pub(super) struct Message {
    pub(super) notices: Vec<Notice>,
    pub(super) attempts: u32,
    /// The body, if it is not understood after all its deliveries and the queue has a poison queue.
    poison: Option<String>,
    /// The queue and the receipt. None for an event from a file.
    from: Option<(usize, Receipt)>,
    /// The line of an event from a file.
    pub(super) line: Option<usize>,
}

impl Source {
    /// The error of a call that failed.
    pub(super) fn failure(&self, call: &str, unread: Unread) -> Failure {
        Self::failure_of(&self.name, call, unread)
    }

    /// The error of a call to the queue of this name.
    pub fn failure_of(queue: &str, call: &str, unread: Unread) -> Failure {
        Failure {
            exit: Exit::NoAccess,
            message: format!("cannot {call} the queue {queue}: {}", unread.why),
            hint: unread
                .permission
                .map(|permission| format!("missing permission: {permission}")),
            problems: Vec::new(),
        }
    }
}

impl Message {
    /// An event that no queue holds.
    pub(super) fn of_line(line: usize, notices: Vec<Notice>) -> Self {
        Self {
            notices,
            attempts: 1,
            poison: None,
            from: None,
            line: Some(line),
        }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        is_unreadable(&self.notices)
    }

    pub(super) const fn can_be_poisoned(&self) -> bool {
        self.poison.is_some()
    }
}

pub(super) struct Inbox<'a> {
    queues: &'a [Source],
    decoder: Decoder,
    messages: Vec<Message>,
    /// How many more may be received.
    left: usize,
    max_attempts: u32,
    clock: Clock,
    /// How many bytes of bodies may still be kept.
    poison_left: usize,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(
        queues: &'a [Source],
        decoder: Decoder,
        events: &Events,
        clock: Clock,
    ) -> Self {
        Self {
            queues,
            decoder,
            messages: Vec::new(),
            left: usize::try_from(events.max_messages).unwrap_or(usize::MAX),
            max_attempts: events.max_attempts,
            clock,
            poison_left: POISON,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn take(&mut self) -> Vec<Message> {
        self.poison_left = POISON;
        std::mem::take(&mut self.messages)
    }

    /// Receives until the queues are empty. Waits for the first message until `wait` is over or a stop is asked for.
    pub(super) async fn fill(
        &mut self,
        wait: Duration,
        stop: &Stop,
        tally: &Tally,
    ) -> Result<(), Failure> {
        let end = Instant::now() + wait;
        let count = u32::try_from(self.queues.len()).unwrap_or(1).max(1);
        let mut empty = BTreeMap::new();
        loop {
            for at in 0..self.queues.len() {
                if self.is_full() || stop.level() != Level::Run {
                    return Ok(());
                }
                let left = end.saturating_duration_since(Instant::now());
                let longest = if self.messages.is_empty() {
                    left / count
                } else {
                    Duration::ZERO
                };
                let received = self.receive(at, longest, tally).await?;
                let times = empty.entry(at).or_insert(0);
                *times = if received == 0 { *times + 1 } else { 0 };
            }
            let all_empty = empty.values().all(|times| *times >= EMPTY);
            let waited = !self.messages.is_empty() || Instant::now() >= end;
            if all_empty && waited {
                return Ok(());
            }
        }
    }

    async fn receive(
        &mut self,
        at: usize,
        wait: Duration,
        tally: &Tally,
    ) -> Result<usize, Failure> {
        let Some(source) = self.queues.get(at) else {
            return Ok(0);
        };
        let most = self.left.min(BATCH);
        let received = source.queue.receive(most, HIDDEN, wait).await;
        let deliveries = match received {
            Ok(deliveries) => deliveries,
            // What was received before is handled.
            Err(unread) if !self.messages.is_empty() => {
                tally.warn(format!(
                    "cannot receive from {}: {}",
                    source.name, unread.why
                ));
                return Ok(0);
            }
            Err(unread) => return Err(source.failure("receive from", unread)),
        };
        let count = deliveries.len();
        tally.received(count);
        self.left = self.left.saturating_sub(count);
        // The body ends here: notices are small, and messages may be many.
        let poisons = source.queue.poisons();
        for delivery in deliveries {
            let Delivery {
                receipt,
                attempts,
                sent,
                body,
            } = delivery;
            let attempts = attempts.unwrap_or_else(|| uncounted(sent, self.clock.now()));
            let notices = self.decoder.decode(&body);
            let is_poison = poisons && attempts >= self.max_attempts && is_unreadable(&notices);
            let poison = (is_poison && self.keeps(&body)).then_some(body);
            self.messages.push(Message {
                poison,
                notices,
                attempts,
                from: Some((at, receipt)),
                line: None,
            });
        }
        Ok(count)
    }

    /// True if this body can be kept in memory, too.
    fn keeps(&mut self, body: &str) -> bool {
        match self.poison_left.checked_sub(body.len()) {
            Some(left) => {
                self.poison_left = left;
                true
            }
            None => false,
        }
    }
}

/// The deliveries of a message whose queue does not count them.
fn uncounted(sent: Option<Timestamp>, now: Timestamp) -> u32 {
    let age = sent.map(|sent| now.duration_since(sent));
    let age = age.and_then(|age| Duration::try_from(age).ok());
    deliveries_within(age.unwrap_or_default())
}

fn is_unreadable(notices: &[Notice]) -> bool {
    let mut notices = notices.iter();
    notices.any(|notice| matches!(notice.says, Says::Unreadable(_)))
}

/// Keeps messages hidden until the work for them is done. A receipt that has expired is not renewed: the message is delivered again,
/// and finds the work done.
pub(super) async fn while_hidden<T>(
    queues: &[Source],
    messages: &mut [Message],
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(HIDDEN / 2) => {}
        }
        let mut hiding = pin!(hide_all(queues, messages));
        tokio::select! {
            done = &mut work => {
                // Some queues return new receipts, without which the messages cannot be acknowledged.
                hiding.await;
                return done;
            }
            () = &mut hiding => {}
        }
    }
}

async fn hide_all(queues: &[Source], messages: &mut [Message]) {
    for (at, source) in queues.iter().enumerate() {
        let of = messages
            .iter_mut()
            .filter_map(|message| message.from.as_mut());
        let of = of.filter(|(queue, _)| *queue == at);
        let mut of: Vec<&mut Receipt> = of.map(|(_, receipt)| receipt).collect();
        if !of.is_empty() {
            source.queue.hide(&mut of, HIDDEN).await;
        }
    }
}

/// Acknowledges, keeps or releases messages.
pub(super) async fn carry_out(
    queues: &[Source],
    messages: &[Message],
    disposals: &[Disposal],
    tally: &Tally,
) {
    for (at, source) in queues.iter().enumerate() {
        let mut by: BTreeMap<Disposal, Vec<(&Message, &Receipt)>> = BTreeMap::new();
        for (message, disposal) in messages.iter().zip(disposals) {
            if let Some((_, receipt)) = message.from.as_ref().filter(|(queue, _)| *queue == at) {
                by.entry(*disposal).or_default().push((message, receipt));
            }
        }
        for (disposal, of) in by {
            let longest = source.queue.longest_hidden();
            let receipts: Vec<&Receipt> = of.iter().map(|(_, receipt)| *receipt).collect();
            let results = match disposal {
                Disposal::Acknowledge => source.queue.acknowledge(&receipts).await,
                Disposal::Poison => poison(source, &of).await,
                Disposal::Keep(delay) => hide(source, &receipts, delay.min(longest)).await,
                Disposal::Release => hide(source, &receipts, Duration::ZERO).await,
            };
            let lost = results.iter().filter(|result| result.is_err()).count();
            tally.disposed(disposal, of.len() - lost, lost);
            if results
                .iter()
                .any(|it| matches!(it, Err(NotDone::Failed(_))))
            {
                tally.failed();
            }
            if let Some(why) = results.into_iter().find_map(Result::err) {
                let why = reason(why);
                tally.warn(format!(
                    "{lost} messages of {} are received again: {why}",
                    source.name
                ));
            }
        }
    }
}

async fn poison(source: &Source, of: &[(&Message, &Receipt)]) -> Vec<Result<(), NotDone>> {
    let mut results = Vec::with_capacity(of.len());
    for (message, receipt) in of {
        let body = message.poison.as_deref().unwrap_or_default();
        results.push(source.queue.poison(receipt, body).await);
    }
    results
}

async fn hide(source: &Source, receipts: &[&Receipt], time: Duration) -> Vec<Result<(), NotDone>> {
    let mut receipts: Vec<Receipt> = receipts.iter().map(|&receipt| receipt.clone()).collect();
    let mut receipts: Vec<&mut Receipt> = receipts.iter_mut().collect();
    source.queue.hide(&mut receipts, time).await
}

fn reason(why: NotDone) -> String {
    match why {
        NotDone::ReceiptExpired => "the message became visible again during the work".to_owned(),
        NotDone::Failed(unread) => unread.why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use providers::queue::QueueState;

    use super::*;

    /// A queue with one message that is not understood. Each time it is hidden, it gets a new receipt, as in Azure.
    #[derive(Default)]
    struct Renewing {
        receipt: Mutex<usize>,
    }

    impl Renewing {
        fn renew(&self) -> Receipt {
            let mut receipt = self.receipt.lock().unwrap();
            *receipt += 1;
            Receipt(receipt.to_string())
        }
    }

    #[async_trait]
    impl Queue for Renewing {
        async fn look(&self) -> Result<QueueState, Unread> {
            Ok(QueueState::default())
        }

        async fn receive(
            &self,
            _: usize,
            _: Duration,
            _: Duration,
        ) -> Result<Vec<Delivery>, Unread> {
            Ok(vec![Delivery {
                receipt: self.renew(),
                attempts: Some(3),
                sent: None,
                body: "hello".to_owned(),
            }])
        }

        async fn hide(
            &self,
            receipts: &mut [&mut Receipt],
            _: Duration,
        ) -> Vec<Result<(), NotDone>> {
            // The answer takes a while.
            sleep(Duration::from_secs(1)).await;
            for receipt in receipts.iter_mut() {
                **receipt = self.renew();
            }
            vec![Ok(()); receipts.len()]
        }

        async fn acknowledge(&self, receipts: &[&Receipt]) -> Vec<Result<(), NotDone>> {
            vec![Ok(()); receipts.len()]
        }

        fn longest_hidden(&self) -> Duration {
            HIDDEN
        }

        fn poisons(&self) -> bool {
            true
        }
    }

    fn queues() -> [Source; 1] {
        [Source {
            name: "a".to_owned(),
            queue: Box::new(Renewing::default()),
        }]
    }

    /// Receives one message, with this number of deliveries that may be made.
    async fn received(queues: &[Source], max_attempts: u32) -> Vec<Message> {
        let events = Events {
            max_messages: 1,
            max_attempts,
            ..Events::default()
        };
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        let mut inbox = Inbox::new(queues, Decoder::default(), &events, clock);
        let received = inbox.receive(0, Duration::ZERO, &Tally::default()).await;
        assert_eq!(received.ok(), Some(1));
        inbox.take()
    }

    #[tokio::test(start_paused = true)]
    async fn message_is_disposed_of_with_its_last_receipt() {
        // The work ends before, during and after the call that hides the message again.
        for (time, last) in [(30_000, "1"), (60_500, "2"), (61_500, "2"), (130_000, "3")] {
            let queues = queues();
            let mut messages = received(&queues, 5).await;
            let work = sleep(Duration::from_millis(time));
            while_hidden(&queues, &mut messages, work).await;
            let (_, receipt) = messages[0].from.as_ref().unwrap();
            assert_eq!(receipt.0, last, "{time}");
        }
    }

    #[tokio::test]
    async fn only_bodies_after_the_last_delivery_are_kept() {
        let queues = queues();
        for (max_attempts, kept) in [(2, true), (3, true), (4, false)] {
            let messages = received(&queues, max_attempts).await;
            assert_eq!(messages[0].can_be_poisoned(), kept, "{max_attempts}");
        }
    }
}
