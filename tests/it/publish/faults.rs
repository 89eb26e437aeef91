//! Faults of the provider's answers during a publication.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;

use crate::providers::proxy::{Asked, Fault, Script};

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Throttled,
    Denied,
    Unavailable,
    /// The provider does what is asked, and the connection is reset instead of its answer.
    Lost,
    /// The same, but half of the answer arrives.
    Cut,
}

pub(super) const KINDS: [Kind; 5] = [
    Kind::Throttled,
    Kind::Denied,
    Kind::Unavailable,
    Kind::Lost,
    Kind::Cut,
];

/// The most faults for calls of the same kind, because each throttled call makes the job slower.
const MOST: usize = 2;

/// Faults of one kind, at the first request of an operation. Error answers repeat the request, as servers do that must not be trusted.
pub(super) struct Faults {
    kind: Kind,
    /// A text in all error answers.
    text: &'static str,
    /// So many kinds of calls come before the first fault.
    after: usize,
    happen: AtomicBool,
    /// True if requests that read get them, too.
    also_reads: AtomicBool,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    operations: BTreeSet<String>,
    /// The number of operations of each kind of call.
    calls: BTreeMap<String, usize>,
    faults: usize,
}

impl Faults {
    pub(super) fn new(kind: Kind, text: &'static str) -> Arc<Self> {
        Self::after(0, kind, text)
    }

    /// The first kinds of calls have no faults.
    pub(super) fn after(calls: usize, kind: Kind, text: &'static str) -> Arc<Self> {
        Arc::new(Self {
            kind,
            text,
            after: calls,
            happen: AtomicBool::new(false),
            also_reads: AtomicBool::new(false),
            done: Mutex::default(),
        })
    }

    /// From now on requests have faults.
    pub(super) fn start(&self, also_reads: bool) {
        *self.done.lock().expect("no panic") = Done::default();
        self.also_reads.store(also_reads, Ordering::SeqCst);
        self.happen.store(true, Ordering::SeqCst);
    }

    /// Returns how many requests had a fault.
    pub(super) fn stop(&self) -> usize {
        self.happen.store(false, Ordering::SeqCst);
        self.done.lock().expect("no panic").faults
    }

    pub(super) fn script(self: &Arc<Self>) -> Box<Script> {
        let faults = Arc::clone(self);
        Box::new(move |asked| faults.of(asked))
    }

    fn of(&self, asked: &Asked) -> Fault {
        let is_spared = is_read(&asked.operation) && !self.also_reads.load(Ordering::SeqCst);
        if !self.happen.load(Ordering::SeqCst) || is_spared || asked.is_login() {
            return Fault::None;
        }
        let mut done = self.done.lock().expect("no panic");
        if !done.operations.insert(asked.operation.clone()) {
            return Fault::None;
        }
        let count = done.calls.entry(call(&asked.operation)).or_default();
        *count += 1;
        if *count > MOST || done.calls.len() <= self.after {
            return Fault::None;
        }
        done.faults += 1;
        match self.kind {
            Kind::Throttled => self.error(asked, 429, "ThrottlingException"),
            Kind::Denied => self.error(asked, 403, "AccessDeniedException"),
            Kind::Unavailable => self.error(asked, 503, "InternalServiceError"),
            Kind::Lost => Fault::Lost,
            Kind::Cut => Fault::Reset,
        }
    }

    /// An error in the form of each provider.
    fn error(&self, asked: &Asked, status: u16, code: &str) -> Fault {
        let text = format!("{}: {}", self.text, String::from_utf8_lossy(&asked.body));
        let body = json!({"__type": code, "message": text, "Message": text, "errors": [text],
            "error": {"code": status, "status": code, "message": text, "innererror": {"code": code}}});
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("retry-after", "0".to_owned()),
        ];
        Fault::Instead(status, headers, body.to_string())
    }
}

/// The kind of a call: an operation without the name of a secret.
fn call(operation: &str) -> String {
    let Some((method, path)) = operation.split_once(' ') else {
        return operation.to_owned();
    };
    let verb = path.split_once(':').map_or("", |(_, verb)| verb);
    format!("{method} {} {verb}", path.split('/').count())
}

/// True if a request changes nothing.
fn is_read(operation: &str) -> bool {
    let reads =
        |operation: &str, words: &[&str]| words.iter().any(|word| operation.starts_with(word));
    let of_aws = operation.split_once('.').map(|(_, name)| name);
    reads(operation, &["GET ", "LIST ", "SCAN "])
        || of_aws.is_some_and(|name| reads(name, &["Get", "BatchGet", "List", "Describe"]))
}
