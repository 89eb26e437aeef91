//! Whole runs over a queue of Azurite (`tests/azurite/run`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::summary;
use crate::{
    providers::azurite::Azurite,
    scenarios::{AFTER, base, rotate},
    support::{Outcome, World, optional_variable},
};

const POLICY: &str = "select: [{namespaces: [NS]}]
pace: {restarts: 100/s}
events: {queues: [{azureQueue: {url: 'URL', poison: POISON}}], key: /key, settle: 0s, maxAttempts: 1}
";

/// The UID of the world's namespace kube-system.
async fn cluster(world: &World) -> String {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}});
    let namespace = world.apply(namespace).await;
    namespace["metadata"]["uid"]
        .as_str()
        .expect("a UID")
        .to_owned()
}

async fn run(world: &mut World, azurite: &Azurite) -> Outcome {
    for (name, value) in azurite.environment() {
        world.bin.set(&name, &value);
    }
    let authority = optional_variable("SSL_CERT_FILE").expect("a CA");
    world.bin.set("SSL_CERT_FILE", &authority);
    let text = world.named(POLICY).replace("URL", &azurite.url());
    let text = text.replace("POISON", &azurite.poison());
    let path = world.bin.file("events.yaml", &text);
    let path = path.to_str().expect("UTF-8");
    world
        .bin
        .run(&["events", "-o", "json", "--config", path])
        .await
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn rotations_in_azurite_are_proven_and_acknowledged_and_poison_is_moved() {
    let mut world = World::sandbox().await;
    let azurite = Azurite::created(Some(&cluster(&world).await)).await;
    base(&world).await;
    rotate(&world).await;
    azurite
        .send(&STANDARD.encode(json!({"key": "db"}).to_string()))
        .await;
    azurite.send(&json!({"key": "api"}).to_string()).await;
    azurite.send("hello").await;
    let outcome = run(&mut world, &azurite).await;
    // Somebody has to look at the poison queue.
    outcome.exits(3);
    let summary = summary(&outcome);
    assert_eq!(summary["keys"], json!({"synced": 2}));
    let counts = ["acknowledged", "poisoned", "kept", "notDisposed"].map(|it| summary[it].clone());
    assert_eq!(counts, [2, 1, 0, 0].map(|count| json!(count)));
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    assert_eq!(world.secret("api", "token").await.as_deref(), Some(AFTER));
    assert_eq!(azurite.count(&azurite.name).await, 0);
    assert_eq!(azurite.visible(&azurite.poison()).await, ["hello"]);
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    world.end().await;
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn foreign_queue_in_azurite_keeps_every_message() {
    for (owner, word) in [(Some("another-cluster"), "other-owner"), (None, "no-owner")] {
        let mut world = World::sandbox().await;
        cluster(&world).await;
        base(&world).await;
        let azurite = Azurite::created(owner).await;
        azurite.send("hello").await;
        let outcome = run(&mut world, &azurite).await;
        outcome.exits(5);
        assert_eq!(outcome.document()["queues"][0]["refused"], json!(word));
        let stderr = &outcome.stderr;
        assert!(stderr.contains("tag `eso_sync_cluster`"), "{stderr}");
        // Visible: it was not received.
        assert_eq!(azurite.visible(&azurite.name).await, ["hello"]);
        world.end().await;
    }
}
