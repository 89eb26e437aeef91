use std::{collections::BTreeMap, time::Duration};

use providers::{
    Ambient, connect_queue,
    queue::{DeadLetters, Queue, QueueWarning, address::Address},
};
use serde_json::{Value as Json, json};

use super::{HIDDEN, acknowledged, all, bodies, hidden};
use crate::{
    providers::proxy::{Fault, Proxy, Script, first, page},
    support::optional_variable,
};

const OWNER: &str = "0d9f7a66-0000-4000-8000-123456789abc";

/// A queue of moto. The name is different in each test and each run.
struct Sqs {
    url: String,
    name: String,
}

impl Sqs {
    async fn call(&self, operation: &str, body: Json) -> Json {
        let target = format!("X-Amz-Target: AmazonSQS.{operation}");
        let credential =
            "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/sqs/aws4_request";
        let sent = tokio::process::Command::new("curl")
            .args(["-sSf", "-X", "POST", "-H", &target, "-H", credential])
            .args(["-H", "Content-Type: application/x-amz-json-1.0"])
            .args(["-d", &body.to_string(), &self.url])
            .output()
            .await
            .expect("curl");
        let error = String::from_utf8_lossy(&sent.stderr);
        assert!(sent.status.success(), "{operation}: {error}");
        serde_json::from_slice(&sent.stdout).unwrap_or_default()
    }

    /// Creates a queue whose messages are dead letters after so many deliveries.
    async fn created(deliveries: u32) -> Self {
        let sqs = Self {
            url: optional_variable("ESO_SYNC_TEST_MOTO").expect("moto (tests/cluster/run)"),
            name: format!("eso-sync-{:08x}", fastrand::u32(..)),
        };
        let dead = format!("{}-dead", sqs.name);
        sqs.call("CreateQueue", json!({"QueueName": dead})).await;
        let policy = json!({
            "deadLetterTargetArn": format!("arn:aws:sqs:eu-west-1:123456789012:{dead}"),
            "maxReceiveCount": deliveries,
        });
        let attributes = json!({
            "RedrivePolicy": policy.to_string(),
            "MessageRetentionPeriod": "1209600",
        });
        let body = json!({
            "QueueName": sqs.name, "Attributes": attributes, "tags": {"eso-sync-cluster": OWNER},
        });
        sqs.call("CreateQueue", body).await;
        sqs
    }

    fn queue_url(&self) -> String {
        format!(
            "https://sqs.eu-west-1.amazonaws.com/123456789012/{}",
            self.name
        )
    }

    async fn send(&self, count: usize) {
        for index in 0..count {
            let body = json!({"QueueUrl": self.queue_url(), "MessageBody": format!("m{index:02}")});
            self.call("SendMessage", body).await;
        }
    }

    async fn connected_at(&self, url: &str) -> Box<dyn Queue> {
        let environment = [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ACCESS_KEY_ID", "job"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2-planted"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let ambient = Ambient {
            environment: BTreeMap::from(environment),
            ..Ambient::default()
        };
        let address: Address = self.queue_url().parse().expect("an address");
        let connected = connect_queue(&address, &ambient).await;
        connected.unwrap_or_else(|unread| panic!("{unread:?}"))
    }

    async fn connected(&self) -> Box<dyn Queue> {
        self.connected_at(&self.url).await
    }

    /// A connection with faults, whose calls are recorded.
    async fn behind(&self, script: Box<Script>) -> (Proxy, Box<dyn Queue>) {
        let proxy = Proxy::before(&self.url, script).await;
        let queue = self.connected_at(&proxy.url).await;
        (proxy, queue)
    }
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn messages_in_aws_queues_are_received_hidden_and_acknowledged() {
    let sqs = Sqs::created(100).await;
    sqs.send(23).await;
    let queue = sqs.connected().await;
    let state = queue.look().await.expect("a state");
    assert_eq!(state.owner.as_deref(), Some(OWNER));
    assert_eq!(state.backlog, Some(23));
    assert_eq!(state.dead_letters, DeadLetters::Queue { count: Some(0) });
    assert_eq!(state.warnings, []);

    let mut received = all(&*queue, HIDDEN).await;
    assert_eq!(received.len(), 23);
    assert_eq!(bodies(&received)[..2], ["m00", "m01"]);
    assert!(received.iter().all(|delivery| delivery.attempts == Some(1)));
    // Hidden from all others.
    assert!(all(&*queue, HIDDEN).await.is_empty());

    let mut released = received.split_off(20);
    let done = hidden(&*queue, &mut released, Duration::ZERO).await;
    assert_eq!(done, vec![Ok(()); 3]);
    let done = acknowledged(&*queue, &received).await;
    assert_eq!(done, vec![Ok(()); 20]);
    let again = all(&*queue, HIDDEN).await;
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|delivery| delivery.attempts == Some(2)));
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn messages_in_aws_queues_become_dead_letters() {
    let sqs = Sqs::created(2).await;
    sqs.send(1).await;
    let queue = sqs.connected().await;
    let state = queue.look().await.expect("a state");
    assert_eq!(state.warnings, [QueueWarning::FewDeliveries]);
    for attempts in 1..=2 {
        let mut received = all(&*queue, HIDDEN).await;
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].attempts, Some(attempts));
        let done = hidden(&*queue, &mut received, Duration::ZERO).await;
        assert_eq!(done, [Ok(())]);
    }
    assert!(all(&*queue, HIDDEN).await.is_empty());
    let state = queue.look().await.expect("a state");
    assert_eq!(state.dead_letters, DeadLetters::Queue { count: Some(1) });
}

/// An answer with status 200 can hold errors of single messages.
#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn errors_of_single_messages_in_aws_queues_are_reported() {
    let sqs = Sqs::created(100).await;
    sqs.send(2).await;
    let script = Box::new(|asked: &crate::providers::proxy::Asked| {
        if asked.operation != "AmazonSQS.DeleteMessageBatch" {
            return Fault::None;
        }
        Fault::Edited(Box::new(|answer| {
            let error = json!({"Id": "0", "SenderFault": false, "Code": "InternalError"});
            *answer = json!({"Successful": [{"Id": "1"}], "Failed": [error]});
        }))
    });
    let (_proxy, queue) = sqs.behind(script).await;
    let received = all(&*queue, HIDDEN).await;
    let done = acknowledged(&*queue, &received).await;
    assert!(done[0].is_err(), "{done:?}");
    assert_eq!(done[1], Ok(()));
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn calls_in_aws_queues_are_repeated_after_faults() {
    let sqs = Sqs::created(100).await;
    sqs.send(3).await;
    for fault in [|| page(503, None), || page(429, Some("0")), || Fault::Reset] {
        let (proxy, queue) = sqs.behind(first(1, fault)).await;
        let state = queue.look().await.expect("a state");
        assert_eq!(state.owner.as_deref(), Some(OWNER));
        // What a broken answer contained is visible again after some seconds.
        let mut received = Vec::new();
        while received.len() < 3 {
            let some = queue.receive(10, Duration::from_secs(5), Duration::ZERO);
            received.extend(some.await.expect("an answer"));
        }
        let done = hidden(&*queue, &mut received, Duration::ZERO).await;
        assert_eq!(done, vec![Ok(()); 3]);
        assert!(proxy.faults() > 0);
    }
}

/// The messages of a group are delivered one after the other; eso-sync does not depend on their order.
#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn fifo_queues_in_aws_queues_are_received_and_acknowledged() {
    let mut sqs = Sqs::created(100).await;
    sqs.name = format!("{}.fifo", sqs.name);
    let body = json!({
        "QueueName": sqs.name, "tags": {"eso-sync-cluster": OWNER},
        "Attributes": {"FifoQueue": "true", "ContentBasedDeduplication": "true"},
    });
    sqs.call("CreateQueue", body).await;
    for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        let body =
            json!({"QueueUrl": sqs.queue_url(), "MessageBody": body, "MessageGroupId": group});
        sqs.call("SendMessage", body).await;
    }
    let queue = sqs.connected().await;
    assert_eq!(queue.look().await.expect("a state").backlog, Some(3));
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let mut received = all(&*queue, HIDDEN).await;
        assert!(!received.is_empty(), "{seen:?}");
        seen.extend(bodies(&received));
        let done = hidden(&*queue, &mut received, HIDDEN).await;
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        let done = acknowledged(&*queue, &received).await;
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }
    seen.sort();
    assert_eq!(seen, ["a1", "a2", "b1"]);
    assert_eq!(queue.look().await.expect("a state").backlog, Some(0));
}

#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn missing_queue_in_aws_queues_is_an_error() {
    let sqs = Sqs::created(100).await;
    sqs.send(1).await;
    let queue = sqs.connected().await;
    let received = all(&*queue, HIDDEN).await;
    sqs.call("DeleteQueue", json!({"QueueUrl": sqs.queue_url()}))
        .await;
    assert!(queue.look().await.is_err());
    assert!(queue.receive(1, HIDDEN, Duration::ZERO).await.is_err());
    let done = acknowledged(&*queue, &received).await;
    assert!(matches!(done[..], [Err(_)]), "{done:?}");
}
