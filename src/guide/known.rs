//! What a guide knows of a cluster: its stores, and the keys that ExternalSecrets read from them.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{
    ProviderKind, StoreKey,
    expected::{What, reads},
};
use providers::{
    Unread,
    reader::{NamespaceLabels, Source},
};
use serde_json::Value as Json;

use super::Subject;
use crate::{
    init::{Access, Accesses, References},
    inventory::Inventory,
    rbac::{ServiceAccountName, provider::Side},
    readers::Readers,
};

/// The maximum length of a key that a guide names. No provider has longer names.
const LONGEST: usize = 1000;

/// What is known of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The context and the server, for people.
    pub place: String,
    /// The name of the context in the kubeconfig.
    pub context: Option<String>,
    pub stores: Vec<KnownStore>,
    /// What could not be read.
    pub gaps: Vec<String>,
}

/// A store that ExternalSecrets read.
#[derive(Clone, Debug)]
pub struct KnownStore {
    pub key: StoreKey,
    pub provider: ProviderKind,
    /// The provider's part of its spec.
    pub settings: Json,
    pub access: Access,
    /// The number of its ExternalSecrets.
    pub used_by: usize,
    /// The keys of single secrets that they read.
    pub keys: BTreeSet<String>,
    /// The paths that they search; empty for a search everywhere.
    pub searches: BTreeSet<String>,
    /// True if one of them reads tags or labels.
    pub reads_metadata: bool,
    /// True if the spec of one of them is not known, so that it may read other keys.
    pub is_incomplete: bool,
    /// The `ServiceAccounts` that it names.
    pub accounts: Vec<ServiceAccountName>,
    /// The namespaces of the Secrets that it names, if it is a ClusterSecretStore.
    pub credentials_in: BTreeSet<String>,
}

impl KnownStore {
    /// The text at this JSON pointer of its settings, or nothing.
    pub(super) fn at(&self, pointer: &str) -> &str {
        let text = self.settings.pointer(pointer).and_then(Json::as_str);
        text.unwrap_or_default()
    }
}

impl Known {
    /// Collects what the inventory has.
    pub fn new(
        inventory: &Inventory,
        sources: &BTreeMap<StoreKey, Result<Source, Unread>>,
        labels: Option<&NamespaceLabels>,
        context: Option<String>,
        place: String,
    ) -> Self {
        let used = used(inventory);
        let stores = used.into_iter().filter_map(|(key, used)| {
            let source = sources.get(&key);
            let settings = &source?.as_ref().ok()?.settings;
            let namespaces: BTreeSet<&str> = used.namespaces.iter().map(|it| &**it).collect();
            let accesses = Accesses::of(&key, source, namespaces, labels);
            let mut references = References::default();
            references.add(&key, &settings.settings, &accesses.namespaces);
            Some(KnownStore {
                provider: settings.provider.clone(),
                settings: settings.settings.clone(),
                access: accesses.access,
                key,
                used_by: used.external_secrets,
                keys: used.keys,
                searches: used.searches,
                reads_metadata: used.reads_metadata,
                is_incomplete: used.is_incomplete,
                accounts: references.accounts.into_iter().collect(),
                credentials_in: references.namespaces,
            })
        });
        let stores = stores.collect();
        let gaps = inventory.gaps.iter();
        Self {
            place,
            context,
            stores,
            gaps: gaps
                .map(|gap| format!("{}: {}", gap.what, gap.why))
                .collect(),
        }
    }

    /// The stores that a guide is about.
    pub(super) fn of(&self, subject: Subject) -> Vec<&KnownStore> {
        let is_meant = |store: &&KnownStore| match Side::of(&store.provider) {
            Some(Side::Aws) => subject == Subject::Aws,
            Some(Side::Azure) => subject == Subject::Azure,
            Some(Side::Gcp) => subject == Subject::Gcp,
            Some(Side::Vault) => subject == Subject::Vault,
            None => subject == Subject::Kubernetes && store.provider == ProviderKind::Kubernetes,
        };
        self.stores.iter().filter(is_meant).collect()
    }
}

/// What ExternalSecrets read from one store.
#[derive(Default)]
struct Used {
    namespaces: BTreeSet<String>,
    external_secrets: usize,
    keys: BTreeSet<String>,
    searches: BTreeSet<String>,
    reads_metadata: bool,
    is_incomplete: bool,
}

fn used(inventory: &Inventory) -> BTreeMap<StoreKey, Used> {
    let mut all: BTreeMap<StoreKey, Used> = BTreeMap::new();
    let readers = Readers::visiting(inventory, &mut |id, spec| {
        for read in reads(spec) {
            let used = all.entry(read.store.key(&id.namespace)).or_default();
            match read.what {
                What::Secret { key, metadata, .. } => {
                    used.reads_metadata |= metadata;
                    if key.len() <= LONGEST {
                        used.keys.insert(key);
                    } else {
                        used.is_incomplete = true;
                    }
                }
                What::Find { path, .. } => {
                    used.searches.insert(path.unwrap_or_default());
                }
            }
        }
    });
    for one in &inventory.external_secrets {
        for key in one.store_keys() {
            let used = all.entry(key.clone()).or_default();
            used.external_secrets += 1;
            used.namespaces.insert(one.id.namespace.clone());
            used.is_incomplete |= readers.unknown.contains_key(&one.id);
        }
    }
    all
}
