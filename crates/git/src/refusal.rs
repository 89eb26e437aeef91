//! Why a repository cannot be read.

use std::fmt;

/// The stable word for a kind of [`Refused`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumIter, strum::EnumMessage,
)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Reason {
    /// The server does not follow version 2 of the protocol.
    GitProtocol,
    /// The server answers with an error.
    GitRefused,
    /// The repository has no such branch, tag or commit.
    RevisionNotFound,
    /// A branch and a tag have this name.
    AmbiguousRevision,
    /// The objects that the server sends are damaged, or are not those that were asked for.
    InvalidPack,
    /// A limit is exceeded.
    TooLarge,
    /// The repository uses SHA-256.
    ObjectFormat,
}

/// A reason and what to do. Contains no text of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    pub message: String,
}

impl Refused {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn protocol(message: &str) -> Self {
        Self::new(Reason::GitProtocol, message)
    }

    pub(crate) fn damaged(message: &str) -> Self {
        Self::new(Reason::InvalidPack, message)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}
