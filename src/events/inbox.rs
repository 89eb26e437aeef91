//! The messages that were received and not yet disposed of.

use std::{collections::BTreeMap, time::Duration};

use ::events::{Decoder, Disposal, Notice};
use providers::{
    Unread,
    queue::{Delivery, NotDone, Queue, Receipt},
};
use tokio::time::{Instant, sleep};

use super::tally::Tally;
use crate::{
    exit::Exit,
    failure::Failure,
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

/// A message, without its body.
pub(super) struct Message {
    pub(super) notices: Vec<Notice>,
    pub(super) attempts: u32,
    /// The queue and the receipt. None for an event from a file.
    from: Option<(usize, Receipt)>,
}

impl Source {
    /// The error of a call that failed.
    pub(super) fn failure(&self, call: &str, unread: Unread) -> Failure {
        Failure {
            exit: Exit::NoAccess,
            message: format!("cannot {call} the queue {}: {}", self.name, unread.why),
            hint: unread
                .permission
                .map(|permission| format!("missing permission: {permission}")),
            problems: Vec::new(),
        }
    }
}

impl Message {
    /// An event that no queue holds.
    pub(super) fn of_line(notices: Vec<Notice>) -> Self {
        Self {
            notices,
            attempts: 1,
            from: None,
        }
    }

    pub(super) fn place(&self) -> Option<(usize, Receipt)> {
        self.from.clone()
    }
}

pub(super) struct Inbox<'a> {
    queues: &'a [Source],
    decoder: Decoder,
    messages: Vec<Message>,
    /// How many more may be received.
    left: usize,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(queues: &'a [Source], decoder: Decoder, most: u32) -> Self {
        Self {
            queues,
            decoder,
            messages: Vec::new(),
            left: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn take(&mut self) -> Vec<Message> {
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
        let decoder = &self.decoder;
        let messages = deliveries.into_iter().map(|delivery| {
            let Delivery {
                receipt,
                attempts,
                body,
            } = delivery;
            Message {
                notices: decoder.decode(&body),
                attempts,
                from: Some((at, receipt)),
            }
        });
        self.messages.extend(messages);
        Ok(count)
    }
}

/// Keeps messages hidden while they are handled. Never returns. A receipt that has expired is not renewed: the message is delivered
/// again, and finds the work done.
pub(super) async fn keep_hidden(queues: &[Source], receipts: &mut [(usize, Receipt)]) {
    loop {
        sleep(HIDDEN / 2).await;
        for (at, source) in queues.iter().enumerate() {
            let of = receipts.iter_mut().filter(|(queue, _)| *queue == at);
            let mut of: Vec<&mut Receipt> = of.map(|(_, receipt)| receipt).collect();
            if !of.is_empty() {
                source.queue.hide(&mut of, HIDDEN).await;
            }
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
        let mut by: BTreeMap<Disposal, Vec<Receipt>> = BTreeMap::new();
        for (message, disposal) in messages.iter().zip(disposals) {
            if let Some((_, receipt)) = message.from.as_ref().filter(|(queue, _)| *queue == at) {
                by.entry(*disposal).or_default().push(receipt.clone());
            }
        }
        for (disposal, mut receipts) in by {
            let longest = source.queue.longest_hidden();
            let results = match disposal {
                Disposal::Acknowledge => {
                    let receipts: Vec<&Receipt> = receipts.iter().collect();
                    source.queue.acknowledge(&receipts).await
                }
                Disposal::Keep(delay) => hide(source, &mut receipts, delay.min(longest)).await,
                Disposal::Poison | Disposal::Release => {
                    hide(source, &mut receipts, Duration::ZERO).await
                }
            };
            let lost = results.iter().filter(|result| result.is_err()).count();
            tally.disposed(disposal, receipts.len() - lost, lost);
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

async fn hide(
    source: &Source,
    receipts: &mut [Receipt],
    time: Duration,
) -> Vec<Result<(), NotDone>> {
    let mut receipts: Vec<&mut Receipt> = receipts.iter_mut().collect();
    source.queue.hide(&mut receipts, time).await
}

fn reason(why: NotDone) -> String {
    match why {
        NotDone::ReceiptExpired => "the message became visible again during the work".to_owned(),
        NotDone::Failed(unread) => unread.why.to_string(),
    }
}
