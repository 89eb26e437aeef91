//! The operator's `GetSecret` and `GetSecretMap` for each provider, applied to the answer of the provider's API.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    answer::Raw,
    json::{MARSHAL, both, check_floats, members, not_json, parse, path, strings, strings_or_null},
    keys::Keys,
    kubernetes,
    spec::{MetadataPolicy, RemoteRef},
    verdict::{Failure, NotComputable, why},
    work::Work,
};
use crate::{
    gojson::{self, Node, Numbers, Shape},
    provider::{Metadata, Payload, Property, ProviderKind, Rules},
};

/// `GetSecret`.
pub(super) fn get_secret<'s>(
    provider: &ProviderKind,
    raw: &'s Raw,
    remote: &RemoteRef,
    work: &Work<'s>,
) -> Result<Value, NotComputable> {
    let rules = provider.rules();
    if rules.payload == Payload::Keys {
        return kubernetes::get_secret(raw, remote, work);
    }
    if remote.metadata_policy == MetadataPolicy::Fetch && rules.metadata != Metadata::Ignored {
        return metadata(rules, raw, remote, work);
    }
    if rules.keys_have_kinds {
        check_kind(remote)?;
    }
    let text = text(rules, raw, work)?;
    if remote.property.is_empty() {
        return Ok(work.copy(text)?);
    }
    property(rules, text, &remote.property, work)
}

/// `GetSecretMap`.
pub(super) fn get_secret_map<'s>(
    provider: &ProviderKind,
    raw: &'s Raw,
    remote: &RemoteRef,
    work: &Work<'s>,
) -> Result<Keys, NotComputable> {
    let rules = provider.rules();
    let fetch = remote.metadata_policy == MetadataPolicy::Fetch;
    if rules.payload == Payload::Keys {
        return kubernetes::get_secret_map(raw, remote, work);
    }
    if rules.keys_have_kinds && kind(&remote.key).is_some() {
        return Err(Failure::Refused.into());
    }
    if fetch && rules.metadata == Metadata::IncompleteTags {
        return Err(NotComputable::unverifiable(why::METADATA));
    }
    let value = get_secret(provider, raw, remote, work)?;
    let document = parse(value.expose(), work.budget)?;
    let members = members(&document, work.budget)?;
    work.charge_json(document.raw.len())?;
    if rules.payload == Payload::Json {
        check_floats(&document)?;
    }
    Ok(members
        .into_iter()
        .map(|(key, node)| {
            let value = if rules.payload == Payload::Json {
                gojson::byte_value(node, Numbers::Float64)
            } else {
                as_written(node)
            };
            (key, value)
        })
        .collect())
}

/// Strings without quotes, nothing for `null`, and anything else unchanged from the document.
fn as_written(node: &Node<'_>) -> Value {
    match node.shape {
        Shape::Array(_) | Shape::Object(_) => Value::from(node.raw),
        Shape::Null | Shape::Bool | Shape::Number | Shape::String(_) => {
            gojson::byte_value(node, Numbers::Verbatim)
        }
    }
}

/// Returns the whole value of an answer.
fn text<'s>(rules: Rules, raw: &'s Raw, work: &Work<'s>) -> Result<&'s [u8], NotComputable> {
    match (rules.payload, raw) {
        // The operator cannot distinguish an empty payload from a missing one.
        (Payload::Bytes, Raw::Bytes(value))
            if rules.empty_is_missing && value.expose().is_empty() =>
        {
            Err(Failure::NoValue.into())
        }
        (Payload::Bytes, Raw::Bytes(value)) => Ok(value.expose()),
        _ => work.text(raw, || whole(rules, raw, work)),
    }
}

/// Returns a copy of the whole value.
pub(super) fn whole(rules: Rules, raw: &Raw, work: &Work<'_>) -> Result<Value, NotComputable> {
    match (rules.payload, raw) {
        (Payload::Json, Raw::Json(text)) => {
            let document = parse(text.expose(), work.budget)?;
            match document.shape {
                Shape::Null => Err(Failure::NotFound.into()),
                Shape::Object(_) => {
                    work.charge_json(text.expose().len())?;
                    Ok(gojson::encode(&document, MARSHAL))
                }
                Shape::Bool | Shape::Number | Shape::String(_) | Shape::Array(_) => {
                    Err(Failure::NotAnObject.into())
                }
            }
        }
        (Payload::Keys, Raw::Keys(keys)) => Ok(strings(keys, false, work)?),
        // The operator cannot distinguish an empty payload from a missing one.
        (Payload::Bytes, Raw::Bytes(value))
            if rules.empty_is_missing && value.expose().is_empty() =>
        {
            Err(Failure::NoValue.into())
        }
        (Payload::Bytes, Raw::Bytes(value)) => Ok(work.copy(value.expose())?),
        _ => Err(NotComputable::unverifiable(why::PROVIDER)),
    }
}

/// Returns a property of the value. Depending on the provider, a key with the exact name or the path has priority.
fn property<'s>(
    rules: Rules,
    text: &'s [u8],
    property: &str,
    work: &Work<'s>,
) -> Result<Value, NotComputable> {
    let escaped = property.replace('.', r"\.");
    let dotted = property.contains('.');
    let escaped_first = |first: bool| match first.then(|| path(text, &escaped, work)).transpose()? {
        Some(Some(value)) => Ok(Some(value)),
        None | Some(None) => path(text, property, work),
    };
    let found = match rules.property {
        Property::MemberThenPath => match literal(text, property, work)? {
            Some(value) => Some(value),
            None => path(text, property, work)?,
        },
        Property::PathThenEscaped => match path(text, property, work)? {
            None if dotted => path(text, &escaped, work)?,
            found => found,
        },
        Property::PathOrAbsent => {
            return path(text, property, work)?.ok_or_else(|| Failure::NotFound.into());
        }
        Property::EscapedThenPath => escaped_first(dotted)?,
        Property::EscapedThenPathOfJson => {
            work.document(text)?.node().map_err(not_json)?;
            escaped_first(dotted && !property.starts_with('.'))?
        }
    };
    found.ok_or_else(|| Failure::NoProperty.into())
}

/// Returns the member with exactly this name. Numbers keep their notation.
fn literal<'s>(
    text: &'s [u8],
    property: &str,
    work: &Work<'s>,
) -> Result<Option<Value>, NotComputable> {
    let document = work.document(text)?;
    let node = document.node().map_err(not_json)?;
    let Some(found) = document.last_member(property, work.budget)? else {
        return match node.shape {
            Shape::Object(_) | Shape::Null => Ok(None),
            Shape::Bool | Shape::Number | Shape::String(_) | Shape::Array(_) => {
                Err(Failure::NotAnObject.into())
            }
        };
    };
    work.charge_json(found.raw.len())?;
    Ok(Some(gojson::byte_value(found, Numbers::Verbatim)))
}

/// Returns the prefix of the key that selects a kind of Azure object (`key/…`, `cert/…`, or an unsupported one), unless
/// it is `secret/`.
fn kind(key: &str) -> Option<&str> {
    let (kind, _) = key.split_once('/')?;
    (kind != "secret").then_some(kind)
}

fn check_kind(remote: &RemoteRef) -> Result<(), NotComputable> {
    match kind(&remote.key) {
        Some("key" | "cert") => Err(NotComputable::unverifiable(why::KIND)),
        Some(_) => Err(Failure::Refused.into()),
        None => Ok(()),
    }
}

/// `metadataPolicy: Fetch`.
fn metadata<'s>(
    rules: Rules,
    raw: &'s Raw,
    remote: &RemoteRef,
    work: &Work<'s>,
) -> Result<Value, NotComputable> {
    match (rules.metadata, raw) {
        (Metadata::Tags, Raw::Tags(tags)) => {
            let text = work.text(raw, || Ok(strings(tags, true, work)?))?;
            if remote.property.is_empty() {
                return Ok(work.copy(text)?);
            }
            property(rules, text, &remote.property, work)
        }
        // Later versions of the operator add their own entries, so only existing tags are certain.
        (Metadata::IncompleteTags, Raw::Tags(tags)) => tags
            .get(&remote.property)
            .map(Value::duplicate)
            .ok_or_else(|| NotComputable::unverifiable(why::METADATA)),
        (
            Metadata::LabelsAndAnnotations,
            Raw::Metadata {
                labels,
                annotations,
            },
        ) => gcp_metadata(labels, annotations, &remote.property, work),
        _ => Err(NotComputable::unverifiable(why::PROVIDER)),
    }
}

fn gcp_metadata(
    labels: &BTreeMap<String, Value>,
    annotations: &BTreeMap<String, Value>,
    property: &str,
    work: &Work<'_>,
) -> Result<Value, NotComputable> {
    for (prefix, entries) in [("annotations.", annotations), ("labels.", labels)] {
        if let Some(name) = property
            .strip_prefix(prefix)
            .filter(|name| !name.is_empty())
        {
            let value = entries.get(name).ok_or(Failure::NoProperty)?;
            return Ok(work.copy(value.expose())?);
        }
    }
    match property {
        "" => Ok(both(labels, annotations, true, work)?),
        "annotations" => Ok(strings_or_null(annotations, true, work)?),
        "labels" => Ok(strings_or_null(labels, true, work)?),
        _ => Err(Failure::NoProperty.into()),
    }
}
