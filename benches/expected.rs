//! Measures how long it takes to compute and compare the expected data of 1,000 Secret keys, without a provider or a
//! cluster.
//!
//! `cargo bench --bench expected` prints the best of twenty rounds for each way to define keys in an ExternalSecret.

use std::{collections::BTreeMap, hint::black_box, time::Duration};

use eso_model::{
    ProviderKind,
    budget::Budget,
    expected::{Answer, Content, NotComputable, Raw, Read, Spec, Template, Unverifiable, expected},
    template::{Data, render},
};
use secret::{RunKey, Value};
use serde_json::json;

const KEYS: usize = 1000;
const ROUNDS: usize = 20;

/// A provider's secret with ten members.
const DOCUMENT: &str = r#"{"m0":"a text","m1":"1.50","m2":1.50,"m3":"line\nline","m4":"päßwörd","m5":"YWJj","m6":true,
    "m7":{"nested":"one"},"m8":"-----BEGIN-----","m9":"postgres://user:password@host:5432/db"}"#;

/// Renders templates like the drift check.
fn templates(
    template: &Template,
    data: &BTreeMap<String, Value>,
    budget: &Budget,
) -> Result<BTreeMap<String, Value>, NotComputable> {
    let values = data.iter().map(|(name, value)| (&**name, value.expose()));
    let data = Data::of(values, budget)?;
    let rendered = template.data.iter().map(|(key, text)| {
        let value = render(text, &data, budget)
            .map_err(|failure| Unverifiable::new("template", failure.to_string()))?;
        Ok((key.clone(), Value::new(value)))
    });
    rendered.collect()
}

/// Returns the best time of all rounds for 1,000 keys.
fn best(spec: &Spec, keys: usize) -> Duration {
    let raw = Raw::Bytes(Value::from(DOCUMENT));
    let answer = |_: &Read| Answer {
        provider: &ProviderKind::SecretsManager,
        content: Content::One(&raw),
    };
    let key = RunKey::from_bytes([7; 32]);
    let round = || {
        let start = std::time::Instant::now();
        for _ in 0..KEYS / keys {
            let Ok(made) = expected(spec, answer, &templates, &Budget::default()) else {
                continue;
            };
            assert_eq!(made.data.len(), keys, "all keys were made");
            for value in made.data.values() {
                black_box(value.fingerprint(&key) == value.fingerprint(&key));
            }
        }
        start.elapsed()
    };
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its results")]
fn main() {
    let entry = |n: usize| json!({"secretKey": format!("k{n}"), "remoteRef": {"key": "doc", "property": format!("m{n}")}});
    let entries: Vec<_> = (0..10).map(entry).collect();
    let texts: BTreeMap<String, String> = (0..10)
        .map(|n| {
            (
                format!("t{n}"),
                format!("{{{{ .m{n} | b64enc }}}} of {{{{ .m0 }}}}"),
            )
        })
        .collect();
    let store = json!({"name": "s", "kind": "SecretStore"});
    let extract = json!([{"extract": {"key": "doc"}}]);
    for (what, spec) in [
        (
            "data, one property each",
            json!({"secretStoreRef": store, "data": entries}),
        ),
        (
            "dataFrom.extract",
            json!({"secretStoreRef": store, "dataFrom": extract}),
        ),
        (
            "dataFrom.extract, rewritten",
            json!({"secretStoreRef": store, "dataFrom": [{"extract": {"key": "doc"},
                "rewrite": [{"regexp": {"source": "(.*)", "target": "db_$1"}}]}]}),
        ),
        (
            "dataFrom.extract and a template",
            json!({"secretStoreRef": store, "dataFrom": extract, "target": {"template": {"data": texts}}}),
        ),
    ] {
        let Ok(spec) = Spec::parse(&spec) else {
            continue;
        };
        let milliseconds = best(&spec, 10).as_secs_f64() * 1000.0;
        println!("{what:34} {milliseconds:>7.2} ms per 1,000 keys");
    }
}
