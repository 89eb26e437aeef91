//! What was seen in the cluster: ExternalSecrets, stores, parents, and what could not be seen.
//!
//! Objects of Kubernetes become these types once, in [`crate::discover`]; only what a decision needs is kept, since ten
//! thousand of them are held at a time.

use std::{collections::BTreeMap, time::Duration};

use eso_model::{Id, QuotaKey, StoreKey, expected::CreationPolicy, refresh::Refresh};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an ExternalSecret's own status says, held against the time.
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
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Ready, and synced lately.
    Ready,
    /// The last sync failed.
    Failed,
    /// No sync has succeeded yet.
    NeverSynced,
    /// The last sync is older than asked.
    Overdue,
}

impl State {
    /// As it is written in policies and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::NeverSynced => "never-synced",
            Self::Overdue => "overdue",
        }
    }
}

/// The Ready condition of an ExternalSecret or a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `status: "True"`.
    pub ready: bool,
    /// The reason, a stable word of the operator's.
    pub reason: String,
    /// The operator's message.
    pub message: String,
}

/// One ExternalSecret.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct ExternalSecret {
    /// Namespace and name.
    pub id: Id,
    /// `metadata.uid`.
    pub uid: String,
    /// All stores that it reads from, the one of its spec first, each once.
    pub stores: Vec<StoreKey>,
    /// Its refresh policy.
    pub refresh: Refresh,
    /// The kinds of generator that it uses, each once.
    pub generators: Vec<String>,
    /// Whether an annotation of its own allows to force-sync its generators.
    pub rotation_allowed: bool,
    /// What one sync asks of the provider.
    pub calls: Calls,
    /// The entries of the policy's `select` (by index) that cover its name, namespace and labels.
    pub covered_by: Vec<u16>,
    /// Likewise for `exclude`.
    pub excluded_by: Vec<u16>,
    /// How its target Secret is written.
    pub target: Target,
    /// The name of its target Secret.
    pub secret: String,
    /// Whether its status says that it was synced as it now is.
    pub proven: bool,
    /// Its spec, where drift is checked; as text, which takes a fraction of the room.
    pub spec: Option<Box<str>>,
    /// The ClusterExternalSecret that controls it.
    pub parent: Option<String>,
    /// Whether the annotation `eso-sync/ignore: "true"` opts it out.
    pub ignored: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// `status.refreshTime`: when the last successful sync began, by the operator's clock.
    pub refreshed: Option<Timestamp>,
    /// The Ready condition.
    pub ready: Option<Ready>,
}

/// Provider calls of one sync, as the spec lets them be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// One for each entry; a search counts as [`FIND_CALLS`].
    pub entries: u32,
    /// The same, where entries with the same key and version are read once.
    pub distinct: u32,
}

/// What a search counts as: one call to list and one for each match, whose number the spec does not tell.
pub const FIND_CALLS: u32 = 10;

/// What is known of the target Secret from the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// `creationPolicy: None`: nothing is written.
    pub written: bool,
    /// `immutable: true`: an existing Secret's data stays.
    pub immutable: bool,
    /// Whose the Secret is.
    pub creation: CreationPolicy,
    /// Whether a template keeps the ExternalSecret's own annotations off the Secret. Without one each force-sync rewrites
    /// the Secret, so that the operator's `Updated` says nothing of its data.
    pub templated: bool,
}

/// One SecretStore or ClusterSecretStore.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Which one.
    pub key: StoreKey,
    /// The provider's name in the spec: `aws`, `azurekv`, `gcpsm`, `vault`, `fake`, …
    pub provider: String,
    /// What it shares a quota with.
    pub quota: QuotaKey,
    /// Whether the operator reads a key that several entries name only once (AWS Secrets Manager).
    pub reads_keys_once: bool,
    /// `spec.controller`, if it names another class than the default.
    pub foreign_class: Option<String>,
    /// The Ready condition; None where the operator has not looked at the store yet.
    pub ready: Option<Ready>,
}

/// One ClusterExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// `metadata.uid`.
    pub uid: String,
    /// The namespaces that have a child.
    pub namespaces: Vec<String>,
}

/// Something that could not be seen, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// What was asked for, as `kubectl` would name it: `clustersecretstores.external-secrets.io`.
    pub what: String,
    /// In which namespace; None for the whole cluster.
    pub namespace: Option<String>,
    /// Why it could not be had.
    pub why: String,
}

/// A store as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreView {
    /// Seen.
    Seen(Store),
    /// It does not exist.
    Missing,
    /// It could not be read.
    Unknown(String),
}

/// What the served API tells about the operator's age (never its image's tag).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// Whether a ClusterExternalSecret mirrors the force-sync annotation to its children (v0.20.0 and later). None: cannot be told.
    pub mirrors_force_sync: Option<bool>,
    /// Whether `refreshInterval: 0` ignores changes of metadata (v0.11.0 and later). None: cannot be told.
    pub ignores_interval_zero: Option<bool>,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// The ExternalSecrets that the policy's names, namespaces and labels cover.
    pub external_secrets: Vec<ExternalSecret>,
    /// Other ExternalSecrets that were seen, by the Secret that they write. They matter where one of those above writes it too.
    pub others: BTreeMap<Id, Vec<String>>,
    /// Their stores.
    pub stores: BTreeMap<StoreKey, StoreView>,
    /// The ClusterExternalSecrets that control some of them; None where one could not be read.
    pub parents: BTreeMap<String, Option<Parent>>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
    /// The operator's age.
    pub operator: Operator,
}

impl Inventory {
    /// A store, where it could be read.
    pub fn store(&self, key: &StoreKey) -> Option<&Store> {
        match self.stores.get(key)? {
            StoreView::Seen(store) => Some(store),
            StoreView::Missing | StoreView::Unknown(_) => None,
        }
    }
}

impl ExternalSecret {
    /// Its target Secret.
    pub fn secret_id(&self) -> Id {
        Id {
            namespace: self.id.namespace.clone(),
            name: self.secret.clone(),
        }
    }

    /// How long ago the last successful sync began, as of `now`.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let refreshed = self.refreshed?;
        Some(Duration::try_from(now.duration_since(refreshed)).unwrap_or_default())
    }
}
