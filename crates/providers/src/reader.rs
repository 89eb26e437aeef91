//! Reads the provider data for all ExternalSecrets of a run. Connects once to each store and reads each secret once, at the rate
//! of its quota.
//!
//! A connection is opened on the first read and shared by all reads with the same credentials. A ClusterSecretStore whose
//! credentials depend on the namespace has one connection per namespace. A store that cannot be read gets no more requests.
//!
//! A [`Round`] reads for many groups of ExternalSecrets, takes turns between their namespaces, and frees each value after the
//! last group that needs it.

mod answers;
mod line;
mod rotations;
mod round;
mod turns;

pub use self::{
    answers::Answers,
    rotations::Rotations,
    round::{Members, Ready, Round, Wanted},
};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cluster::Cluster;
use eso_model::{ProviderKind, ProviderName, QuotaKey, StoreKey, expected::What};
use pace::{
    Wait, Workers,
    bytes::{Budget, Limits},
    rate::Rate,
};
use tokio::time::Instant;

use self::line::{Line, State};
use super::{
    Ambient, Identity, Provider, RateLimiter, Resolver, StoreSettings, Unread,
    trust::{Asked, Condition, Decision, Rules, is_referent},
    unread,
};

/// The bytes that all answers may hold at a time. They are the largest part of the memory that tenants can fill.
const BYTES: Limits = Limits {
    total: 16 << 20,
    share: 4 << 20,
    floor: 16 << 10,
};

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
    /// The groups to read for.
    pub groups: usize,
    /// The groups whose values are read.
    pub read: usize,
    /// True if this is the last report of the read.
    pub ended: bool,
}

/// Called when a read starts, every second, and when it ends.
pub type OnProgress = Arc<dyn Fn(ReadProgress) + Send + Sync>;

/// Connects to a double of the providers.
pub type StandIn = Arc<dyn Fn(&StoreSettings) -> Result<Box<dyn Provider>, Unread> + Send + Sync>;

/// Reads providers.
pub struct Reader {
    core: Core,
    quotas: BTreeMap<QuotaKey, RateLimiter>,
    /// By store. All connections of a store share them.
    limiter: BTreeMap<StoreKey, RateLimiter>,
    /// By store and namespace of the ExternalSecret.
    routes: Routes,
    lines: Vec<Line>,
    of_link: BTreeMap<Link, usize>,
    budget: Budget,
    workers: Option<Arc<Workers>>,
}

/// What connections need.
struct Core {
    known: ReaderInput,
    stand_in: Option<StandIn>,
    on_progress: Option<OnProgress>,
    /// The end of the run, for rounds that have no end of their own.
    deadline: Option<Instant>,
    ambient: Ambient,
}

/// The index of the line for each store and namespace, or the reason why it cannot be read.
type Routes = BTreeMap<(StoreKey, String), Result<usize, Unread>>;

/// Identifies one connection: a store and a set of credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    store: StoreKey,
    /// True for the job's own credentials.
    ambient: bool,
    /// Set if the store's own credentials depend on the namespace.
    namespace: Option<String>,
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
            core: Core {
                known,
                stand_in: None,
                on_progress: None,
                deadline: None,
                ambient,
            },
            quotas: BTreeMap::new(),
            limiter: BTreeMap::new(),
            routes: BTreeMap::new(),
            lines: Vec::new(),
            of_link: BTreeMap::new(),
            budget: Budget::new(BYTES),
            workers: None,
        }
    }

    /// Matches the names that searches list on these threads, instead of on the runtime's thread.
    #[must_use]
    pub fn computing_on(self, workers: &Arc<Workers>) -> Self {
        Self {
            workers: Some(Arc::clone(workers)),
            ..self
        }
    }

    /// Connects to a double instead of the providers. The trust rules still apply.
    #[must_use]
    pub fn through(mut self, stand_in: Option<StandIn>) -> Self {
        self.core.stand_in = stand_in;
        self
    }

    /// The end of the run. Waits are announced with it.
    #[must_use]
    pub fn ending(mut self, deadline: Option<Instant>) -> Self {
        self.core.deadline = deadline;
        self
    }

    /// Reports the progress of long reads.
    #[must_use]
    pub fn reporting(mut self, on_progress: OnProgress) -> Self {
        self.core.on_progress = Some(on_progress);
        self
    }

    /// Starts to read. What is not read at `until` is reported as not read in time.
    pub async fn round<'r>(&'r mut self, wanted: Wanted<'r>, until: Option<Instant>) -> Round<'r> {
        self.lines.iter_mut().for_each(Line::begin);
        let mut searches: BTreeMap<&str, usize> = BTreeMap::new();
        for (group, &namespace) in wanted.namespaces.iter().enumerate() {
            for read in (wanted.reads)(group).await {
                if matches!(read.what, What::Find { .. }) {
                    *searches.entry(namespace).or_default() += 1;
                }
                if let Ok(line) = self.route(namespace, &read.store.key(namespace))
                    && let Some(line) = self.lines.get_mut(line)
                {
                    line.expect(&read.what);
                }
            }
            // So that other tasks run while the specs of many thousands are parsed.
            tokio::task::consume_budget().await;
        }
        Round::new(
            &self.core,
            &self.routes,
            &mut self.lines,
            &self.quotas,
            (&self.budget, &searches),
            wanted,
            until,
        )
    }

    /// The stores that cannot be read at all, once each.
    pub fn store_errors(&self) -> Vec<(StoreKey, Unread)> {
        let routes = self.routes.iter().filter_map(|((store, _), route)| {
            let unread = route.as_ref().err().filter(|unread| unread.whole_store)?;
            Some((store, unread))
        });
        let lines = self.lines.iter().filter_map(|line| match &line.state {
            State::Lost(unread) => Some((&line.link.store, unread)),
            State::Untried | State::Connecting | State::Open(_) => None,
        });
        let mut failures: BTreeMap<&StoreKey, (&Unread, BTreeSet<&str>)> = BTreeMap::new();
        for (store, unread) in routes.chain(lines) {
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

    /// The number of calls so far, by quota.
    pub fn calls(&self) -> BTreeMap<QuotaKey, u64> {
        let calls = self.quotas.iter();
        calls
            .map(|(quota, limiter)| (quota.clone(), limiter.calls()))
            .collect()
    }

    /// How often providers throttled so far, by quota.
    pub fn throttles(&self) -> BTreeMap<QuotaKey, u64> {
        let throttles = self.quotas.iter();
        throttles
            .map(|(quota, limiter)| (quota.clone(), limiter.throttles()))
            .collect()
    }

    /// The line for reads of this store, decided once per store and namespace.
    fn route(&mut self, namespace: &str, store: &StoreKey) -> Result<usize, Unread> {
        let key = (store.clone(), namespace.to_owned());
        if let Some(route) = self.routes.get(&key) {
            return route.clone();
        }
        let link = self.core.decide(&key.0, namespace);
        let route = link.map(|link| self.line(link));
        self.routes.insert(key, route.clone());
        route
    }

    fn line(&mut self, link: Link) -> usize {
        if let Some(&line) = self.of_link.get(&link) {
            return line;
        }
        let limiter = self.limiter(&link.store);
        self.lines.push(Line::new(link.clone(), limiter));
        self.of_link.insert(link, self.lines.len() - 1);
        self.lines.len() - 1
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
        let ReaderInput { stores, rates, .. } = &self.core.known;
        let quota = match stores.get(store) {
            Some(Ok(source)) => source.quota.clone(),
            _ => QuotaKey {
                provider: NO_PROVIDER.clone(),
                account: store.to_string(),
            },
        };
        let rate = rates.of(&quota.provider);
        let lists = quota.provider.facts().list_rate(rate.as_per_second());
        let lists = lists.map(Rate::clamped);
        let shared = self.quotas.entry(quota).or_insert_with(|| {
            let limiter = RateLimiter::with_list_rate(rate, lists);
            match &self.workers {
                Some(workers) => limiter.computing_on(workers),
                None => limiter,
            }
        });
        match rates.stores.get(store) {
            Some(own) => shared.with_store_rate(*own),
            None => shared.clone(),
        }
    }
}

impl Core {
    /// The provider of this store.
    fn provider(&self, store: &StoreKey) -> ProviderKind {
        let source = self.known.stores.get(store).and_then(|it| it.as_ref().ok());
        source.map_or(NO_PROVIDER.clone(), |source| {
            source.settings.provider.clone()
        })
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

    /// Connects within the time limit.
    async fn connect(&self, link: &Link) -> Result<Arc<dyn Provider>, Unread> {
        let what = || format!("the login at the provider of {}", link.store);
        let opening = tokio::time::timeout(LOGIN, self.open(link));
        let connected = Wait::at_most(LOGIN).on(what, opening).await;
        connected.unwrap_or_else(|_| Err(too_slow())).map(Arc::from)
    }

    async fn open(&self, link: &Link) -> Result<Box<dyn Provider>, Unread> {
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

#[cfg(test)]
mod tests;
