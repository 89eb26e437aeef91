//! The parts of the discovery API that eso-sync uses: `/apis/GROUP` and `/apis/GROUP/VERSION`.

use serde_json::{Value, json};

use super::{
    resource::RESOURCES,
    store::{Store, version_of},
};

/// Returns the response for a path without a resource; None if the path does not exist.
pub(super) fn answer(store: &Store, path: &str) -> Option<Value> {
    let path = path.strip_prefix("/apis/")?;
    let (group, requested) = path
        .split_once('/')
        .map_or((path, None), |(group, version)| (group, Some(version)));
    if group.is_empty()
        || !store.serves(group)
        || !RESOURCES.iter().any(|resource| resource.group == group)
    {
        return None;
    }
    let version = version_of(group, store.eso_version);
    let group_version = format!("{group}/{version}");
    match requested {
        None => {
            let version = json!({"groupVersion": group_version, "version": version});
            Some(json!({
                "kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [version], "preferredVersion": version,
            }))
        }
        // eso-sync asks only if the version exists, so the resources are not listed.
        Some(requested) => (requested == version).then(|| {
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": []})
        }),
    }
}
