//! JUnit XML, for CI systems: one test case for each object, one suite for each namespace.

use std::{collections::BTreeMap, time::Duration};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{
    foreign::Foreign,
    report::sheet::{Level, Note, Row, Sheet},
};

/// The suite of what concerns the whole run.
const RUN: &str = "run";

pub(super) fn junit(sheet: &Sheet) -> Result<String, String> {
    let mut suites: BTreeMap<String, TestSuite> = BTreeMap::new();
    let mut add = |suite: String, case: TestCase| {
        let new = || TestSuite::new(suite.as_str());
        suites
            .entry(suite.clone())
            .or_insert_with(new)
            .add_test_case(case);
    };
    for row in &sheet.rows {
        let suite = if row.namespace.is_empty() {
            RUN.to_owned()
        } else {
            row.namespace.terminal()
        };
        let case = case(row, &suite);
        add(suite, case);
    }
    for (number, note) in (1..).zip(&sheet.notes) {
        add(RUN.to_owned(), noted(number, note));
    }
    let mut report = Report::new(format!("eso-sync {}", sheet.kind));
    let run = sheet.run.finished.duration_since(sheet.run.started);
    report.set_time(run.try_into().unwrap_or_default());
    report.add_test_suites(suites.into_values());
    let skipped = format!(" skipped=\"{}\"", report.skipped);
    let text = report.to_string().map_err(|error| error.to_string())?;
    // The schema of Jenkins does not have this attribute at the root.
    Ok(text.replacen(&skipped, "", 1))
}

fn case(row: &Row, suite: &str) -> TestCase {
    let name = format!("{} {}", row.kind, row.name.terminal());
    let word = if row.verdict.is_empty() || row.level == Level::Failed {
        row.outcome
    } else {
        row.verdict
    };
    let mut case = TestCase::new(name, status(row.level, word, &row.why()));
    case.set_classname(suite);
    if let Some(seconds) = row.seconds {
        case.set_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }
    if row.level.needs_attention() && !row.next_step.is_empty() {
        case.set_system_out(&*row.next_step);
    }
    case
}

fn noted(number: usize, note: &Note) -> TestCase {
    let name = match &note.place {
        Some((file, Some(line))) => format!("{}:{line}", file.terminal()),
        Some((file, None)) => file.terminal(),
        None => format!("note {number}"),
    };
    // A warning is not a failure, and a skipped test would hide its text.
    let mut case = TestCase::new(name, status(note.level, "note", &note.text));
    case.set_classname(RUN);
    if !note.level.needs_attention() {
        case.status = TestCaseStatus::success();
        case.set_system_out(note.text.terminal());
    }
    case
}

fn status(level: Level, word: &str, why: &Foreign) -> TestCaseStatus {
    let mut status = match level {
        Level::Good | Level::Changed => return TestCaseStatus::success(),
        Level::Skipped => TestCaseStatus::skipped(),
        Level::Differs | Level::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Level::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_type(word).set_message(why.terminal());
    status
}
