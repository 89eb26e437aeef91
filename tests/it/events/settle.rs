//! An event that arrives before its value can be read.

use serde_json::json;

use super::{
    keys,
    sqs::{Queue, URL},
    summary,
};
use crate::{
    credentials::own,
    providers::{
        expiry,
        proxy::{Asked, Fault, Proxy},
    },
    support::{World, now},
};

/// The first reads still return the old value, so nothing differs. The message is not acknowledged for that: the key is compared again
/// when its value must have arrived.
#[tokio::test]
async fn event_before_its_value_is_compared_again() {
    let mut world = World::sandbox().await;
    own::rotated(&world).await;
    let double = expiry::secrets_manager().await;
    let script = |asked: &Asked| {
        let is_first = asked.operation == own::READ && asked.before == 0;
        if is_first {
            Fault::Edited(Box::new(|answer| answer["SecretString"] = json!("old")))
        } else {
            Fault::None
        }
    };
    let proxy = Proxy::before(&double.url, Box::new(script)).await;
    let queue = Queue::of(&mut world).await;
    for service in ["SECRETS_MANAGER", "STS"] {
        world
            .bin
            .set(&format!("AWS_ENDPOINT_URL_{service}"), &proxy.url);
    }
    let mut event = super::rotated("db");
    event["region"] = json!("eu-west-1");
    event["time"] = json!(now());
    queue.send(&event);
    let policy = format!(
        "select: [{{namespaces: [NS]}}]
drift: {{credentials: store, endpoints: ['{}']}}
events: {{queues: [{{sqs: {{url: '{URL}'}}}}], settle: 3s}}
",
        proxy.url
    );
    let path = world.bin.file("events.yaml", &world.named(&policy));
    let path = path.to_str().expect("UTF-8");
    let outcome = world
        .bin
        .run(&["events", "-o", "json", "--config", path])
        .await;
    outcome.exits(0);
    assert_eq!(proxy.faults(), 1);
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
