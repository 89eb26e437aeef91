//! The snapshot of the cluster: ExternalSecrets, stores, ClusterExternalSecrets, and what could not be listed or read.
//!
//! [`crate::discover`] converts Kubernetes objects to these types once. They keep only what decisions need, because a run
//! holds up to ten thousand of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use eso_model::{
    Id, ProviderKind, QuotaKey, StoreKey, expected::CreationPolicy, refresh::Refresh,
    remote::Place, window::Windows,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of an ExternalSecret by its status and the current time.
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
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum State {
    /// Ready, and synced recently.
    Ready,
    /// The last sync failed.
    Failed,
    /// No sync has succeeded yet.
    NeverSynced,
    /// The last sync is older than allowed.
    Overdue,
}

/// The Ready condition of an ExternalSecret or a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `status: "True"`.
    pub ready: bool,
    /// The reason, one of the operator's fixed words.
    pub reason: String,
    pub message: String,
}

/// One ExternalSecret.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent")]
pub struct ExternalSecret {
    pub id: Id,
    /// `metadata.uid`.
    pub uid: String,
    /// All stores that it reads from, without duplicates; the store of its spec comes first.
    pub stores: Vec<StoreUse>,
    pub refresh: Refresh,
    /// When the operator makes no periodic sync.
    pub windows: Option<Box<Windows>>,
    /// The kinds of generators that it uses, without duplicates.
    pub generators: Vec<String>,
    /// True if an annotation allows force-syncing its generators.
    pub rotation_allowed: bool,
    /// Indexes of the policy's `select` entries that match its name, namespace and labels.
    pub covered_by: Vec<u16>,
    /// Indexes of the matching `exclude` entries.
    pub excluded_by: Vec<u16>,
    /// How its target Secret is written.
    pub target: Target,
    pub secret: String,
    /// True if its status shows that its current generation and metadata were synced.
    pub proven: bool,
    /// The spec as JSON text (smaller than a parsed tree); only set if drift is checked or workloads are restarted.
    pub spec: Option<Arc<str>>,
    /// The ClusterExternalSecret that controls it.
    pub parent: Option<ParentReference>,
    /// True if the annotation `eso-sync/ignore: "true"` excludes it.
    pub ignored: bool,
    /// True if it is being deleted.
    pub deleting: bool,
    /// `status.refreshTime`: when the last successful sync began, by the operator's clock.
    pub refreshed: Option<Timestamp>,
    /// The Ready condition.
    pub ready: Option<Ready>,
}

/// A store that an ExternalSecret reads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUse {
    pub key: StoreKey,
    /// The provider calls of one sync at this store.
    pub calls: Calls,
}

/// The number of provider calls of one sync, estimated from the spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// One call per entry.
    pub entries: u32,
    /// The same, but entries with the same key and version share one call.
    pub distinct: u32,
    /// The searches. How many calls one makes depends on the provider.
    pub searches: u32,
}

/// The target Secret as described by the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// False for `creationPolicy: None`: nothing is written.
    pub written: bool,
    /// `immutable: true`: the data of an existing Secret is never changed.
    pub immutable: bool,
    pub creation: CreationPolicy,
    /// True if a template keeps the ExternalSecret's own annotations off the Secret. Without a template, each force-sync
    /// rewrites the Secret, so the operator's `Updated` event does not mean that the data changed.
    pub templated: bool,
}

/// One SecretStore or ClusterSecretStore.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub key: StoreKey,
    pub provider: ProviderKind,
    /// The provider quota that the store's calls count against.
    pub quota: QuotaKey,
    /// Where it reads its keys.
    pub place: Box<Place>,
    /// `spec.controller`, if it is not the default class.
    pub foreign_class: Option<String>,
    /// The Ready condition; None if the operator has not processed the store yet.
    pub ready: Option<Ready>,
}

/// The ClusterExternalSecret that an ExternalSecret names as its controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentReference {
    pub name: String,
    pub uid: String,
}

/// One ClusterExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// `metadata.uid`.
    pub uid: String,
    /// The namespaces that contain a child ExternalSecret.
    pub namespaces: Vec<String>,
}

/// A resource that could not be listed or read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The resource, as in `kubectl`: `clustersecretstores.external-secrets.io`.
    pub what: String,
    /// The namespace; None for the whole cluster.
    pub namespace: Option<String>,
    /// The reason for the failure.
    pub why: String,
}

/// The result of reading a store.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreView {
    Seen(Store),
    Missing,
    /// It could not be read, for this reason.
    Unknown(String),
}

/// The abilities of the operator's version, as the served API shows them. The image tag is never used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// True if a ClusterExternalSecret copies the force-sync annotation to its children (v0.20.0 and later). None if
    /// unknown.
    pub mirrors_force_sync: Option<bool>,
    /// True if `refreshInterval: 0` ignores metadata changes (v0.11.0 and later). None if unknown.
    pub ignores_interval_zero: Option<bool>,
}

/// The snapshot that discovery read from the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// The ExternalSecrets that match the policy's names, namespaces and labels.
    pub external_secrets: Vec<ExternalSecret>,
    /// All other ExternalSecrets by the Secret that they write. They matter if a matched ExternalSecret writes the same
    /// Secret.
    pub others: BTreeMap<Id, Vec<String>>,
    /// The stores of the matched ExternalSecrets.
    pub stores: BTreeMap<StoreKey, StoreView>,
    /// The ClusterExternalSecrets that control some of them; None if one could not be read.
    pub parents: BTreeMap<String, Option<Parent>>,
    /// Resources that could not be listed or read.
    pub gaps: Vec<Gap>,
    pub operator: Operator,
}

impl Inventory {
    /// Returns a store if it could be read.
    pub fn store(&self, key: &StoreKey) -> Option<&Store> {
        match self.stores.get(key)? {
            StoreView::Seen(store) => Some(store),
            StoreView::Missing | StoreView::Unknown(_) => None,
        }
    }
}

impl Inventory {
    /// These ExternalSecrets, and the others that can only be synced together with them: through the same ClusterExternalSecret.
    pub fn synced_with(&self, ids: &BTreeSet<Id>) -> BTreeSet<Id> {
        let parent = |one: &ExternalSecret| Some(one.parent.as_ref()?.name.clone());
        let is_one = |one: &&ExternalSecret| ids.contains(&one.id);
        let all = &self.external_secrets;
        let parents: BTreeSet<String> = all.iter().filter(is_one).filter_map(parent).collect();
        let belongs = |one: &&ExternalSecret| {
            is_one(one) || parent(one).is_some_and(|name| parents.contains(&name))
        };
        let together = all.iter().filter(belongs);
        together.map(|one| one.id.clone()).collect()
    }
}

impl ExternalSecret {
    /// The stores that it reads from, the store of its spec first.
    pub fn store_keys(&self) -> impl Iterator<Item = &StoreKey> {
        self.stores.iter().map(|of| &of.key)
    }

    /// Its target Secret.
    pub fn secret_id(&self) -> Id {
        Id {
            namespace: self.id.namespace.clone(),
            name: self.secret.clone(),
        }
    }

    /// Returns the time since the last successful sync began.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let refreshed = self.refreshed?;
        Some(Duration::try_from(now.duration_since(refreshed)).unwrap_or_default())
    }
}

#[cfg(test)]
impl ExternalSecret {
    /// An ExternalSecret that reads from these stores every hour, and whose status says nothing yet.
    pub fn sample(namespace: &str, name: &str, stores: Vec<StoreUse>) -> Self {
        Self {
            id: Id {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            },
            uid: format!("uid-{namespace}-{name}"),
            stores,
            refresh: Refresh::Periodic(Duration::from_hours(1)),
            windows: None,
            generators: Vec::new(),
            rotation_allowed: false,
            covered_by: vec![0],
            excluded_by: Vec::new(),
            target: Target {
                written: true,
                immutable: false,
                creation: CreationPolicy::Owner,
                templated: false,
            },
            secret: name.to_owned(),
            proven: true,
            spec: None,
            parent: None,
            ignored: false,
            deleting: false,
            refreshed: None,
            ready: None,
        }
    }
}
