//! `table.json`: inputs and the results of the operator's own functions (v0.20.4, built with Go 1.26).
//!
//! The generator calls the providers with fake clients, and `esutils`. Unverifiable results are only counted; few are
//! allowed.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secret::Value;
use serde::Deserialize;

use super::super::{
    decode::decode,
    go_regex::GoRegex,
    keys::{self, Keys},
    payload,
    pipeline::NoTemplates,
    rewrite::rewrite,
    work::{Texts, Work},
    *,
};
use crate::{
    budget::Budget,
    digest::Algorithm,
    provider::{Payload, ProviderKind},
};

type Encoded = BTreeMap<String, String>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Case {
    r#fn: String,
    provider: String,
    r#in: String,
    keys: Encoded,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    args: Vec<String>,
    ok: Option<String>,
    map: Option<Encoded>,
    failed: bool,
    absent: bool,
}

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn encoded(keys: Keys) -> Encoded {
    keys.into_iter()
        .map(|(key, value)| (key, STANDARD.encode(value.expose())))
        .collect()
}

fn values(keys: &Encoded) -> Keys {
    keys.iter()
        .map(|(key, value)| (key.clone(), Value::new(bytes(value))))
        .collect()
}

/// A result: a value or a map.
#[derive(Debug, PartialEq, Eq)]
enum Out {
    Value(String),
    Map(Encoded),
    Failed { absent: bool },
    Unverifiable(&'static str),
}

impl From<NotComputable> for Out {
    fn from(error: NotComputable) -> Self {
        match error {
            NotComputable::Unverifiable(it) => Self::Unverifiable(it.reason),
            NotComputable::WouldFail(it) => Self::Failed {
                absent: it.failure == Failure::NotFound,
            },
        }
    }
}

fn value(result: Result<Value, impl Into<NotComputable>>) -> Out {
    match result {
        Ok(value) => Out::Value(STANDARD.encode(value.expose())),
        Err(error) => error.into().into(),
    }
}

fn map(result: Result<Keys, impl Into<NotComputable>>) -> Out {
    match result {
        Ok(keys) => Out::Map(encoded(keys)),
        Err(error) => error.into().into(),
    }
}

impl Case {
    fn operator(&self) -> Out {
        match (&self.ok, &self.map) {
            (Some(value), _) => Out::Value(value.clone()),
            (_, Some(map)) => Out::Map(map.clone()),
            _ => {
                assert!(self.failed);
                Out::Failed {
                    absent: self.absent,
                }
            }
        }
    }

    fn ours(&self) -> Out {
        let arg = |index: usize| self.args[index].as_str();
        let input = || Value::new(bytes(&self.r#in));
        match self.r#fn.as_str() {
            "get" => value(self.read(payload::get_secret)),
            "map" => map(self.read(payload::get_secret_map)),
            "regexp" => {
                let operation = serde_json::json!({"regexp": {"source": arg(0), "target": arg(1)}});
                map(rewrite(
                    values(&self.keys),
                    &[from(operation)],
                    &NoTemplates,
                    &Budget::default(),
                ))
            }
            "merge" => {
                let merge: serde_json::Value = serde_json::from_str(arg(0)).unwrap();
                let operation = from(serde_json::json!({ "merge": merge }));
                map(rewrite(
                    values(&self.keys),
                    &[operation],
                    &NoTemplates,
                    &Budget::default(),
                ))
            }
            "match" => match GoRegex::new(arg(0)) {
                Ok(regex) => {
                    let text = String::from_utf8(bytes(&self.r#in)).unwrap();
                    Out::Value(STANDARD.encode(regex.is_match(&text).to_string()))
                }
                Err(NotTranslated) => Out::Unverifiable(why::REGEXP),
            },
            "convert" => map(keys::convert(values(&self.keys), from(arg(0).into()))),
            "validate" => map(keys::validate(values(&self.keys))),
            "decode" => value(decode(input(), from(arg(0).into()))),
            "hash" => {
                let data = self
                    .keys
                    .iter()
                    .map(|(key, value)| (key.clone(), Value::new(bytes(value))))
                    .collect();
                Out::Value(STANDARD.encode(data_hash(Algorithm::Sha3_224, &data)))
            }
            other => panic!("{other}"),
        }
    }

    fn read<T>(
        &self,
        get: for<'s> fn(&ProviderKind, &'s Raw, &RemoteRef, &Work<'s>) -> Result<T, NotComputable>,
    ) -> Result<T, NotComputable> {
        let (raw, budget) = (self.raw(), Budget::default());
        let texts = Texts::of([&raw]);
        let work = Work::new(&budget, &texts);
        get(&self.provider(), &raw, &self.remote(), &work)
    }

    fn provider(&self) -> ProviderKind {
        match self.provider.as_str() {
            "AwsSecretsManager" => ProviderKind::SecretsManager,
            "AwsParameterStore" => ProviderKind::ParameterStore,
            "AzureKeyVault" => ProviderKind::AzureKeyVault,
            "GcpSecretManager" => ProviderKind::GcpSecretManager,
            "Vault" => ProviderKind::Vault,
            "Kubernetes" => ProviderKind::Kubernetes,
            "Fake" => ProviderKind::Fake,
            other => panic!("{other}"),
        }
    }

    fn remote(&self) -> RemoteRef {
        let policy = if self.args[1] == "true" {
            "Fetch"
        } else {
            "None"
        };
        from(serde_json::json!({"key": "k", "property": self.args[0], "metadataPolicy": policy}))
    }

    fn raw(&self) -> Raw {
        let texts = |texts: &BTreeMap<String, String>| {
            texts
                .iter()
                .map(|(key, text)| (key.clone(), Value::from(text.as_str())))
                .collect()
        };
        match self.provider().rules().payload {
            _ if self.args[1] == "true" => Raw::Metadata {
                labels: texts(&self.labels),
                annotations: texts(&self.annotations),
            },
            Payload::Json => Raw::Json(Value::new(bytes(&self.r#in))),
            Payload::Keys => Raw::Keys(values(&self.keys)),
            Payload::Bytes | Payload::Unknown => Raw::Bytes(Value::new(bytes(&self.r#in))),
        }
    }
}

fn from<T: for<'de> Deserialize<'de>>(json: serde_json::Value) -> T {
    serde_json::from_value(json).unwrap()
}

#[test]
fn results_match_the_operators_own_functions() {
    let (mut cases, mut wrong) = (0, Vec::new());
    let mut unverifiable: BTreeMap<(String, &str, bool), usize> = BTreeMap::new();
    for line in include_str!("table.json").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        cases += 1;
        match (case.ours(), case.operator()) {
            (Out::Unverifiable(reason), operator) => {
                let failed = matches!(operator, Out::Failed { .. });
                *unverifiable
                    .entry((case.r#fn.clone(), reason, failed))
                    .or_default() += 1;
            }
            (ours, operator) if ours != operator => {
                wrong.push(format!(
                    "{line}\n  ours: {ours:?}\n  operator: {operator:?}"
                ));
            }
            _ => {}
        }
    }
    let shown = wrong
        .iter()
        .take(12)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases differ:\n{shown}",
        wrong.len()
    );
    let unverifiable_cases: usize = unverifiable.values().sum();
    assert!(
        unverifiable_cases * 5 < cases,
        "{unverifiable_cases} of {cases} cases are unverifiable: {unverifiable:#?}"
    );
}
