//! A provider's values, and the extraction of properties. Anything that cannot be done exactly like the real providers is
//! an error.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::ProviderError;
use crate::object;

/// The point in time whose value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epoch {
    /// Now, after the rotation.
    Present,
    /// At the operator's last sync.
    Previous,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    present: BTreeMap<String, String>,
    previous: BTreeMap<String, String>,
}

impl Values {
    /// The values of a fake store.
    pub(super) fn of_fake(data: &Value, previous: Option<&Self>) -> Self {
        let entries = data
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| object::text(entry, "/version").is_empty());
        let text = |entry: &Value, key: &str| {
            object::member(entry, key)
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            present: entries
                .map(|entry| (text(entry, "key"), text(entry, "value")))
                .collect(),
            previous: previous
                .map(|values| values.previous.clone())
                .unwrap_or_default(),
        }
    }

    /// The values of a ConfigMap. The error is the key that cannot be parsed.
    pub(super) fn of_config_map(config_map: &Value) -> Result<Self, &'static str> {
        Ok(Self {
            present: entries(config_map, "values.yaml")?,
            previous: entries(config_map, "previous.yaml")?,
        })
    }

    pub(super) fn get(&self, key: &str, epoch: Epoch) -> Option<String> {
        let previous = self.previous.get(key).filter(|_| epoch == Epoch::Previous);
        previous.or_else(|| self.present.get(key)).cloned()
    }

    /// The values whose keys match.
    pub(super) fn matching(&self, pattern: &Regex, epoch: Epoch) -> BTreeMap<String, Vec<u8>> {
        let keys = self.present.keys().filter(|key| pattern.is_match(key));
        keys.filter_map(|key| Some((key.clone(), self.get(key, epoch)?.into_bytes())))
            .collect()
    }
}

fn entries(
    config_map: &Value,
    key: &'static str,
) -> Result<BTreeMap<String, String>, &'static str> {
    let text = object::member(object::at(config_map, "/data"), key)
        .as_str()
        .unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    let entries: BTreeMap<String, Value> = serde_saphyr::from_str(text).map_err(|_| key)?;
    Ok(entries
        .into_iter()
        .map(|(key, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (key, text)
        })
        .collect())
}

/// A property of a JSON value: first the literal key, then a path of keys.
pub(super) fn property(value: &str, path: &str) -> Result<Option<String>, ProviderError> {
    if path.contains(['#', '*', '?', '@', '|', '\\', '(', '{', '[']) {
        return Err(unsupported(
            "does not support special characters in property paths",
        ));
    }
    let Ok(document) = serde_json::from_str::<Value>(value) else {
        return Ok(None);
    };
    let literal = document.get(path);
    let found = literal.or_else(|| {
        path.split('.')
            .try_fold(&document, |value, key| match value.as_array() {
                Some(items) => items.get(key.parse::<usize>().ok()?),
                None => value.get(key),
            })
    });
    found.map(text).transpose()
}

/// A JSON text as Go's `json.Marshal` writes it, with HTML characters escaped.
pub(super) fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    let digit = char::from_digit(u32::from(c) >> shift & 0xf, 16);
                    escaped.extend(digit);
                }
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The members of a JSON object, as the operator writes them into a Secret.
pub(super) fn members(value: &str) -> Result<BTreeMap<String, Vec<u8>>, ProviderError> {
    let document: Value = serde_json::from_str(value).map_err(|_| {
        ProviderError::Failed(format!(
            "unable to unmarshal secret: {}",
            go_json_error(value)
        ))
    })?;
    let Value::Object(members) = document else {
        return Err(unsupported("supports `extract` from JSON objects only"));
    };
    members
        .iter()
        .map(|(key, value)| Ok((key.clone(), text(value)?.into_bytes())))
        .collect()
}

fn text(value: &Value) -> Result<String, ProviderError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        // Their format differs between providers.
        Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(unsupported(
            "supports only strings, integers and booleans in JSON objects, no nested values",
        )),
    }
}

fn unsupported(what: &str) -> ProviderError {
    ProviderError::Failed(format!("the sandbox's provider {what}"))
}

/// The error of Go's `encoding/json` for invalid JSON. It quotes the first unexpected character.
pub(crate) fn go_json_error(text: &str) -> String {
    let text = text.trim_start();
    let Some(first) = text.chars().next() else {
        return "unexpected end of JSON input".to_owned();
    };
    let literal = ["true", "false", "null"]
        .into_iter()
        .find(|literal| literal.starts_with(first));
    match (first, literal) {
        (_, Some(literal)) => {
            let differs = text
                .chars()
                .zip(literal.chars())
                .find(|(found, expected)| found != expected);
            match differs {
                Some((found, expected)) => {
                    format!(
                        "invalid character {found:?} in literal {literal} (expecting {expected:?})"
                    )
                }
                None => after_value(text, literal.len()),
            }
        }
        ('{' | '[' | '"' | '-' | '0'..='9', None) => {
            let end = serde_json::from_str::<Value>(text)
                .map_or_else(|error| error.column(), |_| text.len());
            match text.chars().nth(end.saturating_sub(1)) {
                Some(found) if end < text.len() => {
                    format!("invalid character {found:?} after top-level value")
                }
                _ => "unexpected end of JSON input".to_owned(),
            }
        }
        (first, None) => format!("invalid character {first:?} looking for beginning of value"),
    }
}

fn after_value(text: &str, end: usize) -> String {
    match text.get(end..).and_then(|rest| rest.chars().next()) {
        Some(found) => format!("invalid character {found:?} after top-level value"),
        None => "unexpected end of JSON input".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_json_errors_match_go() {
        for (text, error) in [
            (
                "tok",
                "invalid character 'o' in literal true (expecting 'r')",
            ),
            (
                "warehouse",
                "invalid character 'w' looking for beginning of value",
            ),
            ("", "unexpected end of JSON input"),
            ("{\"a\":", "unexpected end of JSON input"),
        ] {
            assert_eq!(go_json_error(text), error);
        }
    }

    #[test]
    fn a_property_is_a_literal_key_or_a_path() {
        let value = r#"{"a.b": "literal", "a": {"b": "path", "n": 3}, "list": [{"c": true}]}"#;
        for (path, found) in [
            ("a.b", Some("literal")),
            ("a.n", Some("3")),
            ("list.0.c", Some("true")),
            ("x", None),
        ] {
            assert_eq!(property(value, path).unwrap().as_deref(), found, "{path}");
        }
        assert_eq!(property("no json", "a"), Ok(None));
        assert!(property(value, "list.#.c").is_err());
        assert!(property(value, "a").is_err(), "nested");
    }
}
