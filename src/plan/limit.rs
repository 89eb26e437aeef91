//! Safety limits, and the namespaces that are left alone when a plan exceeds one.
//!
//! A tenant decides how much there is to do in its namespace, so a limit must not stop the others. Within the limits nothing
//! changes. If a plan exceeds one, the namespaces that alone take more than half of it are left alone. If that is not enough, the
//! whole run is refused.

use std::collections::BTreeMap;

use super::{Plan, Step, StepTarget};
use crate::{noun::counted, policy::Safety, restart::decide};

/// A safety limit that is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// `safety.maxSyncs`
    #[error("{} would be synced, but safety.maxSyncs allows {allowed}", counted(*wanted, "ExternalSecret"))]
    Syncs {
        /// The limit.
        allowed: u32,
        /// The number of syncs in the plan.
        wanted: usize,
    },
    /// `safety.maxRestarts`
    #[error(
        "{} would be restarted if their data changes, and safety.maxRestarts allows {allowed}",
        counted(*wanted, "workload")
    )]
    Restarts {
        /// The limit.
        allowed: u32,
        /// The number of restarts in the plan, including conditional ones.
        wanted: usize,
    },
}

/// A namespace's part of a limit that the plan exceeds: more than half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub limit: Limit,
    /// The limit of the whole run.
    pub allowed: u32,
    /// The number of syncs or restarts in the namespace.
    pub wanted: usize,
    /// The same for all namespaces together.
    pub total: usize,
}

/// A limit on what a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Syncs,
    Restarts,
}

impl LimitExceeded {
    /// The exceeded limit, and the value that would allow the plan.
    pub const fn wanted(self) -> (Limit, usize) {
        match self {
            Self::Syncs { wanted, .. } => (Limit::Syncs, wanted),
            Self::Restarts { wanted, .. } => (Limit::Restarts, wanted),
        }
    }
}

impl Limit {
    /// The key of the policy that sets the limit.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Syncs => "safety.maxSyncs",
            Self::Restarts => "safety.maxRestarts",
        }
    }

    /// The flag that sets the limit of a command without a policy.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Syncs => "--max-syncs",
            Self::Restarts => "--max-restarts",
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wanted, .. } = self;
        let what = match self.limit {
            Limit::Syncs => "ExternalSecrets of this namespace would be synced",
            Limit::Restarts => "workloads of this namespace would be restarted",
        };
        let (key, allowed) = (self.limit.key(), self.allowed);
        write!(
            f,
            "{wanted} {what}, more than half of {key} ({allowed}), which the run would exceed"
        )
    }
}

/// The limits that a plan exceeds.
pub(super) fn exceeded(plan: &Plan, safety: &Safety) -> Vec<LimitExceeded> {
    let (syncs, restarts) = (plan.syncs(), plan.restarts.restarts());
    let mut exceeded = Vec::new();
    if syncs > safety.max_syncs as usize {
        exceeded.push(LimitExceeded::Syncs {
            allowed: safety.max_syncs,
            wanted: syncs,
        });
    }
    if restarts > safety.max_restarts as usize {
        exceeded.push(LimitExceeded::Restarts {
            allowed: safety.max_restarts,
            wanted: restarts,
        });
    }
    exceeded
}

/// The namespaces that alone take more than half of a limit that the plan exceeds. Restarts count only once the number of syncs
/// is within its limit, because fewer syncs cause fewer restarts.
pub(super) fn large(plan: &Plan, safety: &Safety) -> BTreeMap<String, Share> {
    let Some(exceeded) = plan.exceeded.first() else {
        return BTreeMap::new();
    };
    let (limit, total) = exceeded.wanted();
    let (allowed, wanted) = match limit {
        Limit::Syncs => (safety.max_syncs, syncs(plan)),
        Limit::Restarts => (safety.max_restarts, restarts(plan)),
    };
    over_half(allowed, wanted)
        .into_iter()
        .map(|(namespace, wanted)| {
            let share = Share {
                limit,
                allowed,
                wanted,
                total,
            };
            (namespace.to_owned(), share)
        })
        .collect()
}

/// The names with a count of more than half of the limit.
fn over_half(allowed: u32, mut counts: BTreeMap<&str, usize>) -> BTreeMap<&str, usize> {
    counts.retain(|_, count| count.saturating_mul(2) > allowed as usize);
    counts
}

/// The syncs of each namespace. Children of a ClusterExternalSecret do not count: the administrator who wrote it decides about
/// them, not the namespace.
fn syncs(plan: &Plan) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for namespace in plan.steps.iter().filter_map(|step| step.namespace(plan)) {
        *counts.entry(namespace).or_default() += 1;
    }
    counts
}

fn restarts(plan: &Plan) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    let steps = plan.restarts.steps.iter();
    for step in steps.filter(|step| step.decision.action != decide::Action::Leave) {
        *counts.entry(&*step.id.namespace).or_default() += 1;
    }
    counts
}

impl Step {
    /// The namespace of the ExternalSecret that it annotates, or None if it annotates a ClusterExternalSecret.
    pub fn namespace<'a>(&self, plan: &'a Plan) -> Option<&'a str> {
        match self.target {
            StepTarget::ExternalSecret(at) => Some(&plan.items[at].id.namespace),
            StepTarget::Parent { .. } => None,
        }
    }
}
