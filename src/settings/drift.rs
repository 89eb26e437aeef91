//! Validates keys that depend on each other: those that need the drift check.

use super::problem::{Problem, Source};
use crate::policy::{OnStillStale, Policy, Require, When};

/// Sets the default that depends on the drift check, and reports keys that need it if it is disabled. `place` returns the
/// source of a key, if one sets it.
pub(super) fn settle(
    policy: &mut Policy,
    place: &dyn Fn(&[String]) -> Option<Source>,
    problems: &mut Vec<Problem>,
) {
    if policy.drift.enabled {
        return;
    }
    let of = |section: &str, key: &str| place(&[section.to_owned(), key.to_owned()]);
    if policy.sync.when == When::Drifted {
        if let Some(source) = of("sync", "when") {
            problems.push(Problem {
                source,
                key: "sync.when".to_owned(),
                what: "`drifted` needs the drift check, but `drift.enabled` is `false`".to_owned(),
                hint: "write `when: always`, or `drift: {enabled: true}` and --allow drift"
                    .to_owned(),
            });
        }
        policy.sync.when = When::Always;
    }
    if policy.sync.on_still_stale != OnStillStale::Report {
        let word = policy.sync.on_still_stale.into_str();
        problems.push(Problem {
            source: of("sync", "onStillStale").unwrap_or(Source::Defaults),
            key: "sync.onStillStale".to_owned(),
            what: format!("`{word}` needs the drift check, but `drift.enabled` is `false`"),
            hint: "write `onStillStale: report`, or `drift: {enabled: true}`".to_owned(),
        });
    }
    let rules = policy.restart.iter().enumerate();
    for (index, _) in rules.filter(|(_, rule)| rule.require == Require::InSync) {
        let rule = ["restart".to_owned(), format!("[{index}]")];
        problems.push(Problem {
            source: place(&rule).unwrap_or(Source::Defaults),
            key: format!("restart[{index}].require"),
            what: "`in-sync` needs the drift check, but `drift.enabled` is `false`".to_owned(),
            hint: "write `require: proven`, or `drift: {enabled: true}`".to_owned(),
        });
    }
}
