//! Faults that tests order: which requests they hit, how often, and what happens then.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    call::{Call, Target},
    failure::Failure,
};

/// A fault that the sandbox's API shows.
///
/// Without any of the narrowing calls it hits every request; each of them narrows it further.
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    verb: Option<String>,
    resource: Option<String>,
    namespace: Option<String>,
    path: Option<String>,
    skip: u32,
    times: Option<u32>,
}

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Answer so, and do nothing.
    Answer { code: u16, retry_after: Option<u32> },
    /// Lack of a right.
    Forbid,
    /// Wait first.
    Delay(Duration),
    /// Close the connection, and do nothing.
    DropBefore,
    /// Do what is asked, and close the connection.
    DropAfter,
}

impl Fault {
    fn new(effect: Effect) -> Self {
        Self {
            effect,
            verb: None,
            resource: None,
            namespace: None,
            path: None,
            skip: 0,
            times: None,
        }
    }

    /// An answer with this HTTP status: 401, 409, 429, 500, 503, 504.
    pub fn status(code: u16) -> Self {
        Self::new(Effect::Answer {
            code,
            retry_after: None,
        })
    }

    /// `429 Too Many Requests`, to be tried again after so many seconds.
    pub fn throttled(retry_after: u32) -> Self {
        Self::new(Effect::Answer {
            code: 429,
            retry_after: Some(retry_after),
        })
    }

    /// `403 Forbidden`, in access reviews too.
    pub fn forbidden() -> Self {
        Self::new(Effect::Forbid)
    }

    /// The answer comes so much later.
    pub fn latency(delay: Duration) -> Self {
        Self::new(Effect::Delay(delay))
    }

    /// The connection is closed before anything is done.
    pub fn drop_before() -> Self {
        Self::new(Effect::DropBefore)
    }

    /// The request is carried out, but its answer is lost.
    pub fn drop_after() -> Self {
        Self::new(Effect::DropAfter)
    }

    /// Only for this verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    #[must_use]
    pub fn verb(mut self, verb: &str) -> Self {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only for this resource: `externalsecrets`, or `externalsecrets/status`.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only in this namespace; empty for requests about the whole cluster.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only for paths like this, where `*` stands for anything.
    #[must_use]
    pub fn path(mut self, pattern: &str) -> Self {
        self.path = Some(pattern.to_owned());
        self
    }

    /// Only after so many requests that it would have hit.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn hits(&self, call: &Call, target: Option<&Target<'_>>) -> bool {
        let path = self
            .path
            .as_deref()
            .is_none_or(|pattern| is_like(pattern, &call.path));
        let narrowed = self.verb.is_some() || self.resource.is_some() || self.namespace.is_some();
        path && target.map_or(!narrowed, |target| {
            self.covers(target.verb.as_str(), &plural(target), target.namespace)
        })
    }

    fn covers(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.verb, verb) && is(&self.resource, resource) && is(&self.namespace, namespace)
    }
}

fn plural(target: &Target<'_>) -> String {
    match target.subresource {
        Some(subresource) => format!("{}/{subresource}", target.resource.plural),
        None => target.resource.plural.to_owned(),
    }
}

fn is_like(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, tail)) => path.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| is_like(tail, rest.get(at..).unwrap_or_default()))
        }),
    }
}

/// The faults that are in force.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(super) fn inject(&self, fault: Fault) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
    }

    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The effects that a request meets; counts them as shown.
    pub(super) fn take(&self, call: &Call, target: Option<&Target<'_>>) -> Vec<Effect> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut effects = Vec::new();
        for fault in faults
            .iter_mut()
            .filter(|fault| fault.times != Some(0) && fault.hits(call, target))
        {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
            effects.push(fault.effect.clone());
            // One request has one fate; only a delay goes together with another.
            if !matches!(fault.effect, Effect::Delay(_)) {
                break;
            }
        }
        effects
    }

    /// Whether an access review must say no.
    pub(super) fn forbids(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter().any(|fault| {
            fault.effect == Effect::Forbid
                && fault.path.is_none()
                && fault.covers(verb, resource, namespace)
        })
    }
}

/// What the server says with a status that a test orders.
pub(super) fn refusal(code: u16, target: Option<&Target<'_>>) -> Failure {
    match (code, target) {
        (409, Some(target)) => Failure::modified(target.resource, target.name),
        (401, _) => Failure::new(401, "Unauthorized", "Unauthorized"),
        (503, _) => Failure::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        (504, _) => Failure::new(
            504,
            "Timeout",
            "Timeout: request did not complete within the allotted timeout",
        ),
        (429, _) => Failure::new(
            429,
            "TooManyRequests",
            "Too many requests, please try again later.",
        ),
        (code, _) => Failure::new(
            code,
            "InternalError",
            "Internal error occurred: the sandbox was told to fail",
        ),
    }
}
