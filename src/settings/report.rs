//! Rules of the section `report` that its types do not express.

use std::collections::BTreeSet;

use super::{
    problem::{Problem, Source},
    tree,
};
use crate::policy::Report;

/// The most files of one run.
const MOST_FILES: usize = 20;

/// Adds the errors of a history that is too long, of files that share a name, and of too many files.
pub(super) fn check(
    report: &Report,
    place: &dyn Fn(&[String]) -> Option<Source>,
    problems: &mut Vec<Problem>,
) {
    let mut add = |keys: &[&str], what: String, hint: String| {
        let keys: Vec<String> = ["report"]
            .iter()
            .chain(keys)
            .map(ToString::to_string)
            .collect();
        problems.push(Problem {
            source: place(&keys).unwrap_or(Source::Defaults),
            key: tree::path_of(&keys),
            what,
            hint,
        });
    };
    let most = Report::MOST_RUNS;
    if report.history > most {
        let what = format!("{} is more than a ConfigMap can hold", report.history);
        add(&["history"], what, format!("write at most {most}"));
    }
    if report.files.len() > MOST_FILES {
        let what = format!("has {} files", report.files.len());
        add(&["files"], what, format!("write at most {MOST_FILES}"));
    }
    let mut names = BTreeSet::new();
    for (index, file) in report.files.iter().enumerate() {
        // Some file systems do not distinguish case.
        if !names.insert(file.name.to_lowercase()) {
            let what = format!("`{}` is the name of another file", file.name);
            let keys = ["files", &format!("[{index}]"), "name"];
            add(&keys, what, "choose another name".to_owned());
        }
    }
}
