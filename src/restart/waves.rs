//! Puts restarts in order: for each rule first one workload alone, then groups. The namespaces of a rule take turns.

use std::collections::BTreeMap;

use crate::{index::place, policy::RestartRule};

place! {
    /// The index of a step in a restart plan.
    pub RestartAt
}

/// Workloads that may be restarted at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    /// The index of the rule.
    pub rule: usize,
    /// The number within the rule, from 1.
    pub number: u32,
    pub members: Vec<RestartAt>,
}

/// A step that restarts a workload.
#[derive(Clone, Copy, Debug)]
pub struct Due<'a> {
    pub at: RestartAt,
    /// The index of the rule.
    pub rule: usize,
    pub namespace: &'a str,
    /// True if it goes before the others of its namespace.
    pub first: bool,
    /// True if its namespace goes last, because a restart of the same rule failed there before.
    pub last: bool,
}

/// Returns the waves of these steps.
pub fn waves(rules: &[RestartRule], mut steps: Vec<Due<'_>>) -> Vec<Wave> {
    steps.sort_by_key(|step| !step.first);
    let mut waves = Vec::new();
    for (rule, settings) in rules.iter().enumerate() {
        let members = in_turns(steps.iter().filter(|step| step.rule == rule));
        let Some((first, others)) = members.split_first() else {
            continue;
        };
        let group = settings.max_concurrent.get() as usize;
        let groups = std::iter::once(vec![*first]).chain(others.chunks(group).map(<[_]>::to_vec));
        waves.extend((1..).zip(groups).map(|(number, members)| Wave {
            rule,
            number,
            members,
        }));
    }
    waves
}

/// The first workload of each namespace, then the second of each, and so on.
fn in_turns<'s>(steps: impl Iterator<Item = &'s Due<'s>>) -> Vec<RestartAt> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranked: Vec<_> = steps
        .map(|step| {
            let count = counts.entry(step.namespace).or_default();
            *count += 1;
            (step.last, *count, step.namespace, step.at)
        })
        .collect();
    ranked.sort_by_key(|(last, rank, namespace, _)| (*last, *rank, *namespace));
    ranked.into_iter().map(|(.., at)| at).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::index::Place as _;

    /// Returns the waves of steps given by index and rule.
    fn waves_of(rules: &[RestartRule], steps: &[(usize, usize)]) -> Vec<Wave> {
        let due = |&(place, rule): &(usize, usize)| Due {
            at: RestartAt::at(place),
            rule,
            namespace: "shop",
            first: false,
            last: false,
        };
        waves(rules, steps.iter().map(due).collect())
    }

    #[test]
    fn namespaces_take_turns_and_failed_ones_go_last() {
        let due = |place: usize, namespace: &'static str, first: bool| Due {
            at: RestartAt::at(place),
            rule: 0,
            namespace,
            first,
            last: namespace == "a",
        };
        let steps = vec![
            due(0, "a", false),
            due(1, "b", false),
            due(2, "b", false),
            due(3, "b", true),
            due(4, "c", false),
        ];
        let order: Vec<usize> = waves(&[rule(2)], steps)
            .iter()
            .flat_map(|wave| places(&wave.members))
            .collect();
        assert_eq!(order, [3, 4, 1, 2, 0]);
    }

    fn places(members: &[RestartAt]) -> Vec<usize> {
        members.iter().map(|member| member.place()).collect()
    }

    fn rule(at_once: u32) -> RestartRule {
        RestartRule {
            max_concurrent: NonZeroU32::new(at_once).unwrap(),
            ..RestartRule::default()
        }
    }

    #[test]
    fn the_first_wave_has_one_member() {
        let steps = [(0, 0), (1, 1), (2, 0), (3, 0), (4, 0)];
        let shown: Vec<_> = waves_of(&[rule(2), rule(1)], &steps)
            .into_iter()
            .map(|wave| (wave.rule, wave.number, places(&wave.members)))
            .collect();
        assert_eq!(
            shown,
            [
                (0, 1, vec![0]),
                (0, 2, vec![2, 3]),
                (0, 3, vec![4]),
                (1, 1, vec![1])
            ]
        );
    }

    proptest! {
        #[test]
        fn each_step_is_in_one_wave_of_allowed_size(
            at_once in 1u32..7, of in prop::collection::vec(0usize..3, 0..60)
        ) {
            let rules = [rule(at_once), rule(1), rule(3)];
            let steps: Vec<_> = of.into_iter().enumerate().collect();
            let waves = waves_of(&rules, &steps);
            let mut members: Vec<usize> = waves.iter().flat_map(|wave| places(&wave.members)).collect();
            members.sort_unstable();
            prop_assert_eq!(members, (0..steps.len()).collect::<Vec<_>>());
            for wave in &waves {
                let most = if wave.number == 1 { 1 } else { rules[wave.rule].max_concurrent.get() as usize };
                prop_assert!(wave.members.len() <= most);
            }
        }
    }
}
