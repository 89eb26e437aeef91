//! The operator's finalizer. It keeps a deleted ExternalSecret until the operator has cleaned up.

use std::sync::Arc;

use eso_model::{duration::GoDuration, expected::DeletionPolicy};
use serde_json::{Value, json};

use super::{CONTROLLER, Next, Reconciler, spec::Spec};
use crate::{object, resource::Resource, store::Write};

pub(super) const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";

impl Reconciler {
    /// Adds the operator's finalizer and writes durations in Go's format, as every write by the operator does.
    pub(super) fn ensure_finalizer(
        &self,
        resource: &Resource,
        external_secret: Arc<Value>,
    ) -> Option<Arc<Value>> {
        let finalizers = object::items(&external_secret, "/metadata/finalizers");
        if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Some(external_secret);
        }
        let (namespace, name) = (
            object::namespace(&external_secret),
            object::name(&external_secret),
        );
        let held = held(&external_secret, FINALIZER);
        self.store
            .update(resource, namespace, name, Write::by(CONTROLLER), |_| {
                Ok(held)
            })
            .ok()
    }

    /// Cleans up after a deleted object and removes the finalizer.
    pub(super) fn release(&self, resource: &Resource, external_secret: &Value) -> Next {
        let (namespace, name) = (
            object::namespace(external_secret),
            object::name(external_secret),
        );
        if let Ok(spec) = Spec::of(external_secret) {
            let secret = spec.secret_name(name);
            let secrets = Resource::of_plural("secrets");
            let found = secrets.and_then(|secrets| self.store.get(secrets, namespace, secret));
            let is_owned = found.is_some_and(|secret| {
                object::controller(&secret).is_some_and(|owner| {
                    object::at(owner, "/uid") == object::at(external_secret, "/metadata/uid")
                })
            });
            if is_owned && spec.target.deletion_policy == DeletionPolicy::Delete {
                self.delete_secret(namespace, secret);
            }
        }
        let mut released = external_secret.clone();
        let finalizers: Vec<Value> =
            object::items(external_secret, "/metadata/finalizers").to_vec();
        let rest: Vec<Value> = finalizers
            .into_iter()
            .filter(|finalizer| finalizer != FINALIZER)
            .collect();
        object::metadata(&mut released).insert("finalizers".to_owned(), rest.into());
        match self
            .store
            .update(resource, namespace, name, Write::by(CONTROLLER), |_| {
                Ok(released)
            }) {
            Ok(_) => Next::Done,
            Err(failure) if failure.code == 404 => Next::Done,
            Err(_) => Next::Failed,
        }
    }
}

/// An object with the operator's finalizer, as the operator writes it back: Go adds defaults and reformats durations.
pub(super) fn held(object: &Value, finalizer: &str) -> Value {
    let mut held = object.clone();
    let mut finalizers = object::items(object, "/metadata/finalizers").to_vec();
    finalizers.push(finalizer.into());
    object::metadata(&mut held).insert("finalizers".to_owned(), finalizers.into());
    if let Some(Value::Object(template)) = held.pointer_mut("/spec/target/template") {
        template.entry("metadata").or_insert_with(|| json!({}));
    }
    for pointer in [
        "/spec/refreshInterval",
        "/spec/externalSecretSpec/refreshInterval",
    ] {
        if let Some(interval) = held.pointer_mut(pointer) {
            let go = interval
                .as_str()
                .and_then(|text| text.parse().ok())
                .map(go_form);
            if let Some(go) = go {
                *interval = go.into();
            }
        }
    }
    held
}

/// Formats a duration like Go, with all smaller units: `1h0m0s`.
fn go_form(GoDuration(duration): GoDuration) -> String {
    let whole = duration.as_secs();
    let (hours, minutes, seconds) = (whole / 3600, whole % 3600 / 60, whole % 60);
    match (hours, minutes) {
        _ if duration.subsec_nanos() > 0 => GoDuration(duration).to_string(),
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}
