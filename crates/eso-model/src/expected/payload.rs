//! The operator's `GetSecret` and `GetSecretMap` for each provider, applied to the answer of the provider's API.

use std::collections::BTreeMap;

use secret::Value;

use super::{
    answer::{Provider, Raw},
    json::{MARSHAL, both, check_floats, parse, path, strings, strings_or_null},
    keys::Keys,
    kubernetes,
    spec::{MetadataPolicy, RemoteRef},
    verdict::{Failure, NotComputable, why},
};
use crate::gojson::{self, Node, Numbers, Shape};

/// `GetSecret`.
pub(super) fn get_secret(
    provider: Provider,
    raw: &Raw,
    remote: &RemoteRef,
) -> Result<Value, NotComputable> {
    if provider == Provider::Kubernetes {
        return kubernetes::get_secret(raw, remote);
    }
    if remote.metadata_policy == MetadataPolicy::Fetch && provider != Provider::Fake {
        return metadata(provider, raw, remote);
    }
    check_azure_kind(provider, remote)?;
    let whole = whole(provider, raw)?;
    if remote.property.is_empty() {
        return Ok(whole);
    }
    property(provider, whole.expose(), &remote.property)
}

/// `GetSecretMap`.
pub(super) fn get_secret_map(
    provider: Provider,
    raw: &Raw,
    remote: &RemoteRef,
) -> Result<Keys, NotComputable> {
    let fetch = remote.metadata_policy == MetadataPolicy::Fetch;
    if provider == Provider::Kubernetes {
        return kubernetes::get_secret_map(raw, remote);
    }
    if provider == Provider::AzureKeyVault && azure_kind(&remote.key).is_some() {
        return Err(Failure::Refused.into());
    }
    if fetch && matches!(provider, Provider::AzureKeyVault | Provider::Vault) {
        return Err(NotComputable::unverifiable(why::METADATA));
    }
    let value = get_secret(provider, raw, remote)?;
    let document = parse(value.expose())?;
    let members = document.members().ok_or(Failure::NotAnObject)?;
    if provider == Provider::Vault {
        check_floats(&document)?;
    }
    Ok(members
        .into_iter()
        .map(|(key, node)| {
            let value = if provider == Provider::Vault {
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

/// Returns the whole value.
pub(super) fn whole(provider: Provider, raw: &Raw) -> Result<Value, NotComputable> {
    match (provider, raw) {
        (Provider::Vault, Raw::Json(text)) => {
            let document = parse(text.expose())?;
            match document.shape {
                Shape::Null => Err(Failure::NotFound.into()),
                Shape::Object(_) => Ok(gojson::encode(&document, MARSHAL)),
                Shape::Bool | Shape::Number | Shape::String(_) | Shape::Array(_) => {
                    Err(Failure::NotAnObject.into())
                }
            }
        }
        (Provider::Kubernetes, Raw::Keys(keys)) => Ok(strings(keys, false)),
        // The operator cannot distinguish an empty payload from a missing one.
        (Provider::GcpSecretManager, Raw::Bytes(value)) if value.expose().is_empty() => {
            Err(Failure::NoValue.into())
        }
        (provider, Raw::Bytes(value))
            if !matches!(provider, Provider::Vault | Provider::Kubernetes) =>
        {
            Ok(value.duplicate())
        }
        _ => Err(NotComputable::unverifiable(why::PROVIDER)),
    }
}

/// Returns a property of the value. Depending on the provider, a key with the exact name or the path has priority.
fn property(provider: Provider, text: &[u8], property: &str) -> Result<Value, NotComputable> {
    let escaped = property.replace('.', r"\.");
    let dotted = property.contains('.');
    let found = match provider {
        Provider::Vault => match literal(text, property)? {
            Some(value) => Some(value),
            None => path(text, property)?,
        },
        Provider::AzureKeyVault => match path(text, property)? {
            None if dotted => path(text, &escaped)?,
            found => found,
        },
        Provider::Fake => return path(text, property)?.ok_or_else(|| Failure::NotFound.into()),
        Provider::AwsSecretsManager
        | Provider::AwsParameterStore
        | Provider::GcpSecretManager
        | Provider::Kubernetes => {
            let mut literal_first = dotted;
            if provider == Provider::GcpSecretManager {
                parse(text)?;
                literal_first &= !property.starts_with('.');
            }
            match if literal_first {
                path(text, &escaped)?
            } else {
                None
            } {
                Some(value) => Some(value),
                None => path(text, property)?,
            }
        }
    };
    found.ok_or_else(|| Failure::NoProperty.into())
}

/// Returns the member with exactly this name. Numbers keep their notation.
fn literal(text: &[u8], property: &str) -> Result<Option<Value>, NotComputable> {
    let document = parse(text)?;
    let members = document.members().ok_or(Failure::NotAnObject)?;
    Ok(members
        .get(property)
        .map(|node| gojson::byte_value(node, Numbers::Verbatim)))
}

/// Returns the prefix of the key that selects a kind of Azure object (`key/…`, `cert/…`, or an unsupported one), unless
/// it is `secret/`.
fn azure_kind(key: &str) -> Option<&str> {
    let (kind, _) = key.split_once('/')?;
    (kind != "secret").then_some(kind)
}

fn check_azure_kind(provider: Provider, remote: &RemoteRef) -> Result<(), NotComputable> {
    match azure_kind(&remote.key) {
        Some("key" | "cert") if provider == Provider::AzureKeyVault => {
            Err(NotComputable::unverifiable(why::KIND))
        }
        Some(_) if provider == Provider::AzureKeyVault => Err(Failure::Refused.into()),
        _ => Ok(()),
    }
}

/// `metadataPolicy: Fetch`.
fn metadata(provider: Provider, raw: &Raw, remote: &RemoteRef) -> Result<Value, NotComputable> {
    match (provider, raw) {
        (Provider::AwsSecretsManager | Provider::AwsParameterStore, Raw::Tags(tags)) => {
            let text = strings(tags, true);
            if remote.property.is_empty() {
                return Ok(text);
            }
            property(provider, text.expose(), &remote.property)
        }
        // Later versions of the operator add their own entries, so only existing tags are certain.
        (Provider::AzureKeyVault | Provider::Vault, Raw::Tags(tags)) => tags
            .get(&remote.property)
            .map(Value::duplicate)
            .ok_or_else(|| NotComputable::unverifiable(why::METADATA)),
        (
            Provider::GcpSecretManager,
            Raw::Metadata {
                labels,
                annotations,
            },
        ) => gcp_metadata(labels, annotations, &remote.property),
        _ => Err(NotComputable::unverifiable(why::PROVIDER)),
    }
}

fn gcp_metadata(
    labels: &BTreeMap<String, Value>,
    annotations: &BTreeMap<String, Value>,
    property: &str,
) -> Result<Value, NotComputable> {
    for (prefix, entries) in [("annotations.", annotations), ("labels.", labels)] {
        if let Some(name) = property
            .strip_prefix(prefix)
            .filter(|name| !name.is_empty())
        {
            let value = entries.get(name).ok_or(Failure::NoProperty)?;
            return Ok(value.duplicate());
        }
    }
    match property {
        "" => Ok(both(labels, annotations, true)),
        "annotations" => Ok(strings_or_null(annotations, true)),
        "labels" => Ok(strings_or_null(labels, true)),
        _ => Err(Failure::NoProperty.into()),
    }
}
