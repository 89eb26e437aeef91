//! The write side of the double.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};

use super::{Secret, Version, crc32c, error, etag, not_found};
use crate::{
    providers::double::{Asked, Reply},
    support::now,
};

type Secrets = BTreeMap<String, Secret>;

pub(super) fn answer(
    secrets: &mut Secrets,
    at: &str,
    parent: &str,
    rest: &[&str],
    asked: &Asked,
) -> Reply {
    match (&*asked.method, rest) {
        ("POST", ["secrets"]) => create(secrets, at, parent, asked),
        ("POST", ["secrets", id]) => match id.strip_suffix(":addVersion") {
            Some(id) => of(secrets, at, parent, id, |secret, name| {
                add(secret, name, asked)
            }),
            None => no_method(),
        },
        ("PATCH", ["secrets", id]) => of(secrets, at, parent, id, |secret, name| {
            patch(secret, name, asked)
        }),
        ("DELETE", ["secrets", id]) => delete(secrets, at, parent, id, asked),
        ("POST", ["secrets", id, "versions", what]) => {
            of(secrets, at, parent, id, |secret, name| {
                set_state(secret, name, what, asked)
            })
        }
        _ => no_method(),
    }
}

fn no_method() -> Reply {
    error(404, "NOT_FOUND", "no such method")
}

fn invalid(message: &str) -> Reply {
    error(400, "INVALID_ARGUMENT", message)
}

/// Google answers so to an etag that is out of date.
fn outdated() -> Reply {
    error(
        400,
        "FAILED_PRECONDITION",
        "The etag provided does not match the current etag of the resource.",
    )
}

fn is_outdated(sent: &str, current: &str) -> bool {
    !sent.is_empty() && sent != current
}

fn of(
    secrets: &mut Secrets,
    at: &str,
    parent: &str,
    id: &str,
    change: impl FnOnce(&mut Secret, &str) -> Reply,
) -> Reply {
    let name = format!("{parent}/secrets/{id}");
    match secrets.get_mut(&format!("{at}{id}")) {
        Some(secret) => change(secret, &name),
        None => not_found(&name),
    }
}

fn texts(json: &Json) -> BTreeMap<String, String> {
    let all = json.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned()))
        .collect()
}

/// True if the annotations have valid keys, and at most 16 KiB.
fn are_annotations(annotations: &BTreeMap<String, String>) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_key = |key: &String| (1..=63).contains(&key.len()) && key.bytes().all(is_good);
    let size: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    size <= 16 << 10 && annotations.keys().all(is_key)
}

fn are_labels(labels: &BTreeMap<String, String>) -> bool {
    let is_good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_word = |text: &String| text.len() <= 63 && text.bytes().all(is_good);
    labels.len() <= 64
        && labels
            .iter()
            .all(|(key, value)| !key.is_empty() && is_word(key) && is_word(value))
}

fn create(secrets: &mut Secrets, at: &str, parent: &str, asked: &Asked) -> Reply {
    let id = asked.field("secretId");
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.is_empty() || id.len() > 255 || !id.bytes().all(is_good) {
        return invalid("The provided Secret ID does not match the expected format");
    }
    let body = asked.json();
    let has_replication = body["replication"]["automatic"].is_object()
        || body["replication"]["userManaged"]["replicas"].is_array();
    if has_replication != at.is_empty() {
        return invalid("secret.replication must be set, and must not be set for regional secrets");
    }
    let secret = Secret {
        labels: texts(&body["labels"]),
        annotations: texts(&body["annotations"]),
        replication: body["replication"].clone(),
        ..Secret::default()
    };
    if !are_annotations(&secret.annotations) || !are_labels(&secret.labels) {
        return invalid("invalid labels or annotations");
    }
    let name = format!("{parent}/secrets/{id}");
    let key = format!("{at}{id}");
    if secrets.contains_key(&key) {
        return error(
            409,
            "ALREADY_EXISTS",
            &format!("Secret [{name}] already exists."),
        );
    }
    let answer = secret.resource(&name);
    secrets.insert(key, secret);
    Reply::json(200, &answer)
}

fn add(secret: &mut Secret, name: &str, asked: &Asked) -> Reply {
    let payload = &asked.json()["payload"];
    let Ok(data) = STANDARD.decode(payload["data"].as_str().unwrap_or_default()) else {
        return invalid("payload.data is not base64");
    };
    let sum = payload["dataCrc32c"].as_str().map(str::to_owned);
    if sum
        .as_ref()
        .is_some_and(|sum| *sum != crc32c(&data).to_string())
    {
        return invalid("The checksum does not match the data");
    }
    if data.len() > 64 << 10 {
        return invalid("The payload is too large");
    }
    // The etag of the secret stays.
    secret.versions.push(Version {
        state: "ENABLED",
        payload: data,
        created: now().to_string(),
        etag: etag(),
    });
    let number = secret.versions.len();
    let mut answer = secret.versions[number - 1].resource(name, number);
    answer["clientSpecifiedPayloadChecksum"] = json!(sum.is_some());
    Reply::json(200, &answer)
}

fn patch(secret: &mut Secret, name: &str, asked: &Asked) -> Reply {
    let body = asked.json();
    if is_outdated(body["etag"].as_str().unwrap_or_default(), &secret.etag) {
        return outdated();
    }
    if asked.field("updateMask") != "annotations" {
        return invalid("update_mask");
    }
    let annotations = texts(&body["annotations"]);
    if !are_annotations(&annotations) {
        return invalid("invalid annotations");
    }
    secret.annotations = annotations;
    secret.etag = etag();
    Reply::json(200, &secret.resource(name))
}

fn delete(secrets: &mut Secrets, at: &str, parent: &str, id: &str, asked: &Asked) -> Reply {
    let key = format!("{at}{id}");
    let Some(secret) = secrets.get(&key) else {
        return not_found(&format!("{parent}/secrets/{id}"));
    };
    if is_outdated(&asked.field("etag"), &secret.etag) {
        return outdated();
    }
    secrets.remove(&key);
    Reply::json(200, &json!({}))
}

fn set_state(secret: &mut Secret, name: &str, what: &str, asked: &Asked) -> Reply {
    let Some((number, method)) = what.split_once(':') else {
        return no_method();
    };
    let number: usize = number.parse().unwrap_or(0);
    let version = number
        .checked_sub(1)
        .and_then(|place| secret.versions.get_mut(place));
    let Some(version) = version else {
        return error(
            404,
            "NOT_FOUND",
            &format!("Secret Version [{name}/versions/{number}] not found."),
        );
    };
    if is_outdated(
        asked.json()["etag"].as_str().unwrap_or_default(),
        &version.etag,
    ) {
        return outdated();
    }
    if version.state == "DESTROYED" {
        return error(
            400,
            "FAILED_PRECONDITION",
            &format!("Secret Version [{name}/versions/{number}] is in DESTROYED state."),
        );
    }
    version.state = match method {
        "enable" => "ENABLED",
        "disable" => "DISABLED",
        "destroy" => "DESTROYED",
        _ => return no_method(),
    };
    if method == "destroy" {
        version.payload.clear();
    }
    version.etag = etag();
    Reply::json(200, &version.resource(name, number))
}
