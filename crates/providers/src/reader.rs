//! Reads the provider data for all ExternalSecrets of a run. Connects once to each store and reads each secret once, at the rate
//! of its quota.
//!
//! A connection is opened on the first read and shared by all reads with the same credentials. A ClusterSecretStore whose
//! credentials depend on the namespace has one connection per namespace. A store that cannot be read gets no more requests.
//! Values live as long as the reader.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cluster::Cluster;
use eso_model::{
    ProviderKind, ProviderName, QuotaKey, StoreKey,
    expected::{Answer, Content, Read, What},
};
use futures::{StreamExt as _, stream};
use pace::rate::Rate;

use super::{
    Ambient, Answered, Identity, Provider, RateLimiter, Resolver, StoreSettings, Unread,
    trust::{Asked, Condition, Decision, Rules, is_referent},
    unread,
};

/// The stores that are read concurrently.
const AT_A_TIME: usize = 32;

/// The interval at which the progress of a read is reported. The first report comes at its start.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The time limit for connecting.
const LOGIN: Duration = Duration::from_mins(2);

/// The provider of a store that could not be read.
static NO_PROVIDER: ProviderKind = ProviderKind::Other(String::new());

/// A store that can be read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The provider and its part of the store's spec.
    pub settings: StoreSettings,
    /// The namespaces that it serves, if it is a ClusterSecretStore.
    pub conditions: Vec<Condition>,
    /// The quota that it shares.
    pub quota: QuotaKey,
}

/// The labels of all namespaces, by name.
pub type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

/// The rates of calls per provider and per store.
#[derive(Clone, Debug)]
pub struct Rates {
    /// For providers that are not in `providers`.
    pub default: Rate,
    pub providers: BTreeMap<ProviderName, Rate>,
    /// In addition to the provider's rate.
    pub stores: BTreeMap<StoreKey, Rate>,
}

impl Rates {
    /// The rate for each quota of a provider.
    pub fn of(&self, provider: &ProviderKind) -> Rate {
        let named = ProviderName::value_of(&self.providers, provider);
        named.copied().unwrap_or(self.default)
    }
}

/// The inputs of a [`Reader`].
pub struct ReaderInput {
    /// The cluster that contains the stores.
    pub cluster: Cluster,
    /// The stores that the ExternalSecrets use, or why a store is unavailable.
    pub stores: BTreeMap<StoreKey, Result<Source, Unread>>,
    /// For the conditions of stores. None if they could not be read.
    pub labels: Option<NamespaceLabels>,
    /// Which credentials may be used for which store.
    pub rules: Rules,
    /// The environment that contains the job's own credentials.
    pub environment: BTreeMap<String, String>,
    /// The rates at which providers are read.
    pub rates: Rates,
}

/// How far a read has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadProgress {
    /// The stores to read. A store whose credentials depend on the namespace counts once per namespace.
    pub stores: usize,
    /// The stores that are read.
    pub done: usize,
    /// The calls so far.
    pub calls: u64,
}

/// Called when a read starts, and again every few seconds.
pub type OnProgress = Arc<dyn Fn(ReadProgress) + Send + Sync>;

/// Connects to a double of the providers.
pub type StandIn = Arc<dyn Fn(&StoreSettings) -> Result<Box<dyn Provider>, Unread> + Send + Sync>;

/// Reads providers and keeps the answers.
pub struct Reader {
    known: ReaderInput,
    stand_in: Option<StandIn>,
    on_progress: Option<OnProgress>,
    ambient: Ambient,
    quotas: BTreeMap<QuotaKey, RateLimiter>,
    /// By store. All connections of a store share them.
    limiter: BTreeMap<StoreKey, RateLimiter>,
    /// By store and namespace of the ExternalSecret.
    routes: BTreeMap<(StoreKey, String), Result<Link, Unread>>,
    links: BTreeMap<Link, Connection>,
}

/// Identifies one connection: a store and a set of credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    store: StoreKey,
    /// True for the job's own credentials.
    ambient: bool,
    /// Set if the store's own credentials depend on the namespace.
    namespace: Option<String>,
}

/// A connection and its answers.
struct Connection {
    state: State,
    limiter: RateLimiter,
    answers: BTreeMap<What, Answered>,
}

enum State {
    Untried,
    Open(Box<dyn Provider>),
    /// The store cannot be read and gets no more requests.
    Lost(Unread),
}

impl Reader {
    /// Creates a reader. Sends no request.
    pub fn new(known: ReaderInput) -> Self {
        let ambient = Ambient {
            environment: known.environment.clone(),
            endpoints: known
                .rules
                .endpoints
                .iter()
                .map(ToString::to_string)
                .collect(),
            api_server_token: known.rules.api_server_token,
        };
        Self {
            known,
            stand_in: None,
            on_progress: None,
            ambient,
            quotas: BTreeMap::new(),
            limiter: BTreeMap::new(),
            routes: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    /// Connects to a double instead of the providers. The trust rules still apply.
    #[must_use]
    pub fn through(self, stand_in: Option<StandIn>) -> Self {
        Self { stand_in, ..self }
    }

    /// Reports the progress of long reads.
    #[must_use]
    pub fn reporting(self, on_progress: OnProgress) -> Self {
        Self {
            on_progress: Some(on_progress),
            ..self
        }
    }

    /// Reads the data for ExternalSecrets of these namespaces, unless it was read already.
    pub async fn read<'r>(&mut self, wanted: impl IntoIterator<Item = (&'r str, &'r Read)>) {
        let mut reads: BTreeMap<Link, BTreeSet<What>> = BTreeMap::new();
        for (namespace, read) in wanted {
            if let Ok(link) = self.route(namespace, read) {
                let known = self.links.get(&link);
                if !known.is_some_and(|connection| connection.answers.contains_key(&read.what)) {
                    reads.entry(link).or_default().insert(read.what.clone());
                }
            }
        }
        let mut under_way = Vec::new();
        for (link, what) in reads {
            let connection = self.links.remove(&link).unwrap_or_else(|| Connection {
                state: State::Untried,
                limiter: self.limiter(&link.store),
                answers: BTreeMap::new(),
            });
            under_way.push((link, connection, what));
        }
        let this = &*self;
        let reads: Vec<_> = under_way
            .into_iter()
            .map(|(link, connection, what)| this.read_over(link, connection, what))
            .collect();
        let connections = this.read_stores(reads).await;
        self.links.extend(connections);
    }

    /// Runs the reads, some at a time, and reports the progress.
    async fn read_stores(
        &self,
        reads: Vec<impl Future<Output = (Link, Connection)>>,
    ) -> Vec<(Link, Connection)> {
        let (stores, before) = (reads.len(), self.call_count());
        let report = |done| {
            if let Some(on_progress) = &self.on_progress {
                let calls = self.call_count() - before;
                on_progress(ReadProgress {
                    stores,
                    done,
                    calls,
                });
            }
        };
        let mut connections = Vec::new();
        if stores > 0 {
            report(0);
        }
        let mut reads = stream::iter(reads).buffer_unordered(AT_A_TIME);
        let next = tokio::time::Instant::now() + PROGRESS_INTERVAL;
        let mut ticks = tokio::time::interval_at(next, PROGRESS_INTERVAL);
        while connections.len() < stores {
            tokio::select! {
                connection = reads.next() => connections.extend(connection),
                _ = ticks.tick() => report(connections.len()),
            }
        }
        connections
    }

    /// Reads again, ignoring the earlier answers.
    pub async fn read_again<'r>(&mut self, wanted: impl IntoIterator<Item = (&'r str, &'r Read)>) {
        let wanted: Vec<(&str, &Read)> = wanted.into_iter().collect();
        for (namespace, read) in &wanted {
            if let Ok(link) = self.route(namespace, read)
                && let Some(connection) = self.links.get_mut(&link)
            {
                connection.answers.remove(&read.what);
            }
        }
        self.read(wanted).await;
    }

    /// The answer to a read of an ExternalSecret in this namespace.
    pub fn answer(&self, namespace: &str, read: &Read) -> Answer<'_> {
        let key = key_of(namespace, read);
        let source = self.known.stores.get(&key).and_then(|it| it.as_ref().ok());
        let provider = source.map_or(&NO_PROVIDER, |source| &source.settings.provider);
        let content = match self.found(namespace, read) {
            Ok(answered) => answered.content(),
            Err(unread) => Content::Unread(unread.why),
        };
        Answer { provider, content }
    }

    /// The reason and the missing permission, or None if the read succeeded.
    pub fn unread(&self, namespace: &str, read: &Read) -> Option<Unread> {
        match self.found(namespace, read) {
            Ok(Answered::Unread(unread)) => Some(unread.clone()),
            Ok(_) => None,
            Err(unread) => Some(unread),
        }
    }

    /// The stores that cannot be read at all, once each.
    pub fn store_errors(&self) -> Vec<(StoreKey, Unread)> {
        let routes = self.routes.iter().filter_map(|((store, _), route)| {
            let unread = route.as_ref().err().filter(|unread| unread.whole_store)?;
            Some((store, unread))
        });
        let links = self
            .links
            .iter()
            .filter_map(|(link, connection)| match &connection.state {
                State::Lost(unread) => Some((&link.store, unread)),
                State::Untried | State::Open(_) => None,
            });
        let mut failures: BTreeMap<&StoreKey, (&Unread, BTreeSet<&str>)> = BTreeMap::new();
        for (store, unread) in routes.chain(links) {
            let (_, details) = failures
                .entry(store)
                .or_insert_with(|| (unread, BTreeSet::new()));
            details.insert(&unread.why.detail);
        }
        failures
            .into_iter()
            .map(|(store, (first, details))| {
                let mut unread = first.clone();
                if details.len() > 1 {
                    let (told, more) = (&first.why.detail, details.len() - 1);
                    unread.why.detail = format!("{told} (and {more} similar errors)");
                }
                (store.clone(), unread)
            })
            .collect()
    }

    fn call_count(&self) -> u64 {
        self.quotas.values().map(RateLimiter::calls).sum()
    }

    /// The number of calls so far, by quota.
    pub fn calls(&self) -> BTreeMap<QuotaKey, u64> {
        let calls = self.quotas.iter();
        calls
            .map(|(quota, limiter)| (quota.clone(), limiter.calls()))
            .collect()
    }

    fn found(&self, namespace: &str, read: &Read) -> Result<&Answered, Unread> {
        let not_read = || Unread::secret(unread::UNAVAILABLE, "it was not read");
        let route = self
            .routes
            .get(&(key_of(namespace, read), namespace.to_owned()));
        let link = route
            .ok_or_else(not_read)?
            .as_ref()
            .map_err(Unread::clone)?;
        let connection = self.links.get(link).ok_or_else(not_read)?;
        match (connection.answers.get(&read.what), &connection.state) {
            (Some(answered), _) => Ok(answered),
            (None, State::Lost(unread)) => Err(unread.clone()),
            (None, State::Untried | State::Open(_)) => Err(not_read()),
        }
    }

    /// The connection for this read, decided once per store and namespace.
    fn route(&mut self, namespace: &str, read: &Read) -> Result<Link, Unread> {
        let key = (key_of(namespace, read), namespace.to_owned());
        if let Some(route) = self.routes.get(&key) {
            return route.clone();
        }
        let route = self.decide(&key.0, namespace);
        self.routes.insert(key, route.clone());
        route
    }

    fn decide(&self, store: &StoreKey, namespace: &str) -> Result<Link, Unread> {
        let source = match self.known.stores.get(store) {
            Some(source) => source.as_ref().map_err(Unread::clone)?,
            None => {
                return Err(Unread::store(
                    unread::STORE,
                    format!("{store} was not found"),
                ));
            }
        };
        let StoreSettings {
            provider, settings, ..
        } = &source.settings;
        // A double can be read in every build.
        if self.stand_in.is_none() {
            super::client(provider)?;
        }
        let asked = Asked {
            store,
            provider,
            settings,
            conditions: &source.conditions,
        };
        let all = self.known.labels.as_ref();
        let of_namespace = all.and_then(|all| all.get(namespace));
        let own = match self.known.rules.decide(asked, namespace, of_namespace) {
            Decision::Refused(refused) => return Err(refused),
            Decision::Ambient => false,
            Decision::Store => true,
        };
        Ok(Link {
            store: store.clone(),
            ambient: !own,
            namespace: (own && is_referent(store, settings)).then(|| namespace.to_owned()),
        })
    }

    /// The rate limiter of a store: that of its quota, plus the store's own rate if the policy sets one.
    fn limiter(&mut self, store: &StoreKey) -> RateLimiter {
        if let Some(limiter) = self.limiter.get(store) {
            return limiter.clone();
        }
        let limiter = self.new_limiter(store);
        self.limiter.insert(store.clone(), limiter.clone());
        limiter
    }

    fn new_limiter(&mut self, store: &StoreKey) -> RateLimiter {
        let ReaderInput { stores, rates, .. } = &self.known;
        let quota = match stores.get(store) {
            Some(Ok(source)) => source.quota.clone(),
            _ => QuotaKey {
                provider: NO_PROVIDER.clone(),
                account: store.to_string(),
            },
        };
        let rate = rates.of(&quota.provider);
        let shared = self
            .quotas
            .entry(quota)
            .or_insert_with(|| RateLimiter::new(rate));
        match rates.stores.get(store) {
            Some(own) => shared.with_store_rate(*own),
            None => shared.clone(),
        }
    }

    async fn read_over(
        &self,
        link: Link,
        mut connection: Connection,
        wanted: BTreeSet<What>,
    ) -> (Link, Connection) {
        if matches!(connection.state, State::Untried) {
            let connected = tokio::time::timeout(LOGIN, self.connect(&link)).await;
            connection.state = match connected.unwrap_or_else(|_| Err(too_slow())) {
                Ok(provider) => State::Open(provider),
                Err(unread) => State::Lost(unread),
            };
        }
        let State::Open(provider) = &connection.state else {
            return (link, connection);
        };
        let wanted: Vec<What> = wanted.into_iter().collect();
        let read = async |limiter: &RateLimiter| provider.read(&wanted, limiter).await;
        let Some(answers) = connection.limiter.within_timeout(read).await else {
            connection.state = State::Lost(too_slow());
            return (link, connection);
        };
        let mut lost = None;
        for (what, answered) in wanted.into_iter().zip(answers) {
            if let Answered::Unread(unread) = &answered
                && unread.whole_store
            {
                lost = Some(unread.clone());
            }
            connection.answers.insert(what, answered);
        }
        if let Some(unread) = lost {
            connection.state = State::Lost(unread);
        }
        (link, connection)
    }

    async fn connect(&self, link: &Link) -> Result<Box<dyn Provider>, Unread> {
        let Some(Ok(source)) = self.known.stores.get(&link.store) else {
            return Err(Unread::store(unread::STORE, "the store was not found"));
        };
        if let Some(stand_in) = &self.stand_in {
            return stand_in(&source.settings);
        }
        let cluster = &self.known.cluster;
        if link.ambient {
            let identity = Identity::Ambient(&self.ambient);
            return super::connect(&source.settings, identity, cluster).await;
        }
        // If the link has no namespace, all references name one, so the default is never used.
        let namespace = link.namespace.as_deref().unwrap_or_default();
        let resolver = Resolver::new(cluster.clone(), link.store.clone(), namespace);
        super::connect(&source.settings, Identity::Store(&resolver), cluster).await
    }
}

fn too_slow() -> Unread {
    Unread::store(
        unread::UNAVAILABLE,
        "the provider answers too slowly: the read was cut off",
    )
}

fn key_of(namespace: &str, read: &Read) -> StoreKey {
    let name = read.store.name.clone();
    if read.store.kind == "ClusterSecretStore" {
        StoreKey::Cluster { name }
    } else {
        StoreKey::Namespaced {
            namespace: namespace.to_owned(),
            name,
        }
    }
}
