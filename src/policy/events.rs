//! The section `events`: the queues with rotation events, and how they are emptied.

use std::{fmt, time::Duration};

use providers::queue::address::{Address, InvalidAddress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    form::{self, Written},
    written::{self, in_order},
};

/// Rotation events from queues, for `eso-sync events`. The other commands do not read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Events {
    /// The queues. One belongs to one cluster and one policy, because each message is received once.
    pub queues: Vec<QueueFrom>,
    /// How long to wait for more messages after the first ones. A message is handled when it arrives. The lock is held only while
    /// messages are handled. `0s`: the run ends when the queues are empty.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::DurationOrZero>")]
    pub listen: Duration,
    /// The most messages of one run. The others stay in the queue.
    #[schemars(range(min = 1))]
    pub max_messages: u32,
    /// How long to wait until the provider returns the version that an event names, or a newer one. After that, the message is kept. If
    /// versions cannot be compared, the value is compared once more after 10 seconds, or after this time if it is shorter.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::DurationOrZero>")]
    pub settle: Duration,
    /// After this number of deliveries, a message no longer waits for an ExternalSecret whose own configuration makes each sync
    /// fail, and one that is not understood is moved to the poison queue of an `azureQueue`.
    #[schemars(range(min = 1))]
    pub max_attempts: u32,
    /// What to do with a queue without this cluster's owner tag `eso-sync-cluster` (in Azure, the metadata `eso_sync_cluster`).
    /// `require`: refuse it. `warn`: only warn. A queue with another cluster's tag is always refused.
    pub owner: RequireOwner,
    /// Which of the ExternalSecrets that use a changed key to sync. `auto`: those that differ from the provider, or all if
    /// `drift.enabled` is false. `drifted`: those that differ. `always`: all.
    pub when: EventsWhen,
    /// The JSON pointer to the name of the key, for messages from other sources than the clouds' own. Without it, such messages
    /// stay in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::JsonPointer>>")]
    pub key: Option<String>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            listen: Duration::ZERO,
            max_messages: 1000,
            settle: Duration::from_mins(1),
            max_attempts: 5,
            owner: RequireOwner::Require,
            when: EventsWhen::Auto,
            key: None,
        }
    }
}

/// One entry of `events.queues`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct QueueFrom {
    /// A queue of Amazon SQS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqs: Option<SqsQueue>,
    /// A queue of Azure Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_queue: Option<AzureQueue>,
    /// A subscription of Google Pub/Sub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pubsub: Option<PubSubQueue>,
}

/// `queues[].sqs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct SqsQueue {
    /// The URL of the queue: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
    #[schemars(with = "Written<form::SqsUrl>")]
    pub url: String,
}

/// `queues[].azureQueue`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct AzureQueue {
    /// The URL of the queue: `https://ACCOUNT.queue.core.windows.net/QUEUE`, without a SAS token.
    #[schemars(with = "Written<form::AzureQueueUrl>")]
    pub url: String,
    /// The queue of the same storage account for messages that are not understood after `maxAttempts` deliveries. Without it, such
    /// messages stay in the queue until they are too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::AzureQueueName>>")]
    pub poison: Option<String>,
}

impl AzureQueue {
    /// The URL of the queue for messages that are not understood.
    pub fn poison_url(&self) -> Option<String> {
        let (account, _) = self.url.rsplit_once('/')?;
        Some(format!("{account}/{}", self.poison.as_ref()?))
    }
}

/// `queues[].pubsub`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct PubSubQueue {
    /// The subscription: `projects/PROJECT/subscriptions/NAME`.
    #[schemars(with = "Written<form::Subscription>")]
    pub subscription: String,
}

impl QueueFrom {
    /// The queues that are written or received from, as in `--allow-queue`.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        let poison = self.azure_queue.as_ref().and_then(AzureQueue::poison_url);
        std::iter::once(self.to_string()).chain(poison)
    }

    /// Where the queue is.
    pub fn address(&self) -> Result<Address, InvalidAddress> {
        let address: Address = self.to_string().parse()?;
        let poison = self.azure_queue.as_ref().and_then(|it| it.poison.as_ref());
        match poison {
            Some(poison) => address.with_poison(poison),
            None => Ok(address),
        }
    }
}

/// As in `--allow-queue`: the URL or the name of the subscription.
impl fmt::Display for QueueFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sqs,
            azure_queue,
            pubsub,
        } = self;
        if let Some(SqsQueue { url }) = sqs {
            f.write_str(url)?;
        }
        if let Some(AzureQueue { url, poison: _ }) = azure_queue {
            f.write_str(url)?;
        }
        if let Some(PubSubQueue { subscription }) = pubsub {
            f.write_str(subscription)?;
        }
        Ok(())
    }
}

/// What a queue must have to be received from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum RequireOwner {
    /// This cluster's owner tag.
    Require,
    /// No other cluster's owner tag.
    Warn,
}

/// Which ExternalSecrets are synced after an event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum EventsWhen {
    /// Those that differ, or all without a drift check.
    Auto,
    /// Those that differ.
    Drifted,
    /// All that use the key.
    Always,
}
