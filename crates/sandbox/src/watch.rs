//! Watches: every change after a resource version, exactly once and in order, until the time is up.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use futures::Stream;
use hyper::body::{Bytes, Frame};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    call::{Call, Target},
    failure::Failure,
    list::{Shown, View, wants_metadata},
    object,
    resource::Resource,
    select::Filter,
    store::{Change, Changes, Compacted, Store},
};

/// How long a watch lasts that does not say so.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// How often a watch is told how far it has come.
const BOOKMARKS: Duration = Duration::from_mins(1);

/// A watch that ends soon gets its last bookmark so long before.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// What tests do to open watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Disturbance {
    /// Raised to cut all watches that are open.
    pub(super) cuts: u64,
    /// Watches stay open, but nothing comes.
    pub(super) silent: bool,
}

/// An open watch.
pub(super) struct Watch {
    store: Arc<Store>,
    resource: &'static Resource,
    namespace: String,
    filter: Filter,
    view: View,
    bookmarks: bool,
    cursor: u64,
    pending: VecDeque<Bytes>,
    next_bookmark: Instant,
    deadline: Instant,
    ended: bool,
    revision: watch::Receiver<u64>,
    disturbance: watch::Receiver<Disturbance>,
    cuts: u64,
}

impl Watch {
    /// Opens the watch that a request asks for.
    pub(super) fn open(
        store: &Arc<Store>,
        call: &Call,
        target: &Target<'_>,
        mut disturbance: watch::Receiver<Disturbance>,
    ) -> Result<Self, Failure> {
        let resource = target.resource;
        let filter = Filter::parse(
            resource,
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
        let cuts = disturbance.borrow_and_update().cuts;
        let mut watch = Self {
            resource,
            namespace: target.namespace.to_owned(),
            filter,
            view: if wants_metadata(call) {
                View::Metadata
            } else {
                View::Full
            },
            bookmarks: call.flag("allowWatchBookmarks"),
            cursor: from.unwrap_or_default(),
            pending: VecDeque::new(),
            next_bookmark: first_bookmark(now, timeout),
            deadline,
            ended: false,
            revision: store.subscribe(),
            disturbance,
            cuts,
            store: Arc::clone(store),
        };
        if from.is_none() {
            // "Any state" and "no state named" both begin with what there is; the first tells where that ends.
            watch.show_present(!version.is_empty() || call.flag("sendInitialEvents"));
        }
        Ok(watch)
    }

    /// The lines of the answer.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            Some((line.map(Frame::data), watch))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            let Disturbance { cuts, silent } = *self.disturbance.borrow_and_update();
            if cuts != self.cuts {
                return Some(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
            if silent {
                // It ends only if the sandbox does.
                self.disturbance.changed().await.ok()?;
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
            self.rest().await;
        }
    }

    /// Waits until something may have happened.
    async fn rest(&mut self) {
        let bookmark = if self.bookmarks {
            self.next_bookmark
        } else {
            self.deadline
        };
        tokio::select! {
            changed = self.revision.changed() => self.ended = changed.is_err(),
            _ = self.disturbance.changed() => {}
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

    /// Puts what changed since the last time into lines.
    fn collect(&mut self) {
        // Read before the last change is: what comes in between is not passed over.
        let revision = self.store.revision();
        if self.store.last_change(self.resource) <= self.cursor {
            self.cursor = self.cursor.max(revision);
            return;
        }
        match self.store.changes_since(self.resource, self.cursor) {
            Ok(Changes { revision, changes }) => {
                for change in changes {
                    self.show(&change);
                }
                // A watch from a future state stays silent until that has come.
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

    fn show(&mut self, change: &Change) {
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
            // To this watch it is gone: shown as it was last seen, with the version of the change.
            (Some(before), None) => {
                let mut last = Value::clone(before);
                let version = change.revision.to_string();
                object::metadata(&mut last).insert("resourceVersion".to_owned(), version.into());
                self.push("DELETED", &last);
            }
            (None, None) => {}
        }
    }

    fn show_present(&mut self, mark_end: bool) {
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
        self.pending
            .push_back(line(kind, &Shown(object, self.view)));
    }
}

/// After a minute, or shortly before the end of a watch that is shorter.
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
