//! What happened before the sandbox began: manifests tell of syncs whose Secrets they need not bring along.

use std::collections::BTreeMap;

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
    provider::{Time, knob},
    resource::Resource,
    store::Write,
};

/// In a manifest's `status.syncedResourceVersion`: that of the object as it stands there.
pub(crate) const SYNCED: &str = "${synced}";

impl Reconciler {
    /// Makes true what loaded ExternalSecrets say of their past: whatever was synced has its Secret, with the data of then,
    /// so that the operator finds everything as it left it.
    pub(crate) async fn recall(&self) {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return;
        };
        for (_, external_secret) in self.store.list(resource, None).objects {
            let recorded = object::text(&external_secret, "/status/syncedResourceVersion");
            if recorded == SYNCED {
                let recalled = self.store.put(resource, self.recalled(&external_secret));
                self.recall_secret(&recalled, true).await;
            } else if !recorded.is_empty() {
                self.recall_secret(&external_secret, false).await;
            }
            self.recall_edit(&external_secret);
        }
    }

    /// The object as the operator left it after the sync that it tells of.
    fn recalled(&self, external_secret: &Value) -> Value {
        let finalizers = object::items(external_secret, "/metadata/finalizers");
        let is_held = finalizers
            .iter()
            .any(|finalizer| finalizer == hold::FINALIZER);
        let mut recalled = if is_held {
            external_secret.clone()
        } else {
            hold::held(external_secret, hold::FINALIZER)
        };
        let version = self.synced_version(&recalled);
        object::child(&mut recalled, "status")
            .insert("syncedResourceVersion".to_owned(), version.into());
        recalled
    }

    /// Writes the Secret of a past sync, where it is missing or (`again`) in any case.
    async fn recall_secret(&self, external_secret: &Value, again: bool) {
        let Ok(mut spec) = Spec::of(external_secret) else {
            return;
        };
        let Some(secrets) = Resource::of_plural("secrets") else {
            return;
        };
        let name = spec.secret_name(object::name(external_secret)).to_owned();
        let existing = self
            .store
            .get(secrets, object::namespace(external_secret), &name);
        // Where the operator bound nothing it wrote nothing.
        let bound = external_secret
            .pointer("/status/binding/name")
            .and_then(Value::as_str);
        let written = bound != Some("") && spec.target.creation_policy != "None";
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
            // What its template made of the data then is not known here.
            data = unknown(&spec);
            spec.target.template = None;
            if target::write(self, external_secret, &spec, existing.as_deref(), &data).is_err() {
                return;
            }
        }
        if existing.is_none() {
            self.date_back(secrets, external_secret, &name);
        }
    }

    /// Does to the Secret what somebody did behind the operator's back.
    fn recall_edit(&self, external_secret: &Value) {
        let edit = object::annotation(external_secret, knob::EDITED).and_then(knob::edit);
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

    /// The Secret is as old as the sync.
    fn date_back(&self, secrets: &Resource, external_secret: &Value, name: &str) {
        let time = object::at(external_secret, "/status/refreshTime");
        let Some(secret) = self
            .store
            .get(secrets, object::namespace(external_secret), name)
        else {
            return;
        };
        if let Some(time) = time.as_str() {
            self.store.date_back(secrets, &secret, time);
        }
    }
}

/// Something under each key that a Secret must have had.
fn unknown(spec: &Spec) -> Data {
    let keys: Vec<&String> = match &spec.target.template {
        Some(template) if !template.data.is_empty() => template.data.keys().collect(),
        _ => spec.data.iter().map(|data| &data.secret_key).collect(),
    };
    keys.into_iter()
        .map(|key| (key.clone(), b"not known to the sandbox".to_vec()))
        .collect::<BTreeMap<_, _>>()
}
