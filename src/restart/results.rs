//! What became of the workloads: data that the report reads.

use std::{collections::BTreeMap, time::Duration};

use eso_model::Id;
use jiff::Timestamp;
use serde::Serialize;

use super::{decide::Action, plan::Step};
use crate::{inventory::Gap, reason::Reason, workload::WorkloadId};

/// What became of a workload.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RestartOutcome {
    /// It was restarted, and is healthy again.
    Restarted,
    /// It was restarted, and the run ended before it was seen to be healthy, or its pods could not be read.
    Unproven,
    /// What its pods started with was noted for the first time, or anew.
    Adopted,
    /// Its stamp was renewed.
    Renewed,
    /// It was left alone.
    Left,
    /// It could not be restarted, or was not healthy afterwards.
    Failed,
    /// The run ended before.
    NotReached,
}

impl RestartOutcome {
    /// In the order of a summary.
    pub const ALL: [Self; 7] = [
        Self::Restarted,
        Self::Unproven,
        Self::Adopted,
        Self::Renewed,
        Self::Left,
        Self::Failed,
        Self::NotReached,
    ];

    /// As it is written in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Unproven => "unproven",
            Self::Adopted => "adopted",
            Self::Renewed => "renewed",
            Self::Left => "left",
            Self::Failed => "failed",
            Self::NotReached => "not-reached",
        }
    }
}

/// What became of one workload, in full.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartResult {
    /// What became of it.
    pub outcome: RestartOutcome,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// Whether it runs on data that is not the present one, as far as is known.
    pub behind: bool,
    /// When it was restarted.
    pub at: Option<Timestamp>,
    /// The sequence number of the stamp that the restart wrote.
    pub seq: Option<u64>,
    /// From the restart to its being healthy again.
    pub took: Duration,
    /// How many pods there were before the restart.
    pub pods_before: usize,
    /// Those that still run on old data.
    pub old_pods: Vec<String>,
    /// Pods that came with the restart.
    pub new_pods: Vec<String>,
    /// Why its pods could not be read after that, if they could not.
    pub pods_unread: Option<String>,
}

impl RestartResult {
    /// Without a restart, of a workload that runs on the data as it is.
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

    /// Without a restart, of a workload that stands as this step says.
    pub fn as_it_stands(
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

    /// Left alone, as this step says.
    pub fn left(step: &Step) -> Self {
        let decision = &step.decision;
        Self::as_it_stands(
            step,
            RestartOutcome::Left,
            decision.reason,
            decision.message.clone(),
        )
    }
}

/// How a workload stands at the end: as it was planned, and as it was seen since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<'a> {
    /// Why it was restarted or left alone.
    pub reason: Reason,
    /// For people.
    pub message: &'a str,
    /// Whether what became of it says why, and not only the plan.
    pub is_told: bool,
    /// Whether it runs on data that is not the present one, as far as is known.
    pub behind: bool,
    /// Whether nobody knows of some Secret whether its pods started with that data.
    pub is_assumed: bool,
}

/// What a plan and what became of it say together of a workload.
pub fn ended<'a>(step: &'a Step, result: Option<&'a RestartResult>) -> Ended<'a> {
    let decision = &step.decision;
    let planned = Ended {
        reason: decision.reason,
        message: &decision.message,
        is_told: false,
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
    // A stamp that was written beside says nothing of why it is left alone.
    let is_told = !noted || decision.action != Action::Leave || decision.reason == Reason::Current;
    let (reason, message) = if is_told {
        (result.reason, &*result.message)
    } else {
        (planned.reason, planned.message)
    };
    Ended {
        reason,
        message,
        is_told,
        behind: result.behind,
        is_assumed: planned.is_assumed && result.outcome != RestartOutcome::Restarted,
    }
}

/// What became of all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestartResults {
    /// By workload; those without an entry were left alone as planned.
    pub of: BTreeMap<WorkloadId, RestartResult>,
    /// The Secrets that were looked at again after everything was synced.
    pub secrets: BTreeMap<Id, SecretSeen>,
    /// What could not be seen again.
    pub gaps: Vec<Gap>,
    /// Why the run ended early, if it did.
    pub stopped: Option<Reason>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// A Secret that was looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// Its keys that workloads use.
    pub keys: Vec<String>,
    /// Why it is not known to hold what it should.
    pub doubt: Option<String>,
    /// What uses it.
    pub used_by: Vec<WorkloadId>,
}

impl RestartResults {
    /// Adds what was done before, to workloads that this is about too.
    pub fn add_earlier(&mut self, earlier: Self) {
        self.warnings.extend(earlier.warnings);
        self.stopped = self.stopped.or(earlier.stopped);
        for (id, mut before) in earlier.of {
            if let Some(later) = self.of.get(&id) {
                let counts = if before.outcome == RestartOutcome::Failed {
                    // Whatever else is said of it follows from that.
                    matches!(
                        later.outcome,
                        RestartOutcome::Left | RestartOutcome::NotReached
                    )
                } else {
                    // What was noted first says more than that nothing was owed then.
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

    /// Whether anything was written to a workload.
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
    fn a_stamp_that_was_not_written_is_not_forgotten() {
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
            assert!(result.behind, "it is as it was seen last");
        }
    }
}
