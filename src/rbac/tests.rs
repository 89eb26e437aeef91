use std::fmt::Write;

use super::*;
use crate::{
    pattern::Pattern,
    policy::{Lock, Selection},
};

pub(super) fn job() -> JobIdentity {
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

fn without_drift(select: Vec<Selection>) -> Policy {
    let mut policy = Policy::selecting(select);
    policy.drift.enabled = false;
    policy
}

/// One line for each rule.
pub(super) fn shown(rbac: &Rbac) -> String {
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
    (cluster): namespaces: list
    (cluster): secrets: get,list
    (cluster): configmaps: get
    eso-sync: pods: get
    eso-sync: leases: create
    eso-sync: leases eso-sync: get,update
    ");
}

#[test]
fn literal_namespaces_need_only_roles() {
    let policy = Policy::selecting(vec![
        within(&["payments", "eso-sync"]),
        within(&["payments"]),
    ]);
    insta::assert_snapshot!(shown(&rules(Some(&policy), &job())), @"
    (cluster): clustersecretstores: list
    (cluster): clusterexternalsecrets: get,patch
    (cluster): customresourcedefinitions externalsecrets.external-secrets.io: get
    (cluster): namespaces: list
    eso-sync: externalsecrets: get,list,watch,patch
    eso-sync: secretstores: list
    eso-sync: events: list,watch,create
    eso-sync: pods: get
    eso-sync: leases: create
    eso-sync: leases eso-sync: get,update
    eso-sync: secrets: get,list
    eso-sync: configmaps: get
    payments: externalsecrets: get,list,watch,patch
    payments: secretstores: list
    payments: events: list,watch,create
    payments: secrets: get,list
    payments: configmaps: get
    ");
}

#[test]
fn namespace_selectors_need_list_on_namespaces() {
    let lists = |policy: &Policy| {
        shown(&rules(Some(policy), &job())).contains("(cluster): namespaces: list")
    };
    let labelled = Selection {
        namespace_selector: "a=b".parse().ok(),
        ..within(&["prod"])
    };
    let mut policy = without_drift(vec![within(&["prod-*"])]);
    assert!(
        !lists(&policy),
        "a glob is compared with the namespaces of the ExternalSecrets"
    );
    policy.exclude = vec![labelled.clone()];
    assert!(lists(&policy));
    policy = without_drift(vec![labelled]);
    assert!(lists(&policy));
    assert!(
        rules(Some(&policy), &job())
            .namespaces
            .keys()
            .eq(["eso-sync", "prod"])
    );
}

#[test]
fn policy_without_sync_writes_only_in_the_job_namespace() {
    let mut policy = Policy::selecting(vec![Selection::default()]);
    policy.sync.when = When::Never;
    insta::assert_snapshot!(shown(&rules(Some(&policy), &job())), @"
    (cluster): externalsecrets: list
    (cluster): secretstores: list
    (cluster): clustersecretstores: list
    (cluster): clusterexternalsecrets: get
    (cluster): customresourcedefinitions externalsecrets.external-secrets.io: get
    (cluster): namespaces: list
    (cluster): secrets: get,list
    (cluster): configmaps: get
    eso-sync: events: create
    eso-sync: pods: get
    ");
}

#[test]
fn lock_disabled_needs_no_rights_on_leases() {
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
fn drift_check_disabled_needs_no_rights_on_secrets() {
    let reaches = |(_, _, _, resource, _, verbs): &Right| {
        resource.split('/').next() == Some("secrets") || *resource == "*" || verbs.contains(&"*")
    };
    for (need, ..) in RIGHTS.iter().filter(|right| reaches(right)) {
        assert!(matches!(
            need,
            Need::Compare | Need::Resolve | Need::Refetch | Need::Recreate | Need::Stamp
        ));
    }
    let policy = without_drift(vec![Selection::default()]);
    assert!(!shown(&rules(Some(&policy), &job())).contains(" secrets:"));
}

#[test]
fn store_credentials_need_additional_rights() {
    let mut policy = Policy::selecting(vec![within(&["payments"])]);
    let lines = |policy: &Policy| -> Vec<String> {
        let text = shown(&rules(Some(policy), &job()));
        text.lines()
            .filter(|line| !line.contains("external") && line.starts_with("payments"))
            .map(str::to_owned)
            .collect()
    };
    let ambient = [
        "payments: secretstores: list",
        "payments: events: list,watch,create",
        "payments: secrets: get,list",
        "payments: configmaps: get",
    ];
    assert_eq!(lines(&policy), ambient);
    let resolving = [
        &ambient[..],
        &[
            "payments: serviceaccounts: get",
            "payments: serviceaccounts/token: create",
        ],
    ]
    .concat();
    let own = "SecretStore/payments/vault".parse().unwrap();
    policy.drift.stores.insert(own, Credentials::Store);
    assert_eq!(lines(&policy), resolving);
    policy.drift.stores.clear();
    policy.drift.credentials = Credentials::Store;
    assert_eq!(lines(&policy), resolving);
    policy.drift.enabled = false;
    assert_eq!(lines(&policy), ambient[..2]);
}

#[test]
fn a_namespace_that_cluster_stores_refer_to_gets_a_role() {
    let mut policy = Policy::selecting(vec![within(&["payments"])]);
    policy.drift.credentials = Credentials::Store;
    let also = ["vault".to_owned(), "payments".to_owned()];
    let before = rules(Some(&policy), &job());
    let after = before.clone().with_credentials_in(&also);
    let text = shown(&after);
    let there: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("vault"))
        .collect();
    assert_eq!(
        there,
        [
            "vault: secrets: get",
            "vault: configmaps: get",
            "vault: serviceaccounts: get",
            "vault: serviceaccounts/token: create",
        ]
    );
    assert_eq!(after.namespaces["payments"], before.namespaces["payments"]);
    let whole = rules(None, &job());
    policy.select = vec![Selection::default()];
    let everywhere = rules(Some(&policy), &job());
    assert_eq!(everywhere.clone().with_credentials_in(&also), everywhere);
    assert_ne!(whole.clone().with_credentials_in(&also), whole);
}

#[test]
fn only_granted_requests_are_allowed() {
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
fn manifests_are_complete_roles_and_bindings() {
    let mut policy = without_drift(vec![within(&["payments"])]);
    policy.sync.when = When::Never;
    let job = JobIdentity {
        namespace: "ops".to_owned(),
        service_account: "syncer".to_owned(),
    };
    let yaml = rules(Some(&policy), &job).to_yaml();
    let (cluster, namespaced) = yaml
        .split_once("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  labels:\n    app.kubernetes.io/name: eso-sync\n  name: syncer\n  namespace: payments\n")
        .unwrap();
    assert!(
        cluster.contains("kind: ClusterRole\n") && cluster.contains("kind: ClusterRoleBinding\n")
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
      name: syncer
      namespace: payments
    roleRef:
      apiGroup: rbac.authorization.k8s.io
      kind: Role
      name: syncer
    subjects:
    - kind: ServiceAccount
      name: syncer
      namespace: ops
    ");
}

#[test]
fn history_needs_one_config_map_and_only_if_the_policy_asks() {
    let mut policy = without_drift(vec![within(&["payments"])]);
    let of = |policy: &Policy| shown(&rules(Some(policy), &job()));
    assert!(!of(&policy).contains("configmaps"));
    policy.report.history = 1;
    let all = of(&policy);
    let lines: Vec<&str> = all
        .lines()
        .filter(|line| line.contains("configmaps"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    eso-sync: configmaps: create
    eso-sync: configmaps eso-sync-history: get,patch
    ");
}

#[test]
fn restart_rights_cover_only_kinds_of_the_policy() {
    let mut policy = without_drift(vec![within(&["payments"])]);
    policy.sync.when = When::Never;
    policy.restart = vec![RestartRule {
        kinds: vec![Kind::Deployment, Kind::Rollout],
        ..RestartRule::default()
    }];
    let shown_rules = shown(&rules(Some(&policy), &job()));
    let lines: Vec<&str> = shown_rules
        .lines()
        .filter(|line| !line.contains("external"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    (cluster): clustersecretstores: list
    eso-sync: events: create
    eso-sync: pods: get
    eso-sync: leases: create
    eso-sync: leases eso-sync: get,update
    eso-sync: secrets: create
    eso-sync: secrets eso-sync-stamp-key: get
    eso-sync: configmaps: create
    eso-sync: configmaps eso-sync-stamped: get,patch
    payments: secretstores: list
    payments: secrets: get,list
    payments: pods: list
    payments: events: create
    payments: deployments: get,list,watch,patch
    payments: rollouts: get,list,watch,patch
    payments: replicasets: get
    ");
    assert!(!shown_rules.contains("eviction"));
    policy.restart[0].strategy = Strategy::Evict;
    assert!(shown(&rules(Some(&policy), &job())).contains("payments: pods/eviction: create"));
    policy.restart[0].kinds = vec![Kind::Pod];
    assert!(shown(&rules(Some(&policy), &job())).contains("payments: pods: get,list,watch,patch"));
}

#[test]
fn each_remedy_needs_its_rights_to_secrets() {
    let mut policy = Policy::selecting(vec![within(&["payments"])]);
    let secrets = |policy: &Policy| {
        let text = shown(&rules(Some(policy), &job()));
        let line = text.lines().find(|line| line.contains(": secrets:"));
        line.unwrap_or_default().to_owned()
    };
    for (remedy, verbs) in [
        (OnStillStale::Report, "get,list"),
        (OnStillStale::Refetch, "get,list,patch"),
        (OnStillStale::Recreate, "get,list,patch,delete"),
    ] {
        policy.sync.on_still_stale = remedy;
        assert_eq!(secrets(&policy), format!("payments: secrets: {verbs}"));
    }
    policy.sync.when = When::Never;
    assert_eq!(
        secrets(&policy),
        "payments: secrets: get,list",
        "without sync there is no remedy"
    );
}

/// The lines about this resource.
fn about(rbac: &Rbac, resource: &str) -> Vec<String> {
    let text = shown(rbac);
    let lines = text.lines().filter(|line| {
        let rest = line.split(": ").nth(1).unwrap_or_default();
        rest.split(' ').next() == Some(resource)
    });
    lines.map(str::to_owned).collect()
}

fn globs(texts: &[&str]) -> Vec<Pattern> {
    texts
        .iter()
        .map(|text| Pattern::new(text).unwrap())
        .collect()
}

#[test]
fn writes_are_limited_to_literal_namespaces_and_names() {
    let mut policy = without_drift(vec![
        Selection {
            names: globs(&["db", "api"]),
            ..within(&["payments"])
        },
        Selection {
            names: globs(&["tls-*"]),
            ..within(&["web"])
        },
        Selection {
            names: globs(&["root"]),
            ..within(&["prod-*"])
        },
    ]);
    let rule = RestartRule {
        kinds: vec![Kind::Deployment, Kind::Pod],
        ..RestartRule::default()
    };
    policy.restart = vec![
        RestartRule {
            namespaces: globs(&["payments"]),
            names: globs(&["api"]),
            ..rule.clone()
        },
        RestartRule {
            namespaces: globs(&["web"]),
            ..rule
        },
    ];
    let rbac = rules(Some(&policy), &job());
    assert_eq!(
        about(&rbac, "externalsecrets"),
        [
            "(cluster): externalsecrets: get,list,watch",
            "(cluster): externalsecrets root: patch",
            "payments: externalsecrets api,db: patch",
            "web: externalsecrets: patch",
        ]
    );
    assert_eq!(
        about(&rbac, "deployments"),
        [
            "(cluster): deployments: get,list,watch",
            "payments: deployments api: patch",
            "web: deployments: patch",
        ]
    );
    // The replacement of a pod has another name.
    assert_eq!(
        about(&rbac, "pods")[1..],
        ["payments: pods: patch", "web: pods: patch"]
    );
}

#[test]
fn restarts_need_rights_only_where_they_are_selected() {
    let rule = |namespaces: &[&str]| RestartRule {
        kinds: vec![Kind::Deployment],
        namespaces: globs(namespaces),
        ..RestartRule::default()
    };
    let mut policy = without_drift(vec![within(&["web"])]);
    policy.restart = vec![rule(&["payments"]), rule(&["web"])];
    let rbac = rules(Some(&policy), &job());
    assert_eq!(
        about(&rbac, "deployments"),
        ["web: deployments: get,list,watch,patch"]
    );
    // A wider rule covers the others.
    policy.restart.push(rule(&[]));
    policy.select = vec![Selection::default()];
    let rbac = rules(Some(&policy), &job());
    assert_eq!(
        about(&rbac, "deployments"),
        ["(cluster): deployments: get,list,watch,patch"]
    );
}

#[test]
fn rights_that_are_cluster_admin_in_effect_have_a_warning() {
    let warned = |policy: &Policy| rules(Some(policy), &job()).warnings().join("\n");
    let mut policy = without_drift(vec![Selection::default()]);
    assert_eq!(warned(&policy), "");
    policy.restart = vec![RestartRule {
        kinds: vec![Kind::Deployment, Kind::StatefulSet],
        ..RestartRule::default()
    }];
    policy.drift.enabled = true;
    policy.drift.credentials = Credentials::Store;
    insta::assert_snapshot!(warned(&policy), @"
    `create serviceaccounts/token` in the whole cluster is cluster-admin in effect: it gives a token of any ServiceAccount there. Name those that stores use with --token-for NAMESPACE/NAME, or list the namespaces by name in the policy
    `patch deployments,statefulsets` in the whole cluster is cluster-admin in effect: a pod template can run any image as any ServiceAccount there. List namespaces or names in the rules of `restart`, and install the admission policy of manifests/components/admission
    ");
    // In namespaces by name, the rights end there, except in kube-system.
    policy.select = vec![within(&["payments"])];
    assert_eq!(warned(&policy), "");
    policy.select = vec![within(&["payments", "kube-system"])];
    assert_eq!(
        warned(&policy)
            .lines()
            .filter(|line| line.contains("kube-system is cluster-admin"))
            .count(),
        2
    );
}

#[test]
fn named_service_accounts_replace_the_right_to_all_tokens() {
    let mut policy = Policy::selecting(vec![Selection::default()]);
    policy.drift.credentials = Credentials::Store;
    let rbac = rules(Some(&policy), &job()).with_credentials_in(&["vault".to_owned()]);
    assert!(rbac.warnings()[0].contains("--token-for NAMESPACE/NAME"));
    let accounts = ["payments/vault-reader", "web/vault-reader"].map(|text| text.parse().unwrap());
    let named = rbac.with_tokens_only_for(&accounts);
    assert_eq!(
        about(&named, "serviceaccounts/token"),
        [
            "payments: serviceaccounts/token vault-reader: create",
            "web: serviceaccounts/token vault-reader: create",
        ]
    );
    assert_eq!(about(&named, "serviceaccounts").len(), 2);
    assert!(!named.warnings().join("").contains("token"));
    for text in ["", "a", "/a", "a/", "a/b/c", "a/B", "../x"] {
        assert!(text.parse::<ServiceAccountName>().is_err(), "{text}");
    }
}
