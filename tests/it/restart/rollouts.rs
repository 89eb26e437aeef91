//! Argo Rollouts: restarted by `restartAt`, without the steps of their canary.

use serde_json::json;

use super::{POLICY, are_replaced, is_up, pods, rolled, workload};
use crate::{
    scenarios::{base, rotate},
    support::World,
};

#[tokio::test]
async fn a_rollout_is_restarted_by_its_restart_at() {
    let world = World::sandbox().await;
    base(&world).await;
    let mut web = workload("Rollout", "web", "db");
    web["spec"]["strategy"] = json!({"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}});
    world.apply(web).await;
    is_up(&world, "Rollout", "web").await;
    let policy = world.named(POLICY).replace(
        "match: references",
        "match: references, kinds: [Rollout, Deployment]",
    );
    world.bin.policy(&policy, &[]).await.exits(0);
    let before = pods(&world, "web").await;
    rotate(&world).await;
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.restarted("web");
    let after = pods(&world, "web").await;
    are_replaced(&before, &after);
    let object = world.get("Rollout", "web").await.expect("it");
    assert!(object["spec"]["restartAt"].is_string());
    assert!(object["spec"]["template"]["metadata"]["annotations"].is_null());
    let generation = rolled(&world, "Rollout", "web").await;
    let again = world.bin.policy(&policy, &[]).await;
    assert_eq!(again.exits(0).restart_of("web"), "left(current)");
    assert_eq!(rolled(&world, "Rollout", "web").await, generation);
    world.end().await;
}
