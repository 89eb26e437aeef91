//! Which resources the sandbox's API serves: those that eso-sync asks for, and no more.

/// The group of the operator's resources.
pub(super) const ESO: &str = "external-secrets.io";

/// The group of Argo Rollouts.
pub(super) const ARGO: &str = "argoproj.io";

/// One kind of object that is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource {
    /// The API group; empty for the core group.
    pub(super) group: &'static str,
    /// The name in paths.
    pub(super) plural: &'static str,
    /// The kind.
    pub(super) kind: &'static str,
    /// Short names, as discovery lists them.
    pub(super) short: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub(super) namespaced: bool,
    /// Whether `/status` is served. Then a plain write leaves the status alone, and a write to `/status` all the rest.
    pub(super) status: bool,
    /// Whether objects count the changes of their spec.
    pub(super) generation: bool,
    /// What can be asked of an object by a POST below it.
    pub(super) action: Option<Action>,
}

/// A subresource that takes a POST and keeps nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `serviceaccounts/token`
    Token,
    /// `pods/eviction`
    Eviction,
}

impl Action {
    /// The name in paths.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Eviction => "eviction",
        }
    }

    /// Group and kind of what is sent.
    pub(super) const fn sent(self) -> (&'static str, &'static str) {
        match self {
            Self::Token => ("authentication.k8s.io", "TokenRequest"),
            Self::Eviction => ("policy", "Eviction"),
        }
    }
}

/// A kind of the core group.
const fn core(
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
) -> Resource {
    Resource {
        group: "",
        plural,
        kind,
        short,
        namespaced: true,
        status: false,
        generation: false,
        action: None,
    }
}

/// A kind whose controller reports how far it has come with the spec.
const fn controlled(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
) -> Resource {
    Resource {
        group,
        status: true,
        generation: true,
        ..core(plural, kind, short)
    }
}

const fn cluster_wide(resource: Resource) -> Resource {
    Resource {
        namespaced: false,
        ..resource
    }
}

/// Everything that is served.
pub(super) static RESOURCES: [Resource; 20] = [
    controlled(ESO, "externalsecrets", "ExternalSecret", &["es"]),
    controlled(ESO, "secretstores", "SecretStore", &["ss"]),
    cluster_wide(controlled(
        ESO,
        "clustersecretstores",
        "ClusterSecretStore",
        &["css"],
    )),
    cluster_wide(controlled(
        ESO,
        "clusterexternalsecrets",
        "ClusterExternalSecret",
        &["ces"],
    )),
    core("secrets", "Secret", &[]),
    core("configmaps", "ConfigMap", &["cm"]),
    core("events", "Event", &["ev"]),
    Resource {
        action: Some(Action::Token),
        ..core("serviceaccounts", "ServiceAccount", &["sa"])
    },
    Resource {
        status: true,
        action: Some(Action::Eviction),
        ..core("pods", "Pod", &["po"])
    },
    cluster_wide(core("namespaces", "Namespace", &["ns"])),
    controlled(
        "",
        "replicationcontrollers",
        "ReplicationController",
        &["rc"],
    ),
    controlled("apps", "deployments", "Deployment", &["deploy"]),
    controlled("apps", "replicasets", "ReplicaSet", &["rs"]),
    controlled("apps", "statefulsets", "StatefulSet", &["sts"]),
    controlled("apps", "daemonsets", "DaemonSet", &["ds"]),
    Resource {
        group: "apps",
        ..core("controllerrevisions", "ControllerRevision", &[])
    },
    controlled(
        "policy",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        &["pdb"],
    ),
    controlled(ARGO, "rollouts", "Rollout", &["ro"]),
    Resource {
        group: "coordination.k8s.io",
        ..core("leases", "Lease", &[])
    },
    Resource {
        group: "apiextensions.k8s.io",
        status: true,
        ..cluster_wide(core(
            "customresourcedefinitions",
            "CustomResourceDefinition",
            &["crd", "crds"],
        ))
    },
];

impl Resource {
    /// The resource with this name in paths.
    pub(super) fn of_plural(plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.plural == plural)
    }

    /// The resource of a manifest, whatever version of the group it is written in.
    pub(super) fn of_manifest(api_version: &str, kind: &str) -> Option<&'static Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        RESOURCES
            .iter()
            .find(|resource| resource.group == group && resource.kind == kind)
    }

    /// Whether it is defined by a CustomResourceDefinition, not built into Kubernetes.
    pub(super) fn is_custom(&self) -> bool {
        is_custom(self.group)
    }

    /// `externalsecrets.external-secrets.io`, as errors name it.
    pub(super) fn qualified(&self) -> String {
        qualify(self.plural, self.group)
    }

    /// `ExternalSecret.external-secrets.io`, as other errors name it.
    pub(super) fn qualified_kind(&self) -> String {
        qualify(self.kind, self.group)
    }

    /// The key of an object: its path in etcd, whose byte order is the order of lists.
    pub(super) fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{namespace}/{name}")
        } else {
            name.to_owned()
        }
    }
}

/// Whether the kinds of a group are defined by CustomResourceDefinitions.
pub(super) fn is_custom(group: &str) -> bool {
    [ESO, ARGO].contains(&group)
}

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}
