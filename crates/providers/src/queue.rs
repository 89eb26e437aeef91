//! Queues with rotation events: one trait, with an implementation for each kind of queue.
//!
//! They are part of this crate because they log in like the providers: with the job's own credentials, which are sent only to the
//! clouds' own hosts, or to an endpoint from the job's environment. A message is a hint from a stranger. Its body has no `Debug`.
//!
//! | queue | calls | rights |
//! |---|---|---|
//! | SQS | `ReceiveMessage`, `DeleteMessageBatch`, `ChangeMessageVisibilityBatch`, `GetQueueAttributes`, `ListQueueTags` | the same actions on the queue; `sqs:GetQueueAttributes` on its dead-letter queue to count these |
//! | Pub/Sub | `pull`, `acknowledge`, `modifyAckDeadline`; `get` of the subscription | `roles/pubsub.subscriber` and `roles/pubsub.viewer` on the subscription |

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
#[cfg(any(feature = "events-aws", feature = "events-gcp"))]
use pace::rate::Rate;

#[cfg(any(feature = "events-aws", feature = "events-gcp"))]
use crate::RateLimiter;
use crate::Unread;

/// The tag or label of a queue with its owner: the UID of the namespace kube-system of the cluster.
pub const OWNER: &str = "eso-sync-cluster";

/// A message should survive an outage of two weeks, and this number of deliveries.
#[cfg(any(test, feature = "events-aws", feature = "events-gcp"))]
const RETENTION: Duration = Duration::from_hours(14 * 24);
#[cfg(any(test, feature = "events-aws", feature = "events-gcp"))]
const DELIVERIES: u32 = 100;

/// The most calls to a queue each second. A receive waits for messages, and the others carry ten messages each.
#[cfg(any(feature = "events-aws", feature = "events-gcp"))]
const CALLS: f64 = 20.0;

/// Where a queue is. Can only be an address of the queue's own cloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Sqs {
        /// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`
        url: String,
        region: String,
        account: String,
        name: String,
    },
    PubSub {
        project: String,
        subscription: String,
    },
}

/// The error for a text that is not the address of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("is not the URL of an SQS queue")]
    Sqs,
    #[error("is not the name of a Pub/Sub subscription")]
    PubSub,
}

impl InvalidAddress {
    /// The form that is accepted.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Sqs => "write `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`",
            Self::PubSub => "write `projects/PROJECT/subscriptions/NAME`",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqs { url, .. } => f.write_str(url),
            Self::PubSub {
                project,
                subscription,
            } => write!(f, "projects/{project}/subscriptions/{subscription}"),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.starts_with("projects/") {
            return pub_sub(text).ok_or(InvalidAddress::PubSub);
        }
        sqs(text).ok_or(InvalidAddress::Sqs)
    }
}

fn sqs(url: &str) -> Option<Address> {
    let rest = url.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/')?;
    let host = host.strip_prefix("sqs.")?;
    let region = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (account, name) = path.split_once('/')?;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let bare = name.strip_suffix(".fifo").unwrap_or(name);
    let valid = is_label(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (1..=80).contains(&name.len())
        && !bare.is_empty()
        && bare.bytes().all(is_word);
    valid.then(|| Address::Sqs {
        url: url.to_owned(),
        region: region.to_owned(),
        account: account.to_owned(),
        name: name.to_owned(),
    })
}

fn pub_sub(text: &str) -> Option<Address> {
    let mut parts = text.split('/');
    let ("projects", project, "subscriptions", name, None) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next(),
    ) else {
        return None;
    };
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+%".contains(&byte);
    let project_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
    let valid = (1..=100).contains(&project.len())
        && project.bytes().all(project_byte)
        && project.starts_with(|first: char| first.is_ascii_alphanumeric())
        && (3..=255).contains(&name.len())
        && name.bytes().all(is_word)
        && name.starts_with(|first: char| first.is_ascii_alphabetic());
    valid.then(|| Address::PubSub {
        project: project.to_owned(),
        subscription: name.to_owned(),
    })
}

/// True if the text can be one label of a host name and nothing else.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=50).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(inner)
}

/// A connection to one queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Looks at the queue. Takes nothing from it.
    async fn look(&self) -> Result<QueueState, Unread>;

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
}

/// A message as it was received. No `Debug`, because a stranger wrote the body.
pub struct Delivery {
    pub receipt: Receipt,
    /// The deliveries so far, this one included.
    pub attempts: u32,
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

#[cfg(any(test, feature = "events-aws", feature = "events-gcp"))]
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
#[cfg(any(feature = "events-aws", feature = "events-gcp"))]
pub(crate) fn limiter(name: &str) -> RateLimiter {
    RateLimiter::new(Rate::clamped(CALLS)).reading(&format!("the queue {name}").into(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_names_only_the_clouds_own_hosts() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        for good in [
            "https://sqs.eu-west-1.amazonaws.com/123456789012/eso-sync-prod",
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events.fifo",
            "projects/shop/subscriptions/eso-sync-prod",
            "projects/example.com:shop/subscriptions/eso-sync",
        ] {
            assert_eq!(read(good), Ok(good.to_owned()));
        }
        for bad in [
            "https://sqs.eu-west-1.amazonaws.com.evil.example/123456789012/q",
            "https://evil.example/sqs.eu-west-1.amazonaws.com/123456789012/q",
            "https://user@sqs.eu-west-1.amazonaws.com/123456789012/q",
            "https://sqs.evil.example#.amazonaws.com/123456789012/q",
            "http://sqs.eu-west-1.amazonaws.com/123456789012/q",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/q?sig=x",
            "https://sqs.eu-west-1.amazonaws.com/12/q",
            "https://acct.queue.core.windows.net/q?sig=hunter2",
            "",
        ] {
            assert_eq!(read(bad), Err(InvalidAddress::Sqs), "{bad}");
        }
        for bad in [
            "projects/shop/subscriptions/ab",
            "projects/shop/subscriptions/a/../b",
            "projects/../subscriptions/abc",
            "projects/shop/topics/abc",
            "projects/shop/subscriptions/abc:pull",
        ] {
            assert_eq!(read(bad), Err(InvalidAddress::PubSub), "{bad}");
        }
    }

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
