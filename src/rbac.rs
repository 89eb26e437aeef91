//! The RBAC rights that a job needs for its policy, as Roles and `ClusterRoles` to apply.
//!
//! `RIGHTS` is the only list of the requests that eso-sync sends to the API server, each with its purpose. Tests compare it
//! with real requests. If a policy lists its namespaces literally, Roles in those namespaces are enough, and the `ClusterRole`
//! only covers cluster-scoped resources.

pub mod provider;
pub mod publish;

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use cluster::names::is_name;
use providers::trust::Credentials;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    pattern::{Pattern, literals},
    policy::{Drift, OnStillStale, Policy, RestartRule, When},
    workload::{Kind, Strategy},
};

/// The `ServiceAccount` that runs eso-sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobIdentity {
    /// The namespace of the job, its `ServiceAccount` and its Lease.
    pub namespace: String,
    pub service_account: String,
}

/// A ServiceAccount that a store names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAccountName {
    pub namespace: String,
    pub name: String,
}

/// The error for a text that is not `NAMESPACE/NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write NAMESPACE/NAME, for example `payments/vault-reader`")]
pub struct InvalidServiceAccountName;

impl FromStr for ServiceAccountName {
    type Err = InvalidServiceAccountName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceAccountName> {
        let (namespace, name) = text.split_once('/').ok_or(InvalidServiceAccountName)?;
        if !is_name(namespace) || !is_name(name) {
            return Err(InvalidServiceAccountName);
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// The ServiceAccount of the install manifests.
pub const SERVICE_ACCOUNT: &str = "eso-sync";

/// The name of the Lease that prevents parallel runs.
pub const LEASE: &str = "eso-sync";

/// The name of the Secret with the stamp key.
pub const STAMP_KEY: &str = "eso-sync-stamp-key";

/// The name of the ConfigMap with the list of stamped workloads.
pub const KNOWN: &str = "eso-sync-stamped";

/// The name of the ConfigMap with the history of runs.
pub const HISTORY: &str = "eso-sync-history";

/// The namespace of the install manifests, and the default namespace of the Lease.
pub const DEFAULT_NAMESPACE: &str = "eso-sync";

/// The name of the Roles, the `ClusterRole` and their bindings.
const NAME: &str = "eso-sync";

/// The purpose of a right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Discover objects.
    Look,
    /// Read the labels of namespaces.
    ReadNamespaceLabels,
    /// Compare the data of target Secrets.
    Compare,
    /// Resolve the credentials that stores reference.
    Resolve,
    /// Make the operator write a Secret again.
    Refetch,
    /// Make the operator create a Secret again.
    Recreate,
    /// Write the summary Event on the job's Pod.
    WritePodEvent,
    /// Sync, prove the sync, and write Events on ExternalSecrets that failed.
    Sync,
    /// Prevent parallel runs.
    Lock,
    /// Read and write stamps, and write Events on workloads whose restart failed.
    Stamp,
    /// Restart workloads of this kind.
    Restart(Kind),
    /// Restart by eviction.
    Evict,
    /// Recognise the queues of this cluster.
    IdentifyCluster,
    /// Keep the history of runs.
    History,
}

/// Where a right applies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In the selected namespaces.
    Selected,
    /// For the ExternalSecrets that the policy selects.
    Synced,
    /// For the workloads of this kind that the rules cover.
    Restarted(Kind),
    /// In the namespace of the job.
    Job,
    /// For cluster-scoped resources.
    Cluster,
}

/// Need, scope, API group, resource, names (empty means any), verbs.
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
    (Need::Sync, Scope::Selected, ESO, "externalsecrets", &[], &["get", "watch"]),
    (Need::Sync, Scope::Synced, ESO, "externalsecrets", &[], &["patch"]),
    (Need::Look, Scope::Selected, ESO, "secretstores", &[], &["list"]),
    // Warning Events are the only sign of a repeated failure.
    (Need::Sync, Scope::Selected, "", "events", &[], &["list", "watch", "create"]),
    (Need::WritePodEvent, Scope::Job, "", "events", &[], &["create"]),
    // For the uid: an Event must name it to show up on the Pod.
    (Need::WritePodEvent, Scope::Job, "", "pods", &[], &["get"]),
    // A rule with names cannot grant `create`, because the name is not known at authorization time.
    (Need::Lock, Scope::Job, LEASES, "leases", &[], &["create"]),
    (Need::Lock, Scope::Job, LEASES, "leases", &[LEASE], &["get", "update"]),
    (Need::Look, Scope::Cluster, ESO, "clustersecretstores", &[], &["list"]),
    // Children are synced through their parent.
    (Need::Look, Scope::Cluster, ESO, "clusterexternalsecrets", &[], &["get"]),
    (Need::Sync, Scope::Cluster, ESO, "clusterexternalsecrets", &[], &["patch"]),
    // The fields in the CRD show how old the operator is.
    (Need::Look, Scope::Cluster, CRDS, "customresourcedefinitions", &["externalsecrets.external-secrets.io"], &["get"]),
    (Need::ReadNamespaceLabels, Scope::Cluster, "", "namespaces", &[], &["list"]),
    (Need::Compare, Scope::Selected, "", "secrets", &[], &["get", "list"]),
    // Templates can be in ConfigMaps.
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
    // The stamp key, and the list of stamped workloads.
    (Need::Stamp, Scope::Job, "", "secrets", &[], &["create"]),
    (Need::Stamp, Scope::Job, "", "secrets", &[STAMP_KEY], &["get"]),
    (Need::Stamp, Scope::Job, "", "configmaps", &[], &["create"]),
    (Need::Stamp, Scope::Job, "", "configmaps", &[KNOWN], &["get", "patch"]),
    (Need::Restart(Kind::DaemonSet), Scope::Selected, "apps", "daemonsets", &[], WATCHED),
    (Need::Restart(Kind::DaemonSet), Scope::Restarted(Kind::DaemonSet), "apps", "daemonsets", &[], &["patch"]),
    (Need::Restart(Kind::Deployment), Scope::Selected, "apps", "deployments", &[], WATCHED),
    (Need::Restart(Kind::Deployment), Scope::Restarted(Kind::Deployment), "apps", "deployments", &[], &["patch"]),
    (Need::Restart(Kind::Pod), Scope::Selected, "", "pods", &[], WATCHED),
    (Need::Restart(Kind::Pod), Scope::Restarted(Kind::Pod), "", "pods", &[], &["patch"]),
    (Need::Restart(Kind::ReplicaSet), Scope::Selected, "apps", "replicasets", &[], WATCHED),
    (Need::Restart(Kind::ReplicaSet), Scope::Restarted(Kind::ReplicaSet), "apps", "replicasets", &[], &["patch"]),
    (Need::Restart(Kind::Rollout), Scope::Selected, "argoproj.io", "rollouts", &[], WATCHED),
    (Need::Restart(Kind::Rollout), Scope::Restarted(Kind::Rollout), "argoproj.io", "rollouts", &[], &["patch"]),
    // A Rollout can reference a pod template in one of these.
    (Need::Restart(Kind::Rollout), Scope::Selected, "apps", "deployments", &[], &["get"]),
    (Need::Restart(Kind::Rollout), Scope::Selected, "apps", "replicasets", &[], &["get"]),
    (Need::Restart(Kind::StatefulSet), Scope::Selected, "apps", "statefulsets", &[], WATCHED),
    (Need::Restart(Kind::StatefulSet), Scope::Restarted(Kind::StatefulSet), "apps", "statefulsets", &[], &["patch"]),
    (Need::Evict, Scope::Selected, "", "pods/eviction", &[], &["create"]),
    (Need::History, Scope::Job, "", "configmaps", &[], &["create"]),
    (Need::History, Scope::Job, "", "configmaps", &[HISTORY], &["get", "patch"]),
    // Its UID identifies the cluster.
    (Need::IdentifyCluster, Scope::Cluster, "", "namespaces", &["kube-system"], &["get"]),
];

const WATCHED: &[&str] = &["get", "list", "watch"];

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Exactly one.
    pub api_groups: Vec<String>,
    /// Exactly one.
    pub resources: Vec<String>,
    /// Empty means any name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    pub verbs: Vec<String>,
}

impl Rule {
    fn covers(&self, other: &Self) -> bool {
        self.api_groups == other.api_groups
            && self.resources == other.resources
            && (self.resource_names.is_empty()
                || (!other.resource_names.is_empty()
                    && other
                        .resource_names
                        .iter()
                        .all(|name| self.resource_names.contains(name))))
            && other.verbs.iter().all(|verb| self.verbs.contains(verb))
    }
}

/// The rights of one `ServiceAccount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rbac {
    /// The Roles and their bindings are named after its ServiceAccount.
    pub job: JobIdentity,
    /// The rules of the `ClusterRole`.
    pub cluster: Vec<Rule>,
    /// The rules of the Roles, by namespace.
    pub namespaces: BTreeMap<String, Vec<Rule>>,
}

/// The rights that this policy needs. None means the ad hoc commands, which can be used on any ExternalSecret. Their
/// restarts use the rights of the person who runs them.
pub fn rules(policy: Option<&Policy>, job: &JobIdentity) -> Rbac {
    let syncs = policy.is_none_or(|policy| policy.sync.when != When::Never);
    let drift = policy.map_or_else(Drift::default, |policy| policy.drift.clone());
    let restarts: &[RestartRule] = policy.map_or(&[], |policy| &policy.restart);
    let restarts_kind = |kind| restarts.iter().any(|rule| rule.kinds.contains(&kind));
    let remedy = policy.map_or(OnStillStale::Report, |policy| policy.sync.on_still_stale);
    let needed = |need| match need {
        Need::Look | Need::WritePodEvent => true,
        Need::Stamp => !restarts.is_empty(),
        Need::Restart(kind) => restarts_kind(kind),
        Need::Evict => restarts.iter().any(|rule| rule.strategy == Strategy::Evict),
        // The conditions of stores use the labels too.
        Need::ReadNamespaceLabels => {
            drift.enabled || policy.is_some_and(Policy::asks_for_namespace_labels)
        }
        Need::Compare => drift.enabled,
        Need::Refetch => syncs && drift.enabled && remedy >= OnStillStale::Refetch,
        Need::Recreate => syncs && drift.enabled && remedy >= OnStillStale::Recreate,
        Need::Resolve => drift.enabled && uses_stores_credentials(&drift),
        Need::Sync => syncs,
        Need::IdentifyCluster => policy.is_some_and(|policy| policy.events.is_some()),
        Need::History => policy.is_some_and(Policy::keeps_history),
        Need::Lock => {
            (syncs || !restarts.is_empty()) && policy.is_none_or(|policy| policy.lock.enabled)
        }
    };
    let scopes = Scopes {
        policy,
        selected: policy.and_then(Policy::literal_namespaces),
        job,
    };
    let mut cluster = Vec::new();
    let mut namespaces: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    for right in RIGHTS.iter().filter(|(need, ..)| needed(*need)) {
        let (_, scope, _, _, names, _) = right;
        for place in scopes.of(*scope) {
            let rules = match place.namespace {
                Some(namespace) => namespaces.entry(namespace).or_default(),
                None => &mut cluster,
            };
            let fixed: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            grant(
                rules,
                right,
                if fixed.is_empty() { place.names } else { fixed },
            );
        }
    }
    without_covered(&mut cluster, &[]);
    for rules in namespaces.values_mut() {
        without_covered(rules, &cluster);
    }
    namespaces.retain(|_, rules| !rules.is_empty());
    Rbac {
        cluster,
        namespaces,
        ..Rbac::none(job)
    }
}

/// Removes the rules that another rule of the list, or one of these, covers.
fn without_covered(rules: &mut Vec<Rule>, wider: &[Rule]) {
    let all = rules.clone();
    rules.retain(|rule| {
        let mut others = all.iter().filter(|other| *other != rule).chain(wider);
        !others.any(|other| other.covers(rule))
    });
}

/// Where a right applies: a namespace or the whole cluster, and the names of the objects, or any.
struct Place {
    namespace: Option<String>,
    names: Vec<String>,
}

/// Resolves scopes for a policy. Prefers namespaces and names, where the policy has them literally.
struct Scopes<'a> {
    policy: Option<&'a Policy>,
    /// The namespaces of all selections, if they are literal.
    selected: Option<BTreeSet<String>>,
    job: &'a JobIdentity,
}

impl Scopes<'_> {
    fn of(&self, scope: Scope) -> Vec<Place> {
        match scope {
            Scope::Cluster => within(None, &[]),
            Scope::Job => within(Some(BTreeSet::from([self.job.namespace.clone()])), &[]),
            Scope::Selected => within(self.selected.clone(), &[]),
            Scope::Synced => {
                let Some(policy) = self.policy else {
                    return within(None, &[]);
                };
                let entries = policy.select.iter();
                entries
                    .flat_map(|entry| within(literals(&entry.namespaces), &entry.names))
                    .collect()
            }
            Scope::Restarted(kind) => {
                let rules = self.policy.map_or(&[][..], |policy| &policy.restart);
                let rules = rules.iter().filter(|rule| rule.kinds.contains(&kind));
                rules
                    .flat_map(|rule| {
                        let own = literals(&rule.namespaces);
                        let both = match (own, self.selected.clone()) {
                            (Some(own), Some(selected)) => Some(&own & &selected),
                            (own, selected) => own.or(selected),
                        };
                        // The replacement of an evicted pod has another name.
                        let names = if kind == Kind::Pod {
                            &[]
                        } else {
                            &rule.names[..]
                        };
                        within(both, names)
                    })
                    .collect()
            }
        }
    }
}

/// A place for each namespace, or the whole cluster. Names count only if all are literal.
fn within(namespaces: Option<BTreeSet<String>>, names: &[Pattern]) -> Vec<Place> {
    let names: Vec<String> = literals(names).into_iter().flatten().collect();
    let place = |namespace| Place {
        namespace,
        names: names.clone(),
    };
    match namespaces {
        Some(namespaces) => namespaces.into_iter().map(Some).map(place).collect(),
        None => vec![place(None)],
    }
}

fn uses_stores_credentials(drift: &Drift) -> bool {
    let mut used = drift.stores.values().chain([&drift.credentials]);
    used.any(|credentials| *credentials == Credentials::Store)
}

/// Adds the verbs to the rule for the same objects, or adds a new rule.
fn grant(rules: &mut Vec<Rule>, (_, _, group, resource, _, verbs): &Right, names: Vec<String>) {
    let owned =
        |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
    let wanted = Rule {
        api_groups: owned(&[group]),
        resources: owned(&[resource]),
        resource_names: names,
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

/// The usual order of verbs.
const VERBS: [&str; 7] = [
    "get", "list", "watch", "create", "update", "patch", "delete",
];

/// A request to the API server, as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, …
    pub verb: String,
    /// The API group, empty for the core group.
    pub group: String,
    /// The plural resource name, with `/` and the subresource if any.
    pub resource: String,
    /// None for cluster-scoped objects and requests across all namespaces.
    pub namespace: Option<String>,
    /// None for lists, watches and creations.
    pub name: Option<String>,
}

impl Rbac {
    fn none(job: &JobIdentity) -> Self {
        Self {
            job: job.clone(),
            cluster: Vec::new(),
            namespaces: BTreeMap::new(),
        }
    }

    /// Adds the rights to resolve references of ClusterSecretStores to these namespaces.
    #[must_use]
    pub fn with_credentials_in(mut self, namespaces: &[String]) -> Self {
        for namespace in namespaces {
            let mut rules = Vec::new();
            let rights = RIGHTS.iter();
            for right in rights.filter(|(need, ..)| *need == Need::Resolve) {
                grant(&mut rules, right, Vec::new());
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

    /// Limits the rights on `ServiceAccounts` to these.
    #[must_use]
    pub fn with_tokens_only_for(mut self, accounts: &[ServiceAccountName]) -> Self {
        let is_about_accounts = |rule: &Rule| {
            rule.resources
                .iter()
                .any(|resource| ACCOUNTS.contains(&resource.as_str()))
        };
        for rules in self.namespaces.values_mut().chain([&mut self.cluster]) {
            rules.retain(|rule| !is_about_accounts(rule));
        }
        for ServiceAccountName { namespace, name } in accounts {
            let rules = self.namespaces.entry(namespace.clone()).or_default();
            for right in RIGHTS
                .iter()
                .filter(|(_, _, _, resource, ..)| ACCOUNTS.contains(resource))
            {
                grant(rules, right, vec![name.clone()]);
            }
        }
        self.namespaces.retain(|_, rules| !rules.is_empty());
        self
    }

    /// Warnings about rights that amount to much more than they say.
    pub fn warnings(&self) -> Vec<String> {
        let system = self.namespaces.get(SYSTEM).into_iter().flatten();
        let places = [
            (
                "in the whole cluster",
                self.cluster.iter().collect::<Vec<_>>(),
            ),
            ("in the namespace kube-system", system.collect()),
        ];
        let mut warnings = Vec::new();
        for (place, rules) in places {
            let any = |resource: &str, verb: &str| {
                rules.iter().any(|rule| {
                    rule.resource_names.is_empty()
                        && rule.resources.iter().any(|known| known == resource)
                        && rule.verbs.iter().any(|known| known == verb)
                })
            };
            if any("serviceaccounts/token", "create") {
                warnings.push(format!(
                    "`create serviceaccounts/token` {place} is cluster-admin in effect: it gives a token of any ServiceAccount there. \
                     Name those that stores use with --token-for NAMESPACE/NAME, or list the namespaces by name in the policy"
                ));
            }
            let patched: Vec<&str> = TEMPLATES
                .iter()
                .copied()
                .filter(|kind| any(kind, "patch"))
                .collect();
            if !patched.is_empty() {
                warnings.push(format!(
                    "`patch {}` {place} is cluster-admin in effect: a pod template can run any image as any ServiceAccount there. \
                     List namespaces or names in the rules of `restart`, and install the admission policy of manifests/components/admission",
                    patched.join(",")
                ));
            }
        }
        warnings
    }

    /// True if the API server would allow this request.
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

    /// The `ClusterRole` and Roles, each with its binding, without the `ServiceAccount`.
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

    /// The rules of a job as values of the Helm chart. Its release is in the namespace of the job.
    pub fn to_helm_values(&self, job: &str) -> String {
        let own = self.namespaces.get(&self.job.namespace);
        let others = self.namespaces.iter();
        let others = others.filter(|(namespace, _)| **namespace != self.job.namespace);
        let others: Vec<Value> = others
            .map(|(name, rules)| json!({"name": name, "rules": rules}))
            .collect();
        let own = own.map_or(&[][..], Vec::as_slice);
        let rules = json!({"cluster": self.cluster, "own": own, "namespaces": others});
        let values = json!({"jobs": {job: {"rbac": {"rules": rules}}}});
        serde_saphyr::to_string(&values).unwrap_or_default()
    }

    fn pair(&self, namespace: Option<&str>, rules: &[Rule]) -> [Value; 2] {
        let (role, binding) = if namespace.is_some() {
            ("Role", "RoleBinding")
        } else {
            ("ClusterRole", "ClusterRoleBinding")
        };
        // Several jobs can be in one namespace, and each has its own account.
        let (labels, name) = (
            json!({"app.kubernetes.io/name": NAME}),
            &self.job.service_account,
        );
        let metadata = match namespace {
            Some(namespace) => json!({"labels": labels, "name": name, "namespace": namespace}),
            None => json!({"labels": labels, "name": name}),
        };
        [
            json!({"apiVersion": format!("{GROUP}/v1"), "kind": role, "metadata": metadata, "rules": rules}),
            json!({
                "apiVersion": format!("{GROUP}/v1"),
                "kind": binding,
                "metadata": metadata,
                "roleRef": {"apiGroup": GROUP, "kind": role, "name": name},
                "subjects": [{
                    "kind": "ServiceAccount",
                    "name": self.job.service_account,
                    "namespace": self.job.namespace,
                }],
            }),
        ]
    }
}

/// The namespace whose `ServiceAccounts` may do everything.
const SYSTEM: &str = "kube-system";

/// The resources that give tokens of `ServiceAccounts`.
const ACCOUNTS: [&str; 2] = ["serviceaccounts", "serviceaccounts/token"];

/// The resources whose pod template decides what runs.
const TEMPLATES: [&str; 5] = [
    "daemonsets",
    "deployments",
    "replicasets",
    "rollouts",
    "statefulsets",
];

const GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests;
