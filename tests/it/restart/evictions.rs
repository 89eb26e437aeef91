//! Restarts by eviction: one pod at a time, and only while all other pods are ready.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{are_replaced, is_up, pods, rolled, shop, workload};
use crate::{
    scenarios::{base, rotate, rotate_to},
    support::{Outcome, World, eventually, scenarios},
};

scenarios! {
    pods_are_evicted_one_at_a_time
    a_pod_that_does_not_end_is_held_back
    an_eviction_replaces_pods_that_a_pause_or_on_delete_keeps
    pods_of_a_workload_with_the_same_prefix_are_kept
    a_blocking_disruption_budget_is_awaited_and_reported
}

/// Evicts within `WAIT`.
pub(crate) const EVICT: &str = "select: [{namespaces: [NS]}]
sync: {when: always}
drift: {enabled: false}
pace: {restarts: 100/s}
restart: [{match: references, require: proven, strategy: evict, wait: WAIT}]
";

async fn pods_are_evicted_one_at_a_time(world: World) {
    shop(&world).await;
    let before = pods(&world, "web").await;
    rotate(&world).await;
    let policy = world.named(EVICT).replace("WAIT", "1m");
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.restarted("web");
    let after = pods(&world, "web").await;
    are_replaced(&before, &after);
    assert_eq!(
        rolled(&world, "Deployment", "web").await,
        1,
        "the template is unchanged"
    );
    let again = world.bin.policy(&policy, &[]).await;
    assert_eq!(again.exits(0).restart_of("web"), "left(current)");
    assert_eq!(pods(&world, "web").await, after);
    world.end().await;
}

async fn a_blocking_disruption_budget_is_awaited_and_reported(world: World) {
    shop(&world).await;
    let before = pods(&world, "web").await;
    world
        .apply(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}},
        }))
        .await;
    eventually("the budget is counted", async || {
        let budget = world.get("PodDisruptionBudget", "web").await?;
        (budget["status"]["expectedPods"] == json!(3)
            && budget["status"]["currentHealthy"] == json!(3)
            && budget["status"]["disruptionsAllowed"] == json!(0))
        .then_some(())
    })
    .await;
    rotate(&world).await;
    let policy = world.named(EVICT).replace("WAIT", "4s");
    let outcome = world.bin.policy(&policy, &[]).await;
    let names: BTreeSet<String> = names(&world).await;
    // The next run tries again, and finds the same.
    for outcome in [outcome, world.bin.policy(&policy, &[]).await] {
        outcome.exits(3);
        assert_eq!(outcome.restart_of("web"), "unproven(pods-held-back)");
        let restart = outcome.restart("web");
        let told = restart["message"].to_string();
        assert!(told.contains("disruption budget"), "{told}");
        assert_eq!(restart["behind"], json!(true));
        let old = restart["oldPods"].as_array().expect("names").iter();
        let old: BTreeSet<String> = old
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect();
        assert_eq!(old, names);
        assert_eq!(pods(&world, "web").await, before);
    }
    let budget = json!({"spec": {"maxUnavailable": 1}});
    world.patch("PodDisruptionBudget", "web", &budget).await;
    let policy = world.named(EVICT).replace("WAIT", "1m");
    let outcome = world.bin.policy(&policy, &[]).await;
    assert!(outcome.exits(0).restart_of("web").starts_with("restarted"));
    are_replaced(&before, &pods(&world, "web").await);
    world.end().await;
}

/// The names of the pods of `web`.
async fn names(world: &World) -> BTreeSet<String> {
    let pods = world.list("Pod").await;
    let of_web = pods
        .iter()
        .filter(|pod| pod["metadata"]["labels"]["app"] == "web");
    of_web
        .filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned()))
        .collect()
}

/// As on a node that is down: the kubelet does not confirm that the pod has ended. Here, a finalizer keeps it.
async fn a_pod_that_does_not_end_is_held_back(world: World) {
    shop(&world).await;
    let kept = names(&world).await.into_iter().next().expect("a pod");
    let finalizers = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    world
        .patch(
            "Pod",
            &kept,
            &finalizers(json!(["test.invalid/node-is-down"])),
        )
        .await;
    rotate(&world).await;
    for expected in ["unproven(pods-held-back)", "left(pods-held-back)"] {
        let outcome = run(&world, "20s").await;
        outcome.exits(3);
        assert_eq!(outcome.restart_of("web"), expected);
        let restart = outcome.restart("web");
        assert_eq!(restart["behind"], json!(true), "{restart}");
        assert_eq!(
            restart["oldPods"],
            json!([kept]),
            "all others are replaced: {restart}"
        );
        let told = restart["message"].as_str().expect("a message");
        let says = told.contains(&kept) && told.contains("node may be down");
        assert!(says, "{told}");
    }
    world.patch("Pod", &kept, &finalizers(Value::Null)).await;
    eventually("the pod is gone", async || {
        world.get("Pod", &kept).await.is_none().then_some(())
    })
    .await;
    let outcome = run(&world, "1m").await;
    assert_eq!(outcome.exits(0).restart_of("web"), "left(current)");
    world.end().await;
}

/// An eviction does not need the rollout that these hold back.
async fn an_eviction_replaces_pods_that_a_pause_or_on_delete_keeps(world: World) {
    base(&world).await;
    let mut paused = workload("Deployment", "paused", "db");
    paused["spec"]["paused"] = json!(true);
    let mut by_hand = workload("StatefulSet", "by-hand", "db");
    by_hand["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    // A Deployment that is paused from the start creates no pods.
    let mut running = paused.clone();
    running["spec"]["paused"] = json!(false);
    world.apply(running).await;
    world.apply(by_hand).await;
    is_up(&world, "Deployment", "paused").await;
    is_up(&world, "StatefulSet", "by-hand").await;
    world
        .patch("Deployment", "paused", &json!({"spec": {"paused": true}}))
        .await;
    run(&world, "1m").await.exits(0);
    let before = [pods(&world, "paused").await, pods(&world, "by-hand").await];
    rotate(&world).await;
    let outcome = run(&world, "1m").await;
    outcome.restarted("paused");
    outcome.restarted("by-hand");
    for (name, before) in ["paused", "by-hand"].iter().zip(before) {
        are_replaced(&before, &pods(&world, name).await);
    }
    world.end().await;
}

async fn run(world: &World, wait: &str) -> Outcome {
    let policy = world.named(EVICT).replace("WAIT", wait);
    world.bin.policy(&policy, &[]).await
}

async fn pods_of_a_workload_with_the_same_prefix_are_kept(world: World) {
    shop(&world).await;
    let mut canary = workload("Deployment", "web-canary", "none-of-ours");
    // The labels of one workload's pods also match the other's selector.
    for labels in [
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        *canary.pointer_mut(labels).expect("labels") = json!({"app": "web", "track": "canary"});
    }
    world.apply(canary).await;
    is_up(&world, "Deployment", "web-canary").await;
    let of_canary = async || -> BTreeSet<String> {
        let pods = world.list("Pod").await;
        pods.iter()
            .map(|pod| &pod["metadata"])
            .filter(|pod| pod["labels"]["track"] == "canary")
            .map(|pod| pod["uid"].to_string())
            .collect()
    };
    let before = of_canary().await;
    assert_eq!(before.len(), 3);
    run(&world, "1m").await.exits(0);
    rotate(&world).await;
    let outcome = run(&world, "1m").await;
    outcome.restarted("web");
    assert_eq!(of_canary().await, before);
    world.end().await;
}

/// Sets how new pods of `web` behave from now on.
async fn new_pods(world: &World, how: Value) {
    let change = json!({"metadata": {"annotations": how}});
    world.patch("Deployment", "web", &change).await;
    eventually("its ReplicaSet has the annotation", async || {
        let sets = world.list("ReplicaSet").await;
        let tells = |set: &&Value| {
            let told = &set["metadata"]["annotations"];
            how.as_object()
                .expect("annotations")
                .iter()
                .all(|(key, value)| told[key] == *value)
        };
        sets.iter()
            .filter(|set| {
                set["metadata"]["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("web-"))
            })
            .find(tells)
            .map(drop)
    })
    .await;
}

/// The first replaced pod never becomes ready. The other two pods are kept in every run.
#[tokio::test]
async fn an_unready_pod_stops_further_evictions() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, "1m").await.exits(0);
    let before = pods(&world, "web").await;
    new_pods(&world, json!({"sandbox.eso-sync/ready-after": "never"})).await;
    rotate(&world).await;
    for _ in 0..3 {
        let outcome = run(&world, "3s").await;
        assert_eq!(
            outcome.exits(3).restart_of("web"),
            "failed(not-healthy-again)"
        );
        let now = pods(&world, "web").await;
        let left = now.iter().filter(|pod| before.contains(pod)).count();
        assert_eq!((now.len(), left), (3, 2));
    }
    // Once the pod is healthy, the next run continues.
    new_pods(&world, json!({"sandbox.eso-sync/ready-after": "0s"})).await;
    let sick = world.list("Pod").await;
    let sick = sick
        .iter()
        .find(|pod| {
            pod["metadata"]["labels"]["app"] == "web"
                && !before.contains(&pod["metadata"]["uid"].to_string())
        })
        .expect("it");
    world
        .delete("Pod", sick["metadata"]["name"].as_str().expect("a name"))
        .await;
    is_up(&world, "Deployment", "web").await;
    let outcome = run(&world, "1m").await;
    outcome.restarted("web");
    let after = pods(&world, "web").await;
    are_replaced(&before, &after);
    world.end().await;
}

/// New data may fix what an eviction broke, so the unready pod is evicted first.
#[tokio::test]
async fn new_data_evicts_the_unready_pod_first() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, "1m").await.exits(0);
    let before = pods(&world, "web").await;
    new_pods(&world, json!({"sandbox.eso-sync/ready-after": "never"})).await;
    rotate(&world).await;
    let outcome = run(&world, "3s").await;
    assert_eq!(
        outcome.exits(3).restart_of("web"),
        "failed(not-healthy-again)"
    );
    let between = pods(&world, "web").await;
    new_pods(&world, json!({"sandbox.eso-sync/ready-after": "0s"})).await;
    rotate_to(&world, "later").await;
    let outcome = run(&world, "1m").await;
    outcome.restarted("web");
    let after = pods(&world, "web").await;
    are_replaced(&before, &after);
    are_replaced(&between, &after);
    world.end().await;
}

/// The next pod is evicted once the replacement of the last one is ready, even if the workload's status is outdated.
#[tokio::test]
async fn at_most_one_pod_is_missing_at_any_time() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, "1m").await.exits(0);
    new_pods(&world, json!({"sandbox.eso-sync/ready-after": "1s"})).await;
    rotate(&world).await;
    let fewest = async {
        let mut fewest = usize::MAX;
        loop {
            let pods = world.list("Pod").await;
            let ready = pods
                .iter()
                .filter(|pod| pod["metadata"]["labels"]["app"] == "web")
                .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
                .filter(|pod| {
                    let conditions = pod["status"]["conditions"].as_array();
                    conditions.is_some_and(|all| {
                        all.iter()
                            .any(|one| one["type"] == "Ready" && one["status"] == "True")
                    })
                })
                .count();
            fewest = fewest.min(ready);
            let policy = world.get("Deployment", "web").await.expect("it");
            let stamp = policy["metadata"]["annotations"]["eso-sync/stamp"]
                .as_str()
                .expect("a stamp");
            let stamp: Value = serde_json::from_str(stamp).expect("JSON");
            if stamp["restarts"].is_array() {
                return fewest;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (outcome, fewest) = tokio::join!(run(&world, "1m"), fewest);
    outcome.restarted("web");
    assert_eq!(fewest, 2);
    world.end().await;
}

/// If the workload is scaled down, fewer pods are enough.
#[tokio::test]
async fn eviction_continues_after_a_scale_down() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, "1m").await.exits(0);
    let before = pods(&world, "web").await;
    new_pods(&world, json!({"sandbox.eso-sync/ready-after": "2s"})).await;
    rotate(&world).await;
    let policy = EVICT.replace("WAIT", "1m");
    let running = world.start(&policy);
    eventually("the first pod is evicted", async || {
        (pods(&world, "web")
            .await
            .iter()
            .any(|pod| !before.contains(pod)))
        .then_some(())
    })
    .await;
    world
        .patch("Deployment", "web", &json!({"spec": {"replicas": 2}}))
        .await;
    let outcome = running.end().await;
    outcome.restarted("web");
    let after = pods(&world, "web").await;
    assert!(after.len() == 2 && after.iter().all(|pod| !before.contains(pod)));
    world.end().await;
}
