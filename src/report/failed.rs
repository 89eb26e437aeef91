//! The document of a command that failed before it had anything else to report. Only report files contain it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    API_VERSION, Run,
    metrics::Metrics,
    sheet::{Level, Note, Sheet, Tabular},
};
use crate::foreign::Foreign;

/// The error of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureDocument {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// `Failure`
    pub kind: &'static str,
    /// The run that failed.
    pub run: Run,
    /// What happened.
    pub error: Foreign,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Foreign>,
    /// The errors of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub problems: Vec<DocumentProblem>,
}

/// One error of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentProblem {
    /// The file; absent for a flag or an environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Foreign>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The error, with its place and what would be right.
    pub message: Foreign,
}

impl FailureDocument {
    pub fn new(
        run: Run,
        error: &str,
        hint: Option<&String>,
        problems: Vec<DocumentProblem>,
    ) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "Failure",
            run,
            error: error.into(),
            hint: hint.map(Foreign::from),
            problems,
        }
    }
}

impl Tabular for FailureDocument {
    fn sheet(&self) -> Sheet {
        let problems = self.problems.iter().map(|problem| Note {
            level: Level::Failed,
            text: problem.message.clone(),
            place: problem.file.clone().map(|file| (file, problem.line)),
        });
        let mut notes: Vec<Note> = problems.collect();
        if notes.is_empty() {
            notes.push(Note::new(Level::Failed, self.error.clone()));
        }
        if let Some(hint) = &self.hint {
            notes.push(Note::new(Level::Skipped, hint.clone()));
        }
        Sheet {
            kind: self.kind.to_owned(),
            run: self.run.clone(),
            totals: Vec::new(),
            rows: Vec::new(),
            notes,
        }
    }

    fn metrics(&self) -> Metrics {
        Metrics::of(&self.run)
    }
}
