//! Messages about a run: when one is sent, and what each kind of receiver gets. Pure.

mod payload;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use self::payload::Payload;
use crate::{
    exit::Exit,
    finding::Verdict,
    foreign::{Foreign, line},
    policy::notify::NotifyOn,
    report::sheet::{Level, Row, Sheet},
    restart::results::RestartOutcome,
};

/// The objects and notes that a message names.
const NAMED: usize = 10;

/// A message about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `run`, `drift`, …
    pub command: String,
    /// The ID of the run.
    pub run: String,
    pub exit_code: u8,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub context: Option<Foreign>,
    /// The totals, in words: `2 ExternalSecrets synced`.
    pub totals: Vec<String>,
    /// What concerns the whole run and needs attention.
    pub notes: Vec<Foreign>,
    /// What needs attention, the most severe first.
    pub rows: Vec<Named>,
    /// The number of rows that need attention and are not named.
    pub more: usize,
    /// Where the report is.
    pub link: Option<String>,
    /// What happened.
    pub occasions: Vec<NotifyOn>,
}

/// An object in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub kind: &'static str,
    pub id: Foreign,
    pub level: Level,
    pub why: Foreign,
}

impl Message {
    /// The message about a document.
    pub fn of(sheet: &Sheet, command: &str) -> Self {
        let mut rows: Vec<&Row> = sheet.rows.iter().collect();
        rows.retain(|row| row.level.needs_attention());
        // Stable, so that objects of one level keep the order of the report.
        rows.sort_by_key(|row| std::cmp::Reverse(row.level));
        let notes = sheet.notes.iter();
        let notes = notes.filter(|note| note.level.needs_attention());
        Self {
            command: command.to_owned(),
            run: sheet.run.id.clone(),
            exit_code: sheet.run.exit_code,
            started: sheet.run.started,
            finished: sheet.run.finished,
            context: sheet.run.context.clone().map(Foreign::from),
            totals: sheet.totals.clone(),
            notes: notes.take(NAMED).map(|note| note.text.clone()).collect(),
            more: rows.len().saturating_sub(NAMED),
            rows: rows.into_iter().take(NAMED).map(Named::of).collect(),
            link: sheet.run.report_url.clone(),
            occasions: occasions(sheet),
        }
    }

    /// True if one of these has happened.
    pub fn is_due(&self, on: &[NotifyOn]) -> bool {
        on.iter().any(|one| self.occasions.contains(one))
    }

    /// One line, for example `eso-sync run failed (exit code 3) in the context prod`.
    pub fn title(&self) -> String {
        let how = match self.exit_code {
            0 | 1 => "ended".to_owned(),
            code => format!("failed (exit code {code})"),
        };
        let context = self.context.as_ref();
        let place = context.map(|context| format!(" in the context {}", context.terminal()));
        format!(
            "eso-sync {} {how}{}",
            self.command,
            place.unwrap_or_default()
        )
    }

    /// The lines below the title.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.totals.is_empty() {
            lines.push(line(&self.totals.join(", ")));
        }
        lines.extend(self.notes.iter().map(Foreign::terminal));
        lines.extend(self.rows.iter().map(Named::line));
        if self.more > 0 {
            lines.push(format!("and {} more", self.more));
        }
        lines
    }
}

impl Named {
    fn of(row: &Row) -> Self {
        Self {
            kind: row.kind,
            id: row.id(),
            level: row.level,
            why: row.why(),
        }
    }

    /// `ExternalSecret shop/db failed: throttled`
    fn line(&self) -> String {
        let state = match self.level {
            Level::Differs => "differs",
            Level::Unknown => "is unknown",
            Level::Failed => "failed",
            Level::Skipped | Level::Good | Level::Changed => "is well",
        };
        let why = self.why.terminal();
        let colon = if why.is_empty() { "" } else { ": " };
        format!("{} {} {state}{colon}{why}", self.kind, self.id.terminal())
    }
}

/// What has happened.
fn occasions(sheet: &Sheet) -> Vec<NotifyOn> {
    let is_failure = [
        Exit::Invalid,
        Exit::Failed,
        Exit::NoAccess,
        Exit::Limit,
        Exit::Stopped,
    ]
    .map(Exit::code)
    .contains(&sheet.run.exit_code);
    let any = |is_meant: &dyn Fn(&Row) -> bool| sheet.rows.iter().any(is_meant);
    let is_drift =
        any(&|row| row.level == Level::Differs || Verdict::is_word_of_drift(row.verdict));
    let is_restart = any(&|row| row.outcome == RestartOutcome::Restarted.into_str());
    [
        (NotifyOn::Failure, is_failure),
        (NotifyOn::Drift, is_drift),
        (NotifyOn::Restart, is_restart),
        (NotifyOn::Always, true),
    ]
    .into_iter()
    .filter_map(|(one, happened)| happened.then_some(one))
    .collect()
}
