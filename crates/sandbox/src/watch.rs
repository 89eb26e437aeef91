//! Watch requests: every change after a resource version, exactly once and in order, until the timeout.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use futures::Stream;
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    call::{Call, Target},
    failure::Failure,
    object,
    resource::Resource,
    select::Filter,
    store::{Change, Changes, Compacted, Store},
};

/// The timeout of a watch without `timeoutSeconds`.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// The interval between bookmarks.
const BOOKMARKS: Duration = Duration::from_mins(1);

/// The time between the last bookmark and the end of a short watch.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Faults that tests apply to open watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WatchFaults {
    /// Incremented to close all open watches.
    pub(super) cuts: u64,
    /// Keep watches open, but send nothing.
    pub(super) silent: bool,
}

/// An open watch.
pub(super) struct Watch {
    store: Arc<Store>,
    resource: &'static Resource,
    namespace: String,
    filter: Filter,
    bookmarks: bool,
    cursor: u64,
    pending: VecDeque<Bytes>,
    next_bookmark: Instant,
    deadline: Instant,
    ended: bool,
    revision: watch::Receiver<u64>,
    faults: watch::Receiver<WatchFaults>,
    cuts: u64,
}

impl Watch {
    /// Opens the watch that a request asks for.
    pub(super) fn open(
        store: &Arc<Store>,
        call: &Call,
        target: &Target<'_>,
        mut faults: watch::Receiver<WatchFaults>,
    ) -> Result<Self, Failure> {
        let resource = target.resource;
        let filter = Filter::parse(
            call.parameter("labelSelector"),
            call.parameter("fieldSelector"),
        )?;
        let version = call.parameter("resourceVersion");
        let from = match version {
            "" | "0" => None,
            _ if call.flag("sendInitialEvents") => None,
            version => Some(version.parse().map_err(|_| unreadable(version))?),
        };
        let seconds = call
            .parameter("timeoutSeconds")
            .parse()
            .ok()
            .filter(|seconds| *seconds > 0);
        let timeout = seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let now = Instant::now();
        let deadline = now + timeout;
        let cuts = faults.borrow_and_update().cuts;
        let mut watch = Self {
            resource,
            namespace: target.namespace.to_owned(),
            filter,
            bookmarks: call.flag("allowWatchBookmarks"),
            cursor: from.unwrap_or_default(),
            pending: VecDeque::new(),
            next_bookmark: first_bookmark(now, timeout),
            deadline,
            ended: false,
            revision: store.subscribe(),
            faults,
            cuts,
            store: Arc::clone(store),
        };
        if from.is_none() {
            // Without a version and with version 0, a watch starts with all current objects. With 0, a bookmark marks the
            // end of these.
            watch.push_current(!version.is_empty() || call.flag("sendInitialEvents"));
        }
        Ok(watch)
    }

    /// The response body: one line for each event.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            Some((line.map(Frame::data), watch))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let WatchFaults { cuts, silent } = *self.faults.borrow_and_update();
            if cuts != self.cuts {
                return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
            if silent {
                // Returns None when the sandbox is dropped.
                self.faults.changed().await.ok()?;
                continue;
            }
            if let Some(line) = self.pending.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            self.revision.borrow_and_update();
            self.collect();
            if !self.pending.is_empty() {
                continue;
            }
            self.wait().await;
        }
    }

    /// Waits for a change, a bookmark or the timeout.
    async fn wait(&mut self) {
        let bookmark = if self.bookmarks {
            self.next_bookmark
        } else {
            self.deadline
        };
        tokio::select! {
            changed = self.revision.changed() => self.ended = changed.is_err(),
            _ = self.faults.changed() => {}
            () = tokio::time::sleep_until(bookmark.min(self.deadline)) => {
                let now = Instant::now();
                if now >= self.deadline {
                    self.ended = true;
                } else {
                    self.bookmark(None);
                    self.next_bookmark = now + BOOKMARKS;
                }
            }
        }
    }

    /// Converts the changes since the last call into lines.
    fn collect(&mut self) {
        // Read the revision before the last change, so that a change between the two is not skipped.
        let revision = self.store.revision();
        if self.store.last_change(self.resource) <= self.cursor {
            self.cursor = self.cursor.max(revision);
            return;
        }
        match self.store.changes_since(self.resource, self.cursor) {
            Ok(Changes { revision, changes }) => {
                for change in changes {
                    self.push_change(&change);
                }
                // A watch from a future resource version sends nothing until that version is reached.
                self.cursor = self.cursor.max(revision);
            }
            Err(Compacted(oldest)) => {
                let message = format!("too old resource version: {} ({oldest})", self.cursor);
                let line = line("ERROR", &Failure::expired(message).to_json());
                self.pending.push_back(line);
                self.ended = true;
            }
        }
    }

    fn push_change(&mut self, change: &Change) {
        let covers = |object: &&Arc<Value>| {
            let here = self.namespace.is_empty() || object::namespace(object) == self.namespace;
            here && self.filter.matches(object)
        };
        let before = change.before.as_ref().filter(covers);
        let after = Some(&change.object)
            .filter(covers)
            .filter(|_| !change.deleted);
        match (before, after) {
            (None, Some(object)) => self.push("ADDED", object),
            (Some(_), Some(object)) => self.push("MODIFIED", object),
            (Some(_), None) if change.deleted => self.push("DELETED", &change.object),
            // The object no longer matches the watch. It is sent in its last matching state, with the resource version of
            // the change.
            (Some(before), None) => {
                let mut last = Value::clone(before);
                let version = change.revision.to_string();
                object::metadata(&mut last).insert("resourceVersion".to_owned(), version.into());
                self.push("DELETED", &last);
            }
            (None, None) => {}
        }
    }

    fn push_current(&mut self, mark_end: bool) {
        let namespace = Some(&*self.namespace).filter(|namespace| !namespace.is_empty());
        let page = self.store.list(self.resource, namespace);
        for (_, object) in &page.objects {
            if self.filter.matches(object) {
                self.push("ADDED", object);
            }
        }
        self.cursor = page.revision;
        if mark_end && self.bookmarks {
            self.bookmark(Some(json!({"k8s.io/initial-events-end": "true"})));
        }
    }

    fn bookmark(&mut self, annotations: Option<Value>) {
        let mut metadata = json!({"resourceVersion": self.cursor.to_string()});
        if let Some(annotations) = annotations {
            object::set(&mut metadata, "annotations", annotations);
        }
        let object = json!({
            "kind": self.resource.kind, "apiVersion": self.store.api_version(self.resource), "metadata": metadata,
        });
        self.pending.push_back(line("BOOKMARK", &object));
    }

    fn push(&mut self, kind: &str, object: &Value) {
        self.pending.push_back(line(kind, object));
    }
}

/// After one minute, or shortly before the end of a shorter watch.
fn first_bookmark(now: Instant, timeout: Duration) -> Instant {
    let before_end = timeout
        .checked_sub(LAST_BOOKMARK)
        .filter(|wait| !wait.is_zero());
    now + before_end.map_or(BOOKMARKS, |wait| wait.min(BOOKMARKS))
}

fn line(kind: &str, object: &impl Serialize) -> Bytes {
    #[derive(Serialize)]
    struct Event<'a, T> {
        r#type: &'a str,
        object: &'a T,
    }
    let mut line = serde_json::to_vec(&Event {
        r#type: kind,
        object,
    })
    .unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn unreadable(version: &str) -> Failure {
    let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
    Failure::new(
        500,
        "",
        format!("resourceVersion: Invalid value: {version:?}: {why}"),
    )
}
