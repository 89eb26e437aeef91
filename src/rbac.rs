//! The rights that a job needs for its policy, and no more, as Roles and `ClusterRoles` to apply.
//!
//! `RIGHTS` is the one list of what eso-sync asks of the API server, and for what; tests hold it to what was really
//! asked. Where a policy names its namespaces literally, Roles in those suffice, and the `ClusterRole` keeps only what has no
//! namespace.

pub mod provider;

use std::collections::BTreeMap;

use providers::trust::Credentials;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    policy::{Drift, OnStillStale, Policy, RestartRule, When},
    workload::{Kind, Strategy},
};

/// Who runs eso-sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobIdentity {
    /// The namespace of the job, its `ServiceAccount` and its Lease.
    pub namespace: String,
    /// The `ServiceAccount`'s name.
    pub service_account: String,
}

/// The name of the Lease that keeps runs apart.
pub const LEASE: &str = "eso-sync";

/// The name of the Secret with the key of all stamps.
pub const STAMP_KEY: &str = "eso-sync-stamp-key";

/// The name of the ConfigMap with the workloads that were stamped.
pub const KNOWN: &str = "eso-sync-stamped";

/// The namespace that the manifests install into, and where the Lease lives unless somebody says otherwise.
pub const DEFAULT_NAMESPACE: &str = "eso-sync";

/// The name of all that is granted.
const NAME: &str = "eso-sync";

/// What a right is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Seeing what is there.
    Look,
    /// Seeing the labels of namespaces.
    LookAtNamespaces,
    /// Seeing what the target Secrets hold.
    Compare,
    /// Resolving the credentials that stores name.
    Resolve,
    /// Having the operator write a Secret anew.
    Refetch,
    /// Having it create a Secret anew.
    Recreate,
    /// Saying on the job's own Pod how the run ended.
    Tell,
    /// Syncing, proving it, and saying on an ExternalSecret that it failed.
    Sync,
    /// Keeping runs apart.
    Lock,
    /// Telling what workloads started with, and noting it; and saying on one that its restart failed.
    Stamp,
    /// Restarting workloads of this kind.
    Restart(Kind),
    /// Restarting by eviction.
    Evict,
}

/// Where a right holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In the namespaces that are selected from.
    Selected,
    /// In the namespace of the job.
    Job,
    /// For objects that have no namespace.
    Cluster,
}

/// Need, scope, API group, resource, names (empty: any), verbs.
type Right = (
    Need,
    Scope,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const ESO: &str = "external-secrets.io";
const LEASES: &str = "coordination.k8s.io";
const CRDS: &str = "apiextensions.k8s.io";

#[rustfmt::skip]
const RIGHTS: &[Right] = &[
    (Need::Look, Scope::Selected, ESO, "externalsecrets", &[], &["list"]),
    (Need::Sync, Scope::Selected, ESO, "externalsecrets", &[], &["get", "watch", "patch"]),
    (Need::Look, Scope::Selected, ESO, "secretstores", &[], &["list"]),
    // Warnings are the only sign of a failure that repeats itself.
    (Need::Sync, Scope::Selected, "", "events", &[], &["list", "watch", "create"]),
    (Need::Tell, Scope::Job, "", "events", &[], &["create"]),
    // For the uid, without which an Event belongs to no Pod.
    (Need::Tell, Scope::Job, "", "pods", &[], &["get"]),
    // A rule with names grants no `create`: there is no object yet when that is asked.
    (Need::Lock, Scope::Job, LEASES, "leases", &[], &["create"]),
    (Need::Lock, Scope::Job, LEASES, "leases", &[LEASE], &["get", "update"]),
    (Need::Look, Scope::Cluster, ESO, "clustersecretstores", &[], &["list"]),
    // Children are synced through their parent.
    (Need::Look, Scope::Cluster, ESO, "clusterexternalsecrets", &[], &["get"]),
    (Need::Sync, Scope::Cluster, ESO, "clusterexternalsecrets", &[], &["patch"]),
    // The operator's age shows in the fields that its definitions have.
    (Need::Look, Scope::Cluster, CRDS, "customresourcedefinitions", &["externalsecrets.external-secrets.io"], &["get"]),
    (Need::LookAtNamespaces, Scope::Cluster, "", "namespaces", &[], &["list"]),
    (Need::Compare, Scope::Selected, "", "secrets", &[], &["get", "list"]),
    // Templates may stand in ConfigMaps.
    (Need::Compare, Scope::Selected, "", "configmaps", &[], &["get"]),
    (Need::Refetch, Scope::Selected, "", "secrets", &[], &["patch"]),
    (Need::Recreate, Scope::Selected, "", "secrets", &[], &["delete"]),
    (Need::Resolve, Scope::Selected, "", "secrets", &[], &["get"]),
    (Need::Resolve, Scope::Selected, "", "configmaps", &[], &["get"]),
    (Need::Resolve, Scope::Selected, "", "serviceaccounts", &[], &["get"]),
    (Need::Resolve, Scope::Selected, "", "serviceaccounts/token", &[], &["create"]),
    (Need::Stamp, Scope::Selected, "", "secrets", &[], &["get", "list"]),
    (Need::Stamp, Scope::Selected, "", "pods", &[], &["list"]),
    (Need::Stamp, Scope::Selected, "", "events", &[], &["create"]),
    // The key, and the names of what was stamped.
    (Need::Stamp, Scope::Job, "", "secrets", &[], &["create"]),
    (Need::Stamp, Scope::Job, "", "secrets", &[STAMP_KEY], &["get"]),
    (Need::Stamp, Scope::Job, "", "configmaps", &[], &["create"]),
    (Need::Stamp, Scope::Job, "", "configmaps", &[KNOWN], &["get", "patch"]),
    (Need::Restart(Kind::DaemonSet), Scope::Selected, "apps", "daemonsets", &[], RESTARTS),
    (Need::Restart(Kind::Deployment), Scope::Selected, "apps", "deployments", &[], RESTARTS),
    (Need::Restart(Kind::Pod), Scope::Selected, "", "pods", &[], RESTARTS),
    (Need::Restart(Kind::ReplicaSet), Scope::Selected, "apps", "replicasets", &[], RESTARTS),
    (Need::Restart(Kind::Rollout), Scope::Selected, "argoproj.io", "rollouts", &[], RESTARTS),
    // A Rollout may have its pod template in one of these.
    (Need::Restart(Kind::Rollout), Scope::Selected, "apps", "deployments", &[], &["get"]),
    (Need::Restart(Kind::Rollout), Scope::Selected, "apps", "replicasets", &[], &["get"]),
    (Need::Restart(Kind::StatefulSet), Scope::Selected, "apps", "statefulsets", &[], RESTARTS),
    (Need::Evict, Scope::Selected, "", "pods/eviction", &[], &["create"]),
];

const RESTARTS: &[&str] = &["get", "list", "watch", "patch"];

/// One rule of a Role or `ClusterRole`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// One group.
    pub api_groups: Vec<String>,
    /// One resource.
    pub resources: Vec<String>,
    /// Empty: any name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Each once.
    pub verbs: Vec<String>,
}

impl Rule {
    fn covers(&self, other: &Self) -> bool {
        self.api_groups == other.api_groups
            && self.resources == other.resources
            && (self.resource_names.is_empty() || self.resource_names == other.resource_names)
            && other.verbs.iter().all(|verb| self.verbs.contains(verb))
    }
}

/// What one `ServiceAccount` is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rbac {
    /// Who gets it.
    pub job: JobIdentity,
    /// For the whole cluster.
    pub cluster: Vec<Rule>,
    /// By namespace.
    pub namespaces: BTreeMap<String, Vec<Rule>>,
}

/// What this policy needs; None stands for the ad hoc commands, which may be pointed at any ExternalSecret. Those restart with the
/// rights of whoever types them.
pub fn rules(policy: Option<&Policy>, job: &JobIdentity) -> Rbac {
    let syncs = policy.is_none_or(|policy| policy.sync.when != When::Never);
    let drift = policy.map_or_else(Drift::default, |policy| policy.drift.clone());
    let restarts: &[RestartRule] = policy.map_or(&[], |policy| &policy.restart);
    let restarts_kind = |kind| restarts.iter().any(|rule| rule.kinds.contains(&kind));
    let rung = policy.map_or(OnStillStale::Report, |policy| policy.sync.on_still_stale);
    let needed = |need| match need {
        Need::Look | Need::Tell => true,
        Need::Stamp => !restarts.is_empty(),
        Need::Restart(kind) => restarts_kind(kind),
        Need::Evict => restarts.iter().any(|rule| rule.strategy == Strategy::Evict),
        // Conditions of stores ask for them too.
        Need::LookAtNamespaces => {
            drift.enabled || policy.is_some_and(Policy::asks_for_namespace_labels)
        }
        Need::Compare => drift.enabled,
        Need::Refetch => syncs && drift.enabled && rung >= OnStillStale::Refetch,
        Need::Recreate => syncs && drift.enabled && rung >= OnStillStale::Recreate,
        Need::Resolve => drift.enabled && uses_stores_credentials(&drift),
        Need::Sync => syncs,
        Need::Lock => {
            (syncs || !restarts.is_empty()) && policy.is_none_or(|policy| policy.lock.enabled)
        }
    };
    let selected = policy.and_then(Policy::literal_namespaces);
    let mut cluster = Vec::new();
    let mut namespaces: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    for right in RIGHTS.iter().filter(|(need, ..)| needed(*need)) {
        let (_, scope, ..) = right;
        match (scope, &selected) {
            (Scope::Selected, Some(selected)) => {
                for namespace in selected {
                    grant(namespaces.entry(namespace.clone()).or_default(), right);
                }
            }
            (Scope::Job, _) => {
                grant(namespaces.entry(job.namespace.clone()).or_default(), right);
            }
            (Scope::Selected, None) | (Scope::Cluster, _) => grant(&mut cluster, right),
        }
    }
    for rules in namespaces.values_mut() {
        rules.retain(|rule| !cluster.iter().any(|wider| wider.covers(rule)));
    }
    namespaces.retain(|_, rules| !rules.is_empty());
    Rbac {
        job: job.clone(),
        cluster,
        namespaces,
    }
}

fn uses_stores_credentials(drift: &Drift) -> bool {
    let mut used = drift.stores.values().chain([&drift.credentials]);
    used.any(|credentials| *credentials == Credentials::Store)
}

/// Adds to the rule for the same objects, if there is one.
fn grant(rules: &mut Vec<Rule>, (_, _, group, resource, names, verbs): &Right) {
    let owned =
        |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
    let wanted = Rule {
        api_groups: owned(&[group]),
        resources: owned(&[resource]),
        resource_names: owned(names),
        verbs: Vec::new(),
    };
    let same = |rule: &Rule| {
        rule.api_groups == wanted.api_groups
            && rule.resources == wanted.resources
            && rule.resource_names == wanted.resource_names
    };
    let place = rules.iter().position(same).unwrap_or_else(|| {
        rules.push(wanted.clone());
        rules.len() - 1
    });
    if let Some(rule) = rules.get_mut(place) {
        rule.verbs.extend(owned(verbs));
        rule.verbs
            .sort_by_key(|verb| VERBS.iter().position(|known| known == verb));
        rule.verbs.dedup();
    }
}

/// In the order in which people list them.
const VERBS: [&str; 7] = [
    "get", "list", "watch", "create", "update", "patch", "delete",
];

/// A request to the API server, as far as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, …
    pub verb: String,
    /// The API group; empty for the core.
    pub group: String,
    /// The plural of the resource, with its subresource after a slash.
    pub resource: String,
    /// None for objects without a namespace, and across all namespaces.
    pub namespace: Option<String>,
    /// None for lists, watches and creations.
    pub name: Option<String>,
}

impl Rbac {
    /// The same, with the rights to resolve what ClusterSecretStores refer to in these namespaces.
    #[must_use]
    pub fn with_credentials_in(mut self, namespaces: &[String]) -> Self {
        for namespace in namespaces {
            let mut rules = Vec::new();
            let rights = RIGHTS.iter();
            for right in rights.filter(|(need, ..)| *need == Need::Resolve) {
                grant(&mut rules, right);
            }
            let there = self.namespaces.entry(namespace.clone()).or_default();
            for rule in rules {
                let known = self.cluster.iter().chain(there.iter());
                if !known.into_iter().any(|wider| wider.covers(&rule)) {
                    there.push(rule);
                }
            }
        }
        self.namespaces.retain(|_, rules| !rules.is_empty());
        self
    }

    /// Whether the API server would let this pass.
    pub fn allows(&self, request: &Request) -> bool {
        let covers = |rule: &Rule| {
            rule.api_groups.contains(&request.group)
                && rule.resources.contains(&request.resource)
                && rule.verbs.contains(&request.verb)
                && (rule.resource_names.is_empty()
                    || request
                        .name
                        .as_ref()
                        .is_some_and(|name| rule.resource_names.contains(name)))
        };
        let within = request
            .namespace
            .as_ref()
            .and_then(|namespace| self.namespaces.get(namespace));
        self.cluster
            .iter()
            .chain(within.into_iter().flatten())
            .any(covers)
    }

    /// The manifests: `ClusterRole` and Roles, each with its binding. Not the `ServiceAccount` itself.
    pub fn manifests(&self) -> Vec<Value> {
        let mut manifests = Vec::new();
        if !self.cluster.is_empty() {
            manifests.extend(self.pair(None, &self.cluster));
        }
        for (namespace, rules) in &self.namespaces {
            manifests.extend(self.pair(Some(namespace), rules));
        }
        manifests
    }

    /// The manifests as one YAML stream.
    pub fn to_yaml(&self) -> String {
        let documents: Vec<String> = self
            .manifests()
            .iter()
            .filter_map(|it| serde_saphyr::to_string(it).ok())
            .collect();
        documents.join("---\n")
    }

    fn pair(&self, namespace: Option<&str>, rules: &[Rule]) -> [Value; 2] {
        let (role, binding) = if namespace.is_some() {
            ("Role", "RoleBinding")
        } else {
            ("ClusterRole", "ClusterRoleBinding")
        };
        let labels = json!({"app.kubernetes.io/name": NAME});
        let metadata = match namespace {
            Some(namespace) => json!({"labels": labels, "name": NAME, "namespace": namespace}),
            None => json!({"labels": labels, "name": NAME}),
        };
        [
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": role, "metadata": metadata, "rules": rules}),
            json!({
                "apiVersion": format!("{GROUP}/v1"),
                "kind": binding,
                "metadata": metadata,
                "roleRef": {"apiGroup": GROUP, "kind": role, "name": NAME},
                "subjects": [{
                    "kind": "ServiceAccount",
                    "name": self.job.service_account,
                    "namespace": self.job.namespace,
                }],
            }),
        ]
    }
}

const GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
