//! The data of the ConfigMap: what it holds, and what the next run makes of it. Pure. Somebody else may have written it.

use std::collections::BTreeMap;

use crate::report::past::{PastRun, Word};

/// The most that all summaries take, in bytes, so that the ConfigMap stays below the 1 MiB that the API server accepts.
pub(super) const MOST_BYTES: usize = 768 * 1024;

/// The most summaries of all commands and jobs.
const MOST_RUNS: usize = 300;

/// The summaries in a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// By the ID of the run; the newest first.
    pub runs: Vec<(Word, PastRun)>,
    /// The number of entries that are no summaries.
    pub dropped: usize,
}

/// Reads the data of a ConfigMap.
pub fn parse(data: &BTreeMap<String, String>) -> Kept {
    let read = |(id, text): (&String, &String)| Some((id.parse().ok()?, text.parse().ok()?));
    let mut runs: Vec<(Word, PastRun)> = data.iter().filter_map(read).collect();
    runs.sort_by(|(a, one), (b, other)| (other.started, b).cmp(&(one.started, a)));
    let dropped = data.len() - runs.len();
    Kept { runs, dropped }
}

/// The change of the data that adds this run, and keeps so many of its command and job. None removes an entry.
pub(super) fn change(
    data: &BTreeMap<String, String>,
    (id, run): (&Word, &PastRun),
    most: usize,
) -> BTreeMap<String, Option<String>> {
    let text = run.text();
    let mut left = MOST_BYTES.saturating_sub(id.as_str().len() + text.len());
    let (mut same, mut all) = (1, 1);
    let mut kept: BTreeMap<String, Option<String>> =
        data.keys().map(|key| (key.clone(), None)).collect();
    for (known, other) in parse(data).runs {
        let is_same = other.series() == run.series();
        let size = known.as_str().len() + data.get(known.as_str()).map_or(0, String::len);
        if known == *id || (is_same && same >= most) || all >= MOST_RUNS || size > left {
            continue;
        }
        left -= size;
        all += 1;
        same += usize::from(is_same);
        // What stays is no part of the change.
        kept.remove(known.as_str());
    }
    kept.insert(id.as_str().to_owned(), Some(text));
    kept
}
