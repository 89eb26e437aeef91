//! The reasons for which the operator, or the API server, would refuse the write of a target Secret.

use eso_model::expected::{CreationPolicy, DeletionPolicy, Effect, Existing, Expected};
use jiff::Timestamp;

use super::target::{Actual, Target};
use crate::reason::Reason;

/// An ExternalSecret that writes a Secret.
pub struct Author {
    pub name: String,
    pub creation: CreationPolicy,
    pub deletion: DeletionPolicy,
    pub refreshed: Option<Timestamp>,
}

/// The reason why a write would be refused.
pub(super) struct Refusal {
    pub(super) cause: Reason,
    /// Names the owner, the controller or the type. Never contains a value.
    pub(super) text: String,
}

impl Refusal {
    fn new(cause: Reason, text: impl Into<String>) -> Self {
        Self {
            cause,
            text: text.into(),
        }
    }
}

/// The reason why this write would be refused, if it would.
pub(super) fn refusal(by: &Author, expected: &Expected, target: &Target) -> Option<Refusal> {
    match (expected.effect, target) {
        (Effect::Write, Target::Absent) => {
            let rejection = expected.rejection(None)?;
            Some(Refusal::new(Reason::InvalidSecret, rejection.to_string()))
        }
        (Effect::Write | Effect::WriteIfExists, Target::There(actual)) => {
            ownership(by, actual).or_else(|| rejection(by, expected, actual))
        }
        _ => None,
    }
}

/// The operator refuses a Secret of another ExternalSecret for every creation policy, and with `Owner` a Secret that another object
/// controls.
pub(super) fn ownership(by: &Author, actual: &Actual) -> Option<Refusal> {
    let controller = actual.controller.as_ref()?;
    let is_external_secret = controller.is_external_secret();
    if by.creation == CreationPolicy::None || (is_external_secret && controller.name == by.name) {
        return None;
    }
    let text = if is_external_secret {
        format!("{controller} owns the Secret")
    } else if by.creation == CreationPolicy::Owner {
        format!("{controller} controls the Secret, so the ExternalSecret cannot own it")
    } else {
        return None;
    };
    Some(Refusal::new(Reason::OwnedByOther, text))
}

/// The API server's rules for a Secret that exists.
fn rejection(by: &Author, expected: &Expected, actual: &Actual) -> Option<Refusal> {
    if expected.immutable {
        // The operator does not change it.
        return None;
    }
    let keeps = |key: &str| {
        !expected.exact
            && actual.data.keys().any(|held| held == key)
            && !actual.keys_of(&by.name).any(|own| own == key)
    };
    let existing = Existing {
        r#type: &actual.r#type,
        keeps: &keeps,
    };
    let rejection = expected.rejection(Some(existing))?;
    let cause = if actual.immutable {
        Reason::Immutable
    } else {
        Reason::InvalidSecret
    };
    Some(Refusal::new(cause, rejection.to_string()))
}
