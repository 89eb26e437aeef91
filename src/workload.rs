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
    health::Health,
    references::references,
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

/// The label of a StatefulSet's pod with the revision of its template.
const REVISION: &str = "controller-revision-hash";

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
pub enum Keys {
    /// Every key.
    All,
    /// Only these keys.
    Some(BTreeSet<String>),
}

impl Keys {
    /// True if this key is one of them.
    pub fn covers(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(keys) => keys.contains(key),
        }
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
    /// The text of the stamp annotation.
    pub stamp: Option<String>,
    /// True if the annotation `eso-sync/ignore: "true"` opts it out.
    pub ignored: bool,
    /// The configuration of Stakater Reloader.
    pub reloader: Reloader,
    /// Its controlling owner.
    pub controller: Option<Owner>,
    /// True if rules can cover it. False for a Deployment's ReplicaSet, and for a pod that has no controller, belongs to a Job,
    /// or belongs to a workload of another kind in this list.
    pub addressed: bool,
    pub holds: Holds,
    pub health: Health,
    pub managers: Vec<Manager>,
    /// The label selector of its pods.
    pub selector: object::LabelSelector,
    /// The number of desired pods.
    pub wanted: i64,
    /// If a partition excludes some of its pods: the revision of the other pods.
    pub partly: Option<String>,
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

    /// True if a partition excludes this pod from the last change of the template.
    pub fn keeps(&self, pod: &Pod) -> bool {
        let revision = pod.labels.get(REVISION);
        self.partly.is_some() && revision != self.partly.as_ref()
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

/// A pod that has not ended and is not being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    /// Differs for another pod of the same name.
    pub uid: String,
    /// It cannot have read data before this time.
    pub created: Timestamp,
    pub labels: BTreeMap<String, String>,
    /// Its controlling owner.
    pub owner: Option<Owner>,
    pub ready: bool,
}

impl Pod {
    /// Drops the fields that are not needed once its workload is known, to save memory.
    pub fn drop_unneeded_fields(&mut self) {
        self.labels.retain(|label, _| label == REVISION);
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
