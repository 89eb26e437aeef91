//! Queues of Azure Storage.
//!
//! The server has no dead letters: a message is delivered until it is too old. So what is not understood is moved to a queue of the
//! same account, if the policy names one.

mod fault;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::http::{
    ClientOptions, RetryOptions, Transport, Url,
    headers::{HeaderName, Headers},
};
use azure_storage_queue::{
    QueueClient, QueueClientOptions,
    models::{
        QueueClientGetPropertiesResultHeaders as _, QueueClientPeekMessagesOptions,
        QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions, QueueMessage,
        ReceivedMessage,
    },
};
use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use self::fault::{Problem, QueueFault};
use super::{
    client::Bounded,
    http,
    login::{self, Login},
    settings::Cloud,
};
use crate::{
    Ambient, RateLimiter, Unread,
    engine::{Engine, ErrorClass, Failure, IN_FLIGHT, Request, Service},
    queue::{
        DeadLetters, Delivery, NotDone, Queue, QueueState, Receipt,
        address::{Address, AzureCloud},
        limiter,
    },
    unread,
};

/// The variable with the address of Azurite, Microsoft's emulator: `https://127.0.0.1:10001/devstoreaccount1`.
const EMULATOR: &str = "AZURE_STORAGE_QUEUE_ENDPOINT";

/// The metadata with the owner. Azure permits no hyphen in its name.
const OWNER: &str = "eso_sync_cluster";

const POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");

/// The most messages of one call.
const RECEIVE: usize = 32;

/// The largest answer, in bytes. 32 messages have up to 64 KiB each, and XML needs up to five bytes for a character.
const MAX_ANSWER: usize = 16 << 20;

/// The longest time that a message can be hidden.
const LONGEST_HIDDEN: Duration = Duration::from_hours(7 * 24);

/// The pause between calls while there are no messages: a call returns at once.
const PAUSE: Duration = Duration::from_secs(1);

/// A message that was moved to the poison queue stays there until somebody removes it.
const FOREVER: i32 = -1;

struct StorageQueue {
    engine: Engine<Server>,
    limiter: RateLimiter,
    /// `ACCOUNT/QUEUE`, for messages.
    name: String,
}

/// The service, as the engine calls it.
struct Server {
    queue: Url,
    poison: Option<Url>,
    login: Login,
    cloud: Cloud,
    transport: Transport,
}

/// The clients of a queue and of its poison queue.
struct Clients {
    queue: QueueClient,
    poison: Option<QueueClient>,
}

/// Connects to a queue. Sends no request until the first call.
pub(crate) async fn connect_queue(
    address: &Address,
    ambient: &Ambient,
) -> Result<Box<dyn Queue>, Unread> {
    Ok(Box::new(open(address, ambient, http()?).await?))
}

/// Connects with this HTTP client.
async fn open(
    address: &Address,
    ambient: &Ambient,
    http: reqwest::Client,
) -> Result<StorageQueue, Unread> {
    let Address::AzureQueue {
        cloud,
        account,
        name,
        poison,
    } = address
    else {
        return Err(Unread::store(unread::UNSUPPORTED, "not an Azure queue"));
    };
    let mut cloud = match cloud {
        AzureCloud::Public => Cloud::public(),
        AzureCloud::UsGovernment => Cloud::us_government(),
        AzureCloud::China => Cloud::china(),
    };
    if let Some(authority) = login::authority(ambient) {
        Ambient::over_tls("AZURE_AUTHORITY_HOST", &authority)?;
        cloud.authority = authority;
    }
    let base = base(address, ambient)?;
    let server = Server {
        queue: below(&base, name),
        poison: poison.as_deref().map(|name| below(&base, name)),
        login: login::of_job(ambient),
        cloud,
        transport: Transport::new(Arc::new(Bounded {
            http,
            most: MAX_ANSWER,
        })),
    };
    Ok(StorageQueue {
        engine: Engine::connected(server).await?,
        limiter: limiter(name),
        name: format!("{account}/{name}"),
    })
}

/// The address of the account: at Azure, or at an emulator on this machine.
fn base(address: &Address, ambient: &Ambient) -> Result<Url, Unread> {
    let is_loopback = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
    };
    let emulator = ambient.environment.get(EMULATOR);
    if let Some(emulator) = emulator.filter(|url| !url.is_empty()) {
        let url = Url::parse(emulator).ok();
        let url = url.filter(|url| url.scheme() == "https" && url.query().is_none());
        return url.filter(is_loopback).ok_or_else(|| {
            let detail = format!("{EMULATOR} must be an https address of this machine, such as https://127.0.0.1:10001/devstoreaccount1");
            Unread::store(unread::NOT_TRUSTED, detail)
        });
    }
    let invalid = |_| Unread::store(unread::STORE, "the address of the queue is invalid");
    let mut url = Url::parse(&address.to_string()).map_err(invalid)?;
    url.set_path("");
    Ok(url)
}

fn below(base: &Url, queue: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{queue}", base.path().trim_end_matches('/')));
    url
}

#[async_trait]
impl Service for Server {
    type Client = Arc<Clients>;
    type Error = QueueFault;

    /// Creates new clients, because the SDK keeps a token until it expires, even if the server rejects it. They log in at their
    /// first request.
    async fn connect(&self, _refused: Option<&Arc<Clients>>) -> Result<Arc<Clients>, Unread> {
        let client_options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(self.transport.clone()),
            cloud: Some(Arc::new(self.cloud.configuration())),
            ..ClientOptions::default()
        };
        let clients = || {
            let login = self.login.credential(client_options.clone())?;
            let client = |url: &Url| {
                let options = QueueClientOptions {
                    client_options: client_options.clone(),
                    ..QueueClientOptions::default()
                };
                QueueClient::new(url.clone(), Some(Arc::clone(&login)), Some(options))
            };
            Ok(Arc::new(Clients {
                queue: client(&self.queue)?,
                poison: self.poison.as_ref().map(client).transpose()?,
            }))
        };
        clients().map_err(|_: azure_core::Error| {
            // The SDK's text may contain the names of the tenant and the client.
            let detail = "the tenant id, the client id or the client secret is invalid";
            Unread::store(unread::LOGIN, detail)
        })
    }

    fn class(&self, fault: &QueueFault) -> ErrorClass {
        fault.class
    }

    fn unread(&self, fault: &QueueFault, _request: &Request<'_>) -> Unread {
        fault.unread()
    }
}

impl StorageQueue {
    async fn call<T, F>(
        &self,
        call: &'static str,
        send: impl Fn(Arc<Clients>) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = azure_core::Result<T>> + Send,
    {
        let request = Request::read(call, Some(&self.name));
        let answer = self.engine.call(&request, &self.limiter, |clients| {
            let answer = send(clients);
            async move { answer.await.map_err(|error| QueueFault::of(&error)) }
        });
        answer.await.map_err(|failure| match failure {
            Failure::Answer(fault) => fault.problem,
            Failure::Unread(unread) | Failure::Unknown(unread) => Problem::Unread(unread),
        })
    }

    /// The reason for a failed call, with the role that is missing.
    fn unread(&self, problem: &Problem, role: &str) -> Unread {
        let unread = problem.unread();
        if unread.why.reason != unread::DENIED || unread.whole_store {
            return unread;
        }
        unread.lacking(format!("\"{role}\" on the queue {}", self.name))
    }

    fn not_done(&self, problem: &Problem) -> NotDone {
        match problem {
            Problem::ReceiptExpired | Problem::NoMessage => NotDone::ReceiptExpired,
            Problem::NoQueue | Problem::Unread(_) => {
                NotDone::Failed(self.unread(problem, CONTRIBUTOR))
            }
        }
    }

    /// The number of messages in the poison queue. It can receive no dead letters if it does not exist.
    async fn dead_letters(&self) -> DeadLetters {
        if self.engine.service().poison.is_none() {
            return DeadLetters::Nowhere;
        }
        let state = self.call("GetPoisonQueueMetadata", |clients| async move {
            match &clients.poison {
                Some(poison) => Ok(poison
                    .get_properties(None)
                    .await?
                    .approximate_messages_count()),
                None => Ok(Ok(None)),
            }
        });
        match state.await {
            Ok(count) => DeadLetters::Queue {
                count: count
                    .ok()
                    .flatten()
                    .and_then(|count| u64::try_from(count).ok()),
            },
            Err(Problem::NoQueue) => DeadLetters::Nowhere,
            Err(Problem::ReceiptExpired | Problem::NoMessage | Problem::Unread(_)) => {
                DeadLetters::Queue { count: None }
            }
        }
    }

    async fn hide_one(&self, receipt: &mut Receipt, seconds: i32) -> Result<(), NotDone> {
        let (id, pop) = parts(receipt);
        let answer = self.call("UpdateMessage", |clients| async move {
            let answer = clients.queue.update_message(id, pop, seconds, None).await?;
            Ok(answer.headers().get_optional_string(&POP_RECEIPT))
        });
        let renewed = answer.await.map_err(|problem| self.not_done(&problem))?;
        if let Some(pop) = renewed {
            *receipt = receipt_of(id, &pop);
        }
        Ok(())
    }

    /// A message that is gone needs no acknowledgement. It may be that the answer to an earlier attempt was lost.
    async fn delete(&self, receipt: &Receipt) -> Result<(), NotDone> {
        let (id, pop) = parts(receipt);
        let answer = self.call("DeleteMessage", |clients| async move {
            clients.queue.delete_message(id, pop, None).await
        });
        match answer.await {
            Ok(_) | Err(Problem::NoMessage) => Ok(()),
            Err(problem) => Err(self.not_done(&problem)),
        }
    }
}

const CONTRIBUTOR: &str = "Storage Queue Data Contributor";
const SENDER: &str = "Storage Queue Data Message Sender";

#[async_trait]
impl Queue for StorageQueue {
    async fn look(&self) -> Result<QueueState, Unread> {
        let answer = self.call("GetQueueMetadata", |clients| async move {
            let answer = clients.queue.get_properties(None).await?;
            let count = answer.approximate_messages_count().ok().flatten();
            Ok((owner(answer.headers()), count))
        });
        let answer = answer.await;
        let (owner, backlog) = answer.map_err(|problem| self.unread(&problem, CONTRIBUTOR))?;
        let mut state = QueueState {
            owner,
            backlog: backlog.and_then(|count| u64::try_from(count).ok()),
            dead_letters: self.dead_letters().await,
            ..QueueState::default()
        };
        // The retention is a property of each message.
        state.warn(None, None);
        Ok(state)
    }

    async fn peek(&self) -> Result<Option<Vec<String>>, Unread> {
        let answer = self.call("PeekMessages", |clients| async move {
            let options = QueueClientPeekMessagesOptions {
                number_of_messages: i32::try_from(RECEIVE).ok(),
                ..QueueClientPeekMessagesOptions::default()
            };
            let answer = clients.queue.peek_messages(Some(options)).await?;
            answer.into_model()
        });
        let answer = answer.await;
        let answer = answer.map_err(|problem| self.unread(&problem, CONTRIBUTOR))?;
        let messages = answer.items.into_iter().flatten();
        let bodies = messages.map(|message| message.message_text.unwrap_or_default());
        Ok(Some(bodies.collect()))
    }

    async fn receive(
        &self,
        most: usize,
        hidden: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Unread> {
        let end = Instant::now() + wait;
        let most = i32::try_from(most.clamp(1, RECEIVE)).unwrap_or(1);
        let hidden = seconds(hidden).max(1);
        loop {
            let answer = self.call("GetMessages", |clients| async move {
                let options = QueueClientReceiveMessagesOptions {
                    number_of_messages: Some(most),
                    visibility_timeout: Some(hidden),
                    ..QueueClientReceiveMessagesOptions::default()
                };
                let answer = clients.queue.receive_messages(Some(options)).await?;
                answer.into_model()
            });
            let answer = answer.await;
            let answer = answer.map_err(|problem| self.unread(&problem, CONTRIBUTOR))?;
            let messages = answer.items.into_iter().flatten();
            let deliveries: Vec<_> = messages.filter_map(delivery).collect();
            if !deliveries.is_empty() || Instant::now() + PAUSE > end {
                return Ok(deliveries);
            }
            sleep(PAUSE).await;
        }
    }

    async fn hide(
        &self,
        receipts: &mut [&mut Receipt],
        time: Duration,
    ) -> Vec<Result<(), NotDone>> {
        let calls = receipts
            .iter_mut()
            .map(|receipt| self.hide_one(receipt, seconds(time)));
        let calls: Vec<_> = calls.collect();
        stream::iter(calls).buffered(IN_FLIGHT).collect().await
    }

    async fn acknowledge(&self, receipts: &[&Receipt]) -> Vec<Result<(), NotDone>> {
        let calls: Vec<_> = receipts
            .iter()
            .map(|receipt| self.delete(receipt))
            .collect();
        stream::iter(calls).buffered(IN_FLIGHT).collect().await
    }

    fn longest_hidden(&self) -> Duration {
        LONGEST_HIDDEN
    }

    fn owner_tag(&self) -> &'static str {
        OWNER
    }

    fn poisons(&self) -> bool {
        self.engine.service().poison.is_some()
    }

    /// Sends first, so that a failure leaves the message where it was. If only the second call fails, the message is in both queues.
    async fn poison(&self, receipt: &Receipt, body: &str) -> Result<(), NotDone> {
        let answer = self.call("PutPoisonMessage", |clients| async move {
            let Some(poison) = &clients.poison else {
                return Ok(false);
            };
            let message = QueueMessage {
                message_text: Some(body.to_owned()),
            };
            let options = QueueClientSendMessageOptions {
                message_time_to_live: Some(FOREVER),
                ..QueueClientSendMessageOptions::default()
            };
            poison
                .send_message(message.try_into()?, Some(options))
                .await?;
            Ok(true)
        });
        match answer.await {
            Ok(true) => self.delete(receipt).await,
            Ok(false) => Err(NotDone::Failed(Unread::secret(
                unread::UNSUPPORTED,
                "the policy names no poison queue",
            ))),
            Err(problem) => {
                let mut unread = self.unread(&problem, SENDER);
                unread.why.detail = format!("the poison queue: {}", unread.why.detail);
                Err(NotDone::Failed(unread))
            }
        }
    }
}

fn delivery(message: ReceivedMessage) -> Option<Delivery> {
    let id = message.message_id?;
    // It becomes a part of a path.
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if id.is_empty() || !id.bytes().all(is_good) {
        return None;
    }
    let attempts = message.dequeue_count;
    Some(Delivery {
        receipt: receipt_of(&id, &message.pop_receipt?),
        attempts: attempts.and_then(|count| u32::try_from(count).ok()),
        sent: None,
        body: message.message_text.unwrap_or_default(),
    })
}

/// A receipt is `ID/POP_RECEIPT`: both are needed, and the second one changes whenever the message is hidden.
fn receipt_of(id: &str, pop: &str) -> Receipt {
    Receipt(format!("{id}/{pop}"))
}

fn parts(receipt: &Receipt) -> (&str, &str) {
    receipt.0.split_once('/').unwrap_or((&receipt.0, ""))
}

/// The owner. Names of metadata have no case.
fn owner(headers: &Headers) -> Option<String> {
    let is_owner = |name: &HeaderName| {
        let name = name.as_str().strip_prefix("x-ms-meta-");
        name.is_some_and(|name| name.eq_ignore_ascii_case(OWNER))
    };
    let mut headers = headers.iter();
    let (_, value) = headers.find(|(name, _)| is_owner(name))?;
    Some(value.as_str().to_owned())
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.min(LONGEST_HIDDEN).as_secs()).unwrap_or(i32::MAX)
}
