//! Many Secrets and many workloads.

use serde_json::{Value, json};

use super::{POLICY, is_up, rolled, run, workload};
use crate::{
    scenarios::{base, rotate},
    support::{World, eventually},
};

/// 80 Secrets of one workload change at the same time.
#[tokio::test]
async fn eighty_changed_secrets_cause_one_rollout() {
    let world = World::sandbox().await;
    base(&world).await;
    let spec = world.get("ExternalSecret", "db").await.expect("db")["spec"].clone();
    let names: Vec<String> = (0..80).map(|number| format!("s-{number:02}")).collect();
    for name in &names {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name, "namespace": world.namespace}, "spec": spec,
        });
        drop(world.embedded().apply(object).expect("created"));
    }
    eventually("all are synced", async || {
        let secrets = world.list("Secret").await;
        let there = |name: &&String| {
            secrets
                .iter()
                .any(|secret| secret["metadata"]["name"] == **name)
        };
        names.iter().all(|name| there(&name)).then_some(())
    })
    .await;
    let mut web = workload("Deployment", "web", "db");
    let sources: Vec<Value> = names
        .iter()
        .map(|name| json!({"secretRef": {"name": name}}))
        .collect();
    web["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!(sources);
    world.apply(web).await;
    is_up(&world, "Deployment", "web").await;
    run(&world, &[]).await.exits(0);
    rotate(&world).await;
    let outcome = run(&world, &[]).await;
    outcome.restarted("web");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    let replica_sets = world.list("ReplicaSet").await;
    assert_eq!(replica_sets.len(), 2);
    world.end().await;
}

/// Each rule restarts one workload alone, then groups of `maxConcurrent`.
#[tokio::test]
async fn the_next_wave_waits_for_the_previous() {
    let world = World::sandbox().await;
    base(&world).await;
    for number in 0..7 {
        let mut web = workload("Deployment", &format!("web-{number}"), "db");
        web["spec"]["replicas"] = json!(1);
        world.apply(web).await;
    }
    for number in 0..7 {
        is_up(&world, "Deployment", &format!("web-{number}")).await;
    }
    let policy = world
        .named(POLICY)
        .replace("require: proven", "require: proven, maxConcurrent: 3");
    world.bin.policy(&policy, &[]).await.exits(0);
    rotate(&world).await;
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.exits(0);
    let waves: Vec<i64> = outcome.document()["restarts"]
        .as_array()
        .expect("some")
        .iter()
        .map(|restart| restart["wave"].as_i64().expect("a wave"))
        .collect();
    assert_eq!(waves, [1, 2, 2, 2, 3, 3, 3]);
    let times = restart_times(&world).await;
    for (one, other) in [(0, 1), (1, 4), (3, 4)] {
        assert!(times[one] <= times[other], "{times:?}");
    }
    assert_eq!(
        outcome.document()["summary"]["restarts"]["outcomes"],
        json!({"restarted": 7})
    );
    world.end().await;
}

async fn restart_times(world: &World) -> Vec<String> {
    let mut times = Vec::new();
    for number in 0..7 {
        let object = world
            .get("Deployment", &format!("web-{number}"))
            .await
            .expect("it");
        let stamp = object["metadata"]["annotations"]["eso-sync/stamp"].clone();
        let stamp: Value = serde_json::from_str(stamp.as_str().expect("a stamp")).expect("JSON");
        times.push(
            stamp["restarts"][0]["at"]
                .as_str()
                .expect("a time")
                .to_owned(),
        );
    }
    times
}
