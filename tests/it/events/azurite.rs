//! Whole runs over a queue of Azurite (`tests/azurite/run`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::sandbox::Fault as ClusterFault;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::summary;
use crate::{
    interruptions::annotated,
    providers::{
        azurite::Azurite,
        proxy::{Asked, Fault, Proxy, Script, page},
    },
    restart::{is_up, rolled, workload},
    scenarios::{AFTER, base, rotate},
    support::{Outcome, Running, World, eventually, optional_variable},
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

/// Makes a fault.
type Faulty = fn() -> Fault;

const RESTARTS: &str = "restart: [{match: references, require: proven, wait: 1m}]\n";

/// Sets the environment of all commands, and writes the policy. Returns the arguments.
fn prepare(
    world: &mut World,
    azurite: &Azurite,
    environment: &BTreeMap<String, String>,
    more: &str,
) -> Vec<String> {
    for (name, value) in environment {
        world.bin.set(name, value);
    }
    let authority = optional_variable("SSL_CERT_FILE").expect("a CA");
    world.bin.set("SSL_CERT_FILE", &authority);
    let text = world.named(&format!("{POLICY}{more}"));
    let text = text.replace("URL", &azurite.url());
    let text = text.replace("POISON", &azurite.poison());
    let path = world.bin.file("events.yaml", &text);
    let path = path.to_str().expect("UTF-8");
    [
        "events",
        "-o",
        "json",
        "--wait-lock",
        "20s",
        "--config",
        path,
    ]
    .map(str::to_owned)
    .to_vec()
}

async fn run_with(
    world: &mut World,
    azurite: &Azurite,
    environment: &BTreeMap<String, String>,
    more: &str,
) -> Outcome {
    let arguments = prepare(world, azurite, environment, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.bin.run(&arguments).await
}

async fn run(world: &mut World, azurite: &Azurite) -> Outcome {
    run_with(world, azurite, &azurite.environment(), "").await
}

/// A world whose values were rotated, and a queue with an event about one of them.
async fn rotated() -> (World, Azurite) {
    let world = World::sandbox().await;
    let azurite = Azurite::created(Some(&cluster(&world).await)).await;
    base(&world).await;
    rotate(&world).await;
    azurite.send(&json!({"key": "db"}).to_string()).await;
    (world, azurite)
}

/// A deployment that uses the Secret. Returns the number of its rollouts after one restart.
async fn deployed(world: &World) -> i64 {
    world.apply(workload("Deployment", "web", "db")).await;
    is_up(world, "Deployment", "web").await;
    rolled(world, "Deployment", "web").await + 1
}

async fn is_after(world: &World) {
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
}

/// A command that is killed while it works on a message.
struct Interrupted {
    running: Running,
    proxy: Proxy,
}

impl Interrupted {
    /// Starts a command whose messages are hidden for seconds only, so that they are soon visible again, and whose acknowledgements
    /// get this fault.
    async fn started(
        world: &mut World,
        azurite: &Azurite,
        more: &str,
        acknowledging: impl Fn() -> Fault + Send + Sync + 'static,
    ) -> Self {
        let receiving = azurite.receiving();
        let script = move |asked: &Asked| {
            if asked.operation == receiving {
                let (path, query) = asked.path().split_once('?').expect("a query");
                let others = query
                    .split('&')
                    .filter(|it| !it.starts_with("visibilitytimeout="));
                let others: Vec<&str> = others.collect();
                Fault::At(format!("{path}?visibilitytimeout=3&{}", others.join("&")))
            } else if asked.operation.starts_with("DELETE ") {
                acknowledging()
            } else {
                Fault::None
            }
        };
        let (proxy, environment) = azurite.behind(Box::new(script)).await;
        let arguments = prepare(world, azurite, &environment, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let running = world.bin.start(&arguments);
        Self { running, proxy }
    }

    /// Waits until it acknowledges.
    async fn acknowledges(&self) {
        eventually("the message is acknowledged", async || {
            let asked = self.proxy.asked();
            let mut asked = asked.iter();
            asked
                .any(|asked| asked.operation.starts_with("DELETE "))
                .then_some(())
        })
        .await;
    }

    async fn killed(self) {
        self.running.signal("KILL").await;
        drop(self.running.end().await);
    }
}

/// Waits until the message is visible again, and lets another command do the rest.
async fn completed(world: &mut World, azurite: &Azurite, more: &str) -> Outcome {
    eventually("the message is visible again", async || {
        let visible = azurite.visible(&azurite.name).await;
        (visible.len() == 1).then_some(())
    })
    .await;
    let outcome = run_with(world, azurite, &azurite.environment(), more).await;
    outcome.exits(0);
    assert_eq!(azurite.count(&azurite.name).await, 0);
    is_after(world).await;
    outcome
}

/// A look is no delivery.
#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn dry_run_in_azurite_shows_what_the_messages_would_do() {
    let (mut world, azurite) = rotated().await;
    let mut arguments = prepare(&mut world, &azurite, &azurite.environment(), "");
    arguments.push("--dry-run".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = world.bin.run(&arguments).await;
    outcome.exits(0);
    let document = outcome.document();
    assert_eq!(document["summary"]["received"], json!({"changed": 1}));
    let items = document["runs"][0]["items"].as_array().expect("items");
    assert_eq!(items.len(), 1);
    assert_eq!(
        (&items[0]["name"], &items[0]["action"]),
        (&json!("db"), &json!("sync"))
    );
    assert_ne!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    // The message is there, and this is its first delivery.
    let outcome = run(&mut world, &azurite).await;
    outcome.exits(0);
    assert_eq!(outcome.document()["summary"]["acknowledged"], json!(1));
    is_after(&world).await;
    world.end().await;
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

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn command_killed_after_the_receive_in_azurite_loses_nothing() {
    let (mut world, azurite) = rotated().await;
    world.rest().await;
    let interrupted = Interrupted::started(&mut world, &azurite, "", || Fault::None).await;
    annotated(&world, "db").await;
    interrupted.killed().await;
    assert_eq!(azurite.count(&azurite.name).await, 1);
    world.resume().await;
    let outcome = completed(&mut world, &azurite, "").await;
    assert_eq!(summary(&outcome)["acknowledged"], json!(1));
    world.end().await;
}

/// Killed after the sync and the restart, before the queue has got the acknowledgement.
#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn command_killed_before_the_acknowledgement_in_azurite_repeats_nothing() {
    let (mut world, azurite) = rotated().await;
    let once = deployed(&world).await;
    let interrupted = Interrupted::started(&mut world, &azurite, RESTARTS, || Fault::Late).await;
    interrupted.acknowledges().await;
    interrupted.killed().await;
    assert_eq!(azurite.count(&azurite.name).await, 1);
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    let outcome = completed(&mut world, &azurite, RESTARTS).await;
    assert_eq!(summary(&outcome)["keys"], json!({"in-sync": 1}));
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn command_killed_between_sync_and_restart_in_azurite_restarts_once() {
    let (mut world, azurite) = rotated().await;
    let once = deployed(&world).await;
    let patches = |world: &World| {
        let requests = world.embedded().requests();
        let of = requests
            .iter()
            .filter(|it| (it.verb, it.resource) == ("patch", "deployments"));
        of.count()
    };
    // The first patch is the stamp, the second one the restart.
    let fault = ClusterFault::latency(Duration::from_hours(1));
    let fault = fault.verb("patch").resource("deployments").after(1);
    world.embedded().inject(fault);
    let interrupted = Interrupted::started(&mut world, &azurite, RESTARTS, || Fault::None).await;
    eventually("the restart is sent", async || {
        (patches(&world) == 2).then_some(())
    })
    .await;
    world.embedded().clear_faults();
    interrupted.killed().await;
    // It is not acknowledged before its restart.
    assert_eq!(azurite.count(&azurite.name).await, 1);
    let outcome = completed(&mut world, &azurite, RESTARTS).await;
    assert_eq!(summary(&outcome)["keys"], json!({"in-sync": 1}));
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    world.end().await;
}

/// The queue has got the acknowledgement, but not the command its answer: nothing is left to do.
#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn command_killed_after_the_acknowledgement_in_azurite_owes_nothing() {
    let (mut world, azurite) = rotated().await;
    let once = deployed(&world).await;
    let answered = Arc::new(tokio::sync::Notify::new());
    let kept = Arc::clone(&answered);
    let fault = move || Fault::Kept(Arc::clone(&kept));
    let interrupted = Interrupted::started(&mut world, &azurite, RESTARTS, fault).await;
    answered.notified().await;
    interrupted.killed().await;
    assert_eq!(azurite.count(&azurite.name).await, 0);
    is_after(&world).await;
    let outcome = run_with(&mut world, &azurite, &azurite.environment(), RESTARTS).await;
    outcome.exits(0);
    assert_eq!(summary(&outcome)["acknowledged"], json!(0));
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn signal_makes_messages_in_azurite_visible_at_once() {
    let (mut world, azurite) = rotated().await;
    world.rest().await;
    let arguments = prepare(&mut world, &azurite, &azurite.environment(), "");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let running = world.bin.start(&arguments);
    annotated(&world, "db").await;
    assert!(azurite.visible(&azurite.name).await.is_empty());
    running.signal("TERM").await;
    running.signal("INT").await;
    running.end().await.exits(7);
    assert_eq!(azurite.visible(&azurite.name).await.len(), 1);
    world.end().await;
}

/// Each kind of call gets the fault once, and the run still ends well: nothing is lost, and nothing is left.
#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn faults_in_azurite_lose_no_message() {
    let faults: [(&str, Faulty); 4] = [
        ("503", || page(503, None)),
        ("429", || page(429, Some("0"))),
        ("a reset after the write", || Fault::Lost),
        ("no answer in time", || Fault::Late),
    ];
    for (name, fault) in faults {
        let (mut world, azurite) = rotated().await;
        azurite.send("hello").await;
        let receiving = azurite.receiving();
        let script: Box<Script> = Box::new(move |asked| {
            // A receive without an answer hides the messages from this run; a slow answer to it takes as long as one to the others.
            let spared = asked.operation == receiving && name.starts_with("a reset");
            let slow = name.starts_with("no answer") && !asked.operation.starts_with("DELETE ");
            if asked.before == 0 && !spared && !slow {
                fault()
            } else {
                Fault::None
            }
        });
        let (proxy, environment) = azurite.behind(script).await;
        let outcome = run_with(&mut world, &azurite, &environment, "").await;
        // Somebody has to look at the poison queue.
        outcome.exits(3);
        assert!(proxy.faults() >= 2, "{name}");
        assert_eq!(summary(&outcome)["keys"], json!({"synced": 1}), "{name}");
        assert_eq!(azurite.count(&azurite.name).await, 0, "{name}");
        let poisoned = azurite.visible(&azurite.poison()).await;
        assert!(poisoned.iter().all(|text| text == "hello"), "{name}");
        // What was written before the reset is written again.
        assert!((1..=2).contains(&poisoned.len()), "{name}: {poisoned:?}");
        is_after(&world).await;
        world.end().await;
    }
}

/// A missing right to acknowledge is named, and the message is delivered again.
#[tokio::test]
#[ignore = "needs Azurite (tests/azurite/run)"]
async fn denied_acknowledgement_in_azurite_keeps_the_message() {
    let (mut world, azurite) = rotated().await;
    let denies = Arc::new(AtomicBool::new(true));
    let of = Arc::clone(&denies);
    let script = move |asked: &Asked| {
        if asked.operation.starts_with("DELETE ") && of.load(Ordering::Relaxed) {
            let code = (
                "x-ms-error-code",
                "AuthorizationPermissionMismatch".to_owned(),
            );
            Fault::Instead(403, vec![code], "hunter2".to_owned())
        } else {
            Fault::None
        }
    };
    let (_proxy, environment) = azurite.behind(Box::new(script)).await;
    let outcome = run_with(&mut world, &azurite, &environment, "").await;
    outcome.exits(3);
    assert_eq!(summary(&outcome)["notDisposed"], json!(1));
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(
        outcome.stdout.contains("AuthorizationPermissionMismatch"),
        "{}",
        outcome.stdout
    );
    assert_eq!(azurite.count(&azurite.name).await, 1);
    is_after(&world).await;
    world.end().await;
}
