//! Label and field selectors, as the API server parses them.
//!
//! eso-sync has another parser. This one is separate on purpose, so that tests can compare the two.

use serde_json::Value;

use super::{failure::Failure, object};

/// The selectors of a list or watch request.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    labels: Vec<Requirement>,
    field: Option<Field>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

#[derive(Clone, Debug)]
struct Field {
    pointer: &'static str,
    value: String,
}

impl Filter {
    /// Parses both selectors of a request.
    pub(super) fn parse(labels: &str, field: &str) -> Result<Self, Failure> {
        Ok(Self {
            labels: label_selector(labels)?,
            field: field_selector(field)?,
        })
    }

    /// True if there are no selectors, so that everything matches.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.field.is_none()
    }

    /// True if the object matches both selectors.
    pub(super) fn matches(&self, value: &Value) -> bool {
        self.labels
            .iter()
            .all(|requirement| requirement.matches(value))
            && self
                .field
                .as_ref()
                .is_none_or(|field| object::text(value, field.pointer) == field.value)
    }
}

impl Requirement {
    fn matches(&self, value: &Value) -> bool {
        let label = object::label(value, &self.key);
        match &self.test {
            Test::Exists => label.is_some(),
            Test::Absent => label.is_none(),
            Test::In(values) => {
                label.is_some_and(|label| values.iter().any(|value| value == label))
            }
            // An object without the label matches too, as in Kubernetes.
            Test::NotIn(values) => {
                !label.is_some_and(|label| values.iter().any(|value| value == label))
            }
        }
    }
}

/// True if the labels of `value` match a `LabelSelector` object (`matchLabels`, `matchExpressions`).
pub(super) fn matches_selector(selector: &Value, value: &Value) -> bool {
    let labels = object::texts(selector, "/matchLabels");
    let expressions = object::items(selector, "/matchExpressions")
        .iter()
        .map(|expression| {
            let values = || {
                let values = object::items(expression, "/values").iter();
                values
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            };
            let test = match object::text(expression, "/operator") {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "DoesNotExist" => Test::Absent,
                _ => Test::Exists,
            };
            Requirement {
                key: object::text(expression, "/key").to_owned(),
                test,
            }
        });
    labels
        .iter()
        .all(|(key, wanted)| object::label(value, key) == Some(wanted))
        && expressions
            .into_iter()
            .all(|requirement| requirement.matches(value))
}

fn label_selector(text: &str) -> Result<Vec<Requirement>, Failure> {
    let mut tokens = Tokens { rest: text };
    let mut requirements = Vec::new();
    while !tokens.is_at_end() {
        if !begins_requirement(tokens.peek()) {
            return Err(found(tokens.peek(), "!, identifier, or 'end of string'"));
        }
        requirements.push(requirement(&mut tokens)?);
        match tokens.next() {
            "" => {}
            "," if begins_requirement(tokens.peek()) => {}
            "," => return Err(found(tokens.peek(), "identifier after ','")),
            other => return Err(found(other, "',' or 'end of string'")),
        }
    }
    Ok(requirements)
}

fn begins_requirement(token: &str) -> bool {
    token == "!" || !(token.is_empty() || Tokens::SIGNS.contains(&token))
}

fn found(token: &str, expected: &str) -> Failure {
    Failure::bad_request(format!("found '{token}', expected: {expected}"))
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, Failure> {
    let negated = tokens.take("!");
    let key = tokens.identifier(true)?.to_owned();
    if negated {
        return Ok(Requirement {
            key,
            test: Test::Absent,
        });
    }
    let test = match tokens.peek() {
        "" | "," => Test::Exists,
        operator => {
            tokens.next();
            match operator {
                "=" | "==" => Test::In(vec![tokens.identifier(false)?.to_owned()]),
                "!=" => Test::NotIn(vec![tokens.identifier(false)?.to_owned()]),
                "in" => Test::In(values(tokens)?),
                "notin" => Test::NotIn(values(tokens)?),
                other => return Err(unreadable(other, "in, notin, =, ==, !=, gt, lt")),
            }
        }
    };
    Ok(Requirement { key, test })
}

fn values(tokens: &mut Tokens<'_>) -> Result<Vec<String>, Failure> {
    match tokens.next() {
        "(" => {}
        // The real server's message has no comma here either.
        other => {
            return Err(Failure::bad_request(format!(
                "unable to parse requirement: found '{other}' expected: '('"
            )));
        }
    }
    let mut values = Vec::new();
    loop {
        values.push(tokens.identifier(false)?.to_owned());
        match tokens.next() {
            "," => {}
            ")" => return Ok(values),
            other => return Err(unreadable(other, "',' or ')'")),
        }
    }
}

fn unreadable(found: &str, expected: &str) -> Failure {
    Failure::bad_request(format!(
        "unable to parse requirement: found '{found}', expected: {expected}"
    ))
}

/// The tokens of a label selector.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    const SIGNS: [&'static str; 7] = ["==", "!=", "!", "=", ",", "(", ")"];

    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        if let Some(sign) = Self::SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            return rest.get(..sign.len()).unwrap_or_default();
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || "!=,()".contains(c))
            .unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.rest = self
            .rest
            .trim_start()
            .get(token.len()..)
            .unwrap_or_default();
        token
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.peek() == sign;
        if found {
            self.next();
        }
        found
    }

    fn is_at_end(&self) -> bool {
        self.rest.trim_start().is_empty()
    }

    /// An identifier. A value may be empty, a key may not.
    fn identifier(&mut self, key: bool) -> Result<&'a str, Failure> {
        let token = self.peek();
        let sign = Self::SIGNS.contains(&token) || token.is_empty();
        if sign && !key && (token.is_empty() || token == "," || token == ")") {
            return Ok("");
        }
        if sign {
            return Err(unreadable(token, "identifier"));
        }
        Ok(self.next())
    }
}

/// Parses a field selector. Supports only the two that eso-sync sends.
fn field_selector(text: &str) -> Result<Option<Field>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let is_single = !value.contains(',');
    let pointer = match name {
        "metadata.name" if is_single => "/metadata/name",
        "involvedObject.kind" if is_single => "/involvedObject/kind",
        _ => {
            return Err(Failure::bad_request(format!(
                "field label not supported: {text}"
            )));
        }
    };
    Ok(Some(Field {
        pointer,
        value: value.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(labels: &str, field: &str) -> Filter {
        Filter::parse(labels, field).unwrap()
    }

    fn object() -> Value {
        json!({
            "metadata": {"name": "db", "namespace": "team-a", "labels": {"app": "db", "tier": "größe"}},
            "spec": {"secretStoreRef": {"name": "fake"}},
        })
    }

    #[test]
    fn labels_match_as_in_kubernetes() {
        for (selector, expected) in [
            ("", true),
            ("app=db", true),
            ("app==db", true),
            ("app=other", false),
            ("app!=other", true),
            ("missing!=x", true),
            ("app in (db, x),!z", true),
            ("app notin (db)", false),
            ("missing notin (db)", true),
            ("app", true),
            ("!app", false),
            ("tier=größe", true),
            ("missing=", false),
        ] {
            assert_eq!(
                filter(selector, "").matches(&object()),
                expected,
                "{selector}"
            );
        }
    }

    #[test]
    fn fields_match_as_in_kubernetes() {
        for (selector, expected) in [
            ("metadata.name=db", true),
            ("metadata.name=other", false),
            ("involvedObject.kind=ExternalSecret", false),
        ] {
            assert_eq!(
                filter("", selector).matches(&object()),
                expected,
                "{selector}"
            );
        }
    }

    #[test]
    fn invalid_selectors_are_bad_requests() {
        for (labels, field, message) in [
            (
                "a in b",
                "",
                "unable to parse requirement: found 'b' expected: '('",
            ),
            (
                "!!",
                "",
                "unable to parse requirement: found '!', expected: identifier",
            ),
            (
                "a b",
                "",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("", "status.x=y", "field label not supported: status.x=y"),
        ] {
            let failure = Filter::parse(labels, field).unwrap_err();
            assert_eq!((failure.code, &*failure.message), (400, message));
        }
    }
}
