//! The validation of stores: they are Ready, unless a manifest says otherwise.

use serde_json::{Value, json};

use super::{CLASS, CONTROLLER, Reconciler};
use crate::sandbox::{object, provider::knob, resource::Resource, store::Write, time::stamp};

impl Reconciler {
    /// Gives a store its Ready condition. One that brought its own keeps it: what made it so is not here to be asked.
    pub(super) fn validate(&self, resource: &Resource, store: &Value) {
        if !matches!(object::text(store, "/spec/controller"), "" | CLASS)
            || object::is_deleting(store)
        {
            return;
        }
        let current = object::items(store, "/status/conditions")
            .iter()
            .find(|condition| condition["type"] == "Ready");
        let (ready, reason, message, detail) = match object::annotation(store, knob::NOT_READY) {
            Some(detail) => (
                "False",
                "InvalidProviderConfig",
                "unable to create client",
                Some(detail),
            ),
            None if current.is_some() => return,
            None => ("True", "Valid", "store validated", None),
        };
        if current.is_some_and(|current| current["status"] == ready) {
            return;
        }
        let condition = json!({
            "type": "Ready", "status": ready, "reason": reason, "message": message,
            "lastTransitionTime": stamp(self.store.clock),
        });
        let mut status = json!({"conditions": [condition]});
        if detail.is_none() {
            status["capabilities"] = "ReadWrite".into();
        }
        let (namespace, name) = (object::namespace(store), object::name(store));
        let write = Write::by(CONTROLLER).status();
        let written = self
            .store
            .update(resource, namespace, name, write, |current| {
                let mut next = current.clone();
                object::as_map(&mut next).insert("status".to_owned(), status);
                Ok(next)
            });
        if written.is_ok() {
            let kind = if detail.is_some() {
                "Warning"
            } else {
                "Normal"
            };
            self.store_event(store, kind, reason, detail.unwrap_or(message));
        }
    }
}
