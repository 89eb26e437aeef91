//! Tests of the pipeline from spec entries to data.

use std::collections::BTreeMap;

use proptest::prelude::*;
use secret::Value;
use serde_json::json;

use super::{super::*, world::*};
use crate::{ProviderKind, budget::Budget, gjson};

#[test]
fn data_overrides_data_from_and_later_entries_override_earlier_ones() {
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
fn absent_secret_fails_the_sync_only_with_retain() {
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
fn policies_decide_the_effect_of_empty_data() {
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
        (Effect::WriteIfExists, false)
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
fn extract_converts_keys_unless_they_are_rewritten() {
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
fn colliding_rewritten_keys_are_unverifiable() {
    let world = fake(&[("x", r#"{"a1":"1","a2":"2"}"#)]);
    let rewrite = json!([{"regexp": {"source": "[0-9]", "target": ""}}]);
    assert_eq!(
        world.data(json!({"dataFrom": [{"extract": {"key": "x"}, "rewrite": rewrite}]})),
        "unverifiable collision (spec.dataFrom[0])"
    );
}

#[test]
fn colliding_converted_keys_fail_the_sync() {
    let world = fake(&[("x", r#"{"a/b":"1","a b":"2"}"#)]);
    assert_eq!(
        world.data(json!({"dataFrom": [{"extract": {"key": "x"}}]})),
        "fails key-collision (spec.dataFrom[0])"
    );
}

#[test]
fn decoding_auto_decodes_words_that_are_valid_base64() {
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

/// The table does not contain this policy, because an older operator generated it. Follows the source of v2.9.0.
#[test]
fn null_byte_policy_fail_rejects_null_bytes() {
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
fn non_ascii_keys_are_rejected_by_the_api_server() {
    let world = fake(&[("x", r#"{"ключ":"1"}"#)]);
    assert_eq!(
        world.data(json!({"dataFrom": [{"extract": {"key": "x"}}]})),
        "fails invalid-key ()"
    );
}

#[test]
fn template_without_data_keeps_provider_keys() {
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
fn merge_policy_decides_whether_template_replaces_provider_keys() {
    let world = fake(&[("x", "1")]);
    let render = |_: &Template, data: &BTreeMap<String, Value>, _: &Budget| {
        let doubled = [data["a"].expose(), data["a"].expose()].concat();
        Ok(BTreeMap::from([("b".to_owned(), Value::new(doubled))]))
    };
    let data = |policy: &str| {
        let spec = spec(&json!({
            "secretStoreRef": {"name": "store"},
            "target": {"template": {"mergePolicy": policy, "data": {"b": "{{ .a }}{{ .a }}"}}},
            "data": [{"secretKey": "a", "remoteRef": {"key": "x"}}],
        }));
        shown(
            &expected(
                &spec,
                |read| world.answer(read),
                &render,
                &Budget::default(),
            )
            .unwrap(),
        )
    };
    assert_eq!(data("Replace"), "b=11");
    assert_eq!(data("Merge"), "a=1 b=11");
}

#[test]
fn unverifiable_results_name_reason_and_place() {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_panics(
        value in prop_oneof![any::<Vec<u8>>(), r#"[\[\]{}":,a\\u0-9. ]{0,30}"#.prop_map(String::into_bytes)],
        property in r"[a0.\\#@|*é\[{]{0,6}",
        pattern in r"[a(){}\[\]|*+?^$\\d0-9,:<>P]{0,10}",
        target in r"[a$\{}0-9é]{0,6}",
    ) {
        let budget = Budget::default();
        let document = gjson::Document::parse(&value, &budget).unwrap();
        let _found = document.get(&property, &budget);
        let key = String::from_utf8_lossy(&value);
        if let Ok(regex) = GoRegex::new(&pattern) {
            let _replaced = regex.replace_all(&key, &target, false, &Budget::default());
        }
        let json = json!({
            "data": [{"secretKey": "a", "remoteRef": {"key": "x", "property": property, "decodingStrategy": "Auto"}}],
            "dataFrom": [{"extract": {"key": "x"}}],
        });
        for provider in [ProviderKind::SecretsManager, ProviderKind::Vault, ProviderKind::Kubernetes] {
            let mut world = World::new(provider.clone(), &[]);
            let value = Value::from(&*value);
            world.secrets.insert("x", if provider == ProviderKind::Vault {
                Raw::Json(value)
            } else if provider == ProviderKind::Kubernetes {
                Raw::Keys(BTreeMap::from([("a".to_owned(), value)]))
            } else {
                Raw::Bytes(value)
            });
            let _expected = world.expect(json.clone());
        }
    }
}
