//! Writes Events and counts repeated ones, like client-go's recorder. Unlike it, writes every event: similar ones are not
//! combined, and the rate is not limited.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};

use super::CONTROLLER;
use crate::{
    object,
    resource::Resource,
    store::{Store, Write},
    time,
};

/// Writes Events about objects.
pub(super) struct Recorder {
    component: &'static str,
    /// The written events, by object, type, reason and message.
    records: Mutex<BTreeMap<String, EventRecord>>,
}

struct EventRecord {
    name: String,
    count: u64,
}

impl Recorder {
    /// A recorder with this `source.component`.
    pub(super) fn new(component: &'static str) -> Self {
        Self {
            component,
            records: Mutex::default(),
        }
    }

    /// Forgets all earlier events, like a new process.
    pub(super) fn forget(&self) {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Writes an event of type `Normal` or `Warning`.
    pub(super) fn event(
        &self,
        store: &Store,
        about: &Value,
        kind: &str,
        reason: &str,
        message: &str,
    ) {
        let Some(events) = Resource::of_plural("events") else {
            return;
        };
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!(
            "{}/{}/{}/{kind}/{reason}/{message}",
            object::at(about, "/kind"),
            object::uid(about),
            object::name(about)
        );
        let record = records.entry(key).or_insert_with(|| EventRecord {
            name: event_name(store, about),
            count: 0,
        });
        record.count += 1;
        let namespace = match object::namespace(about) {
            "" => "default",
            namespace => namespace,
        };
        if record.count > 1 && raise(store, events, namespace, record) {
            return;
        }
        let event = self.event_object(store, about, namespace, record, (kind, reason, message));
        if let Err(failure) = store.create(events, event, Write::by(CONTROLLER)) {
            tracing::debug!(
                message = failure.message,
                "the sandbox's operator could not write an event"
            );
        }
    }

    fn event_object(
        &self,
        store: &Store,
        about: &Value,
        namespace: &str,
        record: &EventRecord,
        (kind, reason, message): (&str, &str, &str),
    ) -> Value {
        let now = time::stamp(store.clock);
        let mut involved = json!({
            "kind": object::at(about, "/kind"), "name": object::name(about), "uid": object::uid(about),
            "apiVersion": object::at(about, "/apiVersion"), "resourceVersion": object::version(about),
        });
        if !object::namespace(about).is_empty() {
            object::set(&mut involved, "namespace", object::namespace(about));
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": record.name, "namespace": namespace},
            "involvedObject": involved, "reason": reason, "message": message, "type": kind,
            "source": {"component": self.component}, "reportingComponent": self.component, "reportingInstance": "",
            "firstTimestamp": now, "lastTimestamp": now, "count": record.count, "eventTime": null,
        })
    }
}

/// Updates the count and time of a repeated event. Returns false if the event no longer exists.
fn raise(store: &Store, events: &Resource, namespace: &str, record: &EventRecord) -> bool {
    let write = Write::by(CONTROLLER);
    let raised = store.update(events, namespace, &record.name, write, |event| {
        let mut event = event.clone();
        let map = object::as_map(&mut event);
        map.insert("count".to_owned(), record.count.into());
        map.insert("lastTimestamp".to_owned(), time::stamp(store.clock).into());
        Ok(event)
    });
    raised.is_ok()
}

/// The object's name and the time in nanoseconds, in hexadecimal.
fn event_name(store: &Store, about: &Value) -> String {
    let name = object::name(about);
    let mut nanos = store.clock.now().as_nanosecond();
    let taken = |nanos: i128| {
        let events = Resource::of_plural("events");
        events.is_some_and(|events| {
            store
                .get(
                    events,
                    object::namespace(about),
                    &format!("{name}.{nanos:x}"),
                )
                .is_some()
        })
    };
    // The clock can be paused, so two events can have the same time.
    while taken(nanos) {
        nanos += 1;
    }
    format!("{name}.{nanos:x}")
}
