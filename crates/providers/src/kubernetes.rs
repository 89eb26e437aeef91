//! The operator's Kubernetes provider: reads the Secrets of another namespace or another cluster.

mod login;

use std::{collections::BTreeMap, ops::ControlFlow};

use async_trait::async_trait;
use cluster::{
    ApiError, Cluster, ErrorKind, Path, Query,
    names::{is_label_key, is_label_value, is_name},
    wire::Secret,
};
use eso_model::{
    ProviderKind,
    expected::{Failure, Operator, Raw, What},
};
use futures::FutureExt as _;
use secret::Value;

use self::login::{Server, Session};
use super::{
    Answered, Identity, Provider, RateLimiter, StoreSettings, Unread,
    answer::size_of,
    engine::{Engine, Failure as CallFailure, Request, in_flight},
    found::Found,
    names::Names,
    unread,
};

/// The namespace that the operator reads if the store names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Connects to a store. `own` is the cluster that contains the stores.
pub(super) async fn connect(
    store: &StoreSettings,
    identity: Identity<'_>,
    own: &Cluster,
) -> Result<Box<dyn Provider>, Unread> {
    let namespace = store
        .at("/remoteNamespace")
        .as_str()
        .filter(|name| !name.is_empty())
        .unwrap_or(DEFAULT_NAMESPACE);
    if !is_name(namespace) {
        return Err(Unread::store(
            unread::STORE,
            "`remoteNamespace` is not a valid Kubernetes name",
        ));
    }
    let server = Server::of(store, identity, own, namespace)?;
    Ok(Box::new(Kubernetes {
        namespace: namespace.to_owned(),
        engine: Engine::connected(server).await?,
    }))
}

struct Kubernetes {
    namespace: String,
    engine: Engine<Server>,
}

#[async_trait]
impl Provider for Kubernetes {
    async fn read(&self, wanted: &[What], limiter: &RateLimiter) -> Vec<Answered> {
        // Read each Secret once for all requests. Versions are ignored.
        let mut places: BTreeMap<&str, Vec<(usize, bool)>> = BTreeMap::new();
        let mut searches: Vec<usize> = Vec::new();
        for (place, what) in wanted.iter().enumerate() {
            match what {
                What::Secret { key, metadata, .. } => {
                    places.entry(key).or_default().push((place, *metadata));
                }
                What::Find { .. } => searches.push(place),
            }
        }
        let reads = places
            .into_iter()
            .map(|(key, places)| self.secret(key, places, limiter).boxed());
        let secrets = in_flight(reads.collect()).await;
        let mut answers: BTreeMap<usize, Answered> = secrets.into_iter().flatten().collect();
        for place in searches {
            if let Some(What::Find { name, tags, .. }) = wanted.get(place) {
                let found = self.search(name.as_deref(), tags.as_ref(), limiter);
                answers.insert(place, found.await.unwrap_or_else(Answered::Unread));
            }
        }
        answers.into_values().collect()
    }
}

impl Kubernetes {
    /// The answers about one Secret, each with its position.
    async fn secret(
        &self,
        key: &str,
        places: Vec<(usize, bool)>,
        limiter: &RateLimiter,
    ) -> Vec<(usize, Answered)> {
        let read = self.get(key, limiter).await;
        places
            .into_iter()
            .map(|(place, metadata)| {
                let answer = match &read {
                    Ok(secret) => Answered::One(raw(secret, metadata), None),
                    Err(Missed::NotFound) => Answered::NotFound,
                    Err(Missed::Refused) => Answered::Fails(Failure::Refused),
                    Err(Missed::Unread(unread)) => Answered::Unread(unread.clone()),
                };
                (place, answer)
            })
            .collect()
    }

    async fn get(&self, key: &str, limiter: &RateLimiter) -> Result<Secret, Missed> {
        // Keys that would change the path are refused, as by the operator's client. An invalid name is requested, and not found.
        if key.is_empty() || matches!(key, "." | "..") || key.contains(['/', '%']) {
            return Err(Missed::Refused);
        }
        if !is_name(key) {
            return Err(Missed::NotFound);
        }
        let path = self.secrets().named(key);
        let request = Request::read("get secrets", Some(key));
        let read = self
            .engine
            .call(&request, limiter, |session: Session| {
                let path = path.clone();
                let cluster = session.cluster.holding(limiter.bytes());
                async move { cluster.get::<Secret>(&path).await }
            })
            .await;
        read.map_err(|failure| match failure {
            CallFailure::Answer(error) if error.kind == ErrorKind::NotFound => Missed::NotFound,
            failure @ (CallFailure::Answer(_)
            | CallFailure::Unread(_)
            | CallFailure::Unknown(_)) => Missed::Unread(self.engine.unread(failure, &request)),
        })
    }

    async fn search(
        &self,
        name: Option<&str>,
        tags: Option<&BTreeMap<String, String>>,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        let mut query = Query::new(self.secrets());
        let mut regexp = None;
        match Operator::of(&ProviderKind::Kubernetes, name, tags) {
            Some(Operator::Tags) => {
                let Some(selector) = selector(tags) else {
                    return Ok(Answered::Fails(Failure::Refused));
                };
                if !selector.is_empty() {
                    query = query.with("labelSelector", selector);
                }
            }
            Some(Operator::Name(pattern)) => regexp = Some(pattern),
            _ => return Ok(Answered::Fails(Failure::Refused)),
        }
        let request = Request::read("list secrets", None);
        let query = &query;
        let listed = self
            .engine
            .call(&request, limiter, |session: Session| async move {
                let names = match regexp {
                    Some(regexp) => Names::matching(regexp, limiter).await,
                    None => Ok(Names::all(limiter)),
                };
                match names {
                    Ok(names) => {
                        let cluster = session.cluster.holding(limiter.bytes());
                        list(&cluster, query, names, limiter).await
                    }
                    Err(unread) => Ok(Err(unread)),
                }
            })
            .await;
        match listed {
            Ok(found) => found.map(Answered::from),
            Err(failure) => Err(self.engine.unread(failure, &request)),
        }
    }

    fn secrets(&self) -> Path {
        Path::core(Some(&self.namespace), "secrets")
    }
}

/// The reason why a Secret was not returned.
enum Missed {
    NotFound,
    Refused,
    Unread(Unread),
}

impl From<Unread> for Missed {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

/// Lists the matching Secrets. The inner result is an error if they are too large.
async fn list(
    cluster: &Cluster,
    query: &Query,
    mut names: Names,
    limiter: &RateLimiter,
) -> Result<Result<Found, Unread>, ApiError> {
    let mut found = match Found::new(limiter) {
        Ok(found) => found,
        Err(unread) => return Ok(Err(unread)),
    };
    let mut pages = cluster.pages(query);
    loop {
        let mut page = Vec::new();
        let each = |secret: Secret| {
            page.push((secret.metadata.name, Raw::Keys(secret.data)));
            ControlFlow::Continue(())
        };
        if !pages.next(each).await? {
            return Ok(Ok(found));
        }
        if let Err(unread) = add(page, &mut names, &mut found, limiter).await {
            return Ok(Err(unread));
        }
    }
}

/// Adds the matching Secrets of a page.
async fn add(
    page: Vec<(String, Raw)>,
    names: &mut Names,
    found: &mut Found,
    limiter: &RateLimiter,
) -> Result<(), Unread> {
    let held = limiter.hold(page.iter().map(|(_, data)| size_of(data)).sum())?;
    let matching = names.keep(page, |(name, _)| name, limiter).await?;
    // From here on, the results hold the bytes.
    drop(held);
    for (name, data) in matching {
        found.insert(name, data)?;
    }
    Ok(())
}

fn raw(secret: &Secret, metadata: bool) -> Raw {
    let copied = |values: &BTreeMap<String, Value>| {
        values
            .iter()
            .map(|(key, value)| (key.clone(), value.duplicate()))
            .collect()
    };
    if !metadata {
        return Raw::Keys(copied(&secret.data));
    }
    let labels = secret.metadata.labels.iter();
    Raw::Metadata {
        labels: labels
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect(),
        annotations: copied(&secret.metadata.annotations),
    }
}

/// None if the tags are not valid labels, which the operator refuses. Without tags it selects everything.
fn selector(tags: Option<&BTreeMap<String, String>>) -> Option<String> {
    let parts: Option<Vec<String>> = tags
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            (is_label_key(key) && is_label_value(value)).then(|| format!("{key}={value}"))
        })
        .collect();
    Some(parts?.join(","))
}
