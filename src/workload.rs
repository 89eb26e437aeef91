//! Workloads: the Secrets that they use, their health, and their pods. Read by [`crate::restart::discover`].

pub mod health;
pub mod object;
mod project;
mod references;
mod reloader;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cluster::path::Path;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    health::{Health, Tolerance},
    project::restart_at,
    references::{References, references},
    reloader::{Marks, Reloader},
};
use crate::reason::Reason;

/// How a workload is restarted.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Strategy {
    /// By changing the pod template, like `kubectl rollout restart`; for a Rollout by `restartAt`.
    Rollout,
    /// By evicting the pods, which PodDisruptionBudgets can block.
    Evict,
}

/// The annotation that opts a workload out of restarts.
pub const IGNORE: &str = "eso-sync/ignore";

/// The annotation with the data that a workload's pods started with.
pub const STAMP: &str = "eso-sync/stamp";

/// The pod template annotation with the restart time, as `kubectl rollout restart` writes it.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The kinds that can be restarted.
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
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(const_into_str)]
pub enum Kind {
    /// `apps/v1`
    DaemonSet,
    /// `apps/v1`
    Deployment,
    /// `v1`, with a controller of a kind that is not in this list, such as an operator's custom resource. Can only be evicted.
    Pod,
    /// `apps/v1`, without a controller. Its pods can only be evicted.
    ReplicaSet,
    /// Argo Rollouts.
    Rollout,
    /// `apps/v1`
    StatefulSet,
}

impl Kind {
    /// The API group, empty for the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Pod => "",
            Self::Rollout => "argoproj.io",
            Self::DaemonSet | Self::Deployment | Self::ReplicaSet | Self::StatefulSet => "apps",
        }
    }

    /// The API version.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Rollout => "v1alpha1",
            Self::DaemonSet
            | Self::Deployment
            | Self::Pod
            | Self::ReplicaSet
            | Self::StatefulSet => "v1",
        }
    }

    /// The resource name.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::DaemonSet => "daemonsets",
            Self::Deployment => "deployments",
            Self::Pod => "pods",
            Self::ReplicaSet => "replicasets",
            Self::Rollout => "rollouts",
            Self::StatefulSet => "statefulsets",
        }
    }

    /// The API path of the collection, in one namespace or in all.
    pub fn path(self, namespace: Option<&str>) -> Path {
        Path::api(self.group(), self.version()).collection(namespace, self.plural())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    pub namespace: String,
    pub kind: Kind,
    pub name: String,
}

impl WorkloadId {
    /// The API path of the object.
    pub fn path(&self) -> Path {
        self.kind.path(Some(&self.namespace)).named(&self.name)
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.namespace,
            self.kind.into_str(),
            self.name
        )
    }
}

/// The keys of a Secret that a workload uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys<N = String> {
    /// Every key.
    All,
    /// Only these keys.
    Some(BTreeSet<N>),
}

impl<N: Ord> Keys<N> {
    /// True if this key is one of them.
    pub fn covers(&self, key: &N) -> bool {
        match self {
            Self::All => true,
            Self::Some(keys) => keys.contains(key),
        }
    }
}

impl Keys {
    /// The keys that stand in the workload.
    pub fn named(&self) -> impl Iterator<Item = &String> {
        let named = match self {
            Self::All => None,
            Self::Some(keys) => Some(keys),
        };
        named.into_iter().flatten()
    }
}

/// Facts that may prevent a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Holds {
    pub deleting: bool,
    pub paused: bool,
    /// It has zero replicas.
    pub scaled_to_zero: bool,
    /// Its update strategy replaces pods only after they are deleted.
    pub on_delete: bool,
    /// The partition of its update strategy excludes all of its pods.
    pub partitioned: bool,
}

/// A field manager of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    pub name: String,
    /// The time of its last write.
    pub time: Option<Timestamp>,
    /// True if it owns annotations of the object.
    pub annotations: bool,
    /// True if it owns fields of the pod template.
    pub template: bool,
}

/// One workload, with the fields that decisions need.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub id: WorkloadId,
    /// Differs for another object of the same name.
    pub uid: String,
    /// Changes on every write.
    pub resource_version: String,
    pub labels: BTreeMap<String, String>,
    /// The Secrets that its pods use.
    pub uses: BTreeMap<String, Keys>,
    /// The keys without which its pods start too.
    pub optional: BTreeMap<String, Keys>,
    /// The text of the stamp annotation.
    pub stamp: Option<String>,
    /// True if the annotation `eso-sync/ignore: "true"` opts it out.
    pub ignored: bool,
    /// The configuration of Stakater Reloader and wave.
    pub reloader: Reloader,
    /// Its controlling owner.
    pub controller: Option<Owner>,
    /// Its controlling owner, else its first owner. Operators take back what they did not write themselves.
    pub owner: Option<Owner>,
    /// The time of the last restart, as its pod template or a Rollout's `restartAt` has it.
    pub restarted: Option<String>,
    /// True if rules can cover it. False for a Deployment's ReplicaSet, and for a pod that has no controller, belongs to a Job,
    /// or belongs to a workload of another kind in this list.
    pub addressed: bool,
    pub holds: Holds,
    pub health: Health,
    pub tolerance: Tolerance,
    pub managers: Vec<Manager>,
    /// The label selector of its pods.
    pub selector: object::LabelSelector,
    /// The number of desired pods.
    pub wanted: i64,
    /// If it has a partition: its pods with a smaller ordinal are not updated.
    pub excluded_below: Option<i64>,
    /// For a Rollout: the object with its pod template, if that is another one.
    pub template_in: Option<TemplateIn>,
}

/// The object with the pod template of a Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateIn {
    /// A workload of this kind and name.
    Workload(Kind, String),
    /// Another object, as kind and name.
    Other(String),
}

impl Workload {
    /// Returns why the workload cannot be restarted with this strategy, whatever its data.
    pub fn hold(&self, strategy: Strategy) -> Option<(Reason, &'static str)> {
        let holds = &self.holds;
        let rollout = strategy == Strategy::Rollout;
        if holds.deleting {
            Some((Reason::BeingDeleted, ""))
        } else if holds.scaled_to_zero {
            Some((Reason::ScaledToZero, "it has zero replicas"))
        } else if holds.paused && rollout {
            Some((Reason::Paused, "its rollout is paused"))
        } else if rollout && self.id.kind == Kind::ReplicaSet {
            Some((
                Reason::OnDelete,
                "a ReplicaSet does not replace its pods. Use `strategy: evict`",
            ))
        } else if rollout && self.id.kind == Kind::Pod {
            Some((
                Reason::OnDelete,
                "a pod has no rollout. Use `strategy: evict`, so that its controller creates a new pod",
            ))
        } else if rollout && holds.on_delete {
            Some((
                Reason::OnDelete,
                "its update strategy is OnDelete. Use `strategy: evict` to replace its pods",
            ))
        } else if rollout && holds.partitioned {
            Some((
                Reason::OnDelete,
                "the partition of its update strategy excludes all of its pods",
            ))
        } else {
            None
        }
    }

    /// True if the partition of its update strategy excludes this pod.
    fn excludes(&self, pod: &Pod) -> bool {
        let ordinal = pod.name.rsplit_once('-');
        let ordinal = ordinal.and_then(|(_, number)| number.parse::<i64>().ok());
        self.excluded_below
            .zip(ordinal)
            .is_some_and(|(below, ordinal)| ordinal < below)
    }

    /// Returns why its controller does not replace these pods of an older template, if it is for more than a moment.
    pub fn keeps(&self, old: &[&Pod]) -> Option<String> {
        let holds = &self.holds;
        if holds.paused {
            return Some("its rollout is paused".to_owned());
        }
        if holds.on_delete {
            return Some("its update strategy is OnDelete".to_owned());
        }
        if !old.is_empty() && old.iter().all(|pod| self.excludes(pod)) {
            return Some("the partition of its update strategy excludes them".to_owned());
        }
        let stuck = old.iter().find(|pod| pod.ending)?;
        let name = &stuck.name;
        Some(format!(
            "pod {name} is being deleted and still runs. Its node may be down"
        ))
    }

    /// True if another tool restarts the workload when this Secret changes.
    pub fn is_left_to_other(&self, secret: &str, marks: Marks) -> bool {
        let used = self.uses.contains_key(secret);
        self.reloader.covers(secret, marks) || self.reloader.wave_covers(secret, used)
    }

    /// True if it is a DaemonSet that lacks no more pods than its own rollout may take away. `ending` is the number of its pods
    /// that are being deleted: on a node that is down they stay, and the rollout does not end.
    pub fn can_roll(&self, ending: usize) -> bool {
        let Tolerance {
            allowed,
            lacking,
            outdated,
        } = self.tolerance;
        let ending = i64::try_from(ending).unwrap_or(i64::MAX);
        self.id.kind == Kind::DaemonSet && lacking <= allowed && outdated <= ending.min(allowed)
    }

    /// The number of pods that were not available before a restart and need not be afterwards.
    pub fn spared(&self) -> i64 {
        if self.can_roll(0) {
            self.tolerance.lacking
        } else {
            0
        }
    }

    /// True if this pod belongs to the workload.
    pub fn owns(&self, pod: &Pod) -> bool {
        if self.id.kind == Kind::Pod {
            return pod.uid == self.uid;
        }
        let Some(owner) = &pod.owner else {
            return false;
        };
        if pod.namespace != self.id.namespace || !self.selector.matches(&pod.labels) {
            return false;
        }
        match self.id.kind {
            Kind::Deployment | Kind::Rollout => pod.above(self.id.kind) == Some(&self.id.name),
            Kind::DaemonSet | Kind::Pod | Kind::ReplicaSet | Kind::StatefulSet => {
                owner.uid == self.uid
            }
        }
    }
}

/// The pods of a workload that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Those that are not being deleted.
    pub live: Vec<Pod>,
    /// Those that are being deleted. They run until their node has stopped them; on a node that is down, forever.
    pub ending: Vec<Pod>,
}

impl Pods {
    /// These pods, by name.
    pub fn of(pods: BTreeMap<String, Pod>) -> Self {
        let (ending, live) = pods.into_values().partition(|pod| pod.ending);
        Self { live, ending }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.live.iter().chain(&self.ending)
    }
}

/// A pod that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    /// Differs for another pod of the same name.
    pub uid: String,
    pub created: Timestamp,
    /// When the first of its running containers started. It has read data at that time, not before.
    pub started: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    /// Its controlling owner.
    pub owner: Option<Owner>,
    pub ready: bool,
    /// True if it is being deleted.
    pub ending: bool,
}

impl Pod {
    /// Drops the fields that are not needed once its workload is known, to save memory.
    pub fn drop_unneeded_fields(&mut self) {
        self.labels.clear();
        self.owner = None;
    }

    /// The name of the Deployment or Rollout above its ReplicaSet. The name of the ReplicaSet is that name and the hash in the
    /// pod's labels, so that a workload whose name starts the same does not match.
    pub fn above(&self, kind: Kind) -> Option<&str> {
        let label = match kind {
            Kind::Deployment => "pod-template-hash",
            Kind::Rollout => "rollouts-pod-template-hash",
            Kind::DaemonSet | Kind::Pod | Kind::ReplicaSet | Kind::StatefulSet => return None,
        };
        let owner = self
            .owner
            .as_ref()
            .filter(|owner| owner.kind == "ReplicaSet")?;
        let name = owner.name.strip_suffix(self.labels.get(label)?.as_str())?;
        name.strip_suffix('-')
    }
}

/// The longest name that the API server accepts for an object.
const LONGEST_NAME: usize = 253;

/// A name that the API server does not check, for messages: of an owner, or a field manager.
pub fn shown(name: &str) -> &str {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._:/".contains(letter);
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fits) {
        name
    } else {
        "(an invalid name)"
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", shown(&self.kind), shown(&self.name))
    }
}

/// The controlling owner of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The API group and version.
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

#[cfg(test)]
mod tests;
