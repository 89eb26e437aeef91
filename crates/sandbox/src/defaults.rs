//! The defaults that the API server fills into workloads.

use serde_json::{Value, json};

use super::{object, resource::Resource};

/// Fills in the fields that eso-sync and the controllers read.
pub(super) fn apply(resource: &Resource, object: &mut Value) {
    let defaults = match resource.kind {
        "Deployment" => json!({
            "replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, "strategy": {"type": "RollingUpdate"},
        }),
        "ReplicaSet" | "ReplicationController" => json!({"replicas": 1}),
        "StatefulSet" => json!({
            "replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate"},
        }),
        "DaemonSet" => {
            json!({"revisionHistoryLimit": 10, "updateStrategy": {"type": "RollingUpdate"}})
        }
        _ => return,
    };
    fill(object::child(object, "spec"), &defaults);
    let rolling = match resource.kind {
        "Deployment" => (
            "strategy",
            json!({"maxSurge": "25%", "maxUnavailable": "25%"}),
        ),
        "StatefulSet" => ("updateStrategy", json!({"partition": 0})),
        "DaemonSet" => (
            "updateStrategy",
            json!({"maxSurge": 0, "maxUnavailable": 1}),
        ),
        _ => return,
    };
    let (field, defaults) = rolling;
    let strategy = object.pointer_mut(&format!("/spec/{field}"));
    if let Some(strategy) =
        strategy.filter(|strategy| object::text(strategy, "/type") == "RollingUpdate")
    {
        fill(object::child(strategy, "rollingUpdate"), &defaults);
    }
}

fn fill(map: &mut serde_json::Map<String, Value>, defaults: &Value) {
    for (key, value) in defaults.as_object().into_iter().flatten() {
        map.entry(key.clone()).or_insert_with(|| value.clone());
    }
}
