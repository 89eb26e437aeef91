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
    report::{
        past::Change,
        sheet::{Level, Row, Sheet},
    },
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
    /// The difference from the last run, if that is known and there is one.
    pub change: Option<Change>,
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
            change: None,
        }
    }

    /// Adds how the run differs from the last one. If that is not known, each failure counts as a change.
    pub fn compare(&mut self, compared: Result<Option<Change>, ()>) {
        let is_failure = self.occasions.contains(&NotifyOn::Failure);
        self.change = compared.unwrap_or_else(|()| is_failure.then(Change::default));
        if self.change.is_some() {
            self.occasions.push(NotifyOn::Change);
        }
    }

    /// True if one of these has happened.
    pub fn is_due(&self, on: &[NotifyOn]) -> bool {
        on.iter().any(|one| self.occasions.contains(one))
    }

    /// True if an alert about this run stays. It stays without a change until nothing is wrong, and a recovery ends it.
    pub fn is_firing(&self, on: &[NotifyOn]) -> bool {
        on.iter().any(|one| match one {
            NotifyOn::Change => {
                self.occasions.contains(&NotifyOn::Failure) || !self.rows.is_empty()
            }
            NotifyOn::Failure | NotifyOn::Drift | NotifyOn::Restart | NotifyOn::Always => {
                self.occasions.contains(one)
            }
        })
    }

    /// False if another run held the lock, which tells by itself how it ends.
    pub const fn is_about_work(&self) -> bool {
        self.exit_code != Exit::Locked.code()
    }

    /// One line, for example `eso-sync run failed (exit code 3) in the context prod`.
    pub fn title(&self) -> String {
        let is_recovery = self.change.as_ref().is_some_and(|it| it.is_recovery);
        let how = match self.exit_code {
            0 | 1 if is_recovery => "recovered".to_owned(),
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
        lines.extend(self.change.iter().flat_map(changed));
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

/// What changed, in lines. The objects that need attention are named elsewhere.
fn changed(change: &Change) -> Vec<String> {
    let mut lines = Vec::new();
    if let (true, Some(code)) = (change.is_recovery, change.failed_before) {
        lines.push(format!("the run before failed (exit code {code})"));
    }
    if change.began > 0 {
        lines.push(format!("need more attention than before: {}", change.began));
    }
    let ended = change.ended.iter().take(NAMED);
    lines.extend(ended.map(|name| format!("{} needs less attention than before", line(name))));
    let more = change.ended.len().saturating_sub(NAMED);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// What has happened.
fn occasions(sheet: &Sheet) -> Vec<NotifyOn> {
    let is_failure = Exit::is_failure(sheet.run.exit_code);
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
