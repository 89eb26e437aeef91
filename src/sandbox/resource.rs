//! Which resources the sandbox's API serves: those that eso-sync asks for, and no more.

/// The group of the operator's resources.
pub(super) const ESO: &str = "external-secrets.io";

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
}

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
    }
}

const fn custom(
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
) -> Resource {
    Resource {
        group: ESO,
        plural,
        kind,
        short,
        namespaced: true,
        status: true,
    }
}

const fn cluster_wide(resource: Resource) -> Resource {
    Resource {
        namespaced: false,
        ..resource
    }
}

/// Everything that is served.
pub(super) static RESOURCES: [Resource; 11] = [
    custom("externalsecrets", "ExternalSecret", &["es"]),
    custom("secretstores", "SecretStore", &["ss"]),
    cluster_wide(custom(
        "clustersecretstores",
        "ClusterSecretStore",
        &["css"],
    )),
    cluster_wide(custom(
        "clusterexternalsecrets",
        "ClusterExternalSecret",
        &["ces"],
    )),
    core("secrets", "Secret", &[]),
    core("configmaps", "ConfigMap", &["cm"]),
    core("events", "Event", &["ev"]),
    Resource {
        status: true,
        ..core("pods", "Pod", &["po"])
    },
    cluster_wide(core("namespaces", "Namespace", &["ns"])),
    Resource {
        group: "coordination.k8s.io",
        plural: "leases",
        kind: "Lease",
        short: &[],
        namespaced: true,
        status: false,
    },
    Resource {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition",
        short: &["crd", "crds"],
        namespaced: false,
        status: true,
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

    /// Whether it is defined by the operator, not built into Kubernetes.
    pub(super) fn is_custom(&self) -> bool {
        self.group == ESO
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

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}
