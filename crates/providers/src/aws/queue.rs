//! SQS.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::{
    Client,
    config::{Builder, retry::RetryConfig},
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
    },
};
use eso_model::StoreKey;
use serde_json::{Value as Json, json};

use super::{
    Settings,
    error::AwsError,
    login::Login,
    service::{Aws, Names},
};
use crate::{
    Ambient, Identity, RateLimiter, StoreSettings, Unread,
    engine::{Engine, Request},
    queue::{
        DeadLetters, Delivery, NotDone, OWNER, Queue, QueueState, Receipt, address::Address,
        limiter,
    },
    unread,
};

const NAMES: Names = Names {
    permission: "sqs",
    endpoint: "SQS",
};

/// The most messages of one call.
const BATCH: usize = 10;

/// The longest wait for a message. The time limit for an answer is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The time of a receive that does not wait: a shorter one asks only some of the servers, and may miss all messages.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// The longest time that a message can be hidden.
const LONGEST_HIDDEN: Duration = Duration::from_hours(12);

struct Sqs {
    engine: Engine<Aws<Client>>,
    limiter: RateLimiter,
    url: String,
    arn: String,
}

/// Logs in.
pub(crate) async fn connect_queue(
    address: &Address,
    ambient: &Ambient,
) -> Result<Box<dyn Queue>, Unread> {
    let Address::Sqs {
        url,
        region,
        account,
        name,
    } = address
    else {
        return Err(Unread::store(unread::UNSUPPORTED, "not an SQS queue"));
    };
    let key = StoreKey::Cluster { name: name.clone() };
    let settings = json!({"service": "SQS", "region": region});
    let settings = Settings::of(&StoreSettings::new(key, "aws", settings))?;
    let login = Login::new(settings, Identity::Ambient(ambient));
    let partition = super::error::partition(region);
    Ok(Box::new(Sqs {
        engine: Engine::connected(Aws::new(login, &NAMES, client)).await?,
        limiter: limiter(name),
        url: url.clone(),
        arn: format!("arn:{partition}:sqs:{region}:{account}:{name}"),
    }))
}

fn client(config: &SdkConfig, endpoint: Option<&str>) -> Client {
    let mut builder = Builder::from(config).retry_config(RetryConfig::disabled());
    if let Some(url) = endpoint {
        builder = builder.endpoint_url(url);
    }
    Client::from_conf(builder.build())
}

#[async_trait]
impl Queue for Sqs {
    async fn look(&self) -> Result<QueueState, Unread> {
        let attributes = self.attributes(&self.url, &self.arn).await?;
        let number = |name: &str| attributes.iter().find(|(of, _)| of == name)?.1.parse().ok();
        let redrive = attributes.iter().find(|(of, _)| of == "RedrivePolicy");
        let redrive = redrive.and_then(|(_, text)| serde_json::from_str::<Json>(text).ok());
        let mut state = QueueState {
            owner: self.owner().await?,
            backlog: number("ApproximateNumberOfMessages"),
            ..QueueState::default()
        };
        let mut deliveries = None;
        if let Some(redrive) = redrive {
            deliveries = most_receives(&redrive);
            state.dead_letters = DeadLetters::Queue {
                count: self.dead_letters(&redrive).await,
            };
        }
        let retention = number("MessageRetentionPeriod").map(Duration::from_secs);
        state.warn(deliveries, retention);
        Ok(state)
    }

    async fn receive(
        &self,
        most: usize,
        hidden: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Unread> {
        let request = Request::read("ReceiveMessage", Some(&self.arn));
        let wait = wait.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let answer = self
            .engine
            .call(&request, &self.limiter, |client: Client| {
                let call = client
                    .receive_message()
                    .queue_url(&self.url)
                    .max_number_of_messages(whole(most.min(BATCH) as u64))
                    .visibility_timeout(seconds(hidden))
                    .wait_time_seconds(seconds(wait))
                    .message_system_attribute_names(
                        MessageSystemAttributeName::ApproximateReceiveCount,
                    );
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await
            .map_err(|failure| self.engine.unread(failure, &request))?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().filter_map(delivery).collect())
    }

    async fn hide(
        &self,
        receipts: &mut [&mut Receipt],
        time: Duration,
    ) -> Vec<Result<(), NotDone>> {
        let mut results = Vec::with_capacity(receipts.len());
        for batch in receipts.chunks(BATCH) {
            let entry = |(id, receipt): (usize, &&mut Receipt)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(id.to_string())
                    .receipt_handle(&receipt.0)
                    .visibility_timeout(seconds(time))
                    .build()
                    .ok()
            };
            let entries: Vec<_> = batch.iter().enumerate().filter_map(entry).collect();
            let call = |client: Client| {
                let call = client
                    .change_message_visibility_batch()
                    .queue_url(&self.url)
                    .set_entries(Some(entries.clone()));
                async move {
                    call.send()
                        .await
                        .map(|answer| answer.failed)
                        .map_err(|error| AwsError::of(&error))
                }
            };
            results.extend(
                self.batch("ChangeMessageVisibility", batch.len(), call)
                    .await,
            );
        }
        results
    }

    async fn acknowledge(&self, receipts: &[&Receipt]) -> Vec<Result<(), NotDone>> {
        let mut results = Vec::with_capacity(receipts.len());
        for batch in receipts.chunks(BATCH) {
            let entry = |(id, receipt): (usize, &&Receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(id.to_string())
                    .receipt_handle(&receipt.0)
                    .build()
                    .ok()
            };
            let entries: Vec<_> = batch.iter().enumerate().filter_map(entry).collect();
            let call = |client: Client| {
                let call = client
                    .delete_message_batch()
                    .queue_url(&self.url)
                    .set_entries(Some(entries.clone()));
                async move {
                    call.send()
                        .await
                        .map(|answer| answer.failed)
                        .map_err(|error| AwsError::of(&error))
                }
            };
            results.extend(self.batch("DeleteMessage", batch.len(), call).await);
        }
        results
    }

    fn longest_hidden(&self) -> Duration {
        LONGEST_HIDDEN
    }
}

impl Sqs {
    async fn attributes(&self, url: &str, arn: &str) -> Result<Vec<(String, String)>, Unread> {
        let request = Request::read("GetQueueAttributes", Some(arn));
        let answer = self
            .engine
            .call(&request, &self.limiter, |client: Client| {
                let call = client
                    .get_queue_attributes()
                    .queue_url(url)
                    .attribute_names(QueueAttributeName::All);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await
            .map_err(|failure| self.engine.unread(failure, &request))?;
        let attributes = answer.attributes.unwrap_or_default().into_iter();
        Ok(attributes
            .map(|(name, value)| (name.as_str().to_owned(), value))
            .collect())
    }

    async fn owner(&self) -> Result<Option<String>, Unread> {
        let request = Request::read("ListQueueTags", Some(&self.arn));
        let answer = self
            .engine
            .call(&request, &self.limiter, |client: Client| {
                let call = client.list_queue_tags().queue_url(&self.url);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await
            .map_err(|failure| self.engine.unread(failure, &request))?;
        Ok(answer.tags.and_then(|mut tags| tags.remove(OWNER)))
    }

    /// The number of dead letters, if it can be read. Their queue has the same account and region.
    async fn dead_letters(&self, redrive: &Json) -> Option<u64> {
        let arn = redrive.get("deadLetterTargetArn")?.as_str()?;
        let (_, name) = arn.rsplit_once(':')?;
        let (base, _) = self.url.rsplit_once('/')?;
        let attributes = self.attributes(&format!("{base}/{name}"), arn).await.ok()?;
        let mut attributes = attributes.into_iter();
        let (_, count) = attributes.find(|(of, _)| of == "ApproximateNumberOfMessages")?;
        count.parse().ok()
    }

    /// Makes a call for a batch, and returns the result for each of its entries.
    async fn batch<F>(
        &self,
        operation: &'static str,
        count: usize,
        call: impl Fn(Client) -> F + Send + Sync,
    ) -> Vec<Result<(), NotDone>>
    where
        F: Future<Output = Result<Vec<BatchResultErrorEntry>, AwsError>> + Send,
    {
        let request = Request::read(operation, Some(&self.arn));
        let failed = self.engine.call(&request, &self.limiter, call).await;
        let failed = failed.map_err(|failure| self.engine.unread(failure, &request));
        self.results(count, failed, &request)
    }

    /// The result for each entry of a batch: an answer with status 200 can hold errors.
    fn results(
        &self,
        count: usize,
        failed: Result<Vec<BatchResultErrorEntry>, Unread>,
        request: &Request<'_>,
    ) -> Vec<Result<(), NotDone>> {
        let failed = match failed {
            Ok(failed) => failed,
            Err(unread) => return vec![Err(NotDone::Failed(unread)); count],
        };
        let result = |id: usize| {
            let id = id.to_string();
            let Some(entry) = failed.iter().find(|entry| entry.id == id) else {
                return Ok(());
            };
            let code = entry.code.rsplit(['.', '#']).next().unwrap_or_default();
            if matches!(code, "ReceiptHandleIsInvalid" | "MessageNotInflight") {
                return Err(NotDone::ReceiptExpired);
            }
            let error = AwsError::said(Some(code), None, None);
            let needed = self.engine.service().needed(request);
            Err(NotDone::Failed(error.unread(&needed)))
        };
        (0..count).map(result).collect()
    }
}

fn delivery(message: Message) -> Option<Delivery> {
    let attributes = message.attributes.unwrap_or_default();
    let attempts = attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount);
    Some(Delivery {
        receipt: Receipt(message.receipt_handle?),
        attempts: attempts.and_then(|count| count.parse().ok()),
        sent: None,
        body: message.body.unwrap_or_default(),
    })
}

/// `maxReceiveCount`, which AWS returns as a number or as a text.
fn most_receives(redrive: &Json) -> Option<u32> {
    let most = redrive.get("maxReceiveCount")?;
    let number = most.as_u64().and_then(|most| u32::try_from(most).ok());
    number.or_else(|| most.as_str()?.parse().ok())
}

fn seconds(time: Duration) -> i32 {
    whole(time.min(LONGEST_HIDDEN).as_secs())
}

fn whole(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
