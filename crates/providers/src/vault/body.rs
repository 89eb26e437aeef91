//! Parses Vault's answers without making copies of secret data that are not wiped.

use std::{collections::BTreeMap, time::Duration};

use eso_model::{
    budget::Budget,
    expected::{Failure, why},
    gojson::{self, Node, NotJson, Shape},
};
use secret::Value;

use super::path::Version;
use crate::{Unread, unread};

/// The content of a secret's path.
pub(super) enum Secret {
    /// The JSON text of the data object.
    Data(Value),
    /// No secret.
    Absent,
    /// The operator fails on it, or the version is deleted or destroyed.
    Fails(Failure),
}

/// The JSON text of a secret's data. `found` is false for status 404, which Vault also uses for deleted versions.
pub(super) fn secret(body: &[u8], found: bool, version: Version) -> Result<Secret, Unread> {
    let Some(document) = found_document(body, found)? else {
        return Ok(Secret::Absent);
    };
    let Some(data) = member(&document, "data") else {
        return Ok(match version {
            Version::V1 => Secret::Absent,
            Version::V2 => Secret::Fails(Failure::NoValue),
        });
    };
    let gone = || match member(data, "metadata").and_then(|of| member(of, "destroyed")) {
        Some(Node { raw: b"true", .. }) => Failure::DestroyedAsAbsent,
        _ => Failure::VersionDeleted,
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
        (Shape::Null, Version::V2) => Secret::Fails(gone()),
        (Shape::Null, Version::V1) => Secret::Absent,
        (_, Version::V2) => Secret::Fails(Failure::NotAnObject),
        (_, Version::V1) => return Err(unreadable()),
    })
}

/// The `custom_metadata` of a secret, or None if the secret does not exist.
pub(super) fn custom_metadata(
    body: &[u8],
    found: bool,
) -> Result<Option<BTreeMap<String, Value>>, Unread> {
    let Some(document) = found_document(body, found)? else {
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

/// The names in a folder, with a trailing slash for subfolders. None if the folder does not exist.
pub(super) fn names(body: &[u8], found: bool) -> Result<Option<Vec<String>>, Unread> {
    let Some(document) = found_document(body, found)? else {
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

pub(super) struct Mount {
    /// The path, with a trailing slash.
    pub(super) path: String,
    /// The type of the secrets engine.
    pub(super) kind: String,
    /// The version of a KV engine.
    pub(super) version: Version,
}

/// Parses the answer of `sys/internal/ui/mounts/…`.
pub(super) fn mount(body: &[u8]) -> Result<Mount, Unread> {
    let document = parse(body)?;
    let data = member(&document, "data").ok_or_else(unreadable)?;
    let field = |name| member(data, name).and_then(text).ok_or_else(unreadable);
    let options = member(data, "options");
    let version = options.and_then(|options| member(options, "version").and_then(text));
    Ok(Mount {
        path: field("path")?,
        kind: field("type")?,
        // A mount without the option is version 1.
        version: if version.as_deref() == Some("2") {
            Version::V2
        } else {
            Version::V1
        },
    })
}

/// The token and its lifetime. Without a lifetime it does not expire.
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

/// The error of a write in place of another version than the current one.
pub(super) const CAS_MISMATCH: &str = "check-and-set parameter did not match the current version";

/// Fixed error texts of Vault, which contain no data. Other texts are not repeated.
const KNOWN: &[&str] = &[
    CAS_MISMATCH,
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

/// The first known error text in an answer.
pub(super) fn known_error(body: &[u8]) -> Option<&'static str> {
    let body = std::str::from_utf8(body).ok()?;
    KNOWN.iter().copied().find(|known| body.contains(known))
}

/// The JSON document of an answer, or None if nothing was found. A 404 that contains data or warnings counts as found.
fn found_document(body: &[u8], found: bool) -> Result<Option<Node<'_>>, Unread> {
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
    let found_document = found || says("data") || says("warnings");
    Ok(found_document.then_some(document))
}

fn parse(body: &[u8]) -> Result<Node<'_>, Unread> {
    let document = gojson::parse_within(body, &Budget::default()).map_err(|error| match error {
        NotJson::Invalid => unreadable(),
        NotJson::TooDeep => Unread::secret(why::DEPTH, ""),
        NotJson::TooCostly(error) => Unread::secret(why::TOO_COSTLY, error.to_string()),
    })?;
    match document.shape {
        Shape::Object(_) => Ok(document),
        Shape::Null | Shape::Bool | Shape::Number | Shape::String(_) | Shape::Array(_) => {
            Err(unreadable())
        }
    }
}

/// A member that is not `null`.
fn member<'a>(node: &'a Node<'_>, name: &str) -> Option<&'a Node<'a>> {
    inner(node, name).filter(|member| !matches!(member.shape, Shape::Null))
}

/// A member, possibly `null`.
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
    Unread::secret(unread::UNREADABLE, "this is not an answer of Vault")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str, found: bool, version: Version) -> String {
        match secret(body.as_bytes(), found, version) {
            Ok(Secret::Data(text)) => String::from_utf8(text.expose().to_vec()).unwrap(),
            Ok(Secret::Absent) => "absent".to_owned(),
            Ok(Secret::Fails(failure)) => failure.into_str().to_owned(),
            Err(unread) => unread.why.reason.to_owned(),
        }
    }

    #[test]
    fn data_keeps_its_exact_text() {
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
    fn deleted_secret_is_absent_and_invalid_answer_is_unreadable() {
        let deleted = r#"{"data":{"data":null,"metadata":{"deletion_time":"x"}}}"#;
        assert_eq!(of(deleted, false, Version::V2), "version-deleted");
        let destroyed = r#"{"data":{"data":null,"metadata":{"destroyed":true}}}"#;
        assert_eq!(of(destroyed, false, Version::V2), "version-destroyed");
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

    /// If the store says v1 and the mount is v2, Vault returns a warning, which the operator treats as an empty secret.
    #[test]
    fn not_found_with_a_warning_is_an_empty_secret() {
        let warning =
            r#"{"data":null,"warnings":["Invalid path for a versioned K/V secrets engine."]}"#;
        assert_eq!(of(warning, false, Version::V1), "absent");
        assert_eq!(of(warning, false, Version::V2), "no-value");
    }

    #[test]
    fn unknown_error_text_is_not_repeated() {
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
