//! The admission policy of `manifests/components/admission`, which `tests/cluster/run` installs. The account `eso-sync` has all
//! rights here, so only the policy limits it.

use serde_json::{Value, json};

use crate::{
    restart::workload,
    scenarios,
    support::{World, eventually},
};

/// The beginning of every refusal.
const DENIED: &str =
    "ValidatingAdmissionPolicy 'eso-sync' with binding 'eso-sync' denied request: ";

/// A cluster with an object of each kind that eso-sync writes, and an account `eso-sync` with all rights.
async fn world() -> World {
    let world = World::cluster().await;
    scenarios::base(&world).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "eso-sync"}});
    world.apply(account).await;
    let group = "rbac.authorization.k8s.io";
    world
        .apply(json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": world.namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "eso-sync", "namespace": world.namespace}]}))
        .await;
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "Rollout"] {
        let mut object = workload(kind, "web", "db");
        object["metadata"]["annotations"] = json!({"team": "a", "eso-sync/stamp": "old"});
        object["spec"]["template"]["metadata"]["annotations"] = json!({"team": "a"});
        world.apply(object).await;
    }
    let mut object = workload("Deployment", "bare", "db");
    object["kind"] = json!("ReplicaSet");
    world.apply(object).await;
    let containers = json!([{"name": "main", "image": "none"}]);
    world
        .apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": containers}}))
        .await;
    for name in ["eso-sync-stamped", "other"] {
        let data = json!({"list": "a"});
        world
            .apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
            .await;
    }
    let parent = json!({"apiVersion": format!("external-secrets.io/{}", world.version), "kind": "ClusterExternalSecret",
        "metadata": {"name": world.namespace}, "spec": {"namespaceSelectors": [{"matchLabels": {"none": "none"}}],
            "externalSecretSpec": {"secretStoreRef": {"name": "none"}, "data": []}}});
    world.apply(parent).await;
    eventually("the Secret has the operator's hash", async || {
        let secret = world.get("Secret", "db").await?;
        secret["metadata"]["annotations"][eso_model::DATA_HASH]
            .as_str()
            .map(drop)
    })
    .await;
    world
}

/// The same change for all kinds of workloads.
fn each(kinds: &[&'static str], change: &Value) -> Vec<(&'static str, Value)> {
    kinds.iter().map(|kind| (*kind, change.clone())).collect()
}

const ROLLED: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
const STAMPED: [&str; 6] = [
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Rollout",
    "ReplicaSet",
    "Pod",
];

/// What eso-sync writes.
fn own_writes() -> Vec<(&'static str, Value)> {
    let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    let mut writes = vec![
        ("ExternalSecret", annotate("force-sync", json!("1"))),
        ("ExternalSecret", annotate("eso-sync/now", json!("1"))),
        (
            "ExternalSecret",
            annotate("eso.external-secrets.io/force-sync", json!("1")),
        ),
        (
            "ExternalSecret",
            annotate("external-secrets.io/force-sync", json!("1")),
        ),
        (
            "ClusterExternalSecret",
            annotate("external-secrets.io/force-sync", json!("1")),
        ),
        ("Secret", annotate(eso_model::DATA_HASH, Value::Null)),
        ("ConfigMap", json!({"data": {"list": "b", "more": "c"}})),
        ("ConfigMap", json!({"data": {"list": null}})),
        (
            "Rollout",
            json!({"metadata": {"annotations": {"eso-sync/stamp": "new"}}, "spec": {"restartAt": "2026-01-01T00:00:00Z"}}),
        ),
    ];
    writes.extend(each(
        &STAMPED,
        &annotate("eso-sync/stamp", json!("x".repeat(128 * 1024))),
    ));
    let restart = json!({"metadata": {"annotations": {"eso-sync/stamp": "new"}},
        "spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    writes.extend(each(&ROLLED, &restart));
    writes
}

/// What somebody with the account's token may try.
#[expect(clippy::too_many_lines, reason = "a line for each attack")]
fn attacks() -> Vec<(&'static str, Value)> {
    let annotate = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    let container = |change: Value| json!({"spec": {"template": {"spec": change}}});
    let evil = json!([{"name": "main", "image": "evil"}]);
    let mut attacks = vec![
        // Another store, another target, or an opt-out.
        (
            "ExternalSecret",
            json!({"spec": {"secretStoreRef": {"name": "evil"}}}),
        ),
        (
            "ExternalSecret",
            json!({"spec": {"target": {"name": "evil"}}}),
        ),
        ("ExternalSecret", json!({"spec": {"refreshInterval": null}})),
        ("ExternalSecret", annotate("eso-sync/ignore", json!("true"))),
        ("ExternalSecret", annotate("eso-sync/rotate", json!("true"))),
        (
            "ExternalSecret",
            annotate("meta.helm.sh/release-name", json!("evil")),
        ),
        (
            "ExternalSecret",
            annotate("argocd.argoproj.io/sync-options", json!("Delete=false")),
        ),
        (
            "ExternalSecret",
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        (
            "ExternalSecret",
            json!({"metadata": {"finalizers": ["evil.example/x"]}}),
        ),
        ("ClusterExternalSecret", annotate("force-sync", json!("1"))),
        (
            "ClusterExternalSecret",
            json!({"spec": {"namespaceSelectors": [{"matchLabels": {}}]}}),
        ),
        // The data of a Secret, its owner, or its other annotations.
        ("Secret", json!({"stringData": {"password": "evil"}})),
        ("Secret", json!({"data": {"password": null}})),
        ("Secret", json!({"immutable": true})),
        ("Secret", json!({"metadata": {"ownerReferences": null}})),
        ("Secret", annotate(eso_model::DATA_HASH, json!("evil"))),
        (
            "Secret",
            annotate("kubernetes.io/service-account.name", json!("admin")),
        ),
        ("ConfigMap", json!({"metadata": {"labels": {"a": "b"}}})),
        ("ConfigMap", json!({"binaryData": {"a": "YQ=="}})),
        ("ConfigMap", json!({"immutable": true})),
        ("Rollout", json!({"spec": {"paused": true}})),
        (
            "Rollout",
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}),
        ),
        (
            "Rollout",
            json!({"spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "evil"}}}),
        ),
        (
            "ReplicaSet",
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}),
        ),
        ("Pod", json!({"spec": {"activeDeadlineSeconds": 1}})),
    ];
    for kind in [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Rollout",
        "ReplicaSet",
    ] {
        attacks.extend([
            (kind, container(json!({"containers": evil}))),
            (kind, container(json!({"serviceAccountName": "admin"}))),
            (kind, container(json!({"hostPID": true}))),
            (
                kind,
                container(json!({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]})),
            ),
            (
                kind,
                json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
            ),
            (
                kind,
                json!({"spec": {"template": {"metadata": {"annotations": {"team": "evil"}}}}}),
            ),
            (kind, json!({"spec": {"minReadySeconds": 60}})),
        ]);
    }
    for kind in ["Deployment", "StatefulSet", "Rollout", "ReplicaSet"] {
        attacks.push((kind, json!({"spec": {"replicas": 0}})));
    }
    for kind in STAMPED {
        attacks.extend([
            (kind, annotate("other", json!("1"))),
            (kind, annotate("eso-sync/ignore", json!("true"))),
            (kind, json!({"metadata": {"labels": {"x": "y"}}})),
            (kind, json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}]}})),
        ]);
    }
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "Rollout"] {
        attacks.extend([
            (kind, annotate("team", json!("evil"))),
            (kind, annotate("team", Value::Null)),
            (kind, annotate("eso-sync/stamp", Value::Null)),
            (
                kind,
                json!({"spec": {"template": {"metadata": {"annotations": {"team": null}}}}}),
            ),
        ]);
    }
    attacks
}

fn name_of<'a>(world: &'a World, kind: &str) -> &'a str {
    match kind {
        "ExternalSecret" | "Secret" => "db",
        "ClusterExternalSecret" => &world.namespace,
        "ConfigMap" => "eso-sync-stamped",
        "ReplicaSet" => "bare",
        "Pod" => "pod",
        _ => "web",
    }
}

/// The API server's error for a change by the account, if any. Nothing is changed.
async fn refusal(world: &World, kind: &str, name: &str, change: &Value) -> Option<String> {
    let user = format!("system:serviceaccount:{}:eso-sync", world.namespace);
    world.try_patch_as(&user, kind, name, change).await.err()
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn the_account_can_write_only_what_eso_sync_writes() {
    let world = world().await;
    let mut wrong = Vec::new();
    for (kind, change) in own_writes() {
        if let Some(error) = refusal(&world, kind, name_of(&world, kind), &change).await {
            wrong.push(format!(
                "{kind} {}: {error}",
                change.to_string().get(..200).unwrap_or(&change.to_string())
            ));
        }
    }
    for (kind, change) in attacks() {
        match refusal(&world, kind, name_of(&world, kind), &change).await {
            Some(error) if error.contains(DENIED) => {}
            other => wrong.push(format!("{kind} {change}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.delete("ClusterRoleBinding", &world.namespace).await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn the_account_can_create_only_its_own_objects() {
    let world = world().await;
    let user = format!("system:serviceaccount:{}:eso-sync", world.namespace);
    let object = |kind: &str, name: &str, rest: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        object
            .as_object_mut()
            .expect("a map")
            .extend(rest.as_object().cloned().unwrap_or_default());
        object
    };
    let key = json!({"type": "eso-sync/stamp-key", "immutable": true, "stringData": {"key": "k"}});
    let own = object("Secret", "eso-sync-stamp-key", key.clone());
    assert_eq!(world.try_create_as(&user, &own).await, Ok(()));
    world.delete("ConfigMap", "eso-sync-stamped").await;
    for name in ["eso-sync-stamped", "eso-sync-history"] {
        let own = object("ConfigMap", name, json!({"data": {"list": "a"}}));
        assert_eq!(world.try_create_as(&user, &own).await, Ok(()));
    }
    let token = json!({"type": "kubernetes.io/service-account-token",
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "eso-sync"}}});
    for other in [
        object("Secret", "other", key),
        object(
            "Secret",
            "eso-sync-stamp-key",
            json!({"stringData": {"key": "k"}}),
        ),
        object("Secret", "t", token),
        object("ConfigMap", "new", json!({"data": {}})),
    ] {
        let refused = world
            .try_create_as(&user, &other)
            .await
            .expect_err("a refusal");
        assert!(refused.contains(DENIED), "{other}: {refused}");
    }
    let change = json!({"data": {"list": "evil"}});
    let refused = refusal(&world, "ConfigMap", "other", &change).await;
    assert!(refused.is_some_and(|error| error.contains(DENIED)));
    world.delete("ClusterRoleBinding", &world.namespace).await;
    world.end().await;
}
