//! The workload controllers of the sandbox, seen through the API.

use std::collections::BTreeSet;

use http::Method;
use sandbox::{self, Content, Fault, Sandbox, Settings};
use serde_json::{Value, json};

use super::support::{call, get, now, with, with_annotations, without_operator};
use crate::support::eventually;

const READY_AFTER: &str = "sandbox.eso-sync/ready-after";

fn workload(kind: &str, name: &str, mut spec: Value) -> Value {
    let group = match kind {
        "Rollout" => "argoproj.io/v1alpha1",
        _ => "apps/v1",
    };
    spec["selector"] = json!({"matchLabels": {"app": name}});
    spec["template"] = json!({
        "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    json!({
        "apiVersion": group, "kind": kind, "metadata": {"namespace": "team-a", "name": name}, "spec": spec,
    })
}

fn path(plural: &str, name: &str) -> String {
    let group = match plural {
        "rollouts" => "apis/argoproj.io/v1alpha1",
        "pods" => "api/v1",
        "poddisruptionbudgets" => "apis/policy/v1",
        _ => "apis/apps/v1",
    };
    format!("/{group}/namespaces/team-a/{plural}/{name}")
}

async fn change(sandbox: &Sandbox, plural: &str, name: &str, change: Value) -> Value {
    let (code, object) = call(sandbox, Method::PATCH, &path(plural, name), change).await;
    assert_eq!(code, 200, "{object}");
    object
}

/// A change of the template, like `kubectl rollout restart`.
fn restart(value: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": value}}}}})
}

fn all(sandbox: &Sandbox, plural: &str, app: &str) -> Vec<Value> {
    let mut found = sandbox.list(plural, Some("team-a"));
    found.retain(|object| object["metadata"]["labels"]["app"] == app);
    found
}

fn pods(sandbox: &Sandbox, app: &str) -> BTreeSet<String> {
    let found = all(sandbox, "pods", app);
    found
        .iter()
        .map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned())
        .collect()
}

fn status_of(sandbox: &Sandbox, plural: &str, name: &str) -> Value {
    let object = sandbox.get(plural, "team-a", name).unwrap_or_default();
    object["status"].clone()
}

/// The workload's status, once it has observed the current generation and has these numbers.
async fn settled(sandbox: &Sandbox, plural: &str, name: &str, numbers: Value) -> Value {
    eventually(&format!("{name} has {numbers}"), async || {
        let object = sandbox.get(plural, "team-a", name)?;
        let status = &object["status"];
        let seen = &status["observedGeneration"];
        let generation = &object["metadata"]["generation"];
        let seen = seen == generation || seen.as_str() == Some(&generation.to_string());
        let fits = |(key, value): (&String, &Value)| {
            status[key] == *value || (*value == 0 && status[key].is_null())
        };
        (seen && numbers.as_object().unwrap().iter().all(fits)).then(|| status.clone())
    })
    .await
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .unwrap()
}

/// Creates a Deployment with three available Pods.
async fn deployment(sandbox: &Sandbox, mut spec: Value) -> Value {
    spec["replicas"] = 3.into();
    sandbox.apply(workload("Deployment", "web", spec)).unwrap();
    settled(
        sandbox,
        "deployments",
        "web",
        json!({"replicas": 3, "availableReplicas": 3}),
    )
    .await
}

#[tokio::test]
async fn template_changes_replace_all_pods() {
    let sandbox = without_operator().await;
    let before = deployment(&sandbox, json!({})).await;
    assert_eq!(
        condition(&before, "Progressing")["reason"],
        "NewReplicaSetAvailable"
    );
    assert_eq!(condition(&before, "Available")["status"], "True");
    let old = pods(&sandbox, "web");
    let labelled = change(
        &sandbox,
        "deployments",
        "web",
        json!({"metadata": {"annotations": {"a": "b"}}}),
    )
    .await;
    assert_eq!(
        labelled["metadata"]["generation"], 1,
        "annotations do not change the generation"
    );
    let restarted = change(&sandbox, "deployments", "web", restart("1")).await;
    assert_eq!(restarted["metadata"]["generation"], 2);
    settled(
        &sandbox,
        "deployments",
        "web",
        json!({"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
    )
    .await;
    let new = pods(&sandbox, "web");
    assert_eq!((new.len(), new.is_disjoint(&old)), (3, true));
    let sets = all(&sandbox, "replicasets", "web");
    let replicas: BTreeSet<i64> = sets
        .iter()
        .map(|set| set["spec"]["replicas"].as_i64().unwrap())
        .collect();
    assert_eq!((sets.len(), replicas), (2, BTreeSet::from([0, 3])));
    let object = sandbox.get("deployments", "team-a", "web").unwrap();
    assert_eq!(
        object["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "2"
    );
    let pod = &all(&sandbox, "pods", "web")[0];
    assert_eq!(
        pod["status"]["startTime"],
        pod["metadata"]["creationTimestamp"]
    );
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
}

#[tokio::test]
async fn stuck_update_keeps_old_pods_and_exceeds_deadline() {
    let sandbox = without_operator().await;
    deployment(&sandbox, json!({"progressDeadlineSeconds": 1})).await;
    let old = pods(&sandbox, "web");
    change(
        &sandbox,
        "deployments",
        "web",
        json!({"metadata": {"annotations": {READY_AFTER: "never"}}}),
    )
    .await;
    change(&sandbox, "deployments", "web", restart("1")).await;
    let status = settled(&sandbox, "deployments", "web", json!({"replicas": 4, "updatedReplicas": 1, "availableReplicas": 3, "unavailableReplicas": 1})).await;
    assert_eq!(condition(&status, "Available")["status"], "True");
    assert!(pods(&sandbox, "web").is_superset(&old));
    let late = eventually("the deadline has passed", async || {
        let status = status_of(&sandbox, "deployments", "web");
        Some(condition(&status, "Progressing").clone())
            .filter(|condition| condition["status"] == "False")
    })
    .await;
    assert_eq!(late["reason"], "ProgressDeadlineExceeded");
    assert!(
        late["message"]
            .as_str()
            .unwrap()
            .ends_with("has timed out progressing.")
    );
}

#[tokio::test]
async fn pods_become_ready_late_or_crash() {
    let sandbox = without_operator().await;
    let late = with_annotations(
        workload("Deployment", "late", json!({})),
        json!({READY_AFTER: "300ms"}),
    );
    sandbox.apply(late).unwrap();
    settled(
        &sandbox,
        "deployments",
        "late",
        json!({"replicas": 1, "readyReplicas": 0}),
    )
    .await;
    settled(
        &sandbox,
        "deployments",
        "late",
        json!({"availableReplicas": 1}),
    )
    .await;
    let mut crashing = workload("Deployment", "bad", json!({}));
    crashing["spec"]["template"]["metadata"]["annotations"] =
        json!({"sandbox.eso-sync/crashes": "true"});
    sandbox.apply(crashing).unwrap();
    settled(
        &sandbox,
        "deployments",
        "bad",
        json!({"replicas": 1, "unavailableReplicas": 1}),
    )
    .await;
    let pod = eventually("the Pod crashes", async || {
        all(&sandbox, "pods", "bad")
            .pop()
            .filter(|pod| pod["status"]["phase"] == "Running")
    })
    .await;
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (
            &container["ready"],
            &container["state"]["waiting"]["reason"]
        ),
        (&json!(false), &json!("CrashLoopBackOff"))
    );
}

#[tokio::test]
async fn paused_deployment_keeps_pods_and_zero_replicas_has_none() {
    let sandbox = without_operator().await;
    deployment(&sandbox, json!({})).await;
    let old = pods(&sandbox, "web");
    let paused = change(
        &sandbox,
        "deployments",
        "web",
        json!({"spec": {"paused": true}}),
    )
    .await;
    assert_eq!(paused["metadata"]["generation"], 2);
    change(&sandbox, "deployments", "web", restart("1")).await;
    let status = settled(
        &sandbox,
        "deployments",
        "web",
        json!({"replicas": 3, "updatedReplicas": 0}),
    )
    .await;
    assert_eq!(
        condition(&status, "Progressing")["reason"],
        "DeploymentPaused"
    );
    assert_eq!(pods(&sandbox, "web"), old);
    change(
        &sandbox,
        "deployments",
        "web",
        json!({"spec": {"paused": null}}),
    )
    .await;
    settled(
        &sandbox,
        "deployments",
        "web",
        json!({"updatedReplicas": 3, "availableReplicas": 3}),
    )
    .await;
    change(
        &sandbox,
        "deployments",
        "web",
        json!({"spec": {"replicas": 0}}),
    )
    .await;
    settled(
        &sandbox,
        "deployments",
        "web",
        json!({"replicas": 0, "availableReplicas": 0}),
    )
    .await;
    assert_eq!(pods(&sandbox, "web"), BTreeSet::new());
    change(&sandbox, "deployments", "web", restart("2")).await;
    settled(&sandbox, "deployments", "web", json!({"replicas": 0})).await;
    assert_eq!(pods(&sandbox, "web"), BTreeSet::new());
}

#[tokio::test]
async fn recreate_strategy_never_mixes_templates() {
    let sandbox = without_operator().await;
    deployment(&sandbox, json!({"strategy": {"type": "Recreate"}})).await;
    let old = pods(&sandbox, "web");
    change(
        &sandbox,
        "deployments",
        "web",
        json!({"metadata": {"annotations": {READY_AFTER: "never"}}}),
    )
    .await;
    change(&sandbox, "deployments", "web", restart("1")).await;
    settled(
        &sandbox,
        "deployments",
        "web",
        json!({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 0}),
    )
    .await;
    assert!(pods(&sandbox, "web").is_disjoint(&old));
}

#[tokio::test]
async fn stateful_set_pods_are_replaced_in_descending_order() {
    let sandbox = without_operator().await;
    let set = workload("StatefulSet", "db", json!({"replicas": 3}));
    sandbox.apply(set).unwrap();
    let before = settled(
        &sandbox,
        "statefulsets",
        "db",
        json!({"readyReplicas": 3, "updatedReplicas": 3}),
    )
    .await;
    assert_eq!(before["currentRevision"], before["updateRevision"]);
    let uid = |name: &str| {
        sandbox
            .get("pods", "team-a", name)
            .map(|pod| pod["metadata"]["uid"].clone())
    };
    let old: Vec<_> = ["db-0", "db-1", "db-2"].map(uid).into();
    // The first replaced Pod never becomes ready, so the others are not replaced.
    change(
        &sandbox,
        "statefulsets",
        "db",
        json!({"metadata": {"annotations": {READY_AFTER: "never"}}}),
    )
    .await;
    change(&sandbox, "statefulsets", "db", restart("1")).await;
    let stuck = settled(
        &sandbox,
        "statefulsets",
        "db",
        json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "currentReplicas": 2}),
    )
    .await;
    assert_ne!(stuck["currentRevision"], stuck["updateRevision"]);
    assert_eq!((uid("db-0"), uid("db-1")), (old[0].clone(), old[1].clone()));
    assert_ne!(uid("db-2"), old[2]);
    // Somebody fixes it.
    change(
        &sandbox,
        "statefulsets",
        "db",
        json!({"metadata": {"annotations": {READY_AFTER: null}}}),
    )
    .await;
    sandbox.delete("pods", "team-a", "db-2");
    let after = settled(
        &sandbox,
        "statefulsets",
        "db",
        json!({"readyReplicas": 3, "updatedReplicas": 3, "currentReplicas": 3}),
    )
    .await;
    assert_eq!(after["currentRevision"], after["updateRevision"]);
    assert_ne!(uid("db-0"), old[0]);
}

#[tokio::test]
async fn partition_and_on_delete_keep_old_pods() {
    let sandbox = without_operator().await;
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    sandbox
        .apply(workload(
            "StatefulSet",
            "db",
            json!({"replicas": 3, "updateStrategy": strategy}),
        ))
        .unwrap();
    sandbox
        .apply(workload(
            "StatefulSet",
            "own",
            json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}),
        ))
        .unwrap();
    settled(&sandbox, "statefulsets", "db", json!({"readyReplicas": 3})).await;
    settled(&sandbox, "statefulsets", "own", json!({"readyReplicas": 2})).await;
    let own = pods(&sandbox, "own");
    for name in ["db", "own"] {
        change(&sandbox, "statefulsets", name, restart("1")).await;
    }
    settled(
        &sandbox,
        "statefulsets",
        "db",
        json!({"readyReplicas": 3, "updatedReplicas": 1, "currentReplicas": 2}),
    )
    .await;
    sandbox.delete("pods", "team-a", "db-0");
    settled(
        &sandbox,
        "statefulsets",
        "db",
        json!({"readyReplicas": 3, "updatedReplicas": 1}),
    )
    .await;
    settled(
        &sandbox,
        "statefulsets",
        "own",
        json!({"readyReplicas": 2, "updatedReplicas": 0}),
    )
    .await;
    assert_eq!(pods(&sandbox, "own"), own);
    sandbox.delete("pods", "team-a", "own-1");
    settled(
        &sandbox,
        "statefulsets",
        "own",
        json!({"readyReplicas": 2, "updatedReplicas": 1}),
    )
    .await;
}

#[tokio::test]
async fn daemon_set_has_one_pod_per_node() {
    let sandbox = without_operator().await;
    sandbox
        .apply(workload("DaemonSet", "agent", json!({})))
        .unwrap();
    sandbox
        .apply(workload(
            "DaemonSet",
            "own",
            json!({"updateStrategy": {"type": "OnDelete"}}),
        ))
        .unwrap();
    for name in ["agent", "own"] {
        settled(
            &sandbox,
            "daemonsets",
            name,
            json!({"desiredNumberScheduled": 3, "numberAvailable": 3, "updatedNumberScheduled": 3}),
        )
        .await;
    }
    let (agent, own) = (pods(&sandbox, "agent"), pods(&sandbox, "own"));
    for name in ["agent", "own"] {
        change(&sandbox, "daemonsets", name, restart("1")).await;
    }
    settled(
        &sandbox,
        "daemonsets",
        "agent",
        json!({"updatedNumberScheduled": 3, "numberAvailable": 3}),
    )
    .await;
    assert!(pods(&sandbox, "agent").is_disjoint(&agent));
    settled(
        &sandbox,
        "daemonsets",
        "own",
        json!({"updatedNumberScheduled": 0, "numberAvailable": 3}),
    )
    .await;
    assert_eq!(pods(&sandbox, "own"), own);
    // One Pod at a time: the first that does not become ready stops the update.
    let working = pods(&sandbox, "agent");
    change(
        &sandbox,
        "daemonsets",
        "agent",
        json!({"metadata": {"annotations": {READY_AFTER: "never"}}}),
    )
    .await;
    change(&sandbox, "daemonsets", "agent", restart("2")).await;
    settled(
        &sandbox,
        "daemonsets",
        "agent",
        json!({"updatedNumberScheduled": 1, "numberAvailable": 2, "numberUnavailable": 1}),
    )
    .await;
    assert_eq!(pods(&sandbox, "agent").intersection(&working).count(), 2);
}

fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "team-a", "name": name}})
}

#[tokio::test]
async fn evicted_pods_return_and_budgets_limit_evictions() {
    let sandbox = without_operator().await;
    deployment(&sandbox, json!({})).await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": "team-a", "name": "web"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    });
    sandbox.apply(budget).unwrap();
    settled(&sandbox, "poddisruptionbudgets", "web", json!({"expectedPods": 3, "currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 1})).await;
    change(
        &sandbox,
        "deployments",
        "web",
        json!({"metadata": {"annotations": {READY_AFTER: "never"}}}),
    )
    .await;
    let names: Vec<String> = all(&sandbox, "pods", "web")
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let evict = async |name: &str| {
        let path = format!("{}/eviction", path("pods", name));
        call(&sandbox, Method::POST, &path, eviction(name)).await
    };
    let (code, answer) = evict(&names[0]).await;
    assert_eq!((code, &answer["status"]), (201, &json!("Success")));
    settled(
        &sandbox,
        "poddisruptionbudgets",
        "web",
        json!({"currentHealthy": 2, "disruptionsAllowed": 0}),
    )
    .await;
    settled(
        &sandbox,
        "deployments",
        "web",
        json!({"replicas": 3, "availableReplicas": 2}),
    )
    .await;
    let (code, answer) = evict(&names[1]).await;
    assert_eq!((code, &answer["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(
        answer["message"],
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    assert_eq!(
        answer["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 2 currently"}])
    );
    assert!(sandbox.get("pods", "team-a", &names[1]).is_some());
    assert_eq!(evict("gone").await.0, 404);
    sandbox.inject(Fault::forbidden().resource("pods/eviction"));
    assert_eq!(evict(&names[1]).await.0, 403);
}

#[tokio::test]
async fn argo_rollout_restart_keeps_the_template() {
    let sandbox = without_operator().await;
    let group = get(&sandbox, "/apis/argoproj.io").await;
    assert_eq!(group["preferredVersion"]["version"], "v1alpha1");
    sandbox
        .apply(workload(
            "Rollout",
            "ro",
            json!({"replicas": 3, "strategy": {"canary": {}}}),
        ))
        .unwrap();
    let before = settled(
        &sandbox,
        "rollouts",
        "ro",
        json!({"availableReplicas": 3, "phase": "Healthy"}),
    )
    .await;
    let old = pods(&sandbox, "ro");
    // The Pods are created at the start of the clock, so one second later they are older than `restartAt`.
    let at = "2026-05-01T12:00:01Z";
    change(
        &sandbox,
        "rollouts",
        "ro",
        json!({"spec": {"restartAt": at}}),
    )
    .await;
    let after = settled(
        &sandbox,
        "rollouts",
        "ro",
        json!({"restartedAt": at, "availableReplicas": 3, "phase": "Healthy"}),
    )
    .await;
    let new = pods(&sandbox, "ro");
    assert_eq!((new.len(), new.is_disjoint(&old)), (3, true));
    assert_eq!(after["currentPodHash"], before["currentPodHash"]);
    assert_eq!(all(&sandbox, "replicasets", "ro").len(), 1);
    let list = get(&sandbox, "/apis/argoproj.io/v1alpha1/rollouts").await;
    assert_eq!(list["items"][0]["kind"], "Rollout");
}

#[tokio::test]
async fn argo_rollouts_can_be_absent() {
    let sandbox = with(Settings {
        argo: false,
        ..Settings::default()
    })
    .await;
    for path in [
        "/apis/argoproj.io",
        "/apis/argoproj.io/v1alpha1",
        "/apis/argoproj.io/v1alpha1/rollouts",
    ] {
        let (code, body) = call(&sandbox, Method::GET, path, Value::Null).await;
        assert_eq!((code, body), (404, json!("404 page not found\n")), "{path}");
    }
}

#[tokio::test]
async fn loaded_workloads_run_since_their_creation() {
    let folder = tempfile::tempdir().unwrap();
    let mut object = workload("Deployment", "web", json!({"replicas": 2}));
    object["metadata"]["creationTimestamp"] = "${now-9h}".into();
    object["metadata"]["annotations"] = json!({READY_AFTER: "1h"});
    std::fs::write(folder.path().join("m.json"), object.to_string()).unwrap();
    let sandbox = sandbox::start(&Content::Directory(folder.path().to_owned()), now())
        .await
        .unwrap();
    let status = status_of(&sandbox, "deployments", "web");
    assert_eq!(
        (
            &status["availableReplicas"],
            &condition(&status, "Progressing")["reason"]
        ),
        (&json!(2), &json!("NewReplicaSetAvailable"))
    );
    for pod in all(&sandbox, "pods", "web") {
        for time in [
            &pod["metadata"]["creationTimestamp"],
            &pod["status"]["startTime"],
            &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
        ] {
            assert_eq!(time, "2026-05-01T03:00:00Z");
        }
    }
}

#[tokio::test]
async fn unmanaged_workloads_stay_unchanged() {
    let sandbox = without_operator().await;
    let object = with_annotations(
        workload("Deployment", "web", json!({})),
        json!({"sandbox.eso-sync/unmanaged": "true"}),
    );
    sandbox.apply(object).unwrap();
    sandbox
        .apply(workload("Deployment", "other", json!({})))
        .unwrap();
    settled(
        &sandbox,
        "deployments",
        "other",
        json!({"availableReplicas": 1}),
    )
    .await;
    assert_eq!(status_of(&sandbox, "deployments", "web"), Value::Null);
    sandbox.delete("deployments", "team-a", "other");
    assert_eq!(
        pods(&sandbox, "other"),
        BTreeSet::new(),
        "Pods are deleted with their workload"
    );
}

#[tokio::test]
async fn restart_can_conflict() {
    let sandbox = without_operator().await;
    let before = deployment(&sandbox, json!({})).await;
    sandbox.inject(
        Fault::status(409)
            .verb("patch")
            .resource("deployments")
            .times(1),
    );
    let patch = async || {
        call(
            &sandbox,
            Method::PATCH,
            &path("deployments", "web"),
            restart("1"),
        )
        .await
    };
    let (code, answer) = patch().await;
    assert_eq!((code, &answer["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        answer["message"],
        "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(status_of(&sandbox, "deployments", "web"), before);
    assert_eq!(patch().await.0, 200);
}

/// The workloads of the default content have run since before the rotation.
#[tokio::test]
async fn default_content_has_running_workloads() {
    let sandbox = sandbox::start(&Content::Default, now()).await.unwrap();
    for (plural, namespace, name, field, count) in [
        ("deployments", "payments", "api", "availableReplicas", 3),
        ("deployments", "web", "frontend", "availableReplicas", 2),
        ("deployments", "shop", "checkout", "availableReplicas", 2),
        ("statefulsets", "data", "warehouse", "readyReplicas", 2),
        ("daemonsets", "team-a", "collector", "numberAvailable", 3),
        (
            "poddisruptionbudgets",
            "payments",
            "api",
            "disruptionsAllowed",
            1,
        ),
    ] {
        let object = sandbox.get(plural, namespace, name).unwrap();
        assert_eq!(object["status"][field], count, "{name}: {object}");
    }
    let pods = sandbox.list("pods", None);
    assert_eq!(pods.len(), 14);
    for pod in pods {
        assert!(
            pod["status"]["startTime"].as_str() < Some("2026-05-01T12:00:00Z"),
            "{pod}"
        );
    }
}
