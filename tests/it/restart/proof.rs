//! A restart is proven by its pods, not by the stamp: what the owner takes back, or what keeps old pods, is reported in every run.

use serde_json::{Value, json};

use super::{POLICY, evictions::EVICT, is_up, pods, run, workload};
use crate::{
    pods::{told, up},
    scenarios::{base, rotate},
    support::{Outcome, World, eventually, scenarios},
};

scenarios! {
    a_deployment_whose_restart_is_taken_back_is_never_current
    a_stateful_set_whose_restart_is_taken_back_is_never_current
    a_daemon_set_whose_restart_is_taken_back_is_never_current
    a_rollout_whose_restart_is_taken_back_is_never_current
    an_eviction_replaces_pods_whose_restart_was_taken_back
    a_pause_holds_back_pods
    a_partition_holds_back_pods_until_it_is_removed
    pods_that_start_without_an_optional_secret_are_restarted
}

/// What a restart writes to this kind: the path from `spec`.
fn path(kind: &str) -> &'static [&'static str] {
    if kind == "Rollout" {
        &["restartAt"]
    } else {
        &[
            "template",
            "metadata",
            "annotations",
            "kubectl.kubernetes.io/restartedAt",
        ]
    }
}

/// Takes the restart back as soon as it is there, like an operator that owns the object.
async fn take_back(world: &World, kind: &str) {
    eventually("the restart was written", async || {
        let object = world.get(kind, "web").await?;
        let mut at = &object["spec"];
        for name in path(kind) {
            at = &at[name];
        }
        at.is_string().then_some(())
    })
    .await;
    let mut change = Value::Null;
    for name in path(kind).iter().rev() {
        change = json!({*name: change});
    }
    world.patch(kind, "web", &json!({"spec": change})).await;
}

/// Asserts that pods of `web` still run with old data, and names them.
#[track_caller]
fn is_behind(outcome: &Outcome, what: &str) -> Value {
    assert_eq!(outcome.exits(3).restart_of("web"), what);
    let restart = told(outcome, "web");
    assert_eq!(restart["behind"], json!(true), "{restart}");
    let old = restart["oldPods"].as_array().map_or(0, Vec::len);
    assert!(old > 0, "{restart}");
    assert!(restart["nextStep"].is_string(), "{restart}");
    restart
}

fn policy_for(world: &World, kind: &str, policy: &str) -> String {
    world.named(policy).replace(
        "match: references",
        &format!("match: references, kinds: [{kind}]"),
    )
}

/// Starts `web`, rotates, and takes the restart back.
async fn taken_back(world: &World, kind: &str) {
    base(world).await;
    up(world, workload(kind, "web", "db"), "2s").await;
    rotate(world).await;
    let running = world.start(&policy_for(world, kind, POLICY));
    take_back(world, kind).await;
    let restart = is_behind(&running.end().await, "failed(restart-reverted)");
    let message = restart["message"].as_str().expect("a message");
    assert!(message.contains("strategy: evict"), "{message}");
}

async fn taken_back_and_reported(world: World, kind: &str) {
    taken_back(&world, kind).await;
    for _ in 0..2 {
        let later = world
            .bin
            .policy(&policy_for(&world, kind, POLICY), &[])
            .await;
        is_behind(&later, "left(restart-reverted)");
    }
    // Somebody else's rollout replaces the pods.
    let before = pods(&world, "web").await;
    let mut change = json!("2036-01-01T00:00:00Z");
    if kind == "Rollout" {
        change = json!("2026-01-01T00:00:00Z");
        for pod in world.list("Pod").await {
            let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
            world.delete_if_there("Pod", &name).await;
        }
    }
    for name in path(kind).iter().rev() {
        change = json!({*name: change});
    }
    world.patch(kind, "web", &json!({"spec": change})).await;
    eventually("all pods are replaced", async || {
        let after = pods(&world, "web").await;
        // A DaemonSet has one pod on each node of the cluster.
        let complete = after.len() == before.len();
        (complete && after.iter().all(|pod| !before.contains(pod))).then_some(())
    })
    .await;
    is_up(&world, kind, "web").await;
    eventually("the workload is current", async || {
        let outcome = world
            .bin
            .policy(&policy_for(&world, kind, POLICY), &[])
            .await;
        (outcome.restart_of("web") == "left(current)").then_some(())
    })
    .await;
    world.end().await;
}

async fn a_deployment_whose_restart_is_taken_back_is_never_current(world: World) {
    taken_back_and_reported(world, "Deployment").await;
}

async fn a_stateful_set_whose_restart_is_taken_back_is_never_current(world: World) {
    taken_back_and_reported(world, "StatefulSet").await;
}

async fn a_daemon_set_whose_restart_is_taken_back_is_never_current(world: World) {
    taken_back_and_reported(world, "DaemonSet").await;
}

async fn a_rollout_whose_restart_is_taken_back_is_never_current(world: World) {
    taken_back_and_reported(world, "Rollout").await;
}

/// What the message recommends.
async fn an_eviction_replaces_pods_whose_restart_was_taken_back(world: World) {
    taken_back(&world, "Deployment").await;
    is_up(&world, "Deployment", "web").await;
    let evict = world
        .named(EVICT)
        .replace("WAIT", "1m")
        .replace("strategy: evict", "strategy: evict, cooldown: 0s");
    let outcome = world.bin.policy(&evict, &[]).await;
    let found = outcome.exits(0).restart_of("web");
    assert_eq!(found, "restarted(restart-reverted)");
    let later = run(&world, &[]).await;
    assert_eq!(later.exits(0).restart_of("web"), "left(current)");
    world.end().await;
}

async fn a_pause_holds_back_pods(world: World) {
    base(&world).await;
    up(&world, workload("Deployment", "web", "db"), "1s").await;
    rotate(&world).await;
    let running = world.start(&POLICY.replace("wait: 1m", "wait: 8s"));
    eventually("the first new pod is there", async || {
        let web = world.get("Deployment", "web").await?;
        let is_new = &web["spec"]["template"]["metadata"]["annotations"];
        is_new["kubectl.kubernetes.io/restartedAt"]
            .is_string()
            .then_some(())
    })
    .await;
    let paused = |paused: bool| json!({"spec": {"paused": paused}});
    world.patch("Deployment", "web", &paused(true)).await;
    let restart = is_behind(&running.end().await, "unproven(pods-held-back)");
    let message = restart["message"].as_str().expect("a message");
    assert!(message.contains("paused"), "{message}");
    let later = run(&world, &[]).await;
    is_behind(&later, "left(pods-held-back)");
    world.patch("Deployment", "web", &paused(false)).await;
    eventually("the rollout is complete", async || {
        let outcome = run(&world, &[]).await;
        (outcome.restart_of("web") == "left(current)").then_some(())
    })
    .await;
    world.end().await;
}

async fn a_partition_holds_back_pods_until_it_is_removed(world: World) {
    base(&world).await;
    let partition = |partition: u32| {
        let rolling = json!({"partition": partition});
        json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}})
    };
    let mut set = workload("StatefulSet", "web", "db");
    set["spec"]["updateStrategy"] = partition(1)["spec"]["updateStrategy"].clone();
    world.apply(set).await;
    is_up(&world, "StatefulSet", "web").await;
    rotate(&world).await;
    let first = run(&world, &[]).await;
    let restart = is_behind(&first, "unproven(pods-held-back)");
    assert_eq!(restart["oldPods"], json!(["web-0"]));
    assert_eq!(restart["newPods"], json!(["web-1", "web-2"]));
    for _ in 0..2 {
        let restart = is_behind(&run(&world, &[]).await, "left(pods-held-back)");
        assert_eq!(restart["oldPods"], json!(["web-0"]));
    }
    world.patch("StatefulSet", "web", &partition(0)).await;
    eventually("the last pod is replaced", async || {
        let outcome = run(&world, &[]).await;
        (outcome.restart_of("web") == "left(current)").then_some(())
    })
    .await;
    world.end().await;
}

/// The pods start before the Secret exists, and do not wait for it.
async fn pods_that_start_without_an_optional_secret_are_restarted(world: World) {
    base(&world).await;
    let late = json!({
        "apiVersion": format!("external-secrets.io/{}", world.version),
        "kind": "ExternalSecret", "metadata": {"name": "late", "namespace": world.namespace},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"name": format!("{}-store", world.namespace), "kind": "SecretStore"},
            "data": [{"secretKey": "token", "remoteRef": {"key": "late"}}],
        },
    });
    world.apply(late).await;
    world.ready("late", "SecretSyncedError").await;
    let optional = |name: &str, container: Value, volumes: Value| {
        let mut object = workload("Deployment", name, "none-of-ours");
        let spec = &mut object["spec"]["template"]["spec"];
        let mut main = json!({"name": "main", "image": "none"});
        main["env"] = container;
        (spec["containers"], spec["volumes"]) = (json!([main]), volumes);
        object
    };
    let key = |optional: bool| json!([{"name": "T", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token", "optional": optional}}}]);
    let volume = json!([{"name": "v", "secret": {"secretName": "late", "optional": true}}]);
    for object in [
        optional("env", key(true), json!([])),
        optional("volume", json!([]), volume),
    ] {
        let name = object["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        world.apply(object).await;
        is_up(&world, "Deployment", &name).await;
    }
    let mut pulls = workload("Deployment", "pulls", "none-of-ours");
    pulls["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{"name": "late"}]);
    world.apply(pulls).await;
    let first = run(&world, &[]).await;
    assert_eq!(first.of("late"), "failed(not-found)");
    for name in ["env", "volume"] {
        assert_eq!(first.restart_of(name), "adopted(adopted)");
    }
    let data = json!([{"key": "late", "value": "v"}, {"key": "db", "value": "after"}, {"key": "api", "value": "{\"user\":\"u\",\"token\":\"t\"}"}]);
    let store = format!("{}-store", world.namespace);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    world.patch("SecretStore", &store, &change).await;
    world.store_is(&store, "True").await;
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    for name in ["env", "volume"] {
        outcome.restarted(name);
    }
    let document = outcome.document();
    let restarts = document["restarts"].as_array().expect("restarts");
    assert!(restarts.iter().all(|restart| restart["name"] != "pulls"));
    let later = run(&world, &[]).await;
    assert_eq!(later.exits(0).restart_of("env"), "left(current)");
    world.end().await;
}

/// The plan says who may take a restart back, before it happens.
#[tokio::test]
async fn a_plan_names_the_owner_and_what_to_do_instead() {
    let world = World::sandbox().await;
    base(&world).await;
    let mut web = workload("Deployment", "web", "db");
    web["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "operators.coreos.com/v1alpha1", "kind": "ClusterServiceVersion", "name": "quay.v3", "uid": "u",
    }]);
    world.apply(web).await;
    is_up(&world, "Deployment", "web").await;
    let dry = |policy: String| async {
        let policy = policy;
        world.bin.policy(&policy, &["--dry-run"]).await
    };
    let plan = dry(world.named(POLICY)).await;
    let owner = told(&plan, "web")["owner"].clone();
    assert_eq!(owner["kind"], json!("ClusterServiceVersion"));
    assert_eq!(owner["name"], json!("quay.v3"));
    let next = owner["nextStep"].as_str().expect("a next step");
    assert!(next.contains("strategy: evict"), "{next}");
    let plan = dry(world.named(EVICT).replace("WAIT", "1m")).await;
    let owner = told(&plan, "web")["owner"].clone();
    assert_eq!(owner["nextStep"], Value::Null);
    world.end().await;
}

/// `syncWindows` exist since v2.7.0, so the operator of the cluster tests (v0.20.4) does not know them.
#[tokio::test]
async fn a_restart_waits_for_the_end_of_a_deny_window() {
    let world = World::sandbox().await;
    base(&world).await;
    world.apply(workload("Deployment", "web", "db")).await;
    is_up(&world, "Deployment", "web").await;
    run(&world, &[]).await.exits(0);
    let windows = |schedule: &str| {
        let windows = json!([{"schedule": schedule, "duration": "24h"}]);
        json!({"spec": {"syncWindows": {"kind": "deny", "windows": windows}}})
    };
    world
        .patch("ExternalSecret", "db", &windows("0 0 * * *"))
        .await;
    rotate(&world).await;
    let shown = |outcome: &Outcome| {
        let document = outcome.document();
        let items = document["items"].as_array().expect("items");
        let item = |name: &str| items.iter().find(|item| item["name"] == name).cloned();
        ["api", "db"].map(|name| item(name).expect("it")["syncWindow"].clone())
    };
    let path = world.bin.file("windows.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    for command in ["plan", "status"] {
        let read = [command, "--config", path, "-o", "json"];
        let read = world.bin.run(&read).await;
        assert_eq!(shown(&read), [Value::Null, json!("denied")], "{command}");
        let text = world.bin.run(&[command, "--config", path]).await.stdout;
        assert!(
            text.contains("SYNC WINDOW") && text.contains("denied"),
            "{text}"
        );
    }
    let denied = run(&world, &[]).await;
    assert_eq!(
        denied.exits(0).of("db"),
        "synced",
        "it does not stop a sync"
    );
    assert_eq!(denied.restart_of("web"), "left(in-deny-window)");
    assert_eq!(told(&denied, "web")["behind"], json!(true));
    let at_once = world.named(POLICY).replace(
        "match: references",
        "match: references, duringDenyWindow: restart",
    );
    let outcome = world.bin.policy(&at_once, &[]).await;
    outcome.restarted("web");
    // The next day of this schedule is years away.
    world
        .patch("ExternalSecret", "db", &windows("0 0 29 2 1"))
        .await;
    world.end().await;
}
