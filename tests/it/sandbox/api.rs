//! The API server: reads and writes.

use http::{Method, Request};
use sandbox::{Fault, Settings};
use serde_json::{Value, json};

use super::support::{
    ALL, TEAM_A, call, external_secret, get, names, patch, send, store, with, with_spec,
    without_operator,
};

#[tokio::test]
async fn discovery_reports_served_groups_and_versions() {
    let sandbox = without_operator().await;
    let group = get(&sandbox, "/apis/external-secrets.io").await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let path = "/apis/external-secrets.io/v1";
    assert_eq!(call(&sandbox, Method::GET, path, Value::Null).await.0, 200);
    for path in [
        "/apis/nope.io",
        "/apis/external-secrets.io/v1beta1",
        "/apis/external-secrets.io/v1/nopes",
        "/nope",
    ] {
        let (code, body) = call(&sandbox, Method::GET, path, Value::Null).await;
        assert_eq!((code, body), (404, json!("404 page not found\n")), "{path}");
    }
}

#[tokio::test]
async fn v1beta1_setting_serves_only_v1beta1() {
    let sandbox = with(Settings {
        v1beta1: true,
        operator: false,
        ..Settings::default()
    })
    .await;
    sandbox.apply(external_secret("db")).unwrap();
    let group = get(&sandbox, "/apis/external-secrets.io").await;
    assert_eq!(group["versions"].as_array().unwrap().len(), 1);
    let list = get(
        &sandbox,
        "/apis/external-secrets.io/v1beta1/externalsecrets",
    )
    .await;
    assert_eq!(
        list["items"][0]["apiVersion"],
        "external-secrets.io/v1beta1"
    );
    let (code, _) = call(&sandbox, Method::GET, ALL, Value::Null).await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn crd_reveals_the_operators_version() {
    let sandbox = without_operator().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/externalsecrets.external-secrets.io";
    let crd = get(&sandbox, path).await;
    let version = &crd["spec"]["versions"][0];
    assert_eq!(
        version["selectableFields"][0]["jsonPath"],
        ".spec.secretStoreRef.name"
    );
    assert!(
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["refreshPolicy"]
            .is_object()
    );
}

#[tokio::test]
async fn not_found_errors_match_the_servers_messages() {
    let sandbox = without_operator().await;
    let (code, status) = call(
        &sandbox,
        Method::GET,
        &format!("{TEAM_A}/gone"),
        Value::Null,
    )
    .await;
    assert_eq!(code, 404);
    assert_eq!(
        status,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "externalsecrets.external-secrets.io \"gone\" not found", "reason": "NotFound",
            "details": {"name": "gone", "group": "external-secrets.io", "kind": "externalsecrets"}, "code": 404,
        })
    );
    let nowhere = "/apis/external-secrets.io/v1/namespaces/nowhere/externalsecrets";
    assert_eq!(
        get(&sandbox, nowhere).await["items"],
        json!([]),
        "a list in a missing namespace is empty"
    );
    let mut object = external_secret("db");
    object["metadata"]["namespace"] = "nowhere".into();
    let (code, status) = call(&sandbox, Method::POST, nowhere, object).await;
    assert_eq!(
        (code, &status["message"]),
        (404, &json!("namespaces \"nowhere\" not found"))
    );
}

#[tokio::test]
async fn all_pages_show_one_resource_version() {
    let sandbox = without_operator().await;
    for name in ["a", "b", "c", "d", "e"] {
        sandbox.apply(external_secret(name)).unwrap();
    }
    let first = get(&sandbox, &format!("{ALL}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    patch(
        &sandbox,
        "c",
        json!({"metadata": {"labels": {"late": "yes"}}}),
    )
    .await;
    sandbox.delete("externalsecrets", "team-a", "d");
    sandbox.apply(external_secret("cc")).unwrap();

    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = get(&sandbox, &format!("{ALL}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert!(second["items"][0]["metadata"]["labels"].is_null());
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = get(&sandbox, &format!("{ALL}?limit=2&continue={token}")).await;
    assert_eq!(
        (names(&last), &last["metadata"]["continue"]),
        (vec!["e".to_owned()], &json!(""))
    );
    assert_eq!(names(&get(&sandbox, ALL).await), ["a", "b", "c", "cc", "e"]);

    sandbox.compact();
    sandbox.apply(external_secret("f")).unwrap();
    let (code, status) = call(
        &sandbox,
        Method::GET,
        &format!("{ALL}?continue={token}"),
        Value::Null,
    )
    .await;
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    let (code, _) = call(
        &sandbox,
        Method::GET,
        &format!("{ALL}?continue=nonsense"),
        Value::Null,
    )
    .await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn lists_support_selectors() {
    let sandbox = without_operator().await;
    for (name, team) in [("a", "x"), ("b", "y")] {
        let mut object = external_secret(name);
        object["metadata"]["labels"] = json!({"team": team});
        sandbox.apply(object).unwrap();
    }
    for (query, expected) in [
        ("labelSelector=team%3Dx", &["a"][..]),
        ("labelSelector=team+notin+(x),team", &["b"]),
        ("fieldSelector=metadata.name%3Db", &["b"]),
        ("limit=1&labelSelector=team%3Dy", &["b"]),
    ] {
        assert_eq!(
            names(&get(&sandbox, &format!("{ALL}?{query}")).await),
            expected,
            "{query}"
        );
    }
    let (code, status) = call(
        &sandbox,
        Method::GET,
        &format!("{ALL}?labelSelector=a+in+b"),
        Value::Null,
    )
    .await;
    assert_eq!(
        (code, &status["message"]),
        (
            400,
            &json!("unable to parse requirement: found 'b' expected: '('")
        )
    );
}

#[tokio::test]
async fn only_custom_resources_have_kinds_in_lists() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    assert_eq!(
        get(&sandbox, ALL).await["items"][0]["kind"],
        "ExternalSecret"
    );
    let namespaces = get(&sandbox, "/api/v1/namespaces").await;
    assert_eq!(namespaces["kind"], "NamespaceList");
    assert!(namespaces["items"][0]["kind"].is_null());
    assert!(namespaces["metadata"]["continue"].is_null());
}

#[tokio::test]
async fn patch_without_changes_writes_nothing() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let change = json!({"metadata": {"annotations": {"force-sync": "r1"}}});
    let first = patch(&sandbox, "db", change.clone()).await;
    let second = patch(&sandbox, "db", change).await;
    assert_eq!(first, second);
}

#[tokio::test]
async fn generation_counts_only_spec_changes() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let annotated = patch(
        &sandbox,
        "db",
        json!({"metadata": {"annotations": {"a": "1"}, "labels": {"b": "2"}}}),
    )
    .await;
    assert_eq!(annotated["metadata"]["generation"], 1);
    let mut synced = external_secret("db");
    synced["status"] = json!({"refreshTime": "2026-01-01T00:00:00Z"});
    let written = sandbox.apply(synced).unwrap();
    assert_eq!(written["metadata"]["generation"], 1);
    assert_eq!(written["status"]["refreshTime"], "2026-01-01T00:00:00Z");
    let change = json!({"spec": {"refreshInterval": "5m"}, "status": {"refreshTime": "2027-01-01T00:00:00Z"}});
    let edited = patch(&sandbox, "db", change).await;
    assert_eq!(edited["metadata"]["generation"], 2);
    assert_eq!(
        edited["status"], written["status"],
        "a write over the API ignores the status"
    );
}

#[tokio::test]
async fn omitted_fields_are_defaulted() {
    let sandbox = without_operator().await;
    let (code, created) = call(&sandbox, Method::POST, TEAM_A, external_secret("db")).await;
    assert_eq!(code, 201);
    let metadata = &created["metadata"];
    assert_eq!(metadata["creationTimestamp"], "2026-05-01T12:00:00Z");
    assert!(metadata["uid"].is_string() && metadata["resourceVersion"].is_string());
    assert_eq!(
        metadata["managedFields"][0]["manager"], "tester",
        "defaults to the program's name"
    );
    assert_eq!(
        created["spec"]["target"],
        json!({"creationPolicy": "Owner", "deletionPolicy": "Retain"})
    );
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"},
    });
    let (_, secret) = call(
        &sandbox,
        Method::POST,
        "/api/v1/namespaces/team-a/secrets",
        secret,
    )
    .await;
    assert_eq!(
        (&secret["data"], &secret["type"]),
        (&json!({"a": "Yg=="}), &json!("Opaque"))
    );
}

#[tokio::test]
async fn managed_fields_record_field_owners() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let object = patch(
        &sandbox,
        "db",
        json!({"metadata": {"annotations": {"force-sync": "r1"}}}),
    )
    .await;
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .clone();
    let our_entry = entries
        .iter()
        .find(|entry| entry["manager"] == "tester")
        .unwrap();
    let annotations = json!({".": {}, "f:force-sync": {}});
    assert_eq!(
        our_entry["fieldsV1"],
        json!({"f:metadata": {"f:annotations": annotations}})
    );
    let changed = call(
        &sandbox,
        Method::PATCH,
        &format!("{TEAM_A}/db?fieldManager=gitops"),
        json!({"metadata": {"annotations": {"force-sync": null}}}),
    )
    .await
    .1;
    let entries = changed["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        entries.iter().all(|entry| entry["manager"] != "tester"),
        "{entries:?}"
    );
}

#[tokio::test]
async fn dry_run_returns_result_without_writing() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let before = sandbox.get("externalsecrets", "team-a", "db");
    let path = format!("{TEAM_A}/db?dryRun=All");
    let change = json!({"metadata": {"annotations": {"a": "1"}}});
    let (_, answer) = call(&sandbox, Method::PATCH, &path, change).await;
    assert_eq!(answer["metadata"]["annotations"]["a"], "1");
    assert_eq!(sandbox.get("externalsecrets", "team-a", "db"), before);
}

#[tokio::test]
async fn writes_with_outdated_version_conflict() {
    let sandbox = without_operator().await;
    let created = sandbox.apply(external_secret("db")).unwrap();
    patch(&sandbox, "db", json!({"metadata": {"labels": {"a": "1"}}})).await;
    let path = format!("{TEAM_A}/db");
    let stale = json!({"metadata": {"resourceVersion": created["metadata"]["resourceVersion"], "labels": {"a": "2"}}});
    let (code, status) = call(&sandbox, Method::PATCH, &path, stale).await;
    let message = "Operation cannot be fulfilled on externalsecrets.external-secrets.io \"db\": the object has been modified; \
                   please apply your changes to the latest version and try again";
    assert_eq!(
        (code, &status["reason"], &status["message"]),
        (409, &json!("Conflict"), &json!(message))
    );
    let (code, _) = call(&sandbox, Method::POST, TEAM_A, external_secret("db")).await;
    assert_eq!(code, 409, "it already exists");
}

/// The real server returns 422 for a patch, not a conflict, because the uid is immutable.
#[tokio::test]
async fn patch_with_another_uid_is_invalid() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let path = format!("{TEAM_A}/db");
    let uid = "00000000-0000-0000-0000-000000000000";
    let change = json!({"metadata": {"uid": uid, "annotations": {"a": "1"}}});
    let (code, status) = call(&sandbox, Method::PATCH, &path, change).await;
    assert_eq!(code, 422);
    let message = format!(
        "ExternalSecret.external-secrets.io \"db\" is invalid: metadata.uid: Invalid value: \"{uid}\": field is immutable"
    );
    assert_eq!(status["message"], json!(message));
    assert_eq!(status["details"]["causes"][0]["field"], "metadata.uid");
}

#[tokio::test]
async fn malformed_patches_are_rejected() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    let path = format!("{TEAM_A}/db");
    for (change, message) in [
        (
            json!({"metadata": {"annotations": {"bad key!": "1"}}}),
            "metadata.annotations: Invalid value: \"bad key!\"",
        ),
        (
            json!({"metadata": {"labels": {"a": "größe"}}}),
            "metadata.labels: Invalid value: \"größe\"",
        ),
        (
            json!({"spec": {"refreshPolicy": "Nope"}}),
            "spec.refreshPolicy: Unsupported value: \"Nope\"",
        ),
    ] {
        let (code, status) = call(&sandbox, Method::PATCH, &path, change).await;
        assert_eq!(code, 422);
        assert!(
            status["message"].as_str().unwrap().contains(message),
            "{status}"
        );
    }
    for content_type in ["application/strategic-merge-patch+json", "application/json"] {
        let request = Request::patch(&path)
            .header("content-type", content_type)
            .body(b"{}".to_vec().into())
            .unwrap();
        assert_eq!(send(&sandbox, request).await.0, 415);
    }
}

#[tokio::test]
async fn lease_writes_check_preconditions() {
    let sandbox = without_operator().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/team-a/leases";
    let path = format!("{leases}/eso-sync");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "eso-sync"},
        "spec": {"holderIdentity": "me"},
    });
    let (code, created) = call(&sandbox, Method::POST, leases, lease.clone()).await;
    assert_eq!(code, 201);
    let (code, status) = call(&sandbox, Method::PUT, &path, lease).await;
    assert_eq!(code, 422, "{status}");
    let mut renewed = created.clone();
    renewed["spec"]["holderIdentity"] = "you".into();
    let (code, replaced) = call(&sandbox, Method::PUT, &path, renewed.clone()).await;
    assert_eq!(
        (code, &replaced["spec"]["holderIdentity"]),
        (200, &json!("you"))
    );
    let (code, _) = call(&sandbox, Method::PUT, &path, renewed.clone()).await;
    assert_eq!(code, 409);
    let condition =
        json!({"preconditions": {"resourceVersion": created["metadata"]["resourceVersion"]}});
    let (code, status) = call(&sandbox, Method::DELETE, &path, condition).await;
    assert_eq!(code, 409);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("the ResourceVersion in the precondition")
    );
    let (code, status) = call(&sandbox, Method::DELETE, &path, Value::Null).await;
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    let (code, _) = call(&sandbox, Method::PUT, &path, renewed).await;
    assert_eq!(code, 409, "a PUT with a uid does not create a Lease");
}

#[tokio::test]
async fn a_deleted_object_waits_for_its_finalizers() {
    let sandbox = without_operator().await;
    let mut object = external_secret("db");
    object["metadata"]["finalizers"] = json!(["example.org/hold"]);
    sandbox.apply(object).unwrap();
    let (code, marked) = call(
        &sandbox,
        Method::DELETE,
        &format!("{TEAM_A}/db"),
        Value::Null,
    )
    .await;
    assert_eq!(
        (code, &marked["metadata"]["deletionTimestamp"]),
        (200, &json!("2026-05-01T12:00:00Z"))
    );
    assert_eq!(marked["metadata"]["generation"], 2);
    patch(&sandbox, "db", json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(sandbox.get("externalsecrets", "team-a", "db"), None);
}

#[tokio::test]
async fn longest_names_and_unicode_annotations_are_valid() {
    let sandbox = without_operator().await;
    let name = format!("{}.{}", "a".repeat(63), "b".repeat(189));
    assert_eq!(name.len(), 253);
    let (code, _) = call(&sandbox, Method::POST, TEAM_A, external_secret(&name)).await;
    assert_eq!(code, 201);
    let annotation = "ключ: 値 🔑".repeat(50);
    let object = patch(
        &sandbox,
        &name,
        json!({"metadata": {"annotations": {"text": annotation}}}),
    )
    .await;
    assert_eq!(object["metadata"]["annotations"]["text"], json!(annotation));
}

#[tokio::test]
async fn forbidden_requests_match_the_servers_messages() {
    let sandbox = without_operator().await;
    sandbox.apply(store(&json!({}))).unwrap();
    sandbox.apply(with_spec("db", json!({}))).unwrap();
    sandbox.inject(
        Fault::forbidden()
            .resource("externalsecrets")
            .namespace("team-a"),
    );
    let (code, status) = call(&sandbox, Method::GET, &format!("{TEAM_A}/db"), Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "externalsecrets.external-secrets.io \"db\" is forbidden: User \"sandbox\" cannot get resource \"externalsecrets\" in API \
         group \"external-secrets.io\" in the namespace \"team-a\""
    );
    assert_eq!(
        get(&sandbox, ALL).await["kind"],
        "ExternalSecretList",
        "a cluster-wide list is a different permission"
    );
}

#[tokio::test]
async fn requests_are_recorded() {
    let sandbox = without_operator().await;
    sandbox.apply(external_secret("db")).unwrap();
    patch(
        &sandbox,
        "db",
        json!({"metadata": {"annotations": {"a": "1"}}}),
    )
    .await;
    get(&sandbox, &format!("{ALL}?limit=500")).await;
    let requests = sandbox.requests();
    let seen: Vec<_> = requests
        .iter()
        .map(|request| (request.verb, request.resource, &*request.query))
        .collect();
    assert_eq!(
        seen,
        [
            ("patch", "externalsecrets", "fieldManager=tester"),
            ("list", "externalsecrets", "limit=500")
        ]
    );
    assert_eq!(requests[0].user_agent, "tester/1.0");
    assert!(String::from_utf8_lossy(&requests[0].body).contains("annotations"));
}
