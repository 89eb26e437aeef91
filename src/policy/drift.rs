//! What a policy says about drift.

use std::collections::BTreeMap;

use eso_model::StoreKey;
use providers::trust::{Credentials, Origin, Rules};
use serde::{Deserialize, Serialize};

use super::written;

/// What is done about a Secret that does not hold what it should, although the operator has proven to have read the provider.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drift {
    /// Whether it is checked at all.
    pub enabled: bool,
    /// What providers are read with.
    pub credentials: Credentials,
    /// The same for single stores.
    #[serde(with = "written::store_keys")]
    pub stores: BTreeMap<StoreKey, Credentials>,
    /// Where the job's own credentials may go beyond the clouds' own hosts.
    pub endpoints: Vec<Origin>,
    /// Whether the job's own credentials may read for a SecretStore, which a tenant can write.
    pub namespaced_stores: bool,
    /// What becomes of those of which it cannot be told.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
