//! The decision: which ExternalSecrets are synced, which are left alone, and why. Total, deterministic, free of I/O.
//!
//! A plan leaves nothing to choose: carrying it out can fail, but not improvise. The dry run is the same plan, printed.

mod classify;

use std::{collections::BTreeMap, time::Duration};

use eso_model::{Id, QuotaKey, StoreKey, expected::CreationPolicy};
use jiff::Timestamp;

use crate::{
    drift::{Finding, Findings, Verdict},
    inventory::{ExternalSecret, Gap, Inventory, Ready, State, StoreView, Target},
    policy::{OnStillStale, OnUnverifiable, Pace, Policy},
    reason::Reason,
};

/// ExternalSecrets that the operator syncs in a second with its default of one worker (measured on v0.20.4 against a
/// provider that answers at once: 8 a second). More workers are faster; an estimate may be pessimistic.
const OPERATOR_RATE: f64 = 8.0;

/// Everything that a run will do, and what it leaves alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Every selected ExternalSecret once, by namespace and name.
    pub items: Vec<Item>,
    /// What is written: one step for each ExternalSecret, or for each ClusterExternalSecret with all of its children.
    pub steps: Vec<Step>,
    /// How long it will take, about.
    pub estimate: Duration,
    /// Set where a limit refuses the run as a whole.
    pub refusal: Option<Refusal>,
    /// What could not be seen.
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
    /// Indices into [`Plan::items`]: what that syncs.
    pub members: Vec<usize>,
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
    /// The ExternalSecret itself.
    ExternalSecret,
    /// The ClusterExternalSecret that controls its members.
    Parent {
        /// Its name.
        name: String,
        /// The identity that it was planned for.
        uid: String,
    },
}

/// A limit that the plan passes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} ExternalSecrets would be synced, and safety.maxSyncs allows {limit}")]
pub struct Refusal {
    /// What the policy allows.
    pub limit: u32,
    /// What would be done.
    pub wanted: usize,
}

impl Plan {
    /// How many ExternalSecrets are synced.
    pub fn syncs(&self) -> usize {
        self.steps.iter().map(|step| step.members.len()).sum()
    }

    /// Leaves these alone after all: by index, each with what is in the way. What can only be synced together with one of them is left
    /// alone too.
    pub fn hold_back(&mut self, reason: Reason, mut held: BTreeMap<usize, String>) {
        self.steps.retain(|step| {
            let in_the_way = step.members.iter().find_map(|member| held.get(member));
            let Some(why) = in_the_way.cloned() else {
                return true;
            };
            for &member in &step.members {
                held.entry(member)
                    .or_insert_with(|| format!("it is only synced together with others: {why}"));
            }
            false
        });
        for (index, message) in held {
            if let Some(item) = self.items.get_mut(index) {
                item.if_still_stale = None;
                item.action = Action::Skip { reason, message };
            }
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

    /// How many of those that were checked cannot be told, where that counts as failed.
    pub fn unknown(&self) -> usize {
        if !self.check.as_ref().is_some_and(|check| check.unknown_fails) {
            return 0;
        }
        let unknown = |item: &&Item| {
            item.finding
                .as_ref()
                .is_some_and(|finding| finding.verdict == Verdict::Unverifiable)
        };
        self.items.iter().filter(unknown).count()
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

/// Decides. `findings` is empty where drift is not checked.
pub fn plan(policy: &Policy, inventory: &Inventory, findings: &Findings, now: Timestamp) -> Plan {
    let mut selected: Vec<(&ExternalSecret, Item)> = inventory
        .external_secrets
        .iter()
        .filter_map(|external_secret| {
            let finding = findings.of.get(&external_secret.id);
            let item = classify::item(policy, inventory, external_secret, finding, now)?;
            Some((external_secret, item))
        })
        .collect();
    classify::children(inventory, &mut selected);
    let steps = steps(inventory, &selected);
    let items: Vec<Item> = selected
        .into_iter()
        .map(|(_, item)| Item {
            if_still_stale: remedy(policy, &item),
            ..item
        })
        .collect();
    let estimate = estimate(&policy.pace, &steps);
    let mut plan = Plan {
        items,
        steps,
        estimate,
        refusal: None,
        gaps: inventory.gaps.clone(),
        check: policy.drift.enabled.then(|| Check {
            reads: findings.reads.clone(),
            unread: findings.stores.clone(),
            unknown_fails: policy.drift.on_unverifiable == OnUnverifiable::Fail,
        }),
        warnings: Vec::new(),
    };
    let wanted = plan.syncs();
    if wanted > policy.safety.max_syncs as usize {
        plan.refusal = Some(Refusal {
            limit: policy.safety.max_syncs,
            wanted,
        });
    }
    if estimate > policy.deadline {
        plan.warnings.push(format!(
            "this takes about {}, longer than the deadline of {}: what is not reached by then is left for the next run",
            eso_model::duration::GoDuration(whole_seconds(estimate)),
            eso_model::duration::GoDuration(policy.deadline)
        ));
    }
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
fn steps(inventory: &Inventory, selected: &[(&ExternalSecret, Item)]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut of_parent: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, (external_secret, item)) in selected.iter().enumerate() {
        let Action::Sync { cost, .. } = item.action else {
            continue;
        };
        let known = external_secret
            .parent
            .as_deref()
            .and_then(|parent| of_parent.get(parent));
        if let Some(step) = known.and_then(|&step| steps.get_mut(step)) {
            step.members.push(index);
            step.cost = step.cost.saturating_add(cost);
            continue;
        }
        let mut target = StepTarget::ExternalSecret;
        if let Some(name) = &external_secret.parent
            && let Some(Some(parent)) = inventory.parents.get(name)
        {
            of_parent.insert(name, steps.len());
            target = StepTarget::Parent {
                name: name.clone(),
                uid: parent.uid.clone(),
            };
        }
        steps.push(Step {
            target,
            members: vec![index],
            quota: quota_of(inventory, external_secret),
            stores: external_secret.stores.clone(),
            cost,
        });
    }
    steps
}

fn quota_of(inventory: &Inventory, external_secret: &ExternalSecret) -> QuotaKey {
    let unknown = |provider: &str, account: String| QuotaKey {
        provider: provider.to_owned(),
        account,
    };
    match external_secret.stores.first() {
        None => unknown("generator", String::new()),
        Some(key) => match inventory.stores.get(key) {
            Some(StoreView::Seen(store)) => store.quota.clone(),
            _ => unknown("unknown", key.to_string()),
        },
    }
}

fn estimate(pace: &Pace, steps: &[Step]) -> Duration {
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
        .map(|(quota, calls)| seconds(calls, pace.rate_of(&quota.provider).as_per_second()));
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
