//! `metadata.managedFields`: the field owners, tracked for plain updates as server-side apply does.

use serde_json::{Map, Value, json};

use super::{object, resource};

/// The field manager of a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manager<'a> {
    pub(super) name: &'a str,
    /// True for a write to `/status`.
    pub(super) status: bool,
    pub(super) time: &'a str,
}

/// Maps and lists of maps that the server treats as one value.
const ATOMIC: [&str; 3] = ["binding", "involvedObject", "matchLabels"];

/// The fields of built-in kinds that are maps with arbitrary keys.
const MAPS: [&str; 3] = ["annotations", "labels", "data"];

/// Records in `next` that `manager` owns the fields that differ from `before`.
pub(super) fn record(before: &Value, next: &mut Value, manager: Manager<'_>) {
    let changed = changed(before, next);
    let mut entries = object::items(before, "/metadata/managedFields").to_vec();
    for entry in &mut entries {
        let fields = object::child(entry, "fieldsV1");
        remove(fields, &changed);
        prune(fields, next);
    }
    add(&mut entries, next, changed, manager);
    entries.retain(|entry| {
        object::at(entry, "/fieldsV1")
            .as_object()
            .is_some_and(|fields| !fields.is_empty())
    });
    entries.sort_by_cached_key(|entry| {
        (
            object::text(entry, "/time").to_owned(),
            object::text(entry, "/manager").to_owned(),
        )
    });
    object::metadata(next).insert("managedFields".to_owned(), entries.into());
}

fn add(entries: &mut Vec<Value>, next: &Value, changed: Map<String, Value>, manager: Manager<'_>) {
    if changed.is_empty() {
        return;
    }
    let subresource = if manager.status { "status" } else { "" };
    let same = |entry: &&mut Value| {
        object::text(entry, "/manager") == manager.name
            && object::text(entry, "/subresource") == subresource
    };
    if let Some(entry) = entries.iter_mut().find(same) {
        merge(object::child(entry, "fieldsV1"), changed);
        object::as_map(entry).insert("time".to_owned(), manager.time.into());
        return;
    }
    let mut entry = json!({
        "manager": manager.name, "operation": "Update", "apiVersion": object::at(next, "/apiVersion"),
        "time": manager.time, "fieldsType": "FieldsV1", "fieldsV1": changed,
    });
    if manager.status {
        object::set(&mut entry, "subresource", "status");
    }
    entries.push(entry);
}

/// The data keys, labels or annotations (`path`) of an object that a manager owns.
pub(super) fn owned_keys(value: &Value, manager: &str, path: &[&str]) -> Vec<String> {
    let entries = object::items(value, "/metadata/managedFields").iter();
    let mut keys = Vec::new();
    for entry in entries.filter(|entry| object::text(entry, "/manager") == manager) {
        let fields = path
            .iter()
            .fold(object::at(entry, "/fieldsV1"), |fields, step| {
                object::member(fields, &format!("f:{step}"))
            });
        let owned = fields.as_object().into_iter().flatten();
        keys.extend(owned.filter_map(|(key, _)| key.strip_prefix("f:").map(str::to_owned)));
    }
    keys
}

/// The fields of `next` that are new or different, as a `FieldsV1` tree.
fn changed(before: &Value, next: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    let group = object::text(next, "/apiVersion").split('/').next();
    let typed = !group.is_some_and(resource::is_custom);
    for (key, value) in next.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                let metadata = changed_metadata(object::at(before, "/metadata"), value);
                if !metadata.is_empty() {
                    fields.insert("f:metadata".to_owned(), metadata.into());
                }
            }
            key => compare(&mut fields, key, before.get(key), value, typed),
        }
    }
    fields
}

fn changed_metadata(before: &Value, next: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    for key in ["annotations", "labels"] {
        if let Some(value) = next.get(key) {
            compare(&mut fields, key, before.get(key), value, true);
        }
    }
    elements(
        &mut fields,
        "finalizers",
        before,
        next,
        element_of_finalizers,
    );
    elements(
        &mut fields,
        "ownerReferences",
        before,
        next,
        element_of_owners,
    );
    fields
}

fn element_of_finalizers(item: &Value) -> String {
    format!("v:{item}")
}

fn element_of_owners(item: &Value) -> String {
    format!("k:{{\"uid\":{}}}", object::at(item, "/uid"))
}

fn elements(
    fields: &mut Map<String, Value>,
    key: &str,
    before: &Value,
    next: &Value,
    element: impl Fn(&Value) -> String,
) {
    let old = object::member(before, key)
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let new = object::member(next, key)
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut tree: Map<String, Value> = new
        .iter()
        .filter(|item| !old.contains(item))
        .map(|item| (element(item), json!({})))
        .collect();
    if tree.is_empty() {
        return;
    }
    if old.is_empty() {
        tree.insert(".".to_owned(), json!({}));
    }
    fields.insert(format!("f:{key}"), tree.into());
}

fn compare(
    fields: &mut Map<String, Value>,
    key: &str,
    before: Option<&Value>,
    next: &Value,
    typed: bool,
) {
    // For built-in kinds an empty value equals a missing one.
    let is_empty = next == "" || (next.is_null() && key == "eventTime");
    if before == Some(next) || (before.is_none() && is_empty) {
        return;
    }
    let tree = match next.as_object() {
        Some(map) if !ATOMIC.contains(&key) => {
            let mut tree = Map::new();
            let is_new = before.is_none_or(Value::is_null) && !map.is_empty();
            // In built-in kinds only maps with arbitrary keys get a `.` entry, because their other fields are known.
            if is_new && (!typed || MAPS.contains(&key)) {
                tree.insert(".".to_owned(), json!({}));
            }
            for (key, value) in map {
                compare(
                    &mut tree,
                    key,
                    before.and_then(|before| before.get(key)),
                    value,
                    typed,
                );
            }
            tree
        }
        _ => Map::new(),
    };
    // Removing map entries does not make the manager an owner of the map.
    if before.is_some() && next.is_object() && tree.is_empty() && !ATOMIC.contains(&key) {
        return;
    }
    fields.insert(format!("f:{key}"), tree.into());
}

/// Removes the fields in `taken` from `fields`.
fn remove(fields: &mut Map<String, Value>, taken: &Map<String, Value>) {
    for (key, value) in taken {
        let Some(Value::Object(inner)) = fields.get_mut(key) else {
            continue;
        };
        match value.as_object() {
            Some(value) if !value.is_empty() && !inner.is_empty() => {
                remove(inner, value);
                if inner.is_empty() {
                    fields.remove(key);
                }
            }
            _ => {
                fields.remove(key);
            }
        }
    }
}

/// Removes the fields that `value` no longer has.
fn prune(fields: &mut Map<String, Value>, value: &Value) {
    fields.retain(|key, inner| {
        let Some(name) = key.strip_prefix("f:") else {
            return still_listed(key, value);
        };
        let Some(value) = value.get(name) else {
            return false;
        };
        match inner.as_object_mut() {
            Some(inner) if !inner.is_empty() => {
                prune(inner, value);
                !inner.is_empty()
            }
            _ => true,
        }
    });
}

/// True if the list element of a `v:` or `k:` key still exists.
fn still_listed(key: &str, list: &Value) -> bool {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    match key.split_once(':') {
        Some(("v", _)) => items
            .iter()
            .any(|found| element_of_finalizers(found) == key),
        Some(("k", _)) => items.iter().any(|found| element_of_owners(found) == key),
        _ => true,
    }
}

fn merge(fields: &mut Map<String, Value>, more: Map<String, Value>) {
    for (key, value) in more {
        match (fields.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => {
                fields.insert(key, value);
            }
        }
    }
}
