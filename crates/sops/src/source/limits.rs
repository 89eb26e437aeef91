//! Counts what a file contains, and refuses more than the limits.

use std::collections::HashSet;

use super::{MAX_DEPTH, MAX_NODES, MAX_PATH};
use crate::refusal::{Reason, Refused};

/// The path to the current node, and the number of nodes so far.
#[derive(Default)]
pub(crate) struct Limits {
    path: Vec<String>,
    bytes: usize,
    depth: usize,
    nodes: usize,
}

impl Limits {
    /// Counts a value, map, list or comment.
    pub(crate) fn count(&mut self) -> Result<(), Refused> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Reason::TooManyValues.into());
        }
        Ok(())
    }

    /// Enters a map or list.
    pub(crate) fn enter(&mut self) -> Result<(), Refused> {
        self.count()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.refuse(Reason::TooDeep));
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Enters the value of a key.
    pub(crate) fn push(&mut self, key: &str) -> Result<(), Refused> {
        self.bytes = self.bytes.saturating_add(key.len());
        // The message shows only the start of a path.
        self.path.push(key.to_owned());
        if self.bytes > MAX_PATH {
            return Err(self.refuse(Reason::PathTooLong));
        }
        Ok(())
    }

    pub(crate) fn pop(&mut self) {
        let key = self.path.pop();
        self.bytes -= key.map_or(0, |key| key.len());
    }

    /// The error at the current path.
    pub(crate) fn refuse(&self, reason: Reason) -> Refused {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        Refused::at(reason, &path)
    }
}

/// The keys of one map, each of which may occur once.
#[derive(Default)]
pub(crate) struct Keys(HashSet<String>);

impl Keys {
    /// Adds the key at the current path.
    pub(crate) fn add(&mut self, key: &str, limits: &Limits) -> Result<(), Refused> {
        if self.0.insert(key.to_owned()) {
            Ok(())
        } else {
            Err(limits.refuse(Reason::DuplicateKey))
        }
    }
}
