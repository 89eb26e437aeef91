//! Runs over events from a queue, with interruptions.

use std::time::Duration;

use ::sandbox::Fault;
use serde_json::{Value as Json, json};

use super::sqs::{Queue, URL};
use crate::{
    interruptions::annotated,
    restart::{is_up, rolled, workload},
    scenarios::{AFTER, base, rotate},
    support::{Outcome, Running, World, eventually},
};

/// Selects everything in the namespace of the test. Events name their key in the field `key`.
const POLICY: &str = "select: [{namespaces: [NS]}]
pace: {restarts: 100/s}
events: {queues: [{sqs: {url: URL}}], key: /key, settle: 0s}
";

const RESTARTS: &str = "restart: [{match: references, require: proven, wait: 1m}]\n";

fn changed(key: &str) -> Json {
    json!({"key": key})
}

fn policy(world: &World, text: &str) -> String {
    let text = world.named(text).replace("URL", URL);
    let path = world.bin.file("events.yaml", &text);
    path.to_str().expect("UTF-8").to_owned()
}

async fn run_with(world: &World, text: &str, more: &[&str]) -> Outcome {
    let path = policy(world, text);
    let arguments = ["events", "-o", "json", "--config", &path];
    world.bin.run(&[&arguments, more].concat()).await
}

async fn run(world: &World) -> Outcome {
    run_with(world, POLICY, &[]).await
}

fn start(world: &World, text: &str, more: &[&str]) -> Running {
    let path = policy(world, text);
    let arguments = ["events", "-o", "json", "--config", &path];
    world.bin.start(&[&arguments, more].concat())
}

/// A world with a queue, whose values were rotated.
async fn rotated() -> (World, Queue) {
    let mut world = World::sandbox().await;
    let queue = Queue::of(&mut world).await;
    base(&world).await;
    rotate(&world).await;
    (world, queue)
}

fn summary(outcome: &Outcome, pointer: &str) -> Json {
    let document = outcome.document();
    document["summary"]
        .pointer(pointer)
        .cloned()
        .unwrap_or_default()
}

async fn is_after(world: &World, name: &str, key: &str) {
    assert_eq!(world.secret(name, key).await.as_deref(), Some(AFTER));
}

#[tokio::test]
async fn only_the_users_of_a_changed_key_are_synced_and_the_message_is_acknowledged() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    let outcome = run(&world).await;
    outcome.exits(0);
    assert_eq!(summary(&outcome, "/keys"), json!({"synced": 1}));
    assert_eq!(summary(&outcome, "/acknowledged"), json!(1));
    is_after(&world, "db", "password").await;
    // Its key was rotated too, but no event says so.
    assert_ne!(world.secret("api", "token").await.as_deref(), Some(AFTER));
    assert!(queue.left().is_empty());
    world.end().await;
}

#[tokio::test]
async fn failed_key_keeps_its_message_and_nine_others_are_acknowledged() {
    let (world, queue) = rotated().await;
    world
        .apply_yaml(
            "apiVersion: external-secrets.io/VERSION\nkind: ExternalSecret\nmetadata: {name: other, namespace: NS}\nspec:\n  \
             refreshInterval: 1h\n  secretStoreRef: {name: NS-store, kind: SecretStore}\n  \
             data: [{secretKey: password, remoteRef: {key: api, property: no-such-property}}]\n",
        )
        .await;
    world.ready("other", "SecretSyncedError").await;
    for number in 0..8 {
        queue.send(&changed(&format!("unused-{number}")));
    }
    queue.send(&changed("db"));
    queue.send(&changed("api"));
    let outcome = run(&world).await;
    outcome.exits(3);
    assert_eq!(queue.left(), [changed("api").to_string()]);
    assert_eq!(queue.hidden_for(), [30]);
    assert_eq!(summary(&outcome, "/acknowledged"), json!(9));
    assert_eq!(summary(&outcome, "/kept"), json!(1));
    is_after(&world, "db", "password").await;
    is_after(&world, "api", "token").await;
    world.end().await;
}

/// A queue that is not this cluster's loses no message, and no delivery.
#[tokio::test]
async fn foreign_queue_keeps_every_message() {
    for (owner, word) in [(Some("another-cluster"), "other-owner"), (None, "no-owner")] {
        let mut world = World::sandbox().await;
        let queue = Queue::foreign(&mut world, owner).await;
        base(&world).await;
        queue.send(&changed("db"));
        queue.send_text("an order of a shop");
        let outcome = run(&world).await;
        outcome.exits(5);
        assert_eq!(outcome.document()["queues"][0]["refused"], word);
        assert_eq!(queue.left().len(), 2);
        assert_eq!(queue.calls("ReceiveMessage"), 0);
        world.end().await;
    }
}

/// With `warn`, the messages of another application are still kept: they are from no known source.
#[tokio::test]
async fn messages_of_another_application_are_kept() {
    let mut world = World::sandbox().await;
    let queue = Queue::foreign(&mut world, None).await;
    base(&world).await;
    queue.send_text("an order of a shop");
    queue.send(&json!({"order": 1}));
    let text = POLICY.replace("settle: 0s", "settle: 0s, owner: warn");
    let outcome = run_with(&world, &text, &[]).await;
    outcome.exits(3);
    assert_eq!(queue.left().len(), 2);
    assert_eq!(queue.hidden_for(), [30, 30]);
    assert_eq!(summary(&outcome, "/received"), json!({"unreadable": 2}));
    world.end().await;
}

#[tokio::test]
async fn dry_run_receives_nothing() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    let outcome = run_with(&world, POLICY, &["--dry-run"]).await;
    outcome.exits(0);
    assert_eq!(outcome.document()["queues"][0]["backlog"], json!(1));
    assert_eq!(queue.calls("ReceiveMessage"), 0);
    world.end().await;
}

#[tokio::test]
async fn empty_queue_reads_no_external_secrets() {
    let (world, queue) = rotated().await;
    let before = world.embedded().requests().len();
    run(&world).await.exits(0);
    assert!(queue.calls("ReceiveMessage") >= 2);
    let requests = world.embedded().requests().split_off(before);
    assert!(requests.iter().all(|it| it.resource != "externalsecrets"));
    world.end().await;
}

#[tokio::test]
async fn nothing_is_received_while_another_run_holds_the_lock() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    world.rest().await;
    let text = "select: [{namespaces: [NS]}]\ndrift: {enabled: false}\n";
    let other = world.start(text);
    annotated(&world, "api").await;
    let outcome = run(&world).await;
    outcome.exits(6);
    assert_eq!(queue.calls("ReceiveMessage"), 0);
    world.resume().await;
    other.end().await.exits(0);
    world.end().await;
}

/// The lock is looked at again while there is nothing to receive, and a run that has just taken it does not end the listening.
#[tokio::test]
async fn listening_waits_for_a_run_that_begins_meanwhile() {
    let (world, queue) = rotated().await;
    let listening = start(&world, POLICY, &["--listen", "2m"]);
    queue.is_asked("ReceiveMessage").await;
    world.rest().await;
    let text = "select: [{namespaces: [NS]}]\ndrift: {enabled: false}\n";
    let other = world.start(text);
    annotated(&world, "api").await;
    queue.send(&changed("db"));
    world.resume().await;
    other.end().await.exits(0);
    queue.is_empty().await;
    listening.signal("TERM").await;
    let outcome = listening.end().await;
    outcome.exits(7);
    let keys = summary(&outcome, "/keys");
    assert_eq!(keys, json!({"in-sync": 1}), "{outcome:?}");
    world.end().await;
}

#[tokio::test]
async fn external_secret_created_while_listening_is_synced() {
    let mut world = World::sandbox().await;
    let queue = Queue::of(&mut world).await;
    let running = start(&world, POLICY, &["--listen", "2m"]);
    queue.is_asked("ReceiveMessage").await;
    base(&world).await;
    rotate(&world).await;
    queue.send(&changed("db"));
    queue.is_empty().await;
    is_after(&world, "db", "password").await;
    // Idle listening holds no lock.
    let lease = world.get("Lease", "eso-sync").await.expect("the Lease");
    assert_eq!(lease["spec"]["holderIdentity"], json!(""));
    running.signal("TERM").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(summary(&outcome, "/keys"), json!({"synced": 1}));
    world.end().await;
}

#[tokio::test]
async fn signal_makes_messages_visible_at_once() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    world.rest().await;
    let running = start(&world, POLICY, &[]);
    annotated(&world, "db").await;
    running.signal("TERM").await;
    running.signal("INT").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(queue.hidden_for(), [0]);
    assert_eq!(queue.left().len(), 1);
    world.end().await;
}

/// Kills a command as soon as this is so, and lets another one do the rest.
async fn killed_when(
    world: &World,
    queue: &Queue,
    text: &str,
    is_so: impl AsyncFnOnce(),
) -> Outcome {
    let running = start(world, text, &[]);
    is_so().await;
    running.signal("KILL").await;
    drop(running.end().await);
    assert_eq!(queue.left().len(), 1);
    queue.silence(None);
    queue.expire();
    world.resume().await;
    let outcome = run_with(world, text, &["--wait-lock", "20s"]).await;
    outcome.exits(0);
    assert!(queue.left().is_empty());
    is_after(world, "db", "password").await;
    outcome
}

#[tokio::test]
async fn command_killed_after_the_receive_loses_nothing() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    world.rest().await;
    let outcome = killed_when(&world, &queue, POLICY, async || {
        annotated(&world, "db").await;
    })
    .await;
    assert_eq!(summary(&outcome, "/acknowledged"), json!(1));
    world.end().await;
}

#[tokio::test]
async fn command_killed_before_the_acknowledgement_syncs_and_restarts_nothing_again() {
    let (world, queue) = rotated().await;
    world.apply(workload("Deployment", "web", "db")).await;
    is_up(&world, "Deployment", "web").await;
    let once = rolled(&world, "Deployment", "web").await + 1;
    queue.send(&changed("db"));
    // Keep the message although the acknowledgement was sent.
    queue.silence(Some("DeleteMessageBatch"));
    let text = format!("{POLICY}{RESTARTS}");
    let running = start(&world, &text, &[]);
    queue.is_asked("DeleteMessageBatch").await;
    running.signal("KILL").await;
    drop(running.end().await);
    queue.silence(None);
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    // The same event is delivered again.
    queue.send(&changed("db"));
    let outcome = run_with(&world, &text, &["--wait-lock", "20s"]).await;
    outcome.exits(0);
    assert_eq!(summary(&outcome, "/keys"), json!({"in-sync": 1}));
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    assert!(queue.left().is_empty());
    world.end().await;
}

#[tokio::test]
async fn command_killed_between_sync_and_restart_restarts_once() {
    let (world, queue) = rotated().await;
    world.apply(workload("Deployment", "web", "db")).await;
    is_up(&world, "Deployment", "web").await;
    let once = rolled(&world, "Deployment", "web").await + 1;
    queue.send(&changed("db"));
    let sandbox = world.embedded();
    let patches = || {
        let requests = sandbox.requests();
        let of = requests
            .iter()
            .filter(|it| (it.verb, it.resource) == ("patch", "deployments"));
        of.count()
    };
    // The first patch is the stamp, the second one the restart.
    let fault = Fault::latency(Duration::from_hours(1));
    sandbox.inject(fault.verb("patch").resource("deployments").after(1));
    let text = format!("{POLICY}{RESTARTS}");
    let outcome = killed_when(&world, &queue, &text, async || {
        eventually("the restart is sent", async || {
            (patches() == 2).then_some(())
        })
        .await;
        sandbox.clear_faults();
    })
    .await;
    assert_eq!(summary(&outcome, "/keys"), json!({"in-sync": 1}));
    assert_eq!(rolled(&world, "Deployment", "web").await, once);
    world.end().await;
}

/// The watchdog reports what the runs did, and that the messages in hand are kept.
#[tokio::test]
async fn command_that_is_cut_off_reports_its_runs() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    queue.silence(Some("DeleteMessageBatch"));
    let running = start(&world, POLICY, &[]);
    queue.is_asked("DeleteMessageBatch").await;
    running.signal("TERM").await;
    running.signal("INT").await;
    let outcome = running.end().await;
    outcome.exits(7);
    let document = outcome.document();
    assert_eq!(document["kind"], "Events");
    assert_eq!(document["run"]["complete"], json!(false));
    assert_eq!(document["runs"][0]["items"][0]["outcome"], "synced");
    assert_eq!(summary(&outcome, "/kept"), json!(1));
    world.end().await;
}

#[tokio::test]
async fn ten_thousand_events_of_one_key_are_one_sync() {
    let (world, queue) = rotated().await;
    for _ in 0..10_000 {
        queue.send(&changed("db"));
    }
    let text = POLICY.replace("settle: 0s", "settle: 0s, maxMessages: 10000");
    let outcome = run_with(&world, &text, &[]).await;
    outcome.exits(0);
    assert_eq!(summary(&outcome, "/acknowledged"), json!(10_000));
    assert_eq!(outcome.document()["runs"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        outcome.document()["runs"][0]["items"][0]["attempts"],
        json!(1)
    );
    assert!(queue.left().is_empty());
    world.end().await;
}

/// The job's own credentials end after the receive. The queue is asked again with new ones, and its message is acknowledged.
#[tokio::test]
async fn credentials_that_end_after_the_receive_are_renewed() {
    let (mut world, queue) = rotated().await;
    queue.send(&changed("db"));
    let proxy = queue.behind(&mut world, 0).await;
    let outcome = run(&world).await;
    outcome.exits(0);
    assert_eq!(summary(&outcome, "/acknowledged"), json!(1));
    assert_eq!(proxy.faults(), 1);
    assert!(queue.left().is_empty());
    is_after(&world, "db", "password").await;
    world.end().await;
}

/// The work stands, the message stays in the queue, and the report says what to look at.
#[tokio::test]
async fn credentials_that_stay_expired_keep_the_message() {
    let (mut world, queue) = rotated().await;
    queue.send(&changed("db"));
    let proxy = queue.behind(&mut world, usize::MAX).await;
    let outcome = run(&world).await;
    outcome.exits(3);
    assert!(!outcome.stderr.contains("nothing was changed"));
    assert_eq!(summary(&outcome, "/notDisposed"), json!(1));
    assert_eq!(proxy.faults(), 2, "the call is repeated once");
    assert_eq!(queue.left().len(), 1);
    is_after(&world, "db", "password").await;
    let warnings = outcome.document()["warnings"].to_string();
    assert!(warnings.contains("credentials-expired"), "{warnings}");
    assert!(warnings.contains("check the session token"), "{warnings}");
    world.end().await;
}

/// The queue has given one of two messages of a key to somebody else in the meantime. The other one is acknowledged.
#[tokio::test]
async fn stale_receipt_acknowledges_nothing_and_harms_nothing() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    queue.send(&changed("db"));
    queue.rejects("receipt-1", "ReceiptHandleIsInvalid");
    let outcome = run(&world).await;
    outcome.exits(0);
    assert_eq!(summary(&outcome, "/keys"), json!({"synced": 1}));
    assert_eq!(summary(&outcome, "/acknowledged"), json!(1));
    assert_eq!(summary(&outcome, "/notDisposed"), json!(1));
    assert_eq!(queue.left().len(), 1);
    world.end().await;
}

/// An answer with status 200 holds the error of one message. It would come in each run, so the exit code says it.
#[tokio::test]
async fn failed_entry_of_a_batch_is_no_acknowledgement() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    queue.send(&changed("api"));
    queue.rejects("receipt-2", "InternalError");
    let outcome = run(&world).await;
    outcome.exits(3);
    assert_eq!(summary(&outcome, "/keys"), json!({"synced": 2}));
    assert_eq!(summary(&outcome, "/acknowledged"), json!(1));
    assert_eq!(queue.left(), [changed("api").to_string()]);
    world.end().await;
}

#[tokio::test]
async fn queue_that_is_gone_is_an_error_before_anything_is_done() {
    let (world, queue) = rotated().await;
    queue.send(&changed("db"));
    queue.is_gone();
    let outcome = run(&world).await;
    outcome.exits(4);
    let stderr = &outcome.stderr;
    assert!(stderr.contains("cannot look at the queue"), "{stderr}");
    assert_ne!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    world.end().await;
}

/// Another ExternalSecret, in a namespace that may not be read, could use the key, too.
#[tokio::test]
async fn denied_namespace_keeps_the_message() {
    let (world, queue) = rotated().await;
    let other = format!("{}-other", world.namespace);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}});
    world.apply(namespace).await;
    // The whole cluster may not be listed either, as with rights in single namespaces.
    for namespace in [&*other, ""] {
        let denied = Fault::forbidden().resource("externalsecrets");
        world.embedded().inject(denied.namespace(namespace));
    }
    queue.send(&changed("db"));
    queue.send(&changed("nobody-uses-it"));
    let text = POLICY.replace("[NS]", "[NS, NS-other]");
    let outcome = run_with(&world, &text, &[]).await;
    outcome.exits(3);
    assert_eq!(summary(&outcome, "/keys"), json!({"scope-incomplete": 2}));
    assert_eq!(queue.left().len(), 2);
    // What is known to use the key is synced all the same.
    is_after(&world, "db", "password").await;
    world.end().await;
}

/// The search of another ExternalSecret is no regular expression, so that nobody knows what it finds. It stops no other one.
#[tokio::test]
async fn bad_regexp_of_another_external_secret_stops_no_other() {
    let (world, queue) = rotated().await;
    world
        .apply_yaml(
            "apiVersion: external-secrets.io/VERSION\nkind: ExternalSecret\nmetadata: {name: bad, namespace: NS}\nspec:\n  \
             refreshInterval: 1h\n  secretStoreRef: {name: NS-store, kind: SecretStore}\n  \
             dataFrom: [{find: {name: {regexp: '('}}}]\n",
        )
        .await;
    world.ready("bad", "SecretSyncedError").await;
    queue.send(&changed("db"));
    let outcome = run(&world).await;
    outcome.exits(3);
    is_after(&world, "db", "password").await;
    let of = outcome.document()["keys"][0]["externalSecrets"].clone();
    let name = |name: &str| format!("{}/{name}", world.namespace);
    assert_eq!(of[name("db")], json!("synced"), "{of}");
    assert_ne!(of[name("bad")], json!("synced"), "{of}");
    world.end().await;
}
