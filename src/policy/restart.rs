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
    /// On the labels of the workload, as `kubectl get deployments -l` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
    /// Globs on the name of the workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Pattern>,
    /// `references`: only workloads that use one of the selected Secrets, in whatever form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<Match>,
    /// Kinds of workload. A ReplicaSet has to be one that nothing controls, and a Pod one of a controller that is none of the
    /// other kinds, nor a Job: their pods can only be evicted.
    pub kinds: Vec<Kind>,
    /// Globs on the name of the Secret: with `match`, which of the selected ones count; without it, which ones of the workload's
    /// namespace concern it, used or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Pattern>,
    /// Workloads that an entry covers are left alone, as are those with the annotation `eso-sync/ignore: "true"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-rule" = "excludes-workloads"))]
    pub exclude: Vec<WorkloadPattern>,
    /// Restart those whose pods started with other data; also those of which nobody knows; or all of them, each run.
    pub when: RestartWhen,
    /// What the data has to be first: what the provider holds, by the drift check; or what the operator wrote, by its proof.
    pub require: Require,
    /// Where keys vanished or values became empty: leave the workload alone, or restart it all the same.
    pub on_broken_data: OnBrokenData,
    /// By a rollout, or by evicting pods, which a PodDisruptionBudget can forbid.
    pub strategy: Strategy,
    /// How many at once, after a first one alone.
    pub max_concurrent: NonZeroU32,
    /// How long one may take to be healthy again, with `evict` for all of its pods, one after another; longer, and no other of
    /// this entry is started.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::Duration>")]
    pub wait: Duration,
    /// How long a workload is left alone after a restart.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::DurationOrZero>")]
    pub cooldown: Duration,
    /// More restarts of one workload within 24 hours look like a loop, and stop.
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
    /// On the labels of the workload, as `kubectl get deployments -l` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
    /// Globs on the name of the workload.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Pattern>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
}

/// How a rule matches workloads, in addition to labels and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// By the Secrets that the workload uses.
    References,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWhen {
    /// The data is not the data that the pods started with.
    Changed,
    /// Also if it is unknown what data the pods started with.
    Unproven,
    /// In every run.
    Always,
}

/// The requirement on the data before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// The drift check found the provider's data.
    InSync,
    /// The operator has proven that it wrote the data.
    Proven,
}

/// What to do if keys were removed or values are now empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnBrokenData {
    /// Do not restart the workload.
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
            strategy: Strategy::Rollout,
            max_concurrent: NonZeroU32::MIN,
            wait: Duration::from_mins(5),
            cooldown: Duration::from_mins(10),
            max_per_day: NonZeroU32::MIN.saturating_add(3),
        }
    }
}

/// Implements `as_str` for the words of a policy.
macro_rules! words {
    ($($type:ident: $($variant:ident $word:literal),*;)*) => {$(
        impl $type {
            /// The word in policies.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }
    )*};
}

words! {
    Match: References "references";
    RestartWhen: Changed "changed", Unproven "unproven", Always "always";
    Require: InSync "in-sync", Proven "proven";
    OnBrokenData: Leave "leave", Restart "restart";
}
