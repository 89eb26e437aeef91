//! No value leaves memory: unmistakable values are planted wherever values can be, everything is run at the highest level of
//! logs, in every form of output and with faults, and all that comes out is searched for them.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sandbox::Fault;
use serde_json::json;
use sha2::Digest as _;

use crate::{
    restart::{is_up, stamp, workload},
    support::World,
};

/// At the provider before and after a rotation, in a key of a document, in a Secret that somebody edited, in a template, in the
/// token of a store and of the API, and in the operator's own texts.
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

/// A part of a value of this length is one too much.
const PART: usize = 6;

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String");
        text
    })
}

/// All forms in which a value could show, with what they are.
fn forms(value: &str) -> Vec<(String, String)> {
    let bytes = value.as_bytes();
    let mut forms: Vec<(String, String)> = Vec::new();
    for part in bytes.windows(PART) {
        let part = std::str::from_utf8(part).expect("ASCII");
        forms.push((format!("a part of {value}"), part.to_owned()));
        forms.push((format!("a part of {value} in hex"), hex(part.as_bytes())));
        forms.push((
            format!("a part of {value} in hex"),
            hex(part.as_bytes()).to_uppercase(),
        ));
    }
    // Base64 of the value at each place that it may have in a longer text, without what depends on its neighbours.
    for shift in 0..3 {
        let shifted = [&vec![0; shift], bytes].concat();
        let encoded = STANDARD.encode(&shifted[..shifted.len() / 3 * 3]);
        let own = &encoded[if shift == 0 { 0 } else { 4 }..];
        for part in own.as_bytes().windows(8) {
            let part = std::str::from_utf8(part).expect("ASCII");
            forms.push((format!("a part of {value} in base64"), part.to_owned()));
        }
    }
    for digest in [
        hex(&sha2::Sha256::digest(bytes)),
        hex(&sha1::Sha1::digest(bytes)),
        hex(&md5::Md5::digest(bytes)),
        hex(&sha3::Sha3_224::digest(bytes)),
    ] {
        forms.push((format!("a digest of {value}"), digest[..16].to_owned()));
    }
    forms
}

fn finds_nothing(where_from: &str, text: &str) {
    for value in PLANTED {
        for (what, form) in forms(value) {
            assert!(!text.contains(&form), "{where_from} shows {what}: {form}");
        }
    }
}

#[test]
fn what_is_searched_for_would_be_found() {
    let is_found = |text: &str| {
        PLANTED
            .iter()
            .any(|value| forms(value).iter().any(|(_, form)| text.contains(form)))
    };
    for leak in [
        BEFORE.to_owned(),
        format!("…{}…", &AFTER[3..9]),
        encoded(&format!("x{EDITED}")),
        encoded(&format!("{{\"a\":\"{DOCUMENT}\"}}")),
        hex(&TEMPLATE.as_bytes()[4..12]),
        format!("sha256:{}", hex(&sha2::Sha256::digest(EXTRA))),
    ] {
        assert!(is_found(&leak), "{leak}");
    }
    assert!(!is_found("ExternalSecret stale k changed"));
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

/// One of each kind of drift; and what the operator says of a failure quotes a value.
async fn let_drift(world: &World) {
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
            .expect("it is there");
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

/// Runs a command, and searches all that it says and writes.
async fn is_silent(world: &World, arguments: &[&str]) {
    let before = world.embedded().requests().len();
    let more = ["-vvv", "--token", API_TOKEN];
    let outcome = world.bin.run(&[arguments, &more].concat()).await;
    let shown = format!("{arguments:?}");
    assert_ne!(outcome.code, 2, "{shown}: {}", outcome.stderr);
    assert!(outcome.stderr.contains("TRACE"), "{shown} says little");
    finds_nothing(&format!("stdout of {shown}"), &outcome.stdout);
    finds_nothing(&format!("stderr of {shown}"), &outcome.stderr);
    for request in world.embedded().requests().split_off(before) {
        let said = format!(
            "{} {}",
            request.path,
            String::from_utf8_lossy(&request.body)
        );
        finds_nothing(&format!("a request of {shown}"), &said);
    }
}

fn files_are_silent(world: &World) {
    let files = std::fs::read_dir(world.bin.path()).expect("a folder");
    for file in files {
        let path = file.expect("a file").path();
        if path.is_file() {
            let text = std::fs::read(&path).expect("a file");
            finds_nothing(&path.display().to_string(), &String::from_utf8_lossy(&text));
        }
    }
}

/// Looks in every form of output.
async fn looking_is_silent(world: &World, path: &str) {
    for output in ["table", "json", "yaml"] {
        for name in ["stale", "edited", "templated", "failing", "denied"] {
            let arguments = ["diagnose", name, "-n", &world.namespace, "-o", output];
            is_silent(world, &arguments).await;
        }
        is_silent(world, &["drift", "-o", output, "--config", path]).await;
        is_silent(world, &["plan", "-o", output, "--config", path]).await;
    }
}

/// Stamps are made of values, and the restart of one that changed tells of its keys.
async fn restarting_is_silent(world: &World, policy: &str) {
    world.apply(workload("Deployment", "web", "stale")).await;
    is_up(world, "Deployment", "web").await;
    let restarts = format!("{policy}restart: [{{match: references, require: proven}}]\n");
    let path = world.bin.file("restarts.yaml", &restarts);
    let path = path.to_str().expect("UTF-8");
    is_silent(world, &["restart", "-o", "json", "--config", path]).await;
    let_drift(world).await;
    is_silent(world, &["run", "-o", "table", "--config", path]).await;
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
        is_silent(world, &[&sync[..], &["--restart", "-o", output]].concat()).await;
        is_silent(world, &["status", "-o", output, "--config", path]).await;
    }
    assert!(
        stamp(world, "Deployment", "web").await.is_some(),
        "there was a stamp to leak"
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
    let_drift(&world).await;
    looking_is_silent(&world, path).await;
    for fault in [
        Fault::status(500).resource("secrets").times(3),
        Fault::drop_after().resource("secrets").times(3),
        Fault::forbidden().resource("secrets").times(1),
    ] {
        world.embedded().inject(fault);
        is_silent(
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
    is_silent(&world, &["status", "-o", "wide", "--config", path]).await;
    is_silent(&world, &["run", "-o", "table", "--config", path]).await;
    let_drift(&world).await;
    is_silent(
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
    is_silent(&world, &["run", "-o", "yaml", "--config", always]).await;
    restarting_is_silent(&world, &policy).await;
    files_are_silent(&world);
    // What the run wrote to objects is in its requests; that the operator wrote the values shows that there was something to leak.
    assert_eq!(world.secret("stale", "k").await, Some(encoded(AFTER)));
}
