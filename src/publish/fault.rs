//! Why an item, a file or a key cannot be published.

/// A stable reason, and what to do, without content of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub reason: &'static str,
    pub message: String,
    /// The file, with the line.
    pub file: Option<String>,
    /// The key in the file.
    pub key: Option<String>,
}

impl Fault {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            file: None,
            key: None,
        }
    }

    pub(super) fn no_cluster() -> Self {
        Self::new("no-cluster", "this needs a cluster, and none is configured")
    }

    pub(super) fn of_unread(unread: providers::Unread) -> Self {
        Self::new(unread.why.reason, unread.why.detail)
    }

    pub(super) fn of_file(fault: repository::Fault) -> Self {
        let line = fault
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        Self {
            reason: fault.reason.word(),
            file: (!fault.file.is_empty()).then(|| format!("{}{line}", fault.file)),
            key: fault.key,
            message: fault.message,
        }
    }
}
