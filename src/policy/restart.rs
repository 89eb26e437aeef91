//! The section `restart`: rules for restarting workloads.

use std::{num::NonZeroU32, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    form::{self, Written},
    written::{self, in_order},
};
use crate::{
    pattern::Pattern,
    selector::Selector,
    workload::{Kind, Strategy},
};

/// One rule of `restart`. The first rule that matches a workload applies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct RestartRule {
    /// Globs on the name of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Pattern>,
    /// Selector on the workload's labels, in the syntax of `kubectl get deployments -l`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
    /// Globs on the name of the workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Pattern>,
    /// `references`: only workloads whose containers use one of the selected Secrets, in any form. A Secret that only pulls
    /// images does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<Match>,
    /// Kinds of workloads. ReplicaSet: only those without a controller. Pod: only those of a controller that is not one of the
    /// other kinds and not a Job. Both need `strategy: evict`.
    pub kinds: Vec<Kind>,
    /// Globs on the name of the Secret. With `match`: which of the selected Secrets count. Without it: which Secrets of the
    /// workload's namespace concern it, even if it does not use them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Pattern>,
    /// Workloads that match any entry are left alone, and so are those with the annotation `eso-sync/ignore: "true"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-rule" = "excludes-workloads"))]
    pub exclude: Vec<WorkloadPattern>,
    /// Which workloads to restart. `changed`: those whose pods started with other data. `unproven`: also those for which this
    /// is unknown. `always`: all, in each run.
    pub when: RestartWhen,
    /// What the data must be before a restart. `in-sync`: what the provider holds, by the drift check. `proven`: what the
    /// operator wrote, by its proof.
    pub require: Require,
    /// What to do if keys vanished or values became empty. `leave`: do not restart the workload. `restart`: restart it anyway.
    pub on_broken_data: OnBrokenData,
    /// What to do while the `syncWindows` of an ExternalSecret that writes one of its changed Secrets deny periodic syncs.
    /// `leave`: restart it in a later run. `restart`: restart it anyway.
    pub during_deny_window: DuringDenyWindow,
    /// How to restart. `rollout`: like `kubectl rollout restart`. `evict`: evict the pods, which PodDisruptionBudgets can block.
    pub strategy: Strategy,
    /// How many workloads are restarted at the same time, after a first single one.
    pub max_concurrent: NonZeroU32,
    /// How long a workload may take to become healthy again; with `evict`, for all of its pods. If it takes longer, no other
    /// workload of this entry is restarted in its namespace, or in any if it was the first one of the run.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::Duration>")]
    pub wait: Duration,
    /// Minimum time between two restarts of a workload.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::DurationOrZero>")]
    pub cooldown: Duration,
    /// More restarts of one workload within 24 hours count as a loop, and the workload is left alone.
    pub max_per_day: NonZeroU32,
}

/// A pattern for workloads that a rule excludes. All fields must match; an empty field matches everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct WorkloadPattern {
    /// Globs on the name of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Pattern>,
    /// Selector on the workload's labels, in the syntax of `kubectl get deployments -l`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
    /// Globs on the name of the workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Pattern>,
    /// Kinds of workloads. Without it, all kinds of the rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
}

/// How a rule matches workloads, in addition to labels and names.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Match {
    /// By the Secrets that the workload uses.
    References,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum RestartWhen {
    /// The data is not the data that the pods started with.
    Changed,
    /// Also if it is unknown what data the pods started with.
    Unproven,
    /// In every run.
    Always,
}

/// The requirement on the data before a restart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Require {
    /// The drift check found the provider's data.
    InSync,
    /// The operator has proven that it wrote the data.
    Proven,
}

/// What to do if keys were removed or values are now empty.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum OnBrokenData {
    /// Do not restart the workload.
    Leave,
    /// Restart it anyway.
    Restart,
}

/// What to do while `syncWindows` deny periodic syncs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum DuringDenyWindow {
    /// Do not restart the workload now.
    Leave,
    /// Restart it anyway.
    Restart,
}

impl Default for RestartRule {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            label_selector: None,
            names: Vec::new(),
            r#match: None,
            kinds: vec![Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet],
            secrets: Vec::new(),
            exclude: Vec::new(),
            when: RestartWhen::Changed,
            require: Require::InSync,
            on_broken_data: OnBrokenData::Leave,
            during_deny_window: DuringDenyWindow::Leave,
            strategy: Strategy::Rollout,
            max_concurrent: NonZeroU32::MIN,
            wait: Duration::from_mins(5),
            cooldown: Duration::from_mins(10),
            max_per_day: NonZeroU32::MIN.saturating_add(3),
        }
    }
}
