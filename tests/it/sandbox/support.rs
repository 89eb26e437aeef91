//! A sandbox and a client for it.

use eso_sync::sandbox::{Sandbox, Settings};
use http::{Method, Request};
use jiff::Timestamp;
use kube::{Client, Config};
use serde_json::{Value, json};

/// The moment at which every test begins.
pub(super) fn now() -> Timestamp {
    "2026-05-01T12:00:00Z".parse().unwrap()
}

/// An empty sandbox whose operator rests.
pub(super) async fn empty() -> Sandbox {
    let settings = Settings { operator: false, ..Settings::default() };
    Sandbox::empty(settings, now()).await.unwrap()
}

/// The client that talks to real clusters too, without its own retries.
pub(super) fn client(sandbox: &Sandbox) -> Client {
    let mut config = Config::new(sandbox.url().parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// What the server says: the code and the body.
pub(super) async fn call(
    sandbox: &Sandbox,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let content_type = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("user-agent", "tester/1.0")
        .body(body.into())
        .unwrap();
    send(sandbox, request).await
}

/// The same for a request of one's own.
pub(super) async fn send(sandbox: &Sandbox, request: Request<kube::client::Body>) -> (u16, Value) {
    use http_body_util::BodyExt as _;
    let response = client(sandbox).send(request).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    (
        code,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// The body of a GET.
pub(super) async fn get(sandbox: &Sandbox, path: &str) -> Value {
    call(sandbox, Method::GET, path, None).await.1
}

/// An ExternalSecret that reads one key.
pub(super) fn external_secret(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "fake"},
            "data": [{"secretKey": "password", "remoteRef": {"key": "/db"}}],
        },
    })
}

/// A namespace.
pub(super) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
