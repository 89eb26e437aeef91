//! Whose credentials a store is read with, for whom, and where they may go. Pure: what is refused here costs no request.
//!
//! The job's own credentials reach more than a tenant's do. Sent where a tenant's store points, they would be his; used to
//! read what a tenant's `ExternalSecret` names, the verdict would tell him about secrets that are not his. So they serve
//! ClusterSecretStores, which administrators write, within their conditions; a SecretStore only where the policy says so; and
//! they go to the clouds' own hosts and to what the policy names. A store that is read with somebody else's rights than the
//! operator's, the tenant's own or those of a Kubernetes account, would show him through us what the operator does not: it is
//! read with the job's own only where the policy names it.

mod conditions;
mod origin;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::{
    conditions::{Admission, Condition, LabelSelector, Requirement, admits},
    origin::{InvalidOrigin, Origin, may_go_to},
};
use eso_model::{StoreKey, expected::why};

use super::answer::{Unread, unread};

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
    /// For single stores. To name one here as `ambient` trusts it, and who may use it, with the job's own credentials.
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
            (Credentials::Ambient, _) if named.is_none() => {
                narrower(asked).map_or(Decision::Ambient, Decision::Refused)
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

/// Why the job's own credentials would read more here than the operator does for who asks.
fn narrower(asked: Asked<'_>) -> Option<Unread> {
    let key = asked.store;
    let whose = if asked.provider == "kubernetes" {
        "as an account of that cluster, with its rights"
    } else if is_referent(key, asked.settings) {
        "with credentials of the ExternalSecret's namespace"
    } else {
        return None;
    };
    Some(Unread::store(
        unread::NOT_TRUSTED,
        format!(
            "the operator reads this store {whose}, not with more: `drift.stores` of the policy can say `{key}: store`, or `{key}: ambient` for the job's own credentials"
        ),
    ))
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
        "vault" => {
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
mod tests;
