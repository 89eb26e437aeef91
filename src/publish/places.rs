//! The places that a run publishes to: stores, accounts, vaults and projects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cluster::Cluster;
use eso_model::{StoreKey, StoreKind, remote};
use pace::Clock;
use providers::{
    Ambient, Identity, RateLimiter, Resolver, StoreSettings, Unread,
    holder::Writer,
    trust::{Asked, Decision, Rules},
};
use publish::{Creation, Layout, RemoteKey, Store, Unfit};
use sandbox::Sandbox;

use super::fault::Fault;
use crate::{
    discover,
    policy::{
        Policy,
        publish::{PublishItem, PublishTo, StoreTarget},
    },
    sandbox_access,
};

/// One place, with a connection that can write.
pub(super) struct Place {
    pub(super) store: Arc<Store>,
    /// The items that publish here.
    pub(super) items: BTreeSet<String>,
    /// The starts of the names of these items.
    pub(super) prefixes: BTreeSet<String>,
    /// What the store puts before all names.
    pub(super) store_prefix: String,
    /// Where the ExternalSecrets that read its secrets find them.
    pub(super) remote: remote::Place,
    pub(super) writer: Box<dyn Writer>,
    /// The settings of the store.
    settings: serde_json::Value,
    /// For looking.
    pub(super) reads: RateLimiter,
    /// For writing.
    pub(super) writes: RateLimiter,
}

impl Place {
    /// True if the secret is in this place.
    pub(super) fn holds(&self, key: &RemoteKey) -> bool {
        self.store.space == key.space && self.store.provider == key.provider
    }

    /// What the provider does not support about the secrets of an item. The policy of an item that publishes to a store does not say
    /// which provider it has.
    pub(super) fn unsupported(&self, item: &PublishItem, creation: &Creation) -> Vec<Fault> {
        let unfit = creation.unfit(&self.store.provider, &self.settings);
        let fault = |Unfit { part, why }| {
            let message = format!("`create.{part}`: {why}");
            Fault::new(providers::unread::UNSUPPORTED, message)
        };
        let layout = (!item.layout.fits(&self.store.provider)).then(|| {
            let message = format!("`layout`: {}", Layout::UNFIT);
            Fault::new(providers::unread::UNSUPPORTED, message)
        });
        let keep = (item.versions.keep.is_some() && !self.store.destroys_versions).then(|| {
            let message = "`versions.keep`: this provider destroys no single versions; remove it";
            Fault::new(providers::unread::UNSUPPORTED, message)
        });
        layout
            .into_iter()
            .chain(keep)
            .chain(unfit.into_iter().map(fault))
            .collect()
    }
}

/// What connecting needs.
pub(super) struct Connector<'a> {
    /// None without a cluster.
    pub(super) cluster: Option<&'a Cluster>,
    /// The embedded cluster, if it is used.
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) policy: &'a Policy,
    pub(super) owner: &'a str,
    pub(super) clock: Clock,
    pub(super) environment: &'a BTreeMap<String, String>,
}

impl Connector<'_> {
    /// Connects to the place of an item, by the same trust rules as for reading.
    pub(super) async fn connect(&self, to: &PublishTo) -> Result<Place, Fault> {
        let (settings, named) = match (&to.store, to.direct()) {
            (Some(store), _) => (self.store(store).await?, true),
            (None, Some((provider, settings))) => {
                // The name is only shown.
                let key = StoreKey::Cluster {
                    name: to.to_string(),
                };
                (StoreSettings::new(key, provider, settings), false)
            }
            (None, None) => return Err(Fault::new("no-target", "the item has no target")),
        };
        let writer = self
            .writer(&settings, named)
            .await
            .map_err(Fault::of_unread)?;
        let rate = self.policy.pace.of(&settings.provider);
        let store = Store::new(
            to.to_string(),
            settings.provider.clone(),
            &settings.settings,
        )
        .ok_or_else(|| Fault::of_unread(Unread::unsupported(&settings.provider)))?;
        Ok(Place {
            store: Arc::new(store),
            items: BTreeSet::new(),
            prefixes: BTreeSet::new(),
            store_prefix: store_prefix(&settings),
            remote: remote::Place::of(&settings.provider, &settings.settings),
            writer,
            settings: settings.settings,
            reads: RateLimiter::new(rate),
            writes: RateLimiter::new(self.policy.pace.of_writes(&settings.provider)),
        })
    }

    async fn store(&self, target: &StoreTarget) -> Result<StoreSettings, Fault> {
        let cluster = self.cluster.ok_or_else(Fault::no_cluster)?;
        let name = target.name.clone();
        let key = match target.kind {
            StoreKind::ClusterSecretStore => StoreKey::Cluster { name },
            StoreKind::SecretStore => StoreKey::Namespaced {
                namespace: target.namespace.clone().unwrap_or_default(),
                name,
            },
        };
        let source = discover::source(cluster, &key).await;
        Ok(source.map_err(Fault::of_unread)?.settings)
    }

    async fn writer(
        &self,
        settings: &StoreSettings,
        is_store: bool,
    ) -> Result<Box<dyn Writer>, Unread> {
        let rules = self.policy.drift.rules();
        let is_own = is_store && Self::is_own(settings, &rules)?;
        if let Some(sandbox) = self.sandbox {
            return sandbox_access::writer::connect(sandbox, settings, self.owner);
        }
        if is_own {
            let cluster = self.cluster.ok_or_else(|| {
                Unread::store(
                    providers::unread::STORE,
                    "the store's credentials are in the cluster",
                )
            })?;
            // All references name their namespace, so the default is never used.
            let namespace = settings.key.namespace().unwrap_or_default();
            let resolver = Resolver::new(cluster.clone(), settings.key.clone(), namespace);
            let identity = Identity::Store(&resolver);
            return providers::connect_writer(settings, identity, self.owner, self.clock).await;
        }
        let ambient = ambient(self.policy, self.environment);
        let identity = Identity::Ambient(&ambient);
        providers::connect_writer(settings, identity, self.owner, self.clock).await
    }

    /// True if a store is written with the credentials that it names, and not with the job's own.
    fn is_own(settings: &StoreSettings, rules: &Rules) -> Result<bool, Unread> {
        let asked = Asked {
            store: &settings.key,
            provider: &settings.provider,
            settings: &settings.settings,
            // They limit which namespaces may read the store, and nothing is read for one.
            conditions: &[],
        };
        match rules.decide_write(asked) {
            Decision::Ambient => Ok(false),
            Decision::Store => Ok(true),
            Decision::Refused(refused) => Err(refused),
        }
    }
}

/// The job's own credentials, and where they may be sent.
pub(super) fn ambient(policy: &Policy, environment: &BTreeMap<String, String>) -> Ambient {
    let rules = policy.drift.rules();
    Ambient {
        environment: environment.clone(),
        endpoints: rules.endpoints.iter().map(ToString::to_string).collect(),
        api_server_token: rules.api_server_token,
    }
}

/// What a store of AWS puts before the names of its secrets.
fn store_prefix(settings: &StoreSettings) -> String {
    settings
        .at("/prefix")
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
