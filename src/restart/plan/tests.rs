use proptest::prelude::*;

use super::{super::fixtures::*, *};
use crate::{
    index::Place as _,
    policy::{RestartRule, Selection},
    restart::{
        decide::restarted,
        known::Known,
        stamp::{Evicting, OldPods, Restarted},
        targets::Targets,
    },
    workload::{Health, Workload},
};

fn policy(rules: Vec<RestartRule>) -> Policy {
    let mut policy = Policy::selecting(vec![Selection::default()]);
    policy.restart = rules;
    policy
}

/// The plan after the syncs, if every workload was foreseen.
fn due_of(policy: &Policy, subjects: &[Subject], context: Context<'_>) -> RestartPlan {
    let mut due = of_each(policy, subjects, context, evaluate);
    order(&mut due, policy);
    due
}

fn planned(subjects: &[Subject]) -> RestartPlan {
    let policy = policy(vec![RestartRule::default()]);
    let (key, known) = (key(), Known::default());
    due_of(&policy, subjects, context(&key, &known))
}

const OLD: Data = &[("password", "old")];
const NEW: Data = &[("password", "new")];

#[test]
fn only_foreseen_workloads_are_restarted() {
    let subjects = [
        subject("a", NEW).stamped(OLD),
        subject("b", NEW).stamped(OLD),
    ];
    let policy = policy(vec![RestartRule::default()]);
    let (key, known) = (key(), Known::default());
    let context = context(&key, &known);
    let before = plan(&policy, &subjects[..1], context, None);
    let shown = |plan: &RestartPlan| -> Vec<Reason> {
        let steps = plan.steps.iter();
        steps.map(|step| step.decision.reason).collect()
    };
    let only_the_first = [Reason::DataChanged, Reason::NotPlanned];
    let due = due(&before, &policy, &subjects, context);
    assert_eq!(shown(&due), only_the_first);
    assert_eq!(due.restarts(), 1);
    let again = plan(&policy, &subjects, context, Some(&before.foreseen()));
    assert_eq!(shown(&again), only_the_first);
}

/// Restarted with the current data.
fn restarted_now(name: &str) -> Subject {
    subject(name, NEW)
        .stamped(OLD)
        .rolled()
        .replaced_at("12:00:01")
}

#[test]
fn an_unhealthy_restart_stops_its_namespace_in_later_runs() {
    let mut failed = restarted_now("a");
    failed.workload.health = Health::Failing("deadline exceeded".to_owned());
    let mut elsewhere = subject("c", NEW).stamped(OLD);
    elsewhere.workload.id.namespace = "shop-2".to_owned();
    let subjects = [failed, subject("b", NEW).stamped(OLD), elsewhere];
    let plan_of = |retry| {
        let policy = policy(vec![RestartRule::default()]);
        let (key, known) = (key(), Known::default());
        let context = Context {
            retry,
            ..context(&key, &known)
        };
        due_of(&policy, &subjects, context)
    };
    let stopped = plan_of(false);
    assert_eq!(stopped.restarts(), 1, "other namespaces are not stopped");
    let second = &stopped.steps[RestartAt::at(1)].decision;
    assert_eq!(second.reason, Reason::NamespaceStopped);
    assert!(second.message.contains("shop/Deployment/a"));
    assert_eq!(plan_of(true).restarts(), 2);
}

#[test]
fn a_rollout_in_progress_is_awaited() {
    let mut rolling = restarted_now("a");
    rolling.workload.health = Health::Rolling(String::new());
    let plan = planned(&[rolling.clone(), subject("b", NEW).stamped(OLD)]);
    assert_eq!(plan.restarts(), 1);
    assert_eq!(plan.awaited[&0], [rolling.workload.id]);
}

/// The recorded state of a workload after its restart.
fn known(subject: &Subject, pending: bool) -> Known {
    let mut known = Known::default();
    let Workload { id, uid, .. } = &subject.workload;
    let stamp = stamp_of(subject).expect("a stamp");
    known.record_restart(id, uid, stamp.seq, pending);
    known
}

fn planned_knowing(known: &Known, subjects: &[Subject]) -> RestartPlan {
    let policy = policy(vec![RestartRule::default()]);
    due_of(&policy, subjects, context(&key(), known))
}

#[test]
fn only_failures_right_after_a_restart_are_awaited() {
    let mut lacking = restarted_now("a");
    lacking.workload.health = Health::Unavailable("2 of 3".to_owned());
    let subjects = [lacking.clone(), subject("b", NEW).stamped(OLD)];
    let pending = planned_knowing(&known(&lacking, true), &subjects);
    assert_eq!(pending.awaited[&0], [lacking.workload.id.clone()]);
    let settled = planned_knowing(&known(&lacking, false), &subjects);
    assert!(settled.awaited.is_empty());
    assert_eq!(settled.restarts(), 1);
    // A failure long after the restart stops nothing either. It may be a bad image.
    let mut failing = subjects;
    failing[0].workload.health = Health::Failing(String::new());
    let settled = planned_knowing(&known(&lacking, false), &failing);
    assert_eq!(settled.restarts(), 1);
}

#[test]
fn new_data_restarts_broken_workloads_first() {
    let broken = |name: &str| {
        let data = [(
            "db".to_owned(),
            now_of("db", &format!("uid-{name}"), OLD).prints,
        )];
        let digest = key().digest_of(&format!("uid-{name}"), &BTreeMap::from(data));
        let mut subject = subject(name, NEW).stamped(OLD).with_stamp(|stamp| {
            stamp.restarts.push(Restarted {
                at: time("11:10:00"),
                data: digest,
                wrote: None,
                old: None,
            });
        });
        subject.workload.health = Health::Failing("it crashes".to_owned());
        subject
    };
    let subjects = [subject("a", NEW).stamped(OLD), broken("b")];
    let cured = planned_knowing(&known(&subjects[1], true), &subjects);
    assert_eq!(
        cured.waves[0].members,
        [RestartAt::at(1)],
        "alone, before all others"
    );
    assert_eq!(cured.restarts(), 2);
    // A workload that fails for another reason is not restarted.
    let left = planned_knowing(&known(&subjects[1], false), &subjects);
    let second = &left.steps[RestartAt::at(1)].decision;
    assert_eq!(second.reason, Reason::Unhealthy);
    assert_eq!(left.restarts(), 1);
}

#[test]
fn a_workload_that_may_get_new_data_stops_nothing() {
    let mut broken = restarted_now("a");
    broken.workload.health = Health::Failing("it crashes".to_owned());
    let (key, known, targets) = (key(), known(&broken, true), Targets::db(true, None));
    let policy = policy(vec![RestartRule::default()]);
    let context = Context {
        targets: &targets,
        ..context(&key, &known)
    };
    let plan = plan(&policy, &[broken], context, None);
    let first = &plan.steps[RestartAt::at(0)].decision;
    assert_eq!(first.action, Action::IfChanged);
}

#[test]
fn an_unfinished_eviction_goes_first_and_lists_remaining_pods() {
    let mut under_way = subject("b", NEW).stamped(OLD);
    let evicting = Evicting {
        old: OldPods::of(under_way.pods.iter().flatten()),
        secrets: under_way.prints(),
    };
    under_way = under_way.with_stamp(|stamp| stamp.evicting = Some(evicting));
    let mut came = pod("b", "11:00:05");
    came.name = "b-2".to_owned();
    under_way.pods.as_mut().unwrap().push(came);
    under_way.workload.health = Health::Unavailable("1 of 2".to_owned());
    let plan = planned(&[subject("a", NEW).stamped(OLD), under_way]);
    assert_eq!(plan.waves[0].members, [RestartAt::at(1)]);
    assert_eq!(plan.steps[RestartAt::at(1)].old_pods, ["b-1"]);
}

#[test]
fn a_failure_without_our_restart_stops_nothing() {
    let mut failed = subject("a", NEW).stamped(NEW);
    failed.workload.health = Health::Failing(String::new());
    let plan = planned(&[failed, subject("b", NEW).stamped(OLD)]);
    assert_eq!(plan.restarts(), 1);
}

#[test]
fn pods_with_old_data_are_named() {
    let plan = planned(&[subject("a", NEW).stamped(OLD)]);
    assert_eq!(plan.steps[RestartAt::at(0)].old_pods, ["a-1"]);
}

fn plan_or_due(
    policy: &Policy,
    subjects: &[Subject],
    context: Context<'_>,
    before_sync: bool,
) -> RestartPlan {
    if before_sync {
        plan(policy, subjects, context, None)
    } else {
        due_of(policy, subjects, context)
    }
}

/// `state`: no stamp, a stamp with old data, or a stamp with current data.
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
    /// After a plan is executed, nothing is left to do.
    #[test]
    fn an_executed_plan_leaves_nothing_to_do(states in prop::collection::vec((0u8..3, any::<bool>()), 0..12)) {
        let mut subjects: Vec<Subject> =
            states.into_iter().enumerate().map(|(index, state)| any_subject(index, state)).collect();
        let policy = policy(vec![RestartRule::default()]);
        let (key, known) = (key(), Known::default());
        for before_sync in [true, false] {
            let context = context(&key, &known);
            let plan = plan_or_due(&policy, &subjects, context, before_sync);
            for (step, subject) in plan.steps.iter().zip(&mut subjects) {
                if let Some(write) = &step.decision.write {
                    subject.workload.stamp = write.stamp.to_text();
                }
                if step.decision.action == Action::Restart && !before_sync {
                    let stamp = Stamp::parse(subject.workload.stamp.as_deref().unwrap()).unwrap();
                    let next = restarted(subject, context, &stamp, Some(WROTE.to_owned()));
                    subject.workload.stamp = next.unwrap().to_text();
                    subject.workload.restarted = Some(WROTE.to_owned());
                    *subject = subject.clone().replaced_at("12:00:01");
                }
            }
        }
        for before_sync in [true, false] {
            let plan = plan_or_due(&policy, &subjects, context(&key, &known), before_sync);
            prop_assert!(!plan.writes_anything());
        }
    }

    /// A restart must be pending, not opted out, and caused by a selected Secret. No wave is larger than the rule allows. `plan`
    /// checks the limit for the whole run.
    #[test]
    fn only_pending_selected_and_allowed_restarts_are_planned(
        states in prop::collection::vec(((0u8..3, any::<bool>()), any::<bool>(), any::<bool>()), 0..12),
        at_once in 1u32..4,
    ) {
        let mut owed = Vec::new();
        let mut subjects = Vec::new();
        for (index, (state, ignored, selected)) in states.into_iter().enumerate() {
            let mut subject = any_subject(index, state);
            subject.workload.ignored = ignored;
            subject.secrets.get_mut("db").unwrap().counts = selected;
            if state == (1, true) && !ignored && selected {
                owed.push(subject.workload.id.clone());
            }
            subjects.push(subject);
        }
        let policy = policy(vec![RestartRule {
            max_concurrent: std::num::NonZeroU32::new(at_once).unwrap(),
            ..RestartRule::default()
        }]);
        let (key, known) = (key(), Known::default());
        let plan = due_of(&policy, &subjects, context(&key, &known));
        let in_waves: Vec<&Step> = plan
            .waves
            .iter()
            .flat_map(|wave| &wave.members)
            .map(|&member| &plan.steps[member])
            .collect();
        let mut restarted: Vec<WorkloadId> = in_waves.iter().map(|step| step.id.clone()).collect();
        restarted.sort();
        prop_assert_eq!(&restarted, &owed);
        prop_assert!(in_waves.iter().all(|step| step.decision.action == Action::Restart));
        prop_assert_eq!(plan.restarts(), owed.len());
        for wave in &plan.waves {
            let most = if wave.number == 1 { 1 } else { at_once as usize };
            prop_assert!(wave.members.len() <= most);
        }
    }
}
