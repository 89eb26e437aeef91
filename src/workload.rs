//! Workloads: what uses Secrets, how healthy it is, and since when its pods run. The objects come from
//! [`crate::restart::discover`].

pub mod health;
pub mod object;
mod project;
mod references;
mod reloader;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    health::Health,
    references::references,
    reloader::{Marks, Reloader},
};
use crate::reason::Reason;

/// How a workload is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// By a new pod template, as `kubectl rollout restart` does it; a Rollout by its `restartAt`.
    Rollout,
    /// By evicting its pods, which PodDisruptionBudgets can forbid.
    Evict,
}

impl Strategy {
    /// As it is written in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Evict => "evict",
        }
    }
}

/// Opts a workload out of restarts.
pub const IGNORE: &str = "eso-sync/ignore";

/// What a workload's pods started with, in its own metadata.
pub const STAMP: &str = "eso-sync/stamp";

/// In a pod template: when it was restarted, as `kubectl rollout restart` writes it.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// On a pod of a StatefulSet: the revision of its template.
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
)]
pub enum Kind {
    /// `apps/v1`
    DaemonSet,
    /// `apps/v1`
    Deployment,
    /// `v1`, of a controller that is none of these, such as an operator's of its own; it can only be evicted.
    Pod,
    /// `apps/v1`, where nothing else controls it; its pods can only be evicted.
    ReplicaSet,
    /// Of Argo Rollouts.
    Rollout,
    /// `apps/v1`
    StatefulSet,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::DaemonSet,
        Self::Deployment,
        Self::Pod,
        Self::ReplicaSet,
        Self::Rollout,
        Self::StatefulSet,
    ];

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::Deployment => "Deployment",
            Self::Pod => "Pod",
            Self::ReplicaSet => "ReplicaSet",
            Self::Rollout => "Rollout",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// The group of its API; empty for the core's.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Pod => "",
            Self::Rollout => "argoproj.io",
            Self::DaemonSet | Self::Deployment | Self::ReplicaSet | Self::StatefulSet => "apps",
        }
    }

    /// The version of its API.
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

    /// The name of the resource.
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

    /// The path of the collection, in a namespace or in all.
    pub fn path(self, namespace: Option<&str>) -> String {
        let (version, plural) = (self.version(), self.plural());
        let api = match self.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        match namespace {
            Some(namespace) => format!("{api}/namespaces/{namespace}/{plural}"),
            None => format!("{api}/{plural}"),
        }
    }
}

/// Which workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl WorkloadId {
    /// The path of the object.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.path(Some(&self.namespace)), self.name)
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind.as_str(), self.name)
    }
}

/// Which keys of a Secret a workload uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Whatever it holds.
    All,
    /// These alone.
    Some(BTreeSet<String>),
}

impl Keys {
    /// Whether this key is among them.
    pub fn covers(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(keys) => keys.contains(key),
        }
    }
}

/// What rolls out by itself, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Holds {
    /// It is being deleted.
    pub deleting: bool,
    /// Its rollout is paused.
    pub paused: bool,
    /// It asks for no pods.
    pub scaled_to_zero: bool,
    /// New pods come only as old ones are deleted by hand.
    pub on_delete: bool,
    /// A partition keeps all of its pods from being rolled.
    pub partitioned: bool,
}

/// Who writes fields of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The name that it gives itself.
    pub name: String,
    /// When it last wrote.
    pub time: Option<Timestamp>,
    /// Whether annotations of the object are among its fields.
    pub annotations: bool,
}

/// One workload, as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Which one.
    pub id: WorkloadId,
    /// Another object of the same name has another.
    pub uid: String,
    /// Changes with every write.
    pub resource_version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The Secrets that its pods use.
    pub uses: BTreeMap<String, Keys>,
    /// The stamp, as it is written there.
    pub stamp: Option<String>,
    /// Whether the annotation `eso-sync/ignore: "true"` opts it out.
    pub ignored: bool,
    /// What Stakater Reloader is set to do.
    pub reloader: Reloader,
    /// What controls it.
    pub controller: Option<Owner>,
    /// Whether rules can cover it: no ReplicaSet of a Deployment's, no pod of what can be covered itself, of a Job, or of nothing.
    pub addressed: bool,
    /// What keeps it from being restarted.
    pub holds: Holds,
    /// How it is.
    pub health: Health,
    /// Who writes its fields.
    pub managers: Vec<Manager>,
    /// Which pods are its own.
    pub selector: object::LabelSelector,
    /// How many pods it asks for.
    pub wanted: i64,
    /// Where a partition keeps some of its pods as they are: the revision that the others have.
    pub partly: Option<String>,
    /// Of a Rollout: what its pod template stands in, where that is not itself.
    pub template_in: Option<TemplateIn>,
}

/// What the pod template of a Rollout stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateIn {
    /// A workload of this kind and name.
    Workload(Kind, String),
    /// Something else, of this kind and name.
    Other(String),
}

impl Workload {
    /// Why it is not restarted in this way, whatever its data.
    pub fn hold(&self, strategy: Strategy) -> Option<(Reason, &'static str)> {
        let holds = &self.holds;
        let rollout = strategy == Strategy::Rollout;
        if holds.deleting {
            Some((Reason::BeingDeleted, ""))
        } else if holds.scaled_to_zero {
            Some((Reason::ScaledToZero, "it asks for no pods"))
        } else if holds.paused && rollout {
            Some((Reason::Paused, "its rollout is paused"))
        } else if rollout && self.id.kind == Kind::ReplicaSet {
            Some((
                Reason::OnDelete,
                "a ReplicaSet replaces no pods by itself; `strategy: evict` does",
            ))
        } else if rollout && self.id.kind == Kind::Pod {
            Some((
                Reason::OnDelete,
                "nothing rolls a single pod; `strategy: evict` has its controller make a new one",
            ))
        } else if rollout && holds.on_delete {
            Some((
                Reason::OnDelete,
                "its update strategy is OnDelete; `strategy: evict` replaces its pods",
            ))
        } else if rollout && holds.partitioned {
            Some((
                Reason::OnDelete,
                "its partition keeps all of its pods from being replaced",
            ))
        } else {
            None
        }
    }

    /// Whether a partition keeps this pod as it was before the last change of its template.
    pub fn keeps(&self, pod: &Pod) -> bool {
        let revision = pod.labels.get(REVISION);
        self.partly.is_some() && revision != self.partly.as_ref()
    }

    /// Whether this pod is one of its own.
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

/// One pod that is neither over nor on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Another pod of the same name has another.
    pub uid: String,
    /// When it was created: before that it read nothing.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What controls it.
    pub owner: Option<Owner>,
    /// Whether it is ready.
    pub ready: bool,
}

impl Pod {
    /// Forgets what nobody asks for once it is known whose it is.
    pub fn keep_for_its_owner(&mut self) {
        self.labels.retain(|label, _| label == REVISION);
        self.owner = None;
    }

    /// The name of the Deployment or the Rollout above its ReplicaSet. That bears the name and the hash of the template, as its pods
    /// do; another workload's name may begin the same.
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

/// What controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The group and version of its API.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
}

#[cfg(test)]
mod tests;
