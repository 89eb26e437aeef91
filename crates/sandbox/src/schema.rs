//! The ExternalSecret CRD. Objects are defaulted and validated by its schema, like in a real API server.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{failure::Failure, object, resource::Resource};

static CRD: LazyLock<Value> = LazyLock::new(|| {
    // Cannot fail: a unit test parses the file.
    serde_saphyr::from_str(include_str!("content/externalsecret-crd.yaml")).unwrap_or_default()
});

/// The CRD object, with `served` as its served and stored version.
pub(super) fn crd(served: &str) -> Value {
    let mut crd = CRD.clone();
    if let Some(version) = crd.pointer_mut("/spec/versions/0/name") {
        *version = served.into();
    }
    object::child(&mut crd, "status").insert("storedVersions".to_owned(), json!([served]));
    crd
}

/// Adds the schema's defaults to an object.
pub(super) fn apply_defaults(resource: &Resource, object: &mut Value) {
    match resource.kind {
        "ExternalSecret" => default(root(), object),
        "ClusterExternalSecret" => {
            if let Some(spec) = object.pointer_mut("/spec/externalSecretSpec") {
                default(spec_schema(), spec);
            }
        }
        _ => {}
    }
}

/// Validates an object against the schema.
pub(super) fn check(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let violation = match resource.kind {
        "ExternalSecret" => check_value(spec_schema(), object::at(object, "/spec"), "spec"),
        "ClusterExternalSecret" => {
            let spec = object::at(object, "/spec/externalSecretSpec");
            check_value(spec_schema(), spec, "spec.externalSecretSpec")
        }
        "Event" => check_event(object),
        _ => None,
    };
    match violation {
        Some(Violation {
            field,
            reason,
            message,
        }) => Err(Failure::invalid(
            resource,
            object::name(object),
            &field,
            reason,
            &message,
        )),
        None => Ok(()),
    }
}

struct Violation {
    field: String,
    reason: &'static str,
    message: String,
}

fn root() -> &'static Value {
    object::at(&CRD, "/spec/versions/0/schema/openAPIV3Schema")
}

fn spec_schema() -> &'static Value {
    object::at(root(), "/properties/spec")
}

fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, schema) in object::at(schema, "/properties")
                .as_object()
                .into_iter()
                .flatten()
            {
                if let Some(value) = map.get_mut(key) {
                    default(schema, value);
                } else if let Some(filled) = schema.get("default") {
                    map.insert(key.clone(), filled.clone());
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| default(object::at(schema, "/items"), item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_value(schema: &Value, value: &Value, path: &str) -> Option<Violation> {
    if value.is_null() {
        return None;
    }
    let expected = object::text(schema, "/type");
    let found = type_of(value);
    if !expected.is_empty() && expected != found {
        return Some(Violation {
            field: path.to_owned(),
            reason: "FieldValueTypeInvalid",
            message: format!(
                "Invalid value: {found:?}: {path} in body must be of type {expected}: {found:?}"
            ),
        });
    }
    if let Some(allowed) = object::at(schema, "/enum")
        .as_array()
        .filter(|allowed| !allowed.contains(value))
    {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        return Some(Violation {
            field: path.to_owned(),
            reason: "FieldValueNotSupported",
            message: format!(
                "Unsupported value: {value}: supported values: {}",
                allowed.join(", ")
            ),
        });
    }
    if let Some(missing) = object::items(schema, "/required")
        .iter()
        .filter_map(Value::as_str)
        .find(|key| object::member(value, key).is_null())
    {
        return Some(Violation {
            field: format!("{path}.{missing}"),
            reason: "FieldValueRequired",
            message: "Required value".to_owned(),
        });
    }
    let properties = object::at(schema, "/properties")
        .as_object()
        .into_iter()
        .flatten();
    let mut violations = properties.filter_map(|(key, schema)| {
        check_value(schema, object::member(value, key), &format!("{path}.{key}"))
    });
    violations.next().or_else(|| {
        let mut items = value.as_array().into_iter().flatten().enumerate();
        items.find_map(|(index, item)| {
            check_value(
                object::at(schema, "/items"),
                item,
                &format!("{path}[{index}]"),
            )
        })
    })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// An Event must be in the namespace of its object, or in `default` for a cluster-wide object.
fn check_event(event: &Value) -> Option<Violation> {
    let about = object::text(event, "/involvedObject/namespace");
    let namespace = object::namespace(event);
    let fits = about == namespace || (about.is_empty() && namespace == "default");
    (!fits).then(|| Violation {
        field: "involvedObject.namespace".to_owned(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {about:?}: does not match event.namespace"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crd_has_the_fields_of_v0_20_4() {
        let crd = crd("v1");
        assert_eq!(
            crd["metadata"]["name"],
            "externalsecrets.external-secrets.io"
        );
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["selectableFields"].as_array().unwrap().len(), 4);
        let target = &spec_schema()["properties"]["target"]["properties"];
        // `target.manifest` exists since v1.0.0.
        assert!(target["creationPolicy"].is_object() && target["manifest"].is_null());
    }

    #[test]
    fn defaults_are_those_of_the_crd() {
        let mut object = json!({"spec": {"data": [{"secretKey": "a", "remoteRef": {"key": "k"}}]}});
        apply_defaults(Resource::of_plural("externalsecrets").unwrap(), &mut object);
        assert_eq!(
            object["spec"],
            json!({
                "data": [{"secretKey": "a", "remoteRef": {
                    "key": "k", "conversionStrategy": "Default", "decodingStrategy": "None", "metadataPolicy": "None",
                }}],
                "refreshInterval": "1h",
                "target": {"creationPolicy": "Owner", "deletionPolicy": "Retain"},
            })
        );
    }

    #[test]
    fn schema_errors_match_the_servers_messages() {
        let resource = Resource::of_plural("externalsecrets").unwrap();
        for (spec, message) in [
            (
                json!({"refreshPolicy": "Nope"}),
                "spec.refreshPolicy: Unsupported value: \"Nope\": supported values: \"CreatedOnce\", \"Periodic\", \"OnChange\"",
            ),
            (
                json!({"refreshInterval": 5}),
                "spec.refreshInterval: Invalid value: \"integer\": spec.refreshInterval in body must be of type string: \
                 \"integer\"",
            ),
            (
                json!({"data": [{"secretKey": "a"}]}),
                "spec.data[0].remoteRef: Required value",
            ),
        ] {
            let object = json!({"metadata": {"name": "db"}, "spec": spec});
            let failure = check(resource, &object).unwrap_err();
            assert_eq!(failure.code, 422);
            assert_eq!(
                failure.message,
                format!("ExternalSecret.external-secrets.io \"db\" is invalid: {message}")
            );
        }
    }
}
