//! The error of a command that ended before it changed anything, or that could not print its report.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use cluster::{ErrorKind, connect::ConnectError};
use serde_json::json;

use crate::{
    called::Called,
    discover::DiscoverError,
    exit::Exit,
    foreign,
    lock::LockError,
    report::{DocumentProblem, FailureDocument, Run},
    settings::{Invalid, Problem, Source},
    stop::Level,
};

/// The error of a command, with its exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The errors of the policy, if they are the cause.
    pub problems: Vec<Problem>,
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
            problems: Vec::new(),
        }
    }

    /// A report could not be written.
    pub const fn failed(message: String) -> Self {
        Self {
            exit: Exit::Failed,
            message,
            hint: None,
            problems: Vec::new(),
        }
    }

    /// A named object does not exist.
    pub fn not_found(message: &str) -> Self {
        Self::failed(format!("{message}; nothing was changed"))
    }

    /// The arguments are invalid.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Invalid,
            message: message.into(),
            hint: None,
            problems: Vec::new(),
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
            problems: Vec::new(),
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
            problems: Vec::new(),
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self {
            exit: Exit::Invalid,
            message: format!("the policy is invalid\n{invalid}"),
            hint: None,
            problems: invalid.problems,
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
            LockError::Call(call) if call.kind == ErrorKind::NotFound => {
                Self::new(Exit::NoAccess, &error)
                    .hint("create the namespace of the lock, or name another one with `--lock-namespace NAME`")
            }
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

    /// The errors of the policy in the form that GitHub Actions shows beside the line; none elsewhere.
    pub fn annotations(&self, environment: &BTreeMap<String, String>) -> Vec<String> {
        let get = |name| environment.get(name).map(|value| &**value);
        if get("GITHUB_ACTIONS") != Some("true") {
            return Vec::new();
        }
        let workspace = get("GITHUB_WORKSPACE").unwrap_or_default();
        let each = self.problems.iter().map(|problem| {
            let message = foreign::annotation(&problem.without_source());
            let Source::File { path, line } = &problem.source else {
                return format!(
                    "::error::{}: {message}",
                    foreign::annotation(&problem.source.to_string())
                );
            };
            // GitHub finds files by their path in the repository.
            let path = path.strip_prefix(workspace).unwrap_or(path);
            let path = foreign::annotation_property(&path.to_string_lossy());
            let line = line.map(|line| format!(",line={line}"));
            format!("::error file={path}{}::{message}", line.unwrap_or_default())
        });
        each.collect()
    }

    /// The document for report files.
    pub fn document(&self, mut run: Run) -> FailureDocument {
        run.exit_code = self.exit.code();
        run.complete = false;
        let problems = self.problems.iter().map(|problem| {
            let (file, line) = match &problem.source {
                Source::File { path, line } => (Some(path.to_string_lossy().into()), *line),
                Source::Variable(_) | Source::CommandLine | Source::Defaults => (None, None),
            };
            DocumentProblem {
                file,
                line,
                message: problem.to_string().into(),
            }
        });
        FailureDocument::new(run, &self.message, self.hint.as_ref(), problems.collect())
    }

    /// Logs the error.
    pub fn log(&self, called: &Called) {
        let hint = self.hint.as_ref().map(|hint| called.in_commands(hint));
        let exit_code = self.exit.code();
        tracing::error!(exit_code, hint, "{}", self.message);
    }

    /// Prints the error to stderr. Its hint contains commands for the cluster of this call.
    pub fn print(&self, called: &Called) {
        let Self {
            exit,
            message,
            hint,
            ..
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
            writeln!(
                io::stderr(),
                "\nhint: {}",
                called.in_commands(&foreign::lines(hint))
            )
            .ok();
        }
    }
}
