//! The error of a command that ended before it changed anything, or that could not print its report.

use std::io::{self, Write as _};

use cluster::{ErrorKind, connect::ConnectError};
use serde_json::json;

use crate::{
    discover::DiscoverError, exit::Exit, foreign, lock::LockError, settings::Invalid, stop::Level,
};

/// The error of a command, with its exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// Converts an error, with its causes.
    pub fn new(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self {
            exit,
            message,
            hint: None,
        }
    }

    /// A named object does not exist.
    pub fn not_found(message: &str) -> Self {
        Self {
            exit: Exit::Failed,
            message: format!("{message}; nothing was changed"),
            hint: None,
        }
    }

    /// The arguments are invalid.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Invalid,
            message: message.into(),
            hint: None,
        }
    }

    /// The policy publishes nothing.
    pub fn nothing_to_publish() -> Self {
        Self::usage("the policy has no section `publish`, so nothing is published")
    }

    /// The command needs stamps, but nobody named the namespace of their key.
    pub fn no_lock_namespace() -> Self {
        Self {
            exit: Exit::NoAccess,
            message: "restarts need a stamp key, and its namespace is not given".to_owned(),
            hint: Some(
                "name a namespace in which only administrators can write, the same for all runs in the cluster: `--lock-namespace NAME`. In a \
                 Pod, set `ESO_SYNC_POD_NAMESPACE` to the Pod's namespace"
                    .to_owned(),
            ),
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The run was stopped by a signal or the deadline.
    pub fn stopped(level: Level) -> Self {
        let why = match level {
            Level::Drain(reason) | Level::Now(reason) => reason.as_str(),
            Level::Run => String::new(),
        };
        Self {
            exit: Exit::Stopped,
            message: format!("stopped before any work started: {why}"),
            hint: None,
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self {
            exit: Exit::Invalid,
            message: format!("the policy is invalid\n{invalid}"),
            hint: None,
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = if matches!(error, ConnectError::Address(..)) {
            Exit::Invalid
        } else {
            Exit::NoAccess
        };
        Self::new(exit, &error)
    }
}

impl From<DiscoverError> for Failure {
    fn from(error: DiscoverError) -> Self {
        let failure = Self::new(Exit::NoAccess, &error);
        match &error {
            DiscoverError::Call(error) if error.kind == ErrorKind::Denied => {
                failure.hint("`eso-sync rbac` prints the rights that are needed")
            }
            DiscoverError::Call(_)
            | DiscoverError::NotInstalled
            | DiscoverError::UnknownVersion(_) => failure,
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held(_) => Self::new(Exit::Locked, &error),
            LockError::NoNamespace(_) => Self::new(Exit::NoAccess, &error)
                .hint("name the namespace of the lock: `--lock-namespace NAME`"),
            LockError::Call(_) => Self::new(Exit::NoAccess, &error)
                .hint("`eso-sync rbac` prints the rights that are needed. `lock.enabled: false` runs without a lock"),
        }
    }
}

impl Failure {
    /// The summary for the container's termination message, with at most 1,000 characters.
    pub fn termination_summary(&self) -> String {
        let summary = json!({"exitCode": self.exit.code(), "error": self.message});
        summary.to_string().chars().take(1000).collect()
    }

    /// Prints the error to stderr.
    pub fn print(&self) {
        let Self {
            exit,
            message,
            hint,
        } = self;
        // This exit code can come after changes, if the report could not be printed.
        let nothing = if *exit == Exit::Failed {
            ""
        } else {
            "nothing was changed: "
        };
        // A closed stderr must not cause another error.
        let message = foreign::lines(message);
        writeln!(io::stderr(), "error: {nothing}{message}").ok();
        if let Some(hint) = hint {
            writeln!(io::stderr(), "\nhint: {}", foreign::lines(hint)).ok();
        }
    }
}
