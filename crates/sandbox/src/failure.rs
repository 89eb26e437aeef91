//! Errors of the API server, with its messages (recorded from kube-apiserver v1.34.1).

use serde_json::{Value, json};

use super::{object, resource::Resource};

/// A `Status` object with status `Failure`.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The HTTP status code.
    pub(super) code: u16,
    /// The machine-readable reason; empty where the server sends none.
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) details: Option<Value>,
}

impl Failure {
    /// A failure without details.
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    fn about(mut self, name: &str, group: &str, kind: &str) -> Self {
        let mut details = json!({"kind": kind});
        for (key, value) in [("name", name), ("group", group)] {
            if !value.is_empty() {
                object::set(&mut details, key, value);
            }
        }
        self.details = Some(details);
        self
    }

    /// The `Status` object as JSON.
    pub(super) fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            object::set(&mut status, "reason", self.reason);
        }
        if let Some(details) = &self.details {
            object::set(&mut status, "details", details.clone());
        }
        status
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403 for the sandbox's user.
    pub(super) fn forbidden(
        verb: &str,
        resource: &Resource,
        subresource: Option<&str>,
        namespace: &str,
        name: &str,
    ) -> Self {
        let what = match name {
            "" => resource.qualified(),
            name => format!("{} {name:?}", resource.qualified()),
        };
        let plural = match subresource {
            Some(subresource) => format!("{}/{subresource}", resource.plural),
            None => resource.plural.to_owned(),
        };
        let scope = match namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let group = resource.group;
        Self::new(
            403,
            "Forbidden",
            format!(
                "{what} is forbidden: User \"sandbox\" cannot {verb} resource {plural:?} in API group {group:?} {scope}"
            ),
        )
        .about(name, group, resource.plural)
    }

    /// 404 for an object.
    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", resource.qualified()),
        )
        .about(name, resource.group, resource.plural)
    }

    /// 404 for the namespace of an object that is to be created.
    pub(super) fn namespace_not_found(namespace: &str) -> Self {
        let message = format!("namespaces {namespace:?} not found");
        Self::new(404, "NotFound", message).about(namespace, "", "namespaces")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 409 for an object that already exists.
    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", resource.qualified()),
        )
        .about(name, resource.group, resource.plural)
    }

    /// 409 for a write with an outdated resource version.
    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409 for a PUT with the `metadata.uid` of another object.
    pub(super) fn wrong_uid(resource: &Resource, name: &str, asked: &str, found: &str) -> Self {
        let why = format!(
            "Precondition failed: UID in precondition: {asked}, UID in object meta: {found}"
        );
        Self::conflict(resource, name, &why)
    }

    fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let what = resource.qualified();
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {what} {name:?}: {why}"),
        )
        .about(name, resource.group, resource.plural)
    }

    /// 409 for a DELETE with a failed precondition.
    pub(super) fn precondition(
        resource: &Resource,
        name: &str,
        field: &str,
        asked: &str,
        found: &str,
    ) -> Self {
        let hint = match field {
            "UID" => "deleted and then recreated",
            _ => "modified",
        };
        let what = resource.qualified_kind();
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {what} {name:?}: the {field} in the precondition ({asked}) does not match \
                 the {field} in record ({found}). The object might have been {hint}"
            ),
        )
        .about(name, resource.group, resource.kind)
    }

    /// 410 for a list or watch from a resource version that is no longer kept.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 504 for a resource version in the future.
    pub(super) fn too_large_version(asked: u64, present: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {present}");
        let cause =
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        let details = Some(json!({"causes": [cause], "retryAfterSeconds": 1}));
        Self {
            details,
            ..Self::new(504, "Timeout", message)
        }
    }

    /// 415 for a patch that is not a merge patch.
    pub(super) fn unsupported_patch() -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/merge-patch+json",
        )
    }

    /// 422 for an invalid field.
    pub(super) fn invalid(
        resource: &Resource,
        name: &str,
        field: &str,
        reason: &'static str,
        message: &str,
    ) -> Self {
        let cause = Cause::new(field, reason, message);
        Self::invalid_fields(resource, name, &[cause])
    }

    /// 422 for invalid fields.
    pub(super) fn invalid_fields(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let what = resource.qualified_kind();
        let texts: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let texts = match &*texts {
            [text] => text.clone(),
            texts => format!("[{}]", texts.join(", ")),
        };
        let message = format!("{what} {name:?} is invalid: {texts}");
        let mut failure =
            Self::new(422, "Invalid", message).about(name, resource.group, resource.kind);
        let causes = causes.iter().map(
            |cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}),
        );
        let causes: Vec<Value> = causes.collect();
        if let Some(details) = &mut failure.details {
            object::set(details, "causes", causes);
        }
        failure
    }
}

/// An invalid field.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    field: String,
    reason: &'static str,
    message: String,
}

impl Cause {
    pub(super) fn new(
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            reason,
            message: message.into(),
        }
    }

    /// A field that is missing.
    pub(super) fn required(field: impl Into<String>) -> Self {
        Self::new(field, "FieldValueRequired", "Required value")
    }
}
