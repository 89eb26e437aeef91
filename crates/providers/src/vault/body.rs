//! Vault's answers, read without a copy of what is in them that nobody wipes.

use std::{collections::BTreeMap, time::Duration};

use eso_model::{
    expected::{Failure, why},
    gojson::{self, Node, NotJson, Shape},
};
use secret::Value;

use super::path::Version;
use crate::{Unread, unread};

/// What a secret's path holds.
pub(super) enum Secret {
    /// The text of the object of its data.
    Data(Value),
    /// Nothing, or a version that was deleted or destroyed.
    Absent,
    /// Something that the operator fails at.
    Fails(Failure),
}

/// The text of a secret's data in an answer of status 200, or 404: a deleted version is told of with the latter.
pub(super) fn secret(body: &[u8], found: bool, version: Version) -> Result<Secret, Unread> {
    let Some(document) = told(body, found)? else {
        return Ok(Secret::Absent);
    };
    let Some(data) = member(&document, "data") else {
        return Ok(match version {
            Version::V1 => Secret::Absent,
            Version::V2 => Secret::Fails(Failure::NoValue),
        });
    };
    let data = match (version, &data.shape) {
        (Version::V1, _) => data,
        (Version::V2, Shape::Object(_)) => match inner(data, "data") {
            Some(data) => data,
            None => return Ok(Secret::Fails(Failure::NoValue)),
        },
        (Version::V2, _) => return Err(unreadable()),
    };
    Ok(match (&data.shape, version) {
        (Shape::Object(_), _) => Secret::Data(Value::from(data.raw)),
        (Shape::Null, _) => Secret::Absent,
        (_, Version::V2) => Secret::Fails(Failure::NotAnObject),
        (_, Version::V1) => return Err(unreadable()),
    })
}

/// `custom_metadata`; nothing if there is no such secret.
pub(super) fn custom_metadata(
    body: &[u8],
    found: bool,
) -> Result<Option<BTreeMap<String, Value>>, Unread> {
    let Some(document) = told(body, found)? else {
        return Ok(None);
    };
    let tags = member(&document, "data").and_then(|data| member(data, "custom_metadata"));
    let Some(tags) = tags.and_then(Node::members) else {
        return Ok(Some(BTreeMap::new()));
    };
    tags.into_iter()
        .map(|(name, value)| match value.shape {
            Shape::String(text) => Ok((name, gojson::unquote(text))),
            Shape::Null | Shape::Bool | Shape::Number | Shape::Array(_) | Shape::Object(_) => {
                Err(unreadable())
            }
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The names in a folder, those of folders with a slash behind them; nothing if there is no such folder.
pub(super) fn names(body: &[u8], found: bool) -> Result<Option<Vec<String>>, Unread> {
    let Some(document) = told(body, found)? else {
        return Ok(None);
    };
    let keys = member(&document, "data").and_then(|data| member(data, "keys"));
    match keys.map(|keys| &keys.shape) {
        None => Ok(Some(Vec::new())),
        Some(Shape::Array(names)) => names
            .iter()
            .map(|name| text(name).ok_or_else(unreadable))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(unreadable()),
    }
}

/// A mount.
pub(super) struct Mount {
    /// Where, with a slash behind it.
    pub(super) path: String,
    /// The type of the engine.
    pub(super) kind: String,
}

/// What `sys/internal/ui/mounts/…` says.
pub(super) fn mount(body: &[u8]) -> Result<Mount, Unread> {
    let document = parse(body)?;
    let data = member(&document, "data").ok_or_else(unreadable)?;
    let field = |name| member(data, name).and_then(text).ok_or_else(unreadable);
    Ok(Mount {
        path: field("path")?,
        kind: field("type")?,
    })
}

/// A token, and how long it lives: without end if there is no time.
pub(super) fn token(body: &[u8]) -> Result<(Value, Option<Duration>), Unread> {
    let document = parse(body)?;
    let auth = member(&document, "auth").ok_or_else(unreadable)?;
    let token = match member(auth, "client_token").map(|token| &token.shape) {
        Some(Shape::String(token)) => gojson::unquote(token),
        _ => return Err(unreadable()),
    };
    let seconds = member(auth, "lease_duration")
        .and_then(|lease| std::str::from_utf8(lease.raw).ok()?.parse().ok())
        .filter(|seconds| *seconds > 0);
    Ok((token, seconds.map(Duration::from_secs)))
}

/// Errors that Vault words the same each time. They hold nothing but their own words; others are not repeated.
const KNOWN: &[&str] = &[
    "Vault is sealed",
    "permission denied",
    "invalid token",
    "missing client token",
    "invalid role or secret ID",
    "invalid secret id",
    "invalid role ID",
    "invalid username or password",
    "namespace not authorized",
    "service account name not authorized",
    "service account unauthorized",
    "namespace not found",
    "Field validation failed",
    "no handler for route",
    "unsupported path",
    "rate limit quota exceeded",
    "ldap operation failed",
    "invalid audience (aud) claim",
    "error validating token",
    "could not load configuration",
    "missing role",
];

/// The first of the known errors in an answer.
pub(super) fn known_error(body: &[u8]) -> Option<&'static str> {
    let body = std::str::from_utf8(body).ok()?;
    KNOWN.iter().copied().find(|known| body.contains(known))
}

/// The document of an answer; none if it says that there is nothing. A 404 with data or warnings in it counts as an answer.
fn told(body: &[u8], found: bool) -> Result<Option<Node<'_>>, Unread> {
    if !found && body.is_empty() {
        return Ok(None);
    }
    let document = parse(body)?;
    let says = |name| {
        member(&document, name).is_some_and(|it| match &it.shape {
            Shape::Object(members) => !members.is_empty(),
            Shape::Array(items) => !items.is_empty(),
            Shape::Null | Shape::Bool | Shape::Number | Shape::String(_) => false,
        })
    };
    let told = found || says("data") || says("warnings");
    Ok(told.then_some(document))
}

fn parse(body: &[u8]) -> Result<Node<'_>, Unread> {
    let document = gojson::parse(body).map_err(|error| match error {
        NotJson::Invalid => unreadable(),
        NotJson::TooDeep => Unread::secret(why::DEPTH, ""),
    })?;
    match document.shape {
        Shape::Object(_) => Ok(document),
        Shape::Null | Shape::Bool | Shape::Number | Shape::String(_) | Shape::Array(_) => {
            Err(unreadable())
        }
    }
}

/// A member that is there and not `null`.
fn member<'a>(node: &'a Node<'_>, name: &str) -> Option<&'a Node<'a>> {
    inner(node, name).filter(|member| !matches!(member.shape, Shape::Null))
}

/// A member that is there.
fn inner<'a>(node: &'a Node<'_>, name: &str) -> Option<&'a Node<'a>> {
    node.members()?.remove(name)
}

fn text(node: &Node<'_>) -> Option<String> {
    match node.shape {
        Shape::String(text) => String::from_utf8(gojson::unquote(text).expose().to_vec()).ok(),
        Shape::Null | Shape::Bool | Shape::Number | Shape::Array(_) | Shape::Object(_) => None,
    }
}

fn unreadable() -> Unread {
    Unread::secret(unread::UNREADABLE, "this is no answer of Vault's")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str, found: bool, version: Version) -> String {
        match secret(body.as_bytes(), found, version) {
            Ok(Secret::Data(text)) => String::from_utf8(text.expose().to_vec()).unwrap(),
            Ok(Secret::Absent) => "absent".to_owned(),
            Ok(Secret::Fails(failure)) => failure.as_str().to_owned(),
            Err(unread) => unread.why.reason.to_owned(),
        }
    }

    #[test]
    fn data_is_taken_as_it_is_written() {
        let body = r#"{"data":{"data":{"n": 1.50,"big":12345678901234567890},"metadata":{}}}"#;
        assert_eq!(
            of(body, true, Version::V2),
            r#"{"n": 1.50,"big":12345678901234567890}"#
        );
        assert_eq!(
            of(r#"{"data":{"data":1}}"#, true, Version::V1),
            r#"{"data":1}"#
        );
    }

    #[test]
    fn what_is_deleted_is_absent_and_what_makes_no_sense_is_not() {
        let deleted = r#"{"data":{"data":null,"metadata":{"deletion_time":"x"}}}"#;
        assert_eq!(of(deleted, false, Version::V2), "absent");
        assert_eq!(of(r#"{"errors":[]}"#, false, Version::V2), "absent");
        assert_eq!(of("", false, Version::V1), "absent");
        assert_eq!(of(r#"{"data":null}"#, true, Version::V1), "absent");
        assert_eq!(of(r#"{"data":{"keys":1}}"#, true, Version::V2), "no-value");
        assert_eq!(
            of(r#"{"data":{"data":"x"}}"#, true, Version::V2),
            "not-an-object"
        );
        assert_eq!(of("<html>", true, Version::V2), "unreadable");
        assert_eq!(of(r#"{"data":[1]}"#, true, Version::V1), "unreadable");
    }

    /// A store that says v1 of a mount that is v2: the operator takes the warning for an empty secret.
    #[test]
    fn a_404_with_a_warning_is_read_as_the_operator_reads_it() {
        let warning =
            r#"{"data":null,"warnings":["Invalid path for a versioned K/V secrets engine."]}"#;
        assert_eq!(of(warning, false, Version::V1), "absent");
        assert_eq!(of(warning, false, Version::V2), "no-value");
    }

    #[test]
    fn an_error_that_is_not_known_is_not_repeated() {
        assert_eq!(
            known_error(br#"{"errors":["1 error: * permission denied"]}"#),
            Some("permission denied")
        );
        assert_eq!(
            known_error(br#"{"errors":["invalid character 'w'"]}"#),
            None
        );
    }
}
