//! Rules by name.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use crate::{
    eso::{digest::Algorithm, gjson},
    secret::{RunKey, Value},
};

fn spec(spec: serde_json::Value) -> Spec {
    Spec::parse(&spec).unwrap()
}

fn text(value: &str) -> Raw {
    Raw::Bytes(Value::from(value))
}

/// One store of one provider, by remote key. A key that ends in `/` is what a search finds.
struct World {
    provider: Provider,
    secrets: BTreeMap<&'static str, Raw>,
    found: BTreeMap<String, Raw>,
}

impl World {
    fn new(provider: Provider, secrets: &[(&'static str, &str)]) -> Self {
        let secrets = secrets
            .iter()
            .map(|(key, value)| (*key, text(value)))
            .collect();
        Self {
            provider,
            secrets,
            found: BTreeMap::new(),
        }
    }

    fn finds(mut self, found: &[(&str, &str)]) -> Self {
        self.found = found
            .iter()
            .map(|(key, value)| ((*key).to_owned(), text(value)))
            .collect();
        self
    }

    fn answer(&self, read: &Read) -> Answer<'_> {
        let content = match &read.what {
            What::Find { .. } => Content::Many(&self.found),
            What::Secret { key, .. } => match self.secrets.get(key.as_str()) {
                Some(raw) => Content::One(raw),
                None => Content::NotFound,
            },
        };
        Answer {
            provider: self.provider,
            content,
        }
    }

    fn expect(&self, mut json: serde_json::Value) -> Result<Expected, NotComputable> {
        json["secretStoreRef"] = json!({"name": "store"});
        expected(&spec(json), |read| self.answer(read), &NoTemplates)
    }

    /// `key=value` of each key, or why not.
    fn data(&self, json: serde_json::Value) -> String {
        match self.expect(json) {
            Ok(expected) => shown(&expected),
            Err(NotComputable::Unverifiable(it)) => format!("unverifiable {it}"),
            Err(NotComputable::WouldFail(it)) => format!("fails {it}"),
        }
    }
}

fn shown(expected: &Expected) -> String {
    let keys = expected
        .data
        .iter()
        .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value.expose())));
    keys.collect::<Vec<_>>().join(" ")
}

fn fake(secrets: &[(&'static str, &str)]) -> World {
    World::new(Provider::Fake, secrets)
}

#[test]
fn data_beats_data_from_and_later_entries_beat_earlier_ones() {
    let world = fake(&[
        ("one", r#"{"a":"1","b":"1","c":"1"}"#),
        ("two", r#"{"b":"2","c":"2"}"#),
        ("x", "3"),
    ]);
    assert_eq!(
        world.data(json!({
            "dataFrom": [{"extract": {"key": "one"}}, {"extract": {"key": "two"}}],
            "data": [{"secretKey": "c", "remoteRef": {"key": "x"}}],
        })),
        "a=1 b=2 c=3"
    );
}

#[test]
fn an_absent_secret_fails_the_sync_unless_the_deletion_policy_lets_it_go() {
    let world = fake(&[("x", "1")]);
    let entries = json!([
        {"secretKey": "a", "remoteRef": {"key": "x"}},
        {"secretKey": "b", "remoteRef": {"key": "gone"}},
    ]);
    let data =
        |policy: &str| world.data(json!({"target": {"deletionPolicy": policy}, "data": entries}));
    assert_eq!(data("Retain"), "fails not-found (spec.data[1])");
    assert_eq!(data("Delete"), "a=1");
    assert_eq!(data("Merge"), "a=1");
}

#[test]
fn only_some_providers_know_an_absent_secret_as_absent() {
    let lenient = |provider, entry: serde_json::Value| {
        let mut json = entry;
        json["target"] = json!({"deletionPolicy": "Merge"});
        World::new(provider, &[]).data(json)
    };
    let data = |policy: &str| json!({"data": [{"secretKey": "a", "remoteRef": {"key": "gone", "metadataPolicy": policy}}]});
    let extract = json!({"dataFrom": [{"extract": {"key": "gone"}}]});
    assert_eq!(lenient(Provider::AwsSecretsManager, data("None")), "");
    assert_eq!(
        lenient(Provider::Kubernetes, data("None")),
        "fails not-found (spec.data[0])"
    );
    assert_eq!(lenient(Provider::Kubernetes, extract), "");
    assert_eq!(
        lenient(Provider::Vault, data("Fetch")),
        "fails not-found (spec.data[0])"
    );
    assert_eq!(lenient(Provider::GcpSecretManager, data("Fetch")), "");
}

#[test]
fn a_missing_property_is_an_absent_secret_for_fake_alone() {
    let json = json!({
        "target": {"deletionPolicy": "Merge"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "x", "property": "gone"}}],
    });
    let secrets = [("x", r#"{"a":1}"#)];
    assert_eq!(World::new(Provider::Fake, &secrets).data(json.clone()), "");
    assert_eq!(
        World::new(Provider::AzureKeyVault, &secrets).data(json),
        "fails no-property (spec.data[0])"
    );
}

#[test]
fn what_happens_with_no_keys_at_all() {
    let effect = |deletion: &str, creation: &str| {
        let policies = json!({"deletionPolicy": deletion, "creationPolicy": creation});
        let json = json!({"target": policies, "dataFrom": [{"extract": {"key": "x"}}]});
        match fake(&[("x", "{}")]).expect(json) {
            Ok(expected) => Ok((expected.effect, expected.exact)),
            Err(error) => Err(error),
        }
    };
    assert_eq!(effect("Retain", "Owner").unwrap(), (Effect::Keep, true));
    assert_eq!(effect("Delete", "Owner").unwrap(), (Effect::Delete, true));
    assert_eq!(
        effect("Merge", "Merge").unwrap(),
        (Effect::WriteIfThere, false)
    );
    assert_eq!(
        effect("Merge", "CreateOrMerge").unwrap(),
        (Effect::Write, false)
    );
    assert_eq!(effect("Merge", "None").unwrap().0, Effect::Nothing);
    assert_eq!(
        effect("Delete", "Orphan").unwrap_err(),
        NotComputable::WouldFail(WouldFail {
            failure: Failure::DeleteNotOwned,
            detail: String::new()
        })
    );
}

#[test]
fn keys_are_converted_for_extract_and_not_after_a_rewrite_and_never_for_data() {
    let world = fake(&[("x", r#"{"a/b":"1"}"#), ("y", "2")]);
    let extract = |rest: serde_json::Value| {
        let mut entry = rest;
        entry["extract"] = json!({"key": "x", "conversionStrategy": "Unicode"});
        world.data(json!({"dataFrom": [entry]}))
    };
    assert_eq!(extract(json!({})), "a_U002f_b=1");
    assert_eq!(
        extract(json!({"rewrite": [{"regexp": {"source": "x", "target": ""}}]})),
        "fails invalid-key (spec.dataFrom[0])"
    );
    assert_eq!(
        extract(json!({"rewrite": [{"regexp": {"source": "/", "target": "."}}]})),
        "a.b=1"
    );
}

#[test]
fn some_providers_convert_what_a_search_finds_before_it_is_rewritten() {
    let json = json!({"dataFrom": [{
        "find": {"name": {"regexp": "^db/"}},
        "rewrite": [{"regexp": {"source": "^db[/_]", "target": "x"}}],
    }]});
    let found = [("db/a", "1"), ("web/a", "2")];
    let data = |provider| World::new(provider, &[]).finds(&found).data(json.clone());
    assert_eq!(data(Provider::GcpSecretManager), "xa=1");
    assert_eq!(data(Provider::AwsSecretsManager), "xa=1");
    let mut json = json;
    json["dataFrom"][0]["rewrite"][0]["regexp"]["source"] = json!("_");
    let data = |provider| World::new(provider, &[]).finds(&found).data(json.clone());
    assert_eq!(data(Provider::Fake), "dbxa=1");
    assert_eq!(
        data(Provider::AwsSecretsManager),
        "fails invalid-key (spec.dataFrom[0])"
    );
}

#[test]
fn each_provider_searches_by_what_it_can() {
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let of = |provider, name, tagged: bool| Operator::of(provider, name, tagged.then_some(&tags));
    assert_eq!(
        of(Provider::AwsSecretsManager, Some("x"), true),
        Some(Operator::Name("x"))
    );
    assert_eq!(of(Provider::AwsSecretsManager, None, false), None);
    assert_eq!(
        of(Provider::AzureKeyVault, Some("x"), true),
        Some(Operator::NameAndTags("x"))
    );
    assert_eq!(
        of(Provider::AzureKeyVault, None, false),
        Some(Operator::All)
    );
    assert_eq!(
        of(Provider::Kubernetes, Some("x"), true),
        Some(Operator::Tags)
    );
    assert_eq!(of(Provider::Fake, None, true), None);
    assert_eq!(of(Provider::Vault, None, false), Some(Operator::Tags));
}

#[test]
fn two_keys_that_a_rewrite_makes_one_are_decided_by_chance() {
    let world = fake(&[("x", r#"{"a1":"1","a2":"2"}"#)]);
    let rewrite = json!([{"regexp": {"source": "[0-9]", "target": ""}}]);
    assert_eq!(
        world.data(json!({"dataFrom": [{"extract": {"key": "x"}, "rewrite": rewrite}]})),
        "unverifiable collision (spec.dataFrom[0])"
    );
}

#[test]
fn two_keys_that_conversion_makes_one_fail_the_sync() {
    let world = fake(&[("x", r#"{"a/b":"1","a b":"2"}"#)]);
    assert_eq!(
        world.data(json!({"dataFrom": [{"extract": {"key": "x"}}]})),
        "fails key-collision (spec.dataFrom[0])"
    );
}

#[test]
fn a_plain_word_may_be_base64_to_the_strategy_auto() {
    let world = fake(&[("x", "test"), ("y", "hello")]);
    let json = json!({"data": [
        {"secretKey": "word", "remoteRef": {"key": "y", "decodingStrategy": "Auto"}},
    ]});
    assert_eq!(world.data(json), "word=hello");
    let json = json!({"data": [
        {"secretKey": "word", "remoteRef": {"key": "x", "decodingStrategy": "Auto"}},
    ]});
    assert_eq!(
        world.expect(json).unwrap().data["word"].expose(),
        [0xb5, 0xeb, 0x2d]
    );
}

/// Newer than the operator that the table was made with: after the source of v2.9.0.
#[test]
fn a_null_byte_fails_the_sync_where_the_policy_says_so() {
    let world = fake(&[("x", "a\0b"), ("y", "QQBC")]);
    let data = |key: &str, policy: &str, decoding: &str| {
        world.data(json!({"data": [{"secretKey": "a", "remoteRef": {
            "key": key, "nullBytePolicy": policy, "decodingStrategy": decoding,
        }}]}))
    };
    assert_eq!(data("x", "Ignore", "None"), "a=a\0b");
    assert_eq!(data("x", "Fail", "None"), "fails null-byte (spec.data[0])");
    assert_eq!(
        data("y", "Fail", "Base64"),
        "fails null-byte (spec.data[0])"
    );
    assert_eq!(data("y", "Fail", "None"), "a=QQBC");
}

#[test]
fn a_key_of_another_alphabet_passes_the_operator_and_not_the_api_server() {
    let world = fake(&[("x", r#"{"ключ":"1"}"#)]);
    assert_eq!(
        world.data(json!({"dataFrom": [{"extract": {"key": "x"}}]})),
        "fails invalid-key ()"
    );
}

#[test]
fn a_template_without_data_passes_the_providers_keys_on() {
    let world = fake(&[("x", "1")]);
    let data = |template: serde_json::Value| {
        world.data(json!({
            "target": {"template": template},
            "data": [{"secretKey": "a", "remoteRef": {"key": "x"}}],
        }))
    };
    assert_eq!(
        data(json!({"type": "Opaque", "metadata": {"finalizers": ["x"]}})),
        "a=1"
    );
    for template in [
        json!({"data": {"b": "{{ .a }}"}}),
        json!({"metadata": {"labels": {"b": "x"}}}),
    ] {
        assert_eq!(
            data(template),
            "unverifiable template (spec.target.template)"
        );
    }
}

#[test]
fn a_template_replaces_the_providers_keys_or_joins_them() {
    let world = fake(&[("x", "1")]);
    let render = |_: &Template, data: &BTreeMap<String, Value>| {
        let doubled = [data["a"].expose(), data["a"].expose()].concat();
        Ok(BTreeMap::from([("b".to_owned(), Value::new(doubled))]))
    };
    let data = |policy: &str| {
        let spec = spec(json!({
            "secretStoreRef": {"name": "store"},
            "target": {"template": {"mergePolicy": policy, "data": {"b": "{{ .a }}{{ .a }}"}}},
            "data": [{"secretKey": "a", "remoteRef": {"key": "x"}}],
        }));
        shown(&expected(&spec, |read| world.answer(read), &render).unwrap())
    };
    assert_eq!(data("Replace"), "b=11");
    assert_eq!(data("Merge"), "a=1 b=11");
}

#[test]
fn what_is_not_computed_says_why_and_where() {
    let world = fake(&[("x", r#"{"a":[1]}"#)]);
    let data_from = |entry: serde_json::Value| world.data(json!({"dataFrom": [entry]}));
    assert_eq!(
        data_from(json!({"sourceRef": {"generatorRef": {"kind": "Password"}}})),
        "unverifiable generator (spec.dataFrom[0])"
    );
    assert_eq!(
        data_from(json!({"extract": {"key": "x"}, "rewrite": [{"transform": {"template": "x"}}]})),
        "unverifiable template (spec.dataFrom[0]: transform)"
    );
    assert_eq!(
        data_from(json!({"extract": {"key": "x"}, "rewrite": [{"regexp": {"source": r"\pL"}}]})),
        "unverifiable regexp (spec.dataFrom[0])"
    );
    assert_eq!(
        world.data(
            json!({"data": [{"secretKey": "a", "remoteRef": {"key": "x", "property": "a.#(>0)"}}]})
        ),
        "unverifiable property-path (spec.data[0])"
    );
    assert_eq!(
        world.data(json!({"target": {"manifest": {"kind": "ConfigMap"}}})),
        "unverifiable manifest (spec.target.manifest)"
    );
    let error = Spec::parse(&json!({"target": {"creationPolicy": "Newer"}})).unwrap_err();
    assert_eq!(error.reason, why::SPEC);
}

#[test]
fn azure_reads_certificates_and_keys_only_to_be_told_apart() {
    let world = World::new(
        Provider::AzureKeyVault,
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
fn tags_are_read_where_the_policy_says_so() {
    let tags = || Raw::Tags(BTreeMap::from([("a.b".to_owned(), Value::from("<1>"))]));
    let data = |provider, property: &str| {
        let mut world = World::new(provider, &[]);
        world.secrets.insert("x", tags());
        world.data(json!({"data": [{"secretKey": "a", "remoteRef": {
            "key": "x", "metadataPolicy": "Fetch", "property": property,
        }}]}))
    };
    assert_eq!(
        data(Provider::AwsSecretsManager, ""),
        r#"a={"a.b":"\u003c1\u003e"}"#
    );
    assert_eq!(data(Provider::AwsParameterStore, "a.b"), "a=<1>");
    assert_eq!(data(Provider::AzureKeyVault, "a.b"), "a=<1>");
    assert_eq!(
        data(Provider::Vault, ""),
        "unverifiable metadata (spec.data[0])"
    );
}

#[test]
fn one_read_serves_all_parts_of_a_secret() {
    let entry = |key: &str, property: &str| json!({"secretKey": "a", "remoteRef": {"key": key, "property": property}});
    let mut other = entry("x", "");
    other["sourceRef"] = json!({"storeRef": {"name": "other", "kind": "ClusterSecretStore"}});
    let spec = spec(json!({
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
fn a_secret_differs_by_key() {
    let expectation = |exact| Expected {
        data: BTreeMap::from([
            ("same".to_owned(), Value::from("1")),
            ("changed".to_owned(), Value::from("2")),
            ("missing".to_owned(), Value::from("")),
        ]),
        exact,
        effect: Effect::Write,
        immutable: false,
    };
    let actual = BTreeMap::from([
        ("same".to_owned(), b"1".to_vec()),
        ("changed".to_owned(), b"3".to_vec()),
        ("extra".to_owned(), b"".to_vec()),
    ]);
    let key = RunKey::from_bytes([7; 32]);
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
fn the_data_hash_is_what_real_operators_published() {
    let data = |entries: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
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
    assert_eq!(is_as_hashed(recorded, &two), Some(true));
    assert_eq!(
        is_as_hashed("bd97a990a322595f67156a368159c206", &two),
        Some(true)
    );
    assert_eq!(is_as_hashed(recorded, &one), Some(false));
    assert_eq!(is_as_hashed("", &one), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_panics(
        value in prop_oneof![any::<Vec<u8>>(), r#"[\[\]{}":,a\\u0-9. ]{0,30}"#.prop_map(String::into_bytes)],
        property in r"[a0.\\#@|*é\[{]{0,6}",
        pattern in r"[a(){}\[\]|*+?^$\\d0-9,:<>P]{0,10}",
        target in r"[a$\{}0-9é]{0,6}",
    ) {
        let _ = gjson::get(&value, &property);
        let key = String::from_utf8_lossy(&value);
        if let Ok(regex) = GoRegex::new(&pattern) {
            let _ = regex.replace_all(&key, &target);
        }
        let json = json!({
            "data": [{"secretKey": "a", "remoteRef": {"key": "x", "property": property, "decodingStrategy": "Auto"}}],
            "dataFrom": [{"extract": {"key": "x"}}],
        });
        for provider in [Provider::AwsSecretsManager, Provider::Vault, Provider::Kubernetes] {
            let mut world = World::new(provider, &[]);
            let value = Value::from(&*value);
            world.secrets.insert("x", match provider {
                Provider::Vault => Raw::Json(value),
                Provider::Kubernetes => Raw::Keys(BTreeMap::from([("a".to_owned(), value)])),
                _ => Raw::Bytes(value),
            });
            let _ = world.expect(json.clone());
        }
    }
}
