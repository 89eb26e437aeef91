//! Tests of the reads, the differences between providers, and the comparison of Secrets.

use std::collections::BTreeMap;

use secret::{RunKey, Value};
use serde_json::json;

use super::{super::*, world::*};
use crate::ProviderKind;
use crate::digest::Algorithm;

#[test]
fn absent_secrets_are_recognised_depending_on_provider() {
    let lenient = |provider, entry: serde_json::Value| {
        let mut json = entry;
        json["target"] = json!({"deletionPolicy": "Merge"});
        World::new(provider, &[]).data(json)
    };
    let data = |policy: &str| json!({"data": [{"secretKey": "a", "remoteRef": {"key": "gone", "metadataPolicy": policy}}]});
    let extract = json!({"dataFrom": [{"extract": {"key": "gone"}}]});
    assert_eq!(lenient(ProviderKind::SecretsManager, data("None")), "");
    assert_eq!(
        lenient(ProviderKind::Kubernetes, data("None")),
        "fails not-found (spec.data[0])"
    );
    assert_eq!(lenient(ProviderKind::Kubernetes, extract), "");
    assert_eq!(
        lenient(ProviderKind::Vault, data("Fetch")),
        "fails not-found (spec.data[0])"
    );
    assert_eq!(lenient(ProviderKind::GcpSecretManager, data("Fetch")), "");
}

#[test]
fn missing_property_counts_as_absent_secret_only_for_fake() {
    let json = json!({
        "target": {"deletionPolicy": "Merge"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "x", "property": "gone"}}],
    });
    let secrets = [("x", r#"{"a":1}"#)];
    assert_eq!(
        World::new(ProviderKind::Fake, &secrets).data(json.clone()),
        ""
    );
    assert_eq!(
        World::new(ProviderKind::AzureKeyVault, &secrets).data(json),
        "fails no-property (spec.data[0])"
    );
}

#[test]
fn some_providers_convert_search_results_before_rewrite() {
    let json = json!({"dataFrom": [{
        "find": {"name": {"regexp": "^db/"}},
        "rewrite": [{"regexp": {"source": "^db[/_]", "target": "x"}}],
    }]});
    let found = [("db/a", "1"), ("web/a", "2")];
    let data = |provider| World::new(provider, &[]).finds(&found).data(json.clone());
    assert_eq!(data(ProviderKind::GcpSecretManager), "xa=1");
    assert_eq!(data(ProviderKind::SecretsManager), "xa=1");
    let mut json = json;
    json["dataFrom"][0]["rewrite"][0]["regexp"]["source"] = json!("_");
    let data = |provider| World::new(provider, &[]).finds(&found).data(json.clone());
    assert_eq!(data(ProviderKind::Fake), "dbxa=1");
    assert_eq!(
        data(ProviderKind::SecretsManager),
        "fails invalid-key (spec.dataFrom[0])"
    );
}

#[test]
fn search_criteria_depend_on_provider() {
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let of = |provider, name, tagged: bool| Operator::of(provider, name, tagged.then_some(&tags));
    assert_eq!(
        of(&ProviderKind::SecretsManager, Some("x"), true),
        Some(Operator::Name("x"))
    );
    assert_eq!(of(&ProviderKind::SecretsManager, None, false), None);
    assert_eq!(
        of(&ProviderKind::AzureKeyVault, Some("x"), true),
        Some(Operator::NameAndTags("x"))
    );
    assert_eq!(
        of(&ProviderKind::AzureKeyVault, None, false),
        Some(Operator::All)
    );
    assert_eq!(
        of(&ProviderKind::Kubernetes, Some("x"), true),
        Some(Operator::Tags)
    );
    assert_eq!(of(&ProviderKind::Fake, None, true), None);
    assert_eq!(of(&ProviderKind::Vault, None, false), Some(Operator::Tags));
}

#[test]
fn azure_certificates_and_keys_are_not_supported() {
    let world = World::new(
        ProviderKind::AzureKeyVault,
        &[("cert/a", "x"), ("secret/a", "1"), ("odd/a", "x")],
    );
    let data =
        |key: &str| world.data(json!({"data": [{"secretKey": "a", "remoteRef": {"key": key}}]}));
    assert_eq!(data("secret/a"), "a=1");
    assert_eq!(data("cert/a"), "unverifiable kind (spec.data[0])");
    assert_eq!(data("odd/a"), "fails refused (spec.data[0])");
    assert_eq!(
        world.data(json!({"dataFrom": [{"extract": {"key": "cert/a"}}]})),
        "fails refused (spec.dataFrom[0])"
    );
}

#[test]
fn metadata_policy_fetch_reads_tags() {
    let tags = || Raw::Tags(BTreeMap::from([("a.b".to_owned(), Value::from("<1>"))]));
    let data = |provider, property: &str| {
        let mut world = World::new(provider, &[]);
        world.secrets.insert("x", tags());
        world.data(json!({"data": [{"secretKey": "a", "remoteRef": {
            "key": "x", "metadataPolicy": "Fetch", "property": property,
        }}]}))
    };
    assert_eq!(
        data(ProviderKind::SecretsManager, ""),
        r#"a={"a.b":"\u003c1\u003e"}"#
    );
    assert_eq!(data(ProviderKind::ParameterStore, "a.b"), "a=<1>");
    assert_eq!(data(ProviderKind::AzureKeyVault, "a.b"), "a=<1>");
    assert_eq!(
        data(ProviderKind::Vault, ""),
        "unverifiable metadata (spec.data[0])"
    );
}

#[test]
fn properties_of_one_secret_share_one_read() {
    let entry = |key: &str, property: &str| json!({"secretKey": "a", "remoteRef": {"key": key, "property": property}});
    let mut other = entry("x", "");
    other["sourceRef"] = json!({"storeRef": {"name": "other", "kind": "ClusterSecretStore"}});
    let spec = spec(&json!({
        "secretStoreRef": {"name": "store"},
        "data": [entry("x", "a"), entry("x", "b"), entry("y", ""), other],
        "dataFrom": [
            {"extract": {"key": "x"}},
            {"extract": {"key": "x", "version": "2"}},
            {"find": {"name": {"regexp": "a"}}},
            {"find": {"name": {"regexp": "a"}, "conversionStrategy": "Unicode"}},
            {"sourceRef": {"generatorRef": {"kind": "Password"}}},
        ],
    }));
    let reads = reads(&spec);
    assert_eq!(reads.len(), 5, "{reads:#?}");
    assert_eq!(reads[0].store.kind, "ClusterSecretStore");
    assert_eq!(reads[4].store.kind, "SecretStore");
}

#[test]
fn differences_are_reported_per_key() {
    let expectation = |exact| Expected {
        data: BTreeMap::from([
            ("same".to_owned(), Value::from("1")),
            ("changed".to_owned(), Value::from("2")),
            ("missing".to_owned(), Value::from("")),
        ]),
        exact,
        effect: Effect::Write,
        immutable: false,
        secret_type: SecretType::default(),
    };
    let key = RunKey::from_bytes([7; 32]);
    let actual = BTreeMap::from([
        ("same".to_owned(), Value::from("1")),
        ("changed".to_owned(), Value::from("3")),
        ("extra".to_owned(), Value::from("")),
    ]);
    let actual = SecretFingerprints::of(&actual, &key);
    let differences = |exact| {
        compare(&expectation(exact), &actual, &key)
            .into_iter()
            .map(|it| format!("{} {:?}", it.name, it.difference))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        differences(true),
        ["changed Changed", "extra Extra", "missing Missing"]
    );
    assert_eq!(differences(false), ["changed Changed", "missing Missing"]);
}

#[test]
fn data_hash_matches_real_operators() {
    let data = |entries: &[(&str, &str)]| -> BTreeMap<String, Value> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect()
    };
    let one = data(&[("foo", "bar")]);
    assert_eq!(
        data_hash(Algorithm::Md5, &one),
        "5211b9bd4ac724a48a80e741f54ca581"
    );
    let two = data(&[("username", "admin"), ("password", "s3cr3t")]);
    let recorded = "4dc87f1bc1b42f99971f11cd8a752c3c1babc6486c0744d841d68c6a";
    assert_eq!(data_hash(Algorithm::Sha3_224, &two), recorded);
    assert_eq!(matches_recorded_hash(recorded, &two), Some(true));
    assert_eq!(
        matches_recorded_hash("bd97a990a322595f67156a368159c206", &two),
        Some(true)
    );
    assert_eq!(matches_recorded_hash(recorded, &one), Some(false));
    assert_eq!(matches_recorded_hash("", &one), None);
}
