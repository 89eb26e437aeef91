//! GitOps tools write workloads again and again: no rollout of ours comes of it, and what they take away is said.

use serde_json::{Value, json};

use super::{POLICY, rolled, run, shop, stamp, workload};
use crate::{scenarios::rotate, support::World};

/// Stamped and restarted once.
async fn restarted(world: &World) {
    shop(world).await;
    run(world, &[]).await.exits(0);
    rotate(world).await;
    let outcome = run(world, &[]).await;
    outcome.restarted("web");
}

/// What is left to their own fields stays: Argo CD's and kubectl's client-side apply patch what they applied before, Flux and
/// server-side apply own what they apply.
#[tokio::test]
async fn ten_applies_of_the_manifest_cause_no_further_rollout() {
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

/// What replaces the whole object takes the stamp and the restart's annotation away. That rolls the pods, which is not our
/// doing; what follows is said once and again, and nothing is adopted in silence.
#[tokio::test]
async fn ten_replacements_cause_no_rollout_of_ours_and_no_silent_adoption() {
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
    let anew = run(&world, &["--adopt-anew"]).await;
    assert_eq!(anew.exits(0).restart_of("web"), "adopted(adopted)");
    let known = run(&world, &[]).await;
    assert_eq!(known.exits(0).restart_of("web"), "left(current)");
    world.end().await;
}

/// A tool that brings back what it once read, stamp and all.
#[tokio::test]
async fn an_old_stamp_that_is_brought_back_restarts_nothing() {
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

/// A workload that was made from another's manifest bears that one's stamp.
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

/// Two policies look after different Secrets of one workload: a restart for one is known to the other.
#[tokio::test]
async fn a_second_policy_restarts_nothing_again() {
    let world = World::sandbox().await;
    shop(&world).await;
    let mut both = workload("Deployment", "both", "db");
    both["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{"name": "api"}]);
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
