//! Validates a tree against the policy's schema. Returns the valid data, and all errors with line and key.

use figment::value::{Dict, Value as Data};
use serde_json::Value as Json;

use super::{
    problem::{Fault, Found, listed, quoted},
    rules::Rule,
    schema::{self, Section, Shape, Words},
    tree::{Entry, Node, Style, Value, below, looks_like},
};
use crate::policy::form::AnyForm;

/// Returns the valid part of a tree; None if it is not a policy.
pub(super) fn policy(root: &Node, found: &mut Vec<Found>) -> Option<Dict> {
    let fault = if !matches!(root.value, Value::Map(_)) {
        // The text is not quoted: a file without keys may be any file, with any content.
        Fault::new(
            "is not a policy",
            "write keys such as `select:` and `sync:` at the top level",
        )
    } else if root.get("apiVersion").is_some() && root.get("kind").is_some() {
        Fault::new(
            "is a Kubernetes manifest",
            "use the policy itself, as in the `data` of a ConfigMap",
        )
    } else {
        return value(root, schema::policy(), "", found)?.into_dict();
    };
    found.push(Found {
        line: root.line,
        key: String::new(),
        fault,
    });
    None
}

/// Returns the normalised value; None if it is invalid as a whole.
pub(super) fn value(
    node: &Node,
    schema: &Json,
    path: &str,
    found: &mut Vec<Found>,
) -> Option<Data> {
    let shape = Shape::of(schema);
    let outcome = match (&node.value, shape) {
        (Value::Refused, _) => return None,
        (Value::List(items), Shape::List { of, least, rule }) => {
            list(items, of, least, rule, path, found)
        }
        (Value::Map(entries), Shape::Section(keys)) => {
            Ok(Data::from(section(node, entries, keys, path, found)))
        }
        (Value::Map(entries), Shape::Entries { key, value }) => {
            Ok(Data::from(chosen(entries, key, value, path, found)))
        }
        (Value::Scalar { .. }, _) if node.says_nothing() => Err(Fault::new(
            "is empty",
            format!("{}, or remove it", shape.asks_for()),
        )),
        (Value::Scalar { text, style }, _) => scalar(text, *style, shape),
        (Value::List(_), _) => Err(Fault::new("is a list", shape.asks_for())),
        (Value::Map(_), _) => Err(Fault::new("is a map", shape.asks_for())),
    };
    match outcome {
        Ok(data) => Some(data),
        Err(fault) => {
            found.push(Found {
                line: node.line,
                key: path.to_owned(),
                fault,
            });
            None
        }
    }
}

fn list(
    items: &[Node],
    of: &Json,
    least: usize,
    rule: Option<Rule>,
    path: &str,
    found: &mut Vec<Found>,
) -> Result<Data, Fault> {
    if items.len() < least {
        return Err(Fault::new(
            "is empty, so nothing is selected",
            "add an entry, or write `[{}]` to select everything",
        ));
    }
    let mut list = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if least > 0 && item.says_nothing() {
            let fault = Fault::new(
                "is empty",
                "write `{}` to select every ExternalSecret, or remove it",
            );
            found.push(Found {
                line: item.line,
                key: path,
                fault,
            });
            continue;
        }
        let before = found.len();
        list.extend(value(item, of, &path, found));
        // The rule applies only to entries whose keys are valid.
        if found.len() == before
            && matches!(item.value, Value::Map(_))
            && let Some(Err(fault)) = rule.map(|rule| rule(item))
        {
            found.push(Found {
                line: item.line,
                key: path,
                fault,
            });
        }
    }
    Ok(Data::from(list))
}

fn section(
    node: &Node,
    entries: &[Entry],
    keys: Section<'_>,
    path: &str,
    found: &mut Vec<Found>,
) -> Dict {
    let mut dict = Dict::new();
    for entry in entries {
        let path = below(path, &entry.key);
        if let Some(key) = keys.key(&entry.key) {
            if let Some(data) = value(&entry.value, key, &path, found) {
                dict.insert(entry.key.clone(), data);
            }
        } else {
            found.push(Found {
                line: entry.line,
                key: path,
                fault: unknown(&entry.key, keys),
            });
        }
    }
    if keys.is_choice() && entries.len() != 1 {
        let names = listed(keys.names());
        let fault = match entries.len() {
            0 => Fault::new("is empty", format!("write one of {names}")),
            _ => Fault::new("has several keys", format!("write only one of {names}")),
        };
        found.push(Found {
            line: node.line,
            key: path.to_owned(),
            fault,
        });
    }
    // At the top level another layer may set the required key.
    let required = keys.required().filter(|_| !path.is_empty());
    for name in required.filter(|name| node.get(name).is_none()) {
        let hint = keys.key(name).map(|key| Shape::of(key).asks_for());
        found.push(Found {
            line: node.line,
            key: path.to_owned(),
            fault: Fault::new(format!("has no key `{name}`"), hint.unwrap_or_default()),
        });
    }
    dict
}

fn chosen(
    entries: &[Entry],
    key: &AnyForm,
    schema: &Json,
    path: &str,
    found: &mut Vec<Found>,
) -> Dict {
    let mut dict = Dict::new();
    for entry in entries {
        let path = below(path, &entry.key);
        let data = value(&entry.value, schema, &path, found);
        let fault = match (key.read)(&entry.key) {
            Err(Fault { what, hint }) => Fault::new(format!("{} {what}", quoted(&entry.key)), hint),
            Ok(name) if dict.contains_key(&name) => Fault::new(
                format!("{} is already set under its other name", quoted(&name)),
                "remove one of the two",
            ),
            Ok(name) => {
                dict.extend(data.map(|data| (name, data)));
                continue;
            }
        };
        found.push(Found {
            line: entry.line,
            key: path,
            fault,
        });
    }
    dict
}

fn scalar(text: &str, style: Style, shape: Shape<'_>) -> Result<Data, Fault> {
    match shape {
        Shape::Switch => switch(text, style).ok_or_else(|| mistaken(text, style, shape)),
        Shape::Count(least) => {
            count(text, style, least).ok_or_else(|| mistaken(text, style, shape))
        }
        Shape::Word(words) => word(text, words).ok_or_else(|| {
            Fault::new(
                format!("{} is not a known value", quoted(text)),
                shape.asks_for(),
            )
        }),
        Shape::Text(form) => formatted(text, style, form),
        Shape::CountOr(least, form) => match count(text, style, least) {
            Some(number) => Ok(number),
            None if style == Style::Quoted && looks_like(text) == Some("a number") => {
                Err(mistaken(text, style, shape))
            }
            None => formatted(text, style, form),
        },
        // The text is not quoted, because it may be anything.
        Shape::List { .. } => Err(Fault::new("is not a list", shape.asks_for())),
        Shape::Section(_) | Shape::Entries { .. } => {
            Err(Fault::new("is not a map", shape.asks_for()))
        }
    }
}

fn switch(text: &str, style: Style) -> Option<Data> {
    text.parse::<bool>()
        .ok()
        .filter(|_| style != Style::Quoted)
        .map(Data::from)
}

fn count(text: &str, style: Style, least: u32) -> Option<Data> {
    let digits =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = text.parse::<u32>().ok().filter(|number| *number >= least)?;
    (digits && style != Style::Quoted).then(|| Data::from(number))
}

fn word(text: &str, words: Words<'_>) -> Option<Data> {
    words
        .iter()
        .any(|word| word == text)
        .then(|| Data::from(text))
}

fn formatted(text: &str, style: Style, form: &AnyForm) -> Result<Data, Fault> {
    let read = (form.read)(text)
        .map_err(|Fault { what, hint }| Fault::new(format!("{} {what}", quoted(text)), hint))?;
    match looks_like(text).filter(|_| style == Style::Plain) {
        Some(other) => {
            let what = format!("{} is {other} in YAML, not text", quoted(text));
            Err(Fault::new(
                what,
                format!("quote it: `\"{}\"`", text.escape_debug()),
            ))
        }
        None => Ok(Data::from(read)),
    }
}

/// Returns the error for a scalar that is not the required boolean or number.
fn mistaken(text: &str, style: Style, shape: Shape<'_>) -> Fault {
    let what = match (shape, looks_like(text)) {
        (_, Some(_)) if style == Style::Quoted => "is quoted, so it is text",
        (Shape::Switch, _) => "is neither `true` nor `false`",
        (_, Some("a number")) => "is out of range or not a whole number",
        _ => "is not a number",
    };
    Fault::new(format!("{} {what}", quoted(text)), shape.asks_for())
}

fn unknown(key: &str, keys: Section<'_>) -> Fault {
    let names: Vec<&str> = keys.names().collect();
    let hint = if let Some(name) = closest(key, &names) {
        format!("did you mean `{name}`?")
    } else if let Some(place) = elsewhere(key, schema::policy(), "") {
        format!("move it to `{place}`")
    } else {
        format!("known keys: {}", listed(names))
    };
    Fault::new("is an unknown key", hint)
}

/// Returns the most similar name, ignoring case and dashes, or None if no name is similar.
pub(super) fn closest<'a>(key: &str, names: &[&'a str]) -> Option<&'a str> {
    let key = plain(key);
    let distance = |name: &str| strsim::damerau_levenshtein(&key, &plain(name));
    names
        .iter()
        .copied()
        .map(|name| (distance(name), name))
        .filter(|(far, _)| *far <= key.len() / 3)
        .min()
        .map(|(_, name)| name)
}

fn plain(key: &str) -> String {
    key.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Returns the path of a key with this name elsewhere in the policy.
fn elsewhere(key: &str, schema: &Json, path: &str) -> Option<String> {
    Shape::of(schema)
        .section()?
        .keys()
        .find_map(|(name, below_it)| {
            let place = below(path, name);
            if plain(name) == plain(key) {
                return Some(place);
            }
            if let Shape::List { of, .. } = Shape::of(below_it) {
                elsewhere(key, of, &format!("{place}[]"))
            } else {
                elsewhere(key, below_it, &place)
            }
        })
}
