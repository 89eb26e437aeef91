//! Label selectors with the syntax of `kubectl -l`. They are evaluated here because the entries of a policy are combined
//! with OR, which the Kubernetes API does not support.

use std::{collections::BTreeMap, fmt, str::FromStr};

use cluster::names::{is_label_key, is_label_value};

/// A comma-separated AND of requirements: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// Also true if the label is absent, as in Kubernetes.
    NotIn(Vec<String>),
}

/// The error for text that is not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a label selector ({why}); {}", Self::HINT)]
pub struct InvalidSelector {
    pub why: String,
}

impl InvalidSelector {
    /// Shows the correct form.
    pub const HINT: &str = "write it like `team=payments,tier!=test`";
}

impl Selector {
    /// True if the labels satisfy every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let requirements = split(text)
            .into_iter()
            .map(requirement)
            .collect::<Result<Vec<_>, _>>()?;
        if requirements.is_empty() {
            return Err(invalid("it is empty"));
        }
        Ok(Self {
            text: text.to_owned(),
            requirements,
        })
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_u32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text.trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

fn requirement(text: &str) -> Result<Requirement, InvalidSelector> {
    let text = text.trim();
    if let Some(key) = text.strip_prefix('!') {
        return build_requirement(key, Test::Absent);
    }
    if let Some((key, value)) = text.split_once("!=") {
        return build_requirement(key, Test::NotIn(vec![label_value(value)?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return build_requirement(key, Test::In(vec![label_value(value)?]));
    }
    if let Some((head, set)) = text.split_once('(') {
        let set = set
            .strip_suffix(')')
            .ok_or_else(|| invalid("a closing parenthesis is missing"))?;
        let values = set
            .split(',')
            .map(label_value)
            .collect::<Result<Vec<_>, _>>()?;
        return match *head.split_whitespace().collect::<Vec<_>>() {
            [key, "in"] => build_requirement(key, Test::In(values)),
            [key, "notin"] => build_requirement(key, Test::NotIn(values)),
            _ => Err(invalid("expected `in` or `notin` before `(`")),
        };
    }
    build_requirement(text, Test::Exists)
}

fn build_requirement(key: &str, test: Test) -> Result<Requirement, InvalidSelector> {
    let key = key.trim();
    if !is_label_key(key) {
        return Err(invalid(&format!("`{key}` is not a valid label key")));
    }
    Ok(Requirement {
        key: key.to_owned(),
        test,
    })
}

fn label_value(text: &str) -> Result<String, InvalidSelector> {
    let value = text.trim();
    if !is_label_value(value) {
        return Err(invalid(&format!("`{value}` is not a valid label value")));
    }
    Ok(value.to_owned())
}

fn invalid(why: &str) -> InvalidSelector {
    InvalidSelector {
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn matches_like_kubectl() {
        let web = labels(&[("app", "web"), ("tier", "prod"), ("example.com/team", "a")]);
        for (text, covered) in [
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier != test", true),
            ("app!=web", false),
            ("zone!=a", true),
            ("app in (web, api),tier", true),
            ("app notin (web)", false),
            ("zone notin (a)", true),
            ("!zone", true),
            ("!app", false),
            ("zone", false),
            ("example.com/team=a", true),
            ("app=", false),
        ] {
            let selector: Selector = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches(&web), covered, "{text}");
        }
    }

    #[test]
    fn rejects_what_kubectl_rejects() {
        for text in [
            "",
            " ",
            "a=b,,c=d",
            "=a",
            "a in b",
            "a in (b",
            "a of (b)",
            "a=b c",
            "a/=b",
            "/a=b",
            "a=ü",
            "-a",
            "a=b-",
            "A.com/a=b",
            "a/b/c",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
    }
}
