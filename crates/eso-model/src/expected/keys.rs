//! Key names: `conversionStrategy`, and the checks of the operator and of Kubernetes.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
};

use secret::Value;

use super::{
    letters::{is_letter, is_number},
    spec::ConversionStrategy,
    verdict::Failure,
};

const MAX_LENGTH: usize = 253;

pub(super) type Keys = BTreeMap<String, Value>;

/// Converts each key to a valid name. Two keys with the same result are an error.
pub(super) fn convert(keys: Keys, strategy: ConversionStrategy) -> Result<Keys, Failure> {
    let mut converted = Keys::new();
    for (key, value) in keys {
        match converted.entry(convert_key(&key, strategy)) {
            Entry::Vacant(vacant) => vacant.insert(value),
            Entry::Occupied(_) => return Err(Failure::KeyCollision),
        };
    }
    Ok(converted)
}

pub(super) fn convert_key(key: &str, strategy: ConversionStrategy) -> String {
    key.chars().fold(String::new(), |mut name, c| {
        match strategy {
            _ if is_allowed(c) => name.push(c),
            ConversionStrategy::Default => name.push('_'),
            // Writing to a String cannot fail.
            ConversionStrategy::Unicode => {
                let _ = write!(name, "_U{:04x}_", u32::from(c));
            }
        }
        name
    })
}

fn is_allowed(c: char) -> bool {
    matches!(c, '-' | '.' | '_') || is_letter(c) || is_number(c)
}

/// The operator's own check: an empty key is dropped silently, any other invalid key fails the sync.
pub(super) fn validate(mut keys: Keys) -> Result<Keys, Failure> {
    keys.remove("");
    let valid = keys
        .keys()
        .all(|key| key.len() <= MAX_LENGTH && key.chars().all(is_allowed));
    if valid {
        Ok(keys)
    } else {
        Err(Failure::InvalidKey)
    }
}

/// True if the API server accepts this as a Secret key. Stricter than the operator, which allows any Unicode letter.
pub(super) fn is_key(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !key.is_empty()
        && key.len() <= MAX_LENGTH
        && key.bytes().all(plain)
        && key != "."
        && !key.starts_with("..")
}
