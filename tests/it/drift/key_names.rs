//! A key's name can hold a value. No output and no request may have it, and other names are still shown.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    restart::{is_up, stamp, workload},
    support::{Outcome, World},
};

/// Values that are names: of a template before and after a rotation, and of an extracted token.
const HIDDEN: [&str; 3] = ["silverlake", "goldenriver", "sk-live-4242"];

const WORLD: &str = r#"
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: v, value: goldenriver}, {key: d, value: '{"sk-live-4242":"alice","pin":"old"}'}]}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: templated, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {template: {templateFrom: [{literal: "{{ .v }}: x"}]}}
  data: [{secretKey: v, remoteRef: {key: v}}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: extracted, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, dataFrom: [{extract: {key: d}}]}
"#;

const POLICY: &str = "select: [{namespaces: [NS]}]\nsync: {timeout: 3s, retries: 0}\ndrift: {credentials: store}\n\
                      restart: [{match: references, require: proven}]\n";

/// The sandbox does not support `templateFrom`, so the Secret is written here, as the operator would.
async fn write_templated(world: &World, name: &str) {
    let data = json!({name: STANDARD.encode("x")});
    world.delete_if_there("Secret", "templated").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "templated"}, "data": data});
    world.apply(secret).await;
}

async fn world() -> World {
    let world = World::sandbox().await;
    world.apply_yaml(WORLD).await;
    world.ready("extracted", "SecretSynced").await;
    write_templated(&world, "silverlake").await;
    for secret in ["templated", "extracted"] {
        let name = format!("web-{secret}");
        world.apply(workload("Deployment", &name, secret)).await;
        is_up(&world, "Deployment", &name).await;
    }
    world
}

/// Changes the data of the provider.
async fn rotate(world: &World, pin: &str) {
    let document = json!({"sk-live-4242": "bob", "pin": pin}).to_string();
    let data = json!([{"key": "v", "value": "goldenriver"}, {"key": "d", "value": document}]);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    let store = world.named("NS-store");
    world.patch("SecretStore", &store, &change).await;
    world.store_is(&store, "True").await;
}

/// Runs a command. Neither its output nor its requests have a hidden name.
async fn hides(world: &World, arguments: &[&str]) -> Outcome {
    let before = world.embedded().requests().len();
    let outcome = world.bin.run(&[arguments, &["-vv"]].concat()).await;
    let requests = world.embedded().requests().split_off(before);
    let bodies = requests
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body));
    let texts = [outcome.stdout.clone(), outcome.stderr.clone()];
    for text in bodies.map(String::from).chain(texts) {
        for name in HIDDEN {
            for form in [name.to_owned(), STANDARD.encode(name)] {
                assert!(!text.contains(&form), "{arguments:?} shows {form}: {text}");
            }
        }
    }
    assert_ne!(outcome.code, 2, "{}", outcome.stderr);
    outcome
}

fn item(outcome: &Outcome, name: &str) -> Value {
    let document = outcome.document();
    let items = document["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["name"] == name);
    item.expect("the item").clone()
}

/// The world after its workloads were stamped and its provider changed, and the flags that name its policy.
async fn rotated() -> (World, [String; 2]) {
    let world = world().await;
    let policy = world.bin.file("policy.yaml", &world.named(POLICY));
    let policy = policy.to_str().expect("UTF-8").to_owned();
    let config = ["--config".to_owned(), policy];
    hides(&world, &with(&["restart", "-o", "json"], &config)).await;
    let stamped = stamp(&world, "Deployment", "web-templated").await;
    let names = stamped.expect("a stamp")["secrets"]["templated"].clone();
    assert_eq!(names.as_object().map(serde_json::Map::len), Some(1));
    rotate(&world, "new").await;
    (world, config)
}

fn with<'a>(arguments: &[&'a str], config: &'a [String; 2]) -> Vec<&'a str> {
    let config = config.iter().map(String::as_str);
    arguments.iter().copied().chain(config).collect()
}

#[tokio::test]
async fn name_that_holds_a_value_is_not_in_findings() {
    let (world, config) = rotated().await;
    let drift = hides(&world, &with(&["drift", "-o", "json"], &config)).await;
    let templated = item(&drift, "templated");
    assert_eq!(
        (&templated["keys"], &templated["hiddenKeys"]),
        (&Value::Null, &json!(2))
    );
    let extracted = item(&drift, "extracted");
    let pin = json!([{"name": "pin", "difference": "changed"}]);
    assert_eq!(
        (&extracted["keys"], &extracted["hiddenKeys"]),
        (&pin, &json!(1))
    );
    let table = hides(&world, &with(&["drift"], &config)).await;
    for cell in [
        " 2 keys whose names come from data",
        " pin and 1 key whose name comes from data",
    ] {
        assert!(table.stdout.contains(cell), "{}", table.stdout);
    }
    let store = ["-n", &world.namespace, "--credentials", "store"];
    for output in ["table", "json", "yaml"] {
        for name in ["templated", "extracted"] {
            let arguments = [&["diagnose", name, "-o", output][..], &store].concat();
            let diagnosed = hides(&world, &arguments).await;
            assert!(diagnosed.stdout.contains("come"), "{}", diagnosed.stdout);
        }
        hides(&world, &with(&["plan", "-o", output], &config)).await;
    }
}

#[tokio::test]
async fn name_that_holds_a_value_is_not_in_reports_of_restarts() {
    let (world, config) = rotated().await;
    // The template now names another key.
    write_templated(&world, "goldenriver").await;
    for output in ["table", "yaml", "json"] {
        hides(&world, &with(&["status", "-o", output], &config)).await;
        let plan = hides(&world, &with(&["plan", "-o", output], &config)).await;
        let broken = "a key of Secret templated is missing; its name comes from data";
        assert!(plan.stdout.contains(broken), "{}", plan.stdout);
    }
    let restarted = hides(&world, &with(&["run", "-o", "json"], &config)).await;
    assert_eq!(
        restarted.restart_of("web-templated"),
        "left(data-looks-broken)"
    );
    assert_eq!(
        restarted.restart_of("web-extracted"),
        "restarted(data-changed)"
    );
    rotate(&world, "newest").await;
    let store = ["-n", &world.namespace, "--credentials", "store", "--yes"];
    let sync = [&["sync", "extracted", "--restart"][..], &store].concat();
    let chain = hides(&world, &sync).await;
    let keys = "has the data that the operator wrote: pin, 1 key whose name comes from data";
    assert!(chain.stdout.contains(keys), "{}", chain.stdout);
    hides(&world, &[&sync[..], &["-o", "json"]].concat()).await;
}

#[tokio::test]
async fn flag_and_policy_can_only_hide_more_names() {
    let world = world().await;
    rotate(&world, "new").await;
    let with = |mode: &str| {
        let policy = world.named(POLICY) + &format!("safety: {{keyNames: {mode}}}\n");
        world.bin.file(&format!("{mode}.yaml"), &policy)
    };
    for (policy, flag, shown) in [
        ("safe", "safe", true),
        ("safe", "literal", false),
        ("safe", "none", false),
        ("literal", "safe", false),
        ("none", "safe", false),
        ("none", "literal", false),
    ] {
        let file = with(policy);
        let config = [
            "--config",
            file.to_str().expect("UTF-8"),
            "--key-names",
            flag,
        ];
        let drift = hides(&world, &[&["drift", "-o", "json"][..], &config].concat()).await;
        let item = item(&drift, "extracted");
        assert_eq!(item["keys"].is_array(), shown, "{policy} {flag}: {item}");
        let hidden = if shown { 1 } else { 2 };
        assert_eq!(item["hiddenKeys"], hidden, "{policy} {flag}");
    }
    let unknown = world.bin.run(&["drift", "-A", "--key-names", "all"]).await;
    unknown.exits(2);
}

#[tokio::test]
async fn only_values_of_the_same_secret_hide_a_name() {
    let world = World::sandbox().await;
    let guess = r#"
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: v, value: goldenriver}, {key: d, value: '{"goldenriver":"x"}'}]}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: victim, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: v}}]}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: guess, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, dataFrom: [{extract: {key: d}}]}
"#;
    world.apply_yaml(guess).await;
    for name in ["victim", "guess"] {
        world.ready(name, "SecretSynced").await;
    }
    // Otherwise the operator takes the edit back.
    world.rest().await;
    let change = json!({"data": {"goldenriver": STANDARD.encode("y")}});
    world.patch("Secret", "guess", &change).await;
    let namespace = ["-n", &world.namespace, "--credentials", "store"];
    let drift = world
        .bin
        .run(&[&["drift", "-o", "json"][..], &namespace].concat())
        .await;
    let names = &item(&drift, "guess")["keys"];
    assert_eq!(names[0]["name"], "goldenriver", "{names}");
}
