//! Runs that restart workloads. The results are the same in the sandbox and on a real cluster.

pub(crate) mod evictions;
mod faults;
mod gitops;
mod killed;
mod laptop;
pub(crate) mod lone_pods;
mod loops;
mod many;
pub(crate) mod proof;
mod rollouts;
mod thousand;

use serde_json::{Value, json};

use crate::{
    scenarios::{AFTER, base, rotate},
    support::{Outcome, World, eventually, scenarios},
};

scenarios! {
    a_rotation_restarts_only_workloads_that_use_the_secret
    unchanged_data_writes_to_no_workload
    a_pending_restart_needs_no_sync
    the_component_restarts_what_the_operator_refreshed
    every_kind_is_restarted
    a_rollout_is_restarted_by_its_controller
    workloads_that_must_not_restart_are_left
    a_deleted_stamp_key_restarts_nothing
    a_plan_shows_conditional_restarts_and_writes_nothing
    too_many_restarts_are_refused_before_any_write
    an_ad_hoc_sync_with_restart_proves_every_link
    edited_data_restarts_nothing
    a_restart_waits_for_the_drift_check
}

/// Syncs everything in the test's namespace in each run, and restarts the workloads that use a synced Secret.
pub(crate) const POLICY: &str = "select: [{namespaces: [NS]}]
sync: {when: always}
drift: {enabled: false}
pace: {restarts: 100/s}
restart: [{match: references, require: proven, wait: 1m}]
";

/// A workload with three pods (a DaemonSet has one per node) that uses this Secret.
pub(crate) fn workload(kind: &str, name: &str, secret: &str) -> Value {
    let version = if kind == "Rollout" {
        "argoproj.io/v1alpha1"
    } else {
        "apps/v1"
    };
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": "none", "envFrom": [{"secretRef": {"name": secret}}],
        }]},
    });
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template});
    if kind != "DaemonSet" {
        spec["replicas"] = json!(3);
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = json!(name);
    }
    if kind == "Rollout" {
        spec["strategy"] = json!({"canary": {}});
    }
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

pub(crate) async fn is_up(world: &World, kind: &str, name: &str) {
    eventually(&format!("{kind} {name} is up"), async || {
        let object = world.get(kind, name).await?;
        let status = &object["status"];
        let generation = &object["metadata"]["generation"];
        let observed = &status["observedGeneration"];
        let seen = observed == generation || observed.as_str() == Some(&generation.to_string());
        let (available, wanted) = match kind {
            "DaemonSet" => (
                &status["numberAvailable"],
                status["desiredNumberScheduled"].clone(),
            ),
            _ => (
                &status["availableReplicas"],
                object["spec"]["replicas"].clone(),
            ),
        };
        (seen && wanted != json!(0) && *available == wanted).then_some(())
    })
    .await;
}

/// A Deployment `web` that uses the Secret `db`, and a Deployment that uses none of the synced Secrets.
pub(crate) async fn shop(world: &World) {
    base(world).await;
    world.apply(workload("Deployment", "web", "db")).await;
    world
        .apply(workload("Deployment", "other", "none-of-ours"))
        .await;
    is_up(world, "Deployment", "web").await;
}

pub(super) async fn run(world: &World, more: &[&str]) -> Outcome {
    world.bin.policy(&world.named(POLICY), more).await
}

/// The number of rollouts, from 1. The generation counts changes of the spec. For a Deployment it also counts changes of
/// annotations, so its revision is used.
pub(crate) async fn rolled(world: &World, kind: &str, name: &str) -> i64 {
    let object = world.get(kind, name).await.expect("it");
    if kind == "Deployment" {
        let revision = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
        return revision
            .as_str()
            .map_or(1, |text| text.parse().expect("a number"));
    }
    object["metadata"]["generation"].as_i64().expect("a number")
}

/// The arguments of a manual sync with restart.
pub(super) fn typed(world: &World) -> [&str; 8] {
    let namespace = &world.namespace;
    [
        "sync",
        "db",
        "-y",
        "-n",
        namespace,
        "--restart",
        "-o",
        "json",
    ]
}

/// All three pods have been replaced.
#[track_caller]
pub(crate) fn are_replaced(before: &[String], after: &[String]) {
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");
}

pub(super) async fn version(world: &World, kind: &str, name: &str) -> String {
    let object = world.get(kind, name).await.expect("it");
    object["metadata"]["resourceVersion"].to_string()
}

pub(crate) async fn pods(world: &World, app: &str) -> Vec<String> {
    let pods = world.list("Pod").await;
    let mut names: Vec<String> = pods
        .iter()
        .filter(|pod| pod["metadata"]["labels"]["app"] == app)
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| pod["metadata"]["uid"].to_string())
        .collect();
    names.sort();
    names
}

pub(crate) async fn stamp(world: &World, kind: &str, name: &str) -> Option<Value> {
    let object = world.get(kind, name).await.expect("it");
    let text = object["metadata"]["annotations"]["eso-sync/stamp"].as_str()?;
    Some(serde_json::from_str(text).expect("a stamp"))
}

async fn a_rotation_restarts_only_workloads_that_use_the_secret(world: World) {
    shop(&world).await;
    let before = pods(&world, "web").await;
    rotate(&world).await;
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.of("db"), "synced");
    assert_eq!(outcome.restart_of("web"), "restarted(data-changed)");
    let document = outcome.document();
    let restart = &document["restarts"][0];
    assert_eq!(document["restarts"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        restart["secrets"],
        json!([{"name": "db", "keys": [{"name": "password"}]}]),
        "the keys from the plan"
    );
    assert_eq!(restart["podsBefore"], json!(3));
    assert_eq!(restart["newPods"].as_array().map(Vec::len), Some(3));
    assert_eq!(restart["behind"], json!(false));
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(rolled(&world, "Deployment", "other").await, 1);
    let after = pods(&world, "web").await;
    assert!(after.iter().all(|pod| !before.contains(pod)));
    let object = world.get("Deployment", "web").await.expect("it");
    let template = &object["spec"]["template"]["metadata"]["annotations"];
    assert!(template["kubectl.kubernetes.io/restartedAt"].is_string());
    assert!(template["eso-sync/stamp"].is_null());
    let managers = object["metadata"]["managedFields"]
        .as_array()
        .expect("some");
    assert!(managers.iter().any(|entry| entry["manager"] == "eso-sync"));
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    world.end().await;
}

async fn unchanged_data_writes_to_no_workload(world: World) {
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    let before = version(&world, "Deployment", "web").await;
    for _ in 0..10 {
        let outcome = run(&world, &[]).await;
        outcome.exits(0);
        assert_eq!(outcome.restart_of("web"), "left(current)");
    }
    assert_eq!(version(&world, "Deployment", "web").await, before);
    world.end().await;
}

async fn a_pending_restart_needs_no_sync(world: World) {
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    // Simulates a sync by the operator itself, or a run that was killed after the sync.
    let sync = ["sync", "db", "-y", "-n", &world.namespace];
    world.bin.run(&sync).await.exits(0);
    let path = world.bin.file("restart.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    let status = world
        .bin
        .run(&["status", "--config", path, "-o", "json"])
        .await;
    status.exits(0);
    assert_eq!(status.document()["restarts"][0]["behind"], json!(true));
    let web = async |exit: i32| {
        let diagnose = ["diagnose", "db", "-n", &world.namespace, "-o", "json"];
        let document = world.bin.run(&diagnose).await.exits(exit).document();
        let links = document["links"].as_array().expect("links");
        let web = links.iter().find(|link| link["about"] == "Deployment/web");
        web.expect("the consumer")["health"].clone()
    };
    assert_eq!(web(1).await, "wrong");
    let outcome = world
        .bin
        .run(&["restart", "--config", path, "-o", "json"])
        .await;
    outcome.restarted("web");
    assert_eq!(outcome.document()["items"], json!([]));
    let chain = outcome.document()["chain"].clone();
    let links = chain.as_array().expect("a chain");
    let proven = |kind: &str| {
        links
            .iter()
            .any(|it| it["link"] == kind && it["proven"] == true)
    };
    assert!(
        ["secret", "workload", "pods"].into_iter().all(proven),
        "{chain}"
    );
    assert_eq!(
        outcome.document()["restarts"][0]["secrets"][0]["keys"],
        json!([{"name": "password", "difference": "changed"}])
    );
    let again = world
        .bin
        .run(&["restart", "--config", path, "-o", "json"])
        .await;
    again.exits(0);
    assert_eq!(again.restart_of("web"), "left(current)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

/// The shipped policy: in normal operation no ExternalSecret is overdue, and the operator brings the new data itself.
async fn the_component_restarts_what_the_operator_refreshed(world: World) {
    base(&world).await;
    let mut labelled = workload("Deployment", "web", "db");
    labelled["metadata"]["labels"] = json!({"eso-sync-restart": "true"});
    world.apply(labelled).await;
    world.apply(workload("Deployment", "other", "db")).await;
    is_up(&world, "Deployment", "web").await;
    is_up(&world, "Deployment", "other").await;
    let shipped = include_str!("../../manifests/components/restart/config.yaml");
    let here = format!("[\"{}\"]", world.namespace);
    let policy = shipped.replace(r#"["*"]"#, &here);
    let first = world.bin.policy(&policy, &[]).await;
    assert_eq!(first.exits(0).restart_of("web"), "adopted(adopted)");
    rotate(&world).await;
    let sync = ["sync", "db", "-y", "-n", &world.namespace];
    world.bin.run(&sync).await.exits(0);
    let second = world.bin.policy(&policy, &[]).await;
    assert_eq!(second.exits(0).restart_of("web"), "restarted(data-changed)");
    assert_eq!(rolled(&world, "Deployment", "other").await, 1);
    world.end().await;
}

async fn every_kind_is_restarted(world: World) {
    base(&world).await;
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        world.apply(workload(kind, &name, "db")).await;
    }
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        is_up(&world, kind, &kind.to_lowercase()).await;
    }
    rotate(&world).await;
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let name = kind.to_lowercase();
        assert_eq!(outcome.restart_of(&name), "restarted(data-changed)");
        assert_eq!(rolled(&world, kind, &name).await, 2);
    }
    let waves: Vec<Value> = outcome.document()["restarts"]
        .as_array()
        .expect("some")
        .iter()
        .map(|restart| restart["wave"].clone())
        .collect();
    assert_eq!(waves, [json!(1), json!(2), json!(3)]);
    world.end().await;
}

/// Argo's own controller replaces the pods because of `spec.restartAt`.
async fn a_rollout_is_restarted_by_its_controller(world: World) {
    base(&world).await;
    world.apply(workload("Rollout", "canary", "db")).await;
    is_up(&world, "Rollout", "canary").await;
    let before = pods(&world, "canary").await;
    rotate(&world).await;
    let policy = world
        .named(POLICY)
        .replace("match: references", "match: references, kinds: [Rollout]");
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.restarted("canary");
    let after = pods(&world, "canary").await;
    are_replaced(&before, &after);
    let again = world.bin.policy(&policy, &[]).await;
    assert_eq!(again.exits(0).restart_of("canary"), "left(current)");
    world.end().await;
}

async fn workloads_that_must_not_restart_are_left(world: World) {
    base(&world).await;
    let mut paused = workload("Deployment", "paused", "db");
    paused["spec"]["paused"] = json!(true);
    let mut zero = workload("Deployment", "zero", "db");
    zero["spec"]["replicas"] = json!(0);
    let mut by_hand = workload("StatefulSet", "by-hand", "db");
    by_hand["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let mut reloader = workload("Deployment", "reloader", "db");
    reloader["metadata"]["annotations"] = json!({"reloader.stakater.com/auto": "true"});
    let mut wave = workload("Deployment", "wave", "db");
    wave["metadata"]["annotations"] = json!({"wave.pusher.com/update-on-config-change": "true"});
    let mut ignored = workload("Deployment", "ignored", "db");
    ignored["metadata"]["annotations"] = json!({"eso-sync/ignore": "true"});
    for object in [paused, zero, by_hand, reloader, wave, ignored] {
        world.apply(object).await;
    }
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    for (name, left) in [
        ("paused", "left(paused)"),
        ("zero", "left(scaled-to-zero)"),
        ("by-hand", "left(on-delete)"),
        ("reloader", "left(handled-by-reloader)"),
        ("wave", "left(handled-by-wave)"),
        ("ignored", "left(ignored)"),
    ] {
        assert_eq!(outcome.restart_of(name), left);
    }
    assert_eq!(stamp(&world, "Deployment", "reloader").await, None);
    // They are not restarted, but now run with old data. A Deployment that was paused from the start has no pods.
    let document = outcome.document();
    let restarts = document["restarts"].as_array().expect("restarts");
    let behind: Vec<(&Value, usize)> = restarts
        .iter()
        .filter(|restart| restart["behind"] == json!(true))
        .map(|restart| {
            (
                &restart["name"],
                restart["oldPods"].as_array().map_or(0, Vec::len),
            )
        })
        .collect();
    assert_eq!(
        behind,
        [
            (&json!("reloader"), 3),
            (&json!("wave"), 3),
            (&json!("by-hand"), 3)
        ],
        "eso-sync does not restart for Reloader and wave"
    );
    world.end().await;
}

async fn a_deleted_stamp_key_restarts_nothing(world: World) {
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    world.delete("Secret", "eso-sync-stamp-key").await;
    let sync = ["sync", "db", "-y", "-n", &world.namespace];
    world.bin.run(&sync).await.exits(0);
    let outcome = run(&world, &[]).await;
    outcome.exits(0);
    assert_eq!(outcome.restart_of("web"), "adopted(key-replaced)");
    let warnings = outcome.document()["warnings"].to_string();
    assert!(warnings.contains("another key"), "{warnings}");
    assert_eq!(rolled(&world, "Deployment", "web").await, 1);
    world.end().await;
}

async fn a_plan_shows_conditional_restarts_and_writes_nothing(world: World) {
    shop(&world).await;
    let before = version(&world, "Deployment", "web").await;
    let path = world.bin.file("plan.yaml", &world.named(POLICY));
    let plan = world
        .bin
        .run(&[
            "plan",
            "-o",
            "json",
            "--config",
            path.to_str().expect("UTF-8"),
        ])
        .await;
    plan.exits(0);
    assert_eq!(
        plan.restart_of("web"),
        "restart-if-changed(data-may-change)"
    );
    let document = plan.document();
    assert_eq!(document["restarts"][0]["stamp"], json!("adopt"));
    assert_eq!(document["restarts"][0]["wave"], json!(1));
    assert_eq!(
        document["restarts"][0]["secrets"],
        json!([{"name": "db", "keys": [{"name": "password"}]}])
    );
    let dry = run(&world, &["--dry-run"]).await;
    dry.exits(0);
    assert_eq!(dry.document()["restarts"], document["restarts"]);
    assert_eq!(version(&world, "Deployment", "web").await, before);
    assert!(world.get("Secret", "eso-sync-stamp-key").await.is_none());
    world.end().await;
}

async fn too_many_restarts_are_refused_before_any_write(world: World) {
    shop(&world).await;
    let policy = format!("{POLICY}safety: {{maxRestarts: 0}}\n");
    let outcome = world.bin.policy(&world.named(&policy), &[]).await;
    outcome.exits(5);
    assert_eq!(
        outcome.document()["summary"]["refused"],
        "1 workload would be restarted if their data changes, and safety.maxRestarts allows 0"
    );
    assert_eq!(stamp(&world, "Deployment", "web").await, None);
    world.end().await;
}

async fn an_ad_hoc_sync_with_restart_proves_every_link(world: World) {
    shop(&world).await;
    rotate(&world).await;
    let arguments = ["sync", "db", "-y", "-n", &world.namespace, "--restart"];
    let outcome = world
        .bin
        .run(&[&arguments[..], &["-o", "json"]].concat())
        .await;
    outcome.restarted("web");
    let document = outcome.document();
    let links: Vec<(String, bool)> = document["chain"]
        .as_array()
        .expect("a chain")
        .iter()
        .map(|link| {
            (
                link["link"].as_str().expect("a kind").to_owned(),
                link["proven"] == json!(true),
            )
        })
        .collect();
    let expected = [
        ("provider", true),
        ("external-secret", true),
        ("secret", true),
        ("workload", true),
        ("pods", true),
    ];
    assert_eq!(
        links,
        expected.map(|(link, proven)| (link.to_owned(), proven))
    );
    let text = world.bin.run(&arguments).await;
    text.exits(0);
    let provider = "proven: the Secret has the provider's data";
    assert!(text.stdout.contains(provider), "{}", text.stdout);
    assert_eq!(
        rolled(&world, "Deployment", "web").await,
        2,
        "the second run finds the pods current"
    );
    world.end().await;
}

/// Pods are restarted with the current data of the provider, not with older data.
async fn a_restart_waits_for_the_drift_check(world: World) {
    shop(&world).await;
    let policy = "select: [{namespaces: [NS]}]\nsync: {when: always}\nrestart: [{match: references, wait: 1m}]\n";
    let policy = world.named(policy);
    world.bin.policy(&policy, &[]).await.exits(0);
    rotate(&world).await;
    let sync = ["sync", "db", "-y", "-n", &world.namespace];
    world.bin.run(&sync).await.exits(0);
    // The provider has changed again, and the operator has not synced that.
    world.rest().await;
    let name = format!("{}-store", world.namespace);
    let data = json!([{"key": "db", "value": "later"}, {"key": "api", "value": "{\"user\":\"u\",\"token\":\"later\"}"}]);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    world.patch("SecretStore", &name, &change).await;
    let path = world.bin.file("restart.yaml", &policy);
    let path = path.to_str().expect("UTF-8");
    let stale = world
        .bin
        .run(&["restart", "-o", "json", "--config", path])
        .await;
    stale.exits(3);
    assert_eq!(stale.restart_of("web"), "left(secret-not-verified)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 1);
    world.resume().await;
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

async fn edited_data_restarts_nothing(world: World) {
    shop(&world).await;
    run(&world, &[]).await.exits(0);
    world.rest().await;
    world
        .patch("Secret", "db", &json!({"data": {"password": "ZWRpdGVk"}}))
        .await;
    let path = world.bin.file("restart.yaml", &world.named(POLICY));
    let outcome = world
        .bin
        .run(&[
            "restart",
            "-o",
            "json",
            "--config",
            path.to_str().expect("UTF-8"),
        ])
        .await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "left(secret-tampered)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 1);
    world.end().await;
}
