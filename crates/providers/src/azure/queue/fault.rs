//! Classifies errors of a queue. Their texts are not passed on because they contain request data.

use std::time::Duration;

use azure_core::{Error, error::ErrorKind, http::headers::RETRY_AFTER};

use super::super::fault::Fault;
use crate::{
    Unread,
    answer::is_code,
    engine::{ErrorClass, retry_after},
    unread,
};

/// The reason why a call to a queue failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The message was delivered again, or hidden with another receipt.
    ReceiptExpired,
    NoMessage,
    NoQueue,
    Unread(Unread),
}

impl Problem {
    pub(super) fn unread(&self) -> Unread {
        match self {
            Self::ReceiptExpired => Unread::secret(unread::UNREADABLE, "the receipt has expired"),
            Self::NoMessage => Unread::secret(unread::UNREADABLE, "the message does not exist"),
            Self::NoQueue => Unread::secret(unread::STORE, "the queue does not exist"),
            Self::Unread(unread) => unread.clone(),
        }
    }
}

/// The error of a request.
#[derive(Debug)]
pub(super) struct QueueFault {
    /// Decides about retries.
    pub(super) class: ErrorClass,
    /// The result after the last attempt.
    pub(super) problem: Problem,
}

impl QueueFault {
    fn new(class: ErrorClass, unread: Unread) -> Self {
        Self {
            class,
            problem: Problem::Unread(unread),
        }
    }

    /// The server's own answer.
    fn answer(problem: Problem) -> Self {
        Self {
            class: ErrorClass::Final,
            problem,
        }
    }

    pub(super) fn unread(&self) -> Unread {
        self.problem.unread()
    }

    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse {
                status,
                error_code,
                raw_response,
            } => {
                let after = raw_response.as_ref();
                let after = after.and_then(|raw| raw.headers().get_optional_str(&RETRY_AFTER));
                let code = error_code.as_deref().filter(|code| is_code(code));
                Self::of_status(u16::from(*status), code, after.and_then(retry_after))
            }
            // The login and the connection are those of the vaults.
            ErrorKind::Credential | ErrorKind::Connection | ErrorKind::Io => {
                let fault = Fault::of(error);
                Self::new(fault.class, fault.unread())
            }
            ErrorKind::DataConversion | ErrorKind::Other => {
                let detail = "the answer of the queue is invalid";
                Self::new(
                    ErrorClass::Unusable,
                    Unread::secret(unread::UNREADABLE, detail),
                )
            }
        }
    }

    fn of_status(status: u16, code: Option<&str>, after: Option<Duration>) -> Self {
        let answered = match code {
            Some(code) => format!("Azure Storage answered {status} ({code})"),
            None => format!("Azure Storage answered {status}"),
        };
        match (status, code) {
            (401, _) | (403, Some("AuthenticationFailed" | "InvalidAuthenticationInfo")) => {
                let detail = "Azure Storage rejects the tokens of this identity, also a new one: check that the identity still exists, and that its tenant is that of the storage account";
                let unread = Unread::store(unread::CREDENTIALS_EXPIRED, detail);
                Self::new(ErrorClass::Expired, unread)
            }
            (403, Some("AuthorizationFailure" | "PublicAccessNotPermitted")) => {
                let detail = format!("{answered}: its network rules do not allow this address");
                Self::new(ErrorClass::Final, Unread::store(unread::DENIED, detail))
            }
            (403, _) => Self::new(ErrorClass::Final, Unread::secret(unread::DENIED, answered)),
            (404, Some("MessageNotFound")) => Self::answer(Problem::NoMessage),
            (400, Some("PopReceiptMismatch")) => Self::answer(Problem::ReceiptExpired),
            (404, Some("QueueNotFound")) | (409, Some("QueueBeingDeleted")) => {
                Self::answer(Problem::NoQueue)
            }
            // Storage throttles with 503.
            (429, _) | (503, Some("ServerBusy")) => {
                let detail = format!("{answered} after several attempts");
                let unread = Unread::secret(unread::THROTTLED, detail);
                Self::new(ErrorClass::Throttled(after), unread)
            }
            (408 | 500..=599, _) => {
                let unread = Unread::secret(unread::UNAVAILABLE, answered);
                Self::new(ErrorClass::Failed(after), unread)
            }
            // A proxy, or another server.
            (404 | 300..=399, _) => {
                let unread = Unread::secret(unread::UNAVAILABLE, answered);
                Self::new(ErrorClass::Misdirected, unread)
            }
            (400..=499, Some(_)) => Self::new(
                ErrorClass::Final,
                Unread::secret(unread::UNREADABLE, answered),
            ),
            _ => Self::new(
                ErrorClass::Unusable,
                Unread::secret(unread::UNREADABLE, answered),
            ),
        }
    }
}
