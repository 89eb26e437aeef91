//! Decides which restart starts next. Pure: the caller passes the time.
//!
//! The first workload of a rule goes alone. If it does not become healthy, the rule is stopped. Later, a workload that does not
//! become healthy stops only its namespace, so that one tenant cannot stop the others. A workload that is waited for longer than
//! [`PATIENCE`] gives its slot to other namespaces; its own namespace waits for it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    policy::RestartRule,
    reason::Reason,
    restart::plan::{RestartPlan, Step},
    workload::WorkloadId,
};

/// How long a workload holds its slot while nothing happens to it.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// The restarts that have not started yet, and the workloads that they wait for.
pub(super) struct Queue<'a> {
    rules: Vec<RuleQueue<'a>>,
}

/// The restarts of one rule.
struct RuleQueue<'a> {
    rule: usize,
    slots: usize,
    waiting: VecDeque<&'a Step>,
    /// The workloads that are being restarted, with the time since when nothing happened to them.
    open: BTreeMap<&'a WorkloadId, Instant>,
    /// Workloads that an earlier run restarted, and that are not healthy yet. They hold no slot.
    earlier: BTreeSet<&'a WorkloadId>,
    /// True once a workload of the rule was healthy after its restart.
    proven: bool,
}

/// How a started restart ended.
pub(super) enum End<'r> {
    /// The workload is healthy with new pods.
    Healthy,
    /// It shows nothing about the health of the others, for example because the workload was left alone.
    Neutral,
    /// The workload is not healthy, or the restart failed.
    Failed(&'r str),
}

/// A restart that does not start any more, and why.
#[derive(Debug, PartialEq)]
pub(super) struct Dropped<'a> {
    pub(super) step: &'a Step,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl<'a> Queue<'a> {
    pub(super) fn new(plan: &'a RestartPlan, rules: &[RestartRule]) -> Self {
        let rules = rules.iter().enumerate().map(|(rule, settings)| {
            let waves = plan.waves.iter().filter(|wave| wave.rule == rule);
            let members = waves.flat_map(|wave| &wave.members);
            let waiting: VecDeque<&Step> = members.map(|&at| &plan.steps[at]).collect();
            let awaits =
                |id: &&WorkloadId| waiting.iter().any(|step| step.id.namespace == id.namespace);
            let earlier = plan.awaited.get(&rule).into_iter().flatten();
            RuleQueue {
                rule,
                slots: settings.max_concurrent.get() as usize,
                earlier: earlier.filter(awaits).collect(),
                waiting,
                open: BTreeMap::new(),
                proven: false,
            }
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// The workloads of earlier runs that it waits for, each with its rule.
    pub(super) fn earlier(&self) -> impl Iterator<Item = (usize, &'a WorkloadId)> {
        let rules = self.rules.iter();
        rules.flat_map(|rule| rule.earlier.iter().map(|id| (rule.rule, *id)))
    }

    /// Takes the next step that may start now, with its rule. A rule starts when no workload of the rules before it holds a slot.
    pub(super) fn next(&mut self, now: Instant) -> Option<(usize, &'a Step)> {
        for rule in &mut self.rules {
            if let Some(step) = rule.next(now) {
                rule.open.insert(&step.id, now);
                return Some((rule.rule, step));
            }
            if rule.holding(now) > 0 {
                return None;
            }
        }
        None
    }

    /// When the next workload gives up its slot.
    pub(super) fn next_release(&self, now: Instant) -> Option<Instant> {
        let since = self.rules.iter().flat_map(|rule| rule.open.values());
        let releases = since.map(|since| *since + PATIENCE);
        releases.filter(|release| *release > now).min()
    }

    /// Records that something happened to a workload.
    pub(super) fn progressed(&mut self, id: &WorkloadId, now: Instant) {
        for rule in &mut self.rules {
            if let Some(since) = rule.open.get_mut(id) {
                *since = now;
            }
        }
    }

    /// Records the end of a restart. Returns the steps that do not start because of it.
    pub(super) fn end(&mut self, rule: usize, id: &WorkloadId, end: &End<'_>) -> Vec<Dropped<'a>> {
        let Some(queue) = self.rules.get_mut(rule) else {
            return Vec::new();
        };
        queue.open.remove(id);
        match end {
            End::Neutral => Vec::new(),
            End::Healthy => {
                queue.proven = true;
                Vec::new()
            }
            End::Failed(why) if queue.proven => {
                queue.stop_namespace(id, &format!("{id} failed: {why}"))
            }
            End::Failed(why) => {
                let message = format!("{id} failed: {why}");
                queue.drop_if(Reason::RuleStopped, &message, |_| true)
            }
        }
    }

    /// Records how the wait for a workload of an earlier run ended. Returns the steps that do not start because of it.
    pub(super) fn end_earlier(
        &mut self,
        rule: usize,
        id: &WorkloadId,
        failed: Option<&str>,
    ) -> Vec<Dropped<'a>> {
        let Some(queue) = self.rules.get_mut(rule) else {
            return Vec::new();
        };
        queue.earlier.remove(id);
        failed.map_or_else(Vec::new, |why| {
            let message =
                format!("{id} was restarted with the current data and is not healthy: {why}");
            queue.stop_namespace(id, &message)
        })
    }

    /// True if all steps have started or were dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.iter().all(|rule| rule.waiting.is_empty())
    }

    /// Takes all steps that have not started.
    pub(super) fn drain(&mut self) -> Vec<&'a Step> {
        let rules = self.rules.iter_mut();
        rules
            .flat_map(|rule| std::mem::take(&mut rule.waiting))
            .collect()
    }
}

impl<'a> RuleQueue<'a> {
    fn next(&mut self, now: Instant) -> Option<&'a Step> {
        let slots = if self.proven { self.slots } else { 1 };
        if self.holding(now) >= slots {
            return None;
        }
        let at = self
            .waiting
            .iter()
            .position(|step| !self.is_on_hold(&step.id.namespace, now))?;
        self.waiting.remove(at)
    }

    /// The number of slots that are in use. The first workload keeps its slot.
    fn holding(&self, now: Instant) -> usize {
        let open = self.open.values();
        open.filter(|since| !self.proven || now.duration_since(**since) < PATIENCE)
            .count()
    }

    /// True if a workload of this namespace is not healthy for so long that no other one is restarted.
    fn is_on_hold(&self, namespace: &str, now: Instant) -> bool {
        let late = self
            .open
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= PATIENCE)
            .map(|(id, _)| id);
        late.chain(&self.earlier)
            .any(|id| id.namespace == namespace)
    }

    fn stop_namespace(&mut self, id: &WorkloadId, message: &str) -> Vec<Dropped<'a>> {
        self.drop_if(Reason::NamespaceStopped, message, |step| {
            step.id.namespace == id.namespace
        })
    }

    fn drop_if(
        &mut self,
        reason: Reason,
        message: &str,
        drops: impl Fn(&Step) -> bool,
    ) -> Vec<Dropped<'a>> {
        let waiting = std::mem::take(&mut self.waiting);
        let (dropped, kept): (VecDeque<_>, VecDeque<_>) =
            waiting.into_iter().partition(|step| drops(step));
        self.waiting = kept;
        let dropped = dropped.into_iter().map(|step| Dropped {
            step,
            reason,
            message: message.to_owned(),
        });
        dropped.collect()
    }
}

#[cfg(test)]
mod tests;
