//! The sandbox's operator, seen through the API.

use eso_model::digest;
use sandbox::{Sandbox, Settings};
use serde_json::{Value, json};

use super::support::{
    external_secret, force, patch, store, with, with_annotations, with_operator, with_spec,
};
use crate::support::eventually;

fn get(sandbox: &Sandbox, name: &str) -> Value {
    sandbox
        .get("externalsecrets", "team-a", name)
        .unwrap_or_default()
}

fn secret(sandbox: &Sandbox, name: &str) -> Value {
    sandbox.get("secrets", "team-a", name).unwrap_or_default()
}

fn is_proven(object: &Value) -> bool {
    let metadata =
        |field: &str| serde_json::from_value(object["metadata"][field].clone()).unwrap_or_default();
    let recorded = object["status"]["syncedResourceVersion"]
        .as_str()
        .unwrap_or_default();
    let generation = object["metadata"]["generation"]
        .as_i64()
        .unwrap_or_default();
    digest::is_synced(
        recorded,
        generation,
        &metadata("annotations"),
        &metadata("labels"),
    )
}

async fn proven(sandbox: &Sandbox, name: &str) -> Value {
    eventually(&format!("{name} is proven"), async || {
        Some(get(sandbox, name)).filter(is_proven)
    })
    .await
}

/// The Ready condition, once it has this reason.
async fn ready(sandbox: &Sandbox, name: &str, reason: &str) -> Value {
    eventually(&format!("{name} is {reason}"), async || {
        let condition = get(sandbox, name)["status"]["conditions"][0].clone();
        Some(condition).filter(|condition| condition["reason"] == reason)
    })
    .await
}

fn events(sandbox: &Sandbox, name: &str, reason: &str) -> Vec<Value> {
    let mut events = sandbox.list("events", Some("team-a"));
    events.retain(|event| event["involvedObject"]["name"] == name && event["reason"] == reason);
    events
}

/// The latest event with this reason, once there is one.
async fn event(sandbox: &Sandbox, name: &str, reason: &str) -> Value {
    eventually(&format!("an event {reason} of {name}"), async || {
        events(sandbox, name, reason).pop()
    })
    .await
}

fn password(value: &str) -> Value {
    store(&json!({"user": "u", "password": value}))
}

#[tokio::test]
async fn new_external_secret_is_synced() {
    let sandbox = with_operator().await;
    let mut object = with_annotations(external_secret("db"), json!({"note": "n"}));
    object["metadata"]["labels"] = json!({"app": "db"});
    sandbox.apply(object).unwrap();
    let object = proven(&sandbox, "db").await;
    assert_eq!(
        object["spec"]["refreshInterval"], "1h0m0s",
        "in Go's format"
    );
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["externalsecrets.external-secrets.io/externalsecret-cleanup"])
    );
    let status = &object["status"];
    assert_eq!(status["binding"]["name"], "db");
    assert!(
        status["refreshTime"]
            .as_str()
            .unwrap()
            .starts_with("2026-05-01T12:00:")
    );
    let condition = &status["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("SecretSynced"), &json!("secret synced"))
    );

    let secret = secret(&sandbox, "db");
    assert_eq!(secret["data"], json!({"password": "YmVmb3Jl"}));
    assert_eq!(
        secret["metadata"]["annotations"]["note"], "n",
        "annotations are copied"
    );
    assert!(
        secret["metadata"]["annotations"]["reconcile.external-secrets.io/data-hash"].is_string()
    );
    let labels = &secret["metadata"]["labels"];
    assert_eq!(
        (
            &labels["app"],
            &labels["reconcile.external-secrets.io/managed"]
        ),
        (&json!("db"), &json!("true"))
    );
    assert_eq!(
        secret["metadata"]["ownerReferences"][0]["uid"],
        object["metadata"]["uid"]
    );
    assert_eq!(
        secret["metadata"]["managedFields"][0]["manager"],
        "externalsecrets.external-secrets.io/db"
    );
    let created = event(&sandbox, "db", "Created").await;
    assert_eq!(
        (&created["message"], &created["source"]["component"]),
        (&json!("secret created"), &json!("external-secrets"))
    );
}

#[tokio::test]
async fn any_annotation_change_forces_a_sync() {
    let sandbox = with_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    proven(&sandbox, "db").await;
    sandbox.apply(password("after")).unwrap();
    let annotated = force(&sandbox, "db", "r1").await;
    assert!(!is_proven(&annotated));
    proven(&sandbox, "db").await;
    assert_eq!(secret(&sandbox, "db")["data"]["password"], "YWZ0ZXI=");
    assert_eq!(
        secret(&sandbox, "db")["metadata"]["annotations"]["force-sync"],
        "r1"
    );
    force(&sandbox, "db", "r2").await;
    proven(&sandbox, "db").await;
    eventually("the same event is counted", async || {
        let updated = event(&sandbox, "db", "Updated").await;
        (updated["count"] == 2 && events(&sandbox, "db", "Updated").len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn created_once_and_zero_interval_ignore_annotations() {
    let sandbox = with_operator().await;
    for (name, spec) in [
        ("once", json!({"refreshPolicy": "CreatedOnce"})),
        ("zero", json!({"refreshInterval": "0"})),
        (
            "change",
            json!({"refreshPolicy": "OnChange", "refreshInterval": "0"}),
        ),
    ] {
        sandbox.apply(with_spec(name, spec)).unwrap();
        proven(&sandbox, name).await;
        force(&sandbox, name, "r1").await;
    }
    // There is one queue for all: once the last is synced, the operator has processed the others.
    proven(&sandbox, "change").await;
    assert!(!is_proven(&get(&sandbox, "once")) && !is_proven(&get(&sandbox, "zero")));
    // The operator still restores a Secret that was edited.
    let broken =
        json!({"metadata": {"annotations": {"reconcile.external-secrets.io/data-hash": null}}});
    let path = "/api/v1/namespaces/team-a/secrets/once";
    super::support::call(&sandbox, http::Method::PATCH, path, broken).await;
    proven(&sandbox, "once").await;
}

#[tokio::test]
async fn elapsed_interval_causes_a_sync() {
    let sandbox = with_operator().await;
    sandbox
        .apply(with_spec("db", json!({"refreshInterval": "1s"})))
        .unwrap();
    let first = proven(&sandbox, "db").await["status"]["refreshTime"].clone();
    sandbox.apply(password("after")).unwrap();
    eventually("the new value is synced", async || {
        (secret(&sandbox, "db")["data"]["password"] == "YWZ0ZXI=").then_some(())
    })
    .await;
    assert_ne!(get(&sandbox, "db")["status"]["refreshTime"], first);
}

#[tokio::test]
async fn failures_change_only_condition_and_events() {
    let sandbox = with_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let before = proven(&sandbox, "db").await;
    sandbox.apply(store(&json!({"user": "u"}))).unwrap();
    force(&sandbox, "db", "r1").await;
    let condition = ready(&sandbox, "db", "SecretSyncedError").await;
    assert_eq!(
        (&condition["status"], &condition["message"]),
        (
            &json!("False"),
            &json!("could not get secret data from provider")
        )
    );
    let failing = get(&sandbox, "db");
    for field in ["refreshTime", "syncedResourceVersion"] {
        assert_eq!(failing["status"][field], before["status"][field], "{field}");
    }
    let failed = event(&sandbox, "db", "UpdateFailed").await;
    assert_eq!(
        failed["message"],
        "error processing spec.data[0] (key: /db), err: Secret does not exist"
    );
    assert_eq!(failed["type"], "Warning");
    eventually("it fails again", async || {
        (event(&sandbox, "db", "UpdateFailed").await["count"].as_u64()? > 2).then_some(())
    })
    .await;
    assert_eq!(
        get(&sandbox, "db"),
        failing,
        "the same failure does not touch the object"
    );
    sandbox.apply(password("after")).unwrap();
    proven(&sandbox, "db").await;
}

#[tokio::test]
async fn first_failure_leaves_an_empty_status() {
    let sandbox = with_operator().await;
    let gone = json!([{"extract": {"key": "/gone"}}]);
    sandbox
        .apply(with_spec("db", json!({"data": [], "dataFrom": gone})))
        .unwrap();
    ready(&sandbox, "db", "SecretSyncedError").await;
    let status = get(&sandbox, "db")["status"].clone();
    assert_eq!(
        (&status["refreshTime"], &status["binding"]),
        (&Value::Null, &json!({"name": ""}))
    );
    assert_eq!(secret(&sandbox, "db"), Value::Null);
    let failed = event(&sandbox, "db", "UpdateFailed").await;
    assert_eq!(
        failed["message"],
        "error processing spec.dataFrom[0].extract, err: Secret does not exist"
    );
}

#[tokio::test]
async fn creation_and_deletion_policies_are_applied() {
    let sandbox = with_operator().await;
    let nothing = json!([{"find": {"name": {"regexp": "^nothing"}}}]);
    let gone = json!([{"secretKey": "a", "remoteRef": {"key": "/gone"}}]);
    for (name, spec, reason, message, written) in [
        (
            "none",
            json!({"target": {"creationPolicy": "None"}}),
            "SecretSynced",
            "secret synced",
            false,
        ),
        (
            "merge",
            json!({"target": {"creationPolicy": "Merge"}}),
            "SecretMissing",
            "secret will not be created due to CreationPolicy=Merge",
            false,
        ),
        (
            "orphan",
            json!({"target": {"creationPolicy": "Orphan"}}),
            "SecretSynced",
            "secret synced",
            true,
        ),
        (
            "retain",
            json!({"data": [], "dataFrom": nothing}),
            "SecretSynced",
            "secret retained due to DeletionPolicy=Retain",
            false,
        ),
        (
            "delete",
            json!({"data": gone, "target": {"deletionPolicy": "Delete"}}),
            "SecretDeleted",
            "secret deleted due to DeletionPolicy=Delete",
            false,
        ),
    ] {
        sandbox.apply(with_spec(name, spec)).unwrap();
        let condition = ready(&sandbox, name, reason).await;
        assert_eq!(
            (&condition["status"], &condition["message"]),
            (&json!("True"), &json!(message)),
            "{name}"
        );
        assert_eq!(secret(&sandbox, name).is_object(), written, "{name}");
    }
    let missing = event(&sandbox, "delete", "MissingProviderSecret").await;
    assert_eq!(
        missing["message"],
        "secret does not exist at provider using spec.dataFrom[0] (key=/gone)"
    );
}

#[tokio::test]
async fn existing_secrets_are_merged_replaced_or_kept() {
    let sandbox = with_operator().await;
    let existing = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "team-a", "name": name},
            "stringData": {"keep": "me"},
        })
    };
    for name in ["merge", "owner"] {
        sandbox.apply(existing(name)).unwrap();
    }
    sandbox
        .apply(with_spec(
            "merge",
            json!({"target": {"creationPolicy": "Merge"}}),
        ))
        .unwrap();
    sandbox.apply(external_secret("owner")).unwrap();
    sandbox
        .apply(with_spec(
            "immutable",
            json!({"target": {"immutable": true}}),
        ))
        .unwrap();
    for name in ["merge", "owner", "immutable"] {
        proven(&sandbox, name).await;
    }
    assert_eq!(
        secret(&sandbox, "merge")["data"],
        json!({"keep": "bWU=", "password": "YmVmb3Jl"})
    );
    assert_eq!(
        secret(&sandbox, "merge")["metadata"]["ownerReferences"],
        Value::Null
    );
    assert_eq!(
        secret(&sandbox, "owner")["data"],
        json!({"password": "YmVmb3Jl"})
    );
    sandbox.apply(password("after")).unwrap();
    force(&sandbox, "immutable", "r1").await;
    proven(&sandbox, "immutable").await;
    assert_eq!(
        secret(&sandbox, "immutable")["data"]["password"],
        "YmVmb3Jl",
        "synced, but unchanged"
    );
}

#[tokio::test]
async fn target_of_another_external_secret_fails_permanently() {
    let sandbox = with_operator().await;
    sandbox.apply(external_secret("first")).unwrap();
    proven(&sandbox, "first").await;
    sandbox
        .apply(with_spec("second", json!({"target": {"name": "first"}})))
        .unwrap();
    let condition = ready(&sandbox, "second", "SecretSyncedError").await;
    assert_eq!(
        condition["message"],
        "target is owned by another ExternalSecret"
    );
    let failed = event(&sandbox, "second", "UpdateFailed").await;
    assert_eq!(
        failed["message"],
        "unable to mutate secret first: secret is owned by another ExternalSecret: first"
    );
}

#[tokio::test]
async fn template_results_match_the_operator() {
    let sandbox = with_operator().await;
    let target = |template: &str| json!({"target": {"template": {"data": {"url": template}}}});
    sandbox
        .apply(with_spec("good", target("pg://u:{{ .password }}@h")))
        .unwrap();
    sandbox
        .apply(with_spec(
            "bad",
            target("{{ (.password | mustFromJson).url }}"),
        ))
        .unwrap();
    sandbox
        .apply(with_annotations(
            with_spec("sprig", target("{{ .password | b64enc }}")),
            json!({"a": "b"}),
        ))
        .unwrap();
    proven(&sandbox, "good").await;
    assert_eq!(
        secret(&sandbox, "good")["data"],
        json!({"url": "cGc6Ly91OmJlZm9yZUBo"})
    );
    assert_eq!(
        secret(&sandbox, "good")["metadata"]["annotations"]["a"],
        Value::Null,
        "with a template, annotations are not copied"
    );
    assert_eq!(
        ready(&sandbox, "bad", "SecretSyncedError").await["message"],
        "could not update secret"
    );
    let failed = event(&sandbox, "bad", "UpdateFailed").await;
    assert_eq!(
        failed["message"],
        "could not apply template: could not execute template: could not execute template: unable to execute template at key url: \
         unable to execute template at key url: template: url:1:16: executing \"url\" at <mustFromJson>: error calling \
         mustFromJson: invalid character 'b' looking for beginning of value"
    );
    let refused = event(&sandbox, "sprig", "UpdateFailed").await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("the sandbox supports only"),
        "an unsupported template fails"
    );
}

#[tokio::test]
async fn unusable_stores_fail_their_external_secrets() {
    let sandbox = with_operator().await;
    let another = |name: &str, spec: Value, annotations: Value| {
        let mut object = with_annotations(store(&json!({})), annotations);
        object["metadata"]["name"] = name.into();
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        sandbox.apply(object).unwrap();
        let of_store = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": name}});
        sandbox.apply(with_spec(name, of_store)).unwrap();
    };
    another(
        "closed",
        json!({"conditions": [{"namespaces": ["team-b"]}]}),
        json!({}),
    );
    another(
        "unready",
        json!({}),
        json!({"sandbox.eso-sync/not-ready": "no credentials"}),
    );
    another("foreign", json!({"controller": "another"}), json!({}));
    let vault = json!({"vault": {"server": "http://v", "auth": {"tokenSecretRef": {"name": "t", "namespace": "team-a"}}}});
    another("unarmed", json!({"provider": vault}), json!({}));
    sandbox
        .apply(with_spec(
            "missing",
            json!({"secretStoreRef": {"name": "nope"}}),
        ))
        .unwrap();
    for (name, text) in [
        (
            "closed",
            "using cluster store \"closed\" is not allowed from namespace \"team-a\": denied by spec.condition",
        ),
        ("unready", "ClusterSecretStore \"unready\" is not ready"),
        ("unarmed", "ClusterSecretStore \"unarmed\" is not ready"),
        (
            "missing",
            "could not get SecretStore \"nope\", SecretStore.external-secrets.io \"nope\" not found",
        ),
    ] {
        let failed = event(&sandbox, name, "UpdateFailed").await;
        assert_eq!(
            failed["message"],
            json!(format!(
                "error processing spec.data[0] (key: /db), err: {text}"
            ))
        );
    }
    assert_eq!(
        get(&sandbox, "foreign")["status"],
        Value::Null,
        "another operator's store is ignored"
    );
    let store = sandbox.get("clustersecretstores", "", "unready").unwrap();
    assert_eq!(
        store["status"]["conditions"][0]["reason"],
        "InvalidProviderConfig"
    );
}

#[tokio::test]
async fn fixed_stores_become_ready() {
    let sandbox = with_operator().await;
    let broken = with_annotations(
        password("after"),
        json!({"sandbox.eso-sync/not-ready": "no credentials"}),
    );
    let is_ready = async |status: &str| {
        eventually(&format!("the store is Ready={status}"), async || {
            let store = sandbox.get("clustersecretstores", "", "fake")?;
            (store["status"]["conditions"][0]["status"] == status).then_some(())
        })
        .await;
    };
    is_ready("True").await;
    sandbox.apply(broken).unwrap();
    is_ready("False").await;
    sandbox.apply(password("after")).unwrap();
    is_ready("True").await;
}

#[tokio::test]
async fn children_follow_only_their_parent() {
    let sandbox = with_operator().await;
    let parent = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": {"name": "family"},
        "spec": {
            "externalSecretName": "child", "namespaceSelectors": [{"matchLabels": {"team": "yes"}}],
            "externalSecretMetadata": {"labels": {"l": "v"}},
            "externalSecretSpec": external_secret("x")["spec"],
        },
    });
    sandbox.apply(parent).unwrap();
    let child = proven(&sandbox, "child").await;
    assert_eq!(child["metadata"]["labels"], json!({"l": "v"}));
    assert_eq!(
        child["metadata"]["ownerReferences"][0]["kind"],
        "ClusterExternalSecret"
    );
    eventually("the parent lists its children", async || {
        let parent = sandbox.get("clusterexternalsecrets", "", "family")?;
        (parent["status"]["provisionedNamespaces"] == json!(["team-a", "team-b"])).then_some(())
    })
    .await;

    force(&sandbox, "child", "foreign").await;
    eventually("changes by others are overwritten", async || {
        get(&sandbox, "child")["metadata"]["annotations"]["force-sync"]
            .is_null()
            .then_some(())
    })
    .await;
    let path = "/apis/external-secrets.io/v1/clusterexternalsecrets/family";
    let change = json!({"metadata": {"annotations": {"external-secrets.io/force-sync": "r1"}}});
    super::support::call(&sandbox, http::Method::PATCH, path, change).await;
    eventually("the parent's annotation reaches its children", async || {
        let child = get(&sandbox, "child");
        let mirrored = child["metadata"]["annotations"]["external-secrets.io/force-sync"] == "r1";
        (mirrored && is_proven(&child)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn annotation_during_a_sync_causes_another_sync() {
    let sandbox = with_operator().await;
    let slow = json!({"sandbox.eso-sync/latency": "150ms"});
    sandbox
        .apply(with_annotations(external_secret("db"), slow))
        .unwrap();
    proven(&sandbox, "db").await;
    for value in ["r1", "r2", "r3"] {
        force(&sandbox, "db", value).await;
    }
    let object = proven(&sandbox, "db").await;
    assert_eq!(object["metadata"]["annotations"]["force-sync"], "r3");
    assert_eq!(
        object["metadata"]["annotations"]["sandbox.eso-sync/latency"],
        "150ms"
    );
}

#[tokio::test]
async fn provider_failures_can_be_simulated() {
    let sandbox = with_operator().await;
    let with_fault = |name: &str, annotations: Value| {
        sandbox
            .apply(with_annotations(external_secret(name), annotations))
            .unwrap();
    };
    with_fault(
        "denied",
        json!({"sandbox.eso-sync/deny": "AccessDeniedException: not you"}),
    );
    with_fault(
        "late",
        json!({"sandbox.eso-sync/fail-first": "2", "sandbox.eso-sync/fail-text": "not yet"}),
    );
    with_fault("throttled", json!({"sandbox.eso-sync/throttle": "1/s"}));
    let failed = event(&sandbox, "denied", "UpdateFailed").await;
    assert_eq!(
        failed["message"],
        "error processing spec.data[0] (key: /db), err: AccessDeniedException: not you"
    );
    proven(&sandbox, "late").await;
    assert_eq!(event(&sandbox, "late", "UpdateFailed").await["count"], 2);
    proven(&sandbox, "throttled").await;
    force(&sandbox, "throttled", "r1").await;
    let failed = event(&sandbox, "throttled", "UpdateFailed").await;
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("ThrottlingException: Rate exceeded")
    );
    proven(&sandbox, "throttled").await;
}

#[tokio::test]
async fn stopped_operator_catches_up_after_start() {
    let sandbox = with_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    proven(&sandbox, "db").await;
    sandbox.stop_operator();
    let annotated = force(&sandbox, "db", "r1").await;
    sandbox.compact();
    assert_eq!(
        get(&sandbox, "db")["metadata"]["resourceVersion"],
        annotated["metadata"]["resourceVersion"]
    );
    sandbox.start_operator();
    proven(&sandbox, "db").await;
}

#[tokio::test]
async fn damaged_or_deleted_secrets_are_restored() {
    let sandbox = with_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    proven(&sandbox, "db").await;
    let path = "/api/v1/namespaces/team-a/secrets/db";
    let damage = json!({"data": {"password": "aGFja2Vk", "extra": ""}});
    super::support::call(&sandbox, http::Method::PATCH, path, damage).await;
    let is_good = async || {
        eventually("the Secret is restored", async || {
            (secret(&sandbox, "db")["data"] == json!({"password": "YmVmb3Jl"})).then_some(())
        })
        .await;
    };
    is_good().await;
    let uid = secret(&sandbox, "db")["metadata"]["uid"].clone();
    sandbox.delete("secrets", "team-a", "db");
    is_good().await;
    assert_ne!(secret(&sandbox, "db")["metadata"]["uid"], uid);
}

#[tokio::test]
async fn deleting_an_external_secret_deletes_its_secret() {
    let sandbox = with_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    proven(&sandbox, "db").await;
    sandbox.delete("externalsecrets", "team-a", "db");
    eventually("both are gone", async || {
        (get(&sandbox, "db").is_null() && secret(&sandbox, "db").is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn old_operators_write_md5_digests() {
    let sandbox = with(Settings {
        md5: true,
        ..Settings::default()
    })
    .await;
    sandbox.apply(password("before")).unwrap();
    sandbox.apply(external_secret("db")).unwrap();
    let object = proven(&sandbox, "db").await;
    let recorded = object["status"]["syncedResourceVersion"].as_str().unwrap();
    assert_eq!(recorded.split_once('-').unwrap().1.len(), 32);
}

#[tokio::test]
async fn spec_changes_are_synced() {
    let sandbox = with_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let before = proven(&sandbox, "db").await;
    let change = json!({"spec": {"data": [{"secretKey": "user", "remoteRef": {"key": "/db", "property": "user"}}]}});
    patch(&sandbox, "db", change).await;
    let after = proven(&sandbox, "db").await;
    assert!(after["metadata"]["generation"].as_i64() > before["metadata"]["generation"].as_i64());
    assert_eq!(
        secret(&sandbox, "db")["data"],
        json!({"user": "dQ=="}),
        "the old key is gone"
    );
}
