//! The drift check: each kind of drift has its verdict, only drifted ExternalSecrets are synced, and unknown is never clean.

mod key_names;
mod ladder;
mod leak;

use std::collections::BTreeMap;

use ::sandbox::Fault;
use serde_json::{Value, json};

#[cfg(feature = "vault")]
use crate::providers::double::{Double, Reply};
use crate::support::{Outcome, World, eventually, scenarios};

scenarios! {
    each_kind_of_drift_has_its_verdict
    only_drifted_is_synced_and_second_run_writes_nothing
    unverifiable_follows_on_unverifiable
    template_sources_are_read_from_the_cluster
    several_writers_of_one_secret_are_judged_together
}

const POLICY: &str = "select:\n  - namespaces: [NS]\n";

/// ExternalSecrets, each with its own remote key.
const BASE: &str = r#"
apiVersion: external-secrets.io/VERSION
kind: SecretStore
metadata: {name: NS-store, namespace: NS}
spec: {provider: {fake: {data: [
  {key: same, value: before}, {key: stale, value: before}, {key: edited, value: before}, {key: lost, value: before},
  {key: gone, value: before}, {key: unwritten, value: before}, {key: gaining, value: '{"a":"1"}'}]}}}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: same, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: same}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: stale, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: stale}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: edited, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, target: {creationPolicy: Orphan}, data: [{secretKey: k, remoteRef: {key: edited}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: lost, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, target: {creationPolicy: Orphan}, data: [{secretKey: k, remoteRef: {key: lost}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: gaining, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, dataFrom: [{extract: {key: gaining}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: gone, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, data: [{secretKey: k, remoteRef: {key: gone}}]}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: unwritten, namespace: NS}
spec: {refreshInterval: 1h, secretStoreRef: {name: NS-store, kind: SecretStore}, target: {creationPolicy: None}, data: [{secretKey: k, remoteRef: {key: unwritten}}]}
"#;

async fn base(world: &World) {
    world.apply_yaml(BASE).await;
    for name in [
        "same",
        "stale",
        "edited",
        "lost",
        "gaining",
        "gone",
        "unwritten",
    ] {
        world.ready(name, "SecretSynced").await;
    }
}

async fn provider_holds(world: &World, data: Value) {
    let store = format!("{}-store", world.namespace);
    let change = json!({"spec": {"provider": {"fake": {"data": data}}}});
    world.patch("SecretStore", &store, &change).await;
    world.store_is(&store, "True").await;
}

/// One of each kind.
async fn cause_drift(world: &World) {
    provider_holds(
        world,
        json!([
            {"key": "same", "value": "before"}, {"key": "stale", "value": "after"}, {"key": "edited", "value": "before"},
            {"key": "lost", "value": "before"}, {"key": "unwritten", "value": "before"},
            {"key": "gaining", "value": "{\"a\":\"1\",\"b\":\"2\"}"},
        ]),
    )
    .await;
    let by_hand = json!({"data": {"k": "Ynk gaGFuZA==".replace(' ', "")}});
    world.patch("Secret", "edited", &by_hand).await;
    world.delete("Secret", "lost").await;
}

async fn drift(world: &World, more: &str) -> Outcome {
    let text = world.named(&format!("{POLICY}{more}"));
    let path = world.bin.file("drift.yaml", &text);
    let path = path.to_str().expect("UTF-8");
    world
        .bin
        .run(&["drift", "-o", "json", "--config", path])
        .await
}

/// The verdicts by name, with the keys that differ or the reason if unverifiable.
pub(crate) fn verdicts(document: &Value) -> BTreeMap<String, String> {
    let shown = |item: &Value| {
        let keys: Vec<String> = item["keys"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|key| {
                let text = |field: &str| key[field].as_str().expect("a text").to_owned();
                format!("{} {}", text("name"), text("difference"))
            })
            .collect();
        let verdict = item["verdict"].as_str().unwrap_or("none").to_owned();
        match item["unverifiable"].as_str() {
            Some(why) => format!("{verdict}({why})"),
            None if keys.is_empty() => verdict,
            None => format!("{verdict}: {}", keys.join(", ")),
        }
    };
    let items = document["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| {
            let name = item["name"].as_str().expect("a name");
            (name.to_owned(), shown(item))
        })
        .collect()
}

fn has_verdicts(document: &Value, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(name, verdict)| ((*name).to_owned(), (*verdict).to_owned()))
        .collect();
    assert_eq!(verdicts(document), expected, "{document:#}");
}

fn matches_its_schema(document: &Value) {
    let schema = eso_sync::report::schema();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}

async fn each_kind_of_drift_has_its_verdict(world: World) {
    base(&world).await;
    let outcome = drift(&world, "exclude: [{names: [unwritten]}]\n").await;
    outcome.exits(0);
    let clean = outcome.document();
    assert_eq!(clean["summary"]["verdicts"], json!({"in-sync": 6}));
    cause_drift(&world).await;
    let outcome = drift(&world, "").await;
    outcome.exits(3);
    let document = outcome.document();
    has_verdicts(
        &document,
        &[
            ("edited", "tampered: k changed"),
            ("gaining", "partial: b missing"),
            ("gone", "stale"),
            ("lost", "missing"),
            ("same", "in-sync"),
            ("stale", "stale: k changed"),
            ("unwritten", "unverifiable(not-written)"),
        ],
    );
    assert_eq!(document["kind"], "Drift");
    assert_eq!(
        document["summary"]["verifiable"],
        json!([{"store": world.named("SecretStore/NS/NS-store"), "verifiable": 6, "total": 7}])
    );
    has_messages(&document);
    // With `report`, unverifiable items do not count, so the differences set the exit code.
    drift(&world, "drift: {onUnverifiable: report}\n")
        .await
        .exits(1);
    let table = world
        .bin
        .run(&["drift", "stale", "-n", &world.namespace])
        .await;
    table.exits(1);
    assert!(
        table.stdout.starts_with("Verifiable: 1 of 1\n"),
        "{}",
        table.stdout
    );
    world.end().await;
}

/// Each item has a message and a reason.
fn has_messages(document: &Value) {
    let item = |name: &str| {
        let mut items = document["items"].as_array().expect("items").iter();
        items
            .find(|item| item["name"] == name)
            .expect("an item")
            .clone()
    };
    let message = |name: &str| {
        item(name)["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        message("edited").starts_with("edited in the cluster by "),
        "{document:#}"
    );
    assert!(
        message("gone").contains("would fail: not-found (spec.data[0])"),
        "{document:#}"
    );
    assert_eq!(item("gone")["reason"], "would-fail");
    matches_its_schema(document);
}

async fn annotations(world: &World) -> Vec<Value> {
    let all = world.list("ExternalSecret").await;
    all.into_iter()
        .map(|object| object["metadata"]["annotations"].clone())
        .collect()
}

async fn only_drifted_is_synced_and_second_run_writes_nothing(world: World) {
    base(&world).await;
    cause_drift(&world).await;
    let policy = world.named(&format!(
        "{POLICY}exclude: [{{names: [unwritten, gone]}}]\n"
    ));
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.exits(0);
    let shown = ["same", "stale", "edited", "lost", "gaining"].map(|name| outcome.of(name));
    assert_eq!(
        shown,
        ["skipped(in-sync)", "synced", "synced", "synced", "synced"]
    );
    let document = outcome.document();
    assert_eq!(document["summary"]["verdicts"], json!({"in-sync": 5}));
    matches_its_schema(&document);
    assert_eq!(
        world.secret("stale", "k").await.as_deref(),
        Some("YWZ0ZXI=")
    );
    assert_eq!(world.secret("gaining", "b").await.as_deref(), Some("Mg=="));
    let before = annotations(&world).await;
    let again = world.bin.policy(&policy, &[]).await;
    again.exits(0);
    assert_eq!(
        again.document()["summary"]["outcomes"],
        json!({"skipped": 7})
    );
    assert_eq!(annotations(&world).await, before);
    world.end().await;
}

async fn unverifiable_follows_on_unverifiable(world: World) {
    base(&world).await;
    let only = |more: &str| {
        world.named(&format!(
            "select: [{{namespaces: [NS], names: [same, unwritten]}}]\ndrift: {{onUnverifiable: {more}}}\n"
        ))
    };
    let failed = world.bin.policy(&only("fail"), &[]).await;
    failed.exits(3);
    assert_eq!(failed.of("unwritten"), "skipped(unverifiable)");
    let told = world.bin.policy(&only("report"), &[]).await;
    told.exits(0);
    assert_eq!(told.of("unwritten"), "skipped(unverifiable)");
    let synced = world.bin.policy(&only("sync"), &[]).await;
    assert_eq!(
        [synced.of("same"), synced.of("unwritten")],
        ["skipped(in-sync)", "unproven(not-written)"]
    );
    world.end().await;
}

async fn template_sources_are_read_from_the_cluster(world: World) {
    base(&world).await;
    world.rest().await;
    world
        .apply_yaml(
            r#"
apiVersion: v1
kind: Secret
metadata: {name: templates, namespace: NS}
stringData: {whole.conf: "password={{ .k }}"}
---
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: templated, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {template: {data: {url: "https://{{ .k }}@host"}, templateFrom: [{secret: {name: templates, items: [{key: whole.conf}]}}]}}
  data: [{secretKey: k, remoteRef: {key: same}}]
---
apiVersion: v1
kind: Secret
metadata: {name: templated, namespace: NS}
stringData: {whole.conf: "password=before", url: "https://before@host"}
"#,
        )
        .await;
    let select = world.named("select: [{namespaces: [NS], names: [templated]}]\n");
    let path = world.bin.file("templated.yaml", &select);
    let path = path.to_str().expect("UTF-8");
    let look = async || {
        world
            .bin
            .run(&["drift", "-o", "json", "--config", path])
            .await
    };
    look().await.exits(0);
    let other = json!({"data": {"whole.conf": "b3RoZXI="}});
    world.patch("Secret", "templates", &other).await;
    let outcome = look().await;
    outcome.exits(1);
    has_verdicts(
        &outcome.document(),
        &[("templated", "stale: whole.conf changed")],
    );
    world.delete("Secret", "templates").await;
    let outcome = look().await;
    assert!(
        outcome.stdout.contains("templates does not exist"),
        "{}",
        outcome.stdout
    );
    world.resume().await;
    world.end().await;
}

async fn several_writers_of_one_secret_are_judged_together(world: World) {
    base(&world).await;
    world
        .apply_yaml(
            r"
apiVersion: external-secrets.io/VERSION
kind: ExternalSecret
metadata: {name: more, namespace: NS}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: NS-store, kind: SecretStore}
  target: {name: edited, creationPolicy: Merge}
  data: [{secretKey: more, remoteRef: {key: lost}}]
",
        )
        .await;
    world.ready("more", "SecretSynced").await;
    eventually("both have written", async || {
        world.secret("edited", "more").await
    })
    .await;
    let only = |names: &str| {
        let text = format!("select: [{{namespaces: [NS], names: [{names}]}}]\n");
        world.bin.file("some.yaml", &world.named(&text))
    };
    let both = only("edited, more");
    let both = both.to_str().expect("UTF-8");
    let outcome = world
        .bin
        .run(&["drift", "-o", "json", "--config", both])
        .await;
    outcome.exits(0);
    has_verdicts(
        &outcome.document(),
        &[("edited", "in-sync"), ("more", "in-sync")],
    );
    world.rest().await;
    let by_hand = json!({"data": {"more": "b3RoZXI="}});
    world.patch("Secret", "edited", &by_hand).await;
    let outcome = world
        .bin
        .run(&["drift", "-o", "json", "--config", both])
        .await;
    has_verdicts(
        &outcome.document(),
        &[("edited", "in-sync"), ("more", "tampered: more changed")],
    );
    world.resume().await;
    world.end().await;
}

/// Without the right to read Secrets, everything is unverifiable and nothing is synced.
#[tokio::test]
async fn denied_secrets_are_unverifiable() {
    let world = World::sandbox().await;
    base(&world).await;
    world
        .embedded()
        .inject(Fault::forbidden().resource("secrets"));
    let outcome = world.bin.policy(&world.named(POLICY), &[]).await;
    outcome.exits(3);
    let document = outcome.document();
    assert_eq!(document["summary"]["verdicts"], json!({"unverifiable": 7}));
    assert_eq!(document["summary"]["toSync"], 0);
    assert_eq!(document["items"][0]["unverifiable"], "secret-unreadable");
    assert_eq!(
        document["items"][0]["permission"],
        "get and list on secrets"
    );
    let requests = world.embedded().requests();
    let wrote = requests.iter().any(|request| {
        request.verb == "patch"
            && request.path.contains("externalsecrets")
            && request.body.windows(10).any(|it| it == b"force-sync")
    });
    assert!(!wrote);
}

#[tokio::test]
async fn drift_command_never_writes() {
    let world = World::sandbox().await;
    base(&world).await;
    cause_drift(&world).await;
    let before = world.embedded().requests().len();
    drift(&world, "").await.exits(3);
    let requests = world.embedded().requests().split_off(before);
    let ours: Vec<_> = requests
        .iter()
        .filter(|request| request.method != "GET")
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

/// An unreachable provider is one line in the report, however many ExternalSecrets use its store.
#[tokio::test]
async fn unreadable_store_is_reported_once() {
    let world = World::sandbox().await;
    base(&world).await;
    let vault = "
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: NS-vault, namespace: NS}
spec: {provider: {vault: {server: 'http://127.0.0.1:1', path: kv, auth: {tokenSecretRef: {name: t, key: t}}}}}
";
    world.apply_yaml(vault).await;
    for name in ["one", "two"] {
        world
            .apply_yaml(&format!(
                "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: {name}, namespace: NS}}\n\
                 spec: {{secretStoreRef: {{name: NS-vault, kind: SecretStore}}, data: [{{secretKey: k, remoteRef: {{key: k}}}}]}}\n"
            ))
            .await;
    }
    let text = world.named("select: [{namespaces: [NS], names: [one, two]}]\n");
    let path = world.bin.file("vault.yaml", &text);
    let path = path.to_str().expect("UTF-8");
    let outcome = world.bin.run(&["drift", "--config", path]).await;
    let store = world.named("could not read from SecretStore/NS/NS-vault: store-not-trusted");
    assert_eq!(
        outcome.stdout.matches(&store).count(),
        1,
        "{}",
        outcome.stdout
    );
}

#[tokio::test]
async fn diagnosis_shows_the_chain_and_next_steps() {
    let world = World::sandbox().await;
    base(&world).await;
    cause_drift(&world).await;
    let diagnose = async |name: &str| {
        let arguments = ["diagnose", name, "-n", &world.namespace, "-o", "json"];
        world.bin.run(&arguments).await
    };
    let well = diagnose("same").await;
    assert_eq!(well.exits(0).document()["next"], json!([]));
    let stale = diagnose("stale").await;
    let document = stale.exits(1).document();
    assert_eq!(document["verdict"], "stale");
    assert_eq!(
        document["next"],
        json!([world.named("eso-sync sync stale -n NS")])
    );
    let gone = diagnose("gone").await;
    let document = gone.exits(1).document();
    assert_eq!(
        document["next"][0],
        "create gone in the provider, or fix the remote key in the ExternalSecret's spec"
    );
    let links = document["links"].as_array().expect("links");
    let about: Vec<&str> = links
        .iter()
        .filter_map(|link| link["about"].as_str())
        .collect();
    assert!(
        about
            .iter()
            .any(|about| about.starts_with("gone at SecretStore/")),
        "{about:?}"
    );
    diagnose("nobody").await.exits(3);
    world.bin.run(&["diagnose", "a*"]).await.exits(2);
}

/// A tenant's Vault that never answers gets no more than half of the time until the deadline.
#[cfg(feature = "vault")]
#[tokio::test]
async fn slow_store_of_one_namespace_does_not_stop_the_run() {
    let world = World::sandbox().await;
    base(&world).await;
    cause_drift(&world).await;
    let vault = Double::start(|asked| {
        if asked.path.contains("/sys/internal/ui/mounts/") {
            Reply::json(200, &json!({"data": {"path": "kv/", "type": "kv"}}))
        } else {
            Reply::Never
        }
    })
    .await;
    let slow = world.named("NS-slow");
    world
        .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": slow}}))
        .await;
    world
        .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t", "namespace": slow}, "data": {"t": "dDBrZW4="}}))
        .await;
    let provider = json!({"vault": {"server": vault.url, "path": "kv", "auth": {"tokenSecretRef": {"name": "t", "key": "t"}}}});
    world
        .apply(
            json!({"apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
            "metadata": {"name": "vault", "namespace": slow}, "spec": {"provider": provider}}),
        )
        .await;
    for index in 0..20 {
        let data = json!([{"secretKey": "k", "remoteRef": {"key": format!("k{index}")}}]);
        world
            .apply(json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
                "metadata": {"name": format!("slow-{index:02}"), "namespace": slow},
                "spec": {"secretStoreRef": {"name": "vault", "kind": "SecretStore"}, "data": data}}))
            .await;
    }
    let policy = world.named(
        "select: [{namespaces: [NS, NS-slow]}]\ndrift: {enabled: true, credentials: store}\nsync: {when: drifted}\ndeadline: 16s\n",
    );
    let outcome = world.bin.policy(&policy, &[]).await;
    outcome.exits(3);
    let document = outcome.document();
    let verdicts = verdicts(&document);
    for index in 0..20 {
        let verdict = &verdicts[&format!("slow-{index:02}")];
        assert_eq!(verdict, "unverifiable(not-read-in-time)");
    }
    assert_eq!(outcome.of("stale"), "synced", "{}", outcome.stderr);
    assert_eq!(document["run"]["complete"], json!(true));
}
