//! The state of each step and item in progress, and the verdicts that follow from it. No I/O.
//!
//! The plan provides the indices of steps and items, and the tracker those of its members. An index is always valid.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cluster::{ApiError, ErrorKind, wire::Event};
use eso_model::{self, Id, texts};
use pace::Clock;
use tokio::time::Instant;

use super::{
    failures::Failures,
    proof::{Expected, Judgement, judge},
};
use crate::{
    index::{Table, place},
    inventory::Ready,
    outcome::{ItemResult, Outcome, SecretChange},
    plan::{Item, ItemAt, Plan, StepAt, StepTarget},
    policy::Policy,
    reason::Reason,
    wire::{self, Observed},
};

/// The Event with the operator's error may come this much later than the failed condition.
const TEXT_DELAY: Duration = Duration::from_millis(1500);

/// The interval at which all active steps are checked for timers. In between only changed steps are checked.
const LOOK: Duration = Duration::from_millis(200);

/// The backoff before the second attempt. It doubles with each attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);

place! {
    /// The index of an item that a step syncs, in a tracker.
    pub(super) MemberAt
}

/// An instruction for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The step is not in flight any more.
    Landed {
        step: StepAt,
        /// True if the operator processed it.
        answered: bool,
    },
    /// The provider of the step throttles requests.
    Throttled(StepAt),
    /// Retry the step.
    Again(StepAt),
    /// Read the item again.
    Check(MemberAt),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Patching,
    InFlight,
    Backoff(Instant),
    Finished,
}

#[derive(Debug)]
struct StepState {
    members: Vec<MemberAt>,
    phase: Phase,
    attempts: u32,
    /// The most attempts.
    tries: u32,
    value: String,
    started: Instant,
    annotated: Instant,
    /// True if the operator answered for at least one member.
    answered: bool,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    reason: Reason,
    text: String,
    /// True if the text is from an Event, false if it is from the condition.
    explained: bool,
}

#[derive(Debug)]
struct Member {
    item: ItemAt,
    step: StepAt,
    before: Option<Ready>,
    saw_annotation: bool,
    failing: Option<Failing>,
    checking: bool,
    secret: SecretChange,
    finished: bool,
}

/// The state of all steps and items.
#[derive(Debug)]
pub(super) struct Tracker<'a> {
    plan: &'a Plan,
    policy: &'a Policy,
    clock: Clock,
    run: &'a str,
    steps: Table<StepAt, StepState>,
    members: Table<MemberAt, Member>,
    by_id: BTreeMap<&'a Id, MemberAt>,
    active: BTreeSet<StepAt>,
    /// Steps that changed since the last conclusion.
    touched: BTreeSet<StepAt>,
    /// The last time when all active steps were checked for timers.
    looked: Instant,
    last_proof: Option<Instant>,
    failures: Failures<'a>,
    effects: Vec<Effect>,
    results: Vec<(ItemAt, ItemResult)>,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(plan: &'a Plan, policy: &'a Policy, clock: Clock, run: &'a str) -> Self {
        let now = Instant::now();
        let mut members = Table::default();
        let mut by_id = BTreeMap::new();
        let mut steps = plan.steps.beside(|_| StepState {
            members: Vec::new(),
            phase: Phase::Waiting,
            attempts: 0,
            tries: policy.sync.retries.saturating_add(1),
            value: String::new(),
            started: now,
            annotated: now,
            answered: false,
        });
        for (step, planned) in plan.steps.entries() {
            for &at in &planned.members {
                let item = &plan.items[at];
                let member = members.push(Member::new(at, step, item));
                by_id.insert(&item.id, member);
                steps[step].members.push(member);
            }
        }
        Self {
            plan,
            policy,
            clock,
            run,
            steps,
            members,
            by_id,
            active: BTreeSet::new(),
            touched: BTreeSet::new(),
            looked: now,
            last_proof: None,
            failures: Failures::new(plan, policy.safety.stop_after_failures),
            effects: Vec::new(),
            results: Vec::new(),
        }
    }

    /// The item of a member.
    pub(super) fn item(&self, member: MemberAt) -> &'a Item {
        &self.plan.items[self.members[member].item]
    }

    /// Starts a step. Returns the value of the annotation, unique to the run and the attempt.
    pub(super) fn start(&mut self, at: StepAt) -> String {
        let step = &mut self.steps[at];
        step.attempts += 1;
        if step.attempts == 1 {
            step.started = Instant::now();
        }
        step.value = match step.attempts {
            1 => self.run.to_owned(),
            attempt => format!("{}.{attempt}", self.run),
        };
        step.phase = Phase::Patching;
        self.active.insert(at);
        for &member in &step.members {
            let member = &mut self.members[member];
            member.saw_annotation = false;
            member.failing = None;
            member.checking = false;
        }
        step.value.clone()
    }

    /// Called after the annotation of a step was written.
    pub(super) fn annotated(&mut self, at: StepAt, object: &Observed) {
        let step = &mut self.steps[at];
        if step.phase != Phase::Patching {
            return;
        }
        self.touched.insert(at);
        step.phase = Phase::InFlight;
        step.annotated = Instant::now();
        if matches!(self.plan.steps[at].target, StepTarget::ExternalSecret(_)) {
            for &member in &step.members {
                let member = &mut self.members[member];
                if !member.saw_annotation {
                    member.before = wire::ready(&object.status.conditions);
                }
            }
        }
    }

    /// Called if the annotation of a step could not be written.
    pub(super) fn refused(&mut self, at: StepAt, reason: Reason, message: &str) {
        for member in self.steps[at].members.clone() {
            self.fail(member, reason, message.to_owned());
        }
    }

    /// Called with the current state of an object.
    pub(super) fn seen(&mut self, object: &Observed) {
        let id = Id {
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
        };
        if let Some(&member) = self.by_id.get(&id) {
            let judgement = self.judge(member, object);
            self.follow(member, judgement, object);
        }
    }

    /// Called with the object that was read at the timeout. The item ends, whatever its state is.
    pub(super) fn checked(&mut self, at: MemberAt, object: Result<&Observed, &ApiError>) {
        let member = &self.members[at];
        if !member.checking || self.steps[member.step].phase != Phase::InFlight {
            return;
        }
        match object {
            Ok(object) => self.conclude_check(at, object),
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.fail(at, Reason::Deleted, String::new());
            }
            Err(error) => self.fail(at, Reason::ApiUnavailable, error.to_string()),
        }
        let waited = self.policy.sync.timeout;
        self.fail(
            at,
            Reason::TimedOut,
            format!(
                "the operator did not process it within {} s",
                waited.as_secs()
            ),
        );
    }

    fn conclude_check(&mut self, at: MemberAt, object: &Observed) {
        let judgement = self.judge(at, object);
        if judgement != Judgement::NotAnnotated {
            self.follow(at, judgement, object);
            self.fail_as_seen(at);
            return;
        }
        // A child that the parent has not annotated yet has not lost an annotation.
        let member = &self.members[at];
        let target = &self.plan.steps[member.step].target;
        let own = matches!(target, StepTarget::ExternalSecret(_));
        if member.saw_annotation || own {
            self.fail(at, Reason::Overwritten, String::new());
        }
    }

    /// Called after an object was deleted.
    pub(super) fn gone(&mut self, id: &Id, uid: &str) {
        if let Some(&member) = self.by_id.get(id)
            && self.item(member).uid == uid
        {
            self.fail(member, Reason::Deleted, String::new());
        }
    }

    /// Called with all objects of a scope. Objects that are missing were deleted.
    pub(super) fn listed(&mut self, namespace: Option<&str>, present: &BTreeSet<Id>) {
        let gone: Vec<MemberAt> = self
            .by_id
            .iter()
            .filter(|(id, _)| {
                namespace.is_none_or(|namespace| id.namespace == namespace)
                    && !present.contains(**id)
            })
            .map(|(_, &member)| member)
            .collect();
        for member in gone {
            self.fail(member, Reason::Deleted, String::new());
        }
    }

    /// Called with an Event: the only sign of a repeated failure, and the only source of the operator's error text.
    pub(super) fn heard(&mut self, event: &Event) {
        let object = &event.involved_object;
        let id = Id {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let Some(&at) = self.by_id.get(&id) else {
            return;
        };
        let item = self.item(at);
        let member = &mut self.members[at];
        let answers = match self.steps[member.step].phase {
            Phase::Patching => member.saw_annotation,
            Phase::InFlight | Phase::Backoff(_) => true,
            Phase::Waiting | Phase::Finished => false,
        };
        if object.uid != item.uid || !answers || member.finished {
            return;
        }
        self.touched.insert(member.step);
        match (&*event.r#type, &*event.reason) {
            ("Normal", "Created") => member.secret = SecretChange::Created,
            ("Normal", "Updated")
                if item.target.templated && member.secret == SecretChange::Unknown =>
            {
                member.secret = SecretChange::Updated;
            }
            ("Warning", "UpdateFailed") => {
                let quoted = texts::quote(&event.message);
                if quoted.class == texts::ErrorClass::Throttled {
                    self.effects.push(Effect::Throttled(member.step));
                }
                let since = member
                    .failing
                    .as_ref()
                    .map_or_else(Instant::now, |failing| failing.since);
                member.failing = Some(Failing {
                    since,
                    reason: quoted.class.into(),
                    text: quoted.text,
                    explained: true,
                });
            }
            _ => {}
        }
    }

    fn judge(&self, at: MemberAt, object: &Observed) -> Judgement {
        let (item, member) = (self.item(at), &self.members[at]);
        let key = match self.plan.steps[member.step].target {
            StepTarget::ExternalSecret(_) => &*self.policy.sync.annotation,
            StepTarget::Parent { .. } => eso_model::PARENT_FORCE_SYNC,
        };
        let expected = Expected {
            uid: &item.uid,
            key,
            value: &self.steps[member.step].value,
            target: item.target,
            synced_before: item.refreshed.is_some(),
            before: member.before.as_ref(),
        };
        judge(expected, object)
    }

    /// Applies one observation.
    fn follow(&mut self, at: MemberAt, judgement: Judgement, object: &Observed) {
        let member = &mut self.members[at];
        if member.finished || !self.active.contains(&member.step) {
            return;
        }
        let annotated = !matches!(
            judgement,
            Judgement::NotAnnotated | Judgement::Deleted | Judgement::Replaced
        );
        let lost = member.saw_annotation && judgement == Judgement::NotAnnotated;
        member.saw_annotation |= annotated;
        match judgement {
            Judgement::NotAnnotated if lost => self.fail(at, Reason::Overwritten, String::new()),
            Judgement::NotAnnotated | Judgement::Waiting => {}
            Judgement::Proven => self.answer(at, Outcome::Synced, None, object),
            Judgement::Unproven(reason) => {
                self.answer(at, Outcome::Unproven, Some(reason), object);
            }
            Judgement::Failed => {
                if member.failing.is_none() {
                    let message = wire::ready(&object.status.conditions)
                        .map(|ready| ready.message)
                        .unwrap_or_default();
                    let quoted = texts::quote(&message);
                    member.failing = Some(Failing {
                        since: Instant::now(),
                        reason: quoted.class.into(),
                        text: quoted.text,
                        explained: false,
                    });
                }
            }
            Judgement::Deleted => self.fail(at, Reason::Deleted, String::new()),
            Judgement::Replaced => self.fail(at, Reason::Replaced, String::new()),
        }
    }

    fn answer(
        &mut self,
        at: MemberAt,
        outcome: Outcome,
        reason: Option<Reason>,
        object: &Observed,
    ) {
        self.last_proof = Some(Instant::now());
        let step = self.members[at].step;
        self.steps[step].answered = true;
        self.end(
            at,
            outcome,
            reason,
            String::new(),
            object.status.refresh_time,
        );
    }

    fn fail(&mut self, at: MemberAt, reason: Reason, message: String) {
        self.end(at, Outcome::Failed, Some(reason), message, None);
    }

    fn end(
        &mut self,
        at: MemberAt,
        outcome: Outcome,
        reason: Option<Reason>,
        message: String,
        synced_at: Option<jiff::Timestamp>,
    ) {
        let member = &mut self.members[at];
        // A step that has not started is not ended by an observation: its write will show the state.
        if member.finished || !self.active.contains(&member.step) {
            return;
        }
        let step = &self.steps[member.step];
        member.finished = true;
        self.touched.insert(member.step);
        let item = &self.plan.items[member.item].id;
        let failed = outcome == Outcome::Failed;
        self.failures.record(&item.namespace, failed);
        let result = ItemResult {
            outcome,
            reason,
            message,
            synced_at,
            attempts: step.attempts,
            took: step.started.elapsed(),
            secret: member.secret,
        };
        tracing::debug!(%item, ?outcome, ?reason, at = %self.clock.now(), "answered");
        self.results.push((member.item, result));
    }

    /// Returns the verdicts that follow from the current state.
    pub(super) fn conclude(&mut self) -> Vec<Effect> {
        let now = Instant::now();
        let mut steps = std::mem::take(&mut self.touched);
        if now >= self.looked + LOOK {
            self.looked = now;
            steps.clone_from(&self.active);
        }
        steps.retain(|step| self.active.contains(step));
        for step in steps {
            self.conclude_step(step, now);
        }
        std::mem::take(&mut self.effects)
    }

    fn conclude_step(&mut self, at: StepAt, now: Instant) {
        let step = &self.steps[at];
        let members = step.members.iter().copied();
        let open: Vec<MemberAt> = members.filter(|&member| self.is_open(member)).collect();
        let (phase, attempts, tries) = (step.phase, step.attempts, step.tries);
        if open.is_empty() {
            self.finish_step(at);
            return;
        }
        match phase {
            Phase::Backoff(until) if tries == 0 || now >= until => {
                self.leave_backoff(at, &open);
            }
            Phase::InFlight => {
                if open.iter().all(|member| self.has_failed(*member, now)) {
                    if attempts < tries && open.iter().any(|member| self.may_be_temporary(*member))
                    {
                        self.enter_backoff(at, attempts, now);
                    } else {
                        self.steps[at].answered = true;
                        for &member in &open {
                            self.fail_as_seen(member);
                        }
                        self.finish_step(at);
                    }
                } else if now >= self.deadline(at) {
                    for member in open {
                        self.time_is_over(member, now);
                    }
                }
            }
            Phase::Waiting | Phase::Patching | Phase::Backoff(_) | Phase::Finished => {}
        }
    }

    fn is_open(&self, at: MemberAt) -> bool {
        !self.members[at].finished
    }

    /// True if the operator failed and its error text is known or overdue. If the item had failed before, an Event may belong to
    /// an earlier attempt of the operator, so a success can still follow.
    fn has_failed(&self, at: MemberAt, now: Instant) -> bool {
        let member = &self.members[at];
        let had_failed = member.before.as_ref().is_some_and(|ready| !ready.ready);
        member.failing.as_ref().is_some_and(|failing| {
            (failing.explained && !had_failed) || now >= failing.since + TEXT_DELAY
        })
    }

    fn may_be_temporary(&self, at: MemberAt) -> bool {
        let failing = self.members[at].failing.as_ref();
        failing.is_some_and(|failing| failing.reason.may_be_temporary())
    }

    fn fail_as_seen(&mut self, at: MemberAt) {
        if let Some(Failing { reason, text, .. }) = self.members[at].failing.take() {
            self.fail(at, reason, text);
        }
    }

    fn enter_backoff(&mut self, at: StepAt, attempts: u32, now: Instant) {
        let pause = FIRST_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(6));
        let pause = pause.mul_f64(0.75 + fastrand::f64() / 2.0);
        self.steps[at].phase = Phase::Backoff(now + pause);
        self.effects.push(Effect::Landed {
            step: at,
            answered: true,
        });
    }

    fn leave_backoff(&mut self, at: StepAt, open: &[MemberAt]) {
        if self.steps[at].tries == 0 {
            for &member in open {
                self.fail_as_seen(member);
            }
            self.finish_step(at);
            return;
        }
        self.steps[at].phase = Phase::Waiting;
        self.active.remove(&at);
        self.effects.push(Effect::Again(at));
    }

    fn finish_step(&mut self, at: StepAt) {
        let step = &mut self.steps[at];
        let was = std::mem::replace(&mut step.phase, Phase::Finished);
        self.active.remove(&at);
        if matches!(was, Phase::InFlight | Phase::Patching) {
            self.effects.push(Effect::Landed {
                step: at,
                answered: step.answered,
            });
        }
    }

    fn time_is_over(&mut self, at: MemberAt, now: Instant) {
        if self.has_failed(at, now) {
            self.fail_as_seen(at);
            return;
        }
        let member = &mut self.members[at];
        if !member.checking {
            member.checking = true;
            self.effects.push(Effect::Check(at));
        }
    }

    /// The timeout starts at the last proof, so that time in the operator's queue does not count. The queue has no order that
    /// would allow a closer limit: with 3,000 items, some came a minute after others that were annotated later.
    fn deadline(&self, at: StepAt) -> Instant {
        let annotated = self.steps[at].annotated;
        let since_proof = self
            .last_proof
            .map_or(annotated, |proof| proof.max(annotated));
        since_proof + self.policy.sync.timeout
    }

    /// Returns the time of the next timer check.
    pub(super) fn wake(&self) -> Option<Instant> {
        (!self.active.is_empty()).then(|| self.looked + LOOK)
    }

    /// Disables retries.
    pub(super) fn no_more_tries(&mut self) {
        for step in &mut self.steps {
            step.tries = 0;
        }
        self.touched.clone_from(&self.active);
    }

    /// Returns the namespaces that have too many failures now. Disables retries there.
    pub(super) fn stop_namespaces(&mut self) -> Vec<&'a str> {
        let stopped = self.failures.stop();
        if stopped.is_empty() {
            return stopped;
        }
        for (at, step) in self.plan.steps.entries() {
            let namespace = step.namespace(self.plan);
            if namespace.is_some_and(|namespace| stopped.contains(&namespace)) {
                self.steps[at].tries = 0;
            }
        }
        self.touched.clone_from(&self.active);
        stopped
    }

    /// The failures so far.
    pub(super) const fn failures(&self) -> &Failures<'a> {
        &self.failures
    }

    /// True if no step is active.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Removes and returns the new results.
    pub(super) fn take_results(&mut self) -> Vec<(ItemAt, ItemResult)> {
        std::mem::take(&mut self.results)
    }

    /// Ends a step that waits for a retry.
    pub(super) fn abandon(&mut self, at: StepAt) {
        self.active.insert(at);
        for member in self.steps[at].members.clone() {
            self.fail_as_seen(member);
        }
        self.active.remove(&at);
    }

    /// Ends all active items. Items that were not annotated get no result here and count as not reached.
    pub(super) fn interrupt(&mut self) {
        for at in self.active.clone() {
            let patching = self.steps[at].phase == Phase::Patching;
            for member in self.steps[at].members.clone() {
                let seen = self.members[member].saw_annotation;
                if self.is_open(member) && (!patching || seen) {
                    self.fail_as_seen(member);
                    self.end(
                        member,
                        Outcome::Unproven,
                        Some(Reason::Interrupted),
                        String::new(),
                        None,
                    );
                }
            }
        }
    }
}

impl Member {
    fn new(at: ItemAt, step: StepAt, item: &Item) -> Self {
        Self {
            item: at,
            step,
            before: item.ready.clone(),
            saw_annotation: false,
            failing: None,
            checking: false,
            secret: SecretChange::Unknown,
            finished: false,
        }
    }
}
