//! What is known of each step and item while they are under way, and what follows from it. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cluster::{CallError, Trouble, wire::Event};
use eso_model::{self, Id, texts};
use pace::Clock;
use tokio::time::Instant;

use super::proof::{Expected, Judgement, judge};
use crate::{
    inventory::Ready,
    outcome::{ItemResult, Outcome, SecretChange},
    plan::{Item, Plan, StepTarget},
    policy::Policy,
    reason::Reason,
    wire::{self, Observed},
};

/// The operator's condition says that it failed, its Event says why; the Event may come this much later.
const TEXT_DELAY: Duration = Duration::from_millis(1500);

/// How often all that is under way is looked at, for what only time tells. In between only what was touched is.
const LOOK: Duration = Duration::from_millis(200);

/// Before the second attempt; it doubles from there.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);

/// Something that the engine has to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A step is not in flight any more.
    Landed {
        /// The step.
        step: usize,
        /// Whether the operator proved it.
        proven: bool,
    },
    /// The provider of a step throttles.
    Throttled(usize),
    /// A step is to be tried again.
    Again(usize),
    /// An item is to be read once more.
    Check(usize),
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
    phase: Phase,
    attempts: u32,
    value: String,
    started: Instant,
    annotated: Instant,
    /// Whether the operator answered for one of its members.
    proven: bool,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    reason: Reason,
    text: String,
    /// Whether the text is that of an Event, and not just the condition's.
    explained: bool,
}

#[derive(Debug)]
struct Member {
    step: usize,
    before: Option<Ready>,
    saw_annotation: bool,
    failing: Option<Failing>,
    checking: bool,
    secret: SecretChange,
    finished: bool,
}

/// All that is under way.
#[derive(Debug)]
pub(super) struct Tracker<'a> {
    plan: &'a Plan,
    policy: &'a Policy,
    clock: Clock,
    run: &'a str,
    steps: Vec<StepState>,
    members: BTreeMap<usize, Member>,
    by_id: BTreeMap<&'a Id, usize>,
    active: BTreeSet<usize>,
    /// Those of which something was learnt since the last conclusion.
    touched: BTreeSet<usize>,
    /// When all that is active was last looked at, for what only time tells.
    looked: Instant,
    last_proof: Option<Instant>,
    tries: u32,
    failed: usize,
    attempted: usize,
    verdicts: Vec<Verdict>,
    results: Vec<(usize, ItemResult)>,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(plan: &'a Plan, policy: &'a Policy, clock: Clock, run: &'a str) -> Self {
        let now = Instant::now();
        let step = |_| StepState {
            phase: Phase::Waiting,
            attempts: 0,
            value: String::new(),
            started: now,
            annotated: now,
            proven: false,
        };
        let mut members = BTreeMap::new();
        let mut by_id = BTreeMap::new();
        for (step, planned) in plan.steps.iter().enumerate() {
            for &index in &planned.members {
                let Some(item) = plan.items.get(index) else {
                    continue;
                };
                by_id.insert(&item.id, index);
                members.insert(index, Member::new(step, item));
            }
        }
        Self {
            plan,
            policy,
            clock,
            run,
            steps: plan.steps.iter().map(step).collect(),
            members,
            by_id,
            active: BTreeSet::new(),
            touched: BTreeSet::new(),
            looked: now,
            last_proof: None,
            tries: policy.sync.retries.saturating_add(1),
            failed: 0,
            attempted: 0,
            verdicts: Vec::new(),
            results: Vec::new(),
        }
    }

    /// A step begins; the answer is the value to annotate, unique to the run and the attempt.
    pub(super) fn start(&mut self, index: usize) -> String {
        let now = Instant::now();
        let Some(step) = self.steps.get_mut(index) else {
            return String::new();
        };
        step.attempts += 1;
        if step.attempts == 1 {
            step.started = now;
        }
        step.value = match step.attempts {
            1 => self.run.to_owned(),
            attempt => format!("{}.{attempt}", self.run),
        };
        step.phase = Phase::Patching;
        self.active.insert(index);
        for member in self
            .plan
            .steps
            .get(index)
            .map_or(&[][..], |step| &step.members)
        {
            if let Some(member) = self.members.get_mut(member) {
                member.saw_annotation = false;
                member.failing = None;
                member.checking = false;
            }
        }
        self.steps
            .get(index)
            .map(|step| step.value.clone())
            .unwrap_or_default()
    }

    /// The annotation of a step was written.
    pub(super) fn annotated(&mut self, index: usize, object: &Observed) {
        let Some(step) = self.steps.get_mut(index) else {
            return;
        };
        if step.phase != Phase::Patching {
            return;
        }
        self.touched.insert(index);
        step.phase = Phase::InFlight;
        step.annotated = Instant::now();
        if let Some(planned) = self.plan.steps.get(index)
            && planned.target == StepTarget::ExternalSecret
            && let Some(member) = planned
                .members
                .first()
                .and_then(|index| self.members.get_mut(index))
            && !member.saw_annotation
        {
            member.before = wire::ready(&object.status.conditions);
        }
    }

    /// The annotation of a step could not be written.
    pub(super) fn refused(&mut self, index: usize, reason: Reason, message: &str) {
        let Some(planned) = self.plan.steps.get(index) else {
            return;
        };
        for &member in &planned.members {
            self.fail(member, reason, message.to_owned());
        }
    }

    /// One was seen as it is now.
    pub(super) fn seen(&mut self, object: &Observed) {
        let id = Id {
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
        };
        if let Some(&index) = self.by_id.get(&id) {
            let judgement = self.judge(index, object);
            self.follow(index, judgement, object);
        }
    }

    /// One was read once more, since its time is over. Whatever that tells, it is the end.
    pub(super) fn checked(&mut self, index: usize, object: Result<&Observed, &CallError>) {
        let asked = self.members.get(&index).is_some_and(|member| {
            let phase = self.steps.get(member.step).map(|step| step.phase);
            member.checking && phase == Some(Phase::InFlight)
        });
        if !asked {
            return;
        }
        match object {
            Ok(object) => self.conclude_check(index, object),
            Err(error) if error.trouble == Trouble::NotFound => {
                self.fail(index, Reason::Deleted, String::new());
            }
            Err(error) => self.fail(index, Reason::ApiUnavailable, error.to_string()),
        }
        let waited = self.policy.sync.timeout;
        self.fail(
            index,
            Reason::TimedOut,
            format!("the operator gave no answer within {} s", waited.as_secs()),
        );
    }

    fn conclude_check(&mut self, index: usize, object: &Observed) {
        let judgement = self.judge(index, object);
        if judgement != Judgement::NotAnnotated {
            self.follow(index, judgement, object);
            self.fail_as_seen(index);
            return;
        }
        // A child that its parent has not reached yet was never annotated, so nothing was taken from it.
        let own = self.members.get(&index).is_some_and(|member| {
            let planned = self.plan.steps.get(member.step);
            member.saw_annotation
                || planned.is_some_and(|planned| planned.target == StepTarget::ExternalSecret)
        });
        if own {
            self.fail(index, Reason::Overwritten, String::new());
        }
    }

    /// One is gone.
    pub(super) fn gone(&mut self, id: &Id, uid: &str) {
        let Some(&index) = self.by_id.get(id) else {
            return;
        };
        if self
            .plan
            .items
            .get(index)
            .is_some_and(|item| item.uid == uid)
        {
            self.fail(index, Reason::Deleted, String::new());
        }
    }

    /// All that there are in a scope: what is missing is gone.
    pub(super) fn listed(&mut self, namespace: Option<&str>, present: &BTreeSet<Id>) {
        let gone: Vec<usize> = self
            .by_id
            .iter()
            .filter(|(id, _)| {
                namespace.is_none_or(|namespace| id.namespace == namespace)
                    && !present.contains(**id)
            })
            .map(|(_, &index)| index)
            .collect();
        for index in gone {
            self.fail(index, Reason::Deleted, String::new());
        }
    }

    /// An Event: the only sign of a failure that repeats itself, and the only place of the operator's text.
    pub(super) fn heard(&mut self, event: &Event) {
        let object = &event.involved_object;
        let id = Id {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let Some(&index) = self.by_id.get(&id) else {
            return;
        };
        let (Some(item), Some(member)) = (self.plan.items.get(index), self.members.get_mut(&index))
        else {
            return;
        };
        let Some(step) = self.steps.get(member.step) else {
            return;
        };
        let answers = match step.phase {
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
                    self.verdicts.push(Verdict::Throttled(member.step));
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

    fn judge(&self, index: usize, object: &Observed) -> Judgement {
        let (Some(item), Some(member)) = (self.plan.items.get(index), self.members.get(&index))
        else {
            return Judgement::Waiting;
        };
        let (Some(step), Some(planned)) = (
            self.steps.get(member.step),
            self.plan.steps.get(member.step),
        ) else {
            return Judgement::Waiting;
        };
        let key = match planned.target {
            StepTarget::ExternalSecret => &*self.policy.sync.annotation,
            StepTarget::Parent { .. } => eso_model::PARENT_FORCE_SYNC,
        };
        let expected = Expected {
            uid: &item.uid,
            key,
            value: &step.value,
            target: item.target,
            synced_before: item.refreshed.is_some(),
            before: member.before.as_ref(),
        };
        judge(expected, object)
    }

    /// Draws the conclusion from one observation.
    fn follow(&mut self, index: usize, judgement: Judgement, object: &Observed) {
        let Some(member) = self.members.get_mut(&index) else {
            return;
        };
        let begun = self.active.contains(&member.step);
        if member.finished || !begun {
            return;
        }
        let annotated = !matches!(
            judgement,
            Judgement::NotAnnotated | Judgement::Deleted | Judgement::Replaced
        );
        let lost = member.saw_annotation && judgement == Judgement::NotAnnotated;
        member.saw_annotation |= annotated;
        match judgement {
            Judgement::NotAnnotated if lost => self.fail(index, Reason::Overwritten, String::new()),
            Judgement::NotAnnotated | Judgement::Waiting => {}
            Judgement::Proven => {
                self.answer(index, Outcome::Synced, None, object);
            }
            Judgement::Unproven(reason) => {
                self.answer(index, Outcome::Unproven, Some(reason), object);
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
            Judgement::Deleted => self.fail(index, Reason::Deleted, String::new()),
            Judgement::Replaced => self.fail(index, Reason::Replaced, String::new()),
        }
    }

    fn answer(
        &mut self,
        index: usize,
        outcome: Outcome,
        reason: Option<Reason>,
        object: &Observed,
    ) {
        let now = Instant::now();
        self.last_proof = Some(now);
        let own = self
            .members
            .get(&index)
            .map(|member| member.step)
            .and_then(|step| self.steps.get_mut(step));
        if let Some(step) = own {
            step.proven = true;
        }
        self.end(
            index,
            outcome,
            reason,
            String::new(),
            object.status.refresh_time,
        );
    }

    fn fail(&mut self, index: usize, reason: Reason, message: String) {
        self.end(index, Outcome::Failed, Some(reason), message, None);
    }

    fn end(
        &mut self,
        index: usize,
        outcome: Outcome,
        reason: Option<Reason>,
        message: String,
        synced_at: Option<jiff::Timestamp>,
    ) {
        let Some(member) = self.members.get_mut(&index) else {
            return;
        };
        // What has not begun yet is not ended by what is seen of it: the write will tell.
        if member.finished || !self.active.contains(&member.step) {
            return;
        }
        let Some(step) = self.steps.get(member.step) else {
            return;
        };
        member.finished = true;
        self.touched.insert(member.step);
        self.attempted += 1;
        self.failed += usize::from(outcome == Outcome::Failed);
        let result = ItemResult {
            outcome,
            reason,
            message,
            synced_at,
            attempts: step.attempts,
            took: step.started.elapsed(),
            secret: member.secret,
        };
        tracing::debug!(index, ?outcome, ?reason, at = %self.clock.now(), "answered");
        self.results.push((index, result));
    }

    /// What follows from everything that is known now.
    pub(super) fn conclude(&mut self) -> Vec<Verdict> {
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
        std::mem::take(&mut self.verdicts)
    }

    fn conclude_step(&mut self, index: usize, now: Instant) {
        let (Some(step), Some(planned)) = (self.steps.get(index), self.plan.steps.get(index))
        else {
            return;
        };
        let open: Vec<usize> = planned
            .members
            .iter()
            .copied()
            .filter(|member| self.is_open(*member))
            .collect();
        let (phase, attempts) = (step.phase, step.attempts);
        if open.is_empty() {
            self.finish_step(index);
            return;
        }
        match phase {
            Phase::Backoff(until) if self.tries == 0 || now >= until => {
                self.leave_backoff(index, &open);
            }
            Phase::InFlight => {
                if open.iter().all(|member| self.has_failed(*member, now)) {
                    if attempts < self.tries && open.iter().any(|member| self.may_pass(*member)) {
                        self.enter_backoff(index, attempts, now);
                    } else {
                        for &member in &open {
                            self.fail_as_seen(member);
                        }
                        self.finish_step(index);
                    }
                } else if now >= self.deadline(index) {
                    for member in open {
                        self.time_is_over(member, now);
                    }
                }
            }
            Phase::Waiting | Phase::Patching | Phase::Backoff(_) | Phase::Finished => {}
        }
    }

    fn is_open(&self, member: usize) -> bool {
        self.members
            .get(&member)
            .is_some_and(|member| !member.finished)
    }

    /// Whether the operator's answer is a failure, with its text or without any hope of one. Where it had failed before, what
    /// is heard may still be of an earlier try of the operator's: its answer to us would follow at once.
    fn has_failed(&self, member: usize, now: Instant) -> bool {
        let Some(member) = self.members.get(&member) else {
            return false;
        };
        let had_failed = member.before.as_ref().is_some_and(|ready| !ready.ready);
        member.failing.as_ref().is_some_and(|failing| {
            (failing.explained && !had_failed) || now >= failing.since + TEXT_DELAY
        })
    }

    fn may_pass(&self, member: usize) -> bool {
        let failing = self
            .members
            .get(&member)
            .and_then(|member| member.failing.as_ref());
        failing.is_some_and(|failing| failing.reason.may_be_temporary())
    }

    fn fail_as_seen(&mut self, member: usize) {
        if let Some(Failing { reason, text, .. }) = self
            .members
            .get_mut(&member)
            .and_then(|member| member.failing.take())
        {
            self.fail(member, reason, text);
        }
    }

    fn enter_backoff(&mut self, index: usize, attempts: u32, now: Instant) {
        let pause = FIRST_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(6));
        let pause = pause.mul_f64(0.75 + fastrand::f64() / 2.0);
        if let Some(step) = self.steps.get_mut(index) {
            step.phase = Phase::Backoff(now + pause);
        }
        self.verdicts.push(Verdict::Landed {
            step: index,
            proven: false,
        });
    }

    fn leave_backoff(&mut self, index: usize, open: &[usize]) {
        if self.tries == 0 {
            for &member in open {
                self.fail_as_seen(member);
            }
            self.finish_step(index);
            return;
        }
        if let Some(step) = self.steps.get_mut(index) {
            step.phase = Phase::Waiting;
        }
        self.active.remove(&index);
        self.verdicts.push(Verdict::Again(index));
    }

    fn finish_step(&mut self, index: usize) {
        let Some(step) = self.steps.get_mut(index) else {
            return;
        };
        let was = std::mem::replace(&mut step.phase, Phase::Finished);
        self.active.remove(&index);
        if matches!(was, Phase::InFlight | Phase::Patching) {
            self.verdicts.push(Verdict::Landed {
                step: index,
                proven: step.proven,
            });
        }
    }

    fn time_is_over(&mut self, member: usize, now: Instant) {
        if self.has_failed(member, now) {
            self.fail_as_seen(member);
        } else if let Some(state) = self.members.get_mut(&member)
            && !state.checking
        {
            state.checking = true;
            self.verdicts.push(Verdict::Check(member));
        }
    }

    /// Waiting in the operator's queue does not count: the time runs from the last proof. Its queue keeps no order that could
    /// tell more: with 3,000 in it some came a minute after others that had been annotated later.
    fn deadline(&self, index: usize) -> Instant {
        let Some(step) = self.steps.get(index) else {
            return Instant::now();
        };
        let since_proof = self
            .last_proof
            .map_or(step.annotated, |proof| proof.max(step.annotated));
        since_proof + self.policy.sync.timeout
    }

    /// When something may follow without anything being seen.
    pub(super) fn wake(&self) -> Option<Instant> {
        (!self.active.is_empty()).then(|| self.looked + LOOK)
    }

    /// From now on a failure is final.
    pub(super) fn no_more_tries(&mut self) {
        self.tries = 0;
        self.touched.clone_from(&self.active);
    }

    /// How many failed, of how many that were answered.
    pub(super) const fn failures(&self) -> (usize, usize) {
        (self.failed, self.attempted)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// The results since last asked.
    pub(super) fn take_results(&mut self) -> Vec<(usize, ItemResult)> {
        std::mem::take(&mut self.results)
    }

    /// A step that waits to be tried again never will be.
    pub(super) fn abandon(&mut self, index: usize) {
        self.active.insert(index);
        for &member in self
            .plan
            .steps
            .get(index)
            .map_or(&[][..], |step| &step.members)
        {
            self.fail_as_seen(member);
        }
        self.active.remove(&index);
    }

    /// Nobody waits any longer. What has not been seen to be annotated counts as not reached, and gets no result here.
    pub(super) fn interrupt(&mut self) {
        for step in self.active.clone() {
            let members = self
                .plan
                .steps
                .get(step)
                .map_or(&[][..], |step| &step.members);
            let patching = self
                .steps
                .get(step)
                .is_some_and(|step| step.phase == Phase::Patching);
            for &member in members {
                let seen = self
                    .members
                    .get(&member)
                    .is_some_and(|member| member.saw_annotation);
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
    fn new(step: usize, item: &Item) -> Self {
        Self {
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
