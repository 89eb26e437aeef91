//! The queues of the sandbox: a rotation that arrives and is proven, and a bad day.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use providers::{
    Unread,
    queue::{DeadLetters, Delivery, NotDone, Queue, QueueState, QueueWarning, Receipt},
};
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::inbox::Source;

/// The sandbox, in owner tags.
const OWNER: &str = "sandbox";

/// The age of the events.
const AGE: SignedDuration = SignedDuration::from_secs(12);

/// The longest wait for a message.
const POLL: Duration = Duration::from_secs(1);

/// A queue in memory.
struct Embedded {
    messages: Mutex<Vec<Stored>>,
    state: QueueState,
}

struct Stored {
    id: usize,
    body: String,
    attempts: u32,
    hidden: bool,
}

/// The owner of the sandbox's queues, and the queues for this content.
pub fn queues(content: &str, now: Timestamp) -> (String, Vec<Source>) {
    // The provider has settled since.
    let now = now.checked_sub(AGE).unwrap_or(now);
    let queues = if content == "bad-day" {
        let foreign = [aws("prod/web/oauth", now)];
        vec![
            source("events-prod", Some(OWNER), &bad_day(now)),
            source("orders-prod", Some("another-cluster"), &foreign),
        ]
    } else {
        vec![source("events-prod", Some(OWNER), &good_day(now))]
    };
    (OWNER.to_owned(), queues)
}

fn source(name: &str, owner: Option<&str>, bodies: &[Json]) -> Source {
    let stored = bodies.iter().enumerate().map(|(id, body)| Stored {
        id,
        body: body
            .as_str()
            .map_or_else(|| body.to_string(), str::to_owned),
        attempts: 0,
        hidden: false,
    });
    let messages: Vec<Stored> = stored.collect();
    let state = QueueState {
        owner: owner.map(str::to_owned),
        backlog: Some(messages.len() as u64),
        dead_letters: DeadLetters::Queue { count: Some(0) },
        warnings: Vec::<QueueWarning>::new(),
    };
    Source {
        name: name.to_owned(),
        queue: Box::new(Embedded {
            messages: Mutex::new(messages),
            state,
        }),
    }
}

/// Rotations at three clouds, one of them delivered twice, the beginning of another one, and one that concerns nobody.
fn good_day(now: Timestamp) -> Vec<Json> {
    let begins = json!({
        "source": "aws.secretsmanager", "detail-type": "AWS API Call via CloudTrail", "region": "eu-central-1", "time": now,
        "detail": {
            "eventName": "PutSecretValue", "eventTime": now,
            "requestParameters": {"secretId": "prod/monitoring", "versionStages": ["AWSPENDING"]},
        },
    });
    let azure = json!({
        "eventType": "Microsoft.KeyVault.SecretNewVersionCreated", "eventTime": now, "subject": "lake-key",
        "data": {"Id": "https://sandbox-prod.vault.azure.net/secrets/lake-key/2", "ObjectName": "lake-key", "Version": "2"},
    });
    vec![
        aws("prod/web/oauth", now),
        aws("prod/web/oauth", now),
        aws("prod/orders/db", now),
        begins,
        azure,
        google("registry-password", now),
    ]
}

/// A rotation whose sync fails, one that cannot be verified, and a message that is no event.
fn bad_day(now: Timestamp) -> Vec<Json> {
    vec![
        aws("prod/web/cdn", now),
        google("registry-password", now),
        json!("hello"),
    ]
}

fn aws(name: &str, now: Timestamp) -> Json {
    let arn = format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-AbCdEf");
    json!({
        "source": "aws.secretsmanager", "detail-type": "Secret Label Updated", "region": "eu-central-1", "time": now,
        "resources": [arn],
        "detail": {"name": name, "labelUpdated": "AWSCURRENT", "versionId": "2"},
    })
}

fn google(name: &str, now: Timestamp) -> Json {
    let secret = format!("projects/sandbox-prod/secrets/{name}");
    json!({
        "messageId": "1", "data": "",
        "attributes": {
            "eventType": "SECRET_VERSION_ADD", "dataFormat": "JSON_API_V1", "secretId": secret,
            "versionId": format!("{secret}/versions/2"), "timestamp": now,
        },
    })
}

impl Embedded {
    fn messages(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queue for Embedded {
    async fn look(&self) -> Result<QueueState, Unread> {
        Ok(self.state.clone())
    }

    async fn receive(
        &self,
        most: usize,
        _hidden: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Unread> {
        let is_empty = self.messages().iter().all(|message| message.hidden);
        if is_empty {
            sleep(wait.min(POLL)).await;
        }
        let mut messages = self.messages();
        let visible = messages.iter_mut().filter(|message| !message.hidden);
        let received = visible.take(most).map(|message| {
            message.hidden = true;
            message.attempts += 1;
            Delivery {
                receipt: Receipt(message.id.to_string()),
                attempts: Some(message.attempts),
                sent: None,
                body: message.body.clone(),
            }
        });
        Ok(received.collect())
    }

    async fn hide(
        &self,
        receipts: &mut [&mut Receipt],
        _time: Duration,
    ) -> Vec<Result<(), NotDone>> {
        // What is kept stays hidden until the end of the sandbox.
        vec![Ok(()); receipts.len()]
    }

    async fn acknowledge(&self, receipts: &[&Receipt]) -> Vec<Result<(), NotDone>> {
        let mut messages = self.messages();
        messages.retain(|message| {
            let id = message.id.to_string();
            receipts.iter().all(|receipt| receipt.0 != id)
        });
        vec![Ok(()); receipts.len()]
    }

    fn longest_hidden(&self) -> Duration {
        Duration::from_hours(12)
    }
}
