//! Creates a sandbox, a client for it, and objects.

use http::{Method, Request};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::{Client, Config, client::Body};
use sandbox::{Sandbox, Settings};
use serde_json::{Value, json};

/// The path of ExternalSecrets in all namespaces.
pub(super) const ALL: &str = "/apis/external-secrets.io/v1/externalsecrets";

/// The path of ExternalSecrets in `team-a`.
pub(super) const TEAM_A: &str = "/apis/external-secrets.io/v1/namespaces/team-a/externalsecrets";

/// The time at which every test starts.
pub(super) fn now() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

/// A sandbox without a running operator, with the namespaces `team-a` and `team-b`.
pub(super) async fn without_operator() -> Sandbox {
    let settings = Settings {
        operator: false,
        ..Settings::default()
    };
    with(settings).await
}

/// The same with a running operator and a ClusterSecretStore `fake`.
pub(super) async fn with_operator() -> Sandbox {
    let sandbox = with(Settings::default()).await;
    sandbox
        .apply(store(&json!({"user": "u", "password": "before"})))
        .unwrap();
    sandbox
}

/// A sandbox with these settings and the namespaces `team-a` and `team-b`.
pub(super) async fn with(settings: Settings) -> Sandbox {
    let sandbox = Sandbox::empty(settings, now()).await.unwrap();
    for name in ["team-a", "team-b"] {
        let labels = json!({"team": "yes"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        sandbox.apply(namespace).unwrap();
    }
    sandbox
}

/// The client that is also used for real clusters, without retries.
pub(super) fn client(sandbox: &Sandbox) -> Client {
    let mut config = Config::new(sandbox.url().parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Request<Body> {
    let content_type = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("user-agent", "tester/1.0")
        .body(body.into())
        .unwrap()
}

/// The response to a request: its status code and body.
pub(super) async fn call(
    sandbox: &Sandbox,
    method: Method,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let body = Some(body).filter(|body| !body.is_null());
    send(sandbox, request(method, path, body.as_ref())).await
}

/// The response to a prepared request.
pub(super) async fn send(sandbox: &Sandbox, request: Request<Body>) -> (u16, Value) {
    let response = client(sandbox).send(request).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    (
        code,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// True if a request gets a response.
pub(super) async fn is_answered(
    sandbox: &Sandbox,
    method: Method,
    path: &str,
    body: Value,
) -> bool {
    let body = Some(body).filter(|body| !body.is_null());
    client(sandbox)
        .send(request(method, path, body.as_ref()))
        .await
        .is_ok()
}

/// The body of the response to a GET.
pub(super) async fn get(sandbox: &Sandbox, path: &str) -> Value {
    call(sandbox, Method::GET, path, Value::Null).await.1
}

/// Patches an ExternalSecret in `team-a` over HTTP.
pub(super) async fn patch(sandbox: &Sandbox, name: &str, change: Value) -> Value {
    let path = format!("{TEAM_A}/{name}?fieldManager=tester");
    let (code, object) = call(sandbox, Method::PATCH, &path, change).await;
    assert_eq!(code, 200, "{object}");
    object
}

/// Force-syncs an ExternalSecret in `team-a`.
pub(super) async fn force(sandbox: &Sandbox, name: &str, value: &str) -> Value {
    patch(
        sandbox,
        name,
        json!({"metadata": {"annotations": {"force-sync": value}}}),
    )
    .await
}

/// The names in a list.
pub(super) fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The ClusterSecretStore `fake`, with one value under the key `/db`.
pub(super) fn store(value: &Value) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": {"name": "fake"},
        "spec": {"provider": {"fake": {"data": [{"key": "/db", "value": value.to_string()}]}}},
    })
}

/// An ExternalSecret in `team-a` that reads the password from `/db`.
pub(super) fn external_secret(name: &str) -> Value {
    with_spec(name, json!({}))
}

/// The same with some fields of the spec replaced.
pub(super) fn with_spec(name: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"namespace": "team-a", "name": name},
        "spec": {
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "fake"},
            "data": [{"secretKey": "password", "remoteRef": {"key": "/db", "property": "password"}}],
        },
    });
    let Value::Object(spec) = spec else {
        panic!("a spec is a map")
    };
    for (key, value) in spec {
        object["spec"][key] = value;
    }
    object
}

/// The object with these annotations.
pub(super) fn with_annotations(mut object: Value, annotations: Value) -> Value {
    object["metadata"]["annotations"] = annotations;
    object
}
