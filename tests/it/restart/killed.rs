//! Runs that are killed at every step: each restart that is owed happens once, and none is lost.

use std::time::Duration;

use eso_sync::sandbox::Fault;
use serde_json::json;

use super::{POLICY, pods, rolled, run, shop, stamp, workload};
use crate::{
    scenarios::rotate,
    support::{World, eventually},
};

/// What a run writes, in its order, as far as it changes anything but the lock.
const WRITES: [(&str, &str); 5] = [
    ("create", "secrets"),
    ("patch", "deployments"),
    ("create", "configmaps"),
    ("patch", "externalsecrets"),
    ("patch", "deployments"),
];

/// Kills a run as it sends the write of this number; the write itself is not carried out.
async fn kill_at(world: &World, verb: &str, resource: &str, after: u32) {
    let sandbox = world.embedded();
    let seen = || {
        let requests = sandbox.requests();
        let ours = requests
            .iter()
            .filter(|request| request.verb == verb && request.resource == resource);
        ours.count()
    };
    let before = seen();
    sandbox.inject(
        Fault::latency(Duration::from_hours(1))
            .verb(verb)
            .resource(resource)
            .after(after),
    );
    let running = world.start(POLICY);
    eventually("the run is about to write", async || {
        (seen() > before + after as usize).then_some(())
    })
    .await;
    running.signal("KILL").await;
    drop(running.end().await);
    sandbox.clear_faults();
}

/// Also when the very first run is the one that is killed.
#[tokio::test]
async fn a_first_run_that_is_killed_at_any_step_restarts_once_in_the_end() {
    for (number, (verb, resource)) in WRITES.into_iter().enumerate() {
        let world = World::sandbox().await;
        shop(&world).await;
        rotate(&world).await;
        let same_before = WRITES[..number]
            .iter()
            .filter(|write| **write == (verb, resource))
            .count();
        let same_before = u32::try_from(same_before).expect("few");
        kill_at(&world, verb, resource, same_before).await;
        let outcome = run(&world, &["--wait-lock", "20s"]).await;
        outcome.exits(0);
        let at = format!("killed before write {number}: {verb} {resource}");
        assert_eq!(outcome.restart_of("web"), "restarted(data-changed)", "{at}");
        assert_eq!(rolled(&world, "Deployment", "web").await, 2, "{at}");
        let again = run(&world, &[]).await;
        assert_eq!(again.exits(0).restart_of("web"), "left(current)", "{at}");
        assert_eq!(rolled(&world, "Deployment", "web").await, 2, "{at}");
        world.end().await;
    }
}

/// The restart is made, and the run dies while it waits for health.
#[tokio::test]
async fn a_run_that_is_killed_after_its_restart_makes_no_second_one() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    world
        .patch(
            "Deployment",
            "web",
            &json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "3s"}}}),
        )
        .await;
    rotate(&world).await;
    let running = world.start(POLICY);
    eventually("it is restarted", async || {
        (rolled(&world, "Deployment", "web").await == 2).then_some(())
    })
    .await;
    running.signal("KILL").await;
    drop(running.end().await);
    let outcome = run(&world, &["--wait-lock", "20s"]).await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "left(current)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

/// Owed, and made once in spite of what happens to the patch.
async fn restarted_once_in_spite_of(fault: Fault) {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    world
        .embedded()
        .inject(fault.verb("patch").resource("deployments"));
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

/// The answer to the patch is lost, but not the restart.
#[tokio::test]
async fn a_restart_whose_answer_is_lost_is_made_once() {
    restarted_once_in_spite_of(Fault::drop_after().times(1)).await;
}

/// Somebody writes to the workload between the look and the patch.
#[tokio::test]
async fn a_conflict_is_decided_again() {
    restarted_once_in_spite_of(Fault::status(409).times(2)).await;
}

/// Evictions that were begun go on, with the pods that are left.
#[tokio::test]
async fn an_eviction_that_is_killed_goes_on_with_the_pods_that_are_left() {
    let world = World::sandbox().await;
    shop(&world).await;
    let policy = POLICY.replace("require: proven", "require: proven, strategy: evict");
    world.bin.policy(&world.named(&policy), &[]).await.exits(0);
    let before = pods(&world, "web").await;
    rotate(&world).await;
    let running = world.start(&policy);
    let between = eventually("one pod is replaced", async || {
        let now = pods(&world, "web").await;
        let old = now.iter().filter(|pod| before.contains(pod)).count();
        (now.len() == 3 && old == 2).then_some(now)
    })
    .await;
    running.signal("KILL").await;
    drop(running.end().await);
    let kept: Vec<&String> = between.iter().filter(|pod| !before.contains(pod)).collect();
    let outcome = world
        .bin
        .policy(&world.named(&policy), &["--wait-lock", "20s"])
        .await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    let after = pods(&world, "web").await;
    assert!(after.iter().all(|pod| !before.contains(pod)));
    assert!(kept.iter().all(|pod| after.contains(pod)), "not twice");
    world.end().await;
}

/// One that does not become ready stops the others, and stays stopped until it is.
#[tokio::test]
async fn the_first_that_fails_stops_its_rule_and_later_runs_too() {
    let world = World::sandbox().await;
    shop(&world).await;
    world.apply(workload("Deployment", "xyz", "db")).await;
    super::is_up(&world, "Deployment", "xyz").await;
    let policy = world.named(POLICY).replace("wait: 1m", "wait: 2s");
    world.bin.policy(&policy, &[]).await.exits(0);
    let never = json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "never"}}});
    world.patch("Deployment", "web", &never).await;
    rotate(&world).await;
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    assert_eq!(outcome.restart_of("xyz"), "not-reached(rule-stopped)");
    eventually("an Event tells of it", async || {
        let events = world.list("Event").await;
        let ours = |event: &&serde_json::Value| {
            event["reason"] == "RestartFailed" && event["involvedObject"]["name"] == "web"
        };
        events.iter().find(ours).map(drop)
    })
    .await;
    let later = world.bin.policy(&policy, &[]).await;
    later.exits(3);
    assert!(later.restart_of("xyz").ends_with("(rule-stopped)"));
    assert_eq!(rolled(&world, "Deployment", "xyz").await, 1);
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    let retried = world.bin.policy(&policy, &["--retry"]).await;
    assert_eq!(retried.restart_of("xyz"), "restarted(data-changed)");
    assert!(stamp(&world, "Deployment", "xyz").await.is_some());
    world.end().await;
}

/// A signal starts no other, and the report says so.
#[tokio::test]
async fn a_signal_starts_no_other_restart() {
    let world = World::sandbox().await;
    shop(&world).await;
    world.apply(workload("Deployment", "xyz", "db")).await;
    super::is_up(&world, "Deployment", "xyz").await;
    run(&world, &[]).await.exits(0);
    let late = json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "3s"}}});
    world.patch("Deployment", "web", &late).await;
    rotate(&world).await;
    let running = world.start(POLICY);
    eventually("the first is restarted", async || {
        (rolled(&world, "Deployment", "web").await == 2).then_some(())
    })
    .await;
    running.signal("TERM").await;
    let outcome = running.end().await;
    outcome.exits(7);
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    assert_eq!(outcome.restart_of("xyz"), "not-reached(signal)");
    assert_eq!(rolled(&world, "Deployment", "xyz").await, 1);
    world.end().await;
}
