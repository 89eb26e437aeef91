//! Compares the model of the operator with the real operator: the drift check must expect exactly what the operator wrote
//! for generated ExternalSecrets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{curl, skipped};
use crate::{
    oracle::{Case, Source, cases},
    support::{Outcome, World, eventually, optional_variable},
};

/// The number of cases of all sources together.
const CASES: usize = 330;

/// The reasons for which a case may be unverifiable.
const ALLOWED_REASONS: [&str; 6] = [
    "template",
    "property-path",
    "regexp",
    "collision",
    "depth",
    "metadata",
];

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn fake_store_cases_match_the_operator() {
    let world = World::cluster().await;
    let cases = of(Source::Fake);
    let data: Vec<Value> = remote(&cases)
        .map(|(key, text)| json!({"key": key, "value": text}))
        .collect();
    store(&world, Source::Fake, json!({"fake": {"data": data}})).await;
    assert_matches_operator(world, cases).await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn kubernetes_store_cases_match_the_operator() {
    let world = World::cluster().await;
    let cases = of(Source::Kubernetes);
    for (key, text) in remote(&cases) {
        let data: BTreeMap<String, String> =
            serde_json::from_str(text).expect("an object of values");
        world
            .apply(json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": key, "namespace": world.namespace}, "data": data}))
            .await;
    }
    world.apply_yaml(READER).await;
    let (server, authority) = world.api_server();
    let provider = json!({"kubernetes": {
        "remoteNamespace": world.namespace,
        "server": {"url": server, "caBundle": authority},
        "auth": {"serviceAccount": {"name": "reader"}},
    }});
    store(&world, Source::Kubernetes, provider).await;
    assert_matches_operator(world, cases).await;
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn vault_store_cases_match_the_operator() {
    let (Some(vault), Some(token)) = (
        optional_variable("ESO_SYNC_TEST_VAULT"),
        optional_variable("ESO_SYNC_TEST_VAULT_TOKEN"),
    ) else {
        return skipped("OpenBao");
    };
    let world = World::cluster().await;
    let header = format!("X-Vault-Token: {token}");
    let cases = of(Source::Vault);
    for (key, text) in remote(&cases) {
        let url = format!("{vault}/v1/secret/data/{key}");
        curl(&[
            "-H",
            &header,
            "--data-binary",
            &format!("{{\"data\": {text}}}"),
            &url,
        ])
        .await;
    }
    world
        .apply(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "vault", "namespace": world.namespace}, "stringData": {"token": token}}))
        .await;
    let provider = json!({"vault": {
        "server": vault, "path": "secret", "version": "v2",
        "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}},
    }});
    store(&world, Source::Vault, provider).await;
    assert_matches_operator(world, cases).await;
}

/// The cases of the functions on certificates and keys: files of openssl, and what the operator's renderer made of them.
const CERTIFICATES: &str =
    include_str!("../../../crates/eso-model/src/template/functions/certificates/cases.json");

/// An ExternalSecret with one template, and whether the operator can render it.
struct Rendering {
    name: String,
    spec: Value,
    succeeds: bool,
}

/// Returns an ExternalSecret for each case, and the data of its store.
fn renderings(world: &World) -> (Vec<Rendering>, Vec<Value>) {
    let document: Value = serde_json::from_str(CERTIFICATES).expect("JSON");
    let values = &document["values"];
    let value = |of: &Value| {
        let known = values.get(of.as_str().unwrap_or_default());
        known.unwrap_or(of).clone()
    };
    let (mut renderings, mut remote) = (Vec::new(), Vec::new());
    for (place, case) in document["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .enumerate()
    {
        let data = case["d"].as_object().expect("data");
        let template = case["t"].as_str().expect("a template");
        // This operator has no `certSANs`, and its Fake provider has no empty values.
        if template.contains("certSANs") || data.values().any(|of| value(of) == "") {
            continue;
        }
        let name = format!("case-{place:03}");
        let mut entries = Vec::new();
        for (key, of) in data {
            let remote_key = format!("{name}-{key}");
            let reference = json!({"key": remote_key, "decodingStrategy": "Base64"});
            entries.push(json!({"secretKey": key, "remoteRef": reference}));
            remote.push(json!({"key": remote_key, "value": value(of)}));
        }
        let spec = json!({
            "refreshInterval": "24h",
            "secretStoreRef": {"kind": "SecretStore", "name": world.named(Source::Fake.store())},
            "data": entries,
            "target": {"template": {"engineVersion": "v2", "data": {"made": template}}},
        });
        let succeeds = case["o"].is_string();
        renderings.push(Rendering {
            name,
            spec,
            succeeds,
        });
    }
    (renderings, remote)
}

#[tokio::test]
#[ignore = "needs a cluster (tests/cluster/run)"]
async fn certificate_functions_match_the_operator() {
    let world = World::cluster().await;
    let (renderings, remote) = renderings(&world);
    store(&world, Source::Fake, json!({"fake": {"data": remote}})).await;
    for Rendering { name, spec, .. } in &renderings {
        world
            .apply(json!({"apiVersion": format!("external-secrets.io/{}", world.version), "kind": "ExternalSecret",
                "metadata": {"name": name, "namespace": world.namespace}, "spec": spec}))
            .await;
    }
    let synced = settled(&world, renderings.len()).await;
    let drift = drift(&world).await;
    for case in &renderings {
        let item = item(&drift, &case.name);
        let template = &case.spec["target"]["template"]["data"]["made"];
        let expected = if case.succeeds {
            Settled::Written
        } else {
            Settled::Failed
        };
        assert_eq!(synced[&case.name], expected, "{}: {template}", case.name);
        assert_eq!(
            item["verdict"] == "in-sync",
            case.succeeds,
            "{template}\n{item}"
        );
    }
    assert!(renderings.len() > 150, "only {} cases", renderings.len());
    world.end().await;
}

/// Allows a service account to read the Secrets in the test's namespace.
const READER: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: NS}
rules:
  - {apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: NS}]
"#;

fn of(source: Source) -> Vec<Case> {
    cases(CASES)
        .into_iter()
        .filter(|case| case.source == source)
        .collect()
}

fn remote(cases: &[Case]) -> impl Iterator<Item = (&str, &str)> {
    cases
        .iter()
        .flat_map(|case| &case.remote)
        .map(|(key, text)| (&**key, &**text))
}

async fn store(world: &World, source: Source, provider: Value) {
    world
        .apply(json!({"apiVersion": format!("external-secrets.io/{}", world.version), "kind": "SecretStore",
            "metadata": {"name": world.named(source.store()), "namespace": world.namespace},
            "spec": {"provider": provider}}))
        .await;
    // An ExternalSecret that is processed before fails once, and the operator tries it again later.
    world.store_is(&world.named(source.store()), "True").await;
}

/// Lets the operator sync the cases, then checks that eso-sync reports the correct verdicts.
async fn assert_matches_operator(world: World, cases: Vec<Case>) {
    for case in &cases {
        let spec: Value = serde_json::from_str(&world.named(&case.spec.to_string())).expect("JSON");
        world
            .apply(json!({"apiVersion": format!("external-secrets.io/{}", world.version), "kind": "ExternalSecret",
                "metadata": {"name": case.name, "namespace": world.namespace}, "spec": spec}))
            .await;
    }
    let synced = settled(&world, cases.len()).await;
    let before = drift(&world).await;
    let mut verified = 0;
    for case in &cases {
        let item = item(&before, &case.name);
        let verdict = item["verdict"].as_str().expect("a verdict");
        let why = item["unverifiable"].as_str().unwrap_or_default();
        let shown = || {
            let Case {
                name, spec, remote, ..
            } = case;
            format!("{name}: {spec}\nremote: {remote:?}\nreport: {item}")
        };
        match (synced[&case.name], verdict) {
            (Settled::Written, "in-sync") => verified += 1,
            (Settled::Written, "unverifiable") => {
                assert!(ALLOWED_REASONS.contains(&why), "{}", shown());
            }
            (Settled::Written, _) => panic!(
                "unexpected verdict for a synced ExternalSecret: {}",
                shown()
            ),
            // If the operator's sync fails, the verdict must not be `in-sync`.
            (Settled::Failed, verdict) => assert_ne!(verdict, "in-sync", "{}", shown()),
            (Settled::Untouched, _) => {}
        }
    }
    let all = synced
        .values()
        .filter(|settled| **settled == Settled::Written)
        .count();
    assert!(
        verified * 100 >= all * 85,
        "verified only {verified} of {all} synced cases"
    );
    assert_edits_are_reported(&world, &before).await;
    world.end().await;
}

/// The operator's result for an ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Written,
    Failed,
    /// The provider holds nothing; the operator left the Secret unchanged or deleted it.
    Untouched,
}

/// Waits until the operator has processed all ExternalSecrets, and returns the results by name.
async fn settled(world: &World, count: usize) -> BTreeMap<String, Settled> {
    eventually(
        "the operator has processed all ExternalSecrets",
        async || {
            let objects = world.list("ExternalSecret").await;
            let ready = objects.iter().filter_map(|object| {
                let conditions = object["status"]["conditions"].as_array()?;
                let ready = conditions
                    .iter()
                    .find(|condition| condition["type"] == "Ready")?;
                let settled = match (ready["status"] == "True", &ready["message"]) {
                    (false, _) => Settled::Failed,
                    (true, message) if message == "secret synced" => Settled::Written,
                    (true, _) => Settled::Untouched,
                };
                Some((object["metadata"]["name"].as_str()?.to_owned(), settled))
            });
            let ready: BTreeMap<String, Settled> = ready.collect();
            (ready.len() == count).then_some(ready)
        },
    )
    .await
}

async fn drift(world: &World) -> Outcome {
    let arguments = [
        "drift",
        "-n",
        &world.namespace,
        "-o",
        "json",
        "--credentials",
        "store",
    ];
    world.bin.run(&arguments).await
}

fn item(outcome: &Outcome, name: &str) -> Value {
    let document = outcome.document();
    let items = document["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["name"] == name);
    item.unwrap_or_else(|| panic!("no item {name}")).clone()
}

/// A manual edit of a Secret.
enum Edit {
    Deleted,
    Key(String, &'static str),
}

/// Edits a Secret in one of four ways. Returns None if there is no Secret or it has no keys.
async fn edit(world: &World, name: &str, way: usize) -> Option<Edit> {
    let data = world.get("Secret", name).await?["data"].clone();
    let first = data.as_object()?.keys().next()?.clone();
    let (key, value, told) = match way % 4 {
        0 => (first, json!("ZWRpdGVk"), "changed"),
        1 => (first, Value::Null, "missing"),
        2 => ("added".to_owned(), json!("ZWRpdGVk"), "extra"),
        _ => {
            world.delete("Secret", name).await;
            return Some(Edit::Deleted);
        }
    };
    let change = json!({"data": {&key: value}});
    world.patch("Secret", name, &change).await;
    Some(Edit::Key(key, told))
}

/// Changes, removes or adds a key, or deletes the Secret, in some cases. The drift check must report exactly these edits.
async fn assert_edits_are_reported(world: &World, before: &Outcome) {
    world.rest().await;
    let document = before.document();
    let items = document["items"].as_array().expect("items");
    let in_sync = items.iter().filter(|item| item["verdict"] == "in-sync");
    let mut edits = BTreeMap::new();
    for (way, item) in in_sync.step_by(3).enumerate() {
        let name = item["name"].as_str().expect("a name");
        if let Some(edit) = edit(world, name, way).await {
            edits.insert(name.to_owned(), edit);
        }
    }
    let after = drift(world).await;
    world.resume().await;
    let document = after.document();
    for item in document["items"].as_array().expect("items") {
        let name = item["name"].as_str().expect("a name");
        let verdict = &item["verdict"];
        match edits.get(name) {
            None => assert_eq!(verdict, &self::item(before, name)["verdict"], "{item}"),
            Some(Edit::Deleted) => assert_eq!(verdict, "missing", "{item}"),
            Some(Edit::Key(key, told)) => {
                assert!(verdict == "tampered" || verdict == "partial", "{item}");
                // An extra name is hidden if the spec computes names from values.
                if item["hiddenKeys"] == 1 {
                    assert_eq!((*told, &item["keys"]), ("extra", &Value::Null), "{item}");
                    continue;
                }
                let keys = json!([{"name": key, "difference": told}]);
                assert_eq!(item["keys"], keys, "{item}");
            }
        }
    }
    assert!(edits.len() > 10, "only {} Secrets were edited", edits.len());
}
