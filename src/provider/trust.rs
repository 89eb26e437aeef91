//! Whose credentials a store is read with, for whom, and where they may go. Pure: what is refused here costs no request.
//!
//! The job's own credentials reach more than a tenant's do. Sent where a tenant's store points, they would be his; used to
//! read what a tenant's ExternalSecret names, the verdict would tell him about secrets that are not his. So they serve
//! ClusterSecretStores, which administrators write, within their conditions; a SecretStore only where the policy says so; and
//! they go to the clouds' own hosts and to what the policy names.

mod conditions;
mod origin;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::{
    conditions::{Admission, Condition, LabelSelector, Requirement, admits},
    origin::{InvalidOrigin, Origin, may_go_to},
};
use super::{Unread, unread};
use crate::{eso::expected::why, inventory::StoreKey};

/// Whose credentials stores are read with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Credentials {
    /// The job's own.
    #[default]
    Ambient,
    /// Those that the store's `auth` names, as the operator resolves them.
    Store,
}

/// What the policy says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For all stores.
    pub credentials: Credentials,
    /// For single stores. To name a SecretStore here as `ambient` trusts it with the job's own credentials.
    pub stores: BTreeMap<StoreKey, Credentials>,
    /// Where the job's own credentials may go beyond the clouds' own hosts.
    pub endpoints: Vec<Origin>,
    /// Whether the job's own credentials may read for any SecretStore.
    pub namespaced_stores: bool,
}

/// A store, as far as it decides about trust.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Which one.
    pub store: &'a StoreKey,
    /// The provider's name in its spec.
    pub provider: &'a str,
    /// What stands under that name.
    pub settings: &'a Json,
    /// Which namespaces it serves, if it is a ClusterSecretStore.
    pub conditions: &'a [Condition],
}

/// What a store is read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The job's own credentials.
    Ambient,
    /// The store's, or none where its provider needs none.
    Store,
    /// It is not read; no request is sent.
    Refused(Unread),
}

impl Rules {
    /// What this store is read with for an ExternalSecret in this namespace, whose labels may be unknown.
    pub fn decide(
        &self,
        asked: Asked<'_>,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Decision {
        if let Err(refused) = check_namespace(asked, namespace, labels) {
            return Decision::Refused(refused);
        }
        let named = self.stores.get(asked.store).copied();
        match (named.unwrap_or(self.credentials), asked.store) {
            // Its data stands in the store itself.
            _ if asked.provider == "fake" => Decision::Store,
            (Credentials::Ambient, StoreKey::Namespaced { .. })
                if !self.namespaced_stores && named.is_none() =>
            {
                Decision::Refused(Unread::store(
                    unread::NOT_TRUSTED,
                    "the job's own credentials do not read for a SecretStore: `drift.namespacedStores` of the policy is not true",
                ))
            }
            (Credentials::Ambient, _) => Decision::Ambient,
            (Credentials::Store, _) if has_identity(asked.provider, asked.settings) => {
                Decision::Store
            }
            (Credentials::Store, _) => Decision::Refused(Unread::store(
                unread::CONTROLLER_IDENTITY,
                format!(
                    "the operator reads this store as its own Pod; `drift.stores` of the policy can say `{}: ambient`",
                    asked.store
                ),
            )),
        }
    }
}

fn check_namespace(
    asked: Asked<'_>,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<(), Unread> {
    let key = asked.store;
    let admission = match key {
        StoreKey::Namespaced { namespace: own, .. } if own == namespace => Admission::Allowed,
        StoreKey::Namespaced { .. } => Admission::Denied,
        StoreKey::Cluster { .. } => admits(asked.conditions, namespace, labels),
    };
    Err(match admission {
        Admission::Allowed => return Ok(()),
        Admission::Denied => Unread::secret(
            unread::NAMESPACE,
            format!("{key} does not serve the namespace `{namespace}`"),
        ),
        Admission::LabelsUnknown => Unread::secret(
            unread::STORE,
            format!(
                "the conditions of {key} ask for labels of the namespace `{namespace}`, which could not be read"
            ),
        )
        .lacking("list namespaces"),
        Admission::NotUnderstood => Unread::secret(
            why::REGEXP,
            format!("a condition of {key} on namespaces is not understood"),
        ),
    })
}

/// Whether the store says who reads it, so that the operator does not do it as its own Pod.
fn has_identity(provider: &str, settings: &Json) -> bool {
    let has = |pointer: &str| {
        settings
            .pointer(pointer)
            .is_some_and(|value| !value.is_null())
    };
    let any = |pointers: &[&str]| pointers.iter().any(|pointer| has(pointer));
    match provider {
        "aws" => any(&["/auth/secretRef", "/auth/jwt/serviceAccountRef"]),
        "azurekv" => match settings["authType"].as_str() {
            Some("ManagedIdentity") => false,
            Some("WorkloadIdentity") => has("/serviceAccountRef"),
            _ => has("/authSecretRef"),
        },
        "gcpsm" => any(&[
            "/auth/secretRef",
            "/auth/workloadIdentity/serviceAccountRef",
            "/auth/workloadIdentityFederation",
        ]),
        "vault" | "openBao" => {
            let Some(methods) = settings["auth"].as_object() else {
                return false;
            };
            methods.iter().any(|(method, of)| match method.as_str() {
                _ if of.is_null() => false,
                "namespace" => false,
                "kubernetes" => !of["serviceAccountRef"].is_null() || !of["secretRef"].is_null(),
                "iam" => !of["secretRef"].is_null() || !of["jwt"].is_null(),
                "gcp" => !of["secretRef"].is_null() || !of["workloadIdentity"].is_null(),
                _ => true,
            })
        }
        // Without `auth` a Kubernetes store is read anonymously; what is not known here is told as that.
        _ => true,
    }
}

/// Whether the store's own credentials depend on the namespace of the ExternalSecret: a ClusterSecretStore with a reference
/// that names no namespace.
pub fn is_referent(store: &StoreKey, settings: &Json) -> bool {
    fn lacks_namespace(value: &Json) -> bool {
        match value {
            Json::Object(members) => {
                (members.contains_key("name") && members.get("namespace").is_none_or(Json::is_null))
                    || members.values().any(lacks_namespace)
            }
            Json::Array(items) => items.iter().any(lacks_namespace),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
        }
    }
    matches!(store, StoreKey::Cluster { .. }) && lacks_namespace(settings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEAM: &str = "SecretStore/team-a/vault";
    const SHARED: &str = "ClusterSecretStore/vault";

    fn vault() -> Json {
        json!({"server": "https://vault.corp:8200", "auth": {"tokenSecretRef": {"name": "t", "key": "k"}}})
    }

    fn rules(credentials: Credentials) -> Rules {
        Rules {
            credentials,
            ..Rules::default()
        }
    }

    /// The decision for an ExternalSecret of `team-a`, in a word.
    fn decided(rules: &Rules, store: &str, provider: &str, settings: &Json) -> String {
        decided_with(rules, store, provider, settings, &[])
    }

    fn decided_with(
        rules: &Rules,
        store: &str,
        provider: &str,
        settings: &Json,
        conditions: &[Condition],
    ) -> String {
        let asked = Asked {
            store: &store.parse().unwrap(),
            provider,
            settings,
            conditions,
        };
        match rules.decide(asked, "team-a", Some(&BTreeMap::new())) {
            Decision::Ambient => "ambient".to_owned(),
            Decision::Store => "store".to_owned(),
            Decision::Refused(refused) => refused.why.reason.to_owned(),
        }
    }

    #[test]
    fn the_jobs_own_credentials_read_for_cluster_stores_alone() {
        let mut rules = rules(Credentials::Ambient);
        assert_eq!(decided(&rules, SHARED, "vault", &vault()), "ambient");
        assert_eq!(
            decided(&rules, TEAM, "vault", &vault()),
            unread::NOT_TRUSTED
        );
        rules.namespaced_stores = true;
        assert_eq!(decided(&rules, TEAM, "vault", &vault()), "ambient");
    }

    #[test]
    fn a_store_that_the_policy_names_is_trusted_alone() {
        let mut rules = rules(Credentials::Ambient);
        rules
            .stores
            .insert(TEAM.parse().unwrap(), Credentials::Ambient);
        assert_eq!(decided(&rules, TEAM, "vault", &vault()), "ambient");
        let other = "SecretStore/team-a/other";
        assert_eq!(
            decided(&rules, other, "vault", &vault()),
            unread::NOT_TRUSTED
        );
        rules
            .stores
            .insert(SHARED.parse().unwrap(), Credentials::Store);
        assert_eq!(decided(&rules, SHARED, "vault", &vault()), "store");
    }

    #[test]
    fn a_cluster_store_reads_for_no_namespace_that_its_conditions_leave_out() {
        let conditions: Vec<Condition> =
            serde_json::from_value(json!([{"namespaces": ["team-b"]}])).unwrap();
        for credentials in [Credentials::Ambient, Credentials::Store] {
            let decision =
                decided_with(&rules(credentials), SHARED, "vault", &vault(), &conditions);
            assert_eq!(decision, unread::NAMESPACE);
        }
        // Of a SecretStore they say nothing.
        let decision = decided_with(
            &rules(Credentials::Store),
            TEAM,
            "vault",
            &vault(),
            &conditions,
        );
        assert_eq!(decision, "store");
    }

    #[test]
    fn a_secret_store_reads_for_its_own_namespace() {
        let rules = Rules {
            namespaced_stores: true,
            ..Rules::default()
        };
        let elsewhere = "SecretStore/team-b/vault";
        assert_eq!(
            decided(&rules, elsewhere, "vault", &vault()),
            unread::NAMESPACE
        );
    }

    #[test]
    fn labels_that_could_not_be_read_are_a_right_that_lacks() {
        let conditions: Vec<Condition> =
            serde_json::from_value(json!([{"namespaceSelector": {"matchLabels": {"a": "b"}}}]))
                .unwrap();
        let asked = Asked {
            store: &SHARED.parse().unwrap(),
            provider: "vault",
            settings: &vault(),
            conditions: &conditions,
        };
        let Decision::Refused(refused) = Rules::default().decide(asked, "team-a", None) else {
            panic!("it is not known whether the namespace is let in");
        };
        assert_eq!(refused.permission.as_deref(), Some("list namespaces"));
    }

    #[test]
    fn what_the_operator_reads_as_its_own_pod_is_not_guessed() {
        let account = json!({"name": "a"});
        for (provider, settings, expected) in [
            ("aws", json!({"region": "r"}), unread::CONTROLLER_IDENTITY),
            (
                "aws",
                json!({"role": "r", "auth": {}}),
                unread::CONTROLLER_IDENTITY,
            ),
            (
                "aws",
                json!({"auth": {"secretRef": null}}),
                unread::CONTROLLER_IDENTITY,
            ),
            (
                "aws",
                json!({"auth": {"jwt": {"serviceAccountRef": account}}}),
                "store",
            ),
            (
                "azurekv",
                json!({"authType": "ManagedIdentity"}),
                unread::CONTROLLER_IDENTITY,
            ),
            (
                "azurekv",
                json!({"authType": "WorkloadIdentity"}),
                unread::CONTROLLER_IDENTITY,
            ),
            (
                "azurekv",
                json!({"authType": "WorkloadIdentity", "serviceAccountRef": account}),
                "store",
            ),
            ("azurekv", json!({"authSecretRef": {}}), "store"),
            (
                "gcpsm",
                json!({"projectID": "p"}),
                unread::CONTROLLER_IDENTITY,
            ),
            (
                "gcpsm",
                json!({"auth": {"workloadIdentity": {"serviceAccountRef": account}}}),
                "store",
            ),
            (
                "vault",
                json!({"auth": {"namespace": "n"}}),
                unread::CONTROLLER_IDENTITY,
            ),
            (
                "vault",
                json!({"auth": {"kubernetes": {"role": "r"}}}),
                unread::CONTROLLER_IDENTITY,
            ),
            (
                "vault",
                json!({"auth": {"kubernetes": {"role": "r", "serviceAccountRef": account}}}),
                "store",
            ),
            (
                "vault",
                json!({"auth": {"iam": {"role": "r"}}}),
                unread::CONTROLLER_IDENTITY,
            ),
            ("openBao", json!({"auth": {"appRole": {}}}), "store"),
            ("kubernetes", json!({}), "store"),
        ] {
            let decision = decided(&rules(Credentials::Store), SHARED, provider, &settings);
            assert_eq!(decision, expected, "{provider} {settings}");
        }
    }

    #[test]
    fn data_in_the_store_itself_needs_no_credentials() {
        for credentials in [Credentials::Ambient, Credentials::Store] {
            assert_eq!(
                decided(&rules(credentials), TEAM, "fake", &json!({})),
                "store"
            );
        }
    }

    #[test]
    fn references_without_a_namespace_make_a_cluster_store_referent() {
        let shared: StoreKey = SHARED.parse().unwrap();
        let named =
            json!({"auth": {"tokenSecretRef": {"name": "t", "key": "k", "namespace": "n"}}});
        assert!(is_referent(&shared, &vault()));
        assert!(!is_referent(&shared, &named));
        assert!(!is_referent(&TEAM.parse().unwrap(), &vault()));
        let azure = json!({"authSecretRef": {
            "clientId": {"name": "t", "key": "k", "namespace": "n"},
            "clientSecret": {"name": "t", "key": "k"},
        }});
        assert!(is_referent(&shared, &azure));
    }

    #[test]
    fn rules_are_written_as_words_and_addresses() {
        let parse = |value: Json| serde_json::from_value::<Origin>(value);
        assert!(parse(json!("https://vault.corp:8200")).is_ok());
        assert!(parse(json!("vault.corp")).is_err());
        assert_eq!(
            serde_json::to_value(Credentials::Store).unwrap(),
            json!("store")
        );
    }
}
