//! Results of restarts: plain data for the report.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::Id;
use jiff::Timestamp;
use serde::Serialize;

use super::{decide::Action, plan::Step};
use crate::{inventory::Gap, reason::Reason, workload::WorkloadId};

/// The outcome of a workload.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum RestartOutcome {
    /// It was restarted and is healthy again.
    Restarted,
    /// It was restarted, but the run ended before it was healthy, or its pods could not be read.
    Unproven,
    /// A stamp was created, or created again.
    Adopted,
    /// Its stamp was updated without a restart.
    Renewed,
    /// It was not restarted.
    Left,
    /// It could not be restarted, or was not healthy afterwards.
    Failed,
    /// The run ended before its restart.
    NotReached,
}

impl RestartOutcome {
    /// True unless it failed, is unknown, or was not reached.
    pub const fn is_good(self) -> bool {
        match self {
            Self::Restarted | Self::Adopted | Self::Renewed | Self::Left => true,
            Self::Unproven | Self::Failed | Self::NotReached => false,
        }
    }
}

/// The result for one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartResult {
    pub outcome: RestartOutcome,
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// True if the workload is known to run with old data.
    pub behind: bool,
    /// The time of the restart.
    pub at: Option<Timestamp>,
    /// The sequence number of the stamp that the restart wrote.
    pub seq: Option<u64>,
    /// From the restart until it was healthy again.
    pub took: Duration,
    /// The number of pods before the restart.
    pub pods_before: usize,
    /// Pods that still run with old data.
    pub old_pods: Vec<String>,
    /// Pods created by the restart.
    pub new_pods: Vec<String>,
    /// Why its pods could not be read afterwards.
    pub pods_unread: Option<String>,
}

impl RestartResult {
    /// A result without a restart, for a workload that runs with current data.
    pub fn without(outcome: RestartOutcome, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            outcome,
            reason,
            message: message.into(),
            behind: false,
            at: None,
            seq: None,
            took: Duration::ZERO,
            pods_before: 0,
            old_pods: Vec::new(),
            new_pods: Vec::new(),
            pods_unread: None,
        }
    }

    /// A result without a restart that keeps the step's facts about old data.
    pub fn with_old_data_of(
        step: &Step,
        outcome: RestartOutcome,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            behind: step.decision.behind,
            old_pods: step.old_pods.clone(),
            ..Self::without(outcome, reason, message)
        }
    }

    /// The result of a workload that is not restarted, with the step's reason.
    pub fn left(step: &Step) -> Self {
        let decision = &step.decision;
        Self::with_old_data_of(
            step,
            RestartOutcome::Left,
            decision.reason,
            decision.message.clone(),
        )
    }
}

/// The final state of a workload, from its planned step and its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<'a> {
    /// Why it was restarted or left alone.
    pub reason: Reason,
    /// For people.
    pub message: &'a str,
    /// True if reason and message are from the result, false if they are from the plan.
    pub has_verdicts: bool,
    /// True if the workload is known to run with old data.
    pub behind: bool,
    /// True if it is unknown for some Secret whether the pods started with the current data.
    pub is_assumed: bool,
}

/// Returns the final state of a workload from its step and its result, if any.
pub fn ended<'a>(step: &'a Step, result: Option<&'a RestartResult>) -> Ended<'a> {
    let decision = &step.decision;
    let planned = Ended {
        reason: decision.reason,
        message: &decision.message,
        has_verdicts: false,
        behind: decision.behind,
        is_assumed: !decision.assumed.is_empty(),
    };
    let Some(result) = result else {
        return planned;
    };
    let noted = matches!(
        result.outcome,
        RestartOutcome::Adopted | RestartOutcome::Renewed
    );
    // A changed stamp is not the reason why a workload is not restarted.
    let has_verdicts =
        !noted || decision.action != Action::Leave || decision.reason == Reason::Current;
    let (reason, message) = if has_verdicts {
        (result.reason, &*result.message)
    } else {
        (planned.reason, planned.message)
    };
    Ended {
        reason,
        message,
        has_verdicts,
        behind: result.behind,
        is_assumed: planned.is_assumed && result.outcome != RestartOutcome::Restarted,
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestartResults {
    /// By workload. A workload without an entry was left alone as planned.
    pub of: BTreeMap<WorkloadId, RestartResult>,
    /// Secrets that were read again after the sync.
    pub secrets: BTreeMap<Id, SecretSeen>,
    /// Lists and objects that could not be read after the syncs.
    pub gaps: Vec<Gap>,
    pub stopped: Option<Reason>,
    pub warnings: Vec<String>,
}

/// A Secret that was read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// Its keys that workloads use and whose names are shown.
    pub keys: BTreeSet<String>,
    /// The number of the others.
    pub hidden_keys: usize,
    /// Why it is not verified.
    pub doubt: Option<String>,
    /// Workloads that use it.
    pub used_by: Vec<WorkloadId>,
}

impl RestartResults {
    /// Merges in the results of the adoption.
    pub fn add_earlier(&mut self, earlier: Self) {
        self.warnings.extend(earlier.warnings);
        self.stopped = self.stopped.or(earlier.stopped);
        for (id, mut before) in earlier.of {
            if let Some(later) = self.of.get(&id) {
                let counts = if before.outcome == RestartOutcome::Failed {
                    // A later result only follows from the failure.
                    matches!(
                        later.outcome,
                        RestartOutcome::Left | RestartOutcome::NotReached
                    )
                } else {
                    // "Adopted" is more specific than "current".
                    later.reason == Reason::Current
                };
                if !counts {
                    continue;
                }
                before.behind = later.behind;
                before.old_pods.clone_from(&later.old_pods);
            }
            self.of.insert(id, before);
        }
    }

    /// The stamps that could not be written, each with the reason.
    pub fn missing_stamps(&self) -> BTreeMap<WorkloadId, String> {
        let failed = self.of.iter();
        failed
            .filter(|(_, result)| result.outcome == RestartOutcome::Failed)
            .map(|(id, result)| (id.clone(), result.message.clone()))
            .collect()
    }

    /// True if any workload was written to.
    pub fn wrote(&self) -> bool {
        self.of.values().any(|result| {
            matches!(
                result.outcome,
                RestartOutcome::Restarted
                    | RestartOutcome::Unproven
                    | RestartOutcome::Adopted
                    | RestartOutcome::Renewed
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Kind;

    fn results(outcome: RestartOutcome, reason: Reason, behind: bool) -> RestartResults {
        let id = WorkloadId {
            namespace: "shop".to_owned(),
            kind: Kind::Deployment,
            name: "web".to_owned(),
        };
        let result = RestartResult {
            behind,
            ..RestartResult::without(outcome, reason, "")
        };
        RestartResults {
            of: BTreeMap::from([(id, result)]),
            ..RestartResults::default()
        }
    }

    #[test]
    fn a_failed_stamp_stays_in_the_results() {
        use RestartOutcome::{Adopted, Failed, Left, NotReached, Restarted};
        for (before, later, told) in [
            (
                (Failed, Reason::Refused),
                (Left, Reason::NotPlanned),
                Reason::Refused,
            ),
            (
                (Failed, Reason::Refused),
                (NotReached, Reason::RuleStopped),
                Reason::Refused,
            ),
            (
                (Failed, Reason::Refused),
                (Restarted, Reason::DataChanged),
                Reason::DataChanged,
            ),
            (
                (Adopted, Reason::Adopted),
                (Left, Reason::Current),
                Reason::Adopted,
            ),
            (
                (Adopted, Reason::Adopted),
                (Left, Reason::Paused),
                Reason::Paused,
            ),
        ] {
            let mut all = results(later.0, later.1, true);
            all.add_earlier(results(before.0, before.1, false));
            let result = all.of.into_values().next().unwrap();
            assert_eq!(result.reason, told, "{before:?} {later:?}");
            assert!(result.behind, "the latest state counts");
        }
    }
}
