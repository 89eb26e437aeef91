use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use providers::{
    Ambient, connect_queue,
    queue::{DeadLetters, Delivery, NotDone, Queue, address::Address},
};
use serde_json::{Value as Json, json};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use super::{HIDDEN, acknowledged, all, hidden};
use crate::providers::proxy::{Fault, Proxy, first, page};

const JAR: &str =
    "/usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib/cloud-pubsub-emulator-0.8.20-all.jar";

const OWNER: &str = "0d9f7a66-0000-4000-8000-123456789abc";

const SUBSCRIPTION: &str = "projects/shop/subscriptions/eso-sync";

/// Google's emulator with a topic and a subscription.
struct Emulator {
    host: String,
    _process: Child,
}

impl Emulator {
    async fn started() -> Self {
        Self::with(json!({})).await
    }

    /// A subscription with more fields.
    async fn with(more: Json) -> Self {
        assert!(Path::new(JAR).exists(), "the emulator is not installed");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let process = Command::new("java")
            .args(["-jar", JAR, "--host=127.0.0.1", &format!("--port={port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("java");
        let emulator = Self {
            host: format!("127.0.0.1:{port}"),
            _process: process,
        };
        emulator.put("topics/rotations", json!({})).await;
        let mut subscription = json!({
            "topic": "projects/shop/topics/rotations", "ackDeadlineSeconds": 10,
            "labels": {"eso-sync-cluster": OWNER}, "messageRetentionDuration": "604800s",
        });
        let fields = more.as_object().expect("fields").clone();
        subscription.as_object_mut().expect("fields").extend(fields);
        emulator.put("subscriptions/eso-sync", subscription).await;
        emulator
    }

    async fn call(&self, method: &str, path: &str, body: &Json) -> Json {
        let url = format!("http://{}/v1/projects/shop/{path}", self.host);
        // It takes seconds until it answers.
        let sent = Command::new("curl")
            .args(["-sSf", "-X", method, "--retry", "60", "--retry-delay", "1"])
            .args([
                "--retry-connrefused",
                "-H",
                "Content-Type: application/json",
            ])
            .args(["-d", &body.to_string(), &url])
            .output()
            .await
            .expect("curl");
        let error = String::from_utf8_lossy(&sent.stderr);
        assert!(sent.status.success(), "{path}: {error}");
        serde_json::from_slice(&sent.stdout).unwrap_or_default()
    }

    async fn put(&self, path: &str, body: Json) {
        self.call("PUT", path, &body).await;
    }

    async fn publish(&self, count: usize) {
        let message = |index: usize| json!({"data": STANDARD.encode("{}"), "attributes": {"eventType": format!("m{index:02}")}});
        let messages: Vec<Json> = (0..count).map(message).collect();
        let body = json!({"messages": messages});
        self.call("POST", "topics/rotations:publish", &body).await;
    }
}

async fn connected(host: &str) -> Box<dyn Queue> {
    let host = ("PUBSUB_EMULATOR_HOST".to_owned(), host.to_owned());
    let ambient = Ambient {
        environment: BTreeMap::from([host]),
        ..Ambient::default()
    };
    let address: Address = SUBSCRIPTION.parse().expect("an address");
    let connected = connect_queue(&address, &ambient).await;
    connected.unwrap_or_else(|unread| panic!("{unread:?}"))
}

#[tokio::test]
#[ignore = "needs Google's emulator of Pub/Sub"]
async fn messages_in_pubsub_are_received_hidden_and_acknowledged() {
    let emulator = Emulator::started().await;
    let queue = connected(&emulator.host).await;
    let state = queue.look().await.expect("a state");
    assert_eq!(state.owner.as_deref(), Some(OWNER));
    assert_eq!(
        (state.backlog, state.dead_letters),
        (None, DeadLetters::Nowhere)
    );
    assert!(all(&*queue, HIDDEN).await.is_empty());

    emulator.publish(12).await;
    let mut received = all(&*queue, HIDDEN).await;
    assert_eq!(received.len(), 12);
    assert!(
        received[0].body.contains("\"eventType\":\"m"),
        "{}",
        received[0].body
    );
    // Without dead letters, deliveries are not counted.
    let uncounted = |it: &Delivery| it.attempts.is_none() && it.sent.is_some();
    assert!(received.iter().all(uncounted));
    assert!(all(&*queue, HIDDEN).await.is_empty());
    let mut released = received.split_off(10);
    let done = hidden(&*queue, &mut released, Duration::ZERO).await;
    assert_eq!(done, vec![Ok(()); 2]);
    let done = acknowledged(&*queue, &received).await;
    assert_eq!(done, vec![Ok(()); 10]);
    assert_eq!(all(&*queue, HIDDEN).await.len(), 2);
}

#[tokio::test]
#[ignore = "needs Google's emulator of Pub/Sub"]
async fn deliveries_in_pubsub_are_counted_with_dead_letters() {
    let policy =
        json!({"deadLetterTopic": "projects/shop/topics/rotations", "maxDeliveryAttempts": 100});
    let emulator = Emulator::with(json!({"deadLetterPolicy": policy})).await;
    let queue = connected(&emulator.host).await;
    emulator.publish(1).await;
    for attempts in 1..=2 {
        let mut received = all(&*queue, HIDDEN).await;
        assert_eq!(received[0].attempts, Some(attempts));
        let done = hidden(&*queue, &mut received, Duration::ZERO).await;
        assert_eq!(done, [Ok(())]);
    }
}

/// The server rejects a call with one stale receipt, and acknowledges the others all the same.
#[tokio::test]
#[ignore = "needs Google's emulator of Pub/Sub"]
async fn stale_receipt_in_pubsub_holds_back_no_other_one() {
    let emulator = Emulator::with(json!({"enableExactlyOnceDelivery": true})).await;
    let queue = connected(&emulator.host).await;
    queue.look().await.expect("a state");
    emulator.publish(5).await;
    let mut received = all(&*queue, HIDDEN).await;
    assert_eq!(received.len(), 5);
    assert_eq!(acknowledged(&*queue, &received[2..3]).await, [Ok(())]);
    let one_is_stale = [Ok(()), Ok(()), Err(NotDone::ReceiptExpired), Ok(()), Ok(())];
    assert_eq!(hidden(&*queue, &mut received, HIDDEN).await, one_is_stale);
    assert_eq!(acknowledged(&*queue, &received).await, one_is_stale);
    let all_are_stale = vec![Err(NotDone::ReceiptExpired); 5];
    assert_eq!(acknowledged(&*queue, &received).await, all_are_stale);
}

#[tokio::test]
#[ignore = "needs Google's emulator of Pub/Sub"]
async fn calls_in_pubsub_are_repeated_after_faults() {
    let emulator = Emulator::started().await;
    emulator.publish(3).await;
    for fault in [|| page(503, None), || page(429, Some("0")), || Fault::Reset] {
        let url = format!("http://{}", emulator.host);
        let proxy = Proxy::before(&url, first(1, fault)).await;
        let queue = connected(proxy.url.trim_start_matches("http://")).await;
        let state = queue.look().await.expect("a state");
        assert_eq!(state.owner.as_deref(), Some(OWNER));
        let mut received = all(&*queue, HIDDEN).await;
        let done = hidden(&*queue, &mut received, Duration::ZERO).await;
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        assert!(proxy.faults() > 0);
    }
}
