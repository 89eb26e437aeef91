//! The reconciliation of an ExternalSecret (`Reconcile` in the operator's `externalsecret_controller.go`, v0.20.4).

use eso_model::expected::{CreationPolicy, DeletionPolicy};
use serde_json::Value;

use super::{
    Next, Reconciler,
    fetch::{self, Wanted},
    spec::Spec,
    status::{Verdict, with_status},
    target::{self, WriteError, Written},
    template::Data,
};
use crate::{object, provider::Time, resource::Resource, store::Preconditions};

impl Reconciler {
    /// Reconciles one ExternalSecret.
    pub(super) async fn external_secret(&self, namespace: &str, name: &str) -> Next {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return Next::Done;
        };
        let Some(external_secret) = self.store.get(resource, namespace, name) else {
            return Next::Done;
        };
        if object::is_deleting(&external_secret) {
            return self.release(resource, &external_secret);
        }
        let Some(external_secret) = self.ensure_finalizer(resource, external_secret) else {
            return Next::Failed;
        };
        let Ok(spec) = Spec::of(&external_secret) else {
            return Next::Failed;
        };
        if self.uses_foreign_store(&spec, namespace) {
            return Next::Done;
        }
        let Some(secrets) = Resource::of_plural("secrets") else {
            return Next::Done;
        };
        let secret = self.store.get(secrets, namespace, spec.secret_name(name));
        if let Some(secret) = secret.as_ref().filter(|secret| !target::is_managed(secret)) {
            return if target::mark_managed(self, &external_secret, secret) {
                Next::Again
            } else {
                Next::Failed
            };
        }
        let valid = target::is_valid(secret.as_deref(), &spec, self.algorithm);
        if valid && !self.should_refresh(&external_secret, &spec) {
            return self.wait(&external_secret, &spec);
        }
        self.sync(&external_secret, &spec, secret.as_deref()).await
    }

    async fn sync(&self, external_secret: &Value, spec: &Spec, secret: Option<&Value>) -> Next {
        let start = self.store.clock.now();
        let wanted = Wanted {
            external_secret,
            spec,
            time: Time::Present,
        };
        let mut bound = None;
        let (verdict, next) = match fetch::provider_data(self, wanted).await {
            Err(text) => {
                self.failed(external_secret, &text);
                let message = "could not get secret data from provider";
                (Verdict::Failed { message }, Next::Failed)
            }
            Ok(data)
                if data.is_empty() && spec.target.deletion_policy == DeletionPolicy::Delete =>
            {
                self.delete_target(external_secret, spec, secret)
            }
            Ok(data)
                if data.is_empty() && spec.target.deletion_policy == DeletionPolicy::Retain =>
            {
                let message = "secret retained due to DeletionPolicy=Retain";
                (
                    Verdict::Done {
                        reason: "SecretSynced",
                        message,
                    },
                    Next::Done,
                )
            }
            Ok(data) => match self.write_target(external_secret, spec, secret, &data, &mut bound) {
                Some(written) => written,
                None => return Next::Again,
            },
        };
        let done = matches!(verdict, Verdict::Done { .. });
        let status = self.status(external_secret, verdict, start, bound);
        let next = if done {
            self.wait(&with_status(external_secret, &status), spec)
        } else {
            next
        };
        self.write_status(external_secret, &status, next)
    }

    /// Writes the Secret. Returns None after a conflict with another writer.
    fn write_target(
        &self,
        external_secret: &Value,
        spec: &Spec,
        secret: Option<&Value>,
        data: &Data,
        bound: &mut Option<String>,
    ) -> Option<(Verdict, Next)> {
        let synced = Verdict::Done {
            reason: "SecretSynced",
            message: "secret synced",
        };
        match (spec.target.creation_policy, secret) {
            (CreationPolicy::None, _) => return Some((synced, Next::Done)),
            (CreationPolicy::Merge, None) => {
                let message = "secret will not be created due to CreationPolicy=Merge";
                return Some((
                    Verdict::Done {
                        reason: "SecretMissing",
                        message,
                    },
                    Next::Done,
                ));
            }
            _ => {}
        }
        if secret.is_some() {
            *bound = Some(spec.secret_name(object::name(external_secret)).to_owned());
        }
        let (message, text, next) = match target::write(self, external_secret, spec, secret, data) {
            Ok(written) => {
                *bound = Some(spec.secret_name(object::name(external_secret)).to_owned());
                match written {
                    Written::Created => {
                        self.event(external_secret, "Normal", "Created", "secret created");
                    }
                    Written::Updated => {
                        self.event(external_secret, "Normal", "Updated", "secret updated");
                    }
                    Written::Unchanged => {}
                }
                return Some((synced, Next::Done));
            }
            Err(WriteError::Conflict) => return None,
            Err(WriteError::Final { condition, text }) => (condition, text, Next::Done),
            Err(WriteError::Failed(text)) => ("could not update secret", text, Next::Failed),
        };
        self.failed(external_secret, &text);
        Some((Verdict::Failed { message }, next))
    }

    fn delete_target(
        &self,
        external_secret: &Value,
        spec: &Spec,
        secret: Option<&Value>,
    ) -> (Verdict, Next) {
        let name = spec.secret_name(object::name(external_secret));
        if spec.target.creation_policy != CreationPolicy::Owner {
            let policy = spec.target.creation_policy;
            self.failed(
                external_secret,
                &format!("unable to delete secret {name}: creationPolicy={policy:?} is not Owner"),
            );
            return (
                Verdict::Failed {
                    message: "could not delete secret",
                },
                Next::Done,
            );
        }
        if secret.is_some() {
            self.delete_secret(object::namespace(external_secret), name);
            let message = "secret deleted due to DeletionPolicy=Delete";
            self.event(external_secret, "Normal", "Deleted", message);
        }
        let message = "secret deleted due to DeletionPolicy=Delete";
        (
            Verdict::Done {
                reason: "SecretDeleted",
                message,
            },
            Next::Done,
        )
    }

    pub(super) fn delete_secret(&self, namespace: &str, name: &str) {
        if let Some(secrets) = Resource::of_plural("secrets") {
            let deleted =
                self.store
                    .delete(secrets, namespace, name, &Preconditions::default(), false);
            if let Err(failure) = deleted {
                tracing::debug!(
                    message = failure.message,
                    "the sandbox's operator could not delete a Secret"
                );
            }
        }
    }

    fn failed(&self, external_secret: &Value, text: &str) {
        self.event(external_secret, "Warning", "UpdateFailed", text);
    }
}
