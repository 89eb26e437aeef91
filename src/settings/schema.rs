//! The schema of a policy, derived from the fields, forms and doc comments of the types in [`crate::policy`].
//!
//! [`policy`] is the output of schemars, simplified, with three internal keywords (`x-form`, `x-order`, `x-rule`). Validation
//! reads it through [`Shape`]. [`schema`] returns it without these keywords, as a JSON Schema.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::rules::{self, Rule};
use crate::policy::{
    Policy,
    form::{self, AnyForm},
    written::ORDER,
};

/// The keyword with the name of the rule for the items of a list.
const RULE: &str = "x-rule";

/// Returns the JSON Schema (2020-12) of policy files, for editors and other validators. Less strict than [`load`](super::load):
/// patterns are coarse, and quotes and duplicate keys are not checked.
pub fn schema() -> Value {
    let mut schema = policy().clone();
    // A file may be one of several layers, so no file needs all required keys.
    if let Value::Object(schema) = &mut schema {
        schema.remove("required");
    }
    publish(&mut schema);
    schema
}

/// Returns the schema of a whole policy, with the internal keywords.
pub(super) fn policy() -> &'static Value {
    static POLICY: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
        });
        let mut schema = settings
            .into_generator()
            .into_root_schema_for::<Policy>()
            .to_value();
        simplify(&mut schema);
        schema
    });
    &POLICY
}

/// Removes the internal keywords.
fn publish(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            keywords.retain(|keyword, _| !keyword.starts_with("x-"));
            keywords.values_mut().for_each(publish);
        }
        Value::Array(items) => items.iter_mut().for_each(publish),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Simplifies the output of schemars: no `null`, words as one `enum`, no defaults of whole sections.
fn simplify(schema: &mut Value) {
    let Value::Object(keywords) = schema else {
        return;
    };
    without_null(keywords);
    words_in_one(keywords);
    if keywords.get("format") == Some(&json!("uint32")) {
        keywords.remove("format");
        keywords.entry("maximum").or_insert(json!(u32::MAX));
    }
    if let Some(Value::String(description)) = keywords.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if keywords.get("default").is_some_and(Value::is_object) {
        keywords.remove("default");
    }
    if let Some(Value::Object(properties)) = keywords.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = keywords.get_mut(keyword) {
            simplify(inner);
            // This is the doc comment of the type, which is written for readers of the code.
            if let Value::Object(inner) = inner {
                inner.remove("description");
            }
        }
    }
}

/// Removes `null` from the allowed values: an optional key is omitted instead.
fn without_null(keywords: &mut Map<String, Value>) {
    let null = json!({"type": "null"});
    if let Some(Value::Array(choices)) = keywords.get_mut("anyOf") {
        choices.retain(|choice| *choice != null);
        if let [Value::Object(only)] = &mut choices[..] {
            let only = std::mem::take(only);
            keywords.remove("anyOf");
            for (keyword, value) in only {
                keywords.entry(keyword).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(types)) = keywords.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &mut types[..] {
            let only = only.take();
            keywords.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = keywords.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

/// Merges words into one `enum`. schemars emits one choice for each word with a doc comment.
fn words_in_one(keywords: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = keywords.get("oneOf") else {
        return;
    };
    let mut words = Vec::new();
    for choice in choices {
        match (choice.get("const"), choice.get("enum")) {
            (Some(word), _) => words.push(word.clone()),
            (None, Some(Value::Array(several))) => words.extend(several.iter().cloned()),
            _ => return,
        }
    }
    keywords.remove("oneOf");
    keywords.insert("type".to_owned(), json!("string"));
    keywords.insert("enum".to_owned(), Value::Array(words));
}

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    /// `true` or `false`.
    Switch,
    /// A whole number with this minimum.
    Count(u32),
    /// One of these words.
    Word(Words<'a>),
    /// Text in a format.
    Text(&'static AnyForm),
    /// A whole number with this minimum, or text in a format.
    CountOr(u32, &'static AnyForm),
    /// A list of at least `least` items, each of which must follow the rule.
    List {
        of: &'a Value,
        least: usize,
        rule: Option<Rule>,
    },
    /// A map with fixed keys.
    Section(Section<'a>),
    /// A map with keys that the user chooses.
    Entries {
        key: &'static AnyForm,
        value: &'a Value,
    },
}

/// The allowed words of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a>(&'a [Value]);

impl<'a> Words<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter_map(Value::as_str)
    }
}

/// A section: the schema of an object whose keys are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a>(&'a Value);

impl<'a> Section<'a> {
    /// Returns the names of the keys, in the order of their declaration.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        strings(&self.0[ORDER])
    }

    /// Returns the names of the required keys.
    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        strings(&self.0["required"])
    }

    /// True if exactly one key must be set.
    pub(super) fn is_choice(self) -> bool {
        self.0["maxProperties"] == 1
    }

    /// Returns the schema of a key.
    pub(super) fn key(self, name: &str) -> Option<&'a Value> {
        self.0["properties"].get(name)
    }

    /// Returns the keys with their schemas.
    pub(super) fn keys(self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.names()
            .filter_map(move |name| Some((name, self.key(name)?)))
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

impl<'a> Shape<'a> {
    /// Returns the shape that a schema describes.
    pub(super) fn of(schema: &'a Value) -> Self {
        if let Some(form) = form_of(schema) {
            return Self::Text(form);
        }
        if let Some(Value::Array(choices)) = schema.get("anyOf")
            && let [count, text] = &choices[..]
            && let Some(form) = form_of(text)
        {
            return Self::CountOr(least(count, "minimum"), form);
        }
        if let Some(Value::Array(words)) = schema.get("enum") {
            return Self::Word(Words(words));
        }
        match schema["type"].as_str() {
            Some("boolean") => Self::Switch,
            Some("integer") => Self::Count(least(schema, "minimum")),
            Some("array") => Self::List {
                of: &schema["items"],
                least: least(schema, "minItems") as usize,
                rule: schema[RULE].as_str().and_then(rules::named),
            },
            _ => match form_of(&schema["propertyNames"]) {
                Some(key) => Self::Entries {
                    key,
                    value: &schema["additionalProperties"],
                },
                None => Self::Section(Section(schema)),
            },
        }
    }

    /// Returns a hint that describes a valid value.
    pub(super) fn asks_for(self) -> String {
        use super::problem::listed;

        match self {
            Self::Switch => "write `true` or `false`".to_owned(),
            Self::Count(least) => {
                format!("write a whole number of at least {least}, without quotes")
            }
            Self::Word(words) => format!("write one of {}", listed(words.iter())),
            Self::Text(form) | Self::CountOr(_, form) => form.hint.to_owned(),
            Self::List { .. } => "write a list: `[…]`, or one `- …` per line".to_owned(),
            Self::Section(section) => format!("write keys below it: {}", listed(section.names())),
            Self::Entries { key, value } => format!(
                "write `key: value` pairs below it, such as `{}: {}`",
                key.example,
                Shape::of(value).example()
            ),
        }
    }

    /// Returns a valid value that is one word.
    fn example(self) -> &'a str {
        match self {
            Self::Text(form) => form.example,
            Self::Word(words) => words.iter().next().unwrap_or_default(),
            Self::Switch
            | Self::Count(_)
            | Self::CountOr(..)
            | Self::List { .. }
            | Self::Section(_)
            | Self::Entries { .. } => "…",
        }
    }

    /// Returns the section, or None for other shapes.
    pub(super) fn section(self) -> Option<Section<'a>> {
        match self {
            Self::Section(section) => Some(section),
            Self::Switch
            | Self::Count(_)
            | Self::Word(_)
            | Self::Text(_)
            | Self::CountOr(..)
            | Self::List { .. }
            | Self::Entries { .. } => None,
        }
    }
}

fn form_of(schema: &Value) -> Option<&'static AnyForm> {
    AnyForm::named(schema.get(form::KEYWORD)?.as_str()?)
}

fn least(schema: &Value, keyword: &str) -> u32 {
    let least = schema[keyword].as_u64().unwrap_or_default();
    u32::try_from(least).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits this schema and all schemas below it, with their paths.
    fn each(schema: &Value, path: &str, visit: &mut impl FnMut(&Value, &str)) {
        visit(schema, path);
        match Shape::of(schema) {
            Shape::Section(section) => {
                for (name, key) in section.keys() {
                    each(key, &format!("{path}.{name}"), visit);
                }
            }
            Shape::List { of, .. } => each(of, &format!("{path}[]"), visit),
            Shape::Entries { value, .. } => each(value, &format!("{path}.*"), visit),
            Shape::Switch
            | Shape::Count(_)
            | Shape::Word(_)
            | Shape::Text(_)
            | Shape::CountOr(..) => {}
        }
    }

    /// An unknown kind of schema would be mistaken for a section without keys.
    #[test]
    fn every_key_has_a_shape() {
        let mut seen = 0;
        each(policy(), "", &mut |schema, path| {
            seen += 1;
            if let Shape::Section(section) = Shape::of(schema) {
                assert_eq!(schema["type"], "object", "{path}");
                let known = schema["properties"].as_object().map_or(0, Map::len);
                assert!(
                    known > 0 && section.keys().count() == known,
                    "{path}: {schema}"
                );
                assert_eq!(schema["additionalProperties"], false, "{path}");
            }
            for keyword in ["$ref", "oneOf", "allOf", "format"] {
                assert!(schema.get(keyword).is_none(), "{path} has {keyword}");
            }
            if let Some(name) = schema.get(RULE) {
                assert!(
                    rules::named(name.as_str().unwrap()).is_some(),
                    "{path}: {name}"
                );
            }
            if let Some(name) = schema.get(form::KEYWORD) {
                assert!(
                    AnyForm::named(name.as_str().unwrap()).is_some(),
                    "{path}: {name}"
                );
            }
        });
        assert!(seen > 80, "{seen}");
    }

    #[test]
    fn internal_keywords_are_not_published() {
        assert!(!schema().to_string().contains("\"x-"));
    }

    #[test]
    fn optional_words_become_one_enum() {
        let mut schema = json!({
            "anyOf": [
                {"oneOf": [{"type": "string", "const": "a", "description": "A."}, {"type": "string", "enum": ["b"]}]},
                {"type": "null"},
            ],
            "description": "Two\nlines.",
        });
        simplify(&mut schema);
        assert_eq!(
            schema,
            json!({"type": "string", "enum": ["a", "b"], "description": "Two lines."})
        );
    }
}
