//! One tenant cannot stop the run for the others: by too much to do, or by failures.

use serde_json::{Value, json};

use crate::{
    scenarios::{AFTER, base, rotate},
    support::{Outcome, World, eventually},
};

/// Creates a namespace with a store, and ExternalSecrets that read this key of it.
async fn tenant(world: &World, namespace: &str, count: usize, key: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    world.apply(object).await;
    let version = format!("external-secrets.io/{}", world.version);
    let data = json!([{"key": "db", "value": "before"}]);
    let store = json!({
        "apiVersion": version, "kind": "SecretStore", "metadata": {"name": "store", "namespace": namespace},
        "spec": {"provider": {"fake": {"data": data}}},
    });
    world.apply(store).await;
    for index in 0..count {
        let object = json!({
            "apiVersion": version, "kind": "ExternalSecret",
            "metadata": {"name": format!("x-{index:03}"), "namespace": namespace},
            "spec": {
                "refreshInterval": "1h", "secretStoreRef": {"name": "store"},
                "data": [{"secretKey": "password", "remoteRef": {"key": key}}],
            },
        });
        let applied = world.embedded().apply(object);
        drop(applied.expect("it is created"));
    }
    let last = format!("x-{:03}", count - 1);
    let reason = if key == "db" {
        "SecretSynced"
    } else {
        "SecretSyncedError"
    };
    world.ready_in(namespace, &last, reason).await;
}

async fn run(world: &World, policy: &str, namespaces: &[&str]) -> Outcome {
    let namespaces = [&[&*world.namespace], namespaces].concat().join(", ");
    let policy = policy.replace("ALL", &namespaces);
    world.bin.policy(&policy, &[]).await
}

/// How many items of a namespace have this outcome.
fn count(outcome: &Outcome, namespace: &str, wanted: &str) -> usize {
    let document = outcome.document();
    let items = document["items"].as_array().expect("items");
    let is = |item: &&Value| {
        let reason = item["reason"]
            .as_str()
            .filter(|_| item["outcome"] != "synced");
        let reason = reason.map(|reason| format!("({reason})"));
        let result = item["outcome"].as_str().expect("an outcome").to_owned();
        item["namespace"] == namespace && result + &reason.unwrap_or_default() == wanted
    };
    items.iter().filter(is).count()
}

async fn both_are_current(world: &World) {
    assert_eq!(world.secret("db", "password").await.as_deref(), Some(AFTER));
    assert_eq!(world.secret("api", "token").await.as_deref(), Some(AFTER));
}

/// With default limits: 500 drifted ExternalSecrets are too many together with two others.
#[tokio::test]
async fn other_namespaces_are_synced_if_one_exceeds_the_limit() {
    let world = World::sandbox().await;
    base(&world).await;
    tenant(&world, "large", 500, "db").await;
    let data = json!([{"key": "db", "value": "after"}]);
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "store", "namespace": "large"},
        "spec": {"provider": {"fake": {"data": data}}},
    });
    world.apply(store).await;
    rotate(&world).await;
    let outcome = run(&world, "select: [{namespaces: [ALL]}]\n", &["large"]).await;
    outcome.exits(5);
    assert_eq!(count(&outcome, "large", "skipped(namespace-limit)"), 500);
    assert_eq!(count(&outcome, &world.namespace, "synced"), 2);
    both_are_current(&world).await;
    let document = outcome.document();
    let why = &document["summary"]["leftAlone"]["large"];
    assert_eq!(
        why,
        "500 ExternalSecrets of this namespace would be synced, more than half of safety.maxSyncs (500), which the run would exceed"
    );
    assert_eq!(document["run"]["complete"], json!(true));
    world.end().await;
}

/// One tenant has a wrong key in all of its ExternalSecrets.
#[tokio::test]
async fn other_namespaces_are_synced_if_one_fails() {
    let world = World::sandbox().await;
    base(&world).await;
    tenant(&world, "failing", 40, "no-such-key").await;
    tenant(&world, "large", 30, "db").await;
    rotate(&world).await;
    let policy = "select: [{namespaces: [ALL]}]\nsync: {when: always, retries: 0}\ndrift: {enabled: false}\npace: {inFlight: 2}\n";
    let outcome = run(&world, policy, &["failing", "large"]).await;
    outcome.exits(5);
    assert_eq!(count(&outcome, &world.namespace, "synced"), 2);
    assert_eq!(count(&outcome, "large", "synced"), 30);
    both_are_current(&world).await;
    let failed = count(&outcome, "failing", "failed(not-found)");
    let left = count(&outcome, "failing", "not-reached(too-many-failures)");
    assert!((10..=14).contains(&failed), "{failed}");
    assert_eq!(failed + left, 40);
    let document = outcome.document();
    let why = document["summary"]["stoppedNamespaces"]["failing"].as_str();
    assert_eq!(
        why,
        Some(&*format!(
            "{failed} of {failed} syncs in its namespace failed"
        ))
    );
    assert_eq!(document["summary"]["stopped"], "too-many-failures");
    assert_eq!(document["run"]["complete"], json!(false));
    world.end().await;
}

/// Twelve failures used to stop the run. They leave nothing in their namespace to stop, so the run is complete.
#[tokio::test]
async fn twelve_failures_of_a_tenant_stop_nobody() {
    let world = World::sandbox().await;
    base(&world).await;
    tenant(&world, "failing", 12, "no-such-key").await;
    tenant(&world, "late", 12, "db").await;
    rotate(&world).await;
    let policy = "select: [{namespaces: [ALL]}]\nsync: {when: always, retries: 0}\ndrift: {enabled: false}\n";
    let outcome = run(&world, policy, &["failing", "late"]).await;
    assert!([3, 5].contains(&outcome.code), "{}", outcome.stdout);
    assert_eq!(count(&outcome, &world.namespace, "synced"), 2);
    assert_eq!(count(&outcome, "late", "synced"), 12);
    world.end().await;
}

/// If half of the namespaces, and at least three, fail, the cause is probably common.
#[tokio::test]
async fn failures_in_half_of_the_namespaces_stop_the_run() {
    let world = World::sandbox().await;
    base(&world).await;
    let failing = ["fail-a", "fail-b", "fail-c"];
    for namespace in failing {
        tenant(&world, namespace, 12, "no-such-key").await;
    }
    tenant(&world, "large", 100, "db").await;
    let policy = "select: [{namespaces: [ALL]}]\nsync: {when: always, retries: 0}\ndrift: {enabled: false}\npace: {inFlight: 2}\n";
    let outcome = run(&world, policy, &[&failing[..], &["large"]].concat()).await;
    outcome.exits(5);
    assert!(count(&outcome, "large", "not-reached(too-many-failures)") > 0);
    assert_eq!(
        outcome.document()["summary"]["stopped"],
        "too-many-failures"
    );
    world.end().await;
}

/// The namespace with few ExternalSecrets is served before the large one is done, although its name is the last one.
#[tokio::test]
async fn small_namespace_does_not_wait_for_a_large_one() {
    let world = World::sandbox().await;
    base(&world).await;
    tenant(&world, "large", 60, "db").await;
    tenant(&world, "zz-small", 1, "db").await;
    world.rest().await;
    let policy = "select: [{namespaces: [large, zz-small]}]\nsync: {when: always}\ndrift: {enabled: false}\npace: {inFlight: 4}\n";
    let running = world.start(policy);
    eventually("the small namespace is annotated", async || {
        let object = world.get_in("zz-small", "ExternalSecret", "x-000").await?;
        object["metadata"]["annotations"]["force-sync"]
            .as_str()
            .map(drop)
    })
    .await;
    world.resume().await;
    running.end().await.exits(0);
    world.end().await;
}

#[tokio::test]
async fn refusal_comes_first_with_the_flag_that_allows_it() {
    let world = World::sandbox().await;
    base(&world).await;
    let namespace = &*world.namespace;
    let all = ["sync", "--all", "-y", "-n", namespace, "--max-syncs", "1"];
    let refused = world.bin.run(&all).await;
    let first = "limit exceeded: 2 ExternalSecrets would be synced, but safety.maxSyncs allows 1; nothing was changed\n  \
                 next: `--max-syncs 2` allows all of it\n";
    assert!(
        refused.exits(5).stdout.starts_with(first),
        "{}",
        refused.stdout
    );
    let allowed = ["sync", "--all", "-y", "-n", namespace, "--max-syncs", "2"];
    world.bin.run(&allowed).await.exits(0);
    world.end().await;
}

#[tokio::test]
async fn misspelt_namespace_is_a_warning_and_fails_if_required() {
    let world = World::sandbox().await;
    base(&world).await;
    for (safety, code) in [("", 0), ("safety: {requireMatch: true}\n", 3)] {
        let policy =
            format!("select: [{{namespaces: [ALL]}}]\ndrift: {{enabled: false}}\n{safety}");
        let outcome = run(&world, &policy, &["paymnets"]).await;
        assert_eq!(
            outcome.exits(code).document()["warnings"],
            json!(["no ExternalSecret is in a namespace that matches `paymnets`"])
        );
        assert_eq!([outcome.of("db"), outcome.of("api")], ["synced", "synced"]);
    }
    world.end().await;
}
