//! The errors of a policy, each with its place and a hint.

use cluster::Address;
use std::{fmt, path::PathBuf};

pub(super) use crate::policy::form::Fault;

/// The source of a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file. The line counts from 1; None means the whole file.
    File {
        path: PathBuf,
        line: Option<usize>,
    },
    /// An environment variable, by name.
    Variable(String),
    CommandLine,
    /// No source: the default.
    Defaults,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::CommandLine => f.write_str("command line"),
            Self::Defaults => f.write_str("policy"),
        }
    }
}

/// One error of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub source: Source,
    /// The path of the key, for example `select[0].names[2]`. Empty for the whole source.
    pub key: String,
    pub what: String,
    /// How to fix it.
    pub hint: String,
}

impl Problem {
    /// The key, the error, and how to fix it, for a place that shows the source by itself.
    pub fn without_source(&self) -> String {
        let mut text = String::new();
        if !self.key.is_empty() {
            text.extend([&self.key, ": "]);
        }
        text.push_str(&self.what);
        if !self.hint.is_empty() {
            text.extend(["; ", &self.hint]);
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.without_source())
    }
}

/// The error for an invalid policy, with all problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Not empty. Sorted by layer and line.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    /// One problem per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// A fault with its key and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) fault: Fault,
}

/// Quotes a text for a message: on one line, at most 60 characters, and without a password if it is an address.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let is_address = text.contains("://") || text.contains('@');
    let without_password = is_address.then(|| Address::new(text).to_string());
    let text = without_password.as_deref().unwrap_or(text);
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Formats words as a list: `a`, `b`.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}
