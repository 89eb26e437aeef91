//! What an operator may say: which ExternalSecrets, how fast, how many at most. Parsed, and unable to be wrong.
//!
//! [`crate::settings`] reads files, environment and flags into these types; nothing else makes them, so no reader of a
//! [`Policy`] checks it again.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroU32,
    time::Duration,
};

use crate::{
    inventory::{State, StoreKey, StoreKind},
    pattern::Pattern,
    selector::Selector,
};

/// Everything that a policy file says, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Any entry that covers an ExternalSecret selects it.
    pub select: Vec<Selection>,
    /// Any entry that covers an ExternalSecret takes it out again.
    pub exclude: Vec<Selection>,
    /// What is synced, and how.
    pub sync: Sync,
    /// Rates.
    pub pace: Pace,
    /// Limits.
    pub safety: Safety,
    /// Whether runs exclude each other by a Lease.
    pub lock: Lock,
    /// After this long a run starts nothing new.
    pub deadline: Duration,
}

/// One entry of `select` or `exclude`: an AND of its fields, where an empty field covers everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Globs on the namespace's name.
    pub namespaces: Vec<Pattern>,
    /// On the labels of the Namespace object.
    pub namespace_selector: Option<Selector>,
    /// On the labels of the ExternalSecret.
    pub label_selector: Option<Selector>,
    /// Globs on the ExternalSecret's name.
    pub names: Vec<Pattern>,
    /// Any store that the ExternalSecret reads from.
    pub stores: Vec<StorePattern>,
    /// Provider types as the store's spec names them (`aws`, `azurekv`, …), with the short form `azure`, `gcp`.
    pub providers: Vec<String>,
    /// What the ExternalSecret's own status says.
    pub states: Vec<State>,
    /// From which age of the last sync on an ExternalSecret counts as [`State::Overdue`]. None: twice its own
    /// `refreshInterval`.
    pub overdue_after: Option<Duration>,
}

/// A store named in a selection.
#[derive(Clone, Debug, PartialEq)]
pub struct StorePattern {
    /// SecretStore or ClusterSecretStore; None covers both.
    pub kind: Option<StoreKind>,
    /// Glob on the namespace of a SecretStore.
    pub namespace: Option<Pattern>,
    /// Glob on the store's name.
    pub name: Pattern,
}

/// Which of the selected ExternalSecrets are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All of them.
    Always,
    /// Those whose last sync failed, or that never synced.
    Failed,
    /// Those whose last sync is older than asked, or that failed or never synced.
    Overdue,
    /// None.
    Never,
}

/// The section `sync`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sync {
    /// Which of the selected ones.
    pub when: When,
    /// The annotation that is written; any key makes the operator sync.
    pub annotation: String,
    /// Force-sync ExternalSecrets with generators too, which makes new credentials.
    pub generators: bool,
    /// How long one may take, not counting the operator's own queue.
    pub timeout: Duration,
    /// How often a failed one is tried again.
    pub retries: u32,
}

/// How many may be annotated and not yet proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// Follow the rate at which the operator proves.
    Auto,
    /// This many.
    Fixed(NonZeroU32),
}

/// A rate above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
}

impl Rate {
    /// None unless `per_second` is a finite number above zero.
    pub fn per_second(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second > 0.0).then_some(Self { per_second })
    }

    /// In calls (or requests) per second.
    pub const fn as_per_second(self) -> f64 {
        self.per_second
    }
}

impl fmt::Display for Rate {
    /// `20/s`, `0.5/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}

/// The section `pace`. Rates of stores and providers count provider calls; that of the API server counts requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// The in-flight window.
    pub in_flight: InFlight,
    /// For providers without a rate of their own.
    pub default: Rate,
    /// By provider type, in the long form (`azurekv`, `gcpsm`).
    pub providers: BTreeMap<String, Rate>,
    /// By store, on top of the provider's rate.
    pub stores: BTreeMap<StoreKey, Rate>,
    /// For the Kubernetes API.
    pub kubernetes: Rate,
}

/// A bound on failures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FailureLimit {
    /// A share of those attempted, 0.0 to 1.0, once ten were attempted.
    Share(f64),
    /// A number.
    Count(u32),
}

/// The section `safety`.
#[derive(Clone, Debug, PartialEq)]
pub struct Safety {
    /// More ExternalSecrets than this to sync: the run is refused as a whole.
    pub max_syncs: u32,
    /// More failures than this stop the run.
    pub stop_after_failures: FailureLimit,
}

/// The section `lock`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// Off only where something else keeps runs apart.
    pub enabled: bool,
}

/// What only flags may say: the most that any policy may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// What may be done at all (`--allow`). None: everything.
    pub allow: Option<Vec<Capability>>,
    /// The highest `safety.maxSyncs` (`--max-syncs`).
    pub max_syncs: Option<u32>,
}

/// Something that changes the cluster and can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Capability {
    /// Force-syncing ExternalSecrets.
    Sync,
}
