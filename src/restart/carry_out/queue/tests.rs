use std::num::NonZeroU32;

use super::*;
use crate::{
    policy::{Policy, Selection},
    restart::{
        fixtures::{context, key, subject},
        known::Known,
        plan::plan,
    },
};

/// A plan that restarts these workloads (`namespace/name`), in one rule.
fn planned(slots: u32, workloads: &[&str]) -> (Vec<RestartRule>, RestartPlan) {
    let mut subjects: Vec<_> = workloads
        .iter()
        .map(|workload| {
            let (namespace, name) = workload.split_once('/').unwrap();
            let mut subject = subject(name, &[("password", "new")]);
            subject.workload.id.namespace = namespace.to_owned();
            subject.stamped(&[("password", "old")])
        })
        .collect();
    subjects.sort_by(|a, b| a.workload.id.cmp(&b.workload.id));
    let mut policy = Policy::selecting(vec![Selection::default()]);
    policy.restart = vec![RestartRule {
        max_concurrent: NonZeroU32::new(slots).unwrap(),
        ..RestartRule::default()
    }];
    let (key, known) = (key(), Known::default());
    let plan = plan(&policy, &subjects, context(&key, &known), None);
    assert_eq!(plan.restarts(), workloads.len());
    (policy.restart, plan)
}

/// Starts all that may start now. Returns their names.
fn start(queue: &mut Queue<'_>, now: Instant) -> Vec<String> {
    let mut started = Vec::new();
    while let Some((_, step)) = queue.next(now) {
        started.push(format!("{}/{}", step.id.namespace, step.id.name));
    }
    started
}

fn id(workload: &str) -> WorkloadId {
    let (namespace, name) = workload.split_once('/').unwrap();
    WorkloadId {
        namespace: namespace.to_owned(),
        kind: crate::workload::Kind::Deployment,
        name: name.to_owned(),
    }
}

fn dropped(dropped: &[Dropped<'_>]) -> Vec<String> {
    let shown = dropped.iter().map(|dropped| {
        let id = &dropped.step.id;
        format!("{}/{} {}", id.namespace, id.name, dropped.reason.as_str())
    });
    shown.collect()
}

const FAILED: End<'static> = End::Failed("it crashes");

#[test]
fn the_first_workload_of_a_rule_goes_alone() {
    let (rules, plan) = planned(2, &["a/1", "a/2", "b/1", "b/2"]);
    let mut queue = Queue::new(&plan, &rules);
    let now = Instant::now();
    assert_eq!(start(&mut queue, now), ["a/1"]);
    assert_eq!(
        start(&mut queue, now + 2 * PATIENCE),
        [""; 0],
        "it keeps its slot"
    );
    // A workload that was left alone or whose restart was taken back shows nothing: the next one goes alone too.
    assert_eq!(queue.end(0, &id("a/1"), &End::Neutral), []);
    assert_eq!(start(&mut queue, now), ["b/1"]);
    assert_eq!(queue.end(0, &id("b/1"), &End::Healthy), []);
    assert_eq!(start(&mut queue, now), ["a/2", "b/2"]);
}

#[test]
fn the_first_failure_stops_the_rule() {
    let (rules, plan) = planned(2, &["a/1", "b/1", "c/1"]);
    let mut queue = Queue::new(&plan, &rules);
    start(&mut queue, Instant::now());
    let stopped = queue.end(0, &id("a/1"), &FAILED);
    assert_eq!(dropped(&stopped), ["b/1 rule-stopped", "c/1 rule-stopped"]);
    assert_eq!(stopped[0].message, "a/Deployment/1 failed: it crashes");
    assert!(queue.is_empty());
}

#[test]
fn a_later_failure_stops_only_its_namespace() {
    let (rules, plan) = planned(2, &["a/1", "a/2", "b/1", "b/2", "b/3", "c/1"]);
    let mut queue = Queue::new(&plan, &rules);
    let now = Instant::now();
    start(&mut queue, now);
    queue.end(0, &id("a/1"), &End::Healthy);
    assert_eq!(start(&mut queue, now), ["b/1", "c/1"]);
    let stopped = queue.end(0, &id("b/1"), &FAILED);
    let only_b = ["b/2 namespace-stopped", "b/3 namespace-stopped"];
    assert_eq!(dropped(&stopped), only_b);
    assert_eq!(start(&mut queue, now), ["a/2"]);
}

#[test]
fn a_late_workload_gives_its_slot_to_other_namespaces() {
    let (rules, plan) = planned(1, &["a/1", "b/1", "b/2", "c/1", "c/2"]);
    let mut queue = Queue::new(&plan, &rules);
    let now = Instant::now();
    start(&mut queue, now);
    queue.end(0, &id("a/1"), &End::Healthy);
    assert_eq!(start(&mut queue, now), ["b/1"]);
    assert_eq!(queue.next_release(now), Some(now + PATIENCE));
    let late = now + PATIENCE;
    assert_eq!(start(&mut queue, late), ["c/1"]);
    queue.end(0, &id("c/1"), &End::Healthy);
    assert_eq!(start(&mut queue, late), ["c/2"], "b waits for its own");
    queue.end(0, &id("c/2"), &End::Healthy);
    assert_eq!(start(&mut queue, late), [""; 0]);
    queue.end(0, &id("b/1"), &End::Healthy);
    assert_eq!(start(&mut queue, late), ["b/2"]);
}

#[test]
fn an_eviction_that_makes_progress_keeps_its_slot() {
    let (rules, plan) = planned(1, &["a/1", "b/1", "c/1"]);
    let mut queue = Queue::new(&plan, &rules);
    let now = Instant::now();
    start(&mut queue, now);
    queue.end(0, &id("a/1"), &End::Healthy);
    assert_eq!(start(&mut queue, now), ["b/1"]);
    let later = now + PATIENCE * 2 / 3;
    queue.progressed(&id("b/1"), later);
    assert_eq!(start(&mut queue, now + PATIENCE), [""; 0]);
    assert_eq!(start(&mut queue, later + PATIENCE), ["c/1"]);
}

#[test]
fn a_namespace_waits_for_the_restarts_of_an_earlier_run() {
    let (rules, mut plan) = planned(1, &["a/1", "b/1"]);
    let earlier = [id("a/0"), id("z/0")];
    plan.awaited.insert(0, earlier.to_vec());
    let queue_of = || Queue::new(&plan, &rules);
    let mut queue = queue_of();
    let awaited: Vec<_> = queue.earlier().collect();
    assert_eq!(awaited, [(0, &earlier[0])], "z has nothing to restart");
    let now = Instant::now();
    assert_eq!(start(&mut queue, now), ["b/1"], "others do not wait");
    queue.end(0, &id("b/1"), &End::Healthy);
    assert_eq!(start(&mut queue, now), [""; 0]);
    assert_eq!(queue.end_earlier(0, &earlier[0], None), []);
    assert_eq!(start(&mut queue, now), ["a/1"]);
    let mut queue = queue_of();
    let stopped = queue.end_earlier(0, &earlier[0], Some("it crashes"));
    assert_eq!(dropped(&stopped), ["a/1 namespace-stopped"]);
    assert!(stopped[0].message.contains("a/Deployment/0 was restarted"));
    assert_eq!(start(&mut queue, now), ["b/1"]);
}

#[test]
fn a_rule_does_not_wait_for_late_workloads_of_the_rule_before() {
    let (mut rules, mut plan) = planned(1, &["a/1", "a/2", "b/1"]);
    rules.push(rules[0].clone());
    for wave in &mut plan.waves {
        wave.rule = usize::from(wave.number == 3);
    }
    let mut queue = Queue::new(&plan, &rules);
    let now = Instant::now();
    assert_eq!(start(&mut queue, now), ["a/1"]);
    queue.end(0, &id("a/1"), &End::Healthy);
    assert_eq!(start(&mut queue, now), ["b/1"]);
    assert_eq!(start(&mut queue, now + PATIENCE), ["a/2"]);
}
