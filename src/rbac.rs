//! The rights that a job needs for its policy, and no more, as Roles and `ClusterRoles` to apply.
//!
//! `RIGHTS` is the one list of what eso-sync asks of the API server, and for what; tests hold it to what was really
//! asked. Where a policy names its namespaces literally, Roles in those suffice, and the `ClusterRole` keeps only what has no
//! namespace.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::policy::{Policy, When};

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
    /// Saying on the job's own Pod how the run ended.
    Tell,
    /// Syncing, proving it, and saying on an ExternalSecret that it failed.
    Sync,
    /// Keeping runs apart.
    Lock,
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
];

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

/// What this policy needs; None stands for the ad hoc commands, which may be pointed at any ExternalSecret.
pub fn rules(policy: Option<&Policy>, job: &JobIdentity) -> Rbac {
    let syncs = policy.is_none_or(|policy| policy.sync.when != When::Never);
    let needed = |need| match need {
        Need::Look | Need::Tell => true,
        Need::LookAtNamespaces => policy.is_some_and(Policy::asks_for_namespace_labels),
        Need::Sync => syncs,
        Need::Lock => syncs && policy.is_none_or(|policy| policy.lock.enabled),
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
const VERBS: [&str; 6] = ["get", "list", "watch", "create", "update", "patch"];

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
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::{
        pattern::Pattern,
        policy::{Lock, Selection},
    };

    fn job() -> JobIdentity {
        JobIdentity {
            namespace: "eso-sync".to_owned(),
            service_account: "eso-sync".to_owned(),
        }
    }

    fn within(namespaces: &[&str]) -> Selection {
        let namespaces = namespaces
            .iter()
            .map(|text| Pattern::new(text).unwrap())
            .collect();
        Selection {
            namespaces,
            ..Selection::default()
        }
    }

    /// One line per rule.
    fn shown(rbac: &Rbac) -> String {
        let mut text = String::new();
        let places = rbac
            .namespaces
            .iter()
            .map(|(namespace, rules)| (namespace.as_str(), rules));
        for (place, rules) in [("(cluster)", &rbac.cluster)].into_iter().chain(places) {
            for Rule {
                resources,
                resource_names,
                verbs,
                ..
            } in rules
            {
                let names = if resource_names.is_empty() {
                    String::new()
                } else {
                    format!(" {}", resource_names.join(","))
                };
                writeln!(
                    text,
                    "{place}: {}{names}: {}",
                    resources.join(","),
                    verbs.join(",")
                )
                .unwrap();
            }
        }
        text
    }

    #[test]
    fn a_policy_without_namespaces_needs_cluster_roles() {
        let policy = Policy::selecting(vec![Selection::default()]);
        insta::assert_snapshot!(shown(&rules(Some(&policy), &job())), @"
        (cluster): externalsecrets: get,list,watch,patch
        (cluster): secretstores: list
        (cluster): events: list,watch,create
        (cluster): clustersecretstores: list
        (cluster): clusterexternalsecrets: get,patch
        (cluster): customresourcedefinitions externalsecrets.external-secrets.io: get
        eso-sync: pods: get
        eso-sync: leases: create
        eso-sync: leases eso-sync: get,update
        ");
    }

    #[test]
    fn literal_namespaces_need_roles_only() {
        let policy = Policy::selecting(vec![
            within(&["payments", "eso-sync"]),
            within(&["payments"]),
        ]);
        insta::assert_snapshot!(shown(&rules(Some(&policy), &job())), @"
        (cluster): clustersecretstores: list
        (cluster): clusterexternalsecrets: get,patch
        (cluster): customresourcedefinitions externalsecrets.external-secrets.io: get
        eso-sync: externalsecrets: get,list,watch,patch
        eso-sync: secretstores: list
        eso-sync: events: list,watch,create
        eso-sync: pods: get
        eso-sync: leases: create
        eso-sync: leases eso-sync: get,update
        payments: externalsecrets: get,list,watch,patch
        payments: secretstores: list
        payments: events: list,watch,create
        ");
    }

    #[test]
    fn only_namespace_labels_need_the_list_of_namespaces() {
        let lists = |policy: &Policy| {
            shown(&rules(Some(policy), &job())).contains("(cluster): namespaces: list")
        };
        let labelled = Selection {
            namespace_selector: "a=b".parse().ok(),
            ..within(&["prod"])
        };
        let mut policy = Policy::selecting(vec![within(&["prod-*"])]);
        assert!(
            !lists(&policy),
            "ExternalSecrets bear the names that a glob is held against"
        );
        policy.exclude = vec![labelled.clone()];
        assert!(lists(&policy));
        policy = Policy::selecting(vec![labelled]);
        assert!(lists(&policy));
        assert!(
            rules(Some(&policy), &job())
                .namespaces
                .keys()
                .eq(["eso-sync"])
        );
    }

    #[test]
    fn a_policy_that_never_syncs_needs_no_right_to_write_outside_the_job() {
        let mut policy = Policy::selecting(vec![Selection::default()]);
        policy.sync.when = When::Never;
        insta::assert_snapshot!(shown(&rules(Some(&policy), &job())), @"
        (cluster): externalsecrets: list
        (cluster): secretstores: list
        (cluster): clustersecretstores: list
        (cluster): clusterexternalsecrets: get
        (cluster): customresourcedefinitions externalsecrets.external-secrets.io: get
        eso-sync: events: create
        eso-sync: pods: get
        ");
    }

    #[test]
    fn without_the_lock_no_right_to_leases_is_needed() {
        let mut policy = Policy::selecting(vec![Selection::default()]);
        policy.lock = Lock { enabled: false };
        assert!(!shown(&rules(Some(&policy), &job())).contains("leases"));
    }

    #[test]
    fn the_ad_hoc_commands_need_the_whole_cluster() {
        let any = Policy::selecting(vec![Selection::default()]);
        assert_eq!(rules(None, &job()), rules(Some(&any), &job()));
    }

    #[test]
    fn no_right_reaches_secrets() {
        let reaches = |(_, _, _, resource, _, verbs): &Right| {
            *resource == "secrets" || *resource == "*" || verbs.contains(&"*")
        };
        assert!(!RIGHTS.iter().any(reaches));
    }

    #[test]
    fn what_is_granted_is_what_is_allowed() {
        let rbac = rules(
            Some(&Policy::selecting(vec![within(&["payments"])])),
            &job(),
        );
        // VERB GROUP/RESOURCE NAMESPACE NAME, with `-` for none.
        let allows = |request: &str| {
            let words: Vec<&str> = request.split(' ').collect();
            let some = |word: &str| (word != "-").then(|| word.to_owned());
            let (group, resource) = words[1].split_once('/').unwrap();
            rbac.allows(&Request {
                verb: words[0].to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: some(words[2]),
                name: some(words[3]),
            })
        };
        for request in [
            "list external-secrets.io/externalsecrets payments -",
            "patch external-secrets.io/externalsecrets payments db",
            "list external-secrets.io/clustersecretstores - -",
            "create coordination.k8s.io/leases eso-sync -",
            "update coordination.k8s.io/leases eso-sync eso-sync",
            "create /events payments -",
        ] {
            assert!(allows(request), "{request}");
        }
        for request in [
            "list external-secrets.io/externalsecrets - -",
            "list external-secrets.io/externalsecrets web -",
            "update external-secrets.io/externalsecrets payments db",
            "patch external-secrets.io/externalsecrets/status payments db",
            "patch apps/externalsecrets payments db",
            "update coordination.k8s.io/leases eso-sync other",
            "list coordination.k8s.io/leases eso-sync -",
        ] {
            assert!(!allows(request), "{request}");
        }
    }

    #[test]
    fn the_manifests_can_be_applied_as_they_are() {
        let mut policy = Policy::selecting(vec![within(&["payments"])]);
        policy.sync.when = When::Never;
        let job = JobIdentity {
            namespace: "ops".to_owned(),
            service_account: "syncer".to_owned(),
        };
        let yaml = rules(Some(&policy), &job).to_yaml();
        let (cluster, namespaced) = yaml
            .split_once("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  labels:\n    app.kubernetes.io/name: eso-sync\n  name: eso-sync\n  namespace: payments\n")
            .unwrap();
        assert!(
            cluster.contains("kind: ClusterRole\n")
                && cluster.contains("kind: ClusterRoleBinding\n")
        );
        insta::assert_snapshot!(namespaced, @"
        rules:
        - apiGroups:
          - external-secrets.io
          resources:
          - externalsecrets
          verbs:
          - list
        - apiGroups:
          - external-secrets.io
          resources:
          - secretstores
          verbs:
          - list
        ---
        apiVersion: rbac.authorization.k8s.io/v1
        kind: RoleBinding
        metadata:
          labels:
            app.kubernetes.io/name: eso-sync
          name: eso-sync
          namespace: payments
        roleRef:
          apiGroup: rbac.authorization.k8s.io
          kind: Role
          name: eso-sync
        subjects:
        - kind: ServiceAccount
          name: syncer
          namespace: ops
        ");
    }
}
