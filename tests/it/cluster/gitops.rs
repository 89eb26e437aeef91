//! Sends the requests of GitOps tools to a real API server, and tests if stamps are kept, or reported as removed.

use serde_json::{Value, json};

use crate::{
    restart::{POLICY, is_up, rolled, shop, stamp, workload},
    scenarios::rotate,
    support::{Outcome, World, eventually},
};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

async fn run(world: &World) -> Outcome {
    world.bin.policy(&world.named(POLICY), &[]).await
}

/// A cluster with a stamped workload that was restarted once.
async fn restarted() -> World {
    let world = World::cluster().await;
    shop(&world).await;
    run(&world).await.exits(0);
    rotate(&world).await;
    let outcome = run(&world).await;
    outcome.restarted("web");
    world
}

/// The manifest in Git.
fn manifest() -> Value {
    workload("Deployment", "web", "db")
}

/// Like Argo CD by default and `kubectl apply`: patches the fields of the manifest, and records the last applied configuration.
async fn apply_client_side(world: &World) {
    let mut applied = manifest();
    applied["metadata"]["annotations"] = json!({LAST_APPLIED: manifest().to_string()});
    world.patch("Deployment", "web", &applied).await;
}

/// The report's message about `web`.
fn told(outcome: &Outcome) -> String {
    let document = outcome.document();
    let restarts = document["restarts"].as_array().expect("restarts");
    let web = restarts.iter().find(|restart| restart["name"] == "web");
    let message = web.expect("it")["message"].as_str();
    message.expect("a message").to_owned()
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn ten_reconciles_of_each_tool_cause_no_further_rollout() {
    let world = restarted().await;
    let before = stamp(&world, "Deployment", "web").await;
    for _ in 0..10 {
        apply_client_side(&world).await;
        // Argo CD with ServerSideApply, and Flux.
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

/// `Replace=true` and `kubectl replace` remove the stamp and the restart annotation, which restarts the pods once.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn ten_replacements_are_reported_and_not_restarted() {
    let world = restarted().await;
    world.replace(&manifest(), "argocd-controller").await;
    is_up(&world, "Deployment", "web").await;
    let replaced = rolled(&world, "Deployment", "web").await;
    for _ in 0..10 {
        world.replace(&manifest(), "argocd-controller").await;
        let outcome = run(&world).await;
        assert_eq!(outcome.exits(3).restart_of("web"), "left(stamp-reverted)");
        let message = told(&outcome);
        assert!(
            message.contains("eso-sync/stamp"),
            "the message names the annotation: {message}"
        );
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, replaced);
    assert_eq!(stamp(&world, "Deployment", "web").await, None);
    world.end().await;
}

/// The object that Argo CD applies with `RespectIgnoreDifferences`: the manifest with the last observed values of ignored fields.
fn respecting(seen: &Value) -> Value {
    let mut wanted = manifest();
    for pointer in [METADATA, TEMPLATE] {
        let annotations = seen.pointer(pointer).and_then(Value::as_object);
        let mut kept = annotations.cloned().unwrap_or_default();
        kept.retain(|key, _| OURS.contains(&&**key));
        set(&mut wanted, pointer, kept.into());
    }
    wanted
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn ten_replacements_that_respect_ignored_differences_cause_no_rollout() {
    let world = restarted().await;
    let before = stamp(&world, "Deployment", "web").await;
    for _ in 0..10 {
        let seen = world.get("Deployment", "web").await.expect("it");
        world.replace(&respecting(&seen), "argocd-controller").await;
        let outcome = run(&world).await;
        assert_eq!(outcome.exits(0).restart_of("web"), "left(current)");
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(stamp(&world, "Deployment", "web").await, before);
    world.end().await;
}

/// If Argo CD last saw the object before our restart, it undoes the restart and the stamp. We do not repeat the restart.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn a_restored_older_restart_is_reported_and_not_repeated() {
    let world = restarted().await;
    let seen = world.get("Deployment", "web").await.expect("it");
    let data = json!([{"key": "db", "value": "later"}, {"key": "api", "value": "{\"user\":\"u\",\"token\":\"later\"}"}]);
    let store = format!("{}-store", world.namespace);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    world.patch("SecretStore", &store, &change).await;
    world.store_is(&store, "True").await;
    let at_once = world
        .named(POLICY)
        .replace("wait: 1m", "wait: 1m, cooldown: 1ms");
    let outcome = world.bin.policy(&at_once, &[]).await;
    outcome.restarted("web");
    is_rolled(&world, 3).await;
    world
        .apply_server_side(&respecting(&seen), "argocd-controller")
        .await;
    is_rolled(&world, 4).await;
    for _ in 0..3 {
        let outcome = world.bin.policy(&at_once, &[]).await;
        assert_eq!(outcome.exits(3).restart_of("web"), "left(stamp-reverted)");
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 4);
    world.end().await;
}

/// The annotations that a restart writes.
const OURS: [&str; 2] = ["eso-sync/stamp", "kubectl.kubernetes.io/restartedAt"];
const METADATA: &str = "/metadata/annotations";
const TEMPLATE: &str = "/spec/template/metadata/annotations";

/// The compared fields of a Deployment, as JSON pointers.
const COMPARED: [&str; 3] = [METADATA, TEMPLATE, "/spec/replicas"];

fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for name in pointer.split('/').skip(1) {
        at = &mut at[name];
    }
    *at = value;
}

/// The chart's manifest, with Helm's annotations.
fn released() -> Value {
    let mut released = manifest();
    released["metadata"]["annotations"] =
        json!({"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "shop"});
    released["spec"]["template"]["metadata"]["annotations"] =
        json!({"checksum/config": "1", "checksum/more": "1"});
    released
}

/// Corrects drift like Flux's helm-controller: applies the manifest in a dry run, compares the result with the live object (both
/// without ignored fields), and sends the difference as a JSON patch without a precondition. helm-controller replaces the parent
/// of several changes if that is shorter; here it is always so. Returns the changed paths.
async fn correct_drift(world: &World, ignored: &[&str]) -> Vec<String> {
    let without = |mut object: Value| {
        for pointer in [METADATA, TEMPLATE] {
            let annotations = object.pointer_mut(pointer).and_then(Value::as_object_mut);
            if let Some(annotations) = annotations {
                annotations.retain(|key, _| !ignored.contains(&&**key));
            }
        }
        object
    };
    let live = without(world.get("Deployment", "web").await.expect("it"));
    let wanted = without(world.applied(&released(), HELM).await);
    let mut operations = Vec::new();
    for pointer in COMPARED {
        let (live, wanted) = (live.pointer(pointer), wanted.pointer(pointer));
        if live != wanted {
            operations.push(json!({"op": "replace", "path": pointer, "value": wanted}));
        }
    }
    if !operations.is_empty() {
        world.patch_json(&released(), &operations, HELM).await;
    }
    let paths = operations
        .iter()
        .map(|operation| operation["path"].as_str().expect("a path").to_owned());
    paths.collect()
}

const HELM: &str = "helm-controller";

/// Waits until the Deployment has been rolled out this many times, and all its pods are current.
async fn is_rolled(world: &World, times: i64) {
    eventually("its controller has started the rollout", async || {
        (rolled(world, "Deployment", "web").await == times).then_some(())
    })
    .await;
    is_up(world, "Deployment", "web").await;
}

/// Removes annotations that the chart sets, and changes the replicas.
async fn cause_drift(world: &World) {
    let change = json!({
        "metadata": {"annotations": {"meta.helm.sh/release-name": null, "meta.helm.sh/release-namespace": null}},
        "spec": {"replicas": 4},
    });
    world.patch("Deployment", "web", &change).await;
}

/// A cluster with a workload of a chart, stamped and restarted once.
async fn released_and_restarted() -> World {
    let world = World::cluster().await;
    crate::scenarios::base(&world).await;
    world.apply_server_side(&released(), HELM).await;
    is_up(&world, "Deployment", "web").await;
    run(&world).await.exits(0);
    rotate(&world).await;
    let outcome = run(&world).await;
    outcome.restarted("web");
    world
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn ten_corrections_of_drift_cause_no_further_rollout() {
    let world = released_and_restarted().await;
    let before = stamp(&world, "Deployment", "web").await;
    for _ in 0..10 {
        assert_eq!(
            correct_drift(&world, &[]).await,
            [""; 0],
            "our annotations are not reported as drift"
        );
        cause_drift(&world).await;
        assert_eq!(
            correct_drift(&world, &[]).await,
            [METADATA, "/spec/replicas"]
        );
        is_up(&world, "Deployment", "web").await;
        let outcome = run(&world).await;
        assert_eq!(outcome.exits(0).restart_of("web"), "left(current)");
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(stamp(&world, "Deployment", "web").await, before);
    // An edited template restarts the pods, and so does its correction. Our restart is not undone.
    let none = json!({"checksum/config": null, "checksum/more": null});
    let change = json!({"spec": {"template": {"metadata": {"annotations": none}}}});
    world.patch("Deployment", "web", &change).await;
    is_rolled(&world, 3).await;
    assert_eq!(correct_drift(&world, &[]).await, [TEMPLATE]);
    let web = world.get("Deployment", "web").await.expect("it");
    assert!(
        web.pointer(TEMPLATE)
            .is_some_and(|annotations| annotations[OURS[1]].is_string())
    );
    is_rolled(&world, 4).await;
    let outcome = run(&world).await;
    assert_eq!(outcome.exits(0).restart_of("web"), "left(current)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 4);
    world.end().await;
}

/// With a rule that ignores the stamp, helm-controller omits it when it replaces all annotations.
#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn an_ignore_rule_that_removes_the_stamp_is_reported() {
    let world = released_and_restarted().await;
    for _ in 0..3 {
        cause_drift(&world).await;
        assert_eq!(
            correct_drift(&world, &OURS).await,
            [METADATA, "/spec/replicas"]
        );
        assert_eq!(stamp(&world, "Deployment", "web").await, None);
        is_up(&world, "Deployment", "web").await;
        let outcome = run(&world).await;
        assert_eq!(outcome.exits(3).restart_of("web"), "left(stamp-reverted)");
        let message = told(&outcome);
        for part in [
            "field manager helm-controller",
            "remove rules in `driftDetection.ignore`",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}
