//! Queues with rotation events: one trait, with an implementation for each kind of queue.
//!
//! They are part of this crate because they log in like the providers: with the job's own credentials, which are sent only to the
//! clouds' own hosts, or to an endpoint from the job's environment. A message is a hint from a stranger. Its body has no `Debug`.
//!
//! | queue | calls | rights |
//! |---|---|---|
//! | SQS | `ReceiveMessage`, `DeleteMessageBatch`, `ChangeMessageVisibilityBatch`, `GetQueueAttributes`, `ListQueueTags` | the same actions on the queue; `sqs:GetQueueAttributes` on its dead-letter queue to count these |
//! | Azure Storage | `Get Messages`, `Peek Messages`, `Update Message`, `Delete Message`, `Get Queue Metadata`; `Put Message` to the poison queue | `Storage Queue Data Contributor` on the queue; `Storage Queue Data Message Sender` and `Storage Queue Data Reader` on the poison queue |
//! | Pub/Sub | `pull`, `acknowledge`, `modifyAckDeadline`; `get` of the subscription | `roles/pubsub.subscriber` and `roles/pubsub.viewer` on the subscription |

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
#[cfg(any(
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
use pace::rate::Rate;

#[cfg(any(
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
use crate::RateLimiter;
use crate::Unread;

pub mod address;

/// The tag or label of a queue with its owner: the UID of the namespace kube-system of the cluster.
pub const OWNER: &str = "eso-sync-cluster";

/// A message should survive an outage of two weeks, and this number of deliveries.
#[cfg(any(
    test,
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
const RETENTION: Duration = Duration::from_hours(14 * 24);
#[cfg(any(
    test,
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
const DELIVERIES: u32 = 100;

/// The most calls to a queue each second, each for up to ten messages. A FIFO queue permits 300.
#[cfg(any(
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
const CALLS: f64 = 100.0;

/// A connection to one queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Looks at the queue. Takes nothing from it.
    async fn look(&self) -> Result<QueueState, Unread>;

    /// The bodies of the first messages, which stay as they are. None if each look would count as a delivery.
    async fn peek(&self) -> Result<Option<Vec<String>>, Unread> {
        Ok(None)
    }

    /// Receives up to this number of messages, and waits for the first one. They are hidden from others for `hidden`. May
    /// return fewer, or none, although there are more.
    async fn receive(
        &self,
        most: usize,
        hidden: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Unread>;

    /// Hides messages for this time from now on; zero makes them visible at once. The results are in the same order.
    async fn hide(&self, receipts: &mut [&mut Receipt], time: Duration)
    -> Vec<Result<(), NotDone>>;

    /// Removes messages from the queue. The results are in the same order.
    async fn acknowledge(&self, receipts: &[&Receipt]) -> Vec<Result<(), NotDone>>;

    /// The longest time that [`Self::hide`] accepts.
    fn longest_hidden(&self) -> Duration;

    /// The name of the tag, label or metadata with the owner.
    fn owner_tag(&self) -> &'static str {
        OWNER
    }

    /// True if messages that are not understood can be moved away by [`Self::poison`]. False if nothing moves them, or if the
    /// queue's server does.
    fn poisons(&self) -> bool {
        false
    }

    /// Moves a message with this body to the queue for messages that are not understood. If that fails, it stays where it is.
    async fn poison(&self, _receipt: &Receipt, _body: &str) -> Result<(), NotDone> {
        let detail = "this queue has no poison queue";
        Err(NotDone::Failed(Unread::secret(
            eso_model::unread::UNSUPPORTED,
            detail,
        )))
    }
}

/// A message as it was received. No `Debug`, because a stranger wrote the body.
pub struct Delivery {
    pub receipt: Receipt,
    /// The deliveries so far, this one included. None if the queue does not count them.
    pub attempts: Option<u32>,
    /// When it was sent, if the queue says so.
    pub sent: Option<Timestamp>,
    pub body: String,
}

/// The permission to acknowledge or to hide one delivery of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt(pub String);

/// Why a message was not acknowledged or hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// The receipt is no longer valid: the message is visible to others again, or gone.
    ReceiptExpired,
    Failed(Unread),
}

/// What is known about a queue without receiving from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// The value of the tag or label [`OWNER`].
    pub owner: Option<String>,
    /// The messages that wait, about. None if it is not known.
    pub backlog: Option<u64>,
    pub dead_letters: DeadLetters,
    pub warnings: Vec<QueueWarning>,
}

/// What becomes of messages that are delivered too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadLetters {
    /// They are delivered until they are too old.
    #[default]
    Nowhere,
    /// They are moved to another queue.
    Queue {
        /// The messages there, about. None if it is not known.
        count: Option<u64>,
    },
}

/// A setting of a queue with which an outage can lose messages.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::EnumIter,
)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum QueueWarning {
    /// It has no queue for dead letters.
    NoDeadLetters,
    /// It makes fewer than 100 deliveries of a message.
    FewDeliveries,
    /// It keeps messages for less than 14 days.
    ShortRetention,
}

#[cfg(any(
    test,
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
impl QueueState {
    /// Warns of settings with which an outage can lose messages.
    pub(crate) fn warn(&mut self, deliveries: Option<u32>, retention: Option<Duration>) {
        let warnings = [
            (
                self.dead_letters == DeadLetters::Nowhere,
                QueueWarning::NoDeadLetters,
            ),
            (
                deliveries.is_some_and(|most| most < DELIVERIES),
                QueueWarning::FewDeliveries,
            ),
            (
                retention.is_some_and(|time| time < RETENTION),
                QueueWarning::ShortRetention,
            ),
        ];
        let set = warnings.into_iter().filter(|(is_set, _)| *is_set);
        self.warnings.extend(set.map(|(_, warning)| warning));
    }
}

/// The rate of the calls to a queue with this name.
#[cfg(any(
    feature = "events-aws",
    feature = "events-azure",
    feature = "events-gcp"
))]
pub(crate) fn limiter(name: &str) -> RateLimiter {
    RateLimiter::new(Rate::clamped(CALLS)).reading(&format!("the queue {name}").into(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_lose_messages_are_warned_of() {
        let warned = |dead_letters, deliveries, days: u64| {
            let mut state = QueueState {
                dead_letters,
                ..QueueState::default()
            };
            state.warn(deliveries, Some(Duration::from_hours(24 * days)));
            state.warnings
        };
        let kept = DeadLetters::Queue { count: None };
        assert_eq!(warned(kept, Some(100), 14), []);
        assert_eq!(warned(kept, Some(99), 14), [QueueWarning::FewDeliveries]);
        assert_eq!(
            warned(DeadLetters::Nowhere, None, 4),
            [QueueWarning::NoDeadLetters, QueueWarning::ShortRetention]
        );
    }
}
