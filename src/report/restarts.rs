//! The part of the document about workloads.

mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

pub(super) use self::text::render;
use eso_model::expected::Difference;

use super::{Document, DocumentGap, is_zero, table::span};
use crate::{
    foreign::Foreign,
    reason::Reason,
    restart::{
        decide::{Action, Change},
        plan::{RestartPlan, Step},
        results::{RestartOutcome, RestartResult, RestartResults, ended},
    },
    workload::{self, shown},
};

/// One workload that a `restart` rule covers.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentRestart {
    /// The namespace of the workload.
    pub namespace: Foreign,
    /// The kind of the workload.
    pub kind: workload::Kind,
    /// The name of the workload.
    pub name: Foreign,
    /// The index of the `restart` rule that covers the workload, from 0.
    pub rule: usize,
    /// The planned action.
    pub action: RestartAction,
    /// The change of its stamp, in addition to the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp: Option<StampAction>,
    /// The outcome; absent in a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RestartOutcome>,
    /// The reason for the action or the outcome.
    pub reason: Reason,
    /// Details for people.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    #[schemars(default)]
    pub message: Foreign,
    /// The next step for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<&'static str>,
    /// The owner of the workload, by its `ownerReferences`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<DocumentOwner>,
    /// True if it is known to run with old data.
    pub behind: bool,
    /// The Secrets that changed or may change, with the keys that differ or may differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub secrets: Vec<DocumentSecret>,
    /// Secrets for which it is unknown if the pods started with the current data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub assumed: Vec<Foreign>,
    /// The Secrets of `secrets` and `assumed`, as planned.
    #[serde(skip)]
    pub linked: Vec<Foreign>,
    /// The wave of the rule in which it is restarted, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    /// The time of the restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub restarted_at: Option<Timestamp>,
    /// The time from the restart until the workload is healthy, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<f64>,
    /// The number of pods before the restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods_before: Option<usize>,
    /// Pods that still run with old data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub old_pods: Vec<Foreign>,
    /// Pods that started after the restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub new_pods: Vec<Foreign>,
    /// The error if the pods could not be read after the restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods_unread: Option<Foreign>,
}

/// The owner of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentOwner {
    /// The kind of the owner.
    pub kind: Foreign,
    /// The name of the owner.
    pub name: Foreign,
    /// What to do instead of a rollout, because the owner may take it back. Absent with `strategy: evict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<&'static str>,
}

/// Shown before the owner of a workload takes the first restart back.
const MAY_BE_TAKEN_BACK: &str = "it may take a restart back. `strategy: evict` restarts without a change that it could take back";

/// A Secret that a workload uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentSecret {
    /// The name of the Secret.
    pub name: Foreign,
    /// The keys that differ or may differ.
    pub keys: Vec<DocumentSecretKey>,
    /// The number of other keys that differ or may differ. Their names may hold values, so they are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub hidden_keys: usize,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentSecretKey {
    /// The name of the key.
    pub name: Foreign,
    /// The difference to the data that the pods started with; absent if the key may differ after the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// The planned action for a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum RestartAction {
    /// It is restarted.
    Restart,
    /// It is restarted if the run changes its data.
    RestartIfChanged,
    /// It is not restarted.
    Leave,
}

/// The change of the stamp of a workload without a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StampAction {
    /// A new stamp is created.
    Adopt,
    /// The stamp is updated.
    Renew,
}

/// Counts of workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestartSummary {
    /// The number of workloads that a rule covers.
    pub covered: usize,
    /// The number of workloads to restart in any case.
    pub to_restart: usize,
    /// The number of workloads to restart if the run changes their data.
    pub if_changed: usize,
    /// The number of workloads that are known to run with old data.
    pub behind: usize,
    /// The number of workloads for which it is unknown if the pods started with the current data.
    pub assumed: usize,
    /// The number of workloads by outcome; only in a report.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub outcomes: BTreeMap<RestartOutcome, usize>,
}

impl Document {
    /// Adds the planned restarts, and their results if there are any.
    pub(super) fn with_restarts(
        mut self,
        plan: &RestartPlan,
        results: Option<&RestartResults>,
    ) -> Self {
        let restarts = plan.steps.iter().map(|step| {
            let mut restart = DocumentRestart::planned(step);
            if let Some(results) = results {
                restart.done(step, results.of.get(&step.id));
            }
            restart
        });
        self.restarts = restarts.collect();
        self.gaps.extend(plan.gaps.iter().map(Into::into));
        self.warnings.extend(plan.warnings.iter().map(Into::into));
        if let Some(results) = results {
            for gap in results.gaps.iter().map(DocumentGap::from) {
                if !self.gaps.contains(&gap) {
                    self.gaps.push(gap);
                }
            }
            self.warnings
                .extend(results.warnings.iter().map(Into::into));
        }
        self.count_restarts();
        self
    }

    fn count_restarts(&mut self) {
        let count = |of: &dyn Fn(&DocumentRestart) -> bool| {
            self.restarts.iter().filter(|restart| of(restart)).count()
        };
        let mut summary = RestartSummary {
            covered: self.restarts.len(),
            to_restart: count(&|restart| restart.action == RestartAction::Restart),
            if_changed: count(&|restart| restart.action == RestartAction::RestartIfChanged),
            behind: count(&|restart| restart.behind),
            assumed: count(&|restart| !restart.assumed.is_empty()),
            outcomes: BTreeMap::new(),
        };
        for outcome in self.restarts.iter().filter_map(|restart| restart.outcome) {
            *summary.outcomes.entry(outcome).or_default() += 1;
        }
        self.summary.restarts = (summary.covered > 0).then_some(summary);
    }
}

impl DocumentRestart {
    fn planned(step: &Step) -> Self {
        let decision = &step.decision;
        let action = match decision.action {
            Action::Restart => RestartAction::Restart,
            Action::IfChanged => RestartAction::RestartIfChanged,
            Action::Leave => RestartAction::Leave,
        };
        let stamp = decision.write.as_ref().map(|write| {
            if write.adopts() {
                StampAction::Adopt
            } else {
                StampAction::Renew
            }
        });
        Self {
            namespace: (&step.id.namespace).into(),
            kind: step.id.kind,
            name: (&step.id.name).into(),
            rule: step.rule,
            action,
            stamp,
            outcome: None,
            reason: decision.reason,
            message: (&decision.message).into(),
            next_step: (action == RestartAction::Leave)
                .then(|| decision.reason.next_step())
                .flatten(),
            owner: step.owner.as_ref().map(|owner| DocumentOwner {
                kind: shown(&owner.kind).into(),
                name: shown(&owner.name).into(),
                next_step: step.may_be_taken_back.then_some(MAY_BE_TAKEN_BACK),
            }),
            behind: decision.behind,
            secrets: decision.changes.iter().map(DocumentSecret::from).collect(),
            assumed: foreign(&decision.assumed),
            linked: {
                let changed = decision.changes.iter().map(|change| &change.secret);
                foreign(changed.chain(&decision.assumed))
            },
            wave: step.wave,
            restarted_at: None,
            took_seconds: None,
            pods_before: None,
            old_pods: foreign(&step.old_pods),
            new_pods: Vec::new(),
            pods_unread: None,
        }
    }

    fn done(&mut self, step: &Step, result: Option<&RestartResult>) {
        let Some(result) = result else {
            let left = match self.action {
                RestartAction::Leave => RestartOutcome::Left,
                RestartAction::Restart | RestartAction::RestartIfChanged => {
                    RestartOutcome::NotReached
                }
            };
            self.outcome = Some(left);
            return;
        };
        let ended = ended(step, Some(result));
        self.outcome = Some(result.outcome);
        self.reason = ended.reason;
        self.message = ended.message.into();
        if ended.has_verdicts {
            self.next_step = ended.reason.next_step();
        }
        if result.outcome == RestartOutcome::Restarted {
            self.assumed.clear();
            self.next_step = None;
        }
        self.behind = result.behind;
        self.restarted_at = result.at;
        if result.at.is_some() {
            self.took_seconds = Some((result.took.as_secs_f64() * 1000.0).round() / 1000.0);
            self.pods_before = Some(result.pods_before);
        }
        self.old_pods = foreign(&result.old_pods);
        self.new_pods = foreign(&result.new_pods);
        self.pods_unread = result.pods_unread.as_ref().map(Into::into);
    }
}

impl From<&Change> for DocumentSecret {
    fn from(change: &Change) -> Self {
        let keys = change.keys.iter().filter_map(|(name, difference)| {
            Some(DocumentSecretKey {
                name: name.shown()?.into(),
                difference: *difference,
            })
        });
        let keys: Vec<DocumentSecretKey> = keys.collect();
        Self {
            name: (&change.secret).into(),
            hidden_keys: change.keys.len() - keys.len(),
            keys,
        }
    }
}

fn foreign<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<Foreign> {
    texts.into_iter().map(Into::into).collect()
}

/// Formats the duration of a restart for a progress line.
pub fn took(result: &RestartResult) -> String {
    span(jiff::SignedDuration::try_from(result.took).unwrap_or_default())
}
