//! A queue of SQS in memory. Real servers: `tests/it/providers/queue/`.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value as Json, json};

use crate::{
    providers::{
        double::{Asked, Double, Reply},
        proxy::{self, Fault, Proxy},
    },
    support::{World, eventually},
};

pub(crate) const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/eso-sync";

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    next: usize,
    /// The receipts that were hidden again, each with the time in seconds.
    hidden: Vec<(String, u64)>,
    /// The operation that is carried out, but not answered.
    silent: Option<&'static str>,
    /// A receipt that is not valid, with the error.
    rejected: Option<(&'static str, &'static str)>,
    is_gone: bool,
}

struct Message {
    body: String,
    /// The number of deliveries.
    received: u32,
    hidden: bool,
    receipt: String,
}

pub(crate) struct Queue {
    double: Double,
    state: Arc<Mutex<State>>,
}

impl Queue {
    /// Starts a queue of the world's cluster, and lets all commands of the world use it.
    pub(crate) async fn of(world: &mut World) -> Self {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}});
        let namespace = world.apply(namespace).await;
        let cluster = namespace["metadata"]["uid"].as_str().expect("a UID");
        Self::owned_by(world, Some(cluster.to_owned())).await
    }

    /// Starts a queue of another owner, or of none.
    pub(crate) async fn foreign(world: &mut World, owner: Option<&str>) -> Self {
        drop(Self::of(world).await);
        Self::owned_by(world, owner.map(str::to_owned)).await
    }

    async fn owned_by(world: &mut World, owner: Option<String>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let of = Arc::clone(&state);
        let double = Double::start(move |asked| answer(&of, asked, owner.as_deref())).await;
        world.bin.set("AWS_ENDPOINT_URL", &double.url);
        world.bin.set("AWS_ACCESS_KEY_ID", "job");
        world.bin.set("AWS_SECRET_ACCESS_KEY", "hunter2-planted");
        Self { double, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Lets all commands of the world use a proxy that rejects the credentials of the first acknowledgements, up to this one, counted
    /// from 0.
    pub(crate) async fn behind(&self, world: &mut World, last: usize) -> Proxy {
        let script = move |asked: &proxy::Asked| {
            if asked.operation != "AmazonSQS.DeleteMessageBatch" || asked.before > last {
                return Fault::None;
            }
            let body = json!({"__type": "com.amazonaws.sqs#ExpiredToken", "message": "expired"});
            let kind = ("content-type", "application/x-amz-json-1.0".to_owned());
            Fault::Instead(403, vec![kind], body.to_string())
        };
        let proxy = Proxy::before(&self.double.url, Box::new(script)).await;
        world.bin.set("AWS_ENDPOINT_URL", &proxy.url);
        proxy
    }

    pub(crate) fn send(&self, body: &Json) {
        self.send_text(&body.to_string());
    }

    pub(crate) fn send_text(&self, body: &str) {
        self.state().messages.push(Message {
            body: body.to_owned(),
            received: 0,
            hidden: false,
            receipt: String::new(),
        });
    }

    /// The bodies of the messages that are not acknowledged.
    pub(crate) fn left(&self) -> Vec<String> {
        let state = self.state();
        let bodies = state.messages.iter().map(|message| message.body.clone());
        bodies.collect()
    }

    /// The visibility times that were set when messages were kept or released, in seconds.
    pub(crate) fn hidden_for(&self) -> Vec<u64> {
        self.state().hidden.iter().map(|(_, time)| *time).collect()
    }

    /// The number of calls of an operation.
    pub(crate) fn calls(&self, operation: &str) -> usize {
        let asked = self.double.asked();
        asked.iter().filter(|asked| is(asked, operation)).count()
    }

    /// Lets this operation have no answer from now on, although it is carried out.
    pub(crate) fn silence(&self, operation: Option<&'static str>) {
        self.state().silent = operation;
    }

    pub(crate) async fn is_asked(&self, operation: &str) {
        eventually(&format!("{operation} is called"), async || {
            (self.calls(operation) > 0).then_some(())
        })
        .await;
    }

    /// Waits until all messages are acknowledged.
    pub(crate) async fn is_empty(&self) {
        eventually("all messages are acknowledged", async || {
            self.left().is_empty().then_some(())
        })
        .await;
    }

    /// Lets nothing be done with this receipt. `receipt-1` is the first one that is given out.
    pub(crate) fn rejects(&self, receipt: &'static str, error: &'static str) {
        self.state().rejected = Some((receipt, error));
    }

    /// Deletes the queue.
    pub(crate) fn is_gone(&self) {
        self.state().is_gone = true;
    }

    /// Makes all messages visible, as after the visibility timeout.
    pub(crate) fn expire(&self) {
        for message in &mut self.state().messages {
            message.hidden = false;
        }
    }
}

fn is(asked: &Asked, operation: &str) -> bool {
    asked.header("x-amz-target") == format!("AmazonSQS.{operation}")
}

fn answer(state: &Mutex<State>, asked: &Asked, owner: Option<&str>) -> Reply {
    let mut state = state.lock().expect("no panic");
    let body = asked.json();
    let operation = asked
        .header("x-amz-target")
        .trim_start_matches("AmazonSQS.");
    if state.is_gone {
        let error = json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"});
        return Reply::json(400, &error);
    }
    let answer = match operation {
        "GetQueueAttributes" => json!({"Attributes": {
            "ApproximateNumberOfMessages": state.messages.len().to_string(),
            "MessageRetentionPeriod": "1209600",
            "RedrivePolicy": json!({
                "deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:eso-sync-dead", "maxReceiveCount": 100,
            }).to_string(),
        }}),
        "ListQueueTags" => owner.map_or_else(
            || json!({}),
            |owner| json!({"Tags": {"eso-sync-cluster": owner}}),
        ),
        "ReceiveMessage" => state.receive(),
        "DeleteMessageBatch" => state.each(&body, |state, receipt, _| {
            state.messages.retain(|message| message.receipt != receipt);
        }),
        "ChangeMessageVisibilityBatch" => state.each(&body, |state, receipt, entry| {
            let time = entry["VisibilityTimeout"].as_u64().unwrap_or_default();
            state.hidden.push((receipt.to_owned(), time));
            let mut messages = state.messages.iter_mut();
            if let Some(message) = messages.find(|message| message.receipt == receipt) {
                message.hidden = time > 0;
            }
        }),
        other => panic!("the double does not know {other}"),
    };
    if state.silent == Some(operation) {
        return Reply::Never;
    }
    Reply::json(200, &answer)
}

impl State {
    fn receive(&mut self) -> Json {
        let next = &mut self.next;
        let visible = self.messages.iter_mut().filter(|message| !message.hidden);
        let received = visible.take(10).map(|message| {
            *next += 1;
            message.hidden = true;
            message.received += 1;
            message.receipt = format!("receipt-{next}");
            json!({
                "MessageId": message.receipt, "ReceiptHandle": message.receipt, "Body": message.body,
                "Attributes": {"ApproximateReceiveCount": message.received.to_string()},
            })
        });
        let received: Vec<Json> = received.collect();
        json!({"Messages": received})
    }

    /// Does this for each entry of a batch, unless its receipt is rejected.
    fn each(&mut self, body: &Json, change: impl Fn(&mut Self, &str, &Json)) -> Json {
        let entries = body["Entries"].as_array().expect("entries");
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            let receipt = entry["ReceiptHandle"].as_str().expect("a receipt");
            let error = self.rejected.filter(|(rejected, _)| *rejected == receipt);
            if let Some((_, code)) = error {
                failed.push(json!({"Id": entry["Id"], "SenderFault": true, "Code": code}));
            } else {
                change(self, receipt, entry);
                done.push(json!({"Id": entry["Id"]}));
            }
        }
        json!({"Successful": done, "Failed": failed})
    }
}
