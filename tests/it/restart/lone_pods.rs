//! Pods of a controller that the policy does not know. A `ReplicationController` serves as an example.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{is_up, stamp, version};
use crate::{
    scenarios::{base, rotate, rotate_to},
    support::{Outcome, World, scenarios},
};

scenarios! {
    unmanaged_pods_are_evicted_one_at_a_time
    unmanaged_pods_are_not_restarted_by_rollout
}

/// Syncs in each run. The number of restarts is not limited.
pub(crate) const POLICY: &str = "select: [{namespaces: [NS]}]
sync: {when: always}
drift: {enabled: false}
pace: {restarts: 100/s}
restart: [{match: references, kinds: [Pod, Deployment], strategy: evict, require: proven, wait: 1m}]
";

fn only(outcome: &str) -> BTreeSet<String> {
    BTreeSet::from([outcome.to_owned()])
}

async fn run(world: &World, policy: &str) -> Outcome {
    world.bin.policy(&world.named(policy), &[]).await
}

fn keeper() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "keeper"},
        "spec": {"replicas": 3, "selector": {"app": "kept"}, "template": {
            "metadata": {"labels": {"app": "kept"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "main", "image": "none", "envFrom": [{"secretRef": {"name": "db"}}],
            }]},
        }},
    })
}

/// The names and uids of the pods.
async fn kept(world: &World) -> Vec<(String, String)> {
    let pods = world.list("Pod").await;
    let kept = pods
        .iter()
        .map(|pod| &pod["metadata"])
        .filter(|pod| pod["labels"]["app"] == "kept" && pod["deletionTimestamp"].is_null())
        .map(|pod| (pod["name"].as_str(), pod["uid"].as_str()))
        .map(|(name, uid)| {
            (
                name.expect("a name").to_owned(),
                uid.expect("a uid").to_owned(),
            )
        });
    kept.collect()
}

/// The outcomes of these pods.
fn told(outcome: &Outcome, pods: &[(String, String)]) -> BTreeSet<String> {
    pods.iter()
        .map(|(name, _)| outcome.restart_of(name))
        .collect()
}

/// Starts three pods of a controller that use the Secret `db`.
pub(crate) async fn kept_up(world: &World) {
    world.apply(keeper()).await;
    is_up(world, "ReplicationController", "keeper").await;
}

/// Adopts them in the first run. The second run changes nothing.
async fn adopted(world: &World) -> Vec<(String, String)> {
    base(world).await;
    kept_up(world).await;
    let pods = kept(world).await;
    let first = run(world, POLICY).await;
    assert_eq!(told(first.exits(0), &pods), only("adopted(adopted)"));
    let (name, _) = &pods[0];
    let noted = version(world, "Pod", name).await;
    let second = run(world, POLICY).await;
    assert_eq!(told(second.exits(0), &pods), only("left(current)"));
    assert_eq!(
        version(world, "Pod", name).await,
        noted,
        "the second run writes nothing"
    );
    pods
}

async fn unmanaged_pods_are_evicted_one_at_a_time(world: World) {
    let first = adopted(&world).await;
    rotate(&world).await;
    let evicted = run(&world, POLICY).await;
    assert_eq!(
        told(evicted.exits(0), &first),
        only("restarted(data-changed)")
    );
    let second = kept(&world).await;
    assert!(second.len() == 3 && second.iter().all(|pod| !first.contains(pod)));
    for (name, uid) in &second {
        let stamp = stamp(&world, "Pod", name).await.expect("a stamp");
        assert_eq!(stamp["of"], json!(uid));
        assert_eq!(
            stamp["restarts"].as_array().map(Vec::len),
            Some(1),
            "{stamp}"
        );
        assert!(
            stamp["assumed"].as_array().is_none_or(Vec::is_empty),
            "{stamp}"
        );
    }
    let after = run(&world, POLICY).await;
    assert_eq!(told(after.exits(0), &second), only("left(current)"));

    // The replacement inherits the restart time, although it is another pod.
    rotate_to(&world, "later").await;
    let cooling = run(&world, POLICY).await;
    assert_eq!(told(cooling.exits(0), &second), only("left(cooling-down)"));
    assert_eq!(kept(&world).await, second);
    world.end().await;
}

/// Several pods can be evicted at once, but only one per controller.
#[tokio::test]
async fn pods_of_one_controller_are_evicted_one_at_a_time() {
    let world = World::sandbox().await;
    let first = adopted(&world).await;
    let slow = json!({"metadata": {"annotations": {"sandbox.eso-sync/ready-after": "1s"}}});
    world
        .patch(
            "ReplicationController",
            "keeper",
            &json!({"spec": {"template": slow}}),
        )
        .await;
    rotate(&world).await;
    let policy = POLICY.replace("strategy: evict", "strategy: evict, maxConcurrent: 3");
    let evicted = run(&world, &policy).await;
    assert_eq!(
        told(evicted.exits(0), &first),
        only("restarted(data-changed)")
    );
    let second = kept(&world).await;
    assert!(second.len() == 3 && second.iter().all(|pod| !first.contains(pod)));
    world.end().await;
}

async fn unmanaged_pods_are_not_restarted_by_rollout(world: World) {
    let pods = adopted(&world).await;
    rotate(&world).await;
    let rolled = run(&world, &POLICY.replace("strategy: evict, ", "")).await;
    assert_eq!(told(rolled.exits(0), &pods), only("left(on-delete)"));
    assert_eq!(rolled.document()["summary"]["restarts"]["behind"], json!(3));
    assert_eq!(kept(&world).await, pods);
    world.end().await;
}
