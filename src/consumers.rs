//! The workloads whose pods use Secrets, whatever the policy says about them.

pub mod list;

use std::collections::{BTreeMap, BTreeSet};

use crate::{inventory::Gap, reason::Reason, workload::WorkloadId};

/// The workloads that use some Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumers {
    /// Sorted.
    pub of: BTreeMap<WorkloadId, Consumer>,
    /// The lists that failed.
    pub gaps: Vec<Gap>,
}

/// What a workload uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// Those of the Secrets that it uses.
    pub secrets: BTreeSet<String>,
    /// The tool that restarts it when one of them changes: [`Reason::HandledByReloader`] or [`Reason::HandledByWave`].
    pub left_to: Option<Reason>,
}
