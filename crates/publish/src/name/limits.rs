//! Which values a provider accepts.

use eso_model::{ProviderKind, provider::NameRules};

use super::{Problem, Unpublishable};
use crate::target::{Store, Wanted};

/// The maximum size of a parameter of the standard tier, in bytes.
pub const MAX_PARAMETER: usize = 4 << 10;
/// The maximum size of a parameter of the advanced tier, in bytes.
const MAX_ADVANCED: usize = 8 << 10;

struct Limits {
    bytes: usize,
    is_text: bool,
    allows_empty: bool,
}

fn limits(store: &Store) -> Option<Limits> {
    let (bytes, is_text, allows_empty) = match store.provider.facts().publishing?.names {
        NameRules::SecretsManager => (64 << 10, false, false),
        NameRules::ParameterStore if store.advanced => (MAX_ADVANCED, true, false),
        NameRules::ParameterStore => (MAX_PARAMETER, true, false),
        NameRules::KeyVault => (25 << 10, true, true),
        NameRules::GcpSecretManager => (64 << 10, false, true),
        // What Vault's own storage accepts, with room for the JSON around it.
        NameRules::VaultKv => (1000 << 10, true, true),
    };
    Some(Limits {
        bytes,
        is_text,
        allows_empty,
    })
}

/// True if the provider stores empty values.
pub fn accepts_empty(store: &Store) -> bool {
    limits(store).is_none_or(|limits| limits.allows_empty)
}

/// Checks the values with one remote key: a single value, or the members of a document.
pub(super) fn check(entries: &[&Wanted], problems: &mut Vec<Problem>) {
    for entry in entries {
        if let Some((reason, message)) = value_problem(entry) {
            problems.push(Problem {
                origin: entry.origin.clone(),
                other: None,
                reason,
                message: message.into(),
            });
        }
    }
    let members = entries
        .iter()
        .filter(|entry| entry.target.property.is_some());
    let size: usize = 2 + members
        .clone()
        .map(|entry| member_size(entry))
        .sum::<usize>();
    let limit = entries
        .first()
        .and_then(|entry| limits(&entry.target.store));
    if limit.is_some_and(|limit| size > limit.bytes) {
        problems.extend(members.map(|entry| Problem {
            origin: entry.origin.clone(),
            other: None,
            reason: Unpublishable::ValueTooLarge,
            message: "the document with this key is larger than the provider accepts; use `layout: per-key`, or divide the item".into(),
        }));
    }
}

fn value_problem(entry: &Wanted) -> Option<(Unpublishable, String)> {
    let provider = &entry.target.store.provider;
    let value = entry.value.expose();
    let Some(limits) = limits(&entry.target.store) else {
        return Some((
            Unpublishable::UnsupportedProvider,
            "nothing can be published to this provider; use AWS, Azure, GCP or Vault".to_owned(),
        ));
    };
    let is_member = entry.target.property.is_some();
    if value.len() > limits.bytes {
        let message = format!(
            "the value has more than {} bytes, the provider's limit",
            limits.bytes
        );
        return Some((Unpublishable::ValueTooLarge, message));
    }
    if (limits.is_text || is_member) && std::str::from_utf8(value).is_err() {
        let message = if is_member {
            "the value is not UTF-8 text, and a document is JSON; encode it as base64, or use `layout: per-key`"
        } else {
            "the value is not UTF-8 text, and the provider stores only text; encode it as base64"
        };
        return Some((Unpublishable::ValueNotText, message.to_owned()));
    }
    if value.is_empty() && !is_member && !limits.allows_empty {
        let message = "the value is empty, which the provider refuses";
        return Some((Unpublishable::InvalidValue, message.to_owned()));
    }
    let refers = || value.windows(6).any(|part| part == b"{{ssm:");
    if *provider == ProviderKind::ParameterStore && refers() {
        let message = "the value contains `{{ssm:`, which Parameter Store takes for a reference to another parameter";
        return Some((Unpublishable::InvalidValue, message.to_owned()));
    }
    None
}

/// The size of `"KEY":"VALUE",` in JSON.
fn member_size(entry: &Wanted) -> usize {
    let key = entry.target.property.as_deref().unwrap_or_default();
    6 + json_size(key.as_bytes()) + json_size(entry.value.expose())
}

fn json_size(text: &[u8]) -> usize {
    let size = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..32 => 6,
        _ => 1,
    };
    text.iter().map(size).sum()
}
