//! The data of Secrets and ConfigMaps: its encoding, and the API server's validation of it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    failure::{Cause, Failure},
    object,
    resource::Resource,
};

/// The largest Secret, in bytes.
const MAX_SECRET: usize = 1 << 20;

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

/// Validates the stored form of an object that is created.
pub(super) fn check_created(resource: &Resource, object: &Value) -> Result<(), Failure> {
    if !holds_data(resource) {
        return Ok(());
    }
    passed(resource, object, &content(resource, object))
}

/// Validates an update: rejects changes of immutable data and of a Secret's type.
pub(super) fn check_update(
    resource: &Resource,
    current: &Value,
    next: &Value,
) -> Result<(), Failure> {
    if !holds_data(resource) {
        return Ok(());
    }
    // An empty map equals a missing one.
    let part = |object: &Value, key: &str| {
        let part = object.get(key).cloned();
        part.filter(|part| !part.is_null() && part.as_object().is_none_or(|map| !map.is_empty()))
    };
    let differs = |key: &str| part(current, key) != part(next, key);
    let mut causes = Vec::new();
    if resource.kind == "Secret" && differs("type") {
        let message = format!(
            "Invalid value: {}: field is immutable",
            object::at(next, "/type")
        );
        causes.push(Cause::new("type", "FieldValueInvalid", message));
    }
    if object::at(current, "/immutable") == true {
        let frozen = ["immutable", "data", "binaryData"]
            .into_iter()
            .filter(|key| differs(key));
        causes.extend(frozen.map(|field| Cause::new(field, "FieldValueForbidden", FROZEN)));
    }
    causes.extend(content(resource, next));
    passed(resource, current, &causes)
}

fn passed(resource: &Resource, object: &Value, causes: &[Cause]) -> Result<(), Failure> {
    if causes.is_empty() {
        Ok(())
    } else {
        let name = object::name(object);
        Err(Failure::invalid_fields(resource, name, causes))
    }
}

/// What is wrong with the size or with the keys that a Secret's type requires (`ValidateSecret` in Kubernetes).
fn content(resource: &Resource, object: &Value) -> Vec<Cause> {
    if resource.kind != "Secret" {
        return Vec::new();
    }
    let data: BTreeMap<&str, Vec<u8>> = object::at(object, "/data")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            (&**key, decode(value).unwrap_or_default())
        })
        .collect();
    let mut causes = Vec::new();
    if data.values().map(Vec::len).sum::<usize>() > MAX_SECRET {
        let message = format!("Too long: may not be more than {MAX_SECRET} bytes");
        causes.push(Cause::new("data", "FieldValueTooLong", message));
    }
    let lacks = |key: &&str| !data.contains_key(*key);
    let required = |key: &str| Cause::required(format!("data[{key}]"));
    match object::text(object, "/type") {
        "kubernetes.io/dockercfg" => causes.extend(not_json(&data, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => causes.extend(not_json(&data, ".dockerconfigjson")),
        "kubernetes.io/basic-auth" => {
            let keys = ["username", "password"];
            if keys.iter().all(lacks) {
                causes.extend(keys.map(required));
            }
        }
        "kubernetes.io/ssh-auth" if data.get("ssh-privatekey").is_none_or(Vec::is_empty) => {
            causes.push(required("ssh-privatekey"));
        }
        "kubernetes.io/tls" => {
            let missing = ["tls.crt", "tls.key"].into_iter().filter(lacks);
            causes.extend(missing.map(required));
        }
        "kubernetes.io/service-account-token" => {
            let account = "kubernetes.io/service-account.name";
            if object::annotation(object, account).is_none_or(str::is_empty) {
                causes.push(Cause::required(format!("metadata.annotations[{account}]")));
            }
        }
        _ => {}
    }
    causes
}

/// The error if the value of this key is missing or is not a JSON object.
fn not_json(data: &BTreeMap<&str, Vec<u8>>, key: &str) -> Option<Cause> {
    let field = format!("data[{key}]");
    let Some(value) = data.get(key) else {
        return Some(Cause::required(field));
    };
    let why = not_an_object(value)?;
    let message = format!("Invalid value: \"<secret contents redacted>\": {why}");
    Some(Cause::new(field, "FieldValueInvalid", message))
}

/// Go's words about a text that is not a JSON object. They may quote a character of it, as the real server does.
fn not_an_object(text: &[u8]) -> Option<String> {
    let of_kind = |kind| {
        Some(format!(
            "json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        ))
    };
    match serde_json::from_slice(text) {
        Ok(Value::Object(_) | Value::Null) => None,
        Ok(Value::Array(_)) => of_kind("array"),
        Ok(Value::String(_)) => of_kind("string"),
        Ok(Value::Number(_)) => of_kind("number"),
        Ok(Value::Bool(_)) => of_kind("bool"),
        Err(error) if error.is_eof() => Some("unexpected end of JSON input".to_owned()),
        Err(_) => {
            let first = text
                .trim_ascii_start()
                .first()
                .map_or(' ', |byte| char::from(*byte));
            let begins_well = "{[\"tfn-0123456789".contains(first);
            Some(if begins_well {
                "invalid character".to_owned()
            } else {
                format!("invalid character {first:?} looking for beginning of value")
            })
        }
    }
}

fn holds_data(resource: &Resource) -> bool {
    ["Secret", "ConfigMap"].contains(&resource.kind)
}
