//! Conditions of a status.

use serde_json::{Value, json};

use crate::object;

/// The new content of a condition.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    pub(super) kind: &'a str,
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// The condition of this type.
pub(super) fn find<'a>(conditions: &'a [Value], kind: &str) -> Option<&'a Value> {
    conditions
        .iter()
        .find(|condition| object::text(condition, "/type") == kind)
}

/// True if a condition is `True`.
pub(super) fn is_true(object: &Value, kind: &str) -> bool {
    find(object::items(object, "/status/conditions"), kind)
        .is_some_and(|condition| object::text(condition, "/status") == "True")
}

/// Sets a condition. It is kept if status and reason are the same, unless `renewed` is true. The transition time changes
/// only with the status.
pub(super) fn set(
    conditions: &mut Vec<Value>,
    condition: Condition<'_>,
    time: &str,
    renewed: bool,
) {
    let Condition {
        kind,
        status,
        reason,
        message,
    } = condition;
    let current = find(conditions, kind);
    let is =
        |key: &str, value: &str| current.is_some_and(|current| object::text(current, key) == value);
    let same_status = is("/status", status);
    if same_status && is("/reason", reason) && !renewed {
        return;
    }
    let since = current
        .filter(|_| same_status)
        .map_or(time, |current| object::text(current, "/lastTransitionTime"));
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": time, "lastTransitionTime": since,
    });
    conditions.retain(|other| object::text(other, "/type") != kind);
    conditions.push(condition);
}
