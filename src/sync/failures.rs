//! Counts failures by namespace, and decides when a namespace or the run stops (`safety.stopAfterFailures`). Pure.
//!
//! A tenant can make every sync in its namespace fail, so a failure counts only there. If many namespaces fail, the cause is
//! probably common to all, and the run stops.

use std::collections::{BTreeMap, BTreeSet};

use crate::{plan::Plan, policy::FailureLimit};

/// A share of failures counts only after this number of attempts, or after all of the namespace.
const ENOUGH: usize = 10;

/// The run stops when this number of namespaces, and half of all, have too many failures.
const NAMESPACES: usize = 3;

/// The failures of a run.
#[derive(Debug)]
pub(super) struct Failures<'a> {
    limit: FailureLimit,
    by_namespace: BTreeMap<&'a str, Count>,
    /// The namespaces with too many failures.
    stopped: BTreeSet<&'a str>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    planned: usize,
    attempted: usize,
    failed: usize,
}

impl<'a> Failures<'a> {
    /// No failures of this plan yet.
    pub(super) fn new(plan: &'a Plan, limit: FailureLimit) -> Self {
        let mut by_namespace: BTreeMap<&str, Count> = BTreeMap::new();
        for member in plan.steps.iter().flat_map(|step| &step.members) {
            let namespace = &*plan.items[*member].id.namespace;
            by_namespace.entry(namespace).or_default().planned += 1;
        }
        Self {
            limit,
            by_namespace,
            stopped: BTreeSet::new(),
        }
    }

    /// Records the result of an item.
    pub(super) fn record(&mut self, namespace: &'a str, failed: bool) {
        let count = self.by_namespace.entry(namespace).or_default();
        count.attempted += 1;
        count.failed += usize::from(failed);
    }

    /// Returns the namespaces that have too many failures since the last call.
    pub(super) fn stop(&mut self) -> Vec<&'a str> {
        let counts = self.by_namespace.iter();
        let too_many = counts.filter(|(_, count)| count.is_too_many(self.limit));
        let new: Vec<&str> = too_many
            .map(|(namespace, _)| *namespace)
            .filter(|namespace| !self.stopped.contains(namespace))
            .collect();
        self.stopped.extend(&new);
        new
    }

    /// True if so many namespaces stopped that the whole run stops.
    pub(super) fn stop_the_run(&self) -> bool {
        let attempted: usize = self
            .by_namespace
            .values()
            .map(|count| count.attempted)
            .sum();
        let stopped = self.stopped.len();
        attempted >= ENOUGH && stopped >= NAMESPACES && stopped * 2 >= self.by_namespace.len()
    }

    /// Why this namespace stopped, if it did.
    pub(super) fn why(&self, namespace: &str) -> Option<String> {
        let count = self.by_namespace.get(namespace)?;
        self.stopped.contains(namespace).then(|| {
            let Count {
                failed, attempted, ..
            } = count;
            format!("{failed} of {attempted} syncs in its namespace failed")
        })
    }
}

impl Count {
    fn is_too_many(self, limit: FailureLimit) -> bool {
        match limit {
            FailureLimit::Count(limit) => self.failed > limit as usize,
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            FailureLimit::Share(share) => {
                self.attempted >= ENOUGH.min(self.planned)
                    && self.failed as f64 > share * self.attempted as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Failures in namespaces with this number of planned syncs each.
    fn failures(limit: FailureLimit, planned: &[(&'static str, usize)]) -> Failures<'static> {
        let count = |planned| Count {
            planned,
            ..Count::default()
        };
        Failures {
            limit,
            by_namespace: planned
                .iter()
                .map(|&(name, planned)| (name, count(planned)))
                .collect(),
            stopped: BTreeSet::new(),
        }
    }

    fn record(failures: &mut Failures<'static>, namespace: &'static str, results: &str) {
        for result in results.chars() {
            failures.record(namespace, result == 'x');
        }
    }

    #[test]
    fn failures_stop_only_their_namespace() {
        for (limit, results, stops) in [
            (FailureLimit::Count(2), "xx", false),
            (FailureLimit::Count(2), "x.x.x", true),
            (FailureLimit::Count(0), "x", true),
            (FailureLimit::Share(0.2), "xxxxxxxxx", false),
            (FailureLimit::Share(0.2), "xxxxxxxxxx", true),
            (FailureLimit::Share(0.2), "xx........", false),
            (FailureLimit::Share(0.2), "xxx.......", true),
            (FailureLimit::Share(1.0), "xxxxxxxxxx", false),
        ] {
            let mut failures = failures(limit, &[("a", 50), ("b", 50)]);
            record(&mut failures, "b", "..........");
            record(&mut failures, "a", results);
            let expected: &[&str] = if stops { &["a"] } else { &[] };
            assert_eq!(failures.stop(), expected, "{limit} {results}");
            assert_eq!(failures.stop(), [""; 0], "a namespace stops once");
            assert_eq!(failures.why("a").is_some(), stops);
            assert_eq!((failures.why("b"), failures.stop_the_run()), (None, false));
        }
    }

    #[test]
    fn run_stops_with_half_of_the_namespaces_and_at_least_three() {
        const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        for (all, stopped, stops) in [
            (1, 1, false),
            (2, 2, false),
            (3, 2, false),
            (3, 3, true),
            (6, 3, true),
            (7, 3, false),
            (8, 4, true),
        ] {
            let planned: Vec<_> = NAMES.iter().take(all).map(|name| (*name, 40)).collect();
            let mut failures = failures(FailureLimit::Share(0.2), &planned);
            for name in NAMES.into_iter().take(stopped) {
                record(&mut failures, name, "xxxxxxxxxx");
            }
            assert_eq!(failures.stop().len(), stopped);
            assert_eq!(failures.stop_the_run(), stops, "{stopped} of {all}");
        }
    }

    #[test]
    fn small_namespaces_stop_the_run_together() {
        let planned = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, 2));
        let mut failures = failures(FailureLimit::Share(0.2), &planned);
        for (namespace, _) in &planned[..4] {
            record(&mut failures, namespace, "x.");
        }
        assert_eq!(failures.stop().len(), 4, "all of them were attempted");
        assert!(!failures.stop_the_run(), "fewer than ten attempts");
        record(&mut failures, "e", "..");
        assert!(failures.stop_the_run());
    }

    proptest! {
        #[test]
        fn failures_elsewhere_change_nothing(
            own in "[x.]{0,30}", other in "[x.]{0,30}", share in 0.0_f64..1.0, count in 0_u32..12, by_share: bool,
        ) {
            let limit = if by_share { FailureLimit::Share(share) } else { FailureLimit::Count(count) };
            let stops = |other: &str| {
                let mut failures = failures(limit, &[("own", 30), ("other", 30)]);
                record(&mut failures, "other", other);
                record(&mut failures, "own", &own);
                failures.stop().contains(&"own")
            };
            prop_assert_eq!(stops(&other), stops(""));
        }
    }
}
