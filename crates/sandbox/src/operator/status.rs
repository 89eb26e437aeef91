//! The operator's writes to the status of an ExternalSecret.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CONTROLLER, Next, Reconciler};
use crate::{
    object,
    resource::Resource,
    store::Write,
    time::{stamp, whole_seconds},
};

/// The result of a sync, to be written into the status.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Done {
        reason: &'static str,
        message: &'static str,
    },
    Failed {
        message: &'static str,
    },
}

impl Reconciler {
    /// The status after a sync.
    pub(super) fn status(
        &self,
        external_secret: &Value,
        verdict: Verdict,
        start: Timestamp,
        bound: Option<String>,
    ) -> Value {
        let mut status = object::at(external_secret, "/status").clone();
        let map = object::as_map(&mut status);
        map.entry("refreshTime").or_insert(Value::Null);
        let binding = map.entry("binding").or_insert_with(|| json!({"name": ""}));
        if let Some(name) = bound {
            *binding = json!({"name": name});
        }
        let (ready, reason, message) = match verdict {
            Verdict::Done { reason, message } => {
                map.insert("refreshTime".to_owned(), whole_seconds(start).into());
                let version = self.synced_version(external_secret);
                map.insert("syncedResourceVersion".to_owned(), version.into());
                ("True", reason, message)
            }
            Verdict::Failed { message } => ("False", "SecretSyncedError", message),
        };
        let condition = json!({
            "type": "Ready", "status": ready, "reason": reason, "message": message,
            "lastTransitionTime": stamp(self.store.clock),
        });
        map.insert(
            "conditions".to_owned(),
            conditions(
                object::items(external_secret, "/status/conditions"),
                condition,
            ),
        );
        status
    }

    pub(super) fn write_status(&self, external_secret: &Value, status: &Value, next: Next) -> Next {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return next;
        };
        if status == object::at(external_secret, "/status") {
            return next;
        }
        let (namespace, name) = (
            object::namespace(external_secret),
            object::name(external_secret),
        );
        let write = Write::by(CONTROLLER).status();
        // The write includes the resource version. After a change in the meantime it fails, and the operator reconciles
        // again.
        let asked = with_status(external_secret, status);
        match self
            .store
            .update(resource, namespace, name, write, |_| Ok(asked))
        {
            Ok(_) => next,
            Err(failure) if failure.code == 409 && !matches!(next, Next::Failed) => Next::Again,
            Err(_) => Next::Failed,
        }
    }
}

pub(super) fn with_status(external_secret: &Value, status: &Value) -> Value {
    let mut next = external_secret.clone();
    object::as_map(&mut next).insert("status".to_owned(), status.clone());
    next
}

/// `SetExternalSecretCondition`: an identical condition is kept, and the transition time changes only with the status.
fn conditions(before: &[Value], mut condition: Value) -> Value {
    let same =
        |key: &str, other: &Value| object::member(other, key) == object::member(&condition, key);
    let current = before
        .iter()
        .find(|current| object::text(current, "/type") == "Ready")
        .cloned();
    if let Some(current) = current {
        if ["status", "reason", "message"]
            .iter()
            .all(|key| same(key, &current))
        {
            return before.into();
        }
        if same("status", &current) {
            object::set(
                &mut condition,
                "lastTransitionTime",
                object::at(&current, "/lastTransitionTime").clone(),
            );
        }
    }
    let others = before
        .iter()
        .filter(|other| object::text(other, "/type") != "Ready")
        .cloned();
    others.chain([condition]).collect()
}
