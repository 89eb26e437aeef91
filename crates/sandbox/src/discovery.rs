//! The discovery API and access reviews: `/version`, `/api`, `/apis` and `SelfSubjectAccessReview`.

use serde_json::{Value, json};

use super::{
    call::Call,
    failure::Failure,
    fault::Faults,
    object,
    resource::{RESOURCES, Resource},
    store::{Store, version_of},
};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Returns the response for a path without a resource; None if the path does not exist.
pub(super) fn answer(store: &Store, path: &str) -> Option<Value> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["version"] => Some(version()),
        ["api"] => Some(
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ),
        ["api", "v1"] => resources(store, "", "v1"),
        ["apis"] => {
            let groups: Vec<Value> = groups(store)
                .iter()
                .map(|name| group(store, name))
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] if groups(store).contains(name) => {
            let mut group = group(store, name);
            object::set(&mut group, "kind", "APIGroup");
            object::set(&mut group, "apiVersion", "v1");
            Some(group)
        }
        ["apis", group, version] => resources(store, group, version),
        _ => None,
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": "v1.34.1+sandbox", "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

fn groups(store: &Store) -> Vec<&'static str> {
    let mut groups: Vec<&str> = RESOURCES.iter().map(|resource| resource.group).collect();
    groups.push("authorization.k8s.io");
    groups.retain(|group| !group.is_empty() && store.serves(group));
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn group(store: &Store, name: &str) -> Value {
    let version = version_of(name, store.eso_version);
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(store: &Store, group: &str, version: &str) -> Option<Value> {
    if !store.serves(group) || version != version_of(group, store.eso_version) {
        return None;
    }
    let mut listed: Vec<Value> = RESOURCES
        .iter()
        .filter(|resource| resource.group == group)
        .flat_map(described)
        .collect();
    if group == "authorization.k8s.io" {
        listed.push(json!({
            "name": "selfsubjectaccessreviews", "singularName": "selfsubjectaccessreview", "namespaced": false,
            "kind": "SelfSubjectAccessReview", "verbs": ["create"],
        }));
    }
    let name = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    (!listed.is_empty()).then(|| {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed})
    })
}

fn described(resource: &Resource) -> Vec<Value> {
    let Resource {
        plural,
        kind,
        namespaced,
        short,
        action,
        ..
    } = resource;
    let mut described = vec![json!({
        "name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind,
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"], "shortNames": short,
    })];
    if resource.status {
        described.push(json!({
            "name": format!("{plural}/status"), "singularName": "", "namespaced": namespaced, "kind": kind,
            "verbs": ["get", "patch", "update"],
        }));
    }
    if let Some(action) = action {
        let (group, kind) = action.sent();
        described.push(json!({
            "name": format!("{plural}/{}", action.as_str()), "singularName": "", "namespaced": namespaced,
            "group": group, "version": "v1", "kind": kind, "verbs": ["create"],
        }));
    }
    described
}

/// Returns the response to a `SelfSubjectAccessReview`; None for any other request.
pub(super) fn review(call: &Call, faults: &Faults) -> Option<Result<Value, Failure>> {
    if call.path != REVIEWS || call.method != http::Method::POST {
        return None;
    }
    let Ok(mut review) = serde_json::from_slice::<Value>(&call.body) else {
        return Some(Err(Failure::bad_request(
            "the object provided is unrecognized",
        )));
    };
    let asked = object::at(&review, "/spec/resourceAttributes");
    let text = |key: &str| object::member(asked, key).as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        subresource => format!("{}/{subresource}", text("resource")),
    };
    let allowed = !faults.forbids(text("verb"), &resource, text("namespace"));
    object::set(&mut review, "status", json!({"allowed": allowed}));
    Some(Ok(review))
}
