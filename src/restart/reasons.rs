//! Maps errors of API calls to the reasons that results of workloads have.

use cluster::{ApiError, ErrorKind};

use crate::reason::Reason;

/// Returns the reason for an error.
pub(super) const fn reason_of(error: &ApiError) -> Reason {
    match error.kind {
        ErrorKind::NotFound => Reason::Deleted,
        ErrorKind::Unavailable
        | ErrorKind::Unreadable
        | ErrorKind::TooLarge
        | ErrorKind::Over
        | ErrorKind::Expired => Reason::ApiUnavailable,
        ErrorKind::Conflict => Reason::ChangedMeanwhile,
        ErrorKind::Unauthenticated | ErrorKind::Denied | ErrorKind::Invalid => Reason::Refused,
    }
}
