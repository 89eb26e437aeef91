use proptest::prelude::*;

use super::{super::fixtures::*, *};
use crate::{
    policy::{RestartRule, Selection},
    restart::{decide::restarted, known::Known},
    workload::Health,
};

fn policy(rules: Vec<RestartRule>) -> Policy {
    let mut policy = Policy::selecting(vec![Selection::default()]);
    policy.restart = rules;
    policy
}

fn planned(subjects: &[Subject], limit: u32) -> RestartPlan {
    let mut policy = policy(vec![RestartRule::default()]);
    policy.safety.max_restarts = limit;
    let (key, known) = (key(), Known::default());
    plan(&policy, subjects, context(&key, &known, false))
}

const OLD: Data = &[("password", "old")];
const NEW: Data = &[("password", "new")];

#[test]
fn a_limit_refuses_as_a_whole() {
    let subjects = [
        subject("a", NEW).stamped(OLD),
        subject("b", NEW).stamped(OLD),
    ];
    assert_eq!(planned(&subjects, 2).refusal, None);
    let refusal = planned(&subjects, 1).refusal.unwrap();
    assert_eq!(
        refusal.to_string(),
        "2 workloads would be restarted if their data changes, and safety.maxRestarts allows 1"
    );
}

/// Restarted by us on the data as it is.
fn restarted_now(name: &str) -> Subject {
    let subject = subject(name, NEW).stamped(OLD);
    let stamp = Stamp::parse(subject.workload.stamp.as_deref().unwrap()).unwrap();
    let (key, known) = (key(), Known::default());
    let next = restarted(&subject, context(&key, &known, false), &stamp).unwrap();
    subject.after(&next)
}

#[test]
fn one_that_is_not_healthy_after_its_restart_stops_the_others_in_later_runs_too() {
    let mut failed = restarted_now("a");
    failed.workload.health = Health::Failing("deadline exceeded".to_owned());
    let subjects = [failed, subject("b", NEW).stamped(OLD)];
    let plan_of = |retry| {
        let policy = policy(vec![RestartRule::default()]);
        let (key, known) = (key(), Known::default());
        let context = Context {
            retry,
            ..context(&key, &known, false)
        };
        plan(&policy, &subjects, context)
    };
    let stopped = plan_of(false);
    assert_eq!(stopped.restarts(), 0);
    assert_eq!(stopped.steps[1].decision.reason, Reason::RuleStopped);
    assert!(
        stopped.steps[1]
            .decision
            .message
            .contains("shop/Deployment/a")
    );
    assert_eq!(plan_of(true).restarts(), 1);
}

#[test]
fn one_that_still_rolls_after_its_restart_is_waited_for() {
    let mut rolling = restarted_now("a");
    rolling.workload.health = Health::Rolling(String::new());
    let plan = planned(&[rolling.clone(), subject("b", NEW).stamped(OLD)], 10);
    assert_eq!(plan.restarts(), 1);
    assert_eq!(plan.awaited[&0], [rolling.workload.id]);
}

#[test]
fn one_that_failed_for_another_reason_stops_nothing() {
    let mut failed = subject("a", NEW).stamped(NEW);
    failed.workload.health = Health::Failing(String::new());
    let plan = planned(&[failed, subject("b", NEW).stamped(OLD)], 10);
    assert_eq!(plan.restarts(), 1);
}

#[test]
fn the_pods_that_run_on_old_data_are_named() {
    let plan = planned(&[subject("a", NEW).stamped(OLD)], 10);
    assert_eq!(plan.steps[0].old_pods, ["a-1"]);
}

/// Whether it is stamped on the present data, on other data, or not at all; and whether it is healthy.
fn any_subject(index: usize, (state, healthy): (u8, bool)) -> Subject {
    let subject = subject(&format!("w{index:02}"), NEW);
    let mut subject = match state {
        0 => subject,
        1 => subject.stamped(OLD),
        _ => subject.stamped(NEW),
    };
    if !healthy {
        subject.workload.health = Health::Unavailable(String::new());
    }
    subject
}

proptest! {
    /// What was carried out leaves nothing to do.
    #[test]
    fn planning_after_applying_is_empty(states in prop::collection::vec((0u8..3, any::<bool>()), 0..12)) {
        let mut subjects: Vec<Subject> =
            states.into_iter().enumerate().map(|(index, state)| any_subject(index, state)).collect();
        let policy = policy(vec![RestartRule::default()]);
        let (key, known) = (key(), Known::default());
        for before_sync in [true, false] {
            let context = context(&key, &known, before_sync);
            let plan = plan(&policy, &subjects, context);
            for (step, subject) in plan.steps.iter().zip(&mut subjects) {
                if let Some(write) = &step.decision.write {
                    subject.workload.stamp = write.stamp.to_text();
                }
                if step.decision.action == Action::Restart && !before_sync {
                    let stamp = Stamp::parse(subject.workload.stamp.as_deref().unwrap()).unwrap();
                    subject.workload.stamp = restarted(subject, context, &stamp).unwrap().to_text();
                }
            }
        }
        for before_sync in [true, false] {
            let plan = plan(&policy, &subjects, context(&key, &known, before_sync));
            prop_assert!(!plan.writes_anything());
        }
    }

    /// Nothing is restarted that is not owed, and nothing is in two waves.
    #[test]
    fn no_restart_outside_of_what_is_owed(states in prop::collection::vec((0u8..3, any::<bool>()), 0..12)) {
        let subjects: Vec<Subject> =
            states.iter().copied().enumerate().map(|(index, state)| any_subject(index, state)).collect();
        let plan = planned(&subjects, 100);
        let owed = states.iter().filter(|(state, healthy)| *state == 1 && *healthy).count();
        prop_assert_eq!(plan.restarts(), owed);
        for wave in &plan.waves {
            prop_assert_eq!(wave.members.len(), 1);
        }
    }
}
