//! The reason for a request without an answer.

use cluster::cause::{self, Certificate};

use crate::{Unread, unread};

impl Unread {
    /// There is no answer. Says why in own words, because the texts of clients may contain addresses with credentials.
    pub(crate) fn no_answer(error: &(dyn std::error::Error + 'static)) -> Self {
        let detail = cause::of(error);
        match cause::certificate(error) {
            Some(problem) => Self::certificate(problem, detail),
            None => Self::secret(unread::UNAVAILABLE, detail),
        }
    }

    /// The certificate of the server is not accepted, which concerns the whole store.
    pub(crate) fn certificate(problem: Certificate, detail: impl Into<String>) -> Self {
        let reason = match problem {
            Certificate::UnknownAuthority => unread::UNKNOWN_AUTHORITY,
            Certificate::Invalid => unread::CERTIFICATE_INVALID,
        };
        Self::store(reason, detail)
    }
}
