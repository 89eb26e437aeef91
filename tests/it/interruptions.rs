//! Runs with interruptions: objects change, the operator is paused, signals arrive, other runs start. The results are the same
//! in the sandbox and on a real cluster.

use std::time::Duration;

use ::sandbox::Fault;
use cluster::{Access, connect::connect_plain};
use eso_sync::lock;
use pace::{Clock, rate::Rate};
use serde_json::{Value, json};

use crate::{
    scenarios::{AFTER, POLICY, base, rotate},
    support::{Outcome, World, eventually, now, scenarios},
};

scenarios! {
    an_item_deleted_during_the_run_is_reported
    an_annotation_removed_during_the_run_is_reported
    an_item_edited_during_the_run_is_proven
    a_signal_finishes_items_in_flight_and_starts_none
    a_second_signal_ends_the_run_at_once
    a_deadline_ends_the_run
    a_second_run_reports_the_lock_holder
    a_second_run_can_wait_for_the_lock
    the_next_run_takes_over_from_a_killed_one
    a_stopped_operator_stops_the_run
}

/// The current annotations of one of the test's ExternalSecrets.
pub(crate) async fn annotations(world: &World, name: &str) -> Value {
    world.get("ExternalSecret", name).await.expect("it")["metadata"]["annotations"].clone()
}

pub(crate) async fn annotated(world: &World, name: &str) {
    eventually("it is annotated", async || {
        annotations(world, name).await["force-sync"]
            .as_str()
            .map(drop)
    })
    .await;
}

pub(crate) async fn run(world: &World, more: &[&str]) -> Outcome {
    world.bin.policy(&world.named(POLICY), more).await
}

fn released(lease: &Value) -> bool {
    lease["spec"]["holderIdentity"] == json!("")
}

/// Both are synced, each with one attempt.
pub(crate) async fn all_is_well(world: &World, outcome: &Outcome) {
    outcome.exits(0);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["synced", "synced"]);
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    assert_eq!(outcome.document()["items"][0]["attempts"], json!(1));
}

/// Pauses the operator and starts a run. Once the run waits for `db`, calls `change` and resumes the operator.
pub(crate) async fn meanwhile(world: World, change: impl AsyncFnOnce(&World)) -> (World, Outcome) {
    base(&world).await;
    rotate(&world).await;
    world.rest().await;
    let running = world.start(POLICY);
    annotated(&world, "db").await;
    change(&world).await;
    world.resume().await;
    let outcome = running.end().await;
    (world, outcome)
}

/// Creates `count` ExternalSecrets in the test's namespace, all synced.
pub(crate) async fn many(world: &World, count: usize) {
    base(world).await;
    let template = world.get("ExternalSecret", "db").await.expect("db");
    for index in 0..count {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": format!("many-{index:05}"), "namespace": world.namespace},
            "spec": template["spec"],
        });
        match &world.sandbox {
            // Avoids the API, which would be slow for thousands of objects.
            Some(sandbox) => drop(sandbox.apply(object).expect("it is created")),
            None => drop(world.apply(object).await),
        }
    }
    eventually("the operator has synced all of them", async || {
        let last = world
            .get("ExternalSecret", &format!("many-{:05}", count - 1))
            .await?;
        last["status"]["syncedResourceVersion"].as_str().map(drop)
    })
    .await;
}

async fn an_item_deleted_during_the_run_is_reported(world: World) {
    let (world, outcome) = meanwhile(world, async |world: &World| {
        world.delete("ExternalSecret", "db").await;
    })
    .await;
    outcome.exits(3);
    assert_eq!(
        [outcome.of("db"), outcome.of("api")],
        ["failed(deleted)", "synced"]
    );
    world.end().await;
}

async fn an_annotation_removed_during_the_run_is_reported(world: World) {
    let (world, outcome) = meanwhile(world, async |world: &World| {
        world
            .patch(
                "ExternalSecret",
                "db",
                &json!({"metadata": {"annotations": {"force-sync": null}}}),
            )
            .await;
    })
    .await;
    outcome.exits(3);
    assert_eq!(outcome.of("db"), "failed(overwritten)");
    world.end().await;
}

/// GitOps changes labels and spec during the run. The proof covers the metadata at that time.
async fn an_item_edited_during_the_run_is_proven(world: World) {
    let (world, outcome) = meanwhile(world, async |world: &World| {
        let change =
            json!({"metadata": {"labels": {"team": "renamed"}}, "spec": {"refreshInterval": "2h"}});
        world.patch("ExternalSecret", "db", &change).await;
    })
    .await;
    all_is_well(&world, &outcome).await;
    world.end().await;
}

async fn a_signal_finishes_items_in_flight_and_starts_none(world: World) {
    many(&world, 60).await;
    world.rest().await;
    let running = world.start(POLICY);
    annotated(&world, "db").await;
    running.signal("TERM").await;
    world.resume().await;
    let outcome = running.end().await;
    outcome.exits(7);
    let document = outcome.document();
    let outcomes = &document["summary"]["outcomes"];
    assert_eq!(document["summary"]["stopped"], "signal");
    assert_eq!(
        outcomes["unproven"],
        Value::Null,
        "everything in flight was finished: {outcomes}"
    );
    let synced = outcomes["synced"].as_u64().expect("some");
    assert!(
        (1..=40).contains(&synced) && outcomes["not-reached"] == json!(62 - synced),
        "{outcomes}"
    );
    assert!(released(
        &world.get("Lease", "eso-sync").await.expect("the Lease")
    ));
    world.end().await;
}

async fn a_second_signal_ends_the_run_at_once(world: World) {
    base(&world).await;
    world.rest().await;
    let running = world.start(POLICY);
    annotated(&world, "db").await;
    annotated(&world, "api").await;
    running.signal("TERM").await;
    running.signal("INT").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(
        [outcome.of("db"), outcome.of("api")],
        ["unproven(interrupted)", "unproven(interrupted)"]
    );
    assert!(released(
        &world.get("Lease", "eso-sync").await.expect("the Lease")
    ));
    world.end().await;
}

async fn a_deadline_ends_the_run(world: World) {
    base(&world).await;
    world.rest().await;
    let policy = format!("{POLICY}deadline: 1s\n");
    let outcome = world.bin.policy(&world.named(&policy), &[]).await;
    outcome.exits(7);
    assert_eq!(outcome.document()["summary"]["stopped"], "deadline");
    assert_eq!(outcome.of("db"), "unproven(interrupted)");
    world.end().await;
}

async fn a_second_run_reports_the_lock_holder(world: World) {
    base(&world).await;
    world.rest().await;
    let first = world.start(POLICY);
    annotated(&world, "db").await;
    let lease = world.get("Lease", "eso-sync").await.expect("the Lease");
    let holder = lease["spec"]["holderIdentity"]
        .as_str()
        .expect("a holder")
        .to_owned();
    let second = run(&world, &[]).await;
    assert!(
        second.exits(6).stderr.contains(&holder),
        "{}",
        second.stderr
    );
    world.resume().await;
    first.end().await.exits(0);
    world.end().await;
}

async fn a_second_run_can_wait_for_the_lock(world: World) {
    base(&world).await;
    rotate(&world).await;
    world.rest().await;
    let first = world.start(POLICY);
    annotated(&world, "db").await;
    let path = world.bin.file("second.yaml", &world.named(POLICY));
    let mut second = world.bin.start(&[
        "run",
        "--config",
        path.to_str().expect("UTF-8"),
        "--wait-lock",
        "60s",
    ]);
    second.says("another run holds the lock").await;
    world.resume().await;
    first.end().await.exits(0);
    second.end().await.exits(0);
    world.end().await;
}

async fn the_next_run_takes_over_from_a_killed_one(world: World) {
    base(&world).await;
    rotate(&world).await;
    world.rest().await;
    let path = world.bin.file("first.yaml", &world.named(POLICY));
    let first = world
        .bin
        .start(&["run", "--config", path.to_str().expect("UTF-8")]);
    annotated(&world, "db").await;
    first.signal("KILL").await;
    first.end().await;
    world.resume().await;
    all_is_well(&world, &run(&world, &[]).await).await;
    world.end().await;
}

async fn a_stopped_operator_stops_the_run(world: World) {
    many(&world, 60).await;
    world.rest().await;
    let outcome = run(&world, &["--timeout", "2s"]).await;
    outcome.exits(5);
    let document = outcome.document();
    assert_eq!(document["summary"]["stopped"], "too-many-failures");
    assert_eq!(document["run"]["complete"], json!(false));
    let outcomes = &document["summary"]["outcomes"];
    // Two seconds of 20 calls per second can be in flight, and nine more start before ten have failed.
    let failed = outcomes["failed"].as_u64().expect("some");
    assert!(
        (40..=49).contains(&failed) && outcomes["not-reached"] == json!(62 - failed),
        "{outcomes}"
    );
    assert!(released(
        &world.get("Lease", "eso-sync").await.expect("the Lease")
    ));
    world.end().await;
}

/// The run must end, but it must not flood the API server until then.
#[tokio::test]
async fn persistent_conflict_on_the_own_lease_is_retried_slowly() {
    let world = World::sandbox().await;
    let sandbox = world.embedded();
    let rate = Rate::per_second(1000.0).expect("a rate");
    let cluster = connect_plain(&sandbox.url(), Access::Write, rate).expect("a connection");
    let clock = Clock::starting_at(now());
    let mut lock = lock::acquire(&cluster, "default", "me", Duration::ZERO, clock)
        .await
        .expect("the lock");
    sandbox.inject(Fault::status(409).verb("update").resource("leases"));
    let before = sandbox.requests().len();
    // Ends when the lock counts as lost.
    lock.keep(clock).await;
    let sent = sandbox.requests().len() - before;
    assert!((2..=20).contains(&sent), "{sent} requests");
}
