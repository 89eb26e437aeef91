//! Pods, and their simulated kubelet. Annotations configure when a Pod becomes ready.

use std::time::Duration;

use eso_model::duration::GoDuration;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Key, Kind, Workloads, condition, number, reference};
use crate::{object, resource::Resource, store::Preconditions};

/// On a Pod, its template or its workload: the time from its start until it is ready, as a duration, or `never`.
const READY_AFTER: &str = "sandbox.eso-sync/ready-after";

/// On a Pod, its template or its workload: `"true"` if its containers crash repeatedly.
const CRASHES: &str = "sandbox.eso-sync/crashes";

/// Validates the annotations of an object. The error is the first invalid key.
pub(crate) fn check(object: &Value) -> Result<(), &'static str> {
    for part in [object, object::at(object, "/spec/template")] {
        match object::annotation(part, READY_AFTER) {
            Some(text) if text != "never" && text.parse::<GoDuration>().is_err() => {
                return Err(READY_AFTER);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A Pod to create.
pub(super) struct NewPod<'a> {
    pub(super) owner: &'a Value,
    pub(super) template: &'a Value,
    pub(super) name: String,
    /// Labels in addition to those of the template.
    pub(super) labels: &'a [(&'a str, &'a str)],
    pub(super) node: &'a str,
}

impl Workloads {
    pub(super) fn make_pod(&self, new: NewPod<'_>) {
        let NewPod {
            owner,
            template,
            name,
            labels,
            node,
        } = new;
        let mut metadata = json!({"namespace": object::namespace(owner), "name": name, "ownerReferences": reference(owner)});
        for field in ["labels", "annotations"] {
            let texts = object::at(template, &format!("/metadata/{field}"));
            if texts.is_object() {
                object::set(&mut metadata, field, texts.clone());
            }
        }
        let own = object::child(&mut metadata, "labels");
        for (key, value) in labels {
            own.insert((*key).to_owned(), (*value).into());
        }
        for key in [READY_AFTER, CRASHES] {
            if let Some(configured) = object::annotation(owner, key) {
                let annotations = object::child(&mut metadata, "annotations");
                annotations.entry(key).or_insert_with(|| configured.into());
            }
        }
        let mut spec = object::at(template, "/spec").clone();
        object::set(&mut spec, "nodeName", node);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        self.create("pods", pod, owner);
    }

    pub(super) fn delete(&self, object: &Value, kind: Kind) {
        if let Some(resource) = kind.resource() {
            let (namespace, name) = (object::namespace(object), object::name(object));
            let deleted =
                self.store
                    .delete(resource, namespace, name, &Preconditions::default(), false);
            if let Err(failure) = deleted {
                let message = failure.message;
                tracing::debug!(
                    message,
                    "a controller of the sandbox could not delete something"
                );
            }
        }
    }

    /// Simulates the kubelet for a Pod.
    pub(super) fn pod(&mut self, key: &Key, pod: &Value) {
        let is_new = ["", "Pending"].contains(&object::text(pod, "/status/phase"));
        if is_new && object::text(pod, "/status/startTime").is_empty() {
            let started = self.start_pod(pod);
            self.change(key, true, |pod| {
                let status = object::child(pod, "status");
                status.extend(object::as_map(&mut started.clone()).clone());
            });
            if self.backdating {
                self.backdate_pod(key);
            }
        } else if let Some(at) = self.ready.get(object::uid(pod)).copied() {
            if at <= Instant::now() {
                self.ready.remove(object::uid(pod));
                let status = running(
                    pod,
                    object::text(pod, "/status/startTime"),
                    &self.now(),
                    true,
                );
                self.change(key, true, |pod| object::set(pod, "status", status));
            } else {
                self.requeue(key, at);
            }
        }
    }

    fn now(&self) -> String {
        crate::time::stamp(self.store.clock)
    }

    fn start_pod(&mut self, pod: &Value) -> Value {
        // While loaded workloads are set up, the Pod already has the creation time of its owner.
        let now = if self.backdating {
            object::text(pod, "/metadata/creationTimestamp").to_owned()
        } else {
            self.now()
        };
        if object::annotation(pod, CRASHES) == Some("true") {
            return crashing(pod, &now);
        }
        let after = match object::annotation(pod, READY_AFTER) {
            Some("never") => None,
            Some(_) if self.backdating => Some(Duration::ZERO),
            text => {
                let after = text.and_then(|text| text.parse().ok());
                Some(after.map_or(Duration::ZERO, |GoDuration(after)| after))
            }
        };
        if let Some(after) = after.filter(|after| !after.is_zero()) {
            let at = Instant::now() + after;
            self.ready.insert(object::uid(pod).to_owned(), at);
        }
        running(pod, &now, &now, after.is_some_and(|after| after.is_zero()))
    }

    fn backdate_pod(&self, key: &Key) {
        if let (Some(resource), Some(pod)) = (Resource::of_plural("pods"), self.get(key)) {
            let time = object::text(&pod, "/status/startTime").to_owned();
            self.store.backdate(resource, &pod, &time);
        }
    }

    /// The active Pods of an object: neither finished nor being deleted.
    pub(super) fn pods_of(&self, owner: &Value) -> Vec<std::sync::Arc<Value>> {
        let mut pods = self.owned(owner, Kind::Pod);
        pods.retain(|pod| !["Succeeded", "Failed"].contains(&object::text(pod, "/status/phase")));
        pods
    }

    /// True if a Pod has been ready for `minReadySeconds`. Otherwise the owner is queued for that time.
    pub(super) fn is_available(&mut self, key: &Key, owner: &Value, pod: &Value) -> bool {
        if !is_ready(pod) {
            return false;
        }
        let seconds = number(owner, "/spec/minReadySeconds", 0);
        let ready = condition::find(object::items(pod, "/status/conditions"), "Ready");
        let since = ready.and_then(|ready| {
            object::text(ready, "/lastTransitionTime")
                .parse::<Timestamp>()
                .ok()
        });
        let Some(time) = since.and_then(|since| {
            since
                .checked_add(jiff::SignedDuration::from_secs(seconds))
                .ok()
        }) else {
            return true;
        };
        if seconds == 0 || time <= self.store.clock.now() {
            return true;
        }
        self.requeue_at_time(key, time);
        false
    }
}

pub(super) fn is_ready(pod: &Value) -> bool {
    condition::is_true(pod, "Ready")
}

fn running(pod: &Value, started: &str, now: &str, ready: bool) -> Value {
    let state = json!({"running": {"startedAt": started}});
    status(pod, (started, now), ready, 0, &state)
}

fn crashing(pod: &Value, now: &str) -> Value {
    let state = json!({"waiting": {
        "reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container",
    }});
    status(pod, (now, now), false, 5, &state)
}

fn status(
    pod: &Value,
    (started, now): (&str, &str),
    ready: bool,
    restarts: u32,
    state: &Value,
) -> Value {
    let containers = object::items(pod, "/spec/containers").iter().map(|container| {
        json!({
            "name": object::at(container, "/name"), "image": object::at(container, "/image"), "ready": ready,
            "started": ready, "restartCount": restarts, "state": state,
        })
    });
    let containers: Vec<Value> = containers.collect();
    let conditions = [
        ("PodScheduled", true),
        ("Initialized", true),
        ("ContainersReady", ready),
        ("Ready", ready),
    ];
    let conditions = conditions.map(|(kind, holds)| {
        let since = if holds && kind.ends_with("Ready") { now } else { started };
        let mut condition = json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": since,
        });
        if !holds {
            object::set(&mut condition, "reason", "ContainersNotReady");
        }
        condition
    });
    json!({
        "phase": "Running", "startTime": started, "conditions": conditions, "containerStatuses": containers,
    })
}
