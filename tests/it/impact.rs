//! `impact`: what a change of a key reaches, and that it says what the plan says.

use std::collections::BTreeMap;

use ::sandbox::Fault;
use serde_json::{Value, json};

use crate::{
    restart::{is_up, workload},
    support::{Outcome, World, scenarios},
};

scenarios! {
    a_change_reaches_the_keys_that_come_from_it
    a_key_leads_to_its_secrets_and_workloads
    what_impact_says_is_what_the_plan_says
}

/// A store with a prefix-free key, and everything that can lead from the key to a Secret.
const BASE: &str = r"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: prod/db, value: one}, {key: prod/api, value: two}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: db, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: prod/db}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: found, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, dataFrom: [{find: {name: {regexp: ^prod/d}}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: api, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: prod/api}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: once, namespace: NS}
spec: {refreshPolicy: CreatedOnce, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: prod/db}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: left-out, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: prod/db}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: rendered, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {template: {templateFrom: [{secret: {name: db, items: [{key: k, templateAs: Values}]}}]}}
  data: [{secretKey: k, remoteRef: {key: prod/api}}]
";

const POLICY: &str = "select: [{namespaces: [NS], names: [db, found, api, once, rendered]}]
drift: {enabled: false}
restart: [{match: references, kinds: [Deployment], require: proven}]
";

async fn base(world: &World) {
    world.apply_yaml(BASE).await;
    for name in ["db", "found", "api", "once", "left-out"] {
        world.ready(name, "SecretSynced").await;
    }
    world.apply(workload("Deployment", "web", "db")).await;
    let mut reloaded = workload("Deployment", "reloaded", "db");
    reloaded["metadata"]["annotations"] = json!({"reloader.stakater.com/auto": "true"});
    world.apply(reloaded).await;
    let mut waved = workload("Deployment", "waved", "db");
    waved["metadata"]["annotations"] = json!({"wave.pusher.com/update-on-config-change": "true"});
    world.apply(waved).await;
    world.apply(workload("StatefulSet", "queue", "db")).await;
    world.apply(workload("Deployment", "api", "api")).await;
    world.apply(workload("Deployment", "old", "left-out")).await;
    for name in ["web", "reloaded", "waved", "api", "old"] {
        is_up(world, "Deployment", name).await;
    }
}

async fn impact(world: &World, arguments: &[&str]) -> Outcome {
    let policy = world.bin.file("policy.yaml", &world.named(POLICY));
    let policy = policy.to_str().expect("UTF-8");
    let namespace = &*world.namespace;
    let common = [
        "-n",
        namespace,
        "--lock-namespace",
        namespace,
        "-o",
        "json",
        "--config",
        policy,
    ];
    let arguments = [&["impact"], arguments, &common].concat();
    world.bin.run(&arguments).await
}

/// By name: how certain, the action and the reason.
fn items(document: &Value) -> BTreeMap<String, String> {
    let items = document["items"].as_array().expect("items");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of = |item: &Value| {
        let certainty = item["certainty"].as_str().unwrap_or_default();
        format!(
            "{certainty} {} {}",
            text(&item["action"]),
            text(&item["reason"])
        )
    };
    items
        .iter()
        .map(|item| (text(&item["name"]), of(item)))
        .collect()
}

/// By name: the action and the reason.
fn workloads(document: &Value, list: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let all = document[list].as_array().into_iter().flatten();
    all.map(|one| {
        let how = format!("{} {}", text(&one["action"]), text(&one["reason"]));
        (text(&one["name"]), how)
    })
    .collect()
}

fn expected(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, how): &(&str, &str)| ((*name).to_owned(), (*how).to_owned());
    entries.iter().map(own).collect()
}

async fn a_key_leads_to_its_secrets_and_workloads(world: World) {
    base(&world).await;
    let document = impact(&world, &["prod/db"]).await.exits(0).document();
    let mut found = items(&document);
    // Its state depends on the order in which the operator syncs.
    let rendered = found.remove("rendered").expect("it");
    assert!(rendered.starts_with("by-template sync "), "{rendered}");
    assert_eq!(
        found,
        expected(&[
            ("db", "uses sync selected"),
            ("found", "may-use sync selected"),
            ("left-out", "uses skip outside-selection"),
            ("once", "uses skip refresh-created-once"),
        ])
    );
    assert_eq!(
        workloads(&document, "workloads"),
        expected(&[
            ("old", "leave outside-selection"),
            ("queue", "leave no-rule"),
            ("reloaded", "leave handled-by-reloader"),
            ("waved", "leave handled-by-wave"),
            ("web", "restart-if-changed data-may-change"),
        ])
    );
    let by_secret = format!("{}/api", world.namespace);
    let document = impact(&world, &["--secret", &by_secret])
        .await
        .exits(0)
        .document();
    assert_eq!(items(&document), expected(&[("api", "uses sync selected")]));
    assert_eq!(
        workloads(&document, "workloads"),
        expected(&[("api", "restart-if-changed data-may-change")])
    );
    let narrowed = impact(&world, &["prod/db", "--secret", &by_secret]).await;
    assert_eq!(items(&narrowed.exits(0).document()), expected(&[]));
    world.end().await;
}

/// ExternalSecrets whose Secrets have keys of several remote keys.
const KEYS: &str = r#"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [{key: prod/db, value: '{"user": "u", "password": "planted"}'}, {key: prod/api, value: planted}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: single, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  data:
    - {secretKey: user, remoteRef: {key: prod/db, property: user}}
    - {secretKey: password, remoteRef: {key: prod/db, property: password}}
    - {secretKey: token, remoteRef: {key: prod/api}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: whole, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  data: [{secretKey: token, remoteRef: {key: prod/api}}]
  dataFrom: [{extract: {key: prod/db}}]
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: templated, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {template: {data: {url: 'db://{{ .password }}', token: '{{ .token }}'}}}
  data:
    - {secretKey: password, remoteRef: {key: prod/db, property: password}}
    - {secretKey: token, remoteRef: {key: prod/api}}
"#;

/// By name: the keys of the Secret, as far as they are known, and where further ones come from.
fn secret_keys(document: &Value) -> BTreeMap<String, String> {
    let items = document["items"].as_array().expect("items");
    let of = |item: &Value| {
        let words = ["secretKeys", "moreSecretKeys"].map(|field| {
            let words = item[field].as_array().into_iter().flatten();
            words
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        });
        let name = item["name"].as_str().expect("a name").to_owned();
        (name, words.join("; "))
    };
    items.iter().map(of).collect()
}

async fn a_change_reaches_the_keys_that_come_from_it(world: World) {
    world.apply_yaml(KEYS).await;
    for name in ["single", "whole", "templated"] {
        world.ready(name, "SecretSynced").await;
    }
    let namespace = &*world.namespace;
    for (key, of) in [
        ("prod/db", ["password user; ", "url; ", "; extract"]),
        ("prod/api", ["token; ", "token; ", "token; "]),
    ] {
        let outcome = world
            .bin
            .run(&["impact", key, "-n", namespace, "-o", "json"])
            .await;
        let [single, templated, whole] = of;
        assert_eq!(
            secret_keys(&outcome.exits(0).document()),
            expected(&[
                ("single", single),
                ("templated", templated),
                ("whole", whole)
            ]),
            "{key}"
        );
        assert!(!outcome.stdout.contains("planted"), "{}", outcome.stdout);
    }
    let tree = world
        .bin
        .run(&["impact", "prod/db", "-n", namespace, "-o", "tree"])
        .await;
    let tree = &tree.exits(0).stdout;
    for line in [
        "single  keys: password, user",
        "whole  keys: all keys of the extract",
    ] {
        assert!(
            tree.contains(&format!("Secret {namespace}/{line}")),
            "{tree}"
        );
    }
    let hidden = world.bin.file(
        "hidden.yaml",
        &world.named("safety: {keyNames: none}\nselect: [{namespaces: [NS]}]\n"),
    );
    let hidden = [
        "impact",
        "prod/db",
        "-n",
        namespace,
        "--config",
        hidden.to_str().expect("UTF-8"),
        "-o",
        "json",
    ];
    let document = world.bin.run(&hidden).await.exits(0).document();
    assert_eq!(secret_keys(&document)["single"], "; hidden");
    world.end().await;
}

/// The same actions and reasons, for all that both list.
async fn what_impact_says_is_what_the_plan_says(world: World) {
    base(&world).await;
    let policy = world.bin.file("policy.yaml", &world.named(POLICY));
    let policy = policy.to_str().expect("UTF-8");
    let namespace = world.namespace.clone();
    let plan = [
        "plan",
        "--config",
        policy,
        "--lock-namespace",
        &namespace,
        "-o",
        "json",
    ];
    let plan = world.bin.run(&plan).await.exits(0).document();
    let store = format!("SecretStore/{namespace}-store");
    let impact = impact(&world, &["--store", &store])
        .await
        .exits(0)
        .document();
    let mut planned = items(&plan);
    // Its state may change in between.
    planned.remove("rendered");
    for (name, how) in items(&impact) {
        let (_, said) = how.split_once(' ').expect("the certainty");
        match planned.get(&name) {
            Some(plan) => assert_eq!(said, plan.trim_start(), "{name}"),
            None if name == "rendered" => {}
            None => assert_eq!(said, "skip outside-selection", "{name}"),
        }
    }
    let said = workloads(&impact, "workloads");
    let planned = workloads(&plan, "restarts");
    for name in ["web", "reloaded", "waved"] {
        assert!(planned.contains_key(name), "{name}");
    }
    for (name, how) in planned {
        assert_eq!(said.get(&name), Some(&how), "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn impact_reads_no_secret_and_no_provider() {
    let world = World::sandbox().await;
    base(&world).await;
    let before = world.embedded().requests().len();
    impact(&world, &["prod/db"]).await.exits(0);
    let requests = world.embedded().requests().split_off(before);
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.method, "GET", "{}", request.path);
        let path = request.path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/');
        assert!(parts.all(|part| part != "secrets"), "{}", request.path);
    }
}

#[tokio::test]
async fn impact_without_the_right_to_list_workloads_is_incomplete() {
    let world = World::sandbox().await;
    base(&world).await;
    world
        .embedded()
        .inject(Fault::forbidden().resource("statefulsets"));
    let document = impact(&world, &["prod/db"]).await.exits(3).document();
    assert!(document["gaps"].to_string().contains("statefulsets"));
}

#[tokio::test]
async fn impact_of_an_unused_key_says_so() {
    let world = World::sandbox().await;
    base(&world).await;
    let outcome = world.bin.run(&["impact", "prod/unknown"]).await;
    let first = outcome.exits(0).stdout.lines().next();
    assert_eq!(first, Some("No ExternalSecret uses prod/unknown."));
}

#[tokio::test]
async fn impact_of_a_misspelt_name_shows_the_nearest_ones() {
    let world = World::sandbox().await;
    base(&world).await;
    let secret = format!("{}/bd", world.namespace);
    let store = format!("{}-stoer", world.namespace);
    let of_kind = format!("ClusterSecretStore/{}-store", world.namespace);
    for (arguments, similar) in [
        (vec!["impact", "prod/bd"], "prod/db".to_owned()),
        (
            vec!["impact", "--secret", &secret],
            format!("{}/db", world.namespace),
        ),
        (
            vec!["impact", "prod/db", "--secret", &secret],
            format!("{}/db", world.namespace),
        ),
        (
            vec!["impact", "--store", &store],
            format!("{}-store", world.namespace),
        ),
        (
            vec!["impact", "prod/db", "--store", &of_kind],
            format!("SecretStore/{}-store", world.namespace),
        ),
    ] {
        let outcome = world.bin.run(&arguments).await;
        let shown = outcome.exits(0).stdout.lines().next().unwrap_or_default();
        let asked = format!(": did you mean `{similar}`");
        assert!(shown.contains(&asked), "{shown}");
        let document = world
            .bin
            .run(&[&*arguments, &["-o", "json"]].concat())
            .await;
        assert_eq!(document.document()["similar"][0], *similar);
    }
}

#[tokio::test]
async fn impact_of_existing_names_that_do_not_meet_suggests_nothing() {
    let world = World::sandbox().await;
    base(&world).await;
    let secret = format!("{}/api", world.namespace);
    let outcome = world
        .bin
        .run(&["impact", "prod/db", "--secret", &secret])
        .await;
    let shown = &outcome.exits(0).stdout;
    assert!(
        shown.starts_with("No ExternalSecret uses prod/db and writes"),
        "{shown}"
    );
    assert!(!shown.contains("did you mean"), "{shown}");
}

#[tokio::test]
async fn impact_needs_a_selector_that_is_valid() {
    let world = World::sandbox().await;
    for (arguments, why) in [
        (
            &["impact"][..],
            "specify what changes: KEY, --secret or --store",
        ),
        (
            &["impact", "arn:aws:s3:::b"],
            "KEY: `arn:aws:s3:::b` is not the ARN",
        ),
        (
            &["impact", "--secret", "db"],
            "--secret: `db` is not a Secret. Write NAMESPACE/NAME",
        ),
        (
            &["impact", "--store", "A/B/C/D"],
            "--store: `A/B/C/D` is not a store.",
        ),
        (
            &["impact", "k", "-n", "A"],
            "-n: `A` is not a valid namespace name",
        ),
    ] {
        let outcome = world.bin.run(arguments).await;
        assert!(outcome.exits(2).stderr.contains(why), "{}", outcome.stderr);
    }
}
