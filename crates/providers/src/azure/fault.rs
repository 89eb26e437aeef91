//! What an error of the SDK's means. Its texts are not repeated: they name tenants, clients and what else was sent.

use std::{error::Error as _, time::Duration};

use azure_core::{Error, error::ErrorKind, http::headers::RETRY_AFTER};
use serde::Deserialize;

use super::login::NoAssertion;
use crate::{Unread, unread};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Problem {
    /// There is no such secret, or it is deleted.
    NotFound,
    /// It is disabled.
    Disabled,
    /// Anything else.
    Unread(Unread),
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

/// What went wrong.
pub(super) enum Fault {
    /// There will be no other answer.
    Final(Problem),
    /// The token is not taken.
    Token,
    /// Too much was asked, and how long to wait.
    Throttled(Option<Duration>),
    /// It may go better the next time, and how long to wait. If it does not, it may be this one secret, or the vault.
    Trouble(Unread, Option<Duration>),
}

impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse {
                status,
                raw_response,
                ..
            } => {
                let (code, after) = raw_response.as_ref().map_or((None, None), |raw| {
                    let after = raw.headers().get_optional_str(&RETRY_AFTER);
                    let after = after.and_then(|after| after.parse().ok());
                    (code(raw.body()), after.map(Duration::from_secs))
                });
                Self::of_status(u16::from(*status), code.as_deref(), after)
            }
            ErrorKind::Credential => Self::of_login(error),
            ErrorKind::Connection => {
                Self::Trouble(Unread::store(unread::UNAVAILABLE, cause(error)), None)
            }
            // Over a connection it may be this one secret that is not answered.
            ErrorKind::Io => Self::Trouble(Unread::secret(unread::UNAVAILABLE, cause(error)), None),
            ErrorKind::DataConversion => {
                let detail = "Key Vault's answer makes no sense";
                Self::Final(Unread::secret(unread::UNREADABLE, detail).into())
            }
            // The check of the challenge: who asks for a token for something else is no vault of this name.
            ErrorKind::Other => {
                let detail = "what answers at vaultUrl is no Key Vault: it asks for a token for something else";
                Self::Final(Unread::store(unread::UNAVAILABLE, detail).into())
            }
        }
    }

    fn of_status(status: u16, code: Option<&str>, after: Option<Duration>) -> Self {
        let answered = match code {
            Some(code) => format!("Key Vault answered {status} ({code})"),
            None => format!("Key Vault answered {status}"),
        };
        Self::Final(match (status, code) {
            (401, _) => return Self::Token,
            (429, _) => return Self::Throttled(after),
            (408 | 500..=599, _) => {
                return Self::Trouble(Unread::secret(unread::UNAVAILABLE, answered), after);
            }
            (404, _) => Problem::NotFound,
            (403, Some("SecretDisabled")) => Problem::Disabled,
            (403, Some("ForbiddenByFirewall" | "ForbiddenByConnection")) => {
                let detail = format!("{answered}: its network rules do not let this address in");
                Unread::store(unread::DENIED, detail).into()
            }
            (403, _) => Unread::secret(unread::DENIED, answered).into(),
            (300..=399, _) => {
                let detail = format!("{answered}: a redirect is not followed");
                Unread::secret(unread::UNAVAILABLE, detail).into()
            }
            _ => Unread::secret(unread::UNREADABLE, answered).into(),
        })
    }

    /// A login that failed: what failed stands below what the credential says of it.
    fn of_login(error: &Error) -> Self {
        let mut below = error.source();
        while let Some(error) = below {
            if let Some(NoAssertion(unread)) = error.downcast_ref() {
                let whole_store = true;
                return Self::Final(Problem::Unread(Unread {
                    whole_store,
                    ..unread.clone()
                }));
            }
            if let Some(error) = error.downcast_ref::<Error>() {
                match error.kind() {
                    ErrorKind::HttpResponse {
                        status, error_code, ..
                    } => {
                        return Self::of_refused_login(u16::from(*status), error_code.as_deref());
                    }
                    ErrorKind::Connection | ErrorKind::Io => {
                        let detail = format!("no login: {}", cause(error));
                        return Self::Trouble(Unread::store(unread::UNAVAILABLE, detail), None);
                    }
                    ErrorKind::DataConversion | ErrorKind::Credential | ErrorKind::Other => {}
                }
            }
            below = error.source();
        }
        Self::Final(Unread::store(unread::LOGIN, "Azure gives no token").into())
    }

    fn of_refused_login(status: u16, code: Option<&str>) -> Self {
        // Numbers of Entra's: its texts name tenants and applications, and more.
        let code = code.filter(|code| {
            code.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b',')
        });
        let meaning = match code.and_then(|code| code.split(',').next()) {
            Some("7000215") => ": the client's secret is wrong",
            Some("7000222") => ": the client's secret has expired",
            Some("700016") => ": the tenant has no such client",
            Some("90002") => ": there is no such tenant",
            Some("70021" | "700211" | "700212" | "700213") => {
                ": no federated credential of the client's fits the service account"
            }
            _ => "",
        };
        let code = code.map_or_else(String::new, |code| format!(" (AADSTS{code}{meaning})"));
        let detail = format!("the login was answered with {status}{code}");
        match status {
            429 => Self::Throttled(None),
            500..=599 => Self::Trouble(Unread::store(unread::UNAVAILABLE, detail), None),
            _ => Self::Final(Unread::store(unread::LOGIN, detail).into()),
        }
    }

    /// The problem that it is after the last attempt.
    pub(super) fn in_the_end(self) -> Problem {
        match self {
            Self::Final(problem) => problem,
            Self::Token => Unread::store(unread::LOGIN, "the token is not taken").into(),
            Self::Throttled(_) => {
                let detail = "Key Vault answered 429 each time, also after having waited";
                Unread::secret(unread::THROTTLED, detail).into()
            }
            Self::Trouble(unread, _) => unread.into(),
        }
    }
}

/// The innermost code of an error of Key Vault's.
fn code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        error: Fault,
    }
    #[derive(Deserialize)]
    struct Fault {
        code: Option<String>,
        innererror: Option<Box<Self>>,
    }
    let mut fault = serde_json::from_slice::<Body>(body).ok()?.error;
    while let Some(inner) = fault.innererror.take() {
        fault = *inner;
    }
    fault
        .code
        .filter(|code| code.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Why a request got no answer, as the system says it.
fn cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
