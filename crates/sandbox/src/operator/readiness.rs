//! The validation of stores. A store is Ready unless a Secret with its credentials is missing or an annotation says that
//! it is not.

use std::sync::PoisonError;

use serde_json::{Value, json};

use super::{CLASS, CONTROLLER, Reconciler};
use crate::{object, provider::setting, resource::Resource, store::Write, time::stamp};

impl Reconciler {
    /// Sets a store's Ready condition. A condition from a manifest is kept until there is a reason to change it, because
    /// the sandbox cannot check what caused it.
    pub(super) fn validate(&self, resource: &Resource, store: &Value) {
        if !matches!(object::text(store, "/spec/controller"), "" | CLASS)
            || object::is_deleting(store)
        {
            return;
        }
        let conditions = object::items(store, "/status/conditions").iter();
        let current = conditions
            .clone()
            .find(|condition| object::text(condition, "/type") == "Ready");
        let configured = object::annotation(store, setting::NOT_READY).map(str::to_owned);
        if configured.is_none() && current.is_some() && !self.has_validated(store) {
            return;
        }
        let problem =
            configured.or_else(|| self.missing_secret(store, object::at(store, "/spec/provider")));
        let (ready, reason, message) = match problem {
            Some(_) => ("False", "InvalidProviderConfig", "unable to create client"),
            None => ("True", "Valid", "store validated"),
        };
        self.note_validated(store);
        if current.is_some_and(|current| object::text(current, "/status") == ready) {
            return;
        }
        let condition = json!({
            "type": "Ready", "status": ready, "reason": reason, "message": message,
            "lastTransitionTime": stamp(self.store.clock),
        });
        let mut status = json!({"conditions": [condition]});
        if problem.is_none() {
            object::set(&mut status, "capabilities", "ReadWrite");
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
            let kind = if problem.is_some() {
                "Warning"
            } else {
                "Normal"
            };
            self.store_event(store, kind, reason, problem.as_deref().unwrap_or(message));
        }
    }

    fn has_validated(&self, store: &Value) -> bool {
        let validated = self
            .validated
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        validated.contains(object::uid(store))
    }

    fn note_validated(&self, store: &Value) {
        let mut validated = self
            .validated
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        validated.insert(object::uid(store).to_owned());
    }

    /// The message of the operator's Event about the first missing Secret that the store's spec names.
    fn missing_secret(&self, store: &Value, part: &Value) -> Option<String> {
        let members = part.as_object()?;
        for (key, member) in members {
            let name = object::text(member, "/name");
            if key.to_lowercase().ends_with("secretref") && !name.is_empty() {
                let namespace = match (object::namespace(store), object::text(member, "/namespace"))
                {
                    // In a ClusterSecretStore, a reference without a namespace means the ExternalSecret's namespace,
                    // which is not known here.
                    ("", "") => continue,
                    ("", named) => named,
                    (own, _) => own,
                };
                if self
                    .store
                    .get(Resource::of_plural("secrets")?, namespace, name)
                    .is_none()
                {
                    return Some(format!(
                        "cannot get Kubernetes secret {name:?} from namespace {namespace:?}: secrets {name:?} not found"
                    ));
                }
            }
            if let Some(missing) = self.missing_secret(store, member) {
                return Some(missing);
            }
        }
        None
    }
}
