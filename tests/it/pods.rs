//! Pods that become ready late, never, or crash after a restart.

use serde_json::{Value, json};

use crate::{
    restart::{POLICY, is_up, rolled, workload},
    scenarios::{base, rotate},
    support::{Outcome, World, eventually, scenarios},
};

scenarios! {
    late_pods_are_awaited
    unready_pods_of_a_deployment_stop_the_rule_until_healthy
    crashing_pods_are_reported_with_the_reason
    a_deployment_past_its_progress_deadline_fails_at_once
    unready_pods_of_a_stateful_set_stop_the_rule
    unready_pods_of_a_daemon_set_stop_the_rule
}

/// Read by the simulated nodes of a cluster when a restart creates the pods (tests/cluster/stages.yaml).
const AFTER_RESTART: &str = "test/after-restart";

/// Read by the sandbox's nodes for all later pods.
const IN_THE_SANDBOX: [&str; 2] = ["sandbox.eso-sync/ready-after", "sandbox.eso-sync/crashes"];

/// Starts a workload. The pods of its next restart become ready late (a duration), `never`, or `crash`.
pub(crate) async fn up(world: &World, mut object: Value, after_restart: &str) {
    object["spec"]["template"]["metadata"]["annotations"] = json!({AFTER_RESTART: after_restart});
    let [kind, name] = [&object["kind"], &object["metadata"]["name"]]
        .map(|text| text.as_str().expect("a text").to_owned());
    world.apply(object).await;
    is_up(world, &kind, &name).await;
    if world.sandbox.is_some() {
        let told = match after_restart {
            "crash" => json!({IN_THE_SANDBOX[1]: "true"}),
            after => json!({IN_THE_SANDBOX[0]: after}),
        };
        obey(world, &kind, &name, &told).await;
    }
}

async fn obey(world: &World, kind: &str, name: &str, told: &Value) {
    let change = json!({"metadata": {"annotations": told}});
    world.patch(kind, name, &change).await;
}

/// Lets all current and later pods of a workload become ready.
async fn heal(world: &World, kind: &str, name: &str) {
    if world.sandbox.is_some() {
        let at_once = json!({IN_THE_SANDBOX[0]: "0s"});
        obey(world, kind, name, &at_once).await;
    }
    eventually(&format!("{kind} {name} is healthy"), async || {
        for pod in world.list("Pod").await {
            if pod["metadata"]["labels"]["app"] != name || is_ready(&pod) {
                continue;
            }
            let pod = pod["metadata"]["name"].as_str().expect("a name").to_owned();
            if world.sandbox.is_some() {
                world.delete_if_there("Pod", &pod).await;
            } else {
                let change = json!({"metadata": {"annotations": {AFTER_RESTART: null}}});
                world.patch_if_there("Pod", &pod, &change).await;
            }
        }
        let status = &world.get(kind, name).await?["status"];
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        counts
            .iter()
            .all(|count| status[count] == json!(3))
            .then_some(())
    })
    .await;
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A Deployment whose new pods all start at once, to make the tests faster.
fn deployment(name: &str) -> Value {
    let mut object = workload("Deployment", name, "db");
    object["spec"]["strategy"] =
        json!({"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}});
    object
}

/// Starts another healthy workload of the same rule. It is restarted after the workloads called `web`.
async fn next(world: &World) {
    world.apply(deployment("xyz")).await;
    is_up(world, "Deployment", "xyz").await;
}

async fn run(world: &World, wait: &str, more: &[&str]) -> Outcome {
    let policy = world
        .named(POLICY)
        .replace("wait: 1m", &format!("wait: {wait}"));
    world.bin.policy(&policy, more).await
}

/// The workload's entry in the report.
pub(crate) fn told(outcome: &Outcome, name: &str) -> Value {
    let document = outcome.document();
    let restarts = document["restarts"].as_array().expect("restarts");
    let found = restarts.iter().find(|restart| restart["name"] == name);
    found.expect("it").clone()
}

fn message(outcome: &Outcome, name: &str) -> String {
    let message = told(outcome, name)["message"].clone();
    message.as_str().expect("a message").to_owned()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
}

async fn late_pods_are_awaited(world: World) {
    base(&world).await;
    up(&world, deployment("web"), "2s").await;
    next(&world).await;
    rotate(&world).await;
    let running = world.start(POLICY);
    eventually("the second workload is restarted", async || {
        (rolled(&world, "Deployment", "xyz").await == 2).then_some(())
    })
    .await;
    let first = world.get("Deployment", "web").await.expect("it")["status"].clone();
    for count in ["replicas", "updatedReplicas", "availableReplicas"] {
        assert_eq!(
            first[count],
            json!(3),
            "all pods of the first are ready before that: {first}"
        );
    }
    let outcome = running.end().await;
    outcome.restarted("web");
    assert_eq!(outcome.restart_of("xyz"), "restarted(data-changed)");
    let took = told(&outcome, "web")["tookSeconds"].as_f64();
    // Measured from the response to the patch.
    assert!(took.is_some_and(|took| took >= 1.0), "{took:?}");
    world.end().await;
}

async fn unready_pods_of_a_deployment_stop_the_rule_until_healthy(world: World) {
    base(&world).await;
    up(&world, deployment("web"), "never").await;
    next(&world).await;
    rotate(&world).await;
    let outcome = run(&world, "2s", &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    assert_eq!(outcome.restart_of("xyz"), "not-reached(rule-stopped)");
    let lacking = [
        "container main of pod web-",
        "is running but not ready (2 more are not ready)",
    ];
    says(&message(&outcome, "web"), &lacking);
    let took = told(&outcome, "web")["tookSeconds"]
        .as_f64()
        .expect("a time");
    assert!(
        (1.5..30.0).contains(&took),
        "as long as `wait` of the rule: {took}"
    );

    let later = run(&world, "1s", &[]).await;
    later.exits(3);
    assert_eq!(later.restart_of("xyz"), "not-reached(namespace-stopped)");
    says(
        &message(&later, "xyz"),
        &["Deployment/web was restarted with the current data and is not healthy"],
    );
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(rolled(&world, "Deployment", "xyz").await, 1);

    heal(&world, "Deployment", "web").await;
    let healthy = run(&world, "1m", &[]).await;
    healthy.exits(0);
    assert_eq!(healthy.restart_of("web"), "left(current)");
    assert_eq!(healthy.restart_of("xyz"), "restarted(data-changed)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    world.end().await;
}

async fn crashing_pods_are_reported_with_the_reason(world: World) {
    base(&world).await;
    up(&world, deployment("web"), "crash").await;
    next(&world).await;
    rotate(&world).await;
    let outcome = run(&world, "2s", &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    assert_eq!(outcome.restart_of("xyz"), "not-reached(rule-stopped)");
    let why = [
        "container main of pod web-",
        "is waiting (CrashLoopBackOff), restarted 5 times",
    ];
    says(&message(&outcome, "web"), &why);
    // With --retry the other workloads are restarted, but not this one again.
    let retried = run(&world, "2s", &["--retry"]).await;
    assert_eq!(retried.restart_of("web"), "left(already-rolling)");
    assert_eq!(rolled(&world, "Deployment", "web").await, 2);
    assert_eq!(rolled(&world, "Deployment", "xyz").await, 2);
    world.end().await;
}

/// The controller reports the failure, so the run does not wait any longer.
async fn a_deployment_past_its_progress_deadline_fails_at_once(world: World) {
    base(&world).await;
    let mut web = deployment("web");
    web["spec"]["progressDeadlineSeconds"] = json!(2);
    up(&world, web, "never").await;
    next(&world).await;
    rotate(&world).await;
    let outcome = run(&world, "1m", &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    assert_eq!(outcome.restart_of("xyz"), "not-reached(rule-stopped)");
    says(
        &message(&outcome, "web"),
        &["has timed out progressing", "is running but not ready"],
    );
    let took = told(&outcome, "web")["tookSeconds"]
        .as_f64()
        .expect("a time");
    assert!(took < 40.0, "before the end of the wait: {took}");
    let later = run(&world, "1m", &[]).await;
    later.exits(3);
    // Now the failure is known from the start, so it is in the plan.
    assert_eq!(later.restart_of("xyz"), "left(namespace-stopped)");
    says(&message(&later, "xyz"), &["has timed out progressing"]);
    assert_eq!(rolled(&world, "Deployment", "xyz").await, 1);
    world.end().await;
}

/// A partition excludes the first pods. The restart is done when the other pods are ready, and fails if the last one never is.
async fn unready_pods_of_a_stateful_set_stop_the_rule(world: World) {
    base(&world).await;
    let held = |name: &str, partition: u32| {
        let mut object = workload("StatefulSet", name, "db");
        let rolling = json!({"partition": partition});
        object["spec"]["updateStrategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        object["spec"]["podManagementPolicy"] = json!("Parallel");
        object
    };
    let mut done = held("a", 2);
    done["metadata"]["labels"] = json!({"held": "but-one"});
    world.apply(done).await;
    is_up(&world, "StatefulSet", "a").await;
    up(&world, held("web", 1), "never").await;
    world.apply(held("xyz", 0)).await;
    is_up(&world, "StatefulSet", "xyz").await;
    rotate(&world).await;
    let policy = world.named(POLICY).replace(
        "restart: [{match: references, require: proven, wait: 1m}]",
        "restart: [{labelSelector: held=but-one, match: references, require: proven, wait: 1m}, \
         {match: references, require: proven, wait: 2s}]",
    );
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("a"), "unproven(pods-held-back)");
    assert_eq!(told(&outcome, "a")["newPods"], json!(["a-2"]));
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    let lacking = [
        "of 2 pods have the current template",
        "container main of pod web-2 is running but not ready",
    ];
    says(&message(&outcome, "web"), &lacking);
    assert_eq!(told(&outcome, "web")["newPods"], json!(["web-2"]));
    assert_eq!(told(&outcome, "web")["oldPods"], json!(["web-0", "web-1"]));
    assert_eq!(outcome.restart_of("xyz"), "not-reached(rule-stopped)");
    let later = world.bin.policy(&policy, &[]).await;
    later.exits(3);
    assert_eq!(later.restart_of("xyz"), "not-reached(namespace-stopped)");
    assert_eq!(rolled(&world, "StatefulSet", "xyz").await, 1);
    world.end().await;
}

async fn unready_pods_of_a_daemon_set_stop_the_rule(world: World) {
    base(&world).await;
    up(&world, workload("DaemonSet", "web", "db"), "never").await;
    next(&world).await;
    rotate(&world).await;
    let outcome = run(&world, "2s", &[]).await;
    outcome.exits(3);
    assert_eq!(outcome.restart_of("web"), "failed(not-healthy-again)");
    says(
        &message(&outcome, "web"),
        &["container main of pod web-", "is running but not ready"],
    );
    assert_eq!(outcome.restart_of("xyz"), "not-reached(rule-stopped)");
    let later = run(&world, "1s", &[]).await;
    assert_eq!(
        later.exits(3).restart_of("xyz"),
        "not-reached(namespace-stopped)"
    );
    assert_eq!(rolled(&world, "Deployment", "xyz").await, 1);
    world.end().await;
}
