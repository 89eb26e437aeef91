//! What a call that failed means for a workload.

use cluster::{CallError, Trouble};

use crate::reason::Reason;

/// In a word.
pub(super) const fn reason_of(error: &CallError) -> Reason {
    match error.trouble {
        Trouble::NotFound => Reason::Deleted,
        Trouble::Unavailable | Trouble::Unreadable | Trouble::Expired => Reason::ApiUnavailable,
        Trouble::Conflict => Reason::ChangedMeanwhile,
        Trouble::Unauthenticated | Trouble::Denied | Trouble::Invalid => Reason::Refused,
    }
}
