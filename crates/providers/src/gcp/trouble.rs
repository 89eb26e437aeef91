//! What Google's errors mean. Of their texts nothing is passed on: only codes, and what is recognised in them.

use eso_model::expected::Failure;
use google_cloud_gax::error::{Error, rpc::Code};

use crate::{
    Answered, Unread,
    attempts::{Again, retry_after},
    session::Classified,
    unread,
};

/// An error, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// A stable word: Google's code where it answered.
    pub(super) code: String,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// See [`Again`].
    Again(Again),
    /// There are no credentials.
    Login,
    /// They are good, and do not suffice.
    Denied,
    /// There is no such thing.
    NotFound,
    /// The version is disabled, or destroyed.
    Disabled,
    /// Google does not take the name, or something else that was asked.
    Invalid,
    /// What nobody knows.
    Other,
}

impl Trouble {
    /// Of the client's error.
    pub(super) fn of(error: &Error) -> Self {
        let mut trouble = Self::without_wait(error);
        if let Kind::Again(Again::Throttled(wait) | Again::Transient(wait)) = &mut trouble.kind {
            // Also where it is not Google that answers, but something on the way there.
            let header = error.http_headers().and_then(|all| all.get("retry-after"));
            *wait = header
                .and_then(|value| value.to_str().ok())
                .and_then(retry_after);
        }
        trouble
    }

    fn without_wait(error: &Error) -> Self {
        if error.is_authentication() {
            return Self::new("the credentials could not be fetched", Kind::Login);
        }
        let status = error.http_status_code();
        if let Some(said) = error.status() {
            return Self::said(said.code, &said.message, status);
        }
        match status {
            Some(status) => Self::new(format!("HTTP {status}"), of_status(status)),
            None if error.is_timeout() => Self::unreachable("no answer in time"),
            None if error.is_io() || error.is_connect() || error.is_transport() => {
                Self::unreachable("no connection")
            }
            None if error.is_binding() => Self::new("not a name", Kind::Invalid),
            None if error.is_deserialization() => Self::new("not an answer", Kind::Other),
            None => Self::new("the request could not be made", Kind::Other),
        }
    }

    fn said(code: Code, text: &str, status: Option<u16>) -> Self {
        let kind = match code {
            Code::Unauthenticated => Kind::Again(Again::Expired),
            Code::PermissionDenied => Kind::Denied,
            Code::NotFound => Kind::NotFound,
            Code::ResourceExhausted => Kind::Again(Again::Throttled(None)),
            Code::FailedPrecondition
                if ["DISABLED state", "DESTROYED state"]
                    .iter()
                    .any(|state| text.contains(state)) =>
            {
                Kind::Disabled
            }
            Code::InvalidArgument => Kind::Invalid,
            Code::Unavailable | Code::Internal | Code::DeadlineExceeded | Code::Aborted => {
                Kind::Again(Again::Transient(None))
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
        }
    }

    fn unreachable(code: &str) -> Self {
        Self::new(code, Kind::Again(Again::Unreachable))
    }

    /// The answer to a read of this, which the operator reads with the same call.
    pub(super) fn answer(&self, needed: &Needed<'_>) -> Answered {
        match self.kind {
            Kind::NotFound => Answered::NotFound,
            Kind::Disabled => Answered::Fails(Failure::NotFoundError),
            Kind::Invalid => Answered::Fails(Failure::Refused),
            Kind::Again(_) | Kind::Login | Kind::Denied | Kind::Other => {
                Answered::Unread(self.unread(needed))
            }
        }
    }

    /// The same, where nothing can be an answer.
    pub(super) fn unread(&self, needed: &Needed<'_>) -> Unread {
        let said = format!("{}: {}", needed.call, self.code);
        match self.kind {
            Kind::Again(Again::Throttled(_)) => Unread::secret(unread::THROTTLED, said),
            Kind::Again(Again::Expired) | Kind::Login => Unread::store(unread::LOGIN, said),
            Kind::Again(Again::Unreachable) => Unread::store(unread::UNAVAILABLE, said),
            Kind::Again(_) => Unread::secret(unread::UNAVAILABLE, said),
            Kind::Denied => Unread::secret(unread::DENIED, said)
                .lacking(format!("{} on {}", needed.permission, needed.on)),
            Kind::NotFound | Kind::Disabled | Kind::Invalid | Kind::Other => {
                Unread::secret(unread::UNREADABLE, said)
            }
        }
    }
}

impl Classified for Trouble {
    fn again(&self) -> Again {
        match self.kind {
            Kind::Again(again) => again,
            Kind::Login
            | Kind::Denied
            | Kind::NotFound
            | Kind::Disabled
            | Kind::Invalid
            | Kind::Other => Again::Never,
        }
    }

    fn is_of_all(&self) -> bool {
        matches!(
            self.kind,
            Kind::Login | Kind::Again(Again::Expired | Again::Unreachable)
        )
    }
}

/// What a call needs to be allowed.
pub(super) struct Needed<'a> {
    pub(super) call: &'static str,
    pub(super) permission: &'static str,
    /// On what.
    pub(super) on: &'a str,
}

const fn of_status(status: u16) -> Kind {
    match status {
        401 => Kind::Again(Again::Expired),
        403 => Kind::Denied,
        429 => Kind::Again(Again::Throttled(None)),
        500.. => Kind::Again(Again::Transient(None)),
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_disabled_is_known_by_its_state() {
        let kind = |text| Trouble::said(Code::FailedPrecondition, text, Some(400)).kind;
        assert_eq!(
            kind("Secret Version [x] is in DISABLED state."),
            Kind::Disabled
        );
        assert_eq!(
            kind("Secret Version [x] is in DESTROYED state."),
            Kind::Disabled
        );
        assert_eq!(
            kind("The CMEK key is disabled"),
            Kind::Other,
            "that may pass"
        );
    }

    #[test]
    fn a_code_says_more_than_a_status() {
        let kind = |code, status| Trouble::said(code, "", Some(status)).kind;
        assert_eq!(kind(Code::NotFound, 404), Kind::NotFound);
        assert_eq!(
            kind(Code::Unknown, 503),
            Kind::Again(Again::Transient(None))
        );
        assert_eq!(of_status(404), Kind::Other, "a proxy's page is no absence");
    }
}
