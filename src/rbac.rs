//! The rights that a job needs for its policy, and no more, as Roles and `ClusterRoles` to apply.
//!
//! [`RIGHTS`] is the one list of what eso-sync asks of the API server, and for what; tests hold it to what was really
//! asked. Where a policy names its namespaces literally, Roles in those suffice, and the `ClusterRole` keeps only what has no
//! namespace.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    pattern::Pattern,
    policy::{Policy, Selection, When},
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

/// The namespace that the manifests install into, and where the Lease lives unless somebody says otherwise.
pub const DEFAULT_NAMESPACE: &str = "eso-sync";

/// The name of all that is granted.
const NAME: &str = "eso-sync";

/// What a right is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Seeing what is there.
    Look,
    /// Syncing, and telling of it in Events.
    Sync,
    /// Keeping runs apart.
    Lock,
    /// Finding namespaces by label or glob.
    FindNamespaces,
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

struct Right {
    need: Need,
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    names: &'static [&'static str],
}

const fn right(
    need: Need,
    scope: Scope,
    (group, resource): (&'static str, &'static str),
    verbs: &'static [&'static str],
) -> Right {
    Right {
        need,
        scope,
        group,
        resource,
        verbs,
        names: &[],
    }
}

const ESO: &str = "external-secrets.io";

const RIGHTS: &[Right] = &[
    right(
        Need::Look,
        Scope::Selected,
        (ESO, "externalsecrets"),
        &["get", "list", "watch"],
    ),
    right(
        Need::Sync,
        Scope::Selected,
        (ESO, "externalsecrets"),
        &["patch"],
    ),
    right(
        Need::Look,
        Scope::Selected,
        (ESO, "secretstores"),
        &["get", "list"],
    ),
    // Warnings are the only sign of a failure that repeats itself.
    right(
        Need::Sync,
        Scope::Selected,
        ("", "events"),
        &["list", "watch"],
    ),
    // An Event on each ExternalSecret that failed, and one on the job's own Pod.
    right(
        Need::Sync,
        Scope::Selected,
        ("", "events"),
        &["create", "patch"],
    ),
    right(Need::Sync, Scope::Job, ("", "events"), &["create", "patch"]),
    right(Need::Sync, Scope::Job, ("", "pods"), &["get"]),
    // The name cannot be asked of `create`: the object does not exist yet when that is authorized.
    right(
        Need::Lock,
        Scope::Job,
        ("coordination.k8s.io", "leases"),
        &["create"],
    ),
    Right {
        names: &[LEASE],
        ..right(
            Need::Lock,
            Scope::Job,
            ("coordination.k8s.io", "leases"),
            &["get", "update"],
        )
    },
    right(
        Need::Look,
        Scope::Cluster,
        (ESO, "clustersecretstores"),
        &["get", "list"],
    ),
    // Their children are synced through them.
    right(
        Need::Look,
        Scope::Cluster,
        (ESO, "clusterexternalsecrets"),
        &["get"],
    ),
    right(
        Need::Sync,
        Scope::Cluster,
        (ESO, "clusterexternalsecrets"),
        &["patch"],
    ),
    // The operator's age shows in the fields of its own definitions.
    Right {
        names: &["externalsecrets.external-secrets.io"],
        ..right(
            Need::Look,
            Scope::Cluster,
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            &["get"],
        )
    },
    right(
        Need::FindNamespaces,
        Scope::Cluster,
        ("", "namespaces"),
        &["list"],
    ),
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
    let needed = |need| match need {
        Need::Look => true,
        Need::Sync => policy.is_none_or(|policy| policy.sync.when != When::Never),
        Need::Lock => {
            policy.is_none_or(|policy| policy.lock.enabled && policy.sync.when != When::Never)
        }
        Need::FindNamespaces => policy.is_some_and(finds_namespaces),
    };
    let selected = policy.and_then(|policy| literal_namespaces(&policy.select));
    let mut rbac = Rbac {
        job: job.clone(),
        cluster: Vec::new(),
        namespaces: BTreeMap::new(),
    };
    for right in RIGHTS.iter().filter(|right| needed(right.need)) {
        match (right.scope, &selected) {
            (Scope::Selected, Some(namespaces)) => {
                for namespace in namespaces {
                    grant(rbac.namespaces.entry(namespace.clone()).or_default(), right);
                }
            }
            (Scope::Job, _) => grant(
                rbac.namespaces.entry(job.namespace.clone()).or_default(),
                right,
            ),
            (Scope::Selected, None) | (Scope::Cluster, _) => grant(&mut rbac.cluster, right),
        }
    }
    for rules in rbac.namespaces.values_mut() {
        rules.retain(|rule| !rbac.cluster.iter().any(|wider| wider.covers(rule)));
    }
    rbac
}

/// The namespaces of a policy that names all of them.
fn literal_namespaces(select: &[Selection]) -> Option<BTreeSet<String>> {
    let mut namespaces = BTreeSet::new();
    for entry in select {
        if entry.namespaces.is_empty() || entry.namespace_selector.is_some() {
            return None;
        }
        for pattern in &entry.namespaces {
            namespaces.insert(pattern.literal()?.to_owned());
        }
    }
    Some(namespaces)
}

fn finds_namespaces(policy: &Policy) -> bool {
    let by_glob = |entry: &Selection| {
        entry
            .namespaces
            .iter()
            .any(|pattern: &Pattern| pattern.literal().is_none())
    };
    policy.select.iter().any(by_glob)
        || policy
            .select
            .iter()
            .chain(&policy.exclude)
            .any(|entry| entry.namespace_selector.is_some())
}

fn grant(rules: &mut Vec<Rule>, right: &Right) {
    let owned =
        |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
    let wanted = Rule {
        api_groups: owned(&[right.group]),
        resources: owned(&[right.resource]),
        resource_names: owned(right.names),
        verbs: owned(right.verbs),
    };
    let same = |rule: &&mut Rule| {
        (&rule.api_groups, &rule.resources, &rule.resource_names)
            == (
                &wanted.api_groups,
                &wanted.resources,
                &wanted.resource_names,
            )
    };
    match rules.iter_mut().find(same) {
        Some(rule) => {
            for verb in wanted.verbs {
                if !rule.verbs.contains(&verb) {
                    rule.verbs.push(verb);
                }
            }
        }
        None => rules.push(wanted),
    }
}

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
    use crate::policy::Lock;

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
        (cluster): secretstores: get,list
        (cluster): events: list,watch,create,patch
        (cluster): clustersecretstores: get,list
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
        (cluster): clustersecretstores: get,list
        (cluster): clusterexternalsecrets: get,patch
        (cluster): customresourcedefinitions externalsecrets.external-secrets.io: get
        eso-sync: externalsecrets: get,list,watch,patch
        eso-sync: secretstores: get,list
        eso-sync: events: list,watch,create,patch
        eso-sync: pods: get
        eso-sync: leases: create
        eso-sync: leases eso-sync: get,update
        payments: externalsecrets: get,list,watch,patch
        payments: secretstores: get,list
        payments: events: list,watch,create,patch
        ");
    }

    #[test]
    fn globs_and_namespace_labels_need_the_list_of_namespaces() {
        let mut policy = Policy::selecting(vec![within(&["prod-*"])]);
        let lists = |policy: &Policy| {
            shown(&rules(Some(policy), &job())).contains("(cluster): namespaces: list")
        };
        assert!(lists(&policy));
        policy.select = vec![within(&["prod"])];
        assert!(!lists(&policy));
        policy.exclude = vec![within(&["prod-*"])];
        assert!(
            !lists(&policy),
            "an excluded glob is held against names that are known already"
        );
        policy.exclude = vec![Selection {
            namespace_selector: "a=b".parse().ok(),
            ..Selection::default()
        }];
        assert!(lists(&policy));
        policy.exclude = Vec::new();
        policy.select = vec![Selection {
            namespace_selector: "a=b".parse().ok(),
            ..within(&["prod"])
        }];
        assert!(lists(&policy));
        assert!(
            rules(Some(&policy), &job())
                .namespaces
                .keys()
                .eq(["eso-sync"])
        );
    }

    #[test]
    fn a_policy_that_never_syncs_needs_no_right_to_write() {
        let mut policy = Policy::selecting(vec![Selection::default()]);
        policy.sync.when = When::Never;
        insta::assert_snapshot!(shown(&rules(Some(&policy), &job())), @"
        (cluster): externalsecrets: get,list,watch
        (cluster): secretstores: get,list
        (cluster): clustersecretstores: get,list
        (cluster): clusterexternalsecrets: get
        (cluster): customresourcedefinitions externalsecrets.external-secrets.io: get
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
        assert!(RIGHTS.iter().all(|right| right.resource != "secrets"
            && right.resource != "*"
            && !right.verbs.contains(&"*")));
    }

    #[test]
    fn what_is_granted_is_what_is_allowed() {
        let rbac = rules(
            Some(&Policy::selecting(vec![within(&["payments"])])),
            &job(),
        );
        let asks = |verb: &str,
                    group: &str,
                    resource: &str,
                    namespace: Option<&str>,
                    name: Option<&str>| {
            rbac.allows(&Request {
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
            })
        };
        assert!(asks("list", ESO, "externalsecrets", Some("payments"), None));
        assert!(!asks("list", ESO, "externalsecrets", None, None));
        assert!(!asks("list", ESO, "externalsecrets", Some("web"), None));
        assert!(!asks(
            "update",
            ESO,
            "externalsecrets",
            Some("payments"),
            Some("db")
        ));
        assert!(!asks(
            "patch",
            ESO,
            "externalsecrets/status",
            Some("payments"),
            Some("db")
        ));
        assert!(asks("get", ESO, "clustersecretstores", None, Some("vault")));
        assert!(asks(
            "create",
            "coordination.k8s.io",
            "leases",
            Some("eso-sync"),
            None
        ));
        assert!(asks(
            "update",
            "coordination.k8s.io",
            "leases",
            Some("eso-sync"),
            Some(LEASE)
        ));
        assert!(!asks(
            "update",
            "coordination.k8s.io",
            "leases",
            Some("eso-sync"),
            Some("other")
        ));
        assert!(!asks(
            "list",
            "coordination.k8s.io",
            "leases",
            Some("eso-sync"),
            None
        ));
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
            .split_once("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n")
            .unwrap();
        assert!(
            cluster.contains("kind: ClusterRole\n")
                && cluster.contains("kind: ClusterRoleBinding\n")
        );
        insta::assert_snapshot!(namespaced, @"
        metadata:
          labels:
            app.kubernetes.io/name: eso-sync
          name: eso-sync
          namespace: payments
        rules:
        - apiGroups:
          - external-secrets.io
          resources:
          - externalsecrets
          verbs:
          - get
          - list
          - watch
        - apiGroups:
          - external-secrets.io
          resources:
          - secretstores
          verbs:
          - get
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
