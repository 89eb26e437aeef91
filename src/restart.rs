//! Restarts workloads that still run with old data. Each pending restart happens exactly once.
//!
//! ```text
//!   workloads, Secrets, pods ─► discover ─► Workloads ─► plan (decide, waves) ─► RestartPlan
//!                                                           │
//!      adopt: stamps, before the first sync ─► (sync, verify, remedy) ─► due: conditions ─► carry_out ─► RestartResults
//! ```
//!
//! Which workloads are read depends on the selection, not on the plan. Pending restarts are found from cluster objects only. One
//! patch writes a restart and its stamp, so a killed run neither loses nor repeats a restart.

mod adopt;
mod afterwards;
mod carry_out;
pub mod decide;
pub mod discover;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod key;
pub mod known;
pub mod others;
mod owner;
pub mod plan;
mod reasons;
pub mod results;
pub mod stamp;
pub mod subject;
pub mod targets;
pub mod waves;
pub mod workloads;

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
    discover::{Look, Secrets},
    key::KeyError,
    known::Known,
    others::Others,
    plan::{RestartPlan, Step, due},
    results::{RestartOutcome, RestartResult, RestartResults},
    stamp::StampKey,
    targets::Targets,
    workloads::{Keeper, Options, Stamps, Unseen, Workloads},
};
use crate::{
    discover::gap as discover_gap,
    inventory::Gap,
    policy::Policy,
    rbac::{KNOWN, STAMP_KEY},
    reason::Reason,
    stop::{Level, Stop},
    workload::{Health, WorkloadId},
};

/// How often to read workloads until their controllers have observed the new stamps.
const LOOKS: u32 = 10;

/// The pause between two of these reads.
const MOMENT: Duration = Duration::from_millis(500);

/// The timeout for the final read if nothing more is restarted.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// The inputs of restarts.
#[derive(Clone, Copy)]
pub struct Restarts<'a> {
    pub cluster: &'a Cluster,
    pub policy: &'a Policy,
    /// Options that are not part of the policy.
    pub options: &'a Options,
    pub clock: Clock,
}

/// The result of the syncs, as far as restarts depend on it.
#[derive(Clone, Copy)]
pub struct Synced<'a> {
    /// The target Secrets after the syncs.
    pub targets: &'a Targets,
    /// True if the syncs wrote anything.
    pub wrote: bool,
    /// The reason if the syncs ended early.
    pub stopped: Option<Reason>,
    /// The namespaces whose syncs ended early, each with the reason.
    pub stopped_namespaces: &'a BTreeMap<String, String>,
}

impl Restarts<'_> {
    /// Reads the workloads that use these Secrets. Writes nothing.
    pub async fn read(self, targets: Targets) -> Workloads {
        let keeper = key::read(self.cluster, self.lock_namespace()).await;
        Box::pin(self.read_with(keeper, targets)).await
    }

    /// Reads the workloads before a run writes. Creates the stamp key if there is none.
    pub async fn read_to_write(self, targets: Targets) -> Workloads {
        let keeper = key::ensure(self.cluster, self.lock_namespace()).await;
        Box::pin(self.read_with(keeper, targets)).await
    }

    /// Reads the workloads that use these Secrets, but no Secret: no target, and not the stamp key. Each Secret is assumed to hold
    /// the data that the pods started with, so a decision says what a change of it would cause.
    pub async fn read_assuming_no_change(self, targets: Targets) -> Workloads {
        let (mut known, mut gap) = (Known::default(), None);
        if let Some(namespace) = &self.options.lock_namespace {
            match key::known(self.cluster, namespace).await {
                Ok(list) => known = list,
                Err(error) => {
                    let what = format!("configmaps/{KNOWN}");
                    gap = Some(discover_gap(&what, Some(namespace), &error));
                }
            }
        }
        let stamps = Stamps {
            keeper: Keeper {
                key: StampKey::from_bytes([0; 32]),
                others: Others::default(),
                namespace: String::new(),
                kept: false,
            },
            known,
        };
        let context = stamps.context(&targets, self.options, self.clock.now());
        let look = Look {
            secrets: Secrets::Assumed,
            ..self.look(context)
        };
        let mut workloads = look.all().await;
        workloads.gaps.extend(gap);
        Workloads {
            stamps: Some(stamps),
            targets,
            ..workloads
        }
    }

    async fn read_with(self, keeper: Result<Keeper, KeyError>, targets: Targets) -> Workloads {
        let keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => return self.unread(&format!("secrets/{STAMP_KEY}"), &error, targets),
        };
        let known = match key::known(self.cluster, &keeper.namespace).await {
            Ok(known) => known,
            Err(error) => return self.unread(&format!("configmaps/{KNOWN}"), &error, targets),
        };
        let mut stamps = Stamps { keeper, known };
        let context = stamps.context(&targets, self.options, self.clock.now());
        let listed = self.look(context).list_all().await;
        let key = &stamps.keeper.key;
        stamps.keeper.others = key::others(self.cluster, key, listed.stamps()).await;
        let context = stamps.context(&targets, self.options, self.clock.now());
        let workloads = self.look(context).complete(listed).await;
        Workloads {
            stamps: Some(stamps),
            targets,
            ..workloads
        }
    }

    /// Returns all workloads as unread, because the stamp key or the list of stamped workloads could not be read.
    fn unread(self, what: &str, error: &dyn std::error::Error, targets: Targets) -> Workloads {
        let mut why = error.to_string();
        if let Some(cause) = error.source() {
            why = format!("{why}: {cause}");
        }
        let all = Unseen {
            kind: None,
            namespace: None,
            reason: Reason::ApiUnavailable,
            why: format!("{what} could not be read: {why}"),
        };
        let gap = Gap {
            what: what.to_owned(),
            namespace: self.options.lock_namespace.clone(),
            why,
        };
        Workloads {
            unseen: vec![all],
            gaps: vec![gap],
            targets,
            ..Workloads::default()
        }
    }

    /// Writes the stamps of the plan, before the first sync.
    pub async fn adopt(
        self,
        workloads: &mut Workloads,
        plan: &RestartPlan,
        stop: &Stop,
    ) -> RestartResults {
        match workloads.stamps.take() {
            Some(mut stamps) if stamps.keeper.kept => {
                let adopted = adopt::adopt(self.cluster, &mut stamps, workloads, plan, stop).await;
                workloads.stamps = Some(stamps);
                adopted
            }
            stamps => {
                workloads.stamps = stamps;
                RestartResults::default()
            }
        }
    }

    /// Reads the workloads again after the syncs, and restarts those whose conditions hold. Also reads workloads that the plan
    /// leaves alone but whose data may have changed, because they may run with old data now.
    pub async fn carry_out(
        self,
        (plan, workloads): (&RestartPlan, &Workloads),
        synced: Synced<'_>,
        stop: Stop,
        done: impl FnMut(&WorkloadId, &RestartResult),
    ) -> RestartResults {
        let Some(stamps) = &workloads.stamps else {
            return RestartResults::default();
        };
        if plan.restarts() == 0 && !plan.steps.iter().any(|step| is_concerned(step, synced)) {
            return RestartResults::default();
        }
        let context = Context {
            // After a sync it is unknown what data the pods started with.
            adopt_anew: false,
            ..stamps.context(synced.targets, self.options, self.clock.now())
        };
        let look = self.look(context);
        if let Some(reason) = synced.stopped {
            return not_reached(look, plan, reason, &stop).await;
        }
        let seen = Box::pin(observed(look, plan)).await;
        let mut due = due(plan, self.policy, &seen.subjects, context);
        due.leave_namespaces(
            self.policy,
            Reason::TooManyFailures,
            synced.stopped_namespaces,
        );
        let job = carry_out::Job {
            look,
            subjects: &seen.subjects,
            plan: &due,
            clock: self.clock,
            stop,
            families: carry_out::Families::default(),
        };
        let mut results = Box::pin(carry_out::carry_out(&job, done)).await;
        let mut noted = stamps.known.clone();
        for step in &due.steps {
            let result = results.of.get(&step.id);
            if let Some((result, seq)) = result.and_then(|result| Some((result, result.seq?))) {
                let pending = result.outcome != RestartOutcome::Restarted;
                noted.record_restart(&step.id, &step.uid, seq, pending);
            }
        }
        let remembered = adopt::remember(self.cluster, &stamps.keeper, &stamps.known, &noted);
        if let Err(warning) = remembered.await {
            results.warnings.push(warning);
        }
        complete(&mut results, (plan, workloads), (&due, &seen));
        results.secrets = secrets_seen(&seen, self.policy, context);
        results.gaps = seen.gaps;
        results
    }

    /// The namespace of the stamp key. A command without one ends before it reads workloads.
    fn lock_namespace(&self) -> &str {
        self.options.lock_namespace.as_deref().unwrap_or_default()
    }

    fn look<'b>(&'b self, context: Context<'b>) -> Look<'b> {
        Look {
            cluster: self.cluster,
            policy: self.policy,
            context,
            secrets: Secrets::Read,
        }
    }
}

/// True if a workload is read again although the plan does not restart it.
fn is_concerned(step: &Step, synced: Synced<'_>) -> bool {
    let decision = &step.decision;
    let by_another = decision.reason.is_left_to_another_tool();
    let may_be = by_another || !decision.assumed.is_empty();
    !decision.changes.is_empty() || (may_be && synced.wrote)
}

/// Results for a run that restarts nothing more. Still reports which workloads run with old data, if they can be read in time.
async fn not_reached(
    look: Look<'_>,
    plan: &RestartPlan,
    reason: Reason,
    stop: &Stop,
) -> RestartResults {
    let seen = match stop.level() {
        Level::Run | Level::Drain(_) => timeout(LAST_LOOK, look.all()).await.ok(),
        Level::Now(_) => None,
    };
    let gaps = seen.as_ref().map(|seen| seen.gaps.clone());
    let now = seen.map(|seen| due(plan, look.policy, &seen.subjects, look.context));
    let now: BTreeMap<&WorkloadId, &Step> = now
        .iter()
        .flat_map(|due| &due.steps)
        .map(|step| (&step.id, step))
        .collect();
    let concerned = plan
        .steps
        .iter()
        .filter(|step| step.decision.action != Action::Leave);
    let of = concerned.map(|step| {
        let outcome = RestartOutcome::NotReached;
        let result = match now.get(&step.id) {
            Some(now) => RestartResult::with_old_data_of(now, outcome, reason, ""),
            None => RestartResult::with_old_data_of(
                step,
                outcome,
                reason,
                "it is unknown whether it runs with old data now",
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

/// Reads the workloads until their controllers have observed the new stamps, at most `LOOKS` times.
async fn observed(look: Look<'_>, plan: &RestartPlan) -> Workloads {
    let foreseen: BTreeSet<&WorkloadId> = plan.foreseen();
    let mut left = LOOKS;
    loop {
        let seen = look.all().await;
        let unobserved = seen.subjects.iter().any(|subject| {
            subject.workload.health == Health::Unobserved && foreseen.contains(&subject.workload.id)
        });
        left -= 1;
        if !unobserved || left == 0 {
            return seen;
        }
        tokio::time::sleep(MOMENT).await;
    }
}
