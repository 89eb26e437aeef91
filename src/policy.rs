//! The validated policy: selection, rates and limits. Invalid values cannot be represented.
//!
//! [`crate::settings`] is the only code that creates a [`Policy`], so no other code validates it again. The serialised form is
//! that of a policy file. Layers are merged in that form, and the policy's digest is computed from it.

mod advise;
pub mod ceilings;
mod dollars;
mod drift;
pub mod events;
pub(crate) mod form;
mod key_from;
pub mod notify;
pub mod publish;
mod report;
mod restart;
mod text_from;
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

pub use self::advise::{Advise, Prices, Quotas};
pub use self::ceilings::{Capability, Ceilings};
pub use self::dollars::{Dollars, InvalidDollars};
pub use self::drift::{Drift, OnStillStale, OnUnverifiable};
pub use self::events::{Events, EventsWhen, RequireOwner};
pub use self::key_from::KeyFrom;
pub use self::notify::Notify;
pub use self::publish::Publish;
pub use self::report::{FileFormat, Report, ReportFile};
pub use self::restart::{
    DuringDenyWindow, Match, OnBrokenData, Require, RestartRule, RestartWhen, WorkloadPattern,
};
use eso_model::{ProviderKind, ProviderName, StoreKey, StoreKind};
use pace::rate::Rate;

use self::{
    form::{CountOr, Entries, Written},
    written::in_order,
};
use crate::{inventory::State, pattern::Pattern, selector::Selector};

// The doc comments of sections and fields are the descriptions in the JSON Schema. Write them for authors of policies.

/// What eso-sync syncs, how fast, and how much at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "eso-sync policy", transform = in_order::<Self>)]
pub struct Policy {
    /// The ExternalSecrets. An entry selects those that match all of its fields. Each entry adds to the selection. `{}` selects
    /// all.
    #[schemars(length(min = 1), extend("x-rule" = "selects"))]
    pub select: Vec<Selection>,
    /// ExternalSecrets that match any entry are left alone, and so are those with the annotation `eso-sync/ignore: "true"`.
    #[serde(default)]
    #[schemars(extend("x-rule" = "excludes"))]
    pub exclude: Vec<Selection>,
    #[serde(default)]
    pub sync: Sync,
    /// Which workloads are restarted when they run on old data, and how. The first entry that covers a workload decides about it.
    #[serde(default)]
    #[schemars(extend("x-rule" = "covers-workloads"))]
    pub restart: Vec<RestartRule>,
    /// Rates. For stores and providers they count provider calls, for Kubernetes requests.
    #[serde(default)]
    pub pace: Pace,
    #[serde(default)]
    pub safety: Safety,
    #[serde(default)]
    pub drift: Drift,
    #[serde(default, skip_serializing_if = "Advise::is_default")]
    pub advise: Advise,
    /// Secrets from repositories that `eso-sync publish` writes to providers. The other commands do not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
    /// Rotation events from queues, for `eso-sync events`. The other commands do not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Messages about runs to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    #[serde(default, skip_serializing_if = "Report::is_default")]
    pub report: Report,
    /// How runs exclude each other.
    #[serde(default)]
    pub lock: Lock,
    /// After this time a run starts nothing new, and reports what it did not reach.
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
    /// Selector on the Namespace's labels, in the syntax of `kubectl get namespaces -l`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Selector on the ExternalSecret's labels, in the syntax of `kubectl get externalsecrets -l`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
    /// Globs on the name of the ExternalSecret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Pattern>,
    /// Any store that the ExternalSecret reads from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-rule" = "names-a-store"))]
    pub stores: Vec<StorePattern>,
    /// Provider types, as in the spec of a store: `aws`, `azurekv` (or `azure`), `gcpsm` (or `gcp`), `vault`, …, or
    /// `parameterStore` for that service of `aws`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Written<form::Provider>>")]
    pub providers: Vec<ProviderName>,
    /// The state in the ExternalSecret's status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// Age of the last sync from which an ExternalSecret is overdue. Without it, twice the ExternalSecret's refreshInterval.
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
    /// The kind of the store. Without it, both kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<StoreKind>,
    /// Glob on the namespace, only for a SecretStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Pattern>,
    /// Glob on the name of the store.
    pub name: Pattern,
}

/// The condition for syncing a selected ExternalSecret.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
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

/// What is synced, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Sync {
    /// Which of the selected ExternalSecrets to sync. `always`: all. `drifted`: those whose Secret does not have the provider's
    /// data. `failed`: those that failed or never synced. `overdue`: these and those that are overdue. `never`: none. If
    /// `drift.enabled` is false, the default is `always`.
    pub when: When,
    /// The annotation that makes the operator sync. The operator reacts to any key.
    #[schemars(with = "Written<form::Annotation>")]
    pub annotation: String,
    /// True to also sync ExternalSecrets with generators, which creates new credentials.
    pub generators: bool,
    /// Timeout for one sync, counted from the last proof that the run received, so that time in the operator's queue does not
    /// count.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::Duration>")]
    pub timeout: Duration,
    /// How often a failed sync is retried.
    pub retries: u32,
    /// What to do when a Secret is still stale after a proven sync. `report`: only report it. `refetch`: remove the operator's
    /// hash from the Secret, so that the operator writes it again. `recreate`: if `refetch` does not help, delete the Secret, if
    /// the ExternalSecret owns it or may create it.
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
    /// The maximum number of ExternalSecrets that are annotated and not yet proven. `auto`: while the operator is slower than the
    /// providers' rates, as many as it proves in two minutes, else as the rates allow. With a number the rates always apply.
    #[schemars(with = "CountOr<1, form::Auto>")]
    pub in_flight: InFlight,
    /// For each account of a provider that is not listed in `providers`.
    #[schemars(with = "Written<form::Rate>")]
    pub default: Rate,
    /// By provider type, for each account of the provider. `aws` is Secrets Manager; `parameterStore` has a rate of its own,
    /// because its quota is much lower.
    #[schemars(with = "Entries<form::Provider, Written<form::Rate>>")]
    pub providers: BTreeMap<ProviderName, Rate>,
    /// Additional rates by store: `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`.
    #[serde(with = "written::store_keys")]
    #[schemars(with = "Entries<form::Store, Written<form::Rate>>")]
    pub stores: BTreeMap<StoreKey, Rate>,
    /// Writes of `publish`, by provider type, for each account. A rate above that of eso-sync for the provider's writes has no effect:
    /// their quotas are lower than those of reads.
    #[schemars(with = "Entries<form::Provider, Written<form::Rate>>")]
    pub writes: BTreeMap<ProviderName, Rate>,
    /// Requests to the Kubernetes API.
    #[schemars(with = "Written<form::Rate>")]
    pub kubernetes: Rate,
    /// Restarts of workloads.
    #[schemars(with = "Written<form::Rate>")]
    pub restarts: Rate,
}

/// The number or share of failures that stops a namespace.
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

/// The error for an invalid [`FailureLimit`].
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
            // Rounded, because 0.07 × 100 is 7.000000000000001.
            Self::Share(share) => write!(f, "{}%", (share * 1e8).round() / 1e6),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// Limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Safety {
    /// If more ExternalSecrets would be synced, the namespaces that alone take more than half of the limit are left alone. If the
    /// rest is still too much, the whole run is refused.
    #[schemars(range(min = 1))]
    pub max_syncs: u32,
    /// The same for workloads that would be restarted when their data changes.
    pub max_restarts: u32,
    /// More failures in a namespace stop that namespace: a number, or a percentage of the attempts, once there were ten. The run
    /// stops when half of the namespaces, and at least three, are stopped.
    #[schemars(with = "CountOr<0, form::Percentage>")]
    pub stop_after_failures: FailureLimit,
    /// True if an entry of `select`, or one of its namespaces, that matches no ExternalSecret makes the exit code 3. It is always a
    /// warning.
    pub require_match: bool,
    /// The names of a Secret's keys that are shown. `safe`: all but those that may hold a value. `literal`: only those that stand in
    /// an ExternalSecret's spec or in a workload. `none`: none. `--key-names` can show fewer, but not more.
    pub key_names: KeyNames,
}

/// The names of a Secret's keys that output may show. Each value shows fewer than the one before.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum KeyNames {
    /// All but those that may hold a value
    #[default]
    Safe,
    /// Only those that stand in an ExternalSecret's spec or in a workload
    Literal,
    /// No names
    None,
}

/// The section `lock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Lock {
    /// True if a Lease allows only one run per cluster. Set false only if something else ensures this.
    pub enabled: bool,
}

impl Pace {
    /// Returns the rate of a provider, or the default. The name of a service comes before the name that it shares.
    pub fn of(&self, provider: &ProviderKind) -> Rate {
        let named = ProviderName::value_of(&self.providers, provider);
        named.copied().unwrap_or(self.default)
    }

    /// Returns the rate of a provider's writes: the lowest of its documented one, that of all its calls and that of `writes`.
    pub fn of_writes(&self, provider: &ProviderKind) -> Rate {
        let calls = self.of(provider).as_per_second();
        let documented = provider.facts().publishing.map(|facts| facts.rate);
        let asked = ProviderName::value_of(&self.writes, provider).map(|rate| rate.as_per_second());
        let lower = documented.into_iter().chain(asked);
        Rate::clamped(lower.fold(calls, f64::min))
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
            advise: Advise::default(),
            publish: None,
            events: None,
            notify: None,
            report: Report::default(),
            lock: Lock::default(),
            deadline: ten_minutes(),
        }
    }
}

impl Policy {
    /// The policy of the run that follows a publication: it syncs what is behind.
    #[must_use]
    pub fn after_publishing(&self) -> Self {
        let mut policy = self.clone();
        policy.sync.when = When::Drifted;
        policy
    }

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

    /// True if summaries of runs are kept.
    pub const fn keeps_history(&self) -> bool {
        self.report.history > 0
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
            writes: BTreeMap::new(),
            kubernetes: rate(200.0),
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
            require_match: false,
            key_names: KeyNames::Safe,
        }
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_have_the_lowest_of_all_rates_that_apply() {
        let rate = |text: &str| text.parse::<Rate>().expect("a rate");
        let aws = ProviderKind::SecretsManager;
        let name = ProviderName::from(&aws);
        let mut pace = Pace::default();
        assert_eq!(pace.of_writes(&aws), rate("12.5/s"));
        pace.writes.insert(name.clone(), rate("5/s"));
        assert_eq!(pace.of_writes(&aws), rate("5/s"));
        // More than the quota of writes has no effect.
        pace.writes.insert(name.clone(), rate("1000/s"));
        assert_eq!(pace.of_writes(&aws), rate("12.5/s"));
        pace.providers.insert(name, rate("2/s"));
        assert_eq!(pace.of_writes(&aws), rate("2/s"));
    }

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
            assert_eq!(serde_json::to_value(when).unwrap(), when.into_str());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _limit: Result<FailureLimit, _> = text.parse();
        }
    }
}
