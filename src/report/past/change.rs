//! What changed from one run of a command and job to the next, by their summaries. Pure.
//!
//! The state of a run is how it failed, if it failed, and the objects that needed attention when it ended, each with its level. What a
//! run has repaired is not a part of it. A run that ended before it knew its objects is compared only by how it failed, and the next
//! one is compared with the objects of the run before.

use std::collections::BTreeMap;

use super::{ObjectKind, PastRun};
use crate::{exit::Exit, report::sheet::Level};

/// How a run differs from the last one that the history keeps, or why that is not known.
pub type Compared = Result<Option<Change>, String>;

/// The difference of a run from the runs before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// True if something was wrong before, and nothing is wrong now.
    pub is_recovery: bool,
    /// The exit code with which the run before failed; None if it did not fail, or if there was none.
    pub failed_before: Option<u8>,
    /// The number of named objects that need attention now, and did not need it, or not as much.
    pub began: usize,
    /// The objects that needed attention and do not need it now, or not as much: `ExternalSecret shop/db`.
    pub ended: Vec<String>,
}

/// The name of an object.
type Key<'a> = (ObjectKind, &'a str, &'a str);

impl PastRun {
    /// The difference of this run from the earlier ones of the same command and job, the newest first. None if the state is the same.
    /// Without an earlier run, it differs if something is wrong.
    pub fn change_since(&self, earlier: &[&Self]) -> Option<Change> {
        if !self.tells() {
            return None;
        }
        let earlier = earlier.iter().filter(|run| run.tells());
        let before = earlier.clone().next();
        let failed_before = before.and_then(|run| run.failure());
        let knew = earlier.clone().find(|run| run.knows_objects());
        let known = self.knows_objects();
        let now = self.wrong();
        let then = knew.map(|run| run.wrong()).unwrap_or_default();
        let attention_then = knew.map_or(0, |run| run.attention);
        let mut change = Change {
            failed_before,
            ..Change::default()
        };
        if known {
            let all_then = knew.is_none_or(|run| run.names_all());
            let worse = now.iter().filter(|(key, level)| match then.get(*key) {
                Some(before) => before < *level,
                None => all_then,
            });
            let better = then.iter().filter(|(key, level)| match now.get(*key) {
                Some(after) => after < *level,
                None => self.names_all(),
            });
            change.began = worse.count();
            change.ended = better.map(|(key, _)| shown(*key)).collect();
        }
        let differs = self.failure() != failed_before
            || change.began > 0
            || !change.ended.is_empty()
            || (known && self.attention != attention_then);
        let was_wrong = failed_before.is_some() || attention_then > 0;
        change.is_recovery = was_wrong && known && !self.is_wrong();
        differs.then_some(change)
    }

    /// True if the run failed or something needs attention.
    const fn is_wrong(&self) -> bool {
        self.failure().is_some() || self.attention > 0
    }

    /// The exit code, if it is that of a failure.
    const fn failure(&self) -> Option<u8> {
        if Exit::is_failure(self.exit_code) {
            Some(self.exit_code)
        } else {
            None
        }
    }

    /// False if another run held the lock, so that this one says nothing about the state.
    const fn tells(&self) -> bool {
        self.exit_code != Exit::Locked.code()
    }

    /// False if the run failed before it knew its objects.
    const fn knows_objects(&self) -> bool {
        self.objects > 0 || self.failure().is_none()
    }

    /// The named objects that need attention.
    fn wrong(&self) -> BTreeMap<Key<'_>, Level> {
        let wrong = self.items.iter().filter(|it| it.level.needs_attention());
        let keyed = wrong.map(|it| ((it.kind, &*it.namespace, &*it.name), it.level));
        keyed.collect()
    }

    /// True if the summary had room for all objects that need attention, which come first.
    fn names_all(&self) -> bool {
        self.cut == 0 || self.items.iter().any(|item| !item.level.needs_attention())
    }
}

fn shown((kind, namespace, name): Key<'_>) -> String {
    format!("{} {namespace}/{name}", kind.as_str())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use insta::assert_snapshot;

    use super::*;

    /// The arguments of [`run`].
    type Case<'a> = (u8, &'a str);

    /// A run with this exit code. `objects` is `NAME:LEVEL …`, or `?` if it did not know them.
    fn run(exit_code: u8, objects: &str) -> PastRun {
        let items: Vec<String> = objects
            .split_whitespace()
            .filter_map(|text| text.split_once(':'))
            .map(|(name, level)| format!("\"ExternalSecret shop/{name} {level} - - -\""))
            .collect();
        let attention = items
            .iter()
            .filter(|item| !item.contains("changed"))
            .count();
        let known = if objects == "?" { 0 } else { 10 };
        let text = format!(
            r#"{{"command": "run", "started": "2026-03-01T12:00:00Z", "finished": "2026-03-01T12:01:00Z", "exitCode": {exit_code},
                "complete": true, "objects": {known}, "attention": {attention}, "items": [{}]}}"#,
            items.join(", ")
        );
        text.parse().unwrap()
    }

    #[test]
    fn only_another_state_is_a_change() {
        // Now, and the runs before, the newest first.
        let cases: [(&str, Case<'_>, &[Case<'_>]); 21] = [
            ("first, good", (0, "a:changed"), &[]),
            ("first, failed", (3, "a:failed"), &[]),
            ("first, differences", (1, "a:differs"), &[]),
            ("first, no cluster", (4, "?"), &[]),
            ("first, locked", (6, "?"), &[]),
            ("good as before", (0, ""), &[(0, "")]),
            ("repaired", (0, "a:changed"), &[(0, "")]),
            ("failed as before", (3, "a:failed"), &[(3, "a:failed")]),
            ("begins to fail", (3, "a:failed"), &[(0, "a:changed")]),
            ("recovers", (0, ""), &[(3, "a:failed b:unknown")]),
            (
                "recovers partly",
                (3, "b:unknown"),
                &[(3, "a:failed b:unknown")],
            ),
            ("another object", (3, "b:failed"), &[(3, "a:failed")]),
            ("worse", (3, "a:failed"), &[(3, "a:unknown")]),
            ("less bad", (3, "a:differs"), &[(3, "a:failed")]),
            ("another failure", (5, "a:failed"), &[(3, "a:failed")]),
            ("no cluster", (4, "?"), &[(3, "a:failed")]),
            ("no cluster again", (4, "?"), &[(4, "?"), (3, "a:failed")]),
            (
                "the cluster is back",
                (3, "a:failed"),
                &[(4, "?"), (3, "a:failed")],
            ),
            ("the cluster is back, good", (0, ""), &[(4, "?"), (0, "")]),
            ("locked", (6, "?"), &[(3, "a:failed")]),
            (
                "after a locked run",
                (3, "a:failed"),
                &[(6, "?"), (3, "a:failed")],
            ),
        ];
        let mut table = String::new();
        for (name, (code, objects), earlier) in cases {
            let earlier: Vec<PastRun> = earlier.iter().map(|(code, it)| run(*code, it)).collect();
            let said = match run(code, objects).change_since(&earlier.iter().collect::<Vec<_>>()) {
                None => "-".to_owned(),
                Some(change) => format!(
                    "{}failed before: {:?}, began: {}, ended: {}",
                    if change.is_recovery { "RECOVERY, " } else { "" },
                    change.failed_before,
                    change.began,
                    change.ended.join(" ")
                ),
            };
            writeln!(table, "{name}: {said}").unwrap();
        }
        assert_snapshot!(table);
    }

    #[test]
    fn what_a_summary_had_no_room_for_is_no_change() {
        let cut = |objects: &str, attention| PastRun {
            cut: 5,
            attention,
            ..run(3, objects)
        };
        let before = cut("a:failed b:failed", 7);
        // The limit is that of the size, so a longer name can push out another.
        assert_eq!(cut("a:failed c:failed", 7).change_since(&[&before]), None);
        assert!(
            cut("a:failed b:failed", 8)
                .change_since(&[&before])
                .is_some()
        );
        assert!(
            cut("a:unknown b:failed", 7)
                .change_since(&[&before])
                .is_some()
        );
    }
}
