//! Secrets, ConfigMaps and service accounts, read and written by clients and by the operator.

use http::Method;
use sandbox::{Fault, Sandbox, Settings};
use serde_json::{Value, json};

use super::support::{
    call, external_secret, force, get, names, store, with, with_operator, with_spec,
    without_operator,
};
use crate::support::eventually;

const SECRETS: &str = "/api/v1/namespaces/team-a/secrets";

fn object(kind: &str, name: &str, mut object: Value) -> Value {
    object["apiVersion"] = "v1".into();
    object["kind"] = kind.into();
    object["metadata"] = json!({"name": name});
    object
}

async fn create(sandbox: &Sandbox, path: &str, object: Value) -> Value {
    let (code, created) = call(sandbox, Method::POST, path, object).await;
    assert_eq!(code, 201, "{created}");
    created
}

/// The Secret of an ExternalSecret, once it contains this password.
async fn written(sandbox: &Sandbox, name: &str, password: &str) -> Value {
    eventually("the Secret holds the password", async || {
        sandbox
            .get("secrets", "team-a", name)
            .filter(|secret| secret["data"]["password"] == password)
    })
    .await
}

#[tokio::test]
async fn secrets_are_created_and_listed() {
    let sandbox = without_operator().await;
    for (name, labels) in [
        ("a", json!({})),
        ("b", json!({"app": "x"})),
        ("c", json!({"app": "x"})),
    ] {
        let mut secret = object(
            "Secret",
            name,
            json!({"data": {"k": "dg=="}, "stringData": {"text": "v"}}),
        );
        secret["metadata"]["labels"] = labels;
        let created = create(&sandbox, &format!("{SECRETS}?fieldManager=me"), secret).await;
        assert_eq!(created["data"], json!({"k": "dg==", "text": "dg=="}));
        assert_eq!(created["type"], "Opaque");
        assert_eq!(created["metadata"]["generation"], Value::Null);
        let fields = &created["metadata"]["managedFields"][0];
        assert_eq!(fields["manager"], "me");
        assert_eq!(
            fields["fieldsV1"]["f:data"],
            json!({".": {}, "f:k": {}, "f:text": {}})
        );
    }
    assert_eq!(
        names(&get(&sandbox, &format!("{SECRETS}?labelSelector=app%3Dx")).await),
        ["b", "c"]
    );
    let page = get(&sandbox, &format!("{SECRETS}?limit=2")).await;
    assert_eq!(
        (names(&page), &page["metadata"]["remainingItemCount"]),
        (vec!["a".to_owned(), "b".to_owned()], &json!(1))
    );
    assert_eq!(
        page["items"][0]["kind"],
        Value::Null,
        "list items of built-in kinds have no kind"
    );
}

#[tokio::test]
async fn secret_writes_check_preconditions() {
    let sandbox = without_operator().await;
    create(
        &sandbox,
        SECRETS,
        object("Secret", "a", json!({"data": {"k": "dg=="}})),
    )
    .await;
    let path = format!("{SECRETS}/a");
    let before = get(&sandbox, &path).await;
    let version = &before["metadata"]["resourceVersion"];
    let change = json!({"metadata": {"resourceVersion": version}, "data": {"k": "dw=="}});
    let (code, changed) = call(&sandbox, Method::PATCH, &path, change).await;
    assert_eq!((code, &changed["data"]), (200, &json!({"k": "dw=="})));
    let change = json!({"metadata": {"resourceVersion": version}, "data": {"k": "eA=="}});
    assert_eq!(
        call(&sandbox, Method::PATCH, &path, change).await.0,
        409,
        "the resource version is outdated"
    );
    let (_, patched) = call(
        &sandbox,
        Method::PATCH,
        &path,
        json!({"data": {"k": null, "n": "bg=="}}),
    )
    .await;
    assert_eq!(patched["data"], json!({"n": "bg=="}));

    for (field, stale) in [
        ("uid", json!("00000000-0000-0000-0000-000000000000")),
        (
            "resourceVersion",
            before["metadata"]["resourceVersion"].clone(),
        ),
    ] {
        let (code, status) = call(
            &sandbox,
            Method::DELETE,
            &path,
            json!({"preconditions": {field: stale}}),
        )
        .await;
        assert_eq!(
            (code, &status["reason"]),
            (409, &json!("Conflict")),
            "{field}"
        );
    }
    let metadata = &patched["metadata"];
    let options = json!({"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}});
    assert_eq!(call(&sandbox, Method::DELETE, &path, options).await.0, 200);
    assert_eq!(sandbox.get("secrets", "team-a", "a"), None);
}

#[tokio::test]
async fn immutable_objects_keep_their_data() {
    let sandbox = without_operator().await;
    let config_maps = "/api/v1/namespaces/team-a/configmaps";
    create(
        &sandbox,
        SECRETS,
        object(
            "Secret",
            "x",
            json!({"data": {"k": "dg=="}, "immutable": true}),
        ),
    )
    .await;
    create(
        &sandbox,
        config_maps,
        object(
            "ConfigMap",
            "x",
            json!({"data": {"k": "v"}, "immutable": true}),
        ),
    )
    .await;
    for (path, kind, change, field) in [
        (SECRETS, "Secret", json!({"data": {"k": "dw=="}}), "data"),
        (SECRETS, "Secret", json!({"stringData": {"n": "v"}}), "data"),
        (SECRETS, "Secret", json!({"immutable": false}), "immutable"),
        (
            config_maps,
            "ConfigMap",
            json!({"data": {"k": "w"}}),
            "data",
        ),
    ] {
        let (code, status) = call(&sandbox, Method::PATCH, &format!("{path}/x"), change).await;
        let message = format!(
            "{kind} \"x\" is invalid: {field}: Forbidden: field is immutable when `immutable` is set"
        );
        assert_eq!((code, &status["message"]), (422, &json!(message)));
    }
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        call(&sandbox, Method::PATCH, &format!("{SECRETS}/x"), labels)
            .await
            .0,
        200
    );
    let (code, status) = call(
        &sandbox,
        Method::PATCH,
        &format!("{SECRETS}/x"),
        json!({"type": "other"}),
    )
    .await;
    assert_eq!(
        (code, &status["details"]["causes"][0]["field"]),
        (422, &json!("type"))
    );
}

#[tokio::test]
async fn invalid_data_errors_omit_the_value() {
    let sandbox = without_operator().await;
    for (data, expected) in [
        (json!({"k": "hunter2!"}), 400),
        (json!({"k": 5}), 400),
        (json!({"a key": "dg=="}), 422),
    ] {
        let (code, status) = call(
            &sandbox,
            Method::POST,
            SECRETS,
            object("Secret", "x", json!({"data": data})),
        )
        .await;
        assert_eq!(code, expected, "{status}");
        assert!(!status.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn operator_labels_and_annotates_its_secrets() {
    let sandbox = with_operator().await;
    let long = "an-external-secret-with-a-long-name";
    for name in ["db", long] {
        sandbox.apply(external_secret(name)).unwrap();
        let secret = written(&sandbox, name, "YmVmb3Jl").await;
        let metadata = &secret["metadata"];
        assert_eq!(
            metadata["labels"]["reconcile.external-secrets.io/managed"],
            "true"
        );
        assert_eq!(
            metadata["labels"]["reconcile.external-secrets.io/created-by"]
                .as_str()
                .map(str::len),
            Some(56)
        );
        assert_eq!(
            metadata["annotations"]["reconcile.external-secrets.io/data-hash"]
                .as_str()
                .map(str::len),
            Some(56)
        );
        let owner = &metadata["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], &owner["name"], &owner["controller"]),
            (&json!("ExternalSecret"), &json!(name), &json!(true))
        );
        let manager = metadata["managedFields"][0]["manager"].as_str().unwrap();
        let start = if name == long {
            "externalsecrets.external-secrets.io/sha3/"
        } else {
            "externalsecrets.external-secrets.io/db"
        };
        assert!(manager.starts_with(start), "{manager}");
    }
}

/// Without the hash annotation the operator does not recognise the Secret as valid, whatever the refresh policy.
#[tokio::test]
async fn secret_without_hash_is_synced_again() {
    let sandbox = with_operator().await;
    for (name, spec) in [
        ("once", json!({"refreshPolicy": "CreatedOnce"})),
        ("never", json!({"refreshInterval": "0s"})),
    ] {
        sandbox.apply(with_spec(name, spec)).unwrap();
        written(&sandbox, name, "YmVmb3Jl").await;
        sandbox
            .apply(store(&json!({"user": "u", "password": "after"})))
            .unwrap();
        let path = format!("{SECRETS}/{name}");
        force(&sandbox, name, "1").await;
        let change =
            json!({"metadata": {"annotations": {"reconcile.external-secrets.io/data-hash": null}}});
        assert_eq!(call(&sandbox, Method::PATCH, &path, change).await.0, 200);
        let secret = written(&sandbox, name, "YWZ0ZXI=").await;
        assert!(
            secret["metadata"]["annotations"]["reconcile.external-secrets.io/data-hash"]
                .is_string()
        );
        sandbox
            .apply(store(&json!({"user": "u", "password": "before"})))
            .unwrap();
    }
}

#[tokio::test]
async fn orphan_secrets_are_restored_only_at_next_sync() {
    let sandbox = with_operator().await;
    let spec = json!({"target": {"creationPolicy": "Orphan"}});
    sandbox.apply(with_spec("orphan", spec)).unwrap();
    written(&sandbox, "orphan", "YmVmb3Jl").await;
    let path = format!("{SECRETS}/orphan");
    call(
        &sandbox,
        Method::PATCH,
        &path,
        json!({"data": {"password": "aGFja2Vk"}}),
    )
    .await;
    // Once a later ExternalSecret is synced, the operator has processed this one too.
    sandbox.apply(external_secret("later")).unwrap();
    written(&sandbox, "later", "YmVmb3Jl").await;
    assert_eq!(get(&sandbox, &path).await["data"]["password"], "aGFja2Vk");
    call(&sandbox, Method::DELETE, &path, Value::Null).await;
    sandbox.apply(external_secret("latest")).unwrap();
    written(&sandbox, "latest", "YmVmb3Jl").await;
    assert_eq!(sandbox.get("secrets", "team-a", "orphan"), None);
    force(&sandbox, "orphan", "1").await;
    written(&sandbox, "orphan", "YmVmb3Jl").await;
}

#[tokio::test]
async fn service_accounts_get_tokens() {
    let sandbox = without_operator().await;
    let accounts = "/api/v1/namespaces/team-a/serviceaccounts";
    create(
        &sandbox,
        accounts,
        object("ServiceAccount", "vault", json!({})),
    )
    .await;
    let request = |seconds: i64| {
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": ["vault"], "expirationSeconds": seconds},
        })
    };
    let token = create(&sandbox, &format!("{accounts}/vault/token"), request(600)).await;
    assert_eq!(
        token["status"]["expirationTimestamp"],
        "2026-05-01T12:10:00Z"
    );
    assert!(
        token["status"]["token"]
            .as_str()
            .is_some_and(|token| !token.is_empty())
    );
    assert_eq!(token["spec"]["audiences"], json!(["vault"]));
    let (code, status) = call(
        &sandbox,
        Method::POST,
        &format!("{accounts}/gone/token"),
        request(600),
    )
    .await;
    assert_eq!(
        (code, &status["message"]),
        (404, &json!("serviceaccounts \"gone\" not found"))
    );
    let path = format!("{accounts}/vault/token");
    assert_eq!(
        call(&sandbox, Method::POST, &path, request(60)).await.0,
        422
    );
    sandbox.inject(Fault::forbidden().resource("serviceaccounts/token"));
    let (code, status) = call(&sandbox, Method::POST, &path, request(600)).await;
    assert_eq!(code, 403);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("cannot create resource \"serviceaccounts/token\""),
        "{status}"
    );
}

#[tokio::test]
async fn secrets_may_be_forbidden_in_a_namespace() {
    let sandbox = with(Settings {
        operator: false,
        ..Settings::default()
    })
    .await;
    create(&sandbox, SECRETS, object("Secret", "x", json!({}))).await;
    sandbox.inject(Fault::forbidden().resource("secrets").namespace("team-a"));
    let (code, status) = call(&sandbox, Method::GET, &format!("{SECRETS}/x"), Value::Null).await;
    let message = "secrets \"x\" is forbidden: User \"sandbox\" cannot get resource \"secrets\" in API group \"\" in the namespace \
                   \"team-a\"";
    assert_eq!((code, &status["message"]), (403, &json!(message)));
    assert_eq!(get(&sandbox, "/api/v1/secrets").await["kind"], "SecretList");
}
