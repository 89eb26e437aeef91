//! The decision: which ExternalSecrets are synced, which workloads are restarted, which are left alone, and why. Total,
//! deterministic, free of I/O.
//!
//! A plan leaves nothing to choose: carrying it out can fail, but not improvise. What it cannot know yet are conditions of its steps,
//! and [`Plan::once_stamped`] and [`due`](crate::restart::plan::due) hold those against what came of them. The dry run is the same plan, printed.

mod classify;
pub mod hold;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::{Id, ProviderKind, QuotaKey, StoreKey, expected::CreationPolicy};
use jiff::Timestamp;

use crate::{
    finding::{Finding, Findings},
    index::{Place as _, Table, place},
    inventory::{ExternalSecret, Gap, Inventory, Ready, State, Target},
    plan::hold::Holds,
    policy::{OnStillStale, OnUnverifiable, Pace, Policy},
    reason::Reason,
    restart::{
        plan::{self as restart_plan, RestartPlan},
        workloads::{Options, Workloads},
    },
    select::Selected,
    workload::WorkloadId,
};

/// ExternalSecrets that the operator syncs in a second with its default of one worker (measured on v0.20.4 against a
/// provider that answers at once: 8 a second). More workers are faster; an estimate may be pessimistic.
const OPERATOR_RATE: f64 = 8.0;

place! {
    /// Of an item in a [`Plan`].
    pub ItemAt
}

place! {
    /// Of a step in a [`Plan`] that syncs.
    pub StepAt
}

/// All that a plan is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What was read of ExternalSecrets.
    pub inventory: &'a Inventory,
    /// Which of them the policy selects.
    pub selected: &'a Selected<'a>,
    /// What the drift check says of them; empty where drift is not checked.
    pub findings: &'a Findings,
    /// What was read of workloads.
    pub restarts: RestartFacts<'a>,
    /// The time.
    pub now: Timestamp,
}

/// What is known of workloads, and of what their restarts ask for.
#[derive(Clone, Copy)]
pub struct RestartFacts<'a> {
    /// As they were read; empty where none are restarted.
    pub workloads: &'a Workloads,
    /// The Secrets that must not change.
    pub holds: &'a Holds,
    /// What restarts are told beside the policy.
    pub options: &'a Options,
}

/// Everything that a run will do, and what it leaves alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Every selected ExternalSecret once, by namespace and name.
    pub items: Table<ItemAt, Item>,
    /// What is written: one step for each ExternalSecret, or for each ClusterExternalSecret with all of its children.
    pub steps: Table<StepAt, Step>,
    /// What becomes of workloads.
    pub restarts: RestartPlan,
    /// How long the syncs will take, about.
    pub estimate: Duration,
    /// The limits that it passes: then nothing of it is done.
    pub exceeded: Vec<LimitExceeded>,
    /// What could not be seen of ExternalSecrets.
    pub gaps: Vec<Gap>,
    /// What was read to find out what drifted; None where that is not checked.
    pub check: Option<Check>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// The drift check that a plan rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Calls to providers, by what shares a quota.
    pub reads: BTreeMap<QuotaKey, u64>,
    /// Stores that could not be read as a whole, with the reason.
    pub unread: BTreeMap<StoreKey, String>,
    /// Whether what cannot be told counts as failed.
    pub unknown_fails: bool,
}

/// One selected ExternalSecret and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Namespace and name.
    pub id: Id,
    /// The identity that it was planned for.
    pub uid: String,
    /// The store of its spec; None if it has none.
    pub store: Option<StoreKey>,
    /// The provider of that store, or `-`.
    pub provider: String,
    /// What its status says.
    pub state: State,
    /// When its last successful sync began.
    pub refreshed: Option<Timestamp>,
    /// How long ago that was.
    pub age: Option<Duration>,
    /// Its Ready condition before the run.
    pub ready: Option<Ready>,
    /// How its Secret is written.
    pub target: Target,
    /// The name of that Secret.
    pub secret: String,
    /// What the drift check says of it.
    pub finding: Option<Finding>,
    /// What is done where its Secret is still stale after a proven sync.
    pub if_still_stale: Option<OnStillStale>,
    /// What becomes of it.
    pub action: Action,
}

/// What becomes of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is force-synced.
    Sync {
        /// Why.
        reason: Reason,
        /// Provider calls.
        cost: u32,
    },
    /// It is left alone.
    Skip {
        /// Why.
        reason: Reason,
        /// For people; may be empty.
        message: String,
    },
}

/// One write, with all that is needed to carry it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is annotated.
    pub target: StepTarget,
    /// What that syncs.
    pub members: Vec<ItemAt>,
    /// The stamps that have to be written before.
    pub requires: Vec<StampWritten>,
    /// What is paced together.
    pub quota: QuotaKey,
    /// The stores that it reads from.
    pub stores: Vec<StoreKey>,
    /// Provider calls.
    pub cost: u32,
}

/// What a step annotates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepTarget {
    /// The only member itself.
    ExternalSecret(ItemAt),
    /// The ClusterExternalSecret that controls its members.
    Parent {
        name: String,
        /// The identity that it was planned for.
        uid: String,
    },
}

/// A condition of a step: until a workload's stamp tells what its pods started with, its Secret must not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampWritten {
    /// Which member writes that Secret.
    pub member: ItemAt,
    /// The workload.
    pub workload: WorkloadId,
}

/// A safety limit that a plan passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// `safety.maxSyncs`
    #[error("{wanted} ExternalSecrets would be synced, but safety.maxSyncs allows {allowed}")]
    Syncs {
        /// What the policy allows.
        allowed: u32,
        /// What would be done.
        wanted: usize,
    },
    /// `safety.maxRestarts`
    #[error(
        "{wanted} workloads would be restarted if their data changes, and safety.maxRestarts allows {allowed}"
    )]
    Restarts {
        /// What the policy allows.
        allowed: u32,
        /// The number of restarts in the plan, including conditional ones.
        wanted: usize,
    },
}

impl Plan {
    /// How many ExternalSecrets are synced.
    pub fn syncs(&self) -> usize {
        self.steps.iter().map(|step| step.members.len()).sum()
    }

    /// Whether carrying it out writes anything.
    pub fn writes_anything(&self) -> bool {
        !self.steps.is_empty() || self.restarts.writes_anything()
    }

    /// The plan as it stands once stamps were written, save for these, each with the reason: what required them is left alone.
    #[must_use]
    pub fn once_stamped(mut self, policy: &Policy, missing: &BTreeMap<WorkloadId, String>) -> Self {
        if missing.is_empty() {
            return self;
        }
        let mut held = BTreeMap::new();
        for condition in self.steps.iter().flat_map(|step| &step.requires) {
            if let Some(why) = missing.get(&condition.workload) {
                let why = || format!("{}: {why}", condition.workload);
                held.entry(condition.member).or_insert_with(why);
            }
        }
        self.hold(held);
        self.bound(policy);
        self
    }

    /// Leaves these alone, each with what is in the way; and with them what can only be synced together with one of them.
    fn hold(&mut self, mut held: BTreeMap<ItemAt, String>) {
        let mut steps = Table::default();
        for step in std::mem::take(&mut self.steps) {
            let in_the_way = step.members.iter().find_map(|member| held.get(member));
            let Some(why) = in_the_way.cloned() else {
                steps.push(step);
                continue;
            };
            for &member in &step.members {
                held.entry(member).or_insert_with(|| {
                    format!("it can only be synced together with others: {why}")
                });
            }
        }
        self.steps = steps;
        for (member, message) in held {
            let item = &mut self.items[member];
            item.if_still_stale = None;
            item.action = Action::Skip {
                reason: Reason::StampNotWritten,
                message,
            };
        }
    }

    /// What follows from the number of its steps: how long it takes, and whether that is too many.
    fn bound(&mut self, policy: &Policy) {
        self.estimate = estimate(&policy.pace, &self.steps);
        self.exceeded.clear();
        let (syncs, restarts) = (self.syncs(), self.restarts.restarts());
        let safety = &policy.safety;
        if syncs > safety.max_syncs as usize {
            self.exceeded.push(LimitExceeded::Syncs {
                allowed: safety.max_syncs,
                wanted: syncs,
            });
        }
        if restarts > safety.max_restarts as usize {
            self.exceeded.push(LimitExceeded::Restarts {
                allowed: safety.max_restarts,
                wanted: restarts,
            });
        }
        self.warnings.clear();
        if self.estimate > policy.deadline {
            self.warnings.push(format!(
                "the run takes about {}, longer than the deadline of {}. Items that it does not reach are left for the next run",
                eso_model::duration::GoDuration(whole_seconds(self.estimate)),
                eso_model::duration::GoDuration(policy.deadline)
            ));
        }
    }

    /// Provider calls of all steps, by what shares a quota.
    pub fn calls(&self) -> BTreeMap<QuotaKey, u64> {
        let mut calls = BTreeMap::new();
        for step in &self.steps {
            *calls.entry(step.quota.clone()).or_default() += u64::from(step.cost);
        }
        calls
    }

    /// How many are skipped, by reason.
    pub fn skips(&self) -> BTreeMap<Reason, usize> {
        let mut skips = BTreeMap::new();
        for item in &self.items {
            if let Action::Skip { reason, .. } = item.action {
                *skips.entry(reason).or_default() += 1;
            }
        }
        skips
    }
}

/// Decides.
pub fn plan(policy: &Policy, facts: Facts<'_>) -> Plan {
    let Facts {
        inventory,
        findings,
        now,
        ..
    } = facts;
    let mut selected: Vec<(&ExternalSecret, Item)> = facts
        .selected
        .iter()
        .map(|one| {
            let finding = findings.of.get(&one.external_secret.id);
            let item = classify::item(policy, inventory, one, finding, now);
            (one.external_secret, item)
        })
        .collect();
    classify::children(inventory, &mut selected);
    let steps = steps(inventory, &selected);
    let items = selected.into_iter().map(|(_, item)| Item {
        if_still_stale: remedy(policy, &item),
        ..item
    });
    let plan = Plan {
        items: items.collect(),
        steps,
        gaps: inventory.gaps.clone(),
        check: policy.drift.enabled.then(|| Check {
            reads: findings.reads.clone(),
            unread: findings.stores.clone(),
            unknown_fails: policy.drift.on_unverifiable == OnUnverifiable::Fail,
        }),
        ..Plan::default()
    };
    plan.with_workloads(policy, facts.restarts, None, now)
}

impl Item {
    /// Its target Secret.
    pub fn secret_id(&self) -> Id {
        Id {
            namespace: self.id.namespace.clone(),
            name: self.secret.clone(),
        }
    }

    /// Whether the run may change what its Secret holds.
    fn may_change_its_secret(&self) -> bool {
        matches!(self.action, Action::Sync { .. }) && self.target.written
    }
}

impl Plan {
    /// The same for workloads as they were read again since it was shown. Nothing is restarted that it did not foresee, and what it
    /// leaves alone stays left alone.
    #[must_use]
    pub fn again(self, policy: &Policy, facts: RestartFacts<'_>, now: Timestamp) -> Self {
        let shown = self.restarts.clone();
        self.with_workloads(policy, facts, Some(&shown), now)
    }

    fn with_workloads(
        mut self,
        policy: &Policy,
        facts: RestartFacts<'_>,
        shown: Option<&RestartPlan>,
        now: Timestamp,
    ) -> Self {
        self.restarts = restarts(policy, facts, &self.items, shown, now);
        self.require_stamps(facts.workloads);
        let held = self.items.entries().filter_map(|(at, item)| {
            let why = facts.holds.why(&item.secret_id());
            let why = why.filter(|_| item.may_change_its_secret())?;
            Some((at, why.clone()))
        });
        let held = held.collect();
        self.hold(held);
        self.bound(policy);
        self
    }

    /// Adds to each step the stamps that have to be written before it.
    fn require_stamps(&mut self, workloads: &Workloads) {
        let due = hold::due(&self.restarts, workloads);
        for step in &mut self.steps {
            step.requires.clear();
            for &member in &step.members {
                let item = &self.items[member];
                let stamps = due
                    .get(&item.secret_id())
                    .filter(|_| item.may_change_its_secret());
                let stamps = stamps.into_iter().flatten();
                step.requires.extend(stamps.map(|workload| StampWritten {
                    member,
                    workload: (*workload).clone(),
                }));
            }
        }
    }
}

/// What becomes of workloads, given what is to be synced.
fn restarts(
    policy: &Policy,
    facts: RestartFacts<'_>,
    items: &Table<ItemAt, Item>,
    shown: Option<&RestartPlan>,
    now: Timestamp,
) -> RestartPlan {
    let workloads = facts.workloads;
    let mut plan = RestartPlan::default();
    if let Some(stamps) = &workloads.stamps {
        let synced = |item: &&Item| matches!(item.action, Action::Sync { .. });
        let synced: BTreeSet<&Id> = items.iter().filter(synced).map(|item| &item.id).collect();
        let targets = workloads.targets.clone();
        let targets = targets.planned(|id| synced.contains(id));
        let context = stamps.context(&targets, facts.options, now);
        let foresaw = shown.map(RestartPlan::foreseen);
        plan = restart_plan::plan(policy, &workloads.subjects, context, foresaw.as_ref());
        plan.warnings.extend(stamps.keeper.foreign_keys_warning());
    }
    plan.gaps.clone_from(&workloads.gaps);
    plan
}

/// How far the ladder of the policy may be climbed for this one, should a proven sync leave its Secret stale. The operator never
/// looks whether the Secret of an `Orphan` is as it wrote it, and leaves an immutable one as it is; one that belongs to others too
/// is not deleted.
fn remedy(policy: &Policy, item: &Item) -> Option<OnStillStale> {
    let synced = matches!(item.action, Action::Sync { .. });
    if !policy.drift.enabled || !synced || !item.target.written {
        return None;
    }
    let asked = policy.sync.on_still_stale;
    let able = match item.target.creation {
        _ if item.target.immutable => OnStillStale::Report,
        CreationPolicy::None | CreationPolicy::Orphan => OnStillStale::Report,
        CreationPolicy::Merge => OnStillStale::Refetch,
        CreationPolicy::Owner | CreationPolicy::CreateOrMerge => OnStillStale::Recreate,
    };
    Some(asked.min(able))
}

/// A step for each ExternalSecret to sync, and one for each parent with all of its children.
fn steps(inventory: &Inventory, selected: &[(&ExternalSecret, Item)]) -> Table<StepAt, Step> {
    let mut steps: Table<StepAt, Step> = Table::default();
    let mut of_parent: BTreeMap<&str, StepAt> = BTreeMap::new();
    for (place, (external_secret, item)) in selected.iter().enumerate() {
        let member = ItemAt::at(place);
        let Action::Sync { cost, .. } = item.action else {
            continue;
        };
        let known = external_secret
            .parent
            .as_deref()
            .and_then(|parent| of_parent.get(parent));
        if let Some(&step) = known {
            let step = &mut steps[step];
            step.members.push(member);
            step.cost = step.cost.saturating_add(cost);
            continue;
        }
        let parent = external_secret.parent.as_ref();
        let parent = parent.and_then(|name| Some((name, inventory.parents.get(name)?.as_ref()?)));
        let target = match parent {
            None => StepTarget::ExternalSecret(member),
            Some((name, parent)) => StepTarget::Parent {
                name: name.clone(),
                uid: parent.uid.clone(),
            },
        };
        let step = steps.push(Step {
            target,
            members: vec![member],
            requires: Vec::new(),
            quota: quota_of(inventory, external_secret),
            stores: external_secret.stores.clone(),
            cost,
        });
        if let Some((name, _)) = parent {
            of_parent.insert(name, step);
        }
    }
    steps
}

fn quota_of(inventory: &Inventory, external_secret: &ExternalSecret) -> QuotaKey {
    let unknown = |provider: &str, account: String| QuotaKey {
        provider: ProviderKind::Other(provider.to_owned()),
        account,
    };
    match external_secret.stores.first() {
        None => unknown("generator", String::new()),
        Some(key) => match inventory.store(key) {
            Some(store) => store.quota.clone(),
            None => unknown("unknown", key.to_string()),
        },
    }
}

fn estimate(pace: &Pace, steps: &Table<StepAt, Step>) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let seconds = |count: u64, per_second: f64| count as f64 / per_second;
    let mut by_quota: BTreeMap<&QuotaKey, u64> = BTreeMap::new();
    let mut by_store: BTreeMap<&StoreKey, u64> = BTreeMap::new();
    for step in steps {
        *by_quota.entry(&step.quota).or_default() += u64::from(step.cost);
        for store in &step.stores {
            *by_store.entry(store).or_default() += u64::from(step.cost);
        }
    }
    let quotas = by_quota
        .into_iter()
        .map(|(quota, calls)| seconds(calls, pace.of(&quota.provider).as_per_second()));
    let stores = by_store
        .into_iter()
        .filter_map(|(store, calls)| Some(seconds(calls, pace.stores.get(store)?.as_per_second())));
    let members = steps.iter().map(|step| step.members.len() as u64).sum();
    let whole = [
        seconds(steps.len() as u64, pace.kubernetes.as_per_second()),
        seconds(members, OPERATOR_RATE),
    ];
    let longest = quotas.chain(stores).chain(whole).fold(0.0, f64::max);
    Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX)
}

const fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests;
