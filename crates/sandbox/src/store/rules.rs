//! The API server's processing of an object that it is asked to write: validation, defaults, generation.

use serde_json::{Map, Value, json};

use crate::{
    data, defaults, failure::Failure, object, resource::Resource, schema, store::Preconditions,
};

/// Metadata that only the server can change.
const KEPT: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "generation",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Validates an object that is to be created.
pub(super) fn check_new(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let name = object::name(object);
    if name.is_empty() {
        let message = "Required value: name or generateName is required";
        return Err(Failure::invalid(
            resource,
            "",
            "metadata.name",
            "FieldValueRequired",
            message,
        ));
    }
    if !object::version(object).is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Failure::new(500, "", message));
    }
    check_metadata(resource, object)?;
    data::check(resource, object)?;
    schema::check(resource, object)
}

/// Validates an update: its resource version, uid and content.
pub(super) fn check_update(
    resource: &Resource,
    current: &Value,
    next: &Value,
) -> Result<(), Failure> {
    let name = object::name(current);
    if object::name(next) != name {
        let asked = object::name(next);
        let message =
            format!("the name of the object ({asked}) does not match the name on the URL ({name})");
        return Err(Failure::bad_request(message));
    }
    let version = object::version(next);
    if version != object::version(current) && !version.is_empty() {
        if version.parse::<u64>().is_err() {
            let message = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
            return Err(Failure::new(500, "", message));
        }
        return Err(Failure::modified(resource, name));
    }
    let uid = object::uid(next);
    if !uid.is_empty() && uid != object::uid(current) {
        let message = format!("Invalid value: {uid:?}: field is immutable");
        return Err(Failure::invalid(
            resource,
            name,
            "metadata.uid",
            "FieldValueInvalid",
            &message,
        ));
    }
    check_metadata(resource, next)?;
    data::check(resource, next)?;
    schema::check(resource, next)
}

/// Checks the preconditions of a DELETE.
pub(super) fn check_preconditions(
    resource: &Resource,
    current: &Value,
    preconditions: &Preconditions,
) -> Result<(), Failure> {
    let name = object::name(current);
    let checks = [
        ("UID", &preconditions.uid, object::uid(current)),
        (
            "ResourceVersion",
            &preconditions.version,
            object::version(current),
        ),
    ];
    for (field, asked, found) in checks {
        if let Some(asked) = asked.as_deref().filter(|asked| *asked != found) {
            return Err(Failure::precondition(resource, name, field, asked, found));
        }
    }
    Ok(())
}

/// The stored form of an object that is created.
pub(super) fn new_object(resource: &Resource, mut object: Value, api_version: &str) -> Value {
    for key in KEPT {
        object::metadata(&mut object).remove(key);
    }
    if resource.status {
        object::as_map(&mut object).remove("status");
    }
    if resource.generation {
        object::metadata(&mut object).insert("generation".to_owned(), 1.into());
    }
    complete(resource, &mut object, api_version);
    object
}

/// Fills in the fields that the server sets: identity, defaults, encodings.
pub(crate) fn complete(resource: &Resource, object: &mut Value, api_version: &str) {
    let map = object::as_map(object);
    map.insert("apiVersion".to_owned(), api_version.into());
    map.insert("kind".to_owned(), resource.kind.into());
    let name = object::name(object).to_owned();
    match resource.kind {
        "Secret" => encode_string_data(object),
        "Event" => {
            for key in ["eventTime", "firstTimestamp", "lastTimestamp"] {
                object::as_map(object).entry(key).or_insert(Value::Null);
            }
            for key in ["reportingComponent", "reportingInstance"] {
                object::as_map(object)
                    .entry(key)
                    .or_insert_with(|| json!(""));
            }
            object::child(object, "source");
        }
        "Namespace" => {
            let labels = object::metadata(object)
                .entry("labels")
                .or_insert_with(|| json!({}));
            object::as_map(labels).insert("kubernetes.io/metadata.name".to_owned(), name.into());
            object::child(object, "status").insert("phase".to_owned(), "Active".into());
        }
        _ => {}
    }
    schema::apply_defaults(resource, object);
    defaults::apply(resource, object);
}

/// The stored form of an object after an update.
pub(super) fn updated_object(
    resource: &Resource,
    current: &Value,
    asked: Value,
    status: bool,
) -> Value {
    let mut next = if status {
        let mut next = current.clone();
        set(object::as_map(&mut next), "status", asked.get("status"));
        next
    } else {
        asked
    };
    let map = object::as_map(&mut next);
    for key in ["apiVersion", "kind"] {
        set(map, key, current.get(key));
    }
    if resource.status && !status {
        set(map, "status", current.get("status"));
    }
    let metadata = object::metadata(&mut next);
    for key in KEPT
        .into_iter()
        .chain(["managedFields", "name", "namespace"])
    {
        set(metadata, key, object::at(current, "/metadata").get(key));
    }
    for key in ["annotations", "labels", "finalizers", "ownerReferences"] {
        if metadata.get(key).is_some_and(is_empty) {
            metadata.remove(key);
        }
    }
    if resource.kind == "Secret" {
        encode_string_data(&mut next);
    }
    schema::apply_defaults(resource, &mut next);
    defaults::apply(resource, &mut next);
    if resource.generation && next.get("spec") != current.get("spec") {
        raise_generation(&mut next);
    }
    next
}

/// Sets the deletion timestamp of an object that has finalizers.
pub(super) fn mark_deleted(object: &mut Value, time: &str) {
    let metadata = object::metadata(object);
    metadata.insert("deletionTimestamp".to_owned(), time.into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
    raise_generation(object);
}

fn raise_generation(object: &mut Value) {
    let generation = object::generation(object) + 1;
    object::metadata(object).insert("generation".to_owned(), generation.into());
}

fn set(map: &mut Map<String, Value>, key: &str, value: Option<&Value>) {
    match value {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Moves `stringData` into `data`, as the server does on every write.
fn encode_string_data(secret: &mut Value) {
    object::as_map(secret)
        .entry("type")
        .or_insert_with(|| "Opaque".into());
    let Some(Value::Object(texts)) = object::as_map(secret).remove("stringData") else {
        return;
    };
    let data = object::child(secret, "data");
    for (key, value) in texts {
        let text = value.as_str().unwrap_or_default();
        data.insert(key, data::encode(text.as_bytes()).into());
    }
}

/// Only one owner may be the controller.
fn check_owners(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let owners = object::items(object, "/metadata/ownerReferences");
    let mut controllers = owners
        .iter()
        .filter(|owner| object::at(owner, "/controller") == true)
        .map(|owner| {
            format!(
                "{}/{}",
                object::text(owner, "/kind"),
                object::text(owner, "/name")
            )
        });
    let (Some(first), Some(second)) = (controllers.next(), controllers.next()) else {
        return Ok(());
    };
    let message = format!(
        "Invalid value: {}: Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}",
        Value::from(owners)
    );
    Err(Failure::invalid(
        resource,
        object::name(object),
        "metadata.ownerReferences",
        "FieldValueInvalid",
        &message,
    ))
}

/// Validates annotations and labels: values must be strings, keys must be qualified names.
fn check_metadata(resource: &Resource, object: &Value) -> Result<(), Failure> {
    check_owners(resource, object)?;
    let name = object::name(object);
    for field in ["annotations", "labels"] {
        let path = format!("metadata.{field}");
        for (key, value) in object::at(object, &format!("/metadata/{field}"))
            .as_object()
            .into_iter()
            .flatten()
        {
            let problem = match value.as_str() {
                _ if !is_qualified_name(key) => Some(BAD_KEY),
                Some(text) if field == "labels" && !is_label_value(text) => Some(BAD_VALUE),
                Some(_) => None,
                None => Some("must be a string"),
            };
            if let Some(problem) = problem {
                let shown = if problem == BAD_KEY {
                    key
                } else {
                    value.as_str().unwrap_or(key)
                };
                let message = format!("Invalid value: {shown:?}: {problem}");
                return Err(Failure::invalid(
                    resource,
                    name,
                    &path,
                    "FieldValueInvalid",
                    &message,
                ));
            }
        }
    }
    Ok(())
}

const BAD_KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

const BAD_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_domain = |prefix: &str| {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        !prefix.is_empty() && prefix.len() <= 253 && prefix.chars().all(allowed)
    };
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_domain)
}

fn is_label_value(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.chars().all(allowed)
        && !text.starts_with(|c| !end(c))
        && !text.ends_with(|c| !end(c))
}
