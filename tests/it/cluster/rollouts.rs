//! Tests that need the real controller of Argo Rollouts.

use serde_json::json;

use crate::{
    restart::{POLICY, are_replaced, is_up, pods, workload},
    scenarios::{base, rotate},
    support::World,
};

/// As Argo recommends for a migration: the Deployment has the template, and the Rollout has the pods.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_rollout_with_a_workload_ref_is_restarted() {
    let world = World::cluster().await;
    base(&world).await;
    let mut template = workload("Deployment", "web", "db");
    template["spec"]["replicas"] = json!(0);
    world.apply(template).await;
    let mut rollout = workload("Rollout", "web", "db");
    let spec = rollout["spec"].as_object_mut().expect("a spec");
    // Argo also takes the selector from the Deployment.
    spec.remove("selector");
    spec.remove("template");
    spec.insert(
        "workloadRef".to_owned(),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}),
    );
    world.apply(rollout).await;
    is_up(&world, "Rollout", "web").await;
    let policy = world
        .named(POLICY)
        .replace("match: references", "match: references, kinds: [Rollout]");
    world.bin.policy(&policy, &[]).await.exits(0);
    let before = pods(&world, "web").await;
    rotate(&world).await;
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.restarted("web");
    let after = pods(&world, "web").await;
    are_replaced(&before, &after);
    world.end().await;
}
