//! The validated policy: selection, rates and limits. Invalid values cannot be represented.
//!
//! [`crate::settings`] is the only code that creates a [`Policy`], so no other code validates it again. The serialised form is
//! that of a policy file. Layers are merged in that form, and the policy's digest is computed from it.

mod drift;
pub(crate) mod form;
mod restart;
pub(crate) mod written;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
    str::FromStr,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::drift::{Drift, OnStillStale, OnUnverifiable};
pub use self::restart::{Match, OnBrokenData, Require, RestartRule, RestartWhen, WorkloadPattern};
use eso_model::{ProviderKind, ProviderName, StoreKey, StoreKind};
use pace::rate::Rate;

use self::{
    form::{CountOr, Entries, Written},
    written::in_order,
};
use crate::{inventory::State, pattern::Pattern, selector::Selector};

// The doc comments of sections and fields are the descriptions in the JSON Schema: write them for who writes policies.

/// What eso-sync syncs, how fast, and how much at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "eso-sync policy", transform = in_order::<Self>)]
pub struct Policy {
    /// Which ExternalSecrets: any entry that covers one selects it, and each entry is an AND of its fields. `{}` covers all of
    /// them.
    #[schemars(length(min = 1), extend("x-rule" = "selects"))]
    pub select: Vec<Selection>,
    /// Any entry that covers an ExternalSecret takes it out again, as does the annotation `eso-sync/ignore: "true"` on the
    /// ExternalSecret.
    #[serde(default)]
    #[schemars(extend("x-rule" = "excludes"))]
    pub exclude: Vec<Selection>,
    #[serde(default)]
    pub sync: Sync,
    /// Which workloads are restarted once they run on old data, and how; the first entry that covers one decides about it.
    #[serde(default)]
    #[schemars(extend("x-rule" = "covers-workloads"))]
    pub restart: Vec<RestartRule>,
    /// Rates: of stores and providers in provider calls, of the API server in requests.
    #[serde(default)]
    pub pace: Pace,
    #[serde(default)]
    pub safety: Safety,
    #[serde(default)]
    pub drift: Drift,
    /// How runs keep out of each other's way.
    #[serde(default)]
    pub lock: Lock,
    /// After this long a run starts nothing new and reports what it left.
    #[serde(with = "written::duration", default = "ten_minutes")]
    #[schemars(with = "Written<form::Duration>")]
    pub deadline: Duration,
}

const fn ten_minutes() -> Duration {
    Duration::from_mins(10)
}

/// One entry of `select` or `exclude`. All fields must match; an empty field matches everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Selection {
    /// Globs on the name of the namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Pattern>,
    /// On the labels of the Namespace, as `kubectl get namespaces -l` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// On the labels of the ExternalSecret, as `kubectl get externalsecrets -l` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
    /// Globs on the name of the ExternalSecret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Pattern>,
    /// Matches if the ExternalSecret uses one of these stores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-rule" = "names-a-store"))]
    pub stores: Vec<StorePattern>,
    /// Types of provider, as the spec of a store names them: `aws`, `azurekv` (or `azure`), `gcpsm` (or `gcp`), `vault`, …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Written<form::Provider>>")]
    pub providers: Vec<ProviderName>,
    /// The states by the ExternalSecret's status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// From which age of the last sync on an ExternalSecret is overdue; without it, twice its own refreshInterval.
    #[serde(
        with = "written::optional_duration",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<Written<form::Duration>>")]
    pub overdue_after: Option<Duration>,
}

/// A pattern for stores in a selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct StorePattern {
    /// Without it, both kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StoreKind>,
    /// For the namespace of a SecretStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Pattern>,
    /// Glob on the name of the store.
    pub name: Pattern,
}

/// The condition for syncing a selected ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// All selected ones.
    Always,
    /// Those whose Secret does not have the provider's data.
    Drifted,
    /// Those that failed or never synced.
    Failed,
    /// Those that are overdue, failed or never synced.
    Overdue,
    /// None.
    Never,
}

impl When {
    /// The word in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Drifted => "drifted",
            Self::Failed => "failed",
            Self::Overdue => "overdue",
            Self::Never => "never",
        }
    }
}

/// The section `sync`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Sync {
    /// Which of the selected ones: all; those whose Secret holds something else than the provider (the default where
    /// `drift.enabled`); those that failed or never synced; those, and the overdue ones; or none.
    pub when: When,
    /// The annotation that makes the operator sync; any key does.
    #[schemars(with = "Written<form::Annotation>")]
    pub annotation: String,
    /// Whether to sync ExternalSecrets with generators too, which makes new credentials.
    pub generators: bool,
    /// How long one sync may take, counted from the last proof that the run saw, so that waiting in the operator's queue does
    /// not count.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::Duration>")]
    pub timeout: Duration,
    /// How often a failed sync is tried again.
    pub retries: u32,
    /// What is done about a Secret that is still stale after a proven sync: tell it; take the operator's hash off it, so that the
    /// operator writes it anew; or, where that does not help, delete it too, if the ExternalSecret owns it or may create it.
    pub on_still_stale: OnStillStale,
}

/// The maximum number of annotated ExternalSecrets without a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "written::InFlightForm", into = "written::InFlightForm")]
pub enum InFlight {
    /// Adapts to the speed of the operator.
    Auto,
    Fixed(NonZeroU32),
}

/// The section `pace`. Rates of stores and providers count provider calls, the rate of the API server counts requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Pace {
    /// How many may be annotated and not yet proven; `auto` follows the rate at which the operator proves.
    #[schemars(with = "CountOr<1, form::Auto>")]
    pub in_flight: InFlight,
    /// For each account of a provider that has no rate of its own.
    #[schemars(with = "Written<form::Rate>")]
    pub default: Rate,
    /// By type of provider, for each account of it.
    #[schemars(with = "Entries<form::Provider, Written<form::Rate>>")]
    pub providers: BTreeMap<ProviderName, Rate>,
    /// By store, on top of the provider's rate: `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`.
    #[serde(with = "written::store_keys")]
    #[schemars(with = "Entries<form::Store, Written<form::Rate>>")]
    pub stores: BTreeMap<StoreKey, Rate>,
    /// Requests to the Kubernetes API.
    #[schemars(with = "Written<form::Rate>")]
    pub kubernetes: Rate,
    /// Restarts of workloads.
    #[schemars(with = "Written<form::Rate>")]
    pub restarts: Rate,
}

/// The limit for failures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    try_from = "written::FailureLimitForm",
    into = "written::FailureLimitForm"
)]
pub enum FailureLimit {
    /// A share of the attempted items, 0.0 to 1.0. Applies after the first ten.
    Share(f64),
    Count(u32),
}

/// The error for an invalid limit for failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither a number nor a percentage")]
pub struct InvalidFailureLimit;

impl InvalidFailureLimit {
    /// How to fix an invalid text.
    pub const HINT: &str = "write it like `10` or `20%`";
}

impl FromStr for FailureLimit {
    type Err = InvalidFailureLimit;

    /// Reads `20%` and `10`.
    fn from_str(text: &str) -> Result<Self, InvalidFailureLimit> {
        let (number, percent) = text
            .strip_suffix('%')
            .map_or((text, false), |number| (number, true));
        if number.contains(|c: char| c != '.' && !c.is_ascii_digit()) {
            return Err(InvalidFailureLimit);
        }
        if !percent {
            return number
                .parse()
                .map(Self::Count)
                .map_err(|_| InvalidFailureLimit);
        }
        match number.parse::<f64>() {
            Ok(percent) if percent <= 100.0 => Ok(Self::Share(percent / 100.0)),
            _ => Err(InvalidFailureLimit),
        }
    }
}

impl fmt::Display for FailureLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Rounded, since 0.07 × 100 is 7.000000000000001.
            Self::Share(share) => write!(f, "{}%", (share * 1e8).round() / 1e6),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// The section `safety`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Safety {
    /// More to sync than this, and the run is refused as a whole.
    #[schemars(range(min = 1))]
    pub max_syncs: u32,
    /// More workloads than this that would be restarted if their data changes, and the run is refused as a whole.
    pub max_restarts: u32,
    /// More failures than this stop the run: a number, or a percentage of those attempted once ten were.
    #[schemars(with = "CountOr<0, form::Percentage>")]
    pub stop_after_failures: FailureLimit,
}

/// The section `lock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Lock {
    /// Whether runs in one cluster exclude each other by a Lease; off only where something else keeps them apart.
    pub enabled: bool,
}

impl Pace {
    /// The rate of a provider: its own, or the default.
    pub fn of(&self, provider: &ProviderKind) -> Rate {
        let named = self.providers.get(&ProviderName::from(provider));
        named.copied().unwrap_or(self.default)
    }
}

impl Policy {
    /// Returns a policy with this selection and all defaults.
    pub fn selecting(select: Vec<Selection>) -> Self {
        Self {
            select,
            exclude: Vec::new(),
            sync: Sync::default(),
            restart: Vec::new(),
            pace: Pace::default(),
            safety: Safety::default(),
            drift: Drift::default(),
            lock: Lock::default(),
            deadline: ten_minutes(),
        }
    }
}

impl Policy {
    /// Returns the selected namespaces, if the policy has only literal names. Then the job needs no rights in other namespaces,
    /// and Roles are sufficient.
    pub fn literal_namespaces(&self) -> Option<BTreeSet<String>> {
        let mut namespaces = BTreeSet::new();
        for selection in &self.select {
            if selection.namespaces.is_empty() || selection.namespace_selector.is_some() {
                return None;
            }
            for pattern in &selection.namespaces {
                namespaces.insert(pattern.literal()?.to_owned());
            }
        }
        Some(namespaces)
    }

    /// True if a selection uses the labels of namespaces.
    pub fn asks_for_namespace_labels(&self) -> bool {
        let mut selections = self.select.iter().chain(&self.exclude);
        selections.any(|selection| selection.namespace_selector.is_some())
    }
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            when: When::Drifted,
            annotation: "force-sync".to_owned(),
            generators: false,
            timeout: Duration::from_mins(1),
            retries: 2,
            on_still_stale: OnStillStale::Report,
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        let rate = Rate::clamped;
        let providers = ProviderKind::KNOWN
            .iter()
            .filter_map(|kind| Some((ProviderName::from(kind), rate(kind.facts().rate?))));
        Self {
            in_flight: InFlight::Auto,
            default: rate(20.0),
            providers: providers.collect(),
            stores: BTreeMap::new(),
            kubernetes: rate(50.0),
            restarts: rate(0.5),
        }
    }
}

impl Default for Safety {
    fn default() -> Self {
        Self {
            max_syncs: 500,
            max_restarts: 50,
            stop_after_failures: FailureLimit::Share(0.2),
        }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Upper limits for any policy. Set by flags only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// The permitted actions (`--allow`). None: all.
    pub allow: Option<Vec<Capability>>,
    /// The maximum of `safety.maxSyncs` (`--max-syncs`).
    pub max_syncs: Option<u32>,
    /// The maximum of `safety.maxRestarts` (`--max-restarts`).
    pub max_restarts: Option<u32>,
}

/// An action that `--allow` can permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Capability {
    /// Read the values in providers and Secrets; changes nothing
    Drift,
    /// Force-sync ExternalSecrets
    Sync,
    /// Restart workloads
    Restart,
    /// Remove the operator's hash from a Secret that is still stale
    Refetch,
    /// Delete a Secret that is still stale
    Recreate,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_failure_limit_is_a_number_or_a_percentage() {
        for text in ["0", "10", "0%", "7%", "12.5%", "100%"] {
            assert_eq!(text.parse::<FailureLimit>().unwrap().to_string(), text);
        }
        for text in [
            "", "%", "-1", "-1%", "101%", "0.2", "20 %", "NaN%", "1e1%", "+3",
        ] {
            assert_eq!(
                text.parse::<FailureLimit>(),
                Err(InvalidFailureLimit),
                "{text}"
            );
        }
    }

    #[test]
    fn as_str_matches_serde() {
        for when in [When::Always, When::Failed, When::Overdue, When::Never] {
            assert_eq!(serde_json::to_value(when).unwrap(), when.as_str());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _limit: Result<FailureLimit, _> = text.parse();
        }
    }
}
