//! The work on an ExternalSecret is limited, and the limit has the same effect each time.

use std::{collections::BTreeMap, fmt::Write as _};

use proptest::prelude::*;
use secret::Value;
use serde_json::{Value as Json, json};

use super::{super::*, world::*};
use crate::{
    ProviderKind,
    budget::{Budget, Limits},
    template::{self, Data, render},
};

fn templates(
    template: &Template,
    data: &BTreeMap<String, Value>,
    budget: &Budget,
) -> Result<BTreeMap<String, Value>, NotComputable> {
    let values = data.iter().map(|(key, value)| (&**key, value.expose()));
    let data = Data::of(values, budget)?;
    let rendered = template.data.iter().map(|(key, text)| {
        let value = render(text, &data, budget).map_err(|failure| match failure {
            template::Failure::TooCostly(error) => error.into(),
            template::Failure::Unverifiable { .. } | template::Failure::WouldFail { .. } => {
                NotComputable::unverifiable(why::TEMPLATE)
            }
        })?;
        Ok((key.clone(), Value::new(value)))
    });
    rendered.collect()
}

/// Returns the keys and values or the error, and what is left of the budget.
fn compute(world: &World, json: &Json, limits: Limits) -> (String, Limits) {
    let mut json = json.clone();
    json["secretStoreRef"] = json!({"name": "store"});
    let budget = Budget::new(limits);
    let made = expected(&spec(&json), |read| world.answer(read), &templates, &budget);
    let text = match made {
        Ok(made) => shown(&made),
        Err(NotComputable::Unverifiable(it)) => format!("unverifiable {it}"),
        Err(NotComputable::WouldFail(it)) => format!("fails {it}"),
    };
    (text, budget.left())
}

fn is_too_costly(text: &str) -> bool {
    text.starts_with("unverifiable too-costly (")
}

#[test]
fn repeated_search_in_a_long_text_is_too_costly() {
    let (part, whole) = (format!("{}b", "a".repeat(250_000)), "a".repeat(500_000));
    let document = json!({"part": part, "whole": whole}).to_string();
    let world = fake(&[("x", &document)]);
    let template =
        "{{ range until 30000 }}{{ if contains $.part $.whole }}x{{ end }}{{ end }}".to_owned();
    let spec = json!({"dataFrom": [{"extract": {"key": "x"}}], "target": {"template": {"data": {"k": template}}}});
    // 30,000 iterations read more than 20 times the whole work. A debug build needs a minute for that, so this is a part.
    let whole = Limits::default();
    assert!(30_000 * 750_000 > 20 * whole.work);
    let limits = Limits {
        work: whole.work / 32,
        ..whole
    };
    let (text, left) = compute(&world, &spec, limits);
    assert_eq!(left.work, 0);
    assert_eq!(
        text,
        "unverifiable too-costly (spec.target.template: its spec and values need more computing steps than one \
         ExternalSecret may use)"
    );
}

/// A JSON object of about 960 kB, and a spec with one entry for each of its members.
fn many_properties(count: usize) -> (String, Json) {
    let mut document = "{".to_owned();
    for index in 0..count {
        let comma = if index == 0 { "" } else { "," };
        write!(document, "{comma}\"member{index}\":\"{index:045}\"").unwrap();
    }
    document.push('}');
    let entry = |index| json!({"secretKey": format!("k{index}"), "remoteRef": {"key": "x", "property": format!("member{index}")}});
    let data: Vec<Json> = (0..count).map(entry).collect();
    (document, json!({ "data": data }))
}

#[test]
fn value_is_parsed_once_for_all_entries() {
    let (document, json) = many_properties(15_000);
    for provider in [
        ProviderKind::Fake,
        ProviderKind::SecretsManager,
        ProviderKind::ParameterStore,
        ProviderKind::AzureKeyVault,
        ProviderKind::GcpSecretManager,
        ProviderKind::Vault,
    ] {
        let mut world = World::new(provider.clone(), &[("x", &document)]);
        if provider == ProviderKind::Vault {
            let json = Raw::Json(Value::from(document.as_str()));
            world.secrets.insert("x", json);
        }
        let (text, left) = compute(&world, &json, Limits::default());
        assert!(text.starts_with(&format!("k0={:045} ", 0)), "{provider:?}");
        let used = Limits::default().work - left.work;
        let each = used / u64::try_from(document.len()).unwrap();
        assert!(each < 30, "{provider:?}: {each} times the document");
    }
}

#[test]
fn every_part_of_the_pipeline_charges() {
    let long = "x".repeat(10_000);
    let object = json!({ "a": long }).to_string();
    let world = || fake(&[("x", &object)]).finds(&[("a", &long)]);
    let one = |remote: Json| json!({"data": [{"secretKey": "k", "remoteRef": remote}]});
    let from = |entry: Json| json!({ "dataFrom": [entry] });
    for spec in [
        one(json!({"key": "x"})),
        one(json!({"key": "x", "property": "a"})),
        one(json!({"key": "x", "property": "b", "decodingStrategy": "Auto"})),
        from(json!({"extract": {"key": "x"}})),
        from(json!({"find": {"name": {"regexp": "."}}})),
        from(
            json!({"extract": {"key": "x"}, "rewrite": [{"regexp": {"source": "a", "target": "b"}}]}),
        ),
        from(
            json!({"extract": {"key": "x"}, "rewrite": [{"merge": {"into": "m", "strategy": "JSON"}}]}),
        ),
    ] {
        let (text, left) = compute(&world(), &spec, Limits::default());
        let used = Limits::default().work - left.work;
        assert!(used >= 10_000, "{spec}: {used} {text:.30}");
        let limits = Limits {
            work: used - 1,
            ..Limits::default()
        };
        let (text, _) = compute(&world(), &spec, limits);
        assert!(is_too_costly(&text), "{spec}: {text}");
    }
}

#[test]
fn values_beyond_the_memory_are_too_costly() {
    let (long, many) = ("x".repeat(1 << 20), 100);
    let entry = |index| json!({"secretKey": format!("k{index}"), "remoteRef": {"key": "x"}});
    let data: Vec<Json> = (0..many).map(entry).collect();
    let (text, _) = compute(
        &fake(&[("x", &long)]),
        &json!({"data": data}),
        Limits::default(),
    );
    assert!(is_too_costly(&text), "{text:.100}");
    let nodes = format!("[{}1]", "1,".repeat(500_000));
    let one = json!({"data": [{"secretKey": "k", "remoteRef": {"key": "x", "property": "0"}}]});
    let (text, _) = compute(&fake(&[("x", &nodes)]), &one, Limits::default());
    assert!(is_too_costly(&text), "{text:.100}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn same_input_has_the_same_result_in_any_order_and_thread(
        value in r#"\{"a":"[a-z=]{0,20}","b":[0-9]{1,4}\}|[a-z\[]{0,20}"#,
        property in r"a|b|c|a\.b|#",
        template in prop::sample::select(vec![
            "{{ .k | b64enc }}", "{{ range until 20 }}{{ $.k }}{{ end }}", "{{ splitList \"\" .k | uniq | join \",\" }}",
            "{{ regexReplaceAll \"[a-f]+\" .k \"x\" }}", "{{ .k | fromJson | toJson }}", "{{ repeat 100 .k | sha256sum }}",
        ]),
        work in 1_000_u64..200_000,
        memory in 1_000_u64..40_000,
    ) {
        let spec = |property: &str| json!({
            "data": [{"secretKey": "k", "remoteRef": {"key": "x", "property": property, "decodingStrategy": "Auto"}}],
            "target": {"template": {"data": {"t": template}}},
        });
        let limits = Limits { work, memory };
        let run = || compute(&fake(&[("x", &value)]), &spec(&property), limits);
        let first = run();
        // Other work in between has no effect, and another thread has none.
        let _other = compute(&fake(&[("x", &value)]), &spec("a"), limits);
        prop_assert_eq!(&run(), &first);
        let elsewhere = std::thread::scope(|scope| scope.spawn(run).join().unwrap());
        prop_assert_eq!(&elsewhere, &first);
        // With less, it is the same result or too costly, and never another one.
        let less = Limits { work: work / 2, memory };
        let (text, _) = compute(&fake(&[("x", &value)]), &spec(&property), less);
        prop_assert!(text == first.0 || is_too_costly(&text), "{text} {}", first.0);
    }
}
