//! Generated ExternalSecrets and their provider data, to compare the model of the operator with the real operator.
//!
//! The seed is fixed, so a failing case can be found again by its name.

mod values;

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The provider that a case reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Fake,
    Kubernetes,
    Vault,
}

impl Source {
    pub(crate) const ALL: [Self; 3] = [Self::Fake, Self::Kubernetes, Self::Vault];

    /// The store's name; `NS` stands for the namespace of the test.
    pub(crate) const fn store(self) -> &'static str {
        match self {
            Self::Fake => "NS-fake",
            Self::Kubernetes => "NS-kubernetes",
            Self::Vault => "NS-vault",
        }
    }
}

/// An ExternalSecret and the remote secrets that only it uses.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// By remote key: the text of a Fake or Vault secret; for Kubernetes, a JSON object of base64 values.
    pub(crate) remote: Vec<(String, String)>,
    pub(crate) spec: Value,
}

/// Returns the first `count` cases, always the same ones.
pub(crate) fn cases(count: usize) -> Vec<Case> {
    let mut rng = Rng::with_seed(0x0e50_5eed);
    (0..count).map(|index| case(index, &mut rng)).collect()
}

fn case(index: usize, rng: &mut Rng) -> Case {
    let source = Source::ALL[index % 3];
    let name = format!("case-{index:03}");
    let mut remote = Vec::new();
    let keys: Vec<String> = (0..rng.usize(1..3))
        .map(|n| format!("{name}-{n}"))
        .collect();
    for key in &keys {
        remote.push((key.clone(), values::secret(source, rng)));
    }
    let mut spec = Map::new();
    spec.insert("refreshInterval".to_owned(), json!("24h"));
    spec.insert(
        "secretStoreRef".to_owned(),
        json!({"kind": "SecretStore", "name": source.store()}),
    );
    if rng.u8(..3) > 0 {
        let entries: Vec<Value> = (0..rng.usize(1..4))
            .map(|n| data(source, rng.choice(&keys).expect("a key"), n, rng))
            .collect();
        spec.insert("data".to_owned(), json!(entries));
    }
    if !spec.contains_key("data") || rng.bool() {
        let entries: Vec<Value> = (0..rng.usize(1..3))
            .map(|_| data_from(source, &name, rng.choice(&keys).expect("a key"), rng))
            .collect();
        spec.insert("dataFrom".to_owned(), json!(entries));
    }
    spec.insert("target".to_owned(), target(rng));
    Case {
        name,
        source,
        remote,
        spec: Value::Object(spec),
    }
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    rng.choice(from).expect("not empty")
}

/// Sets the field to one of the words with a probability of 1/4.
fn sometimes_set(rng: &mut Rng, object: &mut Value, field: &str, words: &[&str]) {
    if rng.u8(..4) == 0 {
        object[field] = json!(pick(rng, words));
    }
}

const DECODING: [&str; 4] = ["None", "Base64", "Base64URL", "Auto"];

fn data(source: Source, key: &str, index: usize, rng: &mut Rng) -> Value {
    let mut reference = json!({"key": key});
    // A whole Vault or Kubernetes secret is a JSON object, so most entries ask for a property.
    if rng.u8(..5) > 0 {
        reference["property"] = json!(pick(rng, &values::PROPERTIES));
    }
    if rng.u8(..12) == 0 {
        reference["key"] = json!(format!("{key}-absent"));
    }
    if source == Source::Kubernetes {
        sometimes_set(rng, &mut reference, "metadataPolicy", &["None", "Fetch"]);
    }
    sometimes_set(rng, &mut reference, "decodingStrategy", &DECODING);
    json!({"secretKey": format!("{}{index}", pick(rng, &["k", "K.", "_", "n-"])), "remoteRef": reference})
}

fn data_from(source: Source, case: &str, key: &str, rng: &mut Rng) -> Value {
    let mut entry = if rng.u8(..4) == 0 {
        let mut find = json!({"name": {"regexp": pick(rng, &[&format!("^{case}-"), &format!("{case}-[0-9]$"), "^nothing-at-all$"])}});
        sometimes_set(
            rng,
            &mut find,
            "conversionStrategy",
            &["Default", "Unicode"],
        );
        json!({"find": find})
    } else {
        let mut extract = json!({"key": key});
        sometimes_set(rng, &mut extract, "property", &["nest", "text", "json.txt"]);
        sometimes_set(
            rng,
            &mut extract,
            "conversionStrategy",
            &["Default", "Unicode"],
        );
        sometimes_set(rng, &mut extract, "decodingStrategy", &DECODING);
        if source == Source::Vault && rng.u8(..8) == 0 {
            extract["version"] = json!("1");
        }
        json!({"extract": extract})
    };
    if rng.u8(..3) == 0 {
        let count = rng.usize(1..3);
        entry["rewrite"] = (0..count).map(|_| rewrite(rng)).collect();
    }
    entry
}

fn rewrite(rng: &mut Rng) -> Value {
    match rng.u8(..8) {
        0 => {
            json!({"merge": {"strategy": "Extract", "conflictPolicy": pick(rng, &["Error", "Ignore"])}})
        }
        1 => json!({"merge": {"strategy": "JSON", "into": "merged", "conflictPolicy": "Ignore"}}),
        2 => {
            json!({"transform": {"template": pick(rng, &["t_{{ .value | lower }}", "{{ .value | replace \".\" \"_\" }}"])}})
        }
        _ => {
            let [source, target] = *rng.choice(&values::REWRITES).expect("not empty");
            json!({"regexp": {"source": source, "target": target}})
        }
    }
}

fn target(rng: &mut Rng) -> Value {
    let mut target = json!({});
    sometimes_set(rng, &mut target, "creationPolicy", &["Owner", "Orphan"]);
    sometimes_set(
        rng,
        &mut target,
        "deletionPolicy",
        &["Retain", "Delete", "Merge"],
    );
    if target["deletionPolicy"] == "Delete" {
        target["creationPolicy"] = json!("Owner");
    }
    match rng.u8(..6) {
        0 => target["template"] = json!({"metadata": {"labels": {"made": "yes"}}}),
        1 | 2 => target["template"] = template(rng),
        _ => {}
    }
    target
}

fn template(rng: &mut Rng) -> Value {
    let count = rng.usize(1..4);
    let data: Map<String, Value> = (0..count)
        .map(|n| (format!("made{n}"), json!(pick(rng, &values::TEMPLATES))))
        .collect();
    let mut template = json!({"engineVersion": "v2", "data": data});
    sometimes_set(rng, &mut template, "mergePolicy", &["Merge", "Replace"]);
    if rng.u8(..4) == 0 {
        template["templateFrom"] = json!([{"literal": pick(rng, &values::LITERALS)}]);
    }
    template
}
