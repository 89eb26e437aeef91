//! Trust rules: which credentials a store is read with, for which namespace, and where they may be sent. Pure: a refused store
//! causes no request.
//!
//! The job's own credentials reach more than a tenant's. If they were sent to a tenant's server, the tenant would get them. If
//! they read what a tenant's `ExternalSecret` names, the verdict would tell the tenant about secrets of others. Therefore they
//! are used for ClusterSecretStores, which administrators write, within the store's conditions; for a SecretStore only if the
//! policy allows it; and they are sent only to the clouds' own hosts and to the endpoints in the policy.
//!
//! Some stores are read by the operator with fewer permissions: the tenant's own, or those of a Kubernetes service account. The
//! job's own credentials would reveal more, so they are used for such a store only if the policy names it.

mod conditions;
mod origin;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use self::{
    conditions::{Admission, Condition, LabelSelector, Requirement, admits},
    origin::{InvalidOrigin, Origin, is_encrypted, may_go_to},
};
use eso_model::{
    StoreKey,
    expected::why,
    provider::{Identity, ProviderKind},
};

use super::answer::Unread;
use eso_model::unread;

/// The credentials that stores are read with.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Credentials {
    /// The job's own credentials.
    #[default]
    Ambient,
    /// The credentials in the store's `auth`, resolved as the operator does.
    Store,
}

/// The trust rules of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The default for all stores.
    pub credentials: Credentials,
    /// Exceptions for single stores. `ambient` trusts this store, and everyone who may use it, with the job's own credentials.
    pub stores: BTreeMap<StoreKey, Credentials>,
    /// The endpoints, besides the clouds' own hosts, that may receive the job's own credentials.
    pub endpoints: Vec<Origin>,
    /// True if the job's own credentials may be used for any SecretStore.
    pub namespaced_stores: bool,
    /// True if the job's token for the API server may be sent to a provider.
    pub api_server_token: bool,
}

/// The settings with which a store decides whom TLS trusts.
const AUTHORITIES: [&str; 4] = [
    "/caBundle",
    "/caProvider",
    "/server/caBundle",
    "/server/caProvider",
];

/// The parts of a store that decide about trust.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub store: &'a StoreKey,
    pub provider: &'a ProviderKind,
    /// The object under the provider's key in the spec.
    pub settings: &'a Json,
    /// The namespaces that it serves, if it is a ClusterSecretStore.
    pub conditions: &'a [Condition],
}

/// The credentials to read a store with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The job's own credentials.
    Ambient,
    /// The store's credentials. Fake stores need none.
    Store,
    /// The store is not read, and no request is sent.
    Refused(Unread),
}

impl Rules {
    /// Decides for an ExternalSecret in this namespace. The namespace's labels may be unknown.
    pub fn decide(
        &self,
        asked: Asked<'_>,
        namespace: &str,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Decision {
        if let Err(refused) = check_namespace(asked, namespace, labels) {
            return Decision::Refused(refused);
        }
        let identity = asked.provider.facts().identity;
        match identity {
            Identity::NotNeeded => return Decision::Store,
            Identity::Unknown => return Decision::Refused(Unread::unsupported(asked.provider)),
            Identity::NamedOrOperator(_) | Identity::ServiceAccount => {}
        }
        let named = self.stores.get(asked.store).copied();
        match (named.unwrap_or(self.credentials), asked.store) {
            (Credentials::Ambient, StoreKey::Namespaced { .. })
                if !self.namespaced_stores && named.is_none() =>
            {
                Decision::Refused(Unread::store(
                    unread::NOT_TRUSTED,
                    format!(
                        "the job's own credentials may not be used for a SecretStore. If you trust everyone who can edit this store, set `{}: ambient` \
                         under `drift.stores` in the policy, or use `--namespaced-stores`",
                        asked.store
                    ),
                ))
            }
            (Credentials::Ambient, _) if named.is_none() => refuse_wider_access(asked, &identity)
                .or_else(|| refuse_own_authority(asked))
                .map_or(Decision::Ambient, Decision::Refused),
            (Credentials::Ambient, _) => Decision::Ambient,
            (Credentials::Store, _) if is_named(&identity, asked.settings) => Decision::Store,
            (Credentials::Store, _) => Decision::Refused(Unread::store(
                unread::CONTROLLER_IDENTITY,
                format!(
                    "the operator reads this store with its own Pod's identity. Set `{}: ambient` under `drift.stores` in the policy",
                    asked.store
                ),
            )),
        }
    }
}

impl Rules {
    /// Decides for a write. Nobody's ExternalSecret asks for it, so the conditions of a store do not apply, and no namespace can
    /// complete its references.
    ///
    /// The job's own credentials never write through a SecretStore, whatever the policy says about reading: who can edit it could
    /// send the values to another place, or overwrite the secrets of others.
    pub fn decide_write(&self, asked: Asked<'_>) -> Decision {
        let key = asked.store;
        if asked.provider.facts().publishing.is_none() {
            return Decision::Refused(Unread::unsupported(asked.provider));
        }
        let named = self.stores.get(key).copied();
        let identity = asked.provider.facts().identity;
        let refused =
            |detail: String| Decision::Refused(Unread::store(unread::NOT_TRUSTED, detail));
        match (named.unwrap_or(self.credentials), key) {
            (Credentials::Ambient, StoreKey::Namespaced { .. }) => refused(format!(
                "the job's own credentials never write through a SecretStore, because a tenant can edit it. \
                 Use the store's own credentials (`{key}: store`), or a ClusterSecretStore"
            )),
            (Credentials::Store, _) if is_referent(key, asked.settings) => refused(
                "the credentials of this store depend on a namespace. Give its references a namespace, or use a SecretStore".to_owned(),
            ),
            (Credentials::Store, _) if is_named(&identity, asked.settings) => Decision::Store,
            (Credentials::Store, _) => Decision::Refused(Unread::store(
                unread::CONTROLLER_IDENTITY,
                format!("the operator uses this store with its own Pod's identity. Use the job's own credentials (`{key}: ambient`)"),
            )),
            (Credentials::Ambient, StoreKey::Cluster { .. }) if named.is_none() => {
                refuse_wider_access(asked, &identity).map_or(Decision::Ambient, Decision::Refused)
            }
            (Credentials::Ambient, StoreKey::Cluster { .. }) => Decision::Ambient,
        }
    }
}

/// Returns an error if the job's own credentials may read more than the operator does for this ExternalSecret.
fn refuse_wider_access(asked: Asked<'_>, identity: &Identity) -> Option<Unread> {
    let key = asked.store;
    let whose = if matches!(identity, Identity::ServiceAccount) {
        "with a service account of that cluster"
    } else if is_referent(key, asked.settings) {
        "with credentials of the ExternalSecret's namespace"
    } else {
        return None;
    };
    Some(Unread::store(
        unread::NOT_TRUSTED,
        format!(
            "the operator reads this store {whose}. Set `{key}: store` under `drift.stores` in the policy, \
             or `{key}: ambient` to use the job's own credentials"
        ),
    ))
}

/// Returns an error if a tenant's store brings its own certificate authority: its author could take the job's credentials between
/// the job and the endpoint that the policy trusts.
fn refuse_own_authority(asked: Asked<'_>) -> Option<Unread> {
    let key = asked.store;
    let says = |pointer: &&&str| {
        let value = asked.settings.pointer(pointer);
        value.is_some_and(|value| !value.is_null() && value.as_str() != Some(""))
    };
    let pointer = AUTHORITIES.iter().find(says)?;
    matches!(key, StoreKey::Namespaced { .. }).then(|| {
        let field = pointer.rsplit('/').next().unwrap_or_default();
        Unread::store(
            unread::NOT_TRUSTED,
            format!(
                "the job's own credentials may not be used with the `{field}` of a SecretStore. Set `{key}: ambient` under `drift.stores` \
                 in the policy if you trust everyone who can edit this store"
            ),
        )
    })
}

/// True if the store names the identity that it is read with, so that the operator does not use its own Pod's.
fn is_named(identity: &Identity, settings: &Json) -> bool {
    match identity {
        Identity::NamedOrOperator(names) => names(settings),
        Identity::ServiceAccount | Identity::NotNeeded => true,
        Identity::Unknown => false,
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
            format!("{key} does not allow the namespace `{namespace}`"),
        ),
        Admission::LabelsUnknown => Unread::secret(
            unread::STORE,
            format!(
                "the conditions of {key} depend on the labels of the namespace `{namespace}`, which could not be read"
            ),
        )
        .lacking("list namespaces"),
        Admission::NotUnderstood => Unread::secret(
            why::REGEXP,
            format!("a namespace condition of {key} is not understood"),
        ),
    })
}

/// True if the store's own credentials depend on the ExternalSecret's namespace: a ClusterSecretStore with a reference without a
/// namespace.
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
