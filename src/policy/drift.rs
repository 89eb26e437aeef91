//! The section `drift`, and `sync.onStillStale`.

use std::collections::BTreeMap;

use eso_model::StoreKey;
use providers::trust::{Credentials, Origin, Rules};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    form::{self, Entries, Written},
    written::{self, in_order},
};

/// What to do if a Secret is still stale after a proven sync.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum OnStillStale {
    /// Only report it.
    Report,
    /// Remove the operator's hash from the Secret, so that the operator writes it again.
    Refetch,
    /// Refetch. If that does not help, delete the Secret, so that the operator creates it again.
    Recreate,
}

/// The drift check: computes what the Secrets should hold from what the providers hold now, and compares it with the Secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Drift {
    /// True to check for drift, which reads the target Secrets and the providers. If false, drift is unknown.
    pub enabled: bool,
    /// The credentials to read providers with. `ambient`: the job's own. `store`: those that each store names.
    pub credentials: Credentials,
    /// The credentials by store: `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`.
    #[serde(with = "written::store_keys")]
    #[schemars(with = "Entries<form::Store, Credentials>")]
    pub stores: BTreeMap<StoreKey, Credentials>,
    /// Endpoints that may receive the job's own credentials, in addition to those of the cloud providers.
    #[schemars(with = "Vec<Written<form::Endpoint>>")]
    pub endpoints: Vec<Origin>,
    /// True to use the job's own credentials for SecretStores too. A tenant who can write a SecretStore can then point it at
    /// secrets of others.
    pub namespaced_stores: bool,
    /// What to do with unverifiable ExternalSecrets. `fail`: leave them alone, and the run exits with code 3. `report`: leave
    /// them alone. `sync`: sync them.
    pub on_unverifiable: OnUnverifiable,
    /// True if the job's token for the API server may be sent to a provider. Not a key: only `--allow api-server-token` sets it.
    #[serde(skip)]
    pub api_server_token: bool,
}

impl Drift {
    /// Returns the trust rules: which credentials are used, and which endpoints may receive them.
    pub fn rules(&self) -> Rules {
        Rules {
            credentials: self.credentials,
            stores: self.stores.clone(),
            endpoints: self.endpoints.clone(),
            namespaced_stores: self.namespaced_stores,
            api_server_token: self.api_server_token,
        }
    }
}

/// What to do with an unverifiable ExternalSecret.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum OnUnverifiable {
    /// Skip it, and the run counts as failed.
    Fail,
    /// Skip it.
    Report,
    /// Sync it.
    Sync,
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            enabled: true,
            credentials: Credentials::Ambient,
            stores: BTreeMap::new(),
            endpoints: Vec::new(),
            namespaced_stores: false,
            on_unverifiable: OnUnverifiable::Fail,
            api_server_token: false,
        }
    }
}
