//! The history as rows: a row for each run, and for each object that needs attention.

use super::{
    document::{History, HistoryItem, HistoryRun},
    text::{result, said},
};
use crate::{
    foreign::Foreign,
    noun::counted,
    report::{
        metrics::Metrics,
        sheet::{Level, Note, Row, Sheet, Tabular},
    },
};

impl Tabular for History {
    fn sheet(&self) -> Sheet {
        let runs = self.runs.iter().map(HistoryRun::row);
        let asked = self.about.is_some();
        let items = self.items.iter();
        let items = items.filter(|item| asked || item.attention_since.is_some());
        let summary = &self.summary;
        let warnings = self.warnings.iter();
        Sheet {
            kind: self.kind.to_owned(),
            run: self.run.clone(),
            totals: vec![
                counted(summary.runs, "run"),
                format!("{} failed", summary.failed),
                format!("need attention now: {}", summary.attention),
            ],
            rows: runs.chain(items.map(HistoryItem::row)).collect(),
            notes: warnings
                .map(|text| Note::new(Level::Unknown, text.clone()))
                .collect(),
        }
    }

    fn metrics(&self) -> Metrics {
        Metrics::of(&self.run)
    }
}

impl HistoryRun {
    fn row(&self) -> Row {
        let (level, outcome) = match self.exit_code {
            0 => (Level::Good, "done"),
            1 => (Level::Differs, "differences"),
            2 => (Level::Failed, "invalid"),
            3 => (Level::Failed, "failed"),
            4 => (Level::Failed, "no-access"),
            5 => (Level::Failed, "limit"),
            6 => (Level::Failed, "locked"),
            _ => (Level::Failed, "stopped"),
        };
        let job = self.job.as_ref();
        let job = job.map(|job| format!(" of {job}")).unwrap_or_default();
        Row {
            kind: "run",
            name: self.id.clone().into(),
            level,
            outcome,
            message: format!("{}{job}: {}", self.command, result(self)).into(),
            at: Some(self.started),
            seconds: Some(self.took_seconds),
            ..Row::default()
        }
    }
}

impl HistoryItem {
    fn row(&self) -> Row {
        let last = self.course.first();
        let level = last.map(|point| point.level).unwrap_or_default();
        let is_due = self.attention_since.is_some();
        let since = self.attention_since.or(self.first_drifted);
        let since = since.map(|since| format!("; since {since}"));
        let message = format!(
            "{}{}",
            last.map(said).unwrap_or_default(),
            since.unwrap_or_default()
        );
        Row {
            kind: self.kind,
            namespace: self.namespace.clone().into(),
            name: self.name.clone().into(),
            level: if is_due { level } else { Level::Good },
            outcome: if is_due { "needs-attention" } else { "good" },
            message: Foreign::from(message),
            ..Row::default()
        }
    }
}
