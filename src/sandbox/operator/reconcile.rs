//! The reconciliation of an ExternalSecret (`Reconcile` in the operator's `externalsecret_controller.go`, v0.20.4).

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    CLASS, CONTROLLER, Next, Reconciler,
    fetch::{self, Wanted},
    spec::Spec,
    target::{self, Refusal, Written},
};
use crate::{
    duration::GoDuration,
    eso::digest,
    sandbox::{
        object,
        provider::Time,
        resource::Resource,
        store::{Preconditions, Write},
        time::{stamp, whole_seconds},
    },
};

pub(super) const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";

/// A success or a failure, to be written into the status.
enum Verdict {
    Done {
        reason: &'static str,
        message: &'static str,
    },
    Failed {
        message: &'static str,
    },
}

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
        let Some(external_secret) = self.hold(resource, external_secret) else {
            return Next::Failed;
        };
        let Ok(spec) = Spec::of(&external_secret) else {
            return Next::Failed;
        };
        if self.is_foreign(&spec, namespace) {
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
            Ok(data) if data.is_empty() && spec.target.deletion_policy == "Delete" => {
                self.delete_target(external_secret, spec, secret)
            }
            Ok(data) if data.is_empty() && spec.target.deletion_policy == "Retain" => {
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
        self.write_status(external_secret, status, next)
    }

    /// Writes the Secret. None: somebody else did meanwhile.
    fn write_target(
        &self,
        external_secret: &Value,
        spec: &Spec,
        secret: Option<&Value>,
        data: &super::template::Data,
        bound: &mut Option<String>,
    ) -> Option<(Verdict, Next)> {
        let synced = Verdict::Done {
            reason: "SecretSynced",
            message: "secret synced",
        };
        match (spec.target.creation_policy.as_str(), secret) {
            ("None", _) => return Some((synced, Next::Done)),
            ("Merge", None) => {
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
                        self.event(external_secret, "Normal", "Created", "secret created")
                    }
                    Written::Updated => {
                        self.event(external_secret, "Normal", "Updated", "secret updated")
                    }
                    Written::Unchanged => {}
                }
                return Some((synced, Next::Done));
            }
            Err(Refusal::Conflict) => return None,
            Err(Refusal::Final { condition, text }) => (condition, text, Next::Done),
            Err(Refusal::Failed(text)) => ("could not update secret", text, Next::Failed),
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
        if spec.target.creation_policy != "Owner" {
            let policy = &spec.target.creation_policy;
            self.failed(
                external_secret,
                &format!("unable to delete secret {name}: creationPolicy={policy} is not Owner"),
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

    fn delete_secret(&self, namespace: &str, name: &str) {
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

    /// The status after a verdict.
    fn status(
        &self,
        external_secret: &Value,
        verdict: Verdict,
        start: Timestamp,
        bound: Option<String>,
    ) -> Value {
        let mut status = external_secret["status"].clone();
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

    fn write_status(&self, external_secret: &Value, status: Value, next: Next) -> Next {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return next;
        };
        if status == external_secret["status"] {
            return next;
        }
        let (namespace, name) = (
            object::namespace(external_secret),
            object::name(external_secret),
        );
        let write = Write::by(CONTROLLER).status();
        // The version that was read goes along: who annotated meanwhile wins, and the operator looks again.
        let asked = with_status(external_secret, &status);
        match self
            .store
            .update(resource, namespace, name, write, |_| Ok(asked))
        {
            Ok(_) => next,
            Err(failure) if failure.code == 409 && !matches!(next, Next::Failed) => Next::Again,
            Err(_) => Next::Failed,
        }
    }

    /// `status.syncedResourceVersion` for an object as it is.
    pub(super) fn synced_version(&self, external_secret: &Value) -> String {
        digest::synced_resource_version(
            self.algorithm,
            object::generation(external_secret),
            &object::texts(external_secret, "/metadata/annotations"),
            &object::texts(external_secret, "/metadata/labels"),
        )
    }

    fn should_refresh(&self, external_secret: &Value, spec: &Spec) -> bool {
        let recorded = object::text(external_secret, "/status/syncedResourceVersion");
        let refreshed = refresh_time(external_secret);
        let never = recorded.is_empty() || refreshed.is_none();
        let changed = || recorded != self.synced_version(external_secret);
        match spec.refresh_policy.as_str() {
            "CreatedOnce" => never,
            "OnChange" => never || changed(),
            _ => {
                let interval = spec.interval();
                if interval.is_zero() && !recorded.is_empty() {
                    return false;
                }
                let now = self.store.clock.now();
                changed()
                    || refreshed.is_none_or(|refreshed| {
                        let due = SignedDuration::try_from(interval)
                            .ok()
                            .and_then(|interval| refreshed.checked_add(interval).ok());
                        refreshed > now || due.is_some_and(|due| due < now)
                    })
            }
        }
    }

    /// When the operator looks again at an object that is in order (`getRequeueResult`).
    fn wait(&self, external_secret: &Value, spec: &Spec) -> Next {
        let interval = spec.interval();
        if interval.is_zero() {
            return Next::Done;
        }
        let Some(refreshed) = refresh_time(external_secret) else {
            return Next::After(interval);
        };
        let age = self.store.clock.now().duration_since(refreshed);
        match Duration::try_from(age) {
            Ok(age) if age < interval => Next::After(interval.saturating_sub(age)),
            _ => Next::Again,
        }
    }

    /// Whether it uses a store of another controller class. Then the operator does not touch it.
    fn is_foreign(&self, spec: &Spec, namespace: &str) -> bool {
        // As in the operator, the namespace is lost after the first store of the whole cluster.
        let mut namespace = namespace;
        for reference in spec.stores() {
            if reference.is_cluster_wide() {
                namespace = "";
            }
            let store = self.store_of(reference, namespace);
            if store.is_some_and(|store| {
                !matches!(object::text(&store, "/spec/controller"), "" | CLASS)
            }) {
                return true;
            }
        }
        false
    }

    /// Adds the operator's finalizer, and writes the interval in Go's form, as any write by the operator does.
    fn hold(&self, resource: &Resource, external_secret: Arc<Value>) -> Option<Arc<Value>> {
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

    fn release(&self, resource: &Resource, external_secret: &Value) -> Next {
        let (namespace, name) = (
            object::namespace(external_secret),
            object::name(external_secret),
        );
        if let Ok(spec) = Spec::of(external_secret) {
            let secret = spec.secret_name(name);
            let secrets = Resource::of_plural("secrets");
            let found = secrets.and_then(|secrets| self.store.get(secrets, namespace, secret));
            let is_owned = found.is_some_and(|secret| {
                object::controller(&secret)
                    .is_some_and(|owner| owner["uid"] == external_secret["metadata"]["uid"])
            });
            if is_owned && spec.target.deletion_policy == "Delete" {
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

/// An object with the operator's finalizer, as the operator writes it back: Go fills in and rewrites some of the spec.
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

/// Go prints a duration with all units below the first: `1h0m0s`.
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

fn with_status(external_secret: &Value, status: &Value) -> Value {
    let mut next = external_secret.clone();
    object::as_map(&mut next).insert("status".to_owned(), status.clone());
    next
}

fn refresh_time(external_secret: &Value) -> Option<Timestamp> {
    object::text(external_secret, "/status/refreshTime")
        .parse()
        .ok()
}

/// `SetExternalSecretCondition`: what is the same stays as it is, and the time moves only with the status.
fn conditions(before: &[Value], mut condition: Value) -> Value {
    let same = |key: &str, other: &Value| other[key] == condition[key];
    let current = before
        .iter()
        .find(|current| current["type"] == "Ready")
        .cloned();
    if let Some(current) = current {
        if ["status", "reason", "message"]
            .iter()
            .all(|key| same(key, &current))
        {
            return before.into();
        }
        if same("status", &current) {
            condition["lastTransitionTime"] = current["lastTransitionTime"].clone();
        }
    }
    let others = before
        .iter()
        .filter(|other| other["type"] != "Ready")
        .cloned();
    others.chain([condition]).collect()
}
