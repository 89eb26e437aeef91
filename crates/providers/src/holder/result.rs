//! Results, as the implementations make them.

use publish::{Compared, Held, Presence, Wanted, Wrote};
use secret::{RunKey, Value};

use super::{Ask, WriteFailure};
use crate::{Unread, engine::Failure};

impl WriteFailure {
    /// A failure after the value was written.
    pub(crate) fn after(self, wrote: Wrote) -> Self {
        match self {
            Self::Failed(unread) | Self::Unknown(unread) | Self::Unrecorded(_, unread) => {
                Self::Unrecorded(wrote, unread)
            }
            Self::Raced(detail) => Self::Raced(detail),
        }
    }

    /// The same failure, if it turned out that nothing was written.
    pub(crate) fn or_failed(self) -> Self {
        match self {
            Self::Unknown(unread) => Self::Failed(unread),
            failure @ (Self::Raced(_) | Self::Failed(_) | Self::Unrecorded(..)) => failure,
        }
    }
}

impl<E> Failure<E> {
    /// Converts the failure of a write. `answered` converts the provider's own error, which says that nothing was done.
    pub(crate) fn of_write(self, answered: impl FnOnce(E) -> WriteFailure) -> WriteFailure {
        match self {
            Self::Answer(error) => answered(error),
            Self::Unread(unread) => WriteFailure::Failed(unread),
            Self::Unknown(unread) => WriteFailure::Unknown(unread),
        }
    }
}

/// A secret that could not be described.
pub(crate) fn unknown(unread: Unread) -> Held {
    Held::new(Presence::Unknown(unread.why))
}

impl Ask<'_> {
    /// The result, if these values are equal.
    pub(crate) fn compared(&self, is_equal: impl Fn(&Wanted) -> bool) -> Compared {
        let different: Vec<&Wanted> = self
            .wanted
            .iter()
            .copied()
            .filter(|wanted| !is_equal(wanted))
            .collect();
        if different.is_empty() {
            return Compared::Equal;
        }
        let properties = different
            .into_iter()
            .filter_map(|wanted| wanted.target.property.clone());
        Compared::Different {
            properties: properties.collect(),
        }
    }
}

/// True if the values are equal. Takes the same time for all values of the same length.
pub(crate) fn is_equal(key: &RunKey, held: &Value, wanted: &Value) -> bool {
    held.fingerprint(key) == wanted.fingerprint(key)
}

/// The key of a value in a document. A value without one has the key `value`.
pub(crate) fn property(wanted: &Wanted) -> &str {
    wanted.target.property.as_deref().unwrap_or("value")
}
