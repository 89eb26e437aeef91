//! Runs that are killed at every step. Each pending restart happens exactly once.

use std::time::Duration;

use futures::future::join_all;
use sandbox::Fault;
use serde_json::json;

use super::{POLICY, are_replaced, pods, rolled, run, shop, stamp, workload};
use crate::{
    scenarios::{base, rotate},
    support::{World, eventually},
};

const EVICTIONS: &str = "pods/eviction";

/// The writes of a run before its first restart, in order, without those to the Lease.
fn writes_before(resource: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("create", "secrets"),
        ("patch", resource),
        ("create", "configmaps"),
        ("patch", "externalsecrets"),
    ]
}

/// Kills a run when it sends this write for the `after + 1`th time. The write is not executed.
async fn kill_at(world: &World, policy: &str, (verb, resource): (&str, &str), after: usize) {
    let sandbox = world.embedded();
    let before = sent(world, verb, resource);
    sandbox.inject(
        Fault::latency(Duration::from_hours(1))
            .verb(verb)
            .resource(resource)
            .after(u32::try_from(after).expect("few")),
    );
    let running = world.start(policy);
    eventually("the run is about to write", async || {
        (sent(world, verb, resource) > before + after).then_some(())
    })
    .await;
    running.signal("KILL").await;
    drop(running.end().await);
    sandbox.clear_faults();
}

/// The number of these requests.
fn sent(world: &World, verb: &str, resource: &str) -> usize {
    let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let requests = world.embedded().requests();
    let alike = requests.iter().filter(|request| {
        request.verb == verb && request.resource == plural && request.path.ends_with(subresource)
    });
    alike.count()
}

/// Kills the very first run before each of its writes. There is one restart in the end.
async fn restarts_once_after_a_kill_at_any_write(kind: &'static str, resource: &'static str) {
    let mut writes = writes_before(resource);
    writes.push(("patch", resource));
    let policy = &POLICY.replace(
        "match: references",
        &format!("match: references, kinds: [{kind}]"),
    );
    let killed = async |number: usize| {
        let at = format!("{kind}, killed before write {number}");
        let world = World::sandbox().await;
        base(&world).await;
        world.apply(workload(kind, "web", "db")).await;
        super::is_up(&world, kind, "web").await;
        let once = rolled(&world, kind, "web").await + 1;
        rotate(&world).await;
        let alike = writes[..number]
            .iter()
            .filter(|write| **write == writes[number]);
        kill_at(&world, policy, writes[number], alike.count()).await;
        let outcome = world
            .bin
            .policy(&world.named(policy), &["--wait-lock", "20s"])
            .await;
        assert_eq!(
            outcome.exits(0).restart_of("web"),
            "restarted(data-changed)",
            "{at}"
        );
        assert_eq!(rolled(&world, kind, "web").await, once, "{at}");
        let again = world.bin.policy(&world.named(policy), &[]).await;
        assert_eq!(again.exits(0).restart_of("web"), "left(current)", "{at}");
        assert_eq!(rolled(&world, kind, "web").await, once, "{at}");
        world.end().await;
    };
    // Most of the time they wait for the killed run's lock to expire.
    join_all((0..writes.len()).map(killed)).await;
}

#[tokio::test]
async fn a_killed_run_restarts_a_deployment_once() {
    restarts_once_after_a_kill_at_any_write("Deployment", "deployments").await;
}

#[tokio::test]
async fn a_killed_run_restarts_a_stateful_set_once() {
    restarts_once_after_a_kill_at_any_write("StatefulSet", "statefulsets").await;
}

#[tokio::test]
async fn a_killed_run_restarts_a_daemon_set_once() {
    restarts_once_after_a_kill_at_any_write("DaemonSet", "daemonsets").await;
}

#[tokio::test]
async fn a_killed_run_restarts_a_rollout_once() {
    restarts_once_after_a_kill_at_any_write("Rollout", "rollouts").await;
}

/// Each of the three pods is evicted once.
#[tokio::test]
async fn a_killed_run_evicts_each_pod_once() {
    let eviction = ("create", EVICTIONS);
    let mut writes = writes_before("deployments");
    writes.extend([
        ("patch", "deployments"),
        eviction,
        eviction,
        eviction,
        ("patch", "deployments"),
    ]);
    let policy = &POLICY.replace("require: proven", "require: proven, strategy: evict");
    let killed = async |number: usize| {
        let at = format!("killed before write {number}");
        let world = World::sandbox().await;
        shop(&world).await;
        let before = pods(&world, "web").await;
        rotate(&world).await;
        let alike = writes[..number]
            .iter()
            .filter(|write| **write == writes[number]);
        kill_at(&world, policy, writes[number], alike.count()).await;
        let outcome = world
            .bin
            .policy(&world.named(policy), &["--wait-lock", "20s"])
            .await;
        assert_eq!(
            outcome.exits(0).restart_of("web"),
            "restarted(data-changed)",
            "{at}"
        );
        let after = pods(&world, "web").await;
        are_replaced(&before, &after);
        let behind = &outcome.document()["summary"]["restarts"]["behind"];
        assert_eq!(*behind, json!(0), "{at}");
        let in_vain = usize::from(writes[number] == eviction);
        assert_eq!(sent(&world, "create", EVICTIONS), 3 + in_vain, "{at}");
        world.end().await;
    };
    join_all((4..writes.len()).map(killed)).await;
}

/// The run is killed after the restart, while it waits for health.
#[tokio::test]
async fn a_run_killed_after_a_restart_does_not_repeat_it() {
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

/// A pending restart happens once despite a fault of its patch.
async fn restarted_once_despite(fault: Fault) {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    world
        .embedded()
        .inject(fault.verb("patch").resource("deployments"));
    let outcome = run(&world, &[]).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

/// The response to the patch is lost, but the patch was applied.
#[tokio::test]
async fn a_restart_with_a_lost_response_happens_once() {
    restarted_once_despite(Fault::drop_after().times(1)).await;
}

/// The workload changes between the read and the patch.
#[tokio::test]
async fn after_a_conflict_the_run_decides_again() {
    restarted_once_despite(Fault::status(409).times(2)).await;
}

/// A workload that does not become ready stops the rule, in later runs too.
#[tokio::test]
async fn a_failed_restart_stops_its_namespace_in_later_runs() {
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
    eventually("there is an Event", async || {
        let events = world.list("Event").await;
        let ours = |event: &&serde_json::Value| {
            event["reason"] == "RestartFailed" && event["involvedObject"]["name"] == "web"
        };
        events.iter().find(ours).map(drop)
    })
    .await;
    let later = world.bin.policy(&policy, &[]).await;
    later.exits(3);
    assert!(later.restart_of("xyz").ends_with("(namespace-stopped)"));
    assert_eq!(rolled(&world, "Deployment", "xyz").await, 1);
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    let retried = world.bin.policy(&policy, &["--retry"]).await;
    assert_eq!(retried.restart_of("xyz"), "restarted(data-changed)");
    assert!(stamp(&world, "Deployment", "xyz").await.is_some());
    world.end().await;
}

/// After a signal no other restart begins, and the report shows it.
#[tokio::test]
async fn after_a_signal_no_restart_begins() {
    let world = World::sandbox().await;
    shop(&world).await;
    world.apply(workload("Deployment", "xyz", "db")).await;
    super::is_up(&world, "Deployment", "xyz").await;
    run(&world, &[]).await.exits(0);
    let late = json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "3s"}}});
    world.patch("Deployment", "web", &late).await;
    rotate(&world).await;
    let running = world.start(POLICY);
    eventually("the first workload is restarted", async || {
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
