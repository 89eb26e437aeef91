//! A thousand workloads, checked against the API server's record of requests and of all object versions.

use std::{collections::BTreeMap, time::Duration};

use sandbox::{Fault, Request};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::workload;
use crate::{
    scenarios::{base, rotate},
    support::{Outcome, World, eventually},
};

/// The minimum time between restarts: `pace.restarts` is 500/s.
const APART: Duration = Duration::from_millis(2);

/// `maxConcurrent`
const AT_ONCE: usize = 40;

/// The number of Secrets. Each is used by the same number of workloads.
const SECRETS: usize = 20;

const KINDS: [(&str, &str, usize); 3] = [
    ("DaemonSet", "daemonsets", 50),
    ("Deployment", "deployments", 800),
    ("StatefulSet", "statefulsets", 150),
];

const POLICY: &str = "select: [{namespaces: [NS]}]
sync: {when: always}
drift: {enabled: false}
pace: {restarts: 500/s, kubernetes: 10000/s}
safety: {maxRestarts: 1000}
restart: [{match: references, require: proven, wait: 1m, maxConcurrent: 40}]
";

/// Each workload uses one of the rotated Secrets.
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

/// True if `kubectl rollout status` would report success.
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

/// The restart of one workload: the resource versions at its begin and end.
#[derive(Debug)]
struct Restart {
    began: u64,
    over: u64,
}

/// All restarts, by their begin.
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
            assert_eq!(first, at, "{name} was restarted more than once");
            if is_up(kind, &state) {
                restart.over = restart.over.min(version);
            }
        }
        assert_eq!(of.len(), count, "not all {resource} were restarted");
        restarts.extend(of.into_values().map(|(_, restart)| restart));
    }
    restarts.sort_by_key(|restart| restart.began);
    restarts
}

/// The times of the restart requests.
fn times(requests: &[Request]) -> Vec<Instant> {
    let restarts = requests.iter().filter(|request| {
        let body = String::from_utf8_lossy(&request.body);
        request.verb == "patch" && body.contains("kubectl.kubernetes.io/restartedAt")
    });
    restarts.map(|request| request.at).collect()
}

#[track_caller]
fn are_apart(times: &[Instant], least: Duration) {
    for pair in times.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart >= least, "{apart:?}");
    }
}

/// Runs the policy. Returns the requests that it sent to the API server.
async fn run(world: &World, policy: &str) -> (Outcome, Vec<Request>) {
    let before = world.embedded().requests().len();
    let outcome = world.bin.policy(&world.named(policy), &[]).await;
    let requests = world.embedded().requests().split_off(before);
    (outcome, requests)
}

#[tokio::test]
async fn a_thousand_workloads_restart_a_few_at_a_time_at_the_rate() {
    let world = World::sandbox().await;
    fleet(&world).await;
    world.bin.policy(&world.named(POLICY), &[]).await.exits(0);
    rotate(&world).await;
    let (outcome, requests) = run(&world, POLICY).await;
    outcome.exits(0);
    let restarts = restarts(&world);
    let times = times(&requests);
    assert_eq!(times.len(), restarts.len(), "no patch is repeated");
    are_apart(&times, APART);
    let (canary, others) = restarts.split_first().expect("a thousand");
    let second = others.first().expect("others").began;
    assert!(canary.over < second, "the first one goes alone");
    for restart in others {
        let is_open = |other: &&Restart| other.began <= restart.began && restart.began < other.over;
        let open = others.iter().filter(is_open).count();
        assert!(open <= AT_ONCE, "{open} at the same time");
    }
    // For each restart: the workload, its Secret, its pods before and after, the patch, and a watch until it is healthy.
    let shared = requests.len() - 6 * restarts.len();
    assert!(
        shared < 150,
        "{shared} requests in addition to six per restart"
    );
    let (again, requests) = run(&world, POLICY).await;
    again.exits(0);
    let mut kinds = KINDS.into_iter();
    let written = |resource| {
        requests
            .iter()
            .any(|request| (request.verb, request.resource) == ("patch", resource))
    };
    assert!(
        !kinds.any(|(_, resource, _)| written(resource)),
        "no restart is pending"
    );
    world.end().await;
}

/// The first restart of a wave is slow. The others do not catch up.
#[tokio::test]
async fn a_slow_api_server_keeps_restarts_apart() {
    let world = World::sandbox().await;
    base(&world).await;
    for number in 0..4 {
        world
            .apply(workload("Deployment", &name("Deployment", number), "db"))
            .await;
    }
    for number in 0..4 {
        super::is_up(&world, "Deployment", &name("Deployment", number)).await;
    }
    let policy = POLICY.replace("500/s", "2/s");
    run(&world, &policy).await.0.exits(0);
    rotate(&world).await;
    let slow = Fault::latency(Duration::from_millis(800))
        .verb("get")
        .path("*/deployment-001");
    world.embedded().inject(slow);
    let (outcome, requests) = run(&world, &policy).await;
    outcome.exits(0);
    let times = times(&requests);
    assert_eq!(times.len(), 4);
    are_apart(&times, Duration::from_millis(500));
    world.end().await;
}
