//! How a job can read a store, with the least trust that is sufficient.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{ProviderKind, StoreKey, provider::Identity};
use providers::{
    Unread,
    reader::{NamespaceLabels, Source},
    trust::{Asked, Credentials, Decision, Origin, Rules},
};
use serde_json::Value as Json;

use super::Found;
use crate::{
    foreign::line,
    rbac::{ServiceAccountName, provider::Side},
};

/// How a store can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Without credentials.
    Free,
    /// With the credentials that it names.
    Own,
    /// With the job's own credentials, which may have to be permitted for this address.
    Ambient { endpoint: Option<String> },
    /// Not by a rule that needs no decision of people, for this reason.
    None(String),
}

impl Access {
    /// Asks the trust rules. A store that names an identity is read with it, because the operator reads it so, too.
    pub fn of(
        key: &StoreKey,
        source: Option<&Result<Source, Unread>>,
        namespaces: &BTreeSet<&str>,
        labels: Option<&NamespaceLabels>,
    ) -> Self {
        let source = match source {
            Some(Ok(source)) => source,
            Some(Err(unread)) => return Self::None(line(&unread.why.detail)),
            None => return Self::None("it does not exist, or could not be read".to_owned()),
        };
        let settings = &source.settings;
        if matches!(settings.provider.facts().identity, Identity::NotNeeded) {
            return Self::Free;
        }
        let asked = Asked {
            store: key,
            provider: &settings.provider,
            settings: &settings.settings,
            conditions: &source.conditions,
        };
        let namespace = namespaces.first().copied().unwrap_or_default();
        let labels: Option<&BTreeMap<String, String>> = labels.and_then(|all| all.get(namespace));
        let decide = |credentials| {
            let rules = Rules {
                credentials,
                ..Rules::default()
            };
            rules.decide(asked, namespace, labels)
        };
        if decide(Credentials::Store) == Decision::Store {
            return Self::Own;
        }
        match decide(Credentials::Ambient) {
            Decision::Ambient => Self::ambient(&settings.provider, &settings.settings),
            Decision::Refused(unread) => Self::None(line(&unread.why.detail)),
            Decision::Store => Self::Own,
        }
    }

    fn ambient(provider: &ProviderKind, settings: &Json) -> Self {
        if *provider != ProviderKind::Vault {
            return Self::Ambient { endpoint: None };
        }
        let server = settings.pointer("/server").and_then(Json::as_str);
        match Origin::of_address(server.unwrap_or_default()) {
            Ok(origin) => Self::Ambient {
                endpoint: Some(origin.to_string()),
            },
            Err(error) => Self::None(format!("its address {error}")),
        }
    }

    pub(super) const fn is_readable(&self) -> bool {
        !matches!(self, Self::None(_))
    }

    /// The credentials of the policy that it needs. None if any will do.
    pub(super) const fn credentials(&self) -> Option<Credentials> {
        match self {
            Self::Own => Some(Credentials::Store),
            Self::Ambient { .. } => Some(Credentials::Ambient),
            Self::Free | Self::None(_) => None,
        }
    }

    /// The address that must be listed for the job's own credentials.
    pub(super) fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Ambient { endpoint } => endpoint.as_deref(),
            Self::Free | Self::Own | Self::None(_) => None,
        }
    }

    /// What the job needs, for people.
    pub(super) fn needs(&self, provider: Option<&ProviderKind>) -> String {
        match self {
            Self::Free => "needs no credentials".to_owned(),
            Self::Own => {
                "read with the credentials that it names; `eso-sync rbac` prints the rights to use them".to_owned()
            }
            Self::Ambient { .. } => {
                let permission = provider.map_or("the right to read", |kind| kind.facts().permission);
                let more = provider.and_then(Side::of).map_or_else(String::new, |side| {
                    let side = side.word();
                    format!("; `eso-sync rbac --for {side}` prints what to apply there")
                });
                format!("read with the job's own identity, which needs {permission}{more}")
            }
            Self::None(why) => format!("cannot be read: {why}"),
        }
    }
}

/// The namespaces of the Secrets that ClusterSecretStores name, and the `ServiceAccounts` that any store names.
pub(super) fn references(found: &Found<'_>) -> (BTreeSet<String>, Vec<ServiceAccountName>) {
    let mut references = References::default();
    for (key, source) in found.sources {
        if let Ok(source) = source {
            references.add(key, &source.settings.settings);
        }
    }
    references.named()
}

/// What stores name: Secrets and `ServiceAccounts`.
#[derive(Default)]
pub struct References {
    namespaces: BTreeSet<String>,
    accounts: BTreeSet<(String, String)>,
}

impl References {
    pub fn add(&mut self, key: &StoreKey, settings: &Json) {
        walk(settings, key, false, &mut |reference| {
            if reference.is_account {
                let account = (reference.namespace, reference.name);
                self.accounts.insert(account);
            } else if key.namespace().is_none() {
                self.namespaces.insert(reference.namespace);
            }
        });
    }

    /// The namespaces of the Secrets of ClusterSecretStores, and the `ServiceAccounts`.
    pub fn named(self) -> (BTreeSet<String>, Vec<ServiceAccountName>) {
        let accounts = self.accounts.into_iter();
        let accounts = accounts.map(|(namespace, name)| ServiceAccountName { namespace, name });
        (self.namespaces, accounts.collect())
    }
}

/// A reference of a store to a Secret or a ServiceAccount.
struct Reference {
    namespace: String,
    name: String,
    is_account: bool,
}

/// Visits the references with a known namespace.
fn walk(value: &Json, key: &StoreKey, is_account: bool, each: &mut impl FnMut(Reference)) {
    match value {
        Json::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Json::as_str).map(str::to_owned);
            let namespace = key
                .namespace()
                .map(str::to_owned)
                .or_else(|| text("namespace"));
            if let (Some(name), Some(namespace)) = (text("name"), namespace) {
                each(Reference {
                    namespace,
                    name,
                    is_account,
                });
            }
            for (name, inner) in members {
                walk(
                    inner,
                    key,
                    name == "serviceAccountRef" || name == "serviceAccount",
                    each,
                );
            }
        }
        Json::Array(items) => {
            for item in items {
                walk(item, key, is_account, each);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
