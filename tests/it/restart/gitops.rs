//! GitOps tools that write workloads repeatedly cause no restart, and the report names who removed a stamp.

use serde_json::{Value, json};

use super::{POLICY, rolled, run, shop, stamp, workload};
use crate::{scenarios::rotate, support::World};

/// Creates a stamp and restarts once.
async fn restarted(world: &World) {
    shop(world).await;
    run(world, &[]).await.exits(0);
    rotate(world).await;
    let outcome = run(world, &[]).await;
    outcome.restarted("web");
}

/// Tools that only change their own fields keep the stamp: client-side apply (Argo CD, kubectl) patches what it applied before,
/// server-side apply (Flux) owns what it applies.
#[tokio::test]
async fn applying_the_manifest_again_causes_no_rollout() {
    let world = World::sandbox().await;
    restarted(&world).await;
    let before = stamp(&world, "Deployment", "web").await;
    for _ in 0..10 {
        world
            .patch("Deployment", "web", &workload("Deployment", "web", "db"))
            .await;
        let outcome = run(&world, &[]).await;
        assert_eq!(outcome.exits(0).restart_of("web"), "left(current)");
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(stamp(&world, "Deployment", "web").await, before);
    world.end().await;
}

/// Tools that replace the whole object remove the stamp and the restart annotation, which starts a rollout. Each later run
/// reports this and creates no stamp.
#[tokio::test]
async fn replacing_the_object_causes_no_restart_and_no_adoption() {
    let world = World::sandbox().await;
    restarted(&world).await;
    let strip = json!({"metadata": {"annotations": {"eso-sync/stamp": null}}});
    for _ in 0..10 {
        world.patch("Deployment", "web", &strip).await;
        let outcome = run(&world, &[]).await;
        outcome.exits(3);
        assert_eq!(outcome.restart_of("web"), "left(stamp-reverted)");
        let message = outcome.document()["restarts"][0]["message"].clone();
        assert!(
            message
                .as_str()
                .is_some_and(|text| text.contains("field manager")),
            "{message}"
        );
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(stamp(&world, "Deployment", "web").await, None);
    let replaced = run(&world, &["--adopt-anew"]).await;
    assert_eq!(replaced.exits(0).restart_of("web"), "adopted(adopted)");
    let known = run(&world, &[]).await;
    assert_eq!(known.exits(0).restart_of("web"), "left(current)");
    world.end().await;
}

/// A tool restores an old version, including the stamp.
#[tokio::test]
async fn a_restored_old_stamp_restarts_nothing() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    let old = world.get("Deployment", "web").await.expect("it")["metadata"]["annotations"]
        ["eso-sync/stamp"]
        .clone();
    rotate(&world).await;
    run(&world, &[]).await.exits(0);
    for _ in 0..3 {
        let back = json!({"metadata": {"annotations": {"eso-sync/stamp": old}}});
        world.patch("Deployment", "web", &back).await;
        let outcome = run(&world, &[]).await;
        outcome.exits(3);
        assert_eq!(outcome.restart_of("web"), "left(stamp-reverted)");
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

/// A workload made from another one's manifest has that one's stamp.
#[tokio::test]
async fn a_copied_stamp_restarts_nothing() {
    let world = World::sandbox().await;
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    let original = world.get("Deployment", "web").await.expect("it");
    let mut copy = workload("Deployment", "copy", "db");
    copy["metadata"]["annotations"] =
        json!({"eso-sync/stamp": original["metadata"]["annotations"]["eso-sync/stamp"]});
    world.apply(copy).await;
    super::is_up(&world, "Deployment", "copy").await;
    let outcome = run(&world, &[]).await;
    assert_eq!(outcome.exits(0).restart_of("copy"), "adopted(stamp-copied)");
    assert_eq!(rolled(&world, "Deployment", "copy").await, 1);
    world.end().await;
}

/// Two policies select different Secrets of one workload. Each knows the other's restarts.
#[tokio::test]
async fn a_second_policy_does_not_repeat_a_restart() {
    let world = World::sandbox().await;
    shop(&world).await;
    let mut both = workload("Deployment", "both", "db");
    both["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "api", "secret": {"secretName": "api"}}]);
    world.apply(both).await;
    super::is_up(&world, "Deployment", "both").await;
    let of = |secret: &str| {
        world.named(POLICY).replace(
            "match: references",
            &format!("match: references, secrets: [{secret}]"),
        )
    };
    for secret in ["db", "api"] {
        world.bin.policy(&of(secret), &[]).await.exits(0);
    }
    let stamp: Value = stamp(&world, "Deployment", "both").await.expect("a stamp");
    let secrets = stamp["secrets"].as_object().expect("Secrets");
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["api", "db"]);
    rotate(&world).await;
    let first = world.bin.policy(&of("db"), &[]).await;
    first.restarted("both");
    let second = world.bin.policy(&of("api"), &[]).await;
    assert_eq!(second.exits(0).restart_of("both"), "left(current)");
    assert_eq!(rolled(&world, "Deployment", "both").await, 2);
    world.end().await;
}
