//! Renders templates of two forms: `{{ .key }}` and `{{ (.key | fromJson).field }}`. All others are rejected.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::Value;

use crate::provider::go_json_error;

/// The provider's data, by Secret key.
pub(super) type Data = BTreeMap<String, Vec<u8>>;

static ACTION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // Includes the trim markers, which remove the whitespace around an action.
    Regex::new(r"(?s)(?:\s*\{\{- |\{\{)(?<body>.*?)(?: -\}\}\s*|\}\})").ok()
});

static FIELD: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*(?<field>\.(?<key>\w+))\s*$").ok());

static JSON_FIELD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^\s*\(\s*(?<field>\.(?<key>\w+))\s*\|\s*(?<function>fromJson|mustFromJson)\s*\)\.(?<name>\w+)\s*$").ok()
});

/// Renders the template of a Secret key. The error is the message of the operator's Event.
pub(super) fn render(name: &str, template: &str, data: &Data) -> Result<String, String> {
    let mut rendered = String::new();
    let mut end = 0;
    let actions = ACTION
        .as_ref()
        .into_iter()
        .flat_map(|action| action.captures_iter(template));
    for action in actions {
        let (Some(whole), Some(body)) = (action.get(0), action.name("body")) else {
            continue;
        };
        rendered.push_str(template.get(end..whole.start()).unwrap_or_default());
        let place = Place {
            name,
            template,
            offset: body.start(),
        };
        rendered.push_str(&evaluate(place, body.as_str(), data)?);
        end = whole.end();
    }
    let rest = template.get(end..).unwrap_or_default();
    if rest.contains("{{") {
        let line = template.lines().count();
        return Err(wrap(
            name,
            "parse",
            &format!("template: {name}:{line}: unclosed action"),
        ));
    }
    rendered.push_str(rest);
    Ok(rendered)
}

#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    template: &'a str,
    offset: usize,
}

impl Place<'_> {
    fn error(self, within: usize, node: &str, what: &str) -> String {
        let before = self
            .template
            .get(..self.offset + within)
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rfind('\n')
            .map_or(before.len(), |newline| before.len() - newline - 1);
        let name = self.name;
        let text =
            format!("template: {name}:{line}:{column}: executing {name:?} at <{node}>: {what}");
        wrap(name, "execute", &text)
    }
}

fn wrap(name: &str, step: &str, text: &str) -> String {
    format!(
        "could not execute template: could not execute template: unable to execute template at key {name}: unable to \
         {step} template at key {name}: {text}"
    )
}

fn evaluate(place: Place<'_>, body: &str, data: &Data) -> Result<String, String> {
    let captures = |pattern: &'static LazyLock<Option<Regex>>| {
        pattern.as_ref().and_then(|regex| regex.captures(body))
    };
    if let Some(field) = captures(&FIELD) {
        return value(place, &field, data);
    }
    let Some(field) = captures(&JSON_FIELD) else {
        let refused = "the sandbox supports only {{ .key }} and {{ (.key | fromJson).field }}";
        return Err(wrap(place.name, "parse", refused));
    };
    let text = value(place, &field, data)?;
    let group = |name: &str| {
        field
            .name(name)
            .map_or(("", 0), |found| (found.as_str(), found.start()))
    };
    let ((function, at), (name, _)) = (group("function"), group("name"));
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(members)) => match members.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Bool(flag)) => Ok(flag.to_string()),
            Some(_) => Err(wrap(
                place.name,
                "execute",
                "the sandbox supports only strings and booleans",
            )),
            None => Err(place.error(at, function, &format!("map has no entry for key {name:?}"))),
        },
        Err(_) if function == "mustFromJson" => {
            let what = format!("error calling mustFromJson: {}", go_json_error(&text));
            Err(place.error(at, function, &what))
        }
        // `fromJson` ignores parse errors and returns nothing.
        Ok(_) | Err(_) => Err(place.error(
            at,
            function,
            &format!("nil data; no entry for key {name:?}"),
        )),
    }
}

fn value(place: Place<'_>, field: &Captures<'_>, data: &Data) -> Result<String, String> {
    let key = field.name("key").map_or("", |key| key.as_str());
    if let Some(value) = data.get(key) {
        return Ok(String::from_utf8_lossy(value).into_owned());
    }
    let at = field.name("field").map_or(0, |field| field.start());
    Err(place.error(
        at,
        &format!(".{key}"),
        &format!("map has no entry for key {key:?}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, String> {
        let data = [("tok", "tok"), ("db", r#"{"user":"u"}"#)];
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect();
        render("url", template, &data)
    }

    #[test]
    fn supported_templates_render_like_the_operator() {
        for (template, text) in [
            ("plain", "plain"),
            ("pg://{{ .tok }}:{{.tok}}@h", "pg://tok:tok@h"),
            ("{{.tok}}-{{- .tok -}} x", "tok-tokx"),
            ("{{ (.db | fromJson).user }}", "u"),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(text));
        }
    }

    /// Each message was recorded from the operator.
    #[test]
    fn errors_match_the_operators_messages() {
        for (template, text) in [
            (
                "{{ .missing }}",
                r#"execute template at key url: template: url:1:3: executing "url" at <.missing>: map has no entry for key "missing""#,
            ),
            (
                "{{ (.tok | fromJson).x }}",
                r#"execute template at key url: template: url:1:11: executing "url" at <fromJson>: nil data; no entry for key "x""#,
            ),
            (
                "{{ (.tok | mustFromJson).x }}",
                r#"execute template at key url: template: url:1:11: executing "url" at <mustFromJson>: error calling mustFromJson: invalid character 'o' in literal true (expecting 'r')"#,
            ),
            (
                "{{ (.db | fromJson).nope }}",
                r#"execute template at key url: template: url:1:10: executing "url" at <fromJson>: map has no entry for key "nope""#,
            ),
            (
                "{{ .tok",
                "parse template at key url: template: url:1: unclosed action",
            ),
        ] {
            let error = rendered(template).unwrap_err();
            let expected = format!(
                "could not execute template: could not execute template: unable to execute template at key url: unable to {text}"
            );
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn unsupported_functions_are_errors() {
        assert!(
            rendered("{{ .tok | b64enc }}")
                .unwrap_err()
                .contains("the sandbox supports only")
        );
    }
}
