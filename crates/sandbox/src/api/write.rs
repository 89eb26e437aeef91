//! Requests that write: create, update, patch and delete.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    call::{Call, Target},
    failure::Failure,
    object,
    store::{Preconditions, Store, Write},
};

const MERGE_PATCH: &str = "application/merge-patch+json";

pub(super) fn create(
    store: &Store,
    call: &Call,
    target: &Target<'_>,
) -> Result<Arc<Value>, Failure> {
    if !target.name.is_empty() {
        return Err(Failure::method_not_allowed());
    }
    let object = sent(store, call, target)?;
    store.create(target.resource, object, write(call)?)
}

/// PUT of a Lease. Creates it if it does not exist. Returns the HTTP status and the stored object.
pub(super) fn replace(
    store: &Store,
    call: &Call,
    target: &Target<'_>,
) -> Result<(u16, Arc<Value>), Failure> {
    let Target {
        resource,
        namespace,
        name,
        ..
    } = *target;
    if resource.kind != "Lease" || name.is_empty() {
        return Err(Failure::method_not_allowed());
    }
    let mut requested = sent(store, call, target)?;
    let write = write(call)?;
    let uid = object::uid(&requested).to_owned();
    if store.get(resource, namespace, name).is_none() {
        // A PUT may create a Lease, but not if it names the uid of an existing one.
        if !uid.is_empty() {
            return Err(Failure::wrong_uid(resource, name, &uid, ""));
        }
        object::metadata(&mut requested).remove("resourceVersion");
        return Ok((201, store.create(resource, requested, write)?));
    }
    if object::version(&requested).is_empty() {
        let message = format!(
            "{} {name:?} is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
            resource.qualified()
        );
        return Err(Failure::new(422, "Invalid", message));
    }
    let replaced = store.update(resource, namespace, name, write, |current| {
        let found = object::uid(current);
        if uid.is_empty() || uid == found {
            Ok(requested)
        } else {
            Err(Failure::wrong_uid(resource, name, &uid, found))
        }
    })?;
    Ok((200, replaced))
}

/// PATCH with a merge patch.
pub(super) fn patch(
    store: &Store,
    call: &Call,
    target: &Target<'_>,
) -> Result<Arc<Value>, Failure> {
    let Target {
        resource,
        namespace,
        name,
        ..
    } = *target;
    if call.content_type.split(';').next() != Some(MERGE_PATCH) {
        return Err(Failure::unsupported_patch());
    }
    let patch: Map<String, Value> = serde_json::from_slice(&call.body)
        .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    let patch = Value::Object(patch);
    store.update(resource, namespace, name, write(call)?, |current| {
        let mut next = current.clone();
        object::merge(&mut next, &patch);
        Ok(next)
    })
}

/// DELETE. Returns the object if finalizers delay the deletion, else a Status.
pub(super) fn delete(store: &Store, call: &Call, target: &Target<'_>) -> Result<Value, Failure> {
    let Target {
        resource,
        namespace,
        name,
        ..
    } = *target;
    let options: Value = match &*call.body {
        [] => Value::Null,
        body => serde_json::from_slice(body).map_err(|error| {
            Failure::bad_request(format!(
                "couldn't get version/kind; json parse error: {error}"
            ))
        })?,
    };
    let requested = |key: &str| {
        object::member(object::at(&options, "/preconditions"), key)
            .as_str()
            .map(str::to_owned)
    };
    let preconditions = Preconditions {
        uid: requested("uid"),
        version: requested("resourceVersion"),
    };
    let dry_run = write(call)?.dry_run || *object::at(&options, "/dryRun") == json!(["All"]);
    let (object, gone) = store.delete(resource, namespace, name, &preconditions, dry_run)?;
    if !gone {
        return Ok(Value::clone(&object));
    }
    let mut details = json!({"name": name, "kind": resource.plural, "uid": object::uid(&object)});
    if !resource.group.is_empty() {
        object::set(&mut details, "group", resource.group);
    }
    Ok(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    }))
}

fn write(call: &Call) -> Result<Write<'_>, Failure> {
    let dry_run = match call.parameter("dryRun") {
        "" => false,
        "All" => true,
        other => {
            return Err(Failure::new(
                422,
                "Invalid",
                format!(
                    "PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [{other:?}]: supported values: \
                     \"All\""
                ),
            ));
        }
    };
    Ok(Write {
        manager: call.manager(),
        status: false,
        dry_run,
    })
}

/// The object in the body. Its kind and namespace must match the path.
fn sent(store: &Store, call: &Call, target: &Target<'_>) -> Result<Value, Failure> {
    let Target {
        resource,
        namespace,
        ..
    } = *target;
    let mut object: Value = serde_json::from_slice(&call.body).map_err(|error| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             {error}",
            resource.kind
        ))
    })?;
    let expected = store.api_version(resource);
    let found = object::text(&object, "/apiVersion");
    if found != expected {
        let message = format!(
            "the API version in the data ({found}) does not match the expected API version ({expected})"
        );
        return Err(Failure::bad_request(message));
    }
    let kind = object::text(&object, "/kind");
    if kind != resource.kind {
        let message = format!("Invalid value: {kind:?}: must be {}", resource.kind);
        let name = object::name(&object);
        return Err(Failure::invalid(
            resource,
            name,
            "kind",
            "FieldValueInvalid",
            &message,
        ));
    }
    let found = object::namespace(&object);
    if !found.is_empty() && found != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if resource.namespaced {
        object::metadata(&mut object).insert("namespace".to_owned(), namespace.into());
    }
    Ok(object)
}
