//! Writes Events like client-go's recorder: it counts repeated events, combines similar ones, and limits the rate for
//! each object.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::CONTROLLER;
use crate::{
    object,
    resource::Resource,
    store::{Store, Write},
    time,
};

/// The burst of Events for one object, and the time in which one more is allowed.
const EVENT_BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_mins(5);

/// The number of different messages with one reason within ten minutes at which they are combined.
const MESSAGES: usize = 10;
const MESSAGES_WITHIN: Duration = Duration::from_mins(10);

/// Writes Events about objects.
pub(super) struct Recorder {
    component: &'static str,
    aggregator: Mutex<Aggregator>,
}

#[derive(Default)]
struct Aggregator {
    events: BTreeMap<String, EventRecord>,
    messages: BTreeMap<String, (Instant, BTreeSet<String>)>,
    spam: BTreeMap<String, (Instant, f64)>,
}

#[derive(Clone)]
struct EventRecord {
    name: String,
    count: u64,
}

impl Recorder {
    /// A recorder with this `source.component`.
    pub(super) fn new(component: &'static str) -> Self {
        Self {
            component,
            aggregator: Mutex::default(),
        }
    }

    /// Forgets all earlier events, like a new process.
    pub(super) fn forget(&self) {
        *self
            .aggregator
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Aggregator::default();
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
        let mut aggregator = self
            .aggregator
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let of_object = format!(
            "{}/{}/{}",
            object::at(about, "/kind"),
            object::uid(about),
            object::name(about)
        );
        let of_reason = format!("{of_object}/{kind}/{reason}");
        let (message, key) = if aggregator.must_combine(&of_reason, message) {
            (
                format!("(combined from similar events): {message}"),
                of_reason,
            )
        } else {
            (message.to_owned(), format!("{of_reason}/{message}"))
        };
        let record = aggregator.count_event(key.clone(), || event_name(store, about));
        if !aggregator.allows(&of_object) {
            return;
        }
        let namespace = match object::namespace(about) {
            "" => "default",
            namespace => namespace,
        };
        if record.count > 1 && raise(store, events, namespace, &record, &message) {
            return;
        }
        let event = self.event_object(store, about, namespace, &record, (kind, reason, &message));
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

fn raise(
    store: &Store,
    events: &Resource,
    namespace: &str,
    record: &EventRecord,
    message: &str,
) -> bool {
    let write = Write::by(CONTROLLER);
    let raised = store.update(events, namespace, &record.name, write, |event| {
        let mut event = event.clone();
        let map = object::as_map(&mut event);
        map.insert("count".to_owned(), record.count.into());
        map.insert("message".to_owned(), message.into());
        map.insert("lastTimestamp".to_owned(), time::stamp(store.clock).into());
        Ok(event)
    });
    raised.is_ok()
}

impl Aggregator {
    /// True if there are too many different messages with this reason.
    fn must_combine(&mut self, of_reason: &str, message: &str) -> bool {
        let now = Instant::now();
        let fresh = (now, BTreeSet::new());
        let (last, messages) = self.messages.entry(of_reason.to_owned()).or_insert(fresh);
        if now.duration_since(*last) > MESSAGES_WITHIN {
            messages.clear();
        }
        *last = now;
        messages.insert(message.to_owned());
        messages.len() >= MESSAGES
    }

    fn count_event(&mut self, key: String, name: impl FnOnce() -> String) -> EventRecord {
        let record = self.events.entry(key).or_insert_with(|| EventRecord {
            name: name(),
            count: 0,
        });
        record.count += 1;
        record.clone()
    }

    /// True if the rate limit of the object allows another event.
    fn allows(&mut self, of_object: &str) -> bool {
        let now = Instant::now();
        let (last, tokens) = self
            .spam
            .entry(of_object.to_owned())
            .or_insert((now, EVENT_BURST));
        *tokens = (*tokens + now.duration_since(*last).div_duration_f64(REFILL)).min(EVENT_BURST);
        *last = now;
        let allowed = *tokens >= 1.0;
        if allowed {
            *tokens -= 1.0;
        }
        allowed
    }
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
