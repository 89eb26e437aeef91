//! Subscriptions of Pub/Sub, by its REST API. Google's client library has no bounded receive, and brings gRPC.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use http::HeaderMap;
use reqwest::{Method, Url};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::{
    error::{GcpError, Kind, of_status},
    login::of_job,
};
use crate::{
    Ambient, RateLimiter, Unread,
    engine::{Engine, ErrorClass, Failure, IN_FLIGHT, Request, Service, retry_after},
    queue::{
        DeadLetters, Delivery, NotDone, OWNER, Queue, QueueState, Receipt, address::Address,
        limiter,
    },
    unread,
};

/// Google's own address. The job's token is sent to no other one.
const SERVER: &str = "https://pubsub.googleapis.com/";

/// Google's variable for the address of its emulator, which gets no credentials.
const EMULATOR: &str = "PUBSUB_EMULATOR_HOST";

/// The time limit for one answer.
const ANSWER: Duration = Duration::from_secs(20);

/// The most messages of one call: 100 of the largest ones, 10 MB each, would not fit into memory, but events are small.
const PULL: usize = 100;

/// The most receipts of one call. A request is up to 512 KiB, and a receipt about 200 bytes.
const BATCH: usize = 500;

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// The longest time that a call can hide a message.
const LONGEST_HIDDEN: Duration = Duration::from_mins(10);

/// The pause between pulls while there are no messages: a pull of Google returns at once, or may not return for minutes.
const PAUSE: Duration = Duration::from_secs(1);

struct PubSub {
    engine: Engine<Server>,
    limiter: RateLimiter,
    /// `projects/P/subscriptions/S`
    subscription: String,
    /// True if the subscription delivers exactly once, as far as [`Queue::look`] has seen it.
    exactly_once: AtomicBool,
}

/// The service, as the engine calls it.
struct Server {
    http: reqwest::Client,
    address: Url,
    /// None for the emulator, which gets no credentials.
    ambient: Option<Ambient>,
}

/// Logs in.
pub(crate) async fn connect_queue(
    address: &Address,
    ambient: &Ambient,
) -> Result<Box<dyn Queue>, Unread> {
    let http = reqwest::Client::builder()
        // The token would be sent with a redirect.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER)
        .http1_only()
        .build()
        .map_err(|_| Unread::store(unread::UNAVAILABLE, "the client could not be created"))?;
    let emulator = ambient.environment.get(EMULATOR);
    let emulator = emulator.filter(|host| !host.is_empty());
    let url = emulator.map_or_else(|| SERVER.to_owned(), |host| format!("http://{host}/"));
    let invalid = |_| {
        Unread::store(
            unread::STORE,
            format!("{EMULATOR} is not a host and a port"),
        )
    };
    let server = Server {
        http,
        address: url.parse().map_err(invalid)?,
        ambient: emulator.is_none().then(|| ambient.clone()),
    };
    let subscription = address.to_string();
    Ok(Box::new(PubSub {
        engine: Engine::connected(server).await?,
        limiter: limiter(&subscription),
        subscription,
        exactly_once: AtomicBool::new(false),
    }))
}

#[async_trait]
impl Service for Server {
    type Client = Option<Credentials>;
    type Error = GcpError;

    async fn connect(
        &self,
        _refused: Option<&Option<Credentials>>,
    ) -> Result<Option<Credentials>, Unread> {
        match &self.ambient {
            Some(ambient) => Ok(Some(of_job(ambient).await?)),
            None => Ok(None),
        }
    }

    fn class(&self, error: &GcpError) -> ErrorClass {
        error.class()
    }

    fn unread(&self, error: &GcpError, request: &Request<'_>) -> Unread {
        error.unread(request)
    }
}

impl Server {
    async fn send(
        &self,
        credentials: Option<Credentials>,
        path: &str,
        body: Option<&Json>,
    ) -> Result<Json, GcpError> {
        let unusable = |why: &str| GcpError::new(why, Kind::Call(ErrorClass::Unusable));
        let url = self.address.join(path);
        let url = url.map_err(|_| unusable("the request could not be made"))?;
        let method = body.map_or(Method::GET, |_| Method::POST);
        let mut request = self.http.request(method, url);
        if let Some(credentials) = credentials {
            request = request.headers(headers(&credentials).await?);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| no_answer(&error))?;
        let status = answer.status().as_u16();
        if status != 200 {
            let wait = answer.headers().get("retry-after");
            let wait = wait
                .and_then(|value| value.to_str().ok())
                .and_then(retry_after);
            return Err(GcpError::new(
                format!("HTTP {status}"),
                paused(status, wait),
            ));
        }
        let bytes = bounded(answer).await?;
        serde_json::from_slice(&bytes).map_err(|_| unusable("the answer is not JSON"))
    }
}

/// The kind of an error with this status, and the pause that the server asks for.
fn paused(status: u16, wait: Option<Duration>) -> Kind {
    match of_status(status) {
        // Google rejects a part of the request.
        Kind::Other if status == 400 => Kind::Invalid,
        Kind::Call(ErrorClass::Throttled(_)) => Kind::Call(ErrorClass::Throttled(wait)),
        Kind::Call(ErrorClass::Failed(_)) => Kind::Call(ErrorClass::Failed(wait)),
        kind @ (Kind::Call(_)
        | Kind::Login
        | Kind::Denied
        | Kind::NotFound
        | Kind::Disabled
        | Kind::Destroyed
        | Kind::Invalid
        | Kind::Other) => kind,
    }
}

async fn headers(credentials: &Credentials) -> Result<HeaderMap, GcpError> {
    let failed = || GcpError::new("the credentials could not be fetched", Kind::Login);
    let fetching = credentials.headers(http::Extensions::new());
    let fetched = tokio::time::timeout(ANSWER, fetching).await;
    match fetched {
        Ok(Ok(CacheableResource::New { data, .. })) => Ok(data),
        Ok(Ok(CacheableResource::NotModified) | Err(_)) | Err(_) => Err(failed()),
    }
}

fn no_answer(error: &reqwest::Error) -> GcpError {
    let class = if error.is_connect() {
        ErrorClass::Unreachable
    } else {
        ErrorClass::Failed(None)
    };
    GcpError::new(cluster::cause::of(error), Kind::Call(class))
}

async fn bounded(mut answer: reqwest::Response) -> Result<Vec<u8>, GcpError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| no_answer(&error))? {
        if bytes.len() + chunk.len() > MAX_ANSWER {
            let kind = Kind::Call(ErrorClass::Unusable);
            return Err(GcpError::new("the answer is too long", kind));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

impl PubSub {
    async fn call(
        &self,
        call: &'static str,
        suffix: &str,
        body: Option<&Json>,
    ) -> Result<Json, Unread> {
        let answer = self.answer(call, suffix, body).await;
        let request = Request::read(call, Some(&self.subscription));
        answer.map_err(|failure| self.engine.unread(failure, &request))
    }

    async fn answer(
        &self,
        call: &'static str,
        suffix: &str,
        body: Option<&Json>,
    ) -> Result<Json, Failure<GcpError>> {
        let request = Request::read(call, Some(&self.subscription));
        let path = format!("v1/{}{suffix}", self.subscription);
        let server = self.engine.service();
        self.engine
            .call(&request, &self.limiter, |credentials| {
                server.send(credentials, &path, body)
            })
            .await
    }

    /// Sends receipts in batches. If the server rejects a batch, it is sent again in halves, until the stale receipts are alone.
    async fn send(
        &self,
        call: (&'static str, &str),
        receipts: &[&Receipt],
        more: Option<u64>,
    ) -> Vec<Result<(), NotDone>> {
        let mut results = Vec::with_capacity(receipts.len());
        let mut batches: Vec<&[&Receipt]> = receipts.chunks(BATCH).rev().collect();
        while let Some(batch) = batches.pop() {
            let ids: Vec<&str> = batch.iter().map(|receipt| receipt.0.as_str()).collect();
            let body = match more {
                Some(seconds) => json!({"ackIds": ids, "ackDeadlineSeconds": seconds}),
                None => json!({"ackIds": ids}),
            };
            let result = match self.answer(call.0, call.1, Some(&body)).await {
                Ok(_) => Ok(()),
                Err(Failure::Answer(error)) if error.kind == Kind::Invalid => {
                    if batch.len() > 1 {
                        let (first, second) = batch.split_at(batch.len() / 2);
                        batches.extend([second, first]);
                        continue;
                    }
                    Err(NotDone::ReceiptExpired)
                }
                Err(failure) => {
                    let request = Request::read(call.0, Some(&self.subscription));
                    Err(NotDone::Failed(self.engine.unread(failure, &request)))
                }
            };
            results.extend(std::iter::repeat_n(result, batch.len()));
        }
        results
    }
}

#[async_trait]
impl Queue for PubSub {
    async fn look(&self) -> Result<QueueState, Unread> {
        let subscription = self.call("GetSubscription", "", None).await?;
        let exactly_once = subscription.get("enableExactlyOnceDelivery") == Some(&Json::Bool(true));
        self.exactly_once.store(exactly_once, Ordering::Relaxed);
        let owner = subscription.pointer(&format!("/labels/{OWNER}"));
        let dead_letters = subscription.get("deadLetterPolicy");
        let mut state = QueueState {
            owner: owner.and_then(Json::as_str).map(str::to_owned),
            dead_letters: match dead_letters {
                Some(_) => DeadLetters::Queue { count: None },
                None => DeadLetters::Nowhere,
            },
            ..QueueState::default()
        };
        let deliveries =
            dead_letters.and_then(|policy| policy.get("maxDeliveryAttempts")?.as_u64());
        let deliveries = deliveries.and_then(|most| u32::try_from(most).ok());
        let retention = subscription.get("messageRetentionDuration");
        let retention = retention.and_then(|time| time.as_str()?.strip_suffix('s')?.parse().ok());
        state.warn(deliveries, retention.map(Duration::from_secs));
        Ok(state)
    }

    async fn receive(
        &self,
        most: usize,
        hidden: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Unread> {
        let end = Instant::now() + wait;
        // Without `returnImmediately`, an empty pull may not return for minutes.
        let body = json!({"maxMessages": most.clamp(1, PULL), "returnImmediately": true});
        let mut deliveries: Vec<Delivery> = loop {
            let answer = self.call("Pull", ":pull", Some(&body)).await?;
            let messages = answer.get("receivedMessages").and_then(Json::as_array);
            let messages = messages.into_iter().flatten();
            let deliveries: Vec<_> = messages.filter_map(delivery).collect();
            if !deliveries.is_empty() || Instant::now() + PAUSE > end {
                break deliveries;
            }
            sleep(PAUSE).await;
        };
        let mut receipts: Vec<_> = deliveries.iter_mut().map(|it| &mut it.receipt).collect();
        // The subscription's own time may be ten seconds. If this fails, messages are only delivered again.
        self.hide(&mut receipts, hidden).await;
        Ok(deliveries)
    }

    async fn hide(
        &self,
        receipts: &mut [&mut Receipt],
        time: Duration,
    ) -> Vec<Result<(), NotDone>> {
        let receipts: Vec<&Receipt> = receipts.iter().map(|receipt| &**receipt).collect();
        let call = ("ModifyAckDeadline", ":modifyAckDeadline");
        let seconds = time.min(LONGEST_HIDDEN).as_secs();
        self.send(call, &receipts, Some(seconds)).await
    }

    async fn acknowledge(&self, receipts: &[&Receipt]) -> Vec<Result<(), NotDone>> {
        let call = ("Acknowledge", ":acknowledge");
        if !self.exactly_once.load(Ordering::Relaxed) {
            return self.send(call, receipts, None).await;
        }
        // One stale receipt has the call rejected, which acknowledges the others all the same, so that the answer does not say which
        // ones are acknowledged.
        let calls = receipts.chunks(1).map(|one| self.send(call, one, None));
        let calls: Vec<_> = calls.collect();
        let results: Vec<_> = stream::iter(calls).buffered(IN_FLIGHT).collect().await;
        results.into_iter().flatten().collect()
    }

    fn longest_hidden(&self) -> Duration {
        LONGEST_HIDDEN
    }
}

/// The body is the message as Google sends it, with its attributes.
fn delivery(received: &Json) -> Option<Delivery> {
    // Sent only if the subscription has dead letters.
    let attempts = received.get("deliveryAttempt").and_then(Json::as_u64);
    let message = received.get("message")?;
    let sent = message.get("publishTime").and_then(Json::as_str);
    Some(Delivery {
        receipt: Receipt(received.get("ackId")?.as_str()?.to_owned()),
        attempts: attempts.and_then(|count| u32::try_from(count).ok()),
        sent: sent.and_then(|time| time.parse().ok()),
        body: message.to_string(),
    })
}

#[cfg(test)]
mod tests;
