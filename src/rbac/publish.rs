//! The rights of `publish`, for an identity of its own: it can read the keys and the source, and nothing else in the cluster.

use ::publish::plan::PruneMode;
use eso_model::StoreKind;

use super::{
    ESO, JobIdentity, Need, RIGHTS, Rbac, Right, Scope, grant, uses_stores_credentials,
    without_covered,
};
use crate::policy::{
    KeyFrom, Policy,
    publish::{Publish, PublishItem, SourceFrom},
};

const FLUX: &str = "source.toolkit.fluxcd.io";
const ARGO_CD: &str = "argoproj.io";

/// The ServiceAccount of a publisher.
pub const SERVICE_ACCOUNT: &str = "eso-sync-publish";

/// The rights that publishing needs, and those of a run if one follows. Suspended items count, so that they can be resumed.
pub fn publishing(policy: &Policy, publish: &Publish, job: &JobIdentity) -> Rbac {
    let mut rbac = if publish.syncs() {
        super::rules(Some(&policy.after_publishing()), job)
    } else {
        Rbac::none(job)
    };
    for from in publish
        .key
        .iter()
        .chain(publish.items.iter().flat_map(|item| &item.sops.keys))
    {
        if let KeyFrom::Secret(name) = from {
            rbac.read(Some(&job.namespace), ("", "secrets"), name);
        }
    }
    for item in &publish.items {
        rbac.of_source(&item.source, job);
        rbac.of_item(item, policy);
    }
    if policy.keeps_history() {
        let own = rbac.namespaces.entry(job.namespace.clone()).or_default();
        for right in RIGHTS.iter().filter(|(need, ..)| *need == Need::History) {
            let (_, _, _, _, names, _) = right;
            grant(own, right, names.iter().map(ToString::to_string).collect());
        }
    }
    if publish.items.iter().any(deletes) {
        // Nothing that an ExternalSecret of the cluster reads is deleted.
        for right in RIGHTS.iter().filter(|(need, ..)| *need == Need::Look) {
            let (_, _, _, _, names, _) = right;
            let names = names.iter().map(ToString::to_string).collect();
            grant(&mut rbac.cluster, right, names);
        }
    }
    without_covered(&mut rbac.cluster, &[]);
    rbac
}

fn deletes(item: &PublishItem) -> bool {
    item.prune.mode == PruneMode::Prune || item.versions.keep.is_some()
}

impl Rbac {
    fn of_source(&mut self, source: &SourceFrom, job: &JobIdentity) {
        let SourceFrom {
            path: _,
            flux,
            argocd,
            git,
        } = source;
        if let Some(flux) = flux {
            self.read(Some(&flux.namespace), (FLUX, "gitrepositories"), &flux.name);
        }
        if let Some(argocd) = argocd {
            let kind = (ARGO_CD, "applications");
            self.read(Some(&argocd.namespace), kind, &argocd.name);
        }
        let secrets = [
            argocd.as_ref().and_then(|argocd| argocd.secret.as_ref()),
            git.as_ref().and_then(|git| git.secret.as_ref()),
        ];
        for secret in secrets.into_iter().flatten() {
            self.read(Some(&job.namespace), ("", "secrets"), secret);
        }
    }

    fn of_item(&mut self, item: &PublishItem, policy: &Policy) {
        let Some(store) = &item.to.store else {
            return;
        };
        match (store.kind, &store.namespace) {
            (StoreKind::SecretStore, Some(namespace)) => {
                self.read(Some(namespace), (ESO, "secretstores"), &store.name);
                if uses_stores_credentials(&policy.drift) {
                    let there = self.namespaces.entry(namespace.clone()).or_default();
                    let resolve = RIGHTS.iter().filter(|(need, ..)| *need == Need::Resolve);
                    resolve.for_each(|right| grant(there, right, Vec::new()));
                }
            }
            (StoreKind::SecretStore | StoreKind::ClusterSecretStore, _) => {
                self.read(None, (ESO, "clustersecretstores"), &store.name);
            }
        }
    }

    /// Grants reading one object.
    fn read(
        &mut self,
        namespace: Option<&str>,
        (group, resource): (&'static str, &'static str),
        name: &str,
    ) {
        let right: Right = (Need::Look, Scope::Job, group, resource, &[], &["get"]);
        let rules = match namespace {
            Some(namespace) => self.namespaces.entry(namespace.to_owned()).or_default(),
            None => &mut self.cluster,
        };
        grant(rules, &right, vec![name.to_owned()]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::{job, shown};
    use super::*;

    /// The objects and verbs of rules, without their namespaces.
    fn granted<'a>(rules: impl Iterator<Item = &'a serde_json::Value>) -> BTreeSet<[String; 3]> {
        let texts = |rule: &serde_json::Value, key: &str| -> Vec<String> {
            let texts = rule[key].as_array().into_iter().flatten();
            texts
                .map(|text| text.as_str().unwrap().to_owned())
                .collect()
        };
        let mut granted = BTreeSet::new();
        for rule in rules {
            for name in texts(rule, "resourceNames") {
                for verb in texts(rule, "verbs") {
                    granted.insert([texts(rule, "resources").join(","), name.clone(), verb]);
                }
            }
        }
        granted
    }

    #[test]
    fn component_grants_exactly_what_its_policy_needs() {
        let policy = include_str!("../../manifests/components/publish/config.yaml");
        let mut policy: serde_json::Value = serde_saphyr::from_str(policy).unwrap();
        policy["select"] = serde_json::json!([{}]);
        let policy: Policy = serde_json::from_value(policy).unwrap();
        let needed = publishing(&policy, policy.publish.as_ref().unwrap(), &job()).manifests();
        let shipped = include_str!("../../manifests/components/publish/rbac.yaml");
        let shipped: Vec<serde_json::Value> = serde_saphyr::from_multiple(shipped).unwrap();
        let rules = |manifests: &[serde_json::Value]| {
            let rules = manifests
                .iter()
                .filter_map(|object| object["rules"].as_array());
            granted(rules.flatten())
        };
        assert_eq!(rules(&shipped), rules(&needed));
        assert_eq!(rules(&shipped).len(), 4);
    }

    #[test]
    fn run_that_follows_adds_its_rights() {
        let of = |then: bool| {
            let text = format!(
                r#"{{"select": [{{"namespaces": ["shop"]}}], "sync": {{"when": "never"}},
                "publish": {{"owner": "o", "items": [{{"name": "a", "source": {{"path": {{"dir": "."}}}}, "read": {{"kustomize": {{"path": "p"}}}},
                    "to": {{"aws": {{"region": "r"}}}}, "then": {{"sync": {then}}}}}]}}}}"#
            );
            let policy: Policy = serde_json::from_str(&text).unwrap();
            let publish = policy.publish.clone().unwrap();
            let needed = publishing(&policy, &publish, &job());
            shown(&needed)
        };
        assert_eq!(of(false), "");
        let run = of(true);
        assert!(
            run.contains("shop: externalsecrets: ") && run.contains("patch"),
            "{run}"
        );
    }

    #[test]
    fn publisher_that_deletes_reads_all_external_secrets() {
        let of = |more: &str| {
            let text = format!(
                r#"{{"select": [], "publish": {{"owner": "o", "items": [{{"name": "a", "source": {{"path": {{"dir": "."}}}}, "read": {{"kustomize": {{"path": "p"}}}},
                    "to": {{"aws": {{"region": "r"}}}} {more}}}]}}}}"#
            );
            let policy: Policy = serde_json::from_str(&text).unwrap();
            let publish = policy.publish.clone().unwrap();
            shown(&publishing(&policy, &publish, &job()))
        };
        assert_eq!(of(""), "");
        let all = of(r#", "prune": {"mode": "prune"}"#);
        assert!(all.contains("(cluster): externalsecrets: list"), "{all}");
        assert_eq!(of(r#", "versions": {"keep": 3}"#), all);
    }

    #[test]
    fn publisher_reads_its_keys_its_source_and_its_store() {
        let text = r#"{
            "select": [{}],
            "publish": {"owner": "o", "key": "secret:publish-key", "items": [
                {"name": "a", "source": {"flux": {"namespace": "flux-system", "name": "repo"}}, "read": {"kustomize": {"path": "p"}},
                 "sops": {"keys": ["secret:sops-age", "env:X"]}, "to": {"store": {"kind": "ClusterSecretStore", "name": "aws"}}},
                {"name": "c", "source": {"argocd": {"namespace": "argocd", "name": "app", "repos": ["*"], "secret": "git-argocd"}},
                 "read": {"kustomize": {"path": "p"}}, "to": {"aws": {"region": "r"}}},
                {"name": "d", "source": {"git": {"url": "https://git.example/a", "secret": "git-d"}},
                 "read": {"kustomize": {"path": "p"}}, "to": {"aws": {"region": "r"}}},
                {"name": "b", "source": {"path": {"dir": "/repo"}}, "read": {"kustomize": {"path": "p"}},
                 "to": {"store": {"kind": "SecretStore", "namespace": "team", "name": "vault"}}}
            ]}
        }"#;
        let mut policy: Policy = serde_json::from_str(text).unwrap();
        let publish = policy.publish.clone().unwrap();
        let of = |policy: &Policy| shown(&publishing(policy, &publish, &job()));
        insta::assert_snapshot!(of(&policy), @r"
        (cluster): clustersecretstores aws: get
        argocd: applications app: get
        eso-sync: secrets publish-key: get
        eso-sync: secrets sops-age: get
        eso-sync: secrets git-argocd: get
        eso-sync: secrets git-d: get
        flux-system: gitrepositories repo: get
        team: secretstores vault: get
        ");
        policy.drift.credentials = providers::trust::Credentials::Store;
        insta::assert_snapshot!(of(&policy), @r"
        (cluster): clustersecretstores aws: get
        argocd: applications app: get
        eso-sync: secrets publish-key: get
        eso-sync: secrets sops-age: get
        eso-sync: secrets git-argocd: get
        eso-sync: secrets git-d: get
        flux-system: gitrepositories repo: get
        team: secretstores vault: get
        team: secrets: get
        team: configmaps: get
        team: serviceaccounts: get
        team: serviceaccounts/token: create
        ");
        let publisher = JobIdentity {
            service_account: SERVICE_ACCOUNT.to_owned(),
            ..job()
        };
        let yaml = publishing(&policy, &publish, &publisher).to_yaml();
        let roles = yaml.matches("roleRef:").count();
        assert_eq!(
            yaml.matches(
                "  name: eso-sync-publish
"
            )
            .count(),
            4 * roles,
            "{yaml}"
        );
    }
}
