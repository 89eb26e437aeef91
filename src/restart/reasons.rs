//! What a call that failed means for a workload.

use cluster::{ApiError, ErrorKind};

use crate::reason::Reason;

/// In a word.
pub(super) const fn reason_of(error: &ApiError) -> Reason {
    match error.kind {
        ErrorKind::NotFound => Reason::Deleted,
        ErrorKind::Unavailable | ErrorKind::Unreadable | ErrorKind::Expired => {
            Reason::ApiUnavailable
        }
        ErrorKind::Conflict => Reason::ChangedMeanwhile,
        ErrorKind::Unauthenticated | ErrorKind::Denied | ErrorKind::Invalid => Reason::Refused,
    }
}
