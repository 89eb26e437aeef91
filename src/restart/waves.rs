//! Puts restarts in order: for each rule first one workload alone, then groups.

use crate::{index::place, policy::RestartRule};

place! {
    /// The index of a step in a restart plan.
    pub RestartAt
}

/// Workloads that are restarted together. The next wave starts when all of them are healthy.
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
pub struct Due {
    pub at: RestartAt,
    /// The index of the rule.
    pub rule: usize,
    /// True if it goes before the others of its rule.
    pub first: bool,
}

/// Returns the waves of these steps.
pub fn waves(rules: &[RestartRule], mut steps: Vec<Due>) -> Vec<Wave> {
    steps.sort_by_key(|step| !step.first);
    let mut waves = Vec::new();
    for (rule, settings) in rules.iter().enumerate() {
        let members: Vec<RestartAt> = steps
            .iter()
            .filter(|step| step.rule == rule)
            .map(|step| step.at)
            .collect();
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
            first: false,
        };
        waves(rules, steps.iter().map(due).collect())
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
