//! Renders the templates of a target in the operator's order: `templateFrom`, then `data`, then labels and annotations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use eso_model::{
    budget::Budget,
    expected::{
        DecodingStrategy, Failure, NotComputable, Spec, Template, Templates, Unverifiable,
        WouldFail, decode, why,
    },
    template::{self, Data, render, render_keys_and_values},
};
use secret::Value;
use serde::Deserialize as _;
use serde_json::{Map, Value as Json};

/// An object that `templateFrom` refers to, in the namespace of the ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceName {
    pub kind: SourceKind,
    /// The name of the ExternalSecret.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    ConfigMap,
    Secret,
}

/// The content of such an object.
#[derive(Clone)]
pub enum Source {
    /// The template texts, by key.
    Texts(Arc<BTreeMap<String, Value>>),
    Absent,
    /// It could not be read, with the reason.
    Unread(String),
}

impl Source {
    /// The length of its texts in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.values().map(|text| text.expose().len()).sum(),
            Self::Absent => 0,
            Self::Unread(why) => why.len(),
        }
    }
}

pub type Sources = BTreeMap<SourceName, Source>;

/// Returns the objects that the templates of a spec refer to.
pub fn sources(spec: &Spec) -> BTreeSet<SourceName> {
    let template = spec.target.template.iter();
    template
        .flat_map(|template| &template.template_from)
        .flat_map(|from| {
            let named = |field: &str, kind| {
                let name = from.get(field)?.get("name")?.as_str()?.to_owned();
                Some(SourceName { kind, name })
            };
            [
                named("configMap", SourceKind::ConfigMap),
                named("secret", SourceKind::Secret),
            ]
        })
        .flatten()
        .collect()
}

/// Renders templates with these objects.
pub struct Rendering<'a>(pub &'a Sources);

impl Templates for Rendering<'_> {
    fn render(
        &self,
        template: &Template,
        data: &BTreeMap<String, Value>,
        budget: &Budget,
    ) -> Result<BTreeMap<String, Value>, NotComputable> {
        if !matches!(template.engine_version.as_deref(), None | Some("v2" | "")) {
            return Err(Unverifiable::new(why::TEMPLATE, "engineVersion").into());
        }
        let values = data.iter().map(|(key, value)| (&**key, value.expose()));
        let rendering = Texts {
            sources: self.0,
            data: Data::of(values, budget)?,
            budget,
        };
        rendering.all(template)
    }

    fn transform(
        &self,
        template: &str,
        key: &str,
        budget: &Budget,
    ) -> Result<String, NotComputable> {
        let data = Data::of([("value", key.as_bytes())], budget)?;
        // The operator renders these without `missingkey=error`, so a failure here may not be a failure there.
        let bytes = render(template, &data, budget).map_err(|failure| match failure {
            template::Failure::TooCostly(error) => error.into(),
            template::Failure::Unverifiable { .. } | template::Failure::WouldFail { .. } => {
                NotComputable::from(Unverifiable::new(why::TEMPLATE, "transform"))
            }
        })?;
        String::from_utf8(bytes).map_err(|_| Unverifiable::new(why::TEMPLATE, "transform").into())
    }
}

/// What the templates of one ExternalSecret are rendered with.
struct Texts<'a> {
    sources: &'a Sources,
    data: Data,
    budget: &'a Budget,
}

impl Texts<'_> {
    fn all(&self, template: &Template) -> Result<BTreeMap<String, Value>, NotComputable> {
        let mut all = BTreeMap::new();
        for (index, from) in template.template_from.iter().enumerate() {
            let place = format!("templateFrom[{index}]");
            let is_data = into_data(from).map_err(|error| error.at(&place))?;
            let keys = self.from(from).map_err(|error| error.at(&place));
            if is_data {
                all.extend(keys?);
            } else {
                fails_only(keys)?;
            }
        }
        for (key, text) in &template.data {
            let value = self
                .one(key, text)
                .map_err(|error| error.at(&format!("data.{key}")))?;
            all.insert(key.clone(), value);
        }
        for field in ["labels", "annotations"] {
            let texts = template
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.get(field)?.as_object());
            for (key, text) in texts.into_iter().flatten() {
                let text = text.as_str().unwrap_or_default();
                fails_only(self.one(key, text))
                    .map_err(|error| error.at(&format!("metadata.{field}.{key}")))?;
            }
        }
        Ok(all)
    }

    /// Renders one entry: its ConfigMap, then its Secret, then its literal text.
    fn from(&self, from: &Map<String, Json>) -> Result<BTreeMap<String, Value>, NotComputable> {
        let mut all = BTreeMap::new();
        let known = ["configMap", "secret", "literal", "target", DECODING];
        if let Some(field) = from.keys().find(|field| !known.contains(&&***field)) {
            return Err(Unverifiable::new(why::TEMPLATE, field).into());
        }
        for (field, kind) in [
            ("configMap", SourceKind::ConfigMap),
            ("secret", SourceKind::Secret),
        ] {
            if let Some(reference) = from.get(field).filter(|value| value.is_object()) {
                all.extend(
                    self.referred(reference, kind)
                        .map_err(|error| error.at(field))?,
                );
            }
        }
        if let Some(literal) = from.get("literal").and_then(Json::as_str) {
            all.extend(self.many(literal).map_err(|error| error.at("literal"))?);
        }
        self.decoded(all, from)
    }

    /// Decodes the rendered values.
    fn decoded(
        &self,
        all: BTreeMap<String, Value>,
        from: &Map<String, Json>,
    ) -> Result<BTreeMap<String, Value>, NotComputable> {
        let Some(strategy) = from.get(DECODING).filter(|strategy| !strategy.is_null()) else {
            return Ok(all);
        };
        let strategy = DecodingStrategy::deserialize(strategy)
            .map_err(|_| Unverifiable::new(why::TEMPLATE, DECODING))?;
        let decoded = all.into_iter().map(|(key, value)| {
            self.budget.write(value.expose().len())?;
            let value = decode(value, strategy)
                .map_err(|_| fails("a value cannot be decoded".to_owned()))?;
            Ok((key, value))
        });
        decoded.collect()
    }

    fn referred(
        &self,
        reference: &Json,
        kind: SourceKind,
    ) -> Result<BTreeMap<String, Value>, NotComputable> {
        let text = |value: &Json, field: &str| {
            let text = value.get(field).and_then(Json::as_str);
            text.unwrap_or_default().to_owned()
        };
        let name = SourceName {
            kind,
            name: text(reference, "name"),
        };
        let texts = match self.sources.get(&name) {
            Some(Source::Texts(texts)) => texts,
            Some(Source::Absent) => return Err(fails(format!("{} does not exist", name.name))),
            Some(Source::Unread(why)) => {
                return Err(Unverifiable::new(UNREAD_TEMPLATE, why.as_str()).into());
            }
            None => return Err(Unverifiable::new(UNREAD_TEMPLATE, name.name).into()),
        };
        let mut all = BTreeMap::new();
        let items = reference.get("items").and_then(Json::as_array);
        for item in items.into_iter().flatten() {
            let key = text(item, "key");
            let template = texts
                .get(&key)
                .ok_or_else(|| fails(format!("{} has no key {key}", name.name)))?;
            let template = std::str::from_utf8(template.expose())
                .map_err(|_| Unverifiable::new(why::TEMPLATE, "text that is not UTF-8"))?;
            match &*text(item, "templateAs") {
                "" | "Values" => {
                    let value = self.one(&key, template).map_err(|error| error.at(&key))?;
                    all.insert(key, value);
                }
                "KeysAndValues" => {
                    all.extend(self.many(template).map_err(|error| error.at(&key))?);
                }
                _ => return Err(Unverifiable::new(why::TEMPLATE, "templateAs").into()),
            }
        }
        Ok(all)
    }

    fn one(&self, key: &str, template: &str) -> Result<Value, NotComputable> {
        // The operator names a template after its key, so one that it defines can have the same name.
        let defines = template.contains("define") || template.contains("block");
        if defines
            && ['"', '`']
                .iter()
                .any(|quote| template.contains(&format!("{quote}{key}{quote}")))
        {
            let why = "a template that may have the name of its key";
            return Err(Unverifiable::new(why::TEMPLATE, why).into());
        }
        render(template, &self.data, self.budget)
            .map(Value::new)
            .map_err(not_computable)
    }

    fn many(&self, template: &str) -> Result<BTreeMap<String, Value>, NotComputable> {
        let entries = render_keys_and_values(template, &self.data, self.budget);
        let values = entries.map_err(not_computable)?.into_iter();
        Ok(values
            .map(|(key, value)| (key, Value::new(value)))
            .collect())
    }
}

/// The field that says how the rendered values are decoded (since operator v2.7.0).
const DECODING: &str = "valuesDecodingStrategy";

/// Ignores that a text is unknown: labels and annotations do not change the data. An error in one of them still fails the sync.
fn fails_only<T>(rendered: Result<T, NotComputable>) -> Result<(), NotComputable> {
    match rendered {
        Ok(_) => Ok(()),
        Err(NotComputable::Unverifiable(why)) if why.reason != why::TOO_COSTLY => Ok(()),
        Err(error) => Err(error),
    }
}

/// The reason if the ConfigMap or Secret of a template could not be read.
const UNREAD_TEMPLATE: &str = "template-unreadable";

/// True if an entry is for data, false if it is for labels or annotations.
fn into_data(from: &Map<String, Json>) -> Result<bool, NotComputable> {
    let target = from.get("target").and_then(Json::as_str);
    match &*target.unwrap_or_default().to_ascii_lowercase() {
        "" | "data" => Ok(true),
        "annotations" | "labels" => Ok(false),
        _ => Err(Unverifiable::new(why::TEMPLATE, "target").into()),
    }
}

fn not_computable(failure: template::Failure) -> NotComputable {
    match failure {
        template::Failure::Unverifiable { what } => Unverifiable::new(why::TEMPLATE, what).into(),
        template::Failure::WouldFail { what } => fails(what),
        template::Failure::TooCostly(error) => error.into(),
    }
}

fn fails(detail: String) -> NotComputable {
    NotComputable::WouldFail(WouldFail {
        failure: Failure::Template,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(json: &Json) -> Template {
        let spec = json!({"target": {"template": json}});
        Spec::parse(&spec).unwrap().target.template.unwrap()
    }

    fn world() -> Sources {
        let texts = |entries: &[(&str, &str)]| {
            let entries = entries.iter();
            let texts = entries.map(|(key, text)| ((*key).to_owned(), Value::from(*text)));
            Source::Texts(Arc::new(texts.collect()))
        };
        let name = |kind, name: &str| SourceName {
            kind,
            name: name.to_owned(),
        };
        Sources::from([
            (
                name(SourceKind::ConfigMap, "cm"),
                texts(&[("a", "cm:{{ .p }}"), ("kv", "x: one\nz: '{{ .p }}'\n")]),
            ),
            (name(SourceKind::Secret, "s"), texts(&[("a", "s:{{ .p }}")])),
            (name(SourceKind::ConfigMap, "gone"), Source::Absent),
            (
                name(SourceKind::ConfigMap, "denied"),
                Source::Unread("forbidden".to_owned()),
            ),
        ])
    }

    fn rendered(json: &Json) -> Result<String, NotComputable> {
        let data = BTreeMap::from([("p".to_owned(), Value::from("v"))]);
        let sources = world();
        let keys = Rendering(&sources).render(&template(json), &data, &Budget::default())?;
        let shown = keys
            .iter()
            .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value.expose())));
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn later_templates_override_earlier_ones() {
        let both = json!({"templateFrom": [
            {"secret": {"name": "s", "items": [{"key": "a"}]}, "configMap": {"name": "cm", "items": [{"key": "a"}]}, "literal": "b: text"},
        ]});
        assert_eq!(rendered(&both).unwrap(), "a=s:v b=text");
        let data = json!({
            "templateFrom": [{"configMap": {"name": "cm", "items": [{"key": "a", "templateAs": "Values"}, {"key": "kv", "templateAs": "KeysAndValues"}]}}],
            "data": {"x": "{{ .p }}2"},
        });
        assert_eq!(rendered(&data).unwrap(), "a=cm:v x=v2 z=v");
    }

    #[test]
    fn labels_and_annotations_are_rendered_but_are_not_data() {
        let labels = json!({"templateFrom": [{"literal": "b: text", "target": "Labels"}], "data": {"a": "{{ .p }}"}});
        assert_eq!(rendered(&labels).unwrap(), "a=v");
        let error =
            rendered(&json!({"metadata": {"annotations": {"x": "{{ .nope }}"}}})).unwrap_err();
        let NotComputable::WouldFail(fails) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            fails.to_string(),
            "template (metadata.annotations.x: the missing key `nope`)"
        );
    }

    #[test]
    fn unknown_labels_and_annotations_do_not_hide_the_data() {
        for json in [
            json!({"templateFrom": [{"literal": "b: {{ now }}", "target": "Annotations"}], "data": {"a": "{{ .p }}"}}),
            json!({"templateFrom": [{"literal": "b: *c", "target": "labels"}], "data": {"a": "{{ .p }}"}}),
            json!({"templateFrom": [{"configMap": {"name": "denied", "items": []}, "target": "Labels"}], "data": {"a": "{{ .p }}"}}),
            json!({"metadata": {"annotations": {"at": "{{ now }}"}}, "data": {"a": "{{ .p }}"}}),
        ] {
            assert_eq!(rendered(&json).unwrap(), "a=v", "{json}");
        }
        let fails = json!({"templateFrom": [{"literal": "b: {{ .nope }}", "target": "Labels"}], "data": {"a": "x"}});
        assert!(matches!(rendered(&fails), Err(NotComputable::WouldFail(_))));
    }

    #[test]
    fn rendered_values_are_decoded() {
        let decoded = |text: &str, strategy: &str| {
            rendered(
                &json!({"templateFrom": [{"literal": text, "valuesDecodingStrategy": strategy}]}),
            )
        };
        assert_eq!(decoded("aGk=: aGk=", "Base64").unwrap(), "aGk==hi");
        assert_eq!(decoded("a: aGk=", "None").unwrap(), "a=aGk=");
        assert_eq!(decoded("a: '?'", "Auto").unwrap(), "a=?");
        assert!(matches!(
            decoded("a: '?'", "Base64"),
            Err(NotComputable::WouldFail(_))
        ));
    }

    #[test]
    fn absent_source_fails_and_unread_source_is_unverifiable() {
        let from = |name: &str| json!({"templateFrom": [{"configMap": {"name": name, "items": [{"key": "b"}]}}]});
        assert!(matches!(
            rendered(&from("gone")),
            Err(NotComputable::WouldFail(_))
        ));
        assert!(matches!(
            rendered(&from("cm")),
            Err(NotComputable::WouldFail(_))
        ));
        let Err(NotComputable::Unverifiable(why)) = rendered(&from("denied")) else {
            panic!("must be unverifiable")
        };
        assert_eq!(
            why.to_string(),
            "template-unreadable (templateFrom[0]: configMap: forbidden)"
        );
    }

    #[test]
    fn unsupported_template_features_are_unverifiable() {
        for json in [
            json!({"engineVersion": "v1", "data": {"a": "b"}}),
            json!({"templateFrom": [{"literal": "a: b", "valuesDecodingStrategy": "Rot13"}]}),
            json!({"templateFrom": [{"literal": "a: b", "target": "spec.x"}]}),
            json!({"templateFrom": [{"oci": {}}]}),
            json!({"data": {"a": "{{ now }}"}}),
            json!({"data": {"a": "{{ define \"a\" }}x{{ end }}{{ template \"a\" }}"}}),
        ] {
            let outcome = rendered(&json);
            assert!(
                matches!(outcome, Err(NotComputable::Unverifiable(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn each_template_source_is_read_once() {
        let spec = json!({"target": {"template": {"templateFrom": [
            {"configMap": {"name": "a", "items": []}}, {"configMap": {"name": "a", "items": []}, "secret": {"name": "b", "items": []}},
        ]}}});
        let names: Vec<String> = sources(&Spec::parse(&spec).unwrap())
            .into_iter()
            .map(|source| format!("{:?} {}", source.kind, source.name))
            .collect();
        assert_eq!(names, ["ConfigMap a", "Secret b"]);
    }
}
