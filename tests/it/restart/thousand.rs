//! A thousand workloads, told by the API server's own record: what it was asked and when, and every state it has held.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::workload;
use crate::{
    scenarios::{base, rotate},
    support::{World, eventually},
};

/// Restarts are this far apart at the least: `pace.restarts` is 200/s.
const APART: Duration = Duration::from_millis(5);

/// `maxConcurrent`
const AT_ONCE: usize = 40;

/// Secrets, each used by as many workloads.
const SECRETS: usize = 20;

const KINDS: [(&str, &str, usize); 3] = [
    ("DaemonSet", "daemonsets", 50),
    ("Deployment", "deployments", 800),
    ("StatefulSet", "statefulsets", 150),
];

const POLICY: &str = "select: [{namespaces: [NS]}]
sync: {when: always}
drift: {enabled: false}
pace: {restarts: 200/s, kubernetes: 10000/s}
safety: {maxRestarts: 1000}
restart: [{match: references, require: proven, wait: 1m, maxConcurrent: 40}]
";

/// One of each workload's Secrets is rotated.
async fn fleet(world: &World) {
    base(world).await;
    let spec = world.get("ExternalSecret", "db").await.expect("db")["spec"].clone();
    for number in 0..SECRETS {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": format!("s-{number}"), "namespace": world.namespace}, "spec": spec,
        });
        drop(world.embedded().apply(object).expect("created"));
    }
    for number in 0..SECRETS {
        world.ready(&format!("s-{number}"), "SecretSynced").await;
    }
    for (kind, _, count) in KINDS {
        for number in 0..count {
            let secret = format!("s-{}", number % SECRETS);
            let mut object = workload(kind, &name(kind, number), &secret);
            object["metadata"]["namespace"] = json!(world.namespace);
            if kind != "DaemonSet" {
                object["spec"]["replicas"] = json!(1);
            }
            drop(world.embedded().apply(object).expect("created"));
        }
    }
    for (kind, resource, count) in KINDS {
        for number in 0..count {
            let name = name(kind, number);
            eventually(&format!("{name} is up"), async || {
                let object = world.embedded().get(resource, &world.namespace, &name)?;
                is_up(kind, &object).then_some(())
            })
            .await;
        }
    }
}

fn name(kind: &str, number: usize) -> String {
    format!("{}-{number:03}", kind.to_lowercase())
}

/// Whether `kubectl rollout status` would call it done.
fn is_up(kind: &str, object: &Value) -> bool {
    let status = &object["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or_default();
    let counts = match kind {
        "DaemonSet" => {
            let nodes = count("desiredNumberScheduled");
            nodes > 0 && [count("updatedNumberScheduled"), count("numberAvailable")] == [nodes; 2]
        }
        "Deployment" => {
            [
                count("updatedReplicas"),
                count("replicas"),
                count("availableReplicas"),
            ] == [wanted; 3]
        }
        _ => {
            let done = status["currentRevision"] == status["updateRevision"];
            done && [count("readyReplicas"), count("availableReplicas")] == [wanted; 2]
        }
    };
    counts && status["observedGeneration"] == object["metadata"]["generation"]
}

/// The restart of one workload, in the resource versions in which it began and was over.
#[derive(Debug)]
struct Restart {
    began: u64,
    over: u64,
}

/// All restarts, in the order in which they began.
fn restarts(world: &World) -> Vec<Restart> {
    let mut restarts: Vec<Restart> = Vec::new();
    for (kind, resource, count) in KINDS {
        let mut of: BTreeMap<String, (Value, Restart)> = BTreeMap::new();
        for state in world.embedded().history(resource) {
            let at = &state["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"];
            if at.is_null() {
                continue;
            }
            let name = state["metadata"]["name"].as_str().expect("a name");
            let version = state["metadata"]["resourceVersion"]
                .as_str()
                .expect("a version");
            let version = version.parse().expect("a number");
            let began = || {
                (
                    at.clone(),
                    Restart {
                        began: version,
                        over: u64::MAX,
                    },
                )
            };
            let (first, restart) = of.entry(name.to_owned()).or_insert_with(began);
            assert_eq!(first, at, "{name} is restarted once");
            if is_up(kind, &state) {
                restart.over = restart.over.min(version);
            }
        }
        assert_eq!(of.len(), count, "all {resource} are restarted");
        restarts.extend(of.into_values().map(|(_, restart)| restart));
    }
    restarts.sort_by_key(|restart| restart.began);
    restarts
}

/// When the API server was asked for each restart.
fn times(world: &World) -> Vec<Instant> {
    let requests = world.embedded().requests();
    let restarts = requests.iter().filter(|request| {
        let body = String::from_utf8_lossy(&request.body);
        request.verb == "patch" && body.contains("kubectl.kubernetes.io/restartedAt")
    });
    restarts.map(|request| request.at).collect()
}

fn requests_for_workloads(world: &World) -> BTreeMap<(&'static str, &'static str), usize> {
    let mut counts = BTreeMap::new();
    for request in world.embedded().requests() {
        *counts.entry((request.verb, request.resource)).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_thousand_workloads_are_restarted_in_waves_at_the_pace() {
    let begin = Instant::now();
    let world = World::sandbox().await;
    fleet(&world).await;
    eprintln!("up {:?}", begin.elapsed());
    let path = world.bin.file("restart.yaml", &world.named(POLICY));
    let path = path.to_str().expect("UTF-8");
    world.bin.policy(&world.named(POLICY), &[]).await.exits(0);
    eprintln!("adopted {:?}", begin.elapsed());
    rotate(&world).await;
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    eprintln!("restarted {:?}", begin.elapsed());
    outcome.exits(0);
    eprintln!("{:#?}", requests_for_workloads(&world));
    let restarts = restarts(&world);
    let times = times(&world);
    assert_eq!(times.len(), restarts.len(), "no patch is repeated");
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart >= APART, "{apart:?}");
    }
    let (first, others) = restarts.split_first().expect("a thousand");
    let mut before = first.over;
    for wave in others.chunks(AT_ONCE) {
        let began = wave.first().expect("one").began;
        assert!(before < began, "the wave before is healthy");
        before = wave.iter().map(|restart| restart.over).max().expect("one");
    }
    let _ = path;
    world.end().await;
}
