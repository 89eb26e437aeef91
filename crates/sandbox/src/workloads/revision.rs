//! The template versions of a StatefulSet or DaemonSet, each in a ControllerRevision.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Workloads, family, number, reference};
use crate::{object, resource::Resource};

/// The label that identifies the template of a Pod.
pub(super) const HASH: &str = "controller-revision-hash";

impl Workloads {
    /// The revision of the current template. Creates it if it does not exist.
    pub(super) fn ensure_revision(&self, owner: &Value) -> String {
        let template = object::at(owner, "/spec/template");
        let name = format!("{}-{}", object::name(owner), family::hash(template));
        let found = self.revisions(owner);
        let last = found
            .iter()
            .map(|revision| number(revision, "/revision", 0))
            .max()
            .unwrap_or_default();
        if !found.iter().any(|revision| object::name(revision) == name) {
            let revision = json!({
                "apiVersion": "apps/v1", "kind": "ControllerRevision",
                "metadata": {"namespace": object::namespace(owner), "name": name, "ownerReferences": reference(owner)},
                "data": {"spec": {"template": template}}, "revision": last + 1,
            });
            self.create("controllerrevisions", revision, owner);
        }
        name
    }

    /// The template of a revision.
    pub(super) fn template_of(&self, owner: &Value, revision: &str) -> Value {
        let found = self.revisions(owner);
        let found = found.iter().find(|found| object::name(found) == revision);
        let template = found.and_then(|found| found.pointer("/data/spec/template"));
        template
            .unwrap_or_else(|| object::at(owner, "/spec/template"))
            .clone()
    }

    fn revisions(&self, owner: &Value) -> Vec<Arc<Value>> {
        let Some(resource) = Resource::of_plural("controllerrevisions") else {
            return Vec::new();
        };
        self.store.owned_by(resource, object::uid(owner))
    }
}
