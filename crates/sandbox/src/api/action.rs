//! Subresources that accept a POST and do not store the posted object: a ServiceAccount's token, a Pod's eviction.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    call::{Call, Target},
    failure::Failure,
    object,
    resource::{Action, Resource},
    select,
    store::{Preconditions, Store, Write},
    time::{stamp, whole_seconds},
};

/// The minimum and the default lifetime of a token, in seconds.
const MIN_LIFETIME: i64 = 600;
const DEFAULT_LIFETIME: i64 = 3600;

pub(super) fn act(
    store: &Store,
    call: &Call,
    target: &Target<'_>,
    action: Action,
) -> Result<Value, Failure> {
    let Target {
        resource,
        namespace,
        name,
        ..
    } = *target;
    let object = store
        .get(resource, namespace, name)
        .ok_or_else(|| Failure::not_found(resource, name))?;
    let asked: Value = serde_json::from_slice(&call.body).map_err(|error| {
        Failure::bad_request(format!(
            "couldn't get version/kind; json parse error: {error}"
        ))
    })?;
    let (group, kind) = action.sent();
    let api_version = format!("{group}/v1");
    if object::text(&asked, "/kind") != kind || object::text(&asked, "/apiVersion") != api_version {
        let (found, version) = (
            object::at(&asked, "/kind"),
            object::at(&asked, "/apiVersion"),
        );
        return Err(Failure::bad_request(format!(
            "{found} in version {version} cannot be handled as a {kind}"
        )));
    }
    match action {
        Action::Token => token(store, asked, &object),
        Action::Eviction => evict(store, &asked, &object),
    }
}

/// Returns a token that gives access to nothing.
fn token(store: &Store, mut asked: Value, account: &Value) -> Result<Value, Failure> {
    let seconds = asked
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(DEFAULT_LIFETIME);
    if seconds < MIN_LIFETIME {
        let field = "spec.expirationSeconds";
        let message =
            format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes");
        let mut failure = Failure::new(
            422,
            "Invalid",
            format!("TokenRequest.authentication.k8s.io \"\" is invalid: {field}: {message}"),
        );
        failure.details = Some(json!({
            "group": "authentication.k8s.io", "kind": "TokenRequest",
            "causes": [{"reason": "FieldValueInvalid", "message": message, "field": field}],
        }));
        return Err(failure);
    }
    let spec = object::child(&mut asked, "spec");
    spec.insert("expirationSeconds".to_owned(), seconds.into());
    spec.entry("audiences")
        .or_insert_with(|| json!(["https://kubernetes.default.svc"]));
    let now = store.clock.now();
    let end: Timestamp = now
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(now);
    let (namespace, name) = (object::namespace(account), object::name(account));
    let metadata =
        json!({"namespace": namespace, "name": name, "creationTimestamp": stamp(store.clock)});
    object::set(&mut asked, "metadata", metadata);
    object::set(
        &mut asked,
        "status",
        json!({
            "token": format!("sandbox.{namespace}.{name}.{}", now.as_nanosecond()), "expirationTimestamp": whole_seconds(end),
        }),
    );
    Ok(asked)
}

/// Deletes a Pod if its PodDisruptionBudget allows it.
pub(crate) fn evict(store: &Store, asked: &Value, pod: &Value) -> Result<Value, Failure> {
    let precondition = |key: &str| {
        let text = object::text(asked, &format!("/deleteOptions/preconditions/{key}"));
        Some(text.to_owned()).filter(|text| !text.is_empty())
    };
    let preconditions = Preconditions {
        uid: precondition("uid"),
        version: precondition("resourceVersion"),
    };
    if !object::is_deleting(pod) && object::text(pod, "/status/phase") == "Running" {
        take_disruption(store, pod)?;
    }
    if let Some(pods) = Resource::of_plural("pods") {
        let (namespace, name) = (object::namespace(pod), object::name(pod));
        store.delete(pods, namespace, name, &preconditions, false)?;
    }
    Ok(
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}

/// The PodDisruptionBudget that covers a Pod.
fn budget_of(store: &Store, budgets: &Resource, pod: &Value) -> Option<Arc<Value>> {
    let page = store.list(budgets, Some(object::namespace(pod)));
    let mut budgets = page.objects.into_iter().map(|(_, budget)| budget);
    budgets.find(|budget| {
        budget
            .pointer("/spec/selector")
            .is_some_and(|selector| select::matches_selector(selector, pod))
    })
}

/// Takes one disruption from the budget that covers the Pod.
fn take_disruption(store: &Store, pod: &Value) -> Result<(), Failure> {
    let Some(budgets) = Resource::of_plural("poddisruptionbudgets") else {
        return Ok(());
    };
    let Some(budget) = budget_of(store, budgets, pod) else {
        return Ok(());
    };
    let budget = &*budget;
    let name = object::name(budget);
    let number = |key: &str| {
        object::at(budget, &format!("/status/{key}"))
            .as_i64()
            .unwrap_or_default()
    };
    if may_ignore_budget(pod, &number) {
        return Ok(());
    }
    if number("observedGeneration") < object::generation(budget) {
        return Err(too_many(
            &format!("The disruption budget {name} is still being processed by the server."),
            Some(10),
        ));
    }
    let (wanted, healthy) = (number("desiredHealthy"), number("currentHealthy"));
    if number("disruptionsAllowed") <= 0 {
        return Err(too_many(
            &format!(
                "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
            ),
            None,
        ));
    }
    store.update(
        budgets,
        object::namespace(pod),
        name,
        Write::by("kube-apiserver").status(),
        |current| {
            let mut next = current.clone();
            let left = number("disruptionsAllowed") - 1;
            object::child(&mut next, "status").insert("disruptionsAllowed".to_owned(), left.into());
            Ok(next)
        },
    )?;
    Ok(())
}

/// True if the Pod may be evicted regardless of the budget: it is not ready, and the other Pods are healthy enough.
fn may_ignore_budget(pod: &Value, number: &impl Fn(&str) -> i64) -> bool {
    let mut conditions = object::items(pod, "/status/conditions").iter();
    let is_ready = conditions.any(|condition| {
        object::text(condition, "/type") == "Ready" && object::text(condition, "/status") == "True"
    });
    let desired = number("desiredHealthy");
    !is_ready && desired > 0 && number("currentHealthy") >= desired
}

fn too_many(cause: &str, retry_after: Option<u32>) -> Failure {
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
    if let Some(seconds) = retry_after {
        object::set(&mut details, "retryAfterSeconds", seconds);
    }
    let mut failure = Failure::new(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    failure.details = Some(details);
    failure
}
