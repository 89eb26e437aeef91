//! An old operator that is still in use: it serves only `v1beta1` and writes MD5 digests (v0.9.20).

use serde_json::json;

use crate::{
    scenarios::{self, POLICY, real},
    support::World,
};

#[tokio::test]
#[ignore = "needs an old operator (tests/cluster/run-old)"]
async fn an_md5_digest_is_a_valid_proof() {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    scenarios::rotate(&world).await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    assert_eq!([outcome.of("db"), outcome.of("api")], ["synced", "synced"]);
    assert_eq!(
        world.secret("db", "password").await.as_deref(),
        Some(scenarios::AFTER)
    );
    let db = world.get("ExternalSecret", "db").await.expect("db");
    let proof = db["status"]["syncedResourceVersion"]
        .as_str()
        .expect("a proof")
        .to_owned();
    assert_eq!(
        proof.split_once('-').expect("two parts").1.len(),
        32,
        "an MD5 digest: {proof}"
    );
    world.end().await;
}

#[tokio::test]
#[ignore = "needs an old operator (tests/cluster/run-old)"]
async fn failures_of_an_old_operator_are_reported() {
    real::repeated_failure_is_detected_by_its_event().await;
}

#[tokio::test]
#[ignore = "needs an old operator (tests/cluster/run-old)"]
async fn an_unknown_operator_version_is_reported_as_unknown() {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    world
        .patch(
            "ExternalSecret",
            "db",
            &json!({"spec": {"refreshInterval": "0"}}),
        )
        .await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.of("db"), "skipped(refresh-interval-zero)");
    let document = outcome.document();
    let message = document["items"][1]["message"].as_str().expect("why");
    assert!(message.contains("is unknown"), "{message}");
    world.end().await;
}

/// The old operator does not pass a force-sync from a ClusterExternalSecret to its children, and would remove it from them.
#[tokio::test]
#[ignore = "needs an old operator (tests/cluster/run-old)"]
async fn children_are_skipped_with_an_old_operator() {
    let world = World::cluster().await;
    let namespaces = scenarios::family(&world).await;
    let policy = world.bin.file(
        "family.yaml",
        &world.named("select:\n  - namespaces: [NS-one, NS-two]\ndrift: {enabled: false}\n"),
    );
    let outcome = world
        .bin
        .run(&[
            "run",
            "-o",
            "json",
            "--config",
            policy.to_str().expect("UTF-8"),
        ])
        .await;
    outcome.exits(3);
    assert_eq!(outcome.of("child"), "skipped(parent-unavailable)");
    for namespace in namespaces {
        let child = world
            .get_in(&namespace, "ExternalSecret", "child")
            .await
            .expect("a child");
        assert!(child["metadata"]["annotations"]["force-sync"].is_null());
    }
    scenarios::end_family(world).await;
}
