//! Restarts from several places: a job, a laptop, a second job. Each pending restart happens once, and no installation
//! overwrites the stamps of another.

use sandbox::Fault;
use serde_json::{Value, json};

use super::{POLICY, rolled, shop, stamp, typed, version};
use crate::{
    scenarios::{rotate, rotate_to},
    support::{Outcome, Workspace, World},
};

/// The namespace of a job that is not in the default namespace.
const OPS: &str = "ops";

async fn namespace(world: &World, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    world.apply(object).await;
}

fn somewhere(world: &World) -> Workspace {
    Workspace::new(vec!["--server".to_owned(), world.embedded().url()])
}

/// A job in this namespace.
async fn job(world: &World, home: &str) -> Workspace {
    namespace(world, home).await;
    let mut bin = somewhere(world);
    bin.set("ESO_SYNC_POD_NAMESPACE", home);
    bin
}

/// A namespace that a laptop uses for its own key.
const DESK: &str = "desk";

/// A laptop whose user names this namespace.
async fn laptop(world: &World, lock_namespace: &str) -> Workspace {
    namespace(world, lock_namespace).await;
    let mut bin = somewhere(world);
    bin.set("ESO_SYNC_LOCK_NAMESPACE", lock_namespace);
    bin
}

async fn run(world: &World, bin: &Workspace) -> Outcome {
    run_with(world, bin, &[]).await
}

async fn run_with(world: &World, bin: &Workspace, more: &[&str]) -> Outcome {
    let policy = world
        .named(POLICY)
        .replace("wait: 1m", "wait: 1m, cooldown: 1ms");
    bin.policy(&policy, more).await
}

/// The Secret has the provider's new value, but no pod does.
async fn rotated_and_synced(world: &World) {
    rotate(world).await;
    let sync = ["sync", "db", "-y", "-n", &world.namespace];
    world.bin.run(&sync).await.exits(0);
}

/// The namespace of the key that made a workload's stamp.
async fn key_in(world: &World, name: &str) -> Value {
    stamp(world, "Deployment", name).await.expect("a stamp")["keyIn"].clone()
}

fn warns(outcome: &Outcome, of: &str) {
    let warnings = outcome.document()["warnings"].to_string();
    assert!(warnings.contains(of), "{warnings}");
}

/// No run writes to the workload.
async fn all_is_quiet(world: &World, all: &[&Workspace]) {
    let before = version(world, "Deployment", "web").await;
    for _ in 0..2 {
        for bin in all {
            let outcome = run(world, bin).await;
            assert_eq!(outcome.exits(0).restart_of("web"), "left(current)");
        }
    }
    assert_eq!(version(world, "Deployment", "web").await, before);
}

#[tokio::test]
async fn laptop_and_job_share_the_key_in_a_named_namespace() {
    let world = World::sandbox().await;
    shop(&world).await;
    let job = job(&world, "eso-sync").await;
    let laptop = laptop(&world, "eso-sync").await;
    run(&world, &job).await.exits(0);
    rotated_and_synced(&world).await;
    let ad_hoc = typed(&world);
    let outcome = laptop.run(&ad_hoc).await;
    outcome.restarted("web");
    all_is_quiet(&world, &[&job, &laptop]).await;
    rotate_to(&world, "later").await;
    let outcome = run(&world, &laptop).await;
    outcome.restarted("web");
    assert_eq!(outcome.document()["warnings"], json!([]));
    rotate_to(&world, "last").await;
    let outcome = run(&world, &job).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 4);
    world.end().await;
}

/// The job is not in a default namespace, and its stamps are older.
#[tokio::test]
async fn a_laptop_makes_restarts_pending_by_stamps_of_a_job() {
    let world = World::sandbox().await;
    shop(&world).await;
    let (job, laptop) = (job(&world, OPS).await, laptop(&world, DESK).await);
    run(&world, &job).await.exits(0);
    rotated_and_synced(&world).await;
    let outcome = run(&world, &laptop).await;
    outcome.restarted("web");
    warns(&outcome, "that this run does not use (ops)");
    assert!(
        !outcome.stdout.contains("--lock-namespace ops"),
        "a place that was read from an object is not recommended"
    );
    assert_eq!(
        key_in(&world, "web").await,
        json!(OPS),
        "the stamp keeps its key"
    );
    all_is_quiet(&world, &[&job, &laptop]).await;
    rotate_to(&world, "later").await;
    let outcome = run(&world, &job).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 3);
    world.end().await;
}

/// The stamps of the laptop are older. They have its own key, and the job is installed later.
#[tokio::test]
async fn a_job_makes_restarts_pending_by_stamps_of_a_laptop() {
    let world = World::sandbox().await;
    shop(&world).await;
    let laptop = laptop(&world, DESK).await;
    run(&world, &laptop).await.exits(0);
    assert_eq!(key_in(&world, "web").await, json!(DESK));
    rotated_and_synced(&world).await;
    let job = job(&world, OPS).await;
    let outcome = run(&world, &job).await;
    outcome.restarted("web");
    warns(&outcome, "that this run does not use (desk)");
    all_is_quiet(&world, &[&laptop, &job]).await;
    rotate_to(&world, "later").await;
    let outcome = run(&world, &laptop).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 3);
    world.end().await;
}

/// First a laptop runs without an installation. Then the job is installed in the namespace that its user named.
#[tokio::test]
async fn a_job_installed_later_uses_the_stamps_of_the_laptop() {
    let world = World::sandbox().await;
    shop(&world).await;
    let laptop = laptop(&world, "eso-sync").await;
    run(&world, &laptop).await.exits(0);
    rotated_and_synced(&world).await;
    let job = job(&world, "eso-sync").await;
    let outcome = run(&world, &job).await;
    outcome.restarted("web");
    assert_eq!(outcome.document()["warnings"], json!([]));
    all_is_quiet(&world, &[&laptop, &job]).await;
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

/// If the key cannot be read, the workload is neither restarted nor stamped again, because that would lose the pending restart.
#[tokio::test]
async fn an_unreadable_foreign_key_restarts_and_loses_nothing() {
    let world = World::sandbox().await;
    shop(&world).await;
    let (job, laptop) = (job(&world, OPS).await, laptop(&world, DESK).await);
    run(&world, &job).await.exits(0);
    rotated_and_synced(&world).await;
    let before = version(&world, "Deployment", "web").await;
    let denied = Fault::forbidden()
        .verb("get")
        .resource("secrets")
        .namespace(OPS);
    world.embedded().inject(denied);
    let outcome = run(&world, &laptop).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "left(key-elsewhere)");
    assert_eq!(version(&world, "Deployment", "web").await, before);
    world.embedded().clear_faults();
    let outcome = run(&world, &job).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

/// With --adopt-anew the laptop replaces the stamps. The job accepts that.
#[tokio::test]
async fn only_adopt_anew_replaces_an_unreadable_key() {
    let world = World::sandbox().await;
    shop(&world).await;
    let (job, laptop) = (job(&world, OPS).await, laptop(&world, DESK).await);
    run(&world, &job).await.exits(0);
    let denied = Fault::forbidden()
        .verb("get")
        .resource("secrets")
        .namespace(OPS);
    world.embedded().inject(denied);
    let outcome = run_with(&world, &laptop, &["--adopt-anew"]).await;
    assert_eq!(outcome.exits(0).restart_of("web"), "adopted(key-replaced)");
    warns(&outcome, "another key");
    assert_eq!(key_in(&world, "web").await, json!(DESK));
    world.embedded().clear_faults();
    all_is_quiet(&world, &[&job, &laptop]).await;
    assert_eq!(rolled(&world, "Deployment", "web").await, 1);
    world.end().await;
}

/// The stamp key was deleted. The next run creates all stamps again with a warning, and later runs do not.
#[tokio::test]
async fn a_deleted_foreign_key_is_replaced_once() {
    let world = World::sandbox().await;
    shop(&world).await;
    let (job, laptop) = (job(&world, OPS).await, laptop(&world, DESK).await);
    run(&world, &job).await.exits(0);
    assert!(
        world
            .embedded()
            .delete("secrets", OPS, "eso-sync-stamp-key")
    );
    rotated_and_synced(&world).await;
    let outcome = run(&world, &laptop).await;
    assert_eq!(outcome.exits(0).restart_of("web"), "adopted(key-replaced)");
    warns(&outcome, "pending restarts are no longer known");
    all_is_quiet(&world, &[&job, &laptop]).await;
    assert_eq!(rolled(&world, "Deployment", "web").await, 1);
    world.end().await;
}

/// Two jobs in two namespaces, with different policies for the same workload.
#[tokio::test]
async fn two_jobs_share_stamps() {
    let world = World::sandbox().await;
    shop(&world).await;
    let mut both = super::workload("Deployment", "both", "db");
    both["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "api", "secret": {"secretName": "api"}}]);
    world.apply(both).await;
    super::is_up(&world, "Deployment", "both").await;
    let (one, other) = (job(&world, "ops-a").await, job(&world, "ops-b").await);
    let of = |secret: &str| {
        let rule = format!("match: references, names: [both], secrets: [{secret}]");
        world.named(POLICY).replace("match: references", &rule)
    };
    for _ in 0..2 {
        one.policy(&of("db"), &[]).await.exits(0);
        other.policy(&of("api"), &[]).await.exits(0);
    }
    assert_eq!(key_in(&world, "both").await, json!("ops-a"));
    rotate(&world).await;
    let second = other.policy(&of("api"), &[]).await;
    second.restarted("both");
    let first = one.policy(&of("db"), &[]).await;
    assert_eq!(first.exits(0).restart_of("both"), "left(current)");
    let before = version(&world, "Deployment", "both").await;
    for _ in 0..2 {
        one.policy(&of("db"), &[]).await.exits(0);
        other.policy(&of("api"), &[]).await.exits(0);
    }
    assert_eq!(version(&world, "Deployment", "both").await, before);
    assert_eq!(rolled(&world, "Deployment", "both").await, 2);
    world.end().await;
}

/// Every user who can edit a workload can write any stamp. A stamp can only refer to Secrets with the name of the stamp key, and
/// a key with another id is not used.
#[tokio::test]
async fn a_stamp_with_a_forged_key_is_replaced() {
    let world = World::sandbox().await;
    shop(&world).await;
    let job = job(&world, OPS).await;
    run(&world, &job).await.exits(0);
    let foreign = job_elsewhere(&world).await;
    for place in ["../../api/v1/namespaces/ops-b", "ops-b", "none"] {
        let mut planted = stamp(&world, "Deployment", "web").await.expect("a stamp");
        planted["key"] = json!("0123456789ab");
        planted["keyIn"] = json!(place);
        let change = json!({"metadata": {"annotations": {"eso-sync/stamp": planted.to_string()}}});
        world.patch("Deployment", "web", &change).await;
        let outcome = run(&world, &job).await;
        assert_eq!(
            outcome.exits(0).restart_of("web"),
            "adopted(key-replaced)",
            "{place}"
        );
        assert_eq!(key_in(&world, "web").await, json!(OPS));
    }
    let asked = world.embedded().requests();
    assert!(asked.iter().all(|request| !request.path.contains("..")));
    drop(foreign);
    world.end().await;
}

/// Another job with a key.
async fn job_elsewhere(world: &World) -> Workspace {
    let other = job(world, "ops-b").await;
    run(world, &other).await.exits(0);
    let key = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "eso-sync-stamp-key", "namespace": "ops-b"},
        "data": {"key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
    });
    drop(world.embedded().apply(key));
    other
}
