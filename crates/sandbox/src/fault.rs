//! Faults that tests inject into the API: the matching requests, the number of times, and the effect.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    call::{Call, Target},
    failure::Failure,
};

/// A fault of the sandbox's API.
///
/// By default it affects every request. Each of the filter methods restricts it further.
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

/// The effect of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Return this status without executing the request.
    Answer { code: u16, retry_after: Option<u32> },
    /// Return 403 Forbidden.
    Forbid,
    /// Wait before executing the request.
    Delay(Duration),
    /// Close the connection without executing the request.
    DropBefore,
    /// Execute the request, then close the connection without a response.
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

    /// Returns this HTTP status: 401, 409, 429, 500, 503, 504.
    pub fn status(code: u16) -> Self {
        Self::new(Effect::Answer {
            code,
            retry_after: None,
        })
    }

    /// Returns `429 Too Many Requests` with a `Retry-After` header, in seconds.
    pub fn throttled(retry_after: u32) -> Self {
        Self::new(Effect::Answer {
            code: 429,
            retry_after: Some(retry_after),
        })
    }

    /// Returns `403 Forbidden`.
    pub fn forbidden() -> Self {
        Self::new(Effect::Forbid)
    }

    /// Delays the request.
    pub fn latency(delay: Duration) -> Self {
        Self::new(Effect::Delay(delay))
    }

    /// Closes the connection without executing the request.
    pub fn drop_before() -> Self {
        Self::new(Effect::DropBefore)
    }

    /// Executes the request, but closes the connection without a response.
    pub fn drop_after() -> Self {
        Self::new(Effect::DropAfter)
    }

    /// Restricts the fault to this verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    #[must_use]
    pub fn verb(mut self, verb: &str) -> Self {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Restricts the fault to this resource: `pods`, or `pods/eviction`.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Restricts the fault to this namespace; empty for cluster-wide requests.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Restricts the fault to paths that match this pattern, in which `*` matches any text.
    #[must_use]
    pub fn path(mut self, pattern: &str) -> Self {
        self.path = Some(pattern.to_owned());
        self
    }

    /// Skips this number of matching requests first.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Limits the number of times that the fault occurs.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn hits(&self, call: &Call, target: Option<&Target<'_>>) -> bool {
        let path = self
            .path
            .as_deref()
            .is_none_or(|pattern| matches_pattern(pattern, &call.path));
        let narrowed = self.verb.is_some() || self.resource.is_some() || self.namespace.is_some();
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        path && target.map_or(!narrowed, |target| {
            is(&self.verb, target.verb.as_str())
                && is(&self.resource, &plural(target))
                && is(&self.namespace, target.namespace)
        })
    }
}

fn plural(target: &Target<'_>) -> String {
    match target.subresource {
        Some(subresource) => format!("{}/{subresource}", target.resource.plural),
        None => target.resource.plural.to_owned(),
    }
}

fn matches_pattern(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, tail)) => path.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches_pattern(tail, rest.get(at..).unwrap_or_default()))
        }),
    }
}

/// The active faults.
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

    /// Returns the effects on a request, and counts them as occurred.
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
            // Only a delay can be combined with another effect.
            if !matches!(fault.effect, Effect::Delay(_)) {
                break;
            }
        }
        effects
    }
}

/// The failure that the server returns for a status that a test requested.
pub(super) fn injected_failure(code: u16, target: Option<&Target<'_>>) -> Failure {
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
            "Internal error occurred: injected by a fault of the sandbox",
        ),
    }
}
