//! Decides which ExternalSecrets are synced or skipped, which workloads are restarted, and why. Deterministic, without I/O.
//!
//! A plan contains all decisions. Facts that are only known during the run are conditions of its steps;
//! [`Plan::once_stamped`] and [`due`](crate::restart::plan::due) evaluate them. A dry run prints the same plan.

mod charge;
mod classify;
mod estimate;
pub mod hold;
mod limit;
mod remedy;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::{Id, QuotaKey, StoreKey, window::Window};
use jiff::Timestamp;

pub use self::{
    charge::Charges,
    estimate::DEFAULT_SPEED,
    limit::{Limit, LimitExceeded, Share},
    remedy::Kept,
};
use crate::{
    finding::{Finding, Findings},
    index::{Place as _, Table, place},
    inventory::{ExternalSecret, Gap, Inventory, Ready, State, Target},
    plan::hold::Holds,
    policy::{OnStillStale, OnUnverifiable, Policy, Prices},
    reason::Reason,
    restart::{
        plan::{self as restart_plan, RestartPlan},
        workloads::{Options, Workloads},
    },
    select::{Selected, unmatched},
    workload::WorkloadId,
};

place! {
    /// The index of an item in a [`Plan`].
    pub ItemAt
}

place! {
    /// The index of a sync step in a [`Plan`].
    pub StepAt
}

/// The inputs of a plan.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The snapshot of the cluster.
    pub inventory: &'a Inventory,
    /// The ExternalSecrets that the policy selects.
    pub selected: &'a Selected<'a>,
    /// The findings of the drift check. Empty without a drift check.
    pub findings: &'a Findings,
    pub restarts: RestartFacts<'a>,
    pub now: Timestamp,
}

/// The inputs of the restart plan.
#[derive(Clone, Copy)]
pub struct RestartFacts<'a> {
    /// The workloads. Empty if none are restarted.
    pub workloads: &'a Workloads,
    /// The Secrets that must not change.
    pub holds: &'a Holds,
    /// The flags for restarts.
    pub options: &'a Options,
}

/// Everything that a run does, and what it skips.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Every selected ExternalSecret once, by namespace and name.
    pub items: Table<ItemAt, Item>,
    /// The sync steps: one for each ExternalSecret, or for each ClusterExternalSecret with all of its children.
    pub steps: Table<StepAt, Step>,
    pub restarts: RestartPlan,
    /// The prices of provider calls.
    pub prices: Prices,
    /// The syncs per second that the operator makes, as the snapshot shows it.
    pub operator_speed: f64,
    /// The estimated duration of the syncs.
    pub estimate: Duration,
    /// The exceeded limits. If there are any, the run does nothing.
    pub exceeded: Vec<LimitExceeded>,
    /// The namespaces that are left alone, because the plan would exceed a limit with them.
    pub left_alone: BTreeMap<String, Share>,
    /// The resources that could not be read while discovering ExternalSecrets.
    pub gaps: Vec<Gap>,
    /// The drift check of the plan. None if drift is not checked.
    pub check: Option<Check>,
    /// The entries and patterns of the selection that match nothing.
    pub unmatched: Vec<String>,
    /// True if that counts as failed.
    pub match_required: bool,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// The drift check that a plan is based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Provider calls, by quota.
    pub reads: BTreeMap<QuotaKey, u64>,
    /// How often providers throttled, by quota.
    pub throttles: BTreeMap<QuotaKey, u64>,
    /// Stores that could not be read at all, with the reason.
    pub unread: BTreeMap<StoreKey, String>,
    /// True if an unverifiable item counts as failed.
    pub unknown_fails: bool,
}

/// One selected ExternalSecret with its planned action.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub id: Id,
    /// The uid when the plan was made.
    pub uid: String,
    /// The default store of its spec, or the first store of its entries. None if it has no store.
    pub store: Option<StoreKey>,
    /// The provider of that store, or `-`.
    pub provider: String,
    pub state: State,
    /// The start of its last successful sync.
    pub refreshed: Option<Timestamp>,
    /// The time since then.
    pub age: Option<Duration>,
    /// Its Ready condition before the run.
    pub ready: Option<Ready>,
    /// How its Secret is written.
    pub target: Target,
    /// The name of its target Secret.
    pub secret: String,
    pub finding: Option<Finding>,
    /// The strongest allowed remedy if its Secret is still stale after a proven sync.
    pub if_still_stale: Option<OnStillStale>,
    /// Why its Secret is never deleted, although the policy allows it.
    pub kept: Option<Kept>,
    /// The state of its `syncWindows`, if it has any.
    pub window: Option<Window>,
    pub action: Action,
}

/// The planned action of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is force-synced.
    Sync {
        reason: Reason,
        /// Provider calls.
        cost: u32,
    },
    Skip {
        reason: Reason,
        /// Text for people. May be empty.
        message: String,
    },
}

/// One write that starts a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The object to annotate.
    pub target: StepTarget,
    /// The items that it syncs.
    pub members: Vec<ItemAt>,
    /// The stamps that must be written before the step.
    pub requires: Vec<StampWritten>,
    /// Its provider calls.
    pub charges: Charges,
}

/// The object that a step annotates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepTarget {
    /// The only member.
    ExternalSecret(ItemAt),
    /// The ClusterExternalSecret that controls its members.
    Parent {
        name: String,
        /// The uid when the plan was made.
        uid: String,
    },
}

/// A condition of a step: the Secret must not change before the workload's stamp records the data that its pods started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampWritten {
    /// The member that writes the Secret.
    pub member: ItemAt,
    pub workload: WorkloadId,
}

impl Plan {
    /// Returns the number of ExternalSecrets to sync.
    pub fn syncs(&self) -> usize {
        self.steps.iter().map(|step| step.members.len()).sum()
    }

    /// True if the plan changes anything.
    pub fn writes_anything(&self) -> bool {
        !self.steps.is_empty() || self.restarts.writes_anything()
    }

    /// Returns the plan after the stamps were written. Steps that require one of the missing stamps are removed, with the reason.
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
        self.hold(Reason::StampNotWritten, held);
        self.bound(policy);
        self
    }

    /// Returns the plan without what the shown plan does not contain.
    #[must_use]
    pub fn confined_to(mut self, shown: &Self, policy: &Policy) -> Self {
        let synced = |item: &&Item| matches!(item.action, Action::Sync { .. });
        let known: BTreeSet<&Id> = shown
            .items
            .iter()
            .filter(synced)
            .map(|item| &item.id)
            .collect();
        let new = self.items.entries();
        let new = new.filter(|(_, item)| synced(item) && !known.contains(&item.id));
        let new = new.map(|(at, _)| (at, String::new())).collect();
        self.hold(Reason::NotPlanned, new);
        self.restarts.confine_to(&shown.restarts.foreseen(), policy);
        self.bound(policy);
        self
    }

    /// Skips these items, each with a message, and the items in the same steps.
    fn hold(&mut self, reason: Reason, mut held: BTreeMap<ItemAt, String>) {
        let mut steps = Table::default();
        for step in std::mem::take(&mut self.steps) {
            let blocker = step.members.iter().find_map(|member| held.get(member));
            let Some(why) = blocker.cloned() else {
                steps.push(step);
                continue;
            };
            for &member in &step.members {
                held.entry(member).or_insert_with(|| {
                    let why = if why.is_empty() {
                        String::new()
                    } else {
                        format!(": {why}")
                    };
                    format!("it can only be synced together with others{why}")
                });
            }
        }
        self.steps = steps;
        for (member, message) in held {
            let item = &mut self.items[member];
            item.if_still_stale = None;
            item.kept = None;
            item.action = Action::Skip { reason, message };
        }
    }

    /// Computes the estimate, the exceeded limits and the warnings.
    fn bound(&mut self, policy: &Policy) {
        self.estimate = estimate::estimate(&policy.pace, &self.steps, self.operator_speed);
        self.exceeded = limit::exceeded(self, &policy.safety);
        self.warnings.clone_from(&self.unmatched);
        if self.estimate > policy.deadline {
            self.warnings.push(format!(
                "the run takes about {}, longer than the deadline of {}. Items that it does not reach are left for the next run",
                eso_model::duration::GoDuration(whole_seconds(self.estimate)),
                eso_model::duration::GoDuration(policy.deadline)
            ));
        }
    }

    /// Returns the provider calls of all steps, by quota.
    pub fn calls(&self) -> BTreeMap<QuotaKey, u64> {
        let mut calls = BTreeMap::new();
        for step in &self.steps {
            for (quota, cost) in &step.charges.accounts {
                *calls.entry(quota.clone()).or_default() += u64::from(*cost);
            }
        }
        calls
    }

    /// Returns the number of skipped items, by reason.
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

/// Makes the plan.
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
    let shared = remedy::shared(inventory);
    let items = selected.into_iter().map(|(_, item)| {
        let (if_still_stale, kept) = remedy::remedy(policy, &item, &shared).unzip();
        Item {
            if_still_stale,
            kept: kept.flatten(),
            ..item
        }
    });
    let plan = Plan {
        items: items.collect(),
        steps,
        prices: policy.advise.prices.clone(),
        operator_speed: estimate::operator_speed(&inventory.external_secrets),
        gaps: inventory.gaps.clone(),
        unmatched: unmatched(policy, inventory),
        match_required: policy.safety.require_match,
        check: policy.drift.enabled.then(|| Check {
            reads: findings.reads.clone(),
            throttles: findings.throttles.clone(),
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

    /// True if the run may change the data of its Secret.
    fn may_change_its_secret(&self) -> bool {
        matches!(self.action, Action::Sync { .. }) && self.target.written
    }
}

impl Plan {
    /// Plans again after the workloads were read again. Adds no restarts to the plan that was shown, and items that it skips stay
    /// skipped.
    #[must_use]
    pub fn again(self, policy: &Policy, facts: RestartFacts<'_>, now: Timestamp) -> Self {
        let shown = self.restarts.clone();
        self.with_workloads(policy, facts, Some(&shown), now)
    }

    fn with_workloads(
        self,
        policy: &Policy,
        facts: RestartFacts<'_>,
        shown: Option<&RestartPlan>,
        now: Timestamp,
    ) -> Self {
        let plan = self.with_restarts(policy, facts, shown, now);
        if plan.exceeded.is_empty() {
            return plan;
        }
        let mut rest = plan.clone();
        loop {
            let large = limit::large(&rest, &policy.safety);
            if large.is_empty() {
                return plan;
            }
            rest.leave_alone(large);
            rest = rest.with_restarts(policy, facts, shown, now);
            if rest.exceeded.is_empty() {
                let is_empty = rest.syncs() == 0 && rest.restarts.restarts() == 0;
                return if is_empty { plan } else { rest };
            }
        }
    }

    /// Skips the ExternalSecrets of these namespaces. [`with_restarts`](Self::with_restarts) leaves their workloads alone.
    fn leave_alone(&mut self, namespaces: BTreeMap<String, Share>) {
        self.left_alone.extend(namespaces);
        let own = self.steps.iter().filter_map(|step| {
            let share = self.left_alone.get(step.namespace(self)?)?;
            let member = step.members.first()?;
            Some((*member, share.to_string()))
        });
        let own = own.collect();
        self.hold(Reason::NamespaceLimit, own);
    }

    /// Plans the restarts, and holds back the items whose workloads cannot be stamped.
    fn with_restarts(
        mut self,
        policy: &Policy,
        facts: RestartFacts<'_>,
        shown: Option<&RestartPlan>,
        now: Timestamp,
    ) -> Self {
        self.restarts = restarts(policy, facts, &self.items, shown, now);
        let why = self.left_alone.iter();
        let why = why.map(|(namespace, share)| (namespace.clone(), share.to_string()));
        self.restarts
            .leave_namespaces(policy, Reason::NamespaceLimit, &why.collect());
        self.require_stamps(facts.workloads);
        let held = self.items.entries().filter_map(|(at, item)| {
            let why = facts.holds.why(&item.secret_id());
            let why = why.filter(|_| item.may_change_its_secret())?;
            Some((at, why.clone()))
        });
        let held = held.collect();
        self.hold(Reason::StampNotWritten, held);
        self.bound(policy);
        self
    }

    /// Sets the stamps that must be written before each step.
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

/// The restart plan for the planned syncs.
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
        let allowed = shown.map(RestartPlan::foreseen);
        plan = restart_plan::plan(policy, &workloads.subjects, context, allowed.as_ref());
        plan.warnings.extend(stamps.keeper.foreign_keys_warning());
    }
    plan.gaps.clone_from(&workloads.gaps);
    plan
}

/// Makes one step for each ExternalSecret to sync, and one for each parent with all of its children. At each account the
/// namespaces take turns, so that a large one does not delay the others.
fn steps(inventory: &Inventory, selected: &[(&ExternalSecret, Item)]) -> Table<StepAt, Step> {
    let mut steps: Table<StepAt, Step> = Table::default();
    let mut of_parent: BTreeMap<&str, StepAt> = BTreeMap::new();
    for (place, (external_secret, item)) in selected.iter().enumerate() {
        let member = ItemAt::at(place);
        if !matches!(item.action, Action::Sync { .. }) {
            continue;
        }
        let charges = Charges::of(inventory, external_secret);
        let known = external_secret
            .parent
            .as_ref()
            .and_then(|parent| of_parent.get(&*parent.name));
        if let Some(&step) = known {
            let step = &mut steps[step];
            step.members.push(member);
            step.charges.add(&charges);
            continue;
        }
        let parent = external_secret.parent.as_ref();
        let parent =
            parent.and_then(|of| Some((&of.name, inventory.parents.get(&of.name)?.as_ref()?)));
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
            charges,
        });
        if let Some((name, _)) = parent {
            of_parent.insert(name, step);
        }
    }
    in_turns(steps, |step| {
        let namespace = match step.target {
            StepTarget::ExternalSecret(at) => selected
                .get(at.place())
                .map(|(external_secret, _)| &*external_secret.id.namespace),
            StepTarget::Parent { .. } => None,
        };
        let account = step
            .charges
            .accounts
            .first()
            .map(|(quota, _)| quota.clone());
        (namespace, account)
    })
}

/// Orders entries so that the groups take turns. Within a group the order stays.
fn in_turns<T, G: Ord>(
    entries: impl IntoIterator<Item = T>,
    group: impl Fn(&T) -> G,
) -> Table<StepAt, T> {
    let mut counts: BTreeMap<G, usize> = BTreeMap::new();
    let mut numbered: Vec<(usize, T)> = Vec::new();
    for entry in entries {
        let count = counts.entry(group(&entry)).or_default();
        numbered.push((*count, entry));
        *count += 1;
    }
    numbered.sort_by_key(|(turn, _)| *turn);
    numbered.into_iter().map(|(_, entry)| entry).collect()
}

const fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests;
