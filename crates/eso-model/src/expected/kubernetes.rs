//! The operator's Kubernetes provider, whose secrets are maps of keys.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secret::{Buffer, Value};
use zeroize::Zeroizing;

use super::{
    answer::Raw,
    decode,
    json::{both, check_floats, members, parse, path, strings, strings_or_null},
    keys::Keys,
    spec::{MetadataPolicy, RemoteRef},
    verdict::{Failure, NotComputable, why},
    work::Work,
};
use crate::gojson::{self, Numbers, Style};

/// `GetSecret`.
pub(super) fn get_secret<'s>(
    raw: &'s Raw,
    remote: &RemoteRef,
    work: &Work<'s>,
) -> Result<Value, NotComputable> {
    match (raw, remote.metadata_policy) {
        (Raw::Keys(keys), MetadataPolicy::None) if remote.property.is_empty() => {
            Ok(strings(keys, false, work)?)
        }
        (Raw::Keys(keys), MetadataPolicy::None) => of_data(keys, &remote.property, work),
        (
            Raw::Metadata {
                labels,
                annotations,
            },
            MetadataPolicy::Fetch,
        ) => of_metadata(labels, annotations, &remote.property, work),
        _ => Err(NotComputable::unverifiable(why::PROVIDER)),
    }
}

/// Returns the key with this name, or evaluates the part after the first dot as a path in the key before it.
fn of_data<'s>(keys: &'s Keys, property: &str, work: &Work<'s>) -> Result<Value, NotComputable> {
    work.budget.step(1)?;
    if let Some(value) = keys.get(property) {
        return Ok(work.copy(value.expose())?);
    }
    let (key, rest) = property.split_once('.').ok_or(Failure::NoProperty)?;
    if key.is_empty() || rest.is_empty() {
        return Err(Failure::NoProperty.into());
    }
    let value = keys.get(key).ok_or(Failure::NoProperty)?;
    path(value.expose(), rest, work)?.ok_or_else(|| Failure::NoProperty.into())
}

fn of_metadata<'s>(
    labels: &'s BTreeMap<String, Value>,
    annotations: &'s BTreeMap<String, Value>,
    property: &str,
    work: &Work<'s>,
) -> Result<Value, NotComputable> {
    if property.is_empty() {
        return Ok(both(labels, annotations, false, work)?);
    }
    let mut parts = property.split('.');
    let entries = match parts.next() {
        Some("labels") => labels,
        Some("annotations") => annotations,
        _ => return Err(Failure::NoProperty.into()),
    };
    let Some(name) = parts.next() else {
        return Ok(strings_or_null(entries, false, work)?);
    };
    let value = entries.get(name).ok_or(Failure::NoProperty)?;
    let rest: Vec<&str> = parts.collect();
    if rest.is_empty() {
        return Ok(work.copy(value.expose())?);
    }
    // The operator joins the remaining parts without dots.
    path(value.expose(), &rest.concat(), work)?.ok_or_else(|| Failure::NoProperty.into())
}

/// `GetSecretMap`.
pub(super) fn get_secret_map<'s>(
    raw: &'s Raw,
    remote: &RemoteRef,
    work: &Work<'s>,
) -> Result<Keys, NotComputable> {
    let metadata;
    let keys = match (raw, remote.metadata_policy) {
        (Raw::Keys(keys), MetadataPolicy::None) => keys,
        (
            Raw::Metadata {
                labels,
                annotations,
            },
            MetadataPolicy::Fetch,
        ) => {
            metadata = Keys::from([
                ("labels".to_owned(), strings_or_null(labels, false, work)?),
                (
                    "annotations".to_owned(),
                    strings_or_null(annotations, false, work)?,
                ),
            ]);
            &metadata
        }
        _ => return Err(NotComputable::unverifiable(why::PROVIDER)),
    };
    if remote.property.is_empty() {
        work.charge_keys(keys)?;
        return Ok(keys
            .iter()
            .map(|(key, value)| (key.clone(), value.duplicate()))
            .collect());
    }
    let text = work.text(raw, || in_base64(keys, work))?;
    of_property(text, &remote.property, work)
}

/// Returns the members of the JSON object in a key, as JSON, so strings keep their quotes. The path is evaluated on the
/// whole Secret as JSON with base64 values.
fn of_property<'s>(
    secret: &'s [u8],
    property: &str,
    work: &Work<'s>,
) -> Result<Keys, NotComputable> {
    let escaped = property.replace('.', r"\.");
    let literal = if property.contains('.') {
        path(secret, &escaped, work)?
    } else {
        None
    };
    let value = match literal {
        Some(value) => value,
        None => path(secret, property, work)?.ok_or(Failure::NoProperty)?,
    };
    work.budget.write(2 * value.expose().len())?;
    let text = decode::standard(value.expose()).ok_or(Failure::Decoding)?;
    let document = parse(text.expose(), work.budget)?;
    let members = members(&document, work.budget)?;
    work.charge_json(document.raw.len())?;
    check_floats(&document)?;
    let style = Style {
        numbers: Numbers::Float64,
        html: false,
    };
    Ok(members
        .into_iter()
        .map(|(key, node)| (key, gojson::encode(node, style)))
        .collect())
}

fn in_base64(keys: &Keys, work: &Work<'_>) -> Result<Value, NotComputable> {
    // Base64 makes four bytes of three.
    work.charge_keys(keys)?;
    work.charge_keys(keys)?;
    let mut out = Buffer::default();
    out.push(b"{");
    for (index, (key, value)) in keys.iter().enumerate() {
        if index > 0 {
            out.push(b",");
        }
        let encoded = Zeroizing::new(STANDARD.encode(value.expose()));
        out.push(gojson::quoted(key, false).expose());
        out.push(b":\"");
        out.push(encoded.as_bytes());
        out.push(b"\"");
    }
    out.push(b"}");
    Ok(out.finish())
}
