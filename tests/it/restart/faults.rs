//! Runs in which a part fails: nothing that is owed is lost over it, and the report says how things stand.

use std::time::Duration;

use eso_sync::sandbox::Fault;
use serde_json::{Value, json};

use super::{POLICY, is_up, rolled, run, shop, workload};
use crate::{
    scenarios::{AFTER, rotate},
    support::{Outcome, World, eventually},
};

/// One workload of the report.
fn restart(outcome: &Outcome, name: &str) -> Value {
    let document = outcome.document();
    let restarts = document["restarts"].as_array().expect("restarts");
    let restart = restarts.iter().find(|restart| restart["name"] == name);
    restart.expect("it").clone()
}

fn old_pods(outcome: &Outcome, name: &str) -> usize {
    let restart = restart(outcome, name);
    restart["oldPods"].as_array().map_or(0, Vec::len)
}

/// The provider has another value once more.
async fn rotate_again(world: &World) {
    let name = format!("{}-store", world.namespace);
    let data = json!([{"key": "db", "value": "later"}, {"key": "api", "value": "{\"user\":\"u\",\"token\":\"later\"}"}]);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    world.patch("SecretStore", &name, &change).await;
    world.store_is(&name, "True").await;
}

/// Who types it a second time within minutes means it.
#[tokio::test]
async fn what_is_typed_waits_for_no_cool_down() {
    let world = World::sandbox().await;
    shop(&world).await;
    rotate(&world).await;
    let sync = [
        "sync",
        "db",
        "-y",
        "-n",
        &world.namespace,
        "--restart",
        "-o",
        "json",
    ];
    world.bin.run(&sync).await.exits(0);
    rotate_again(&world).await;
    let outcome = world.bin.run(&sync).await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 3);
    world.end().await;
}

/// By a policy the next run makes it up.
#[tokio::test]
async fn what_cools_down_stays_behind_unless_somebody_insists() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    run(&world, &[]).await.exits(0);
    rotate_again(&world).await;
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "left(cooling-down)");
    assert_eq!(restart(&outcome, "web")["behind"], json!(true));
    assert_eq!(old_pods(&outcome, "web"), 3);
    let outcome = run(&world, &["--retry"]).await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    world.end().await;
}

/// An owed restart that is left undone is no success where no later run makes it up.
#[tokio::test]
async fn what_is_typed_and_cannot_be_restarted_is_no_success() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    let paused = json!({"spec": {"paused": true}});
    world.patch("Deployment", "web", &paused).await;
    rotate(&world).await;
    let sync = [
        "sync",
        "db",
        "-y",
        "-n",
        &world.namespace,
        "--restart",
        "-o",
        "json",
    ];
    let outcome = world.bin.run(&sync).await;
    outcome.exits(3);
    assert_eq!(outcome.document()["run"]["exitCode"], json!(3));
    assert_eq!(outcome.restart_of("web"), "left(paused)");
    assert_eq!(old_pods(&outcome, "web"), 3);
    world.end().await;
}

/// The first fails, and the others of its rule stay on old data: that is said in the same run.
#[tokio::test]
async fn those_that_a_failed_one_holds_back_are_behind() {
    let world = World::sandbox().await;
    shop(&world).await;
    for name in ["xyz", "yyy"] {
        world.apply(workload("Deployment", name, "db")).await;
        is_up(&world, "Deployment", name).await;
    }
    let policy = world.named(POLICY).replace("wait: 1m", "wait: 2s");
    world.bin.policy(&policy, &[]).await.exits(0);
    let never = json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "never"}}});
    world.patch("Deployment", "web", &never).await;
    rotate(&world).await;
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    for name in ["xyz", "yyy"] {
        assert_eq!(outcome.restart_of(name), "not-reached(rule-stopped)");
        assert_eq!(old_pods(&outcome, name), 3);
    }
    let counts = &outcome.document()["summary"]["restarts"];
    assert_eq!(counts["behind"], json!(3), "{counts}");
    world.end().await;
}

/// A run that has to end before its restarts says who runs on old data by then.
#[tokio::test]
async fn a_run_that_ends_while_it_syncs_says_who_is_behind() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    let slow = Fault::latency(Duration::from_secs(3));
    world
        .embedded()
        .inject(slow.verb("patch").path("*/externalsecrets/api"));
    let running = world.start(POLICY);
    eventually("db is synced", async || {
        (world.secret("db", "password").await.as_deref() == Some(AFTER)).then_some(())
    })
    .await;
    running.signal("TERM").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(outcome.restart_of("web"), "not-reached(signal)");
    assert_eq!(restart(&outcome, "web")["behind"], json!(true));
    assert_eq!(old_pods(&outcome, "web"), 3);
    world.end().await;
}
