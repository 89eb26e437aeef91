//! Creates the Secrets of syncs that happened before the sandbox started. Manifests describe these syncs but may omit the
//! Secrets.

use std::collections::BTreeMap;

use eso_model::expected::CreationPolicy;
use serde_json::Value;

use super::{
    Reconciler,
    fetch::{self, Wanted},
    hold,
    spec::Spec,
    target,
    template::Data,
};
use crate::{
    object,
    provider::{Time, setting},
    resource::Resource,
    store::Write,
};

/// A placeholder for `status.syncedResourceVersion` in a manifest: the value for the object as it is in the manifest.
pub(crate) const SYNCED: &str = "${synced}";

impl Reconciler {
    /// Creates the Secret of every loaded ExternalSecret that was synced, with the data at that time, so that the
    /// operator finds nothing to do.
    pub(crate) async fn restore_history(&self) {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return;
        };
        for (_, external_secret) in self.store.list(resource, None).objects {
            let recorded = object::text(&external_secret, "/status/syncedResourceVersion");
            if recorded == SYNCED {
                let restored = self.store.put(resource, self.restored(&external_secret));
                self.restore_secret(&restored, true).await;
            } else if !recorded.is_empty() {
                self.restore_secret(&external_secret, false).await;
            }
            self.restore_edit(&external_secret);
        }
    }

    /// The object as the operator left it after that sync.
    fn restored(&self, external_secret: &Value) -> Value {
        let finalizers = object::items(external_secret, "/metadata/finalizers");
        let is_held = finalizers
            .iter()
            .any(|finalizer| finalizer == hold::FINALIZER);
        let mut restored = if is_held {
            external_secret.clone()
        } else {
            hold::held(external_secret, hold::FINALIZER)
        };
        let version = self.synced_version(&restored);
        object::child(&mut restored, "status")
            .insert("syncedResourceVersion".to_owned(), version.into());
        restored
    }

    /// Writes the Secret of a past sync if it is missing, or always if `again` is true.
    async fn restore_secret(&self, external_secret: &Value, again: bool) {
        let Ok(spec) = Spec::of(external_secret) else {
            return;
        };
        let Some(secrets) = Resource::of_plural("secrets") else {
            return;
        };
        let name = spec.secret_name(object::name(external_secret)).to_owned();
        let existing = self
            .store
            .get(secrets, object::namespace(external_secret), &name);
        // If the binding is empty, the operator wrote no Secret.
        let bound = external_secret
            .pointer("/status/binding/name")
            .and_then(Value::as_str);
        let written = bound != Some("") && spec.target.creation_policy != CreationPolicy::None;
        if !written || (existing.is_some() && !again) {
            return;
        }
        let wanted = Wanted {
            external_secret,
            spec: &spec,
            time: Time::Previous,
        };
        let mut data = fetch::provider_data(self, wanted).await.unwrap_or_default();
        if data.is_empty() {
            data = unknown(&spec);
        }
        if target::write(self, external_secret, &spec, existing.as_deref(), &data).is_err() {
            // The template's result at that time is not known.
            data = unknown(&spec);
            let spec = spec.without_template();
            if target::write(self, external_secret, &spec, existing.as_deref(), &data).is_err() {
                return;
            }
        }
        if existing.is_none() {
            self.backdate(secrets, external_secret, &name);
        }
    }

    /// Applies the edit of the Secret that the annotation `sandbox.eso-sync/edited` describes.
    fn restore_edit(&self, external_secret: &Value) {
        let edit = object::annotation(external_secret, setting::EDITED).and_then(setting::edit);
        let (Some(edit), Ok(spec)) = (edit, Spec::of(external_secret)) else {
            return;
        };
        let Some(secrets) = Resource::of_plural("secrets") else {
            return;
        };
        let namespace = object::namespace(external_secret);
        let name = spec.secret_name(object::name(external_secret));
        if edit.is_null() {
            return self.delete_secret(namespace, name);
        }
        let write = Write::by("kubectl-edit");
        let edited = self
            .store
            .update(secrets, namespace, name, write, |current| {
                let mut next = current.clone();
                object::merge(&mut next, &edit);
                Ok(next)
            });
        if let Err(failure) = edited {
            let message = failure.message;
            tracing::warn!(
                message,
                "the sandbox could not edit the Secret of an ExternalSecret"
            );
        }
    }

    /// Sets the Secret's creation time to the time of the sync.
    fn backdate(&self, secrets: &Resource, external_secret: &Value, name: &str) {
        let time = object::at(external_secret, "/status/refreshTime");
        let Some(secret) = self
            .store
            .get(secrets, object::namespace(external_secret), name)
        else {
            return;
        };
        if let Some(time) = time.as_str() {
            self.store.backdate(secrets, &secret, time);
        }
    }
}

/// Placeholder values for all keys that the Secret must have had.
fn unknown(spec: &Spec) -> Data {
    let keys: Vec<&String> = match &spec.target.template {
        Some(template) if !template.data.is_empty() => template.data.keys().collect(),
        _ => spec.data.iter().map(|data| &data.secret_key).collect(),
    };
    keys.into_iter()
        .map(|key| (key.clone(), b"unknown to the sandbox".to_vec()))
        .collect::<BTreeMap<_, _>>()
}
