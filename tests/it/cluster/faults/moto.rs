//! The secrets and parameters in moto for these tests, and the ExternalSecrets that read them.

use std::net::SocketAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Request;
use serde_json::{Value, json};

use super::PLANTED;
use crate::{providers::proxy, support::World};

/// A region that no other test uses.
const REGION: &str = "sa-east-1";

/// More than the limit of one `BatchGetSecretValue` call and of one page.
pub(super) const MANY: usize = 25;

/// More than the limit of one `GetParameters` call.
pub(super) const PARAMETERS: usize = 12;

/// The names of the stores.
const SECRETS: &str = "secrets";
const STORE: &str = "parameters";

/// A client of moto.
struct Moto(SocketAddr);

impl Moto {
    async fn call(&self, service: &str, operation: &str, body: &Value) -> Value {
        let credential =
            format!("AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request");
        let request = Request::post("/")
            .header("host", self.0.to_string())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", operation)
            .header("authorization", credential)
            .body(body.to_string().into());
        let answer = proxy::send(self.0, request.expect("a request")).await;
        assert!(answer.status().is_success(), "{operation}: {answer:?}");
        serde_json::from_slice(answer.body()).expect("JSON")
    }

    async fn secret(&self, operation: &str, body: Value) -> Value {
        let operation = format!("secretsmanager.{operation}");
        self.call("secretsmanager", &operation, &body).await
    }

    async fn parameter(&self, name: &str, value: &str) {
        let body = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
        self.call("ssm", "AmazonSSM.PutParameter", &body).await;
    }
}

/// Creates secrets, parameters and ExternalSecrets, waits until the operator has synced them, and then changes some.
pub(super) async fn prepare(world: &World, moto: &str) {
    let moto = Moto(proxy::address(moto));
    let ns = &world.namespace;
    let value = |name: &str| format!("{PLANTED}-{name}");
    for n in 0..MANY {
        let body = json!({"Name": format!("{ns}-p-{n}"), "SecretString": value(&n.to_string()),
            "ClientRequestToken": "a".repeat(32), "Tags": [{"Key": "run", "Value": ns}]});
        moto.secret("CreateSecret", body).await;
    }
    for name in ["rotated", "version", "doomed"] {
        let body = json!({"Name": format!("{ns}-{name}"), "SecretString": value(name), "ClientRequestToken": "a".repeat(32)});
        moto.secret("CreateSecret", body).await;
    }
    let mut bytes = vec![0, 0xff, 0xfe, b'\n'];
    bytes.extend_from_slice(PLANTED.as_bytes());
    let body = json!({"Name": format!("{ns}-binary"), "SecretBinary": BASE64_STANDARD.encode(bytes), "ClientRequestToken": "a".repeat(32)});
    moto.secret("CreateSecret", body).await;
    let put = async |name: &str| {
        let body = json!({"SecretId": format!("{ns}-{name}"), "SecretString": value("after"), "ClientRequestToken": "b".repeat(32)});
        moto.secret("PutSecretValue", body).await;
    };
    put("version").await;
    for n in 0..PARAMETERS {
        moto.parameter(&format!("/{ns}/p-{n}"), &value(&n.to_string()))
            .await;
    }
    moto.parameter(&format!("/{ns}/rotated"), PLANTED).await;

    stores(world).await;
    external_secrets(world).await;
    for (name, _) in super::aws::WITHOUT_FAULTS {
        let lacks_its_version = name == "unstaged";
        let reason = if lacks_its_version {
            "SecretSyncedError"
        } else {
            "SecretSynced"
        };
        world.ready(name, reason).await;
    }
    put("rotated").await;
    let body = json!({"SecretId": format!("{ns}-doomed")});
    moto.secret("DeleteSecret", body).await;
    moto.parameter(&format!("/{ns}/rotated"), &value("after"))
        .await;
}

async fn stores(world: &World) {
    let ns = &world.namespace;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws", "namespace": ns},
        "stringData": {"id": "test", "key": "test"}});
    world.apply(secret).await;
    let key = |key: &str| json!({"name": "aws", "key": key});
    let keys = json!({"accessKeyIDSecretRef": key("id"), "secretAccessKeySecretRef": key("key")});
    for (name, service) in [(SECRETS, "SecretsManager"), (STORE, "ParameterStore")] {
        // Each login assumes a role, so that logins can be counted.
        let role = "arn:aws:iam::123456789012:role/reader";
        let aws = json!({"service": service, "region": REGION, "role": role, "auth": {"secretRef": keys}});
        let version = format!("external-secrets.io/{}", world.version);
        let store = json!({"apiVersion": version, "kind": "SecretStore", "metadata": {"name": name, "namespace": ns},
            "spec": {"provider": {"aws": aws}}});
        world.apply(store).await;
    }
}

/// The name, store and spec of each ExternalSecret.
fn specs(ns: &str) -> Vec<(&'static str, &'static str, Value)> {
    let one = |key: &str, version: &str| json!({"data": [{"secretKey": "k", "remoteRef": {"key": key, "version": version}}]});
    let secret = |name: &str, version: &str| one(&format!("{ns}-{name}"), version);
    let all = |prefix: &str, count| {
        let each = (0..count).map(|n| json!({"secretKey": format!("k{n}"), "remoteRef": {"key": format!("{prefix}p-{n}")}}));
        json!({"data": each.collect::<Vec<_>>()})
    };
    let found = |find: Value| json!({"dataFrom": [{"find": find}]});
    let first = format!("uuid/{}", "a".repeat(32));
    let regexp = format!("^{ns}-p-");
    let parameter = format!("/{ns}/rotated");
    vec![
        ("many", SECRETS, all(&format!("{ns}-"), MANY)),
        ("binary", SECRETS, secret("binary", "")),
        ("rotated", SECRETS, secret("rotated", "")),
        ("version", SECRETS, secret("version", &first)),
        ("doomed", SECRETS, secret("doomed", "")),
        ("unstaged", SECRETS, secret("version", "NOSTAGE")),
        ("found", SECRETS, found(json!({"name": {"regexp": regexp}}))),
        ("tagged", SECRETS, found(json!({"tags": {"run": ns}}))),
        ("parameters", STORE, all(&format!("/{ns}/"), PARAMETERS)),
        ("parameter-rotated", STORE, one(&parameter, "")),
    ]
}

async fn external_secrets(world: &World) {
    for (name, store, mut spec) in specs(&world.namespace) {
        spec["refreshInterval"] = json!("24h");
        spec["secretStoreRef"] = json!({"kind": "SecretStore", "name": store});
        let version = format!("external-secrets.io/{}", world.version);
        let object = json!({"apiVersion": version, "kind": "ExternalSecret",
            "metadata": {"name": name, "namespace": world.namespace}, "spec": spec});
        world.apply(object).await;
    }
}
