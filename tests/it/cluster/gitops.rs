//! What GitOps tools send to the API server, sent to a real one: what stays of a stamp, and what is said where none does.

use serde_json::{Value, json};

use crate::{
    restart::{POLICY, is_up, rolled, shop, stamp, workload},
    scenarios::rotate,
    support::{Outcome, World},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

async fn run(world: &World) -> Outcome {
    world.bin.policy(&world.named(POLICY), &[]).await
}

/// A stamped workload that was restarted once.
async fn restarted() -> World {
    let world = World::cluster().await;
    shop(&world).await;
    run(&world).await.exits(0);
    rotate(&world).await;
    let outcome = run(&world).await;
    assert_eq!(
        outcome.exits(0).restart_of("web"),
        "restarted(data-changed)"
    );
    world
}

/// The manifest, as it stands in Git.
fn manifest() -> Value {
    workload("Deployment", "web", "db")
}

/// Argo CD by default and `kubectl apply`: a patch of what Git names, which notes down what was applied.
async fn apply_client_side(world: &World) {
    let mut applied = manifest();
    applied["metadata"]["annotations"] = json!({LAST_APPLIED: manifest().to_string()});
    world.patch("Deployment", "web", &applied).await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn ten_reconciles_of_each_tool_cause_no_further_rollout() {
    let world = restarted().await;
    let before = stamp(&world, "Deployment", "web").await;
    for _ in 0..10 {
        apply_client_side(&world).await;
        // Argo CD with ServerSideApply, Flux.
        for manager in [
            "argocd-controller",
            "kustomize-controller",
            "helm-controller",
        ] {
            world.apply_server_side(&manifest(), manager).await;
        }
        let outcome = run(&world).await;
        assert_eq!(outcome.exits(0).restart_of("web"), "left(current)");
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(stamp(&world, "Deployment", "web").await, before);
    world.end().await;
}

/// `Replace=true` and `kubectl replace` take the restart's annotation away, which rolls the pods once, and the stamp with it.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn ten_replacements_are_said_and_cause_no_rollout_of_ours() {
    let world = restarted().await;
    world.replace(&manifest(), "argocd-controller").await;
    is_up(&world, "Deployment", "web").await;
    let replaced = rolled(&world, "Deployment", "web").await;
    for _ in 0..10 {
        world.replace(&manifest(), "argocd-controller").await;
        let outcome = run(&world).await;
        assert_eq!(outcome.exits(3).restart_of("web"), "left(stamp-reverted)");
        let document = outcome.document();
        let told = document["restarts"].as_array().expect("restarts");
        let web = told
            .iter()
            .find(|restart| restart["name"] == "web")
            .expect("it");
        let message = web["message"].as_str().expect("a message");
        assert!(
            message.contains("eso-sync/stamp"),
            "what to leave alone: {message}"
        );
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, replaced);
    assert_eq!(stamp(&world, "Deployment", "web").await, None);
    world.end().await;
}
