//! What a policy says about drift.

use std::collections::BTreeMap;

use eso_model::StoreKey;
use providers::trust::{Credentials, Origin, Rules};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    form::{self, Entries, Written},
    written::{self, in_order},
};

/// What is done about a Secret that does not hold what it should, although the operator has proven to have read the provider.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OnStillStale {
    /// It is told.
    Report,
    /// The operator's own hash is taken off the Secret, which makes the operator write it anew.
    Refetch,
    /// That; and where it does not help, the Secret is deleted, which makes the operator create it anew.
    Recreate,
}

impl OnStillStale {
    /// As it is written in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Refetch => "refetch",
            Self::Recreate => "recreate",
        }
    }
}

/// The section `drift`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Drift {
    /// Whether drift is checked; it needs to read the target Secrets, and the providers.
    pub enabled: bool,
    /// What providers are read with: the job's own credentials, or those that each store names.
    pub credentials: Credentials,
    /// The same by store: `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`.
    #[serde(with = "written::store_keys")]
    #[schemars(with = "Entries<form::Store, Credentials>")]
    pub stores: BTreeMap<StoreKey, Credentials>,
    /// Where the job's own credentials may go beyond the clouds' own hosts.
    #[schemars(with = "Vec<Written<form::Endpoint>>")]
    pub endpoints: Vec<Origin>,
    /// Whether the job's own credentials may read for a SecretStore. Whoever can write one could then aim them at secrets that
    /// are not theirs.
    pub namespaced_stores: bool,
    /// What becomes of those of which it cannot be told: they are left alone and the run counts as failed; they are left alone; or
    /// they are synced as if they had drifted.
    pub on_unverifiable: OnUnverifiable,
}

impl Drift {
    /// Whose credentials stores are read with, and where they go.
    pub fn rules(&self) -> Rules {
        Rules {
            credentials: self.credentials,
            stores: self.stores.clone(),
            endpoints: self.endpoints.clone(),
            namespaced_stores: self.namespaced_stores,
        }
    }
}

/// What becomes of an ExternalSecret of which it cannot be told whether it drifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnverifiable {
    /// It is left alone, and the run counts as failed.
    Fail,
    /// It is left alone, and told.
    Report,
    /// It is synced as if it had drifted.
    Sync,
}

impl OnUnverifiable {
    /// As it is written in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Report => "report",
            Self::Sync => "sync",
        }
    }
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
        }
    }
}
