//! The Lease, and the namespace of the lock and the stamp key.

use std::time::Duration;

use sandbox::Fault;
use serde_json::{Value, json};

use crate::{
    interruptions::run,
    scenarios::{POLICY, base},
    support::{Workspace, World, eventually},
};

fn lease(world: &World, holder: &str, transitions: u32) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "eso-sync", "namespace": world.namespace},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": transitions},
    })
}

/// While a run reads the Lease to take it, another run finishes. The run must not carry out its older plan.
#[tokio::test]
async fn plan_is_made_again_if_another_run_finished_since() {
    let world = World::sandbox().await;
    base(&world).await;
    // The run reads the Lease before the cluster, and again when it takes the lock.
    let late = Fault::latency(Duration::from_secs(2))
        .verb("get")
        .resource("leases")
        .after(1)
        .times(1);
    world.embedded().inject(late);
    let running = world.start(POLICY);
    eventually("the run takes the lock", async || {
        let requests = world.embedded().requests();
        let reads = requests
            .iter()
            .filter(|request| request.resource == "leases" && request.verb == "get");
        (reads.count() == 2).then_some(())
    })
    .await;
    // The other run releases the lock. Meanwhile, an ExternalSecret was deleted.
    world.delete("ExternalSecret", "db").await;
    world.apply(lease(&world, "", 1)).await;
    let outcome = running.end().await;
    outcome.exits(0);
    let document = outcome.document();
    assert_eq!(document["summary"]["selected"], json!(1), "{document}");
    assert_eq!(outcome.of("api"), "synced");
    assert!(
        outcome.stderr.contains("planning again"),
        "{}",
        outcome.stderr
    );
    world.end().await;
}

#[tokio::test]
async fn plan_is_made_once_if_no_other_run_was_there() {
    let world = World::sandbox().await;
    base(&world).await;
    world.apply(lease(&world, "", 1)).await;
    for _ in 0..2 {
        let before = world.embedded().requests().len();
        run(&world, &[]).await.exits(0);
        let requests = world.embedded().requests().split_off(before);
        let lists = requests
            .iter()
            .filter(|request| request.resource == "externalsecrets" && request.verb == "list");
        assert_eq!(lists.count(), 1);
    }
    world.end().await;
}

fn somewhere(world: &World) -> Workspace {
    Workspace::new(vec!["--server".to_owned(), world.embedded().url()])
}

/// Without a flag and outside of a Pod, no namespace is chosen for the stamp key: somebody else may own any that exists.
#[tokio::test]
async fn commands_that_need_stamps_need_a_named_namespace() {
    let world = World::sandbox().await;
    base(&world).await;
    for name in ["default", "eso-sync"] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        world.apply(object).await;
    }
    let bin = somewhere(&world);
    let policy = world.named(&format!(
        "{POLICY}restart: [{{match: references, require: proven}}]\n"
    ));
    let path = bin.file("policy.yaml", &policy);
    let path = path.to_str().expect("UTF-8");
    let before = world.embedded().requests().len();
    for command in [
        &["run", "-c", path][..],
        &["run", "--dry-run", "-c", path],
        &["restart", "-c", path],
        &["plan", "-c", path],
        &["status", "-c", path],
        &["sync", "db", "--restart", "-y", "-n", &world.namespace],
    ] {
        let outcome = bin.run(command).await;
        let stderr = &outcome.exits(4).stderr;
        assert!(stderr.contains("its namespace is not given"), "{stderr}");
        assert!(stderr.contains("--lock-namespace NAME"), "{stderr}");
    }
    let requests = world.embedded().requests().split_off(before);
    let about_keys = requests
        .iter()
        .filter(|request| request.resource == "secrets");
    assert_eq!(about_keys.count(), 0);
    bin.run(&["sync", "db", "-y", "-n", &world.namespace])
        .await
        .exits(0);
    bin.run(&["plan", "-c", path, "--lock-namespace", "eso-sync"])
        .await
        .exits(0);
    world.end().await;
}

/// A command by hand needs no installation. A policy says that there is a lock, so a run without one ends.
#[tokio::test]
async fn lock_is_never_taken_in_a_namespace_that_nobody_named() {
    let world = World::sandbox().await;
    base(&world).await;
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    world.apply(object).await;
    let bin = somewhere(&world);
    let outcome = bin.run(&["sync", "db", "-y", "-n", &world.namespace]).await;
    let stderr = &outcome.exits(0).stderr;
    assert!(stderr.contains("running without a lock"), "{stderr}");
    let outcome = bin.policy(&world.named(POLICY), &[]).await;
    let stderr = &outcome.exits(4).stderr;
    assert!(stderr.contains("--lock-namespace NAME"), "{stderr}");
    assert_eq!(world.get_in("default", "Lease", "eso-sync").await, None);
    world.end().await;
}

/// Who knows the key can guess the values behind all stamps.
#[tokio::test]
async fn stamp_key_that_somebody_else_wrote_is_not_used() {
    let world = World::sandbox().await;
    base(&world).await;
    let policy = world.named(&format!(
        "{POLICY}restart: [{{match: references, require: proven}}]\n"
    ));
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let planted = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "eso-sync/stamp-key", "immutable": true,
        "metadata": {"name": "eso-sync-stamp-key", "namespace": world.namespace}, "data": {"key": key},
    });
    let mut of_other_type = planted.clone();
    of_other_type["type"] = json!("Opaque");
    let mut mutable = planted.clone();
    mutable["immutable"] = json!(false);
    for secret in [planted, of_other_type, mutable] {
        world.apply(secret).await;
        let outcome = world.bin.policy(&policy, &[]).await;
        let gaps = outcome.exits(3).document()["gaps"].to_string();
        assert!(gaps.contains("its key is not used"), "{gaps}");
        world.delete("Secret", "eso-sync-stamp-key").await;
    }
    world.bin.policy(&policy, &[]).await.exits(0);
    let again = world.bin.policy(&policy, &[]).await;
    again.exits(0);
    world.end().await;
}
