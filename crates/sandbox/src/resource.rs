//! The resources that the sandbox's API serves: those that eso-sync uses.

/// The group of the operator's resources.
pub(super) const ESO: &str = "external-secrets.io";

/// The group of Argo Rollouts.
pub(super) const ARGO: &str = "argoproj.io";

/// The group of Flux's sources.
pub(super) const FLUX: &str = "source.toolkit.fluxcd.io";

/// A resource of the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource {
    /// The API group; empty for the core group.
    pub(super) group: &'static str,
    /// The plural name, as in paths.
    pub(super) plural: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespaced: bool,
    /// True if the status is separate: API writes ignore it, and only the controllers inside the sandbox write it.
    pub(super) status: bool,
    /// True if `metadata.generation` counts changes of the spec.
    pub(super) generation: bool,
    /// A subresource that accepts a POST.
    pub(super) action: Option<Action>,
}

/// A subresource that accepts a POST and does not store the posted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `serviceaccounts/token`
    Token,
    /// `pods/eviction`
    Eviction,
}

impl Action {
    /// The name of the subresource, as in paths.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Eviction => "eviction",
        }
    }

    /// The group and kind of the posted object.
    pub(super) const fn sent(self) -> (&'static str, &'static str) {
        match self {
            Self::Token => ("authentication.k8s.io", "TokenRequest"),
            Self::Eviction => ("policy", "Eviction"),
        }
    }
}

/// A namespaced kind of the core group, without status.
const fn core(plural: &'static str, kind: &'static str) -> Resource {
    Resource {
        group: "",
        plural,
        kind,
        namespaced: true,
        status: false,
        generation: false,
        action: None,
    }
}

/// A kind with status and generation, whose controller reports the observed generation.
const fn controlled(group: &'static str, plural: &'static str, kind: &'static str) -> Resource {
    Resource {
        group,
        status: true,
        generation: true,
        ..core(plural, kind)
    }
}

const fn cluster_wide(resource: Resource) -> Resource {
    Resource {
        namespaced: false,
        ..resource
    }
}

/// All served resources.
pub(super) static RESOURCES: [Resource; 21] = [
    controlled(ESO, "externalsecrets", "ExternalSecret"),
    controlled(ESO, "secretstores", "SecretStore"),
    cluster_wide(controlled(ESO, "clustersecretstores", "ClusterSecretStore")),
    cluster_wide(controlled(
        ESO,
        "clusterexternalsecrets",
        "ClusterExternalSecret",
    )),
    core("secrets", "Secret"),
    core("configmaps", "ConfigMap"),
    core("events", "Event"),
    Resource {
        action: Some(Action::Token),
        ..core("serviceaccounts", "ServiceAccount")
    },
    Resource {
        status: true,
        action: Some(Action::Eviction),
        ..core("pods", "Pod")
    },
    cluster_wide(core("namespaces", "Namespace")),
    controlled("", "replicationcontrollers", "ReplicationController"),
    controlled("apps", "deployments", "Deployment"),
    controlled("apps", "replicasets", "ReplicaSet"),
    controlled("apps", "statefulsets", "StatefulSet"),
    controlled("apps", "daemonsets", "DaemonSet"),
    Resource {
        group: "apps",
        ..core("controllerrevisions", "ControllerRevision")
    },
    controlled("policy", "poddisruptionbudgets", "PodDisruptionBudget"),
    controlled(ARGO, "rollouts", "Rollout"),
    controlled(FLUX, "gitrepositories", "GitRepository"),
    Resource {
        group: "coordination.k8s.io",
        ..core("leases", "Lease")
    },
    Resource {
        group: "apiextensions.k8s.io",
        status: true,
        ..cluster_wide(core(
            "customresourcedefinitions",
            "CustomResourceDefinition",
        ))
    },
];

impl Resource {
    /// The resource with this plural name.
    pub(super) fn of_plural(plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.plural == plural)
    }

    /// The resource of a manifest, in any version of its group.
    pub(super) fn of_manifest(api_version: &str, kind: &str) -> Option<&'static Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        RESOURCES
            .iter()
            .find(|resource| resource.group == group && resource.kind == kind)
    }

    /// True if a CustomResourceDefinition defines it, false if it is built into Kubernetes.
    pub(super) fn is_custom(&self) -> bool {
        is_custom(self.group)
    }

    /// `externalsecrets.external-secrets.io`, as most error messages name it.
    pub(super) fn qualified(&self) -> String {
        qualify(self.plural, self.group)
    }

    /// `ExternalSecret.external-secrets.io`, as some error messages name it.
    pub(super) fn qualified_kind(&self) -> String {
        qualify(self.kind, self.group)
    }

    /// The key of an object: its path in etcd. Lists are sorted by the bytes of this key.
    pub(super) fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{namespace}/{name}")
        } else {
            name.to_owned()
        }
    }
}

/// True if CustomResourceDefinitions define the kinds of a group.
pub(super) fn is_custom(group: &str) -> bool {
    [ESO, ARGO, FLUX].contains(&group)
}

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}
