//! Progress on stderr: `[3/10] ns/name ✓` on a terminal, otherwise one line for each item.

use std::io::{IsTerminal as _, Write as _};

use crate::{
    foreign,
    outcome::{ItemResult, Outcome},
    plan::Item,
};

/// The style of the progress output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No output.
    Silent,
    /// With a counter and a mark.
    Terminal,
    /// Plain lines.
    Lines,
    /// Log records.
    Logs,
}

impl Style {
    /// Returns the style for the current stderr.
    pub fn detect(quiet: bool, json_logs: bool) -> Self {
        match (quiet, json_logs) {
            (true, _) => Self::Silent,
            (false, true) => Self::Logs,
            (false, false) if std::io::stderr().is_terminal() => Self::Terminal,
            (false, false) => Self::Lines,
        }
    }

    /// Writes a line of progress to stderr.
    pub fn say(self, line: &str) {
        match self {
            Self::Silent => {}
            Self::Logs => tracing::info!(target: "eso_sync::progress", "{line}"),
            Self::Terminal | Self::Lines => {
                writeln!(std::io::stderr(), "{}", foreign::line(line)).ok();
            }
        }
    }
}

/// Counts and prints finished items.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    total: usize,
    done: usize,
}

impl Progress {
    /// `total` is the expected number of items.
    pub const fn new(style: Style, total: usize) -> Self {
        Self {
            style,
            total,
            done: 0,
        }
    }

    /// Prints a finished item.
    pub fn done(&mut self, item: &Item, result: &ItemResult) {
        self.done += 1;
        let outcome = result.outcome.into_str();
        let reason = result
            .reason
            .map(|reason| format!(" ({})", reason.as_str()))
            .unwrap_or_default();
        let took = result.took.as_secs_f64();
        let line = match self.style {
            Style::Silent => return,
            Style::Logs => {
                let reason = result
                    .reason
                    .map(crate::reason::Reason::as_str)
                    .unwrap_or_default();
                tracing::info!(target: "eso_sync::progress", namespace = item.id.namespace, name = item.id.name, outcome, reason, took);
                return;
            }
            Style::Terminal => {
                let mark = if result.outcome == Outcome::Synced {
                    "✓"
                } else {
                    "✗"
                };
                format!("[{}/{}] {} {mark}{reason}", self.done, self.total, item.id)
            }
            Style::Lines => format!(
                "{outcome} {}{reason} after {took:.1} s, {} of {}",
                item.id, self.done, self.total
            ),
        };
        // A closed stderr must not stop the run.
        writeln!(std::io::stderr(), "{}", foreign::line(&line)).ok();
    }
}
