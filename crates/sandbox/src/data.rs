//! The data of Secrets and ConfigMaps: its encoding, and the API server's validation of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{failure::Failure, object, resource::Resource};

/// Encodes bytes in base64, as in `data`.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes base64; None if the text is invalid.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

const FROZEN: &str = "Forbidden: field is immutable when `immutable` is set";

const BAD_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
    'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Validates the data of a Secret or ConfigMap.
pub(super) fn check(resource: &Resource, object: &Value) -> Result<(), Failure> {
    if !holds_data(resource) {
        return Ok(());
    }
    let (name, kind) = (object::name(object), resource.kind);
    let entries = object::at(object, "/data")
        .as_object()
        .into_iter()
        .flatten();
    for (key, value) in entries {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if key.is_empty() || !key.chars().all(fits) {
            let message = format!("Invalid value: {key:?}: {BAD_KEY}");
            let field = format!("data[{key}]");
            return Err(Failure::invalid(
                resource,
                name,
                &field,
                "FieldValueInvalid",
                &message,
            ));
        }
        // The real server also reports the position of the error, which reveals something about the value. Nothing here
        // needs it.
        if kind == "Secret" && !value.is_null() && value.as_str().and_then(decode).is_none() {
            return Err(Failure::bad_request(
                "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data",
            ));
        }
    }
    Ok(())
}

/// Rejects changes of immutable data and of a Secret's type.
pub(super) fn check_update(
    resource: &Resource,
    current: &Value,
    next: &Value,
) -> Result<(), Failure> {
    if !holds_data(resource) {
        return Ok(());
    }
    let name = object::name(current);
    // An empty map equals a missing one.
    let part = |object: &Value, key: &str| {
        let part = object.get(key).cloned();
        part.filter(|part| !part.is_null() && part.as_object().is_none_or(|map| !map.is_empty()))
    };
    let differs = |key: &str| part(current, key) != part(next, key);
    if resource.kind == "Secret" && differs("type") {
        let message = format!(
            "Invalid value: {}: field is immutable",
            object::at(next, "/type")
        );
        return Err(Failure::invalid(
            resource,
            name,
            "type",
            "FieldValueInvalid",
            &message,
        ));
    }
    if object::at(current, "/immutable") != true {
        return Ok(());
    }
    match ["immutable", "data", "binaryData"]
        .into_iter()
        .find(|key| differs(key))
    {
        Some(field) => Err(Failure::invalid(
            resource,
            name,
            field,
            "FieldValueForbidden",
            FROZEN,
        )),
        None => Ok(()),
    }
}

fn holds_data(resource: &Resource) -> bool {
    ["Secret", "ConfigMap"].contains(&resource.kind)
}
