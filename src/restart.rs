//! Restarts what still runs on old data: level-triggered, careful, exactly once.
//!
//! ```text
//!   workloads, Secrets, pods ─► discover ─► Subjects ─► plan (decide, waves) ─► RestartPlan
//!                                                           │
//!      adopt: stamps, before anything is synced ─► (sync, verify) ─► decided again ─► carry_out ─► RestartResults
//! ```
//!
//! What is owed is decided from objects alone. A restart and the stamp that says so are one patch; so a run that is killed
//! leaves none undone and none done twice.

mod adopt;
mod afterwards;
mod carry_out;
pub mod decide;
pub mod discover;
#[cfg(test)]
mod fixtures;
mod hold;
pub mod key;
pub mod known;
pub mod others;
mod owner;
pub mod plan;
pub mod results;
pub mod stamp;
pub mod subject;
pub mod targets;
pub mod waves;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cluster::Cluster;
use pace::Clock;
use tokio::time::timeout;

use self::{
    afterwards::{complete, secrets_seen},
    decide::{Action, Context},
    discover::{Look, Seen, Unseen},
    key::{Keeper, KeyError},
    known::Known,
    plan::{RestartPlan, Step},
    results::{RestartOutcome, RestartResult, RestartResults},
    subject::Subject,
    targets::{Targets, Verdicts},
};
use crate::{
    inventory::{Gap, Inventory},
    outcome::Results,
    plan::Plan,
    policy::Policy,
    rbac::{KNOWN, STAMP_KEY},
    reason::Reason,
    stop::{Level, Stop},
    workload::{Health, WorkloadId},
};

/// How often controllers are given a moment to see what was written …
const LOOKS: u32 = 10;

/// … and how long it is.
const MOMENT: Duration = Duration::from_millis(500);

/// How long a last look may take, once nothing is restarted any more.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// What restarts need beside the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where the job keeps what it owns: the first of these namespaces that exists.
    pub namespaces: Vec<String>,
    /// Stamps that vanished or cannot be read are made anew.
    pub adopt_anew: bool,
    /// Workloads that are not healthy are restarted too, and stop no other; those that were restarted too often or too recently
    /// are as well.
    pub retry: bool,
}

/// The part of a run that restarts.
#[derive(Clone, Copy)]
pub struct Restarts<'a> {
    /// Where.
    pub cluster: &'a Cluster,
    /// Which rules.
    pub policy: &'a Policy,
    /// The ExternalSecrets.
    pub inventory: &'a Inventory,
    /// What becomes of those.
    pub plan: &'a Plan,
    /// What the drift check says of them.
    pub verdicts: &'a Verdicts,
    /// What else is needed.
    pub options: &'a Options,
    /// The time.
    pub clock: Clock,
}

/// What was looked at, and the plan for it.
pub struct Looked {
    /// The plan.
    pub plan: RestartPlan,
    seen: Seen,
    kept: Option<(Keeper, Known)>,
}

impl Restarts<'_> {
    /// Looks, and decides; nothing is written. Without rules nothing is asked for.
    pub async fn look(self) -> Looked {
        self.look_with(key::read(self.cluster, &self.options.namespaces).await)
            .await
    }

    /// The same for a run that is about to write: there is a key from now on.
    async fn look_to_write(self) -> Looked {
        self.look_with(key::ensure(self.cluster, &self.options.namespaces).await)
            .await
    }

    async fn look_with(self, keeper: Result<Keeper, KeyError>) -> Looked {
        let unseen = |what: &str, error: &dyn std::error::Error| {
            let mut why = error.to_string();
            if let Some(cause) = error.source() {
                why = format!("{why}: {cause}");
            }
            // Without these nothing is known of any workload.
            let all = Unseen {
                kind: None,
                namespace: None,
                reason: Reason::ApiUnavailable,
                why: format!("{what} could not be read: {why}"),
            };
            let gap = Gap {
                what: what.to_owned(),
                namespace: self.options.namespaces.first().cloned(),
                why,
            };
            Looked {
                plan: RestartPlan {
                    gaps: vec![gap],
                    ..RestartPlan::default()
                },
                seen: Seen {
                    unseen: vec![all],
                    ..Seen::default()
                },
                kept: None,
            }
        };
        let mut keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => return unseen(&format!("secrets/{STAMP_KEY}"), &error),
        };
        let known = match key::known(self.cluster, &keeper.namespace).await {
            Ok(known) => known,
            Err(error) => return unseen(&format!("configmaps/{KNOWN}"), &error),
        };
        let targets = Targets::new(self.inventory, self.plan, None, self.verdicts);
        let unread = self.context(&keeper, &known, true);
        let listed = self.with(&targets, unread).list_all().await;
        keeper.others = key::others(self.cluster, &keeper.key, listed.stamps()).await;
        let context = self.context(&keeper, &known, true);
        let mut seen = self.with(&targets, context).complete(listed).await;
        let mut plan = plan::plan(self.policy, &seen.subjects, context);
        plan.warnings.extend(kept_elsewhere(&keeper));
        plan.gaps = std::mem::take(&mut seen.gaps);
        Looked {
            plan,
            seen,
            kept: Some((keeper, known)),
        }
    }

    /// Writes the stamps that are due before anything is synced. What is looked at first with a key that nobody kept is looked
    /// at again with one that is.
    pub async fn adopt(self, mut looked: Looked, stop: &Stop) -> (Looked, RestartResults) {
        let kept = looked.kept.as_ref().is_none_or(|(keeper, _)| keeper.kept);
        if !kept && looked.plan.writes_anything() {
            let planned = looked.plan;
            looked = self.look_to_write().await;
            only_planned(&mut looked.plan, &planned, self.policy);
        }
        let Looked { plan, seen, kept } = &mut looked;
        let results = match kept {
            Some((keeper, known)) if keeper.kept => {
                adopt::adopt(self.cluster, keeper, known, seen, plan, stop).await
            }
            _ => RestartResults::default(),
        };
        (looked, results)
    }

    /// What must not be synced, by the index of the item, each with what is in the way: a rotation that is synced before it is noted
    /// what pods started with owes no restart that anybody could know of.
    pub fn held_back(self, looked: &Looked, adopted: &RestartResults) -> BTreeMap<usize, String> {
        let key = looked.kept.as_ref().map(|(keeper, _)| &keeper.key);
        let seen = (&looked.plan, &looked.seen, key);
        hold::held_back(self.policy, self.plan, seen, adopted)
    }

    /// Looks again at what the plan restarts or may restart, now that everything was synced, and restarts what is owed. What is
    /// left alone for reasons of its own is looked at too: it may run on old data from now on.
    pub async fn carry_out(
        self,
        looked: &Looked,
        synced: &Results,
        verdicts: &Verdicts,
        stop: Stop,
        done: impl FnMut(&WorkloadId, &RestartResult),
    ) -> RestartResults {
        let concerned = |step: &Step| {
            let decision = &step.decision;
            let by_reloader = decision.reason == Reason::HandledByReloader;
            let may_be = by_reloader || !decision.assumed.is_empty();
            !decision.changes.is_empty() || (may_be && synced.wrote)
        };
        let any = looked.plan.restarts() > 0 || looked.plan.steps.iter().any(concerned);
        let Some((keeper, known)) = looked.kept.as_ref().filter(|_| any) else {
            return RestartResults::default();
        };
        let targets = Targets::new(self.inventory, self.plan, Some(synced), verdicts);
        let context = self.context(keeper, known, false);
        let look = self.with(&targets, context);
        if let Some(reason) = synced.stopped {
            return self.not_reached(look, &looked.plan, reason, &stop).await;
        }
        let seen = observed(look, &looked.plan).await;
        let plan = self.decided(&seen, &looked.plan, context);
        let job = carry_out::Job {
            look,
            subjects: &seen.subjects,
            plan: &plan,
            clock: self.clock,
            stop,
            families: carry_out::Families::default(),
        };
        let mut results = carry_out::carry_out(&job, done).await;
        let mut noted = known.clone();
        for step in &plan.steps {
            let result = results.of.get(&step.id);
            if let Some((result, seq)) = result.and_then(|result| Some((result, result.seq?))) {
                let pending = result.outcome != RestartOutcome::Restarted;
                noted.note_restart(&step.id, &step.uid, seq, pending);
            }
        }
        if let Err(warning) = adopt::remember(self.cluster, keeper, known, &noted).await {
            results.warnings.push(warning);
        }
        complete(&mut results, (&looked.plan, &looked.seen), (&plan, &seen));
        results.secrets = secrets_seen(&seen);
        results.gaps = seen.gaps;
        results
    }

    /// What is decided by now, and was foreseen.
    fn decided(self, seen: &Seen, before: &RestartPlan, context: Context<'_>) -> RestartPlan {
        let mut plan = plan::plan(self.policy, &seen.subjects, context);
        only_planned(&mut plan, before, self.policy);
        let without_pods = |subject: &&Subject| subject.pods.as_ref().is_some_and(Vec::is_empty);
        let without_pods: BTreeSet<&WorkloadId> = seen
            .subjects
            .iter()
            .filter(without_pods)
            .map(|subject| &subject.workload.id)
            .collect();
        for step in &mut plan.steps {
            // What has no pods runs on no data.
            step.decision.behind &= !without_pods.contains(&step.id);
        }
        plan
    }

    /// Nothing is restarted any more. Who runs on old data by now is told all the same, if that can be seen at once.
    async fn not_reached(
        self,
        look: Look<'_>,
        before: &RestartPlan,
        reason: Reason,
        stop: &Stop,
    ) -> RestartResults {
        let seen = match stop.level() {
            Level::Run | Level::Drain(_) => timeout(LAST_LOOK, look.all()).await.ok(),
            Level::Now(_) => None,
        };
        let gaps = seen.as_ref().map(|seen| seen.gaps.clone());
        let now = seen.map(|seen| self.decided(&seen, before, look.context));
        let now: BTreeMap<&WorkloadId, &Step> = now
            .iter()
            .flat_map(|plan| &plan.steps)
            .map(|step| (&step.id, step))
            .collect();
        let concerned = before
            .steps
            .iter()
            .filter(|step| step.decision.action != Action::Leave);
        let of = concerned.map(|step| {
            let outcome = RestartOutcome::NotReached;
            let result = match now.get(&step.id) {
                Some(now) => RestartResult::as_it_stands(now, outcome, reason, ""),
                None => RestartResult::as_it_stands(
                    step,
                    outcome,
                    reason,
                    "whether it runs on old data by now was not seen",
                ),
            };
            (step.id.clone(), result)
        });
        RestartResults {
            of: of.collect(),
            gaps: gaps.unwrap_or_default(),
            stopped: Some(reason),
            ..RestartResults::default()
        }
    }

    fn context<'b>(&self, keeper: &'b Keeper, known: &'b Known, before_sync: bool) -> Context<'b> {
        Context {
            key: &keeper.key,
            others: &keeper.others,
            known,
            now: self.clock.now(),
            before_sync,
            adopt_anew: self.options.adopt_anew && before_sync,
            retry: self.options.retry,
        }
    }

    fn with<'b>(&'b self, targets: &'b Targets, context: Context<'b>) -> Look<'b> {
        Look {
            cluster: self.cluster,
            policy: self.policy,
            targets,
            context,
        }
    }
}

/// Whose keys are used beside the own one: whoever keeps another has another lock too.
fn kept_elsewhere(keeper: &Keeper) -> Option<String> {
    let homes: BTreeSet<&str> = keeper.others.homes().collect();
    let first = homes.first()?;
    let all: Vec<&str> = homes.iter().copied().collect();
    Some(format!(
        "workloads bear stamps whose key is kept in namespace {}, by another installation: they are held against that, but its lock \
         is not this run's. One home for all is better: --lock-namespace {first}",
        all.join(", ")
    ))
}

/// Looks until the controllers have seen the stamps that were written, which takes them a moment.
async fn observed(look: Look<'_>, plan: &RestartPlan) -> Seen {
    let planned = planned(plan);
    let mut left = LOOKS;
    loop {
        let seen = look.all().await;
        let unobserved = seen.subjects.iter().any(|subject| {
            subject.workload.health == Health::Unobserved && planned.contains(&subject.workload.id)
        });
        left -= 1;
        if !unobserved || left == 0 {
            return seen;
        }
        tokio::time::sleep(MOMENT).await;
    }
}

/// Those that the plan restarts, or may restart.
fn planned(plan: &RestartPlan) -> BTreeSet<WorkloadId> {
    plan.steps
        .iter()
        .filter(|step| step.decision.action != Action::Leave)
        .map(|step| step.id.clone())
        .collect()
}

/// Nothing is restarted that the plan did not foresee.
fn only_planned(plan: &mut RestartPlan, before: &RestartPlan, policy: &Policy) {
    let planned = planned(before);
    for step in &mut plan.steps {
        if step.decision.action != Action::Leave && !planned.contains(&step.id) {
            step.decision.action = Action::Leave;
            step.decision.reason = Reason::NotPlanned;
        }
    }
    plan::order(plan, policy);
}
