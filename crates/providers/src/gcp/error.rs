//! Classifies errors of Google. Passes on only error codes, never error texts.

use cluster::cause::{self, Certificate};
use eso_model::expected::Failure;
use google_cloud_gax::error::{Error, rpc::Code};

use crate::{
    Answered, Unread,
    engine::{ErrorClass, Request, retry_after},
    unread,
};

/// A classified error of Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GcpError {
    /// Google's error code, or a fixed text if Google did not answer.
    pub(super) code: String,
    pub(super) kind: Kind,
    /// The problem with the server's certificate, if that is the reason.
    certificate: Option<Certificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An error that only decides about retries: throttling, failures, expired credentials.
    Call(ErrorClass),
    /// There are no credentials.
    Login,
    /// The credentials are valid but lack a permission.
    Denied,
    /// The secret or version does not exist.
    NotFound,
    /// The version is disabled.
    Disabled,
    /// The version is destroyed.
    Destroyed,
    /// Google rejects the name or another part of the request.
    Invalid,
    /// An unknown error.
    Other,
}

impl GcpError {
    /// Classifies the client's error.
    pub(super) fn of(error: &Error) -> Self {
        let mut classified = Self::classify(error);
        if let Kind::Call(ErrorClass::Throttled(wait) | ErrorClass::Failed(wait)) =
            &mut classified.kind
        {
            // Also if the answer comes from a proxy, not from Google.
            let header = error.http_headers().and_then(|all| all.get("retry-after"));
            *wait = header
                .and_then(|value| value.to_str().ok())
                .and_then(retry_after);
        }
        classified
    }

    fn classify(error: &Error) -> Self {
        if error.is_authentication() {
            return Self::new("the credentials could not be fetched", Kind::Login);
        }
        let status = error.http_status_code();
        if let Some(said) = error.status() {
            return Self::said(said.code, &said.message, status);
        }
        match status {
            Some(status) => Self::new(format!("HTTP {status}"), of_status(status)),
            None if error.is_connect() => Self {
                certificate: cause::certificate(error),
                ..Self::new(cause::of(error), Kind::Call(ErrorClass::Unreachable))
            },
            None if error.is_timeout() => {
                Self::new("no answer in time", Kind::Call(ErrorClass::Failed(None)))
            }
            None if error.is_io() || error.is_transport() => {
                Self::new(cause::of(error), Kind::Call(ErrorClass::Failed(None)))
            }
            None if error.is_binding() => Self::new("invalid name", Kind::Invalid),
            // A write may have been done.
            None if error.is_deserialization() => {
                Self::new("invalid answer", Kind::Call(ErrorClass::Unusable))
            }
            None => Self::new(
                "the request could not be made",
                Kind::Call(ErrorClass::Unusable),
            ),
        }
    }

    fn said(code: Code, text: &str, status: Option<u16>) -> Self {
        let kind = match code {
            Code::Unauthenticated => Kind::Call(ErrorClass::Expired),
            Code::PermissionDenied => Kind::Denied,
            Code::NotFound => Kind::NotFound,
            Code::ResourceExhausted => Kind::Call(ErrorClass::Throttled(None)),
            Code::FailedPrecondition if text.contains("in DISABLED state") => Kind::Disabled,
            Code::FailedPrecondition if text.contains("in DESTROYED state") => Kind::Destroyed,
            Code::InvalidArgument => Kind::Invalid,
            Code::Unavailable | Code::Internal | Code::DeadlineExceeded | Code::Aborted => {
                Kind::Call(ErrorClass::Failed(None))
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::DataLoss
            | _ => status.map_or(Kind::Other, of_status),
        };
        Self::new(code.name(), kind)
    }

    pub(super) fn new(code: impl Into<String>, kind: Kind) -> Self {
        Self {
            code: code.into(),
            kind,
            certificate: None,
        }
    }

    /// The class that decides about retries.
    pub(super) const fn class(&self) -> ErrorClass {
        match self.kind {
            Kind::Call(class) => class,
            Kind::Login
            | Kind::Denied
            | Kind::NotFound
            | Kind::Disabled
            | Kind::Destroyed
            | Kind::Invalid
            | Kind::Other => ErrorClass::Final,
        }
    }

    /// The answer to a read that failed with this error, if the operator reads with the same call.
    pub(super) fn answer(&self, request: &Request<'_>) -> Answered {
        match self.kind {
            Kind::NotFound => Answered::NotFound,
            Kind::Disabled => Answered::Fails(Failure::VersionDisabled),
            Kind::Destroyed => Answered::Fails(Failure::VersionDestroyed),
            Kind::Invalid => Answered::Fails(Failure::Refused),
            Kind::Call(_) | Kind::Login | Kind::Denied | Kind::Other => {
                Answered::Unread(self.unread(request))
            }
        }
    }

    /// The error as the reason for a failed read.
    pub(super) fn unread(&self, request: &Request<'_>) -> Unread {
        let said = format!("{}: {}", request.call, self.code);
        if let Some(problem) = self.certificate {
            return Unread::certificate(problem, said);
        }
        match self.kind {
            Kind::Call(class @ ErrorClass::Expired) => class.unread(format!(
                "{said}, also with a new token: check that the service account and its key still exist, and the time of this machine"
            )),
            Kind::Call(class) => class.unread(said),
            Kind::Login => Unread::store(unread::LOGIN, said),
            Kind::Denied => Unread::secret(unread::DENIED, said).lacking(format!(
                "{} on {}",
                permission(request.call),
                request.key.unwrap_or("*")
            )),
            Kind::NotFound | Kind::Disabled | Kind::Destroyed | Kind::Invalid | Kind::Other => {
                Unread::secret(unread::UNREADABLE, said)
            }
        }
    }
}

/// The permission that a call needs (see the table in the parent module).
fn permission(call: &str) -> &'static str {
    match call {
        "AccessSecretVersion" => "secretmanager.versions.access",
        "ListSecretVersions" => "secretmanager.versions.list",
        "GetSecret" => "secretmanager.secrets.get",
        "CreateSecret" => "secretmanager.secrets.create",
        "UpdateSecret" => "secretmanager.secrets.update",
        "DeleteSecret" => "secretmanager.secrets.delete",
        "AddSecretVersion" => "secretmanager.versions.add",
        "DisableSecretVersion" => "secretmanager.versions.disable",
        "DestroySecretVersion" => "secretmanager.versions.destroy",
        "GetSubscription" => "pubsub.subscriptions.get",
        "Pull" | "Acknowledge" | "ModifyAckDeadline" => "pubsub.subscriptions.consume",
        _ => "secretmanager.secrets.list",
    }
}

pub(super) const fn of_status(status: u16) -> Kind {
    match status {
        401 => Kind::Call(ErrorClass::Expired),
        403 => Kind::Denied,
        429 => Kind::Call(ErrorClass::Throttled(None)),
        500.. => Kind::Call(ErrorClass::Failed(None)),
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_version_is_recognised_by_its_state() {
        let kind = |text| GcpError::said(Code::FailedPrecondition, text, Some(400)).kind;
        assert_eq!(
            kind("Secret Version [x] is in DISABLED state."),
            Kind::Disabled
        );
        assert_eq!(
            kind("Secret Version [x] is in DESTROYED state."),
            Kind::Destroyed
        );
        assert_eq!(
            kind("The CMEK key is disabled"),
            Kind::Other,
            "a disabled key is not a disabled version"
        );
    }

    #[test]
    fn error_code_takes_precedence_over_the_status() {
        let kind = |code, status| GcpError::said(code, "", Some(status)).kind;
        assert_eq!(kind(Code::NotFound, 404), Kind::NotFound);
        assert_eq!(
            kind(Code::Unknown, 503),
            Kind::Call(ErrorClass::Failed(None))
        );
        assert_eq!(
            of_status(404),
            Kind::Other,
            "a proxy's 404 page is not a missing secret"
        );
    }
}
