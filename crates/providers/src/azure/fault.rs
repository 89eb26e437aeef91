//! Classifies errors of the SDK. Their texts are not passed on because they contain tenants, clients and request data.

use std::{error::Error as _, time::Duration};

use azure_core::{Error, error::ErrorKind, http::headers::RETRY_AFTER};
use serde::Deserialize;

use super::login::NoAssertion;
use crate::{
    Unread,
    answer::is_code,
    engine::{ErrorClass, Failure, retry_after},
    unread,
};

/// The reason why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// The secret does not exist or is deleted.
    NotFound,
    /// The secret is disabled.
    Disabled,
    /// A secret of this name is deleted, or is being deleted or restored. Holds Key Vault's code.
    Conflict(String),
    /// Any other error.
    Unread(Unread),
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

impl From<Failure<Fault>> for Problem {
    fn from(failure: Failure<Fault>) -> Self {
        match failure {
            Failure::Answer(fault) => fault.problem,
            Failure::Unread(unread) | Failure::Unknown(unread) => Self::Unread(unread),
        }
    }
}

/// The error of a request.
#[derive(Debug)]
pub(super) struct Fault {
    /// Decides about retries.
    pub(super) class: ErrorClass,
    /// The result after the last attempt.
    pub(super) problem: Problem,
}

impl Fault {
    fn new(class: ErrorClass, problem: impl Into<Problem>) -> Self {
        Self {
            class,
            problem: problem.into(),
        }
    }

    /// The vault's own answer.
    pub(super) fn answer(problem: impl Into<Problem>) -> Self {
        Self::new(ErrorClass::Final, problem)
    }

    /// The error as the reason for a failed read.
    pub(super) fn unread(&self) -> Unread {
        match &self.problem {
            Problem::Unread(unread) => unread.clone(),
            Problem::NotFound => Unread::secret(unread::UNREADABLE, "the secret does not exist"),
            Problem::Disabled => Unread::secret(unread::UNREADABLE, "the secret is disabled"),
            Problem::Conflict(code) => {
                let detail = format!("Key Vault answered 409 ({code})");
                Unread::secret(unread::UNREADABLE, detail)
            }
        }
    }

    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::HttpResponse {
                status,
                raw_response,
                ..
            } => {
                let (code, after) = raw_response.as_ref().map_or((None, None), |raw| {
                    let after = raw.headers().get_optional_str(&RETRY_AFTER);
                    (code(raw.body()), after.and_then(retry_after))
                });
                Self::of_status(u16::from(*status), code.as_deref(), after)
            }
            ErrorKind::Credential => Self::of_login(error),
            ErrorKind::Connection => {
                let whole_store = true;
                let unread = Unread {
                    whole_store,
                    ..Unread::no_answer(error)
                };
                Self::new(ErrorClass::Unreachable, unread)
            }
            // The connection works, so the cause may be this one secret.
            ErrorKind::Io => Self::new(ErrorClass::Failed(None), Unread::no_answer(error)),
            ErrorKind::DataConversion => {
                let detail = "Key Vault's answer is invalid";
                Self::new(
                    ErrorClass::Unusable,
                    Unread::secret(unread::UNREADABLE, detail),
                )
            }
            // The SDK's check of the authentication challenge: a server that asks for a token for another resource is not this
            // vault.
            ErrorKind::Other => {
                let detail = "the server at vaultUrl is not a Key Vault: it asks for a token for another resource";
                Self::answer(Unread::store(unread::UNAVAILABLE, detail))
            }
        }
    }

    fn of_status(status: u16, code: Option<&str>, after: Option<Duration>) -> Self {
        let answered = match code {
            Some(code) => format!("Key Vault answered {status} ({code})"),
            None => format!("Key Vault answered {status}"),
        };
        match (status, code) {
            (401, _) => {
                let detail = "Key Vault rejects the tokens of this identity, also a new one: check that the identity still exists, and that its tenant is that of the vault";
                let unread = Unread::store(unread::CREDENTIALS_EXPIRED, detail);
                Self::new(ErrorClass::Expired, unread)
            }
            (429, _) => {
                let detail = "Key Vault still answers 429 after several attempts";
                let unread = Unread::secret(unread::THROTTLED, detail);
                Self::new(ErrorClass::Throttled(after), unread)
            }
            (408 | 500..=599, _) => {
                let unread = Unread::secret(unread::UNAVAILABLE, answered);
                Self::new(ErrorClass::Failed(after), unread)
            }
            (404, Some("SecretNotFound")) => Self::answer(Problem::NotFound),
            // A proxy, or another server. Nobody may take it for a missing secret.
            (404, _) => {
                let detail = format!("{answered}, without its code for a missing secret");
                let unread = Unread::secret(unread::UNAVAILABLE, detail);
                Self::new(ErrorClass::Misdirected, unread)
            }
            (409, Some(code)) => Self::answer(Problem::Conflict(code.to_owned())),
            (403, Some("SecretDisabled")) => Self::answer(Problem::Disabled),
            (403, Some("ForbiddenByFirewall" | "ForbiddenByConnection")) => {
                let detail = format!("{answered}: its network rules do not allow this address");
                Self::answer(Unread::store(unread::DENIED, detail))
            }
            (403, _) => Self::answer(Unread::secret(unread::DENIED, answered)),
            (300..=399, _) => {
                let detail = format!("{answered}: a redirect is not followed");
                let unread = Unread::secret(unread::UNAVAILABLE, detail);
                Self::new(ErrorClass::Misdirected, unread)
            }
            // Key Vault refuses the request.
            (400..=499, Some(_)) => Self::answer(Unread::secret(unread::UNREADABLE, answered)),
            _ => Self::new(
                ErrorClass::Unusable,
                Unread::secret(unread::UNREADABLE, answered),
            ),
        }
    }

    /// Classifies a failed login by the cause below the SDK's credential error.
    fn of_login(error: &Error) -> Self {
        let mut below = error.source();
        while let Some(error) = below {
            if let Some(NoAssertion(unread)) = error.downcast_ref() {
                let whole_store = true;
                return Self::answer(Unread {
                    whole_store,
                    ..unread.clone()
                });
            }
            if let Some(error) = error.downcast_ref::<Error>() {
                match error.kind() {
                    ErrorKind::HttpResponse {
                        status, error_code, ..
                    } => {
                        return Self::of_refused_login(u16::from(*status), error_code.as_deref());
                    }
                    ErrorKind::Connection | ErrorKind::Io => {
                        let mut unread = Unread::no_answer(error);
                        unread.why.detail = format!("login failed: {}", unread.why.detail);
                        unread.whole_store = true;
                        return Self::new(ErrorClass::Unreachable, unread);
                    }
                    ErrorKind::DataConversion | ErrorKind::Credential | ErrorKind::Other => {}
                }
            }
            below = error.source();
        }
        Self::answer(Unread::store(unread::LOGIN, "Azure gives no token"))
    }

    fn of_refused_login(status: u16, code: Option<&str>) -> Self {
        // Only Entra's error numbers are passed on: its texts contain tenants and applications.
        let code = code.filter(|code| {
            code.len() <= 64
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b',')
        });
        let meaning = match code.and_then(|code| code.split(',').next()) {
            Some("7000215") => ": the client's secret is wrong",
            Some("7000222") => ": the client's secret has expired",
            Some("700024") => ": the token of the service account has expired",
            Some("700016") => ": the tenant does not contain this client",
            Some("90002") => ": the tenant does not exist",
            Some("70021" | "700211" | "700212" | "700213") => {
                ": no federated credential of the client matches the service account"
            }
            _ => "",
        };
        let expired = meaning.ends_with("has expired");
        let code = code.map_or_else(String::new, |code| format!(" (AADSTS{code}{meaning})"));
        let detail = format!("the login was answered with {status}{code}");
        match status {
            429 => Self::new(
                ErrorClass::Throttled(None),
                Unread::secret(unread::THROTTLED, detail),
            ),
            500..=599 => Self::new(
                ErrorClass::Failed(None),
                Unread::store(unread::UNAVAILABLE, detail),
            ),
            _ if expired => Self::answer(Unread::store(unread::CREDENTIALS_EXPIRED, detail)),
            _ => Self::answer(Unread::store(unread::LOGIN, detail)),
        }
    }
}

/// The innermost error code in Key Vault's answer.
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
    fault.code.filter(|code| is_code(code))
}
