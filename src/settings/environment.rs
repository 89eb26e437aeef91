//! `ESO_SYNC_…` variables: `ESO_SYNC_SYNC__TIMEOUT` is `sync.timeout`.
//!
//! A value takes the type that its key needs. Lists and sections are written as YAML (`[{names: [web]}]`). Unknown variables are
//! only a warning, because Kubernetes sets some for a Service named `eso-sync`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::schema::Section;
use super::{
    Layer, nested,
    problem::{Source, listed},
    schema::{self, Shape},
    tree::{self, Node, Style, Value, below},
};

const PREFIX: &str = "ESO_SYNC_";

/// Returns one layer for each variable that sets a policy key, and warnings about unknown variables.
pub(super) fn layers(
    environment: &BTreeMap<String, String>,
    known_flags: &[&str],
) -> (Vec<Layer>, Vec<String>) {
    let mut layers = Vec::new();
    let mut unknown = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if known_flags.contains(&&**name) {
            continue;
        }
        match resolve(rest) {
            // As for flags: a pipeline sets a variable without a value to an empty text.
            Some(_) if value.is_empty() => {}
            Some((keys, shape)) => layers.push(layer(name, value, &keys, shape)),
            None => unknown.push(&**name),
        }
    }
    (layers, warnings(&unknown))
}

fn layer(name: &str, value: &str, keys: &[String], shape: Shape<'_>) -> Layer {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    let node = if matches!(
        shape,
        Shape::List { .. } | Shape::Section(_) | Shape::Entries { .. }
    ) {
        tree::parse(
            value,
            &keys
                .iter()
                .fold(String::new(), |path, key| below(&path, key)),
            &mut found,
        )
    } else {
        Some(Node {
            line: 1,
            value: Value::Scalar {
                text: value.to_owned(),
                style: Style::Untyped,
            },
        })
    };
    Layer {
        source: Source::Variable(name.to_owned()),
        tree: node.map(|node| nested(&keys, node)),
        found,
    }
}

/// Returns the keys and the schema for the name of a variable.
fn resolve(rest: &str) -> Option<(Vec<String>, Shape<'static>)> {
    let mut shape = Shape::of(schema::policy());
    let mut keys = Vec::new();
    for segment in rest.split("__") {
        if let Shape::Entries { value, .. } = shape {
            // Provider names are lowercase. Store names cannot be part of a variable's name.
            keys.push(segment.to_ascii_lowercase());
            shape = Shape::of(value);
        } else {
            let mut known = shape.section()?.keys();
            let (name, key) = known.find(|(name, _)| screaming(name) == segment)?;
            keys.push(name.to_owned());
            shape = Shape::of(key);
        }
    }
    Some((keys, shape))
}

/// Converts `maxSyncs` to `MAX_SYNCS`.
fn screaming(name: &str) -> String {
    let mut screamed = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            screamed.push('_');
        }
        screamed.push(character.to_ascii_uppercase());
    }
    screamed
}

fn warnings(unknown: &[&str]) -> Vec<String> {
    let (injected, others): (Vec<&str>, Vec<&str>) =
        unknown.iter().partition(|name| is_of_a_service(name));
    let mut warnings = Vec::new();
    if !injected.is_empty() {
        warnings.push(format!(
            "ignored {}: Kubernetes sets them for a Service called `eso-sync`; set `enableServiceLinks: false` in the \
             Pod's spec to stop that",
            listed(injected)
        ));
    }
    let known = names();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for name in others {
        let hint = super::check::closest(name.strip_prefix(PREFIX).unwrap_or(name), &known)
            .map(|close| format!("; did you mean `{PREFIX}{close}`?"));
        let hint = hint.unwrap_or_default();
        warnings.push(format!(
            "ignored environment variable {name}: unknown policy key or flag{hint}"
        ));
    }
    warnings
}

/// True for variables that the kubelet sets for a Service: `…_SERVICE_HOST`, `…_SERVICE_PORT…`, `…_PORT`, `…_PORT_443_TCP…`.
fn is_of_a_service(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    rest == "SERVICE_HOST"
        || rest == "PORT"
        || rest.starts_with("SERVICE_PORT")
        || rest.starts_with("PORT_")
}

/// Returns the names of all policy variables, without the prefix.
pub(super) fn names() -> Vec<String> {
    fn collect(schema: &Json, above: &str, names: &mut Vec<String>) {
        let section = Shape::of(schema).section();
        for (name, key) in section.into_iter().flat_map(Section::keys) {
            let name = format!("{above}{}", screaming(name));
            collect(key, &format!("{name}__"), names);
            names.push(name);
        }
    }
    let mut all = Vec::new();
    collect(schema::policy(), "", &mut all);
    all
}
