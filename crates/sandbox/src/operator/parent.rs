//! The reconciliation of a ClusterExternalSecret: creates, updates and deletes its ExternalSecrets (children).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CONTROLLER, Next, Reconciler, hold};
use crate::{
    object,
    resource::Resource,
    select,
    store::{Preconditions, Write},
};

const FINALIZER: &str = "externalsecrets.external-secrets.io/clusterexternalsecret-cleanup";

/// The annotation that is copied to the children.
const FORCE_SYNC: &str = "external-secrets.io/force-sync";

impl Reconciler {
    /// Reconciles one ClusterExternalSecret.
    pub(super) fn cluster_external_secret(&self, name: &str) -> Next {
        let Some(resource) = Resource::of_plural("clusterexternalsecrets") else {
            return Next::Done;
        };
        let Some(parent) = self.store.get(resource, "", name) else {
            return Next::Done;
        };
        let finalizers = object::items(&parent, "/metadata/finalizers");
        let is_held = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        let write = Write::by(CONTROLLER);
        if object::is_deleting(&parent) {
            self.remove_children(&parent, &BTreeSet::new());
            let mut released = Value::clone(&parent);
            let rest: Vec<Value> = finalizers
                .iter()
                .filter(|finalizer| *finalizer != FINALIZER)
                .cloned()
                .collect();
            object::metadata(&mut released).insert("finalizers".to_owned(), rest.into());
            return done(
                self.store
                    .update(resource, "", name, write, |_| Ok(released))
                    .is_ok(),
            );
        }
        if !is_held {
            let held = hold::held(&parent, FINALIZER);
            return done(
                self.store
                    .update(resource, "", name, write, |_| Ok(held))
                    .is_ok(),
            );
        }
        let selected = self.selected_namespaces(&parent);
        self.remove_children(&parent, &selected);
        let mut provisioned = Vec::new();
        let mut failed = Vec::new();
        for namespace in selected {
            match self.provision(&parent, &namespace) {
                Ok(()) => provisioned.push(namespace),
                Err(reason) => failed.push(json!({"namespace": namespace, "reason": reason})),
            }
        }
        let next = done(failed.is_empty());
        self.write_parent_status(&parent, &provisioned, &failed);
        next
    }

    fn selected_namespaces(&self, parent: &Value) -> BTreeSet<String> {
        let Some(namespaces) = Resource::of_plural("namespaces") else {
            return BTreeSet::new();
        };
        let listed = object::items(parent, "/spec/namespaces");
        let selectors: Vec<&Value> = parent
            .pointer("/spec/namespaceSelector")
            .into_iter()
            .chain(object::items(parent, "/spec/namespaceSelectors"))
            .collect();
        let all = self.store.list(namespaces, None).objects.into_iter();
        let selected = all.filter(|(name, namespace)| {
            listed.iter().any(|listed| listed == name)
                || selectors
                    .iter()
                    .any(|selector| select::matches_selector(selector, namespace))
        });
        selected.map(|(name, _)| name).collect()
    }

    fn provision(&self, parent: &Value, namespace: &str) -> Result<(), String> {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return Ok(());
        };
        let name = child_name(parent);
        let write = Write::by(CONTROLLER);
        let existing = self.store.get(resource, namespace, name);
        let written = match &existing {
            Some(existing) if !is_owned(existing, parent) => {
                return Err("external secret already exists in namespace".to_owned());
            }
            Some(existing) => {
                let wanted = child(parent, Value::clone(existing));
                self.store
                    .update(resource, namespace, name, write, |_| Ok(wanted))
            }
            None => {
                let new = json!({
                    "apiVersion": self.store.api_version(resource), "kind": "ExternalSecret",
                    "metadata": {"namespace": namespace, "name": name},
                });
                self.store.create(resource, child(parent, new), write)
            }
        };
        written.map(drop).map_err(|failure| {
            format!(
                "could not create or update ExternalSecret: {}",
                failure.message
            )
        })
    }

    /// Deletes the children in namespaces that are no longer selected.
    fn remove_children(&self, parent: &Value, selected: &BTreeSet<String>) {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return;
        };
        let provisioned = object::items(parent, "/status/provisionedNamespaces")
            .iter()
            .filter_map(Value::as_str);
        for namespace in provisioned.filter(|namespace| !selected.contains(*namespace)) {
            let name = child_name(parent);
            let existing = self.store.get(resource, namespace, name);
            if existing.is_some_and(|existing| is_owned(&existing, parent)) {
                let deleted =
                    self.store
                        .delete(resource, namespace, name, &Preconditions::default(), false);
                if let Err(failure) = deleted {
                    tracing::debug!(
                        message = failure.message,
                        "the sandbox's operator could not delete a child"
                    );
                }
            }
        }
    }

    fn write_parent_status(&self, parent: &Value, provisioned: &[String], failed: &[Value]) {
        let Some(resource) = Resource::of_plural("clusterexternalsecrets") else {
            return;
        };
        let mut status = json!({
            "conditions": [{"type": "Ready", "status": "True"}],
            "externalSecretName": child_name(parent), "provisionedNamespaces": provisioned,
        });
        if !failed.is_empty() {
            object::set(
                &mut status,
                "conditions",
                json!([{"type": "Ready", "status": "False", "message": "one or more namespaces failed"}]),
            );
            object::set(&mut status, "failedNamespaces", failed);
        }
        let name = object::name(parent);
        // The operator writes this status with a patch, without a resource version.
        let written = self.store.update(
            resource,
            "",
            name,
            Write::by(CONTROLLER).status(),
            |current| {
                let mut next = current.clone();
                object::as_map(&mut next).insert("status".to_owned(), status);
                Ok(next)
            },
        );
        if let Err(failure) = written {
            tracing::debug!(
                message = failure.message,
                "the sandbox's operator could not write a status"
            );
        }
    }
}

fn done(ok: bool) -> Next {
    if ok { Next::Done } else { Next::Failed }
}

fn child_name(parent: &Value) -> &str {
    match object::text(parent, "/spec/externalSecretName") {
        "" => object::name(parent),
        name => name,
    }
}

/// True if an ExternalSecret is a child of this parent.
fn is_owned(external_secret: &Value, parent: &Value) -> bool {
    object::controller(external_secret).is_some_and(|owner| {
        object::text(owner, "/kind") == "ClusterExternalSecret"
            && object::at(owner, "/name") == object::at(parent, "/metadata/name")
    })
}

/// The name of an ExternalSecret's parent, if it is a child.
pub(super) fn parent_of(external_secret: &Value) -> Option<&str> {
    let owner = object::controller(external_secret)
        .filter(|owner| object::text(owner, "/kind") == "ClusterExternalSecret")?;
    object::at(owner, "/name").as_str()
}

/// The child as its parent defines it. Labels, annotations and spec are replaced, so that changes by others are lost.
fn child(parent: &Value, mut child: Value) -> Value {
    let mut annotations = object::at(parent, "/spec/externalSecretMetadata/annotations").clone();
    if let Some(value) = object::annotation(parent, FORCE_SYNC) {
        object::as_map(&mut annotations).insert(FORCE_SYNC.to_owned(), value.into());
    }
    let metadata = object::metadata(&mut child);
    metadata.insert(
        "labels".to_owned(),
        object::at(parent, "/spec/externalSecretMetadata/labels").clone(),
    );
    metadata.insert("annotations".to_owned(), annotations);
    metadata.insert(
        "ownerReferences".to_owned(),
        json!([{
            "apiVersion": object::at(parent, "/apiVersion"), "kind": "ClusterExternalSecret", "name": object::at(parent, "/metadata/name"),
            "uid": object::at(parent, "/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
        }]),
    );
    object::as_map(&mut child).insert(
        "spec".to_owned(),
        object::at(parent, "/spec/externalSecretSpec").clone(),
    );
    child
}
