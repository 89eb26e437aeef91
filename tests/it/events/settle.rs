//! Events that arrive before their value can be read. The provider says which version it returns, and the message waits for its own.

use serde_json::{Value as Json, json};

use super::{
    keys,
    sqs::{Queue, URL},
    summary,
};
use crate::{
    credentials::own,
    providers::{
        aws::moto::Moto,
        double::Double,
        expiry,
        proxy::{Asked, Fault, Proxy, Script},
    },
    support::{World, now},
};

/// A region of moto that no other test uses.
const REGION: &str = "ap-southeast-3";

/// The version that the double returns.
const VERSION: &str = "v";

/// The first reads return the value before, with its version.
fn old_before(reads: usize) -> Box<Script> {
    Box::new(move |asked: &Asked| {
        if asked.operation != own::READ || asked.before >= reads {
            return Fault::None;
        }
        Fault::Edited(Box::new(|answer| {
            answer["SecretString"] = json!("old");
            answer["VersionId"] = json!("o");
        }))
    })
}

/// An event of this age about a version of the key.
fn event(version: &str, seconds: i64) -> Json {
    let mut event = super::rotated("db");
    event["region"] = json!("eu-west-1");
    event["account"] = json!("123456789012");
    event["time"] = json!(now() - jiff::SignedDuration::from_secs(seconds));
    event["detail"]["versionId"] = json!(version);
    event
}

/// Lets all commands of the world read the provider at this address.
fn reads_at(world: &mut World, url: &str) {
    for service in ["SECRETS_MANAGER", "STS"] {
        let variable = format!("AWS_ENDPOINT_URL_{service}");
        world.bin.set(&variable, url);
    }
}

/// The path of a policy with this section for the events.
fn policy(world: &World, url: &str, events: &str) -> String {
    let policy = format!(
        "select: [{{namespaces: [NS]}}]
drift: {{credentials: store, endpoints: ['{url}']}}
events: {{queues: [{{sqs: {{url: '{URL}'}}}}]{events}}}
"
    );
    let path = world.bin.file("events.yaml", &world.named(&policy));
    path.to_str().expect("UTF-8").to_owned()
}

/// A world with a rotated value, whose first reads return the value before.
async fn prepared(old_reads: usize) -> (World, Queue, Proxy, Double) {
    let mut world = World::sandbox().await;
    own::rotated(&world).await;
    let double = expiry::secrets_manager().await;
    let proxy = Proxy::before(&double.url, old_before(old_reads)).await;
    let queue = Queue::of(&mut world).await;
    reads_at(&mut world, &proxy.url);
    (world, queue, proxy, double)
}

/// What was read is the value before, so nothing differs. The message is not acknowledged for that.
#[tokio::test]
async fn event_waits_until_its_version_can_be_read() {
    let (world, queue, proxy, _double) = prepared(2).await;
    // Older than any time to settle, because the event was late.
    queue.send(&event(VERSION, 300));
    let path = policy(&world, &proxy.url, "");
    let arguments = ["events", "-o", "json", "--config", &path];
    let outcome = world.bin.run(&arguments).await;
    outcome.exits(0);
    assert_eq!(proxy.faults(), 2);
    let runs = outcome.document()["runs"].clone();
    assert_eq!(runs.as_array().map(Vec::len), Some(2), "{runs}");
    let name = format!("{}/db", world.namespace);
    assert_eq!(keys(&outcome), [("synced".to_owned(), vec![name])]);
    assert_eq!(summary(&outcome)["acknowledged"], json!(1));
    assert!(queue.left().is_empty());
    // `v`
    assert_eq!(world.secret("db", "k").await.as_deref(), Some("dg=="));
    world.end().await;
}

/// The default time to settle is a minute, but nothing waits for what was read already.
#[tokio::test]
async fn version_that_was_read_is_not_waited_for() {
    let (world, queue, proxy, _double) = prepared(0).await;
    queue.send(&event(VERSION, 0));
    let path = policy(&world, &proxy.url, "");
    let arguments = ["events", "-o", "json", "--config", &path];
    let outcome = world.bin.run(&arguments).await;
    outcome.exits(0);
    let runs = outcome.document()["runs"].clone();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
    assert_eq!(summary(&outcome)["keys"], json!({"synced": 1}));
    assert!(queue.left().is_empty());
    world.end().await;
}

#[tokio::test]
async fn message_stays_if_its_version_cannot_be_read_in_time() {
    let (world, queue, proxy, _double) = prepared(0).await;
    queue.send(&event("never", 300));
    let path = policy(&world, &proxy.url, ", settle: 1s");
    let arguments = ["events", "-o", "json", "--config", &path];
    let outcome = world.bin.run(&arguments).await;
    outcome.exits(3);
    // What can be read is synced, whatever the event names.
    assert_eq!(world.secret("db", "k").await.as_deref(), Some("dg=="));
    assert_eq!(summary(&outcome)["keys"], json!({"not-yet-visible": 1}));
    assert_eq!(summary(&outcome)["kept"], json!(1));
    assert_eq!(queue.left().len(), 1);
    assert_eq!(queue.hidden_for(), [30]);
    world.end().await;
}

#[tokio::test]
async fn stop_while_a_version_is_awaited_makes_the_message_visible_at_once() {
    let (world, queue, proxy, _double) = prepared(0).await;
    queue.send(&event("never", 0));
    let path = policy(&world, &proxy.url, ", settle: 60s");
    let arguments = ["events", "-o", "json", "--config", &path];
    let mut running = world.bin.start(&arguments);
    running.says("waiting up to 1m until").await;
    running.signal("TERM").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(summary(&outcome)["keys"], json!({"stopped": 1}));
    assert_eq!(queue.hidden_for(), [0]);
    world.end().await;
}

/// The provider is moto, which keeps versions like AWS.
#[tokio::test]
#[ignore = "needs moto (tests/cluster/run)"]
async fn version_in_aws_is_awaited_and_acknowledged_once_it_appears() {
    let mut world = World::sandbox().await;
    own::rotated_in_region(&world, REGION).await;
    let moto = Moto::at(REGION);
    let [before, after] = ["a", "b"].map(|token| token.repeat(32));
    let body = json!({"SecretId": "db", "ForceDeleteWithoutRecovery": true});
    moto.secrets("DeleteSecret", body).await;
    let body = json!({"Name": "db", "SecretString": "old", "ClientRequestToken": before});
    moto.secrets("CreateSecret", body).await;
    let queue = Queue::of(&mut world).await;
    reads_at(&mut world, &moto.url);
    // The version before is older than the event.
    let mut event = event(&after, 0);
    event["region"] = json!(REGION);
    queue.send(&event);
    let short = policy(&world, &moto.url, ", settle: 1s");
    let outcome = world
        .bin
        .run(&["events", "-o", "json", "--config", &short])
        .await;
    outcome.exits(3);
    assert_eq!(summary(&outcome)["keys"], json!({"not-yet-visible": 1}));
    queue.expire();

    let long = policy(&world, &moto.url, "");
    let mut running = world
        .bin
        .start(&["events", "-o", "json", "--config", &long]);
    running.says("waiting up to 1m until").await;
    let body = json!({"SecretId": "db", "SecretString": "v", "ClientRequestToken": after});
    moto.secrets("PutSecretValue", body).await;
    let outcome = running.end().await;
    outcome.exits(0);
    assert_eq!(summary(&outcome)["keys"], json!({"synced": 1}));
    assert!(queue.left().is_empty());
    assert_eq!(world.secret("db", "k").await.as_deref(), Some("dg=="));
    world.end().await;
}
