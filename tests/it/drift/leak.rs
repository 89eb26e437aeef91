//! No value leaves memory: unique values are planted in every place, every command runs at the highest log level, in every output
//! format and with faults, and all output is searched for the values.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sandbox::Fault;
use serde_json::json;

use crate::{
    restart::{is_up, stamp, workload},
    support::{Planted, World},
};

/// The planted values: in the provider before and after a rotation, in a JSON document, in an edited Secret, in a template, in
/// the tokens of a store and of the API, and in the operator's errors.
const BEFORE: &str = "zQ7xKv9Wp2LmbFrq";
const AFTER: &str = "jR4tYh8Nc6VdrTdq";
const DOCUMENT: &str = "qW3eZs5Xa1FgdCmq";
const EDITED: &str = "uI9oPk7Jb2MneDtq";
const TEMPLATE: &str = "gH5yTf3Rd8CstMpq";
const STORE_TOKEN: &str = "vB6nMj4Lq9XzsTkq";
const API_TOKEN: &str = "cX2dSw7Ea5QpaPkq";
const ERROR: &str = "lO8iKu6Gy3HteRxq";
const EXTRA: &str = "oP4rVn1Qk8ZwxTkq";
const PLANTED: [&str; 9] = [
    BEFORE,
    AFTER,
    DOCUMENT,
    EDITED,
    TEMPLATE,
    STORE_TOKEN,
    API_TOKEN,
    ERROR,
    EXTRA,
];

static SEARCH: LazyLock<Planted> = LazyLock::new(|| Planted::new(PLANTED));

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

const WORLD: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: store-token, namespace: NS}
stringData: {t: STORE_TOKEN}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: NS-vault, namespace: NS}
spec: {provider: {vault: {server: 'http://127.0.0.1:1', path: kv, auth: {tokenSecretRef: {name: store-token, key: t}}}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: v, value: BEFORE}, {key: d, value: '{"a":"DOCUMENT"}'}]}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: stale, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: v}}], dataFrom: [{extract: {key: d}}]}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: edited, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, target: {creationPolicy: Orphan}, data: [{secretKey: k, remoteRef: {key: v}}]}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: templated, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {template: {data: {conf: "TEMPLATE {{ .k }}"}}}
  data: [{secretKey: k, remoteRef: {key: v}}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: failing, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {template: {data: {conf: "{{ (fromJson .k).x }}"}}}
  data: [{secretKey: k, remoteRef: {key: v}}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: denied, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-vault, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: v}}]}
"#;

async fn plant(world: &World) {
    let text = WORLD
        .replace("STORE_TOKEN", STORE_TOKEN)
        .replace("BEFORE", BEFORE)
        .replace("DOCUMENT", DOCUMENT)
        .replace("TEMPLATE", TEMPLATE);
    world.apply_yaml(&text).await;
    for name in ["stale", "edited", "templated"] {
        world.ready(name, "SecretSynced").await;
    }
}

/// Creates each kind of drift, and an operator error that quotes a value.
async fn cause_drift(world: &World) {
    let data = json!([{"key": "v", "value": AFTER}, {"key": "d", "value": format!("{{\"a\":\"{DOCUMENT}\"}}")}]);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    world
        .patch("SecretStore", &world.named("NS-store"), &change)
        .await;
    world.store_is(&world.named("NS-store"), "True").await;
    let by_hand = json!({"data": {"k": encoded(EDITED), "more": encoded(EXTRA)}});
    world.patch("Secret", "edited", &by_hand).await;
    for name in ["failing", "stale"] {
        let object = world
            .get("ExternalSecret", name)
            .await
            .expect("the ExternalSecret exists");
        let text = format!(
            "could not apply template: invalid character 'l' looking for beginning of value: {ERROR}"
        );
        world
            .apply(json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}.1"), "namespace": world.namespace},
                "involvedObject": {"kind": "ExternalSecret", "namespace": world.namespace, "name": name, "uid": object["metadata"]["uid"]},
                "type": "Warning", "reason": "UpdateFailed", "message": text, "source": {"component": "external-secrets"},
                "lastTimestamp": crate::support::now().to_string(),
            }))
            .await;
    }
}

/// Runs a command, and searches its output and its requests.
async fn leaks_nothing(world: &World, arguments: &[&str]) {
    let before = world.embedded().requests().len();
    let more = ["-vvv", "--token", API_TOKEN];
    let outcome = world.bin.run(&[arguments, &more].concat()).await;
    let shown = format!("{arguments:?}");
    assert_ne!(outcome.code, 2, "{shown}: {}", outcome.stderr);
    assert!(
        outcome.stderr.contains("TRACE"),
        "{shown} must log at trace level"
    );
    SEARCH.not_in(&outcome.stdout, &format!("stdout of {shown}"));
    SEARCH.not_in(&outcome.stderr, &format!("stderr of {shown}"));
    for request in world.embedded().requests().split_off(before) {
        let said = format!(
            "{} {}",
            request.path,
            String::from_utf8_lossy(&request.body)
        );
        SEARCH.not_in(&said, &format!("a request of {shown}"));
    }
}

fn files_leak_nothing(world: &World) {
    let files = std::fs::read_dir(world.bin.path()).expect("a folder");
    for file in files {
        let path = file.expect("a file").path();
        if path.is_file() {
            let text = std::fs::read(&path).expect("a file");
            SEARCH.not_in(&String::from_utf8_lossy(&text), &path.display().to_string());
        }
    }
}

/// Runs the read-only commands in every output format.
async fn read_only_commands_leak_nothing(world: &World, path: &str) {
    for output in ["table", "json", "yaml"] {
        for name in ["stale", "edited", "templated", "failing", "denied"] {
            let arguments = ["diagnose", name, "-n", &world.namespace, "-o", output];
            leaks_nothing(world, &arguments).await;
        }
        leaks_nothing(world, &["drift", "-o", output, "--config", path]).await;
        leaks_nothing(world, &["plan", "-o", output, "--config", path]).await;
    }
}

/// Stamps are computed from values, and restarts report changed keys.
async fn restarts_leak_nothing(world: &World, policy: &str) {
    world.apply(workload("Deployment", "web", "stale")).await;
    is_up(world, "Deployment", "web").await;
    let restarts = format!("{policy}restart: [{{match: references, require: proven}}]\n");
    let path = world.bin.file("restarts.yaml", &restarts);
    let path = path.to_str().expect("UTF-8");
    leaks_nothing(world, &["restart", "-o", "json", "--config", path]).await;
    cause_drift(world).await;
    leaks_nothing(world, &["run", "-o", "table", "--config", path]).await;
    let namespace = &world.namespace;
    for output in ["table", "json", "yaml"] {
        let sync = [
            "sync",
            "stale",
            "-n",
            namespace,
            "--yes",
            "--credentials",
            "store",
        ];
        leaks_nothing(world, &[&sync[..], &["--restart", "-o", output]].concat()).await;
        leaks_nothing(world, &["status", "-o", output, "--config", path]).await;
    }
    assert!(
        stamp(world, "Deployment", "web").await.is_some(),
        "there must be a stamp that could leak"
    );
}

#[tokio::test]
async fn no_value_leaves_memory() {
    let mut world = World::sandbox().await;
    world.bin.set("RUST_LOG", "trace");
    plant(&world).await;
    let policy = world.named(
        "select: [{namespaces: [NS]}]\nsync: {onStillStale: recreate, timeout: 3s, retries: 0}\ndrift: {credentials: store}\n",
    );
    let path = world.bin.file("policy.yaml", &policy);
    let path = path.to_str().expect("UTF-8");
    let always = world.bin.file(
        "always.yaml",
        &policy.replace("retries: 0", "retries: 0, when: always"),
    );
    let always = always.to_str().expect("UTF-8");
    cause_drift(&world).await;
    read_only_commands_leak_nothing(&world, path).await;
    for fault in [
        Fault::status(500).resource("secrets").times(3),
        Fault::drop_after().resource("secrets").times(3),
        Fault::forbidden().resource("secrets").times(1),
    ] {
        world.embedded().inject(fault);
        leaks_nothing(
            &world,
            &[
                "drift",
                "-o",
                "json",
                "--log-format",
                "json",
                "--config",
                path,
            ],
        )
        .await;
    }
    leaks_nothing(&world, &["status", "-o", "wide", "--config", path]).await;
    leaks_nothing(&world, &["run", "-o", "table", "--config", path]).await;
    cause_drift(&world).await;
    leaks_nothing(
        &world,
        &[
            "run",
            "-o",
            "json",
            "--log-format",
            "json",
            "--config",
            always,
        ],
    )
    .await;
    leaks_nothing(&world, &["run", "-o", "yaml", "--config", always]).await;
    restarts_leak_nothing(&world, &policy).await;
    files_leak_nothing(&world);
    // The values existed and could have leaked: the operator wrote them.
    assert_eq!(world.secret("stale", "k").await, Some(encoded(AFTER)));
}
