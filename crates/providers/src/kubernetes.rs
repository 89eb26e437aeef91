//! The operator's Kubernetes provider: the Secrets of another namespace, or of another cluster.

mod login;

use std::collections::BTreeMap;

use async_trait::async_trait;
use cluster::{
    CallError, Cluster, Query, Trouble,
    names::{is_label_key, is_label_value, is_name},
    wire::Secret,
};
use eso_model::expected::{self, Failure, GoRegex, Operator, Raw, What, why};
use futures::{StreamExt as _, stream};
use secret::Value;

use self::login::Session;
use super::{Answered, Identity, Provider, StoreSettings, Turns, Unread, health::Health, unread};

/// Reads under way at a time.
const AT_A_TIME: usize = 8;

/// What a search may find: the server may be anybody's.
const MOST_BYTES: usize = 256 << 20;

/// The namespace that the operator reads unless the store names one.
const DEFAULT_NAMESPACE: &str = "default";

/// Connects. `own` is the cluster that the stores are in.
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
            "`remoteNamespace` is no name that Kubernetes allows",
        ));
    }
    Ok(Box::new(Kubernetes {
        namespace: namespace.to_owned(),
        session: Session::open(store, identity, own).await?,
    }))
}

struct Kubernetes {
    namespace: String,
    session: Session,
}

#[async_trait]
impl Provider for Kubernetes {
    async fn read(&self, wanted: &[What], turns: &Turns) -> Vec<Answered> {
        // A Secret is read once, whatever is wanted of it; versions are ignored.
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
        let health = Health::default();
        let reads: Vec<_> = places
            .into_iter()
            .map(|(key, places)| self.secret(key, places, turns, &health))
            .collect();
        let secrets: Vec<Vec<(usize, Answered)>> = stream::iter(reads)
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        let mut answers: BTreeMap<usize, Answered> = secrets.into_iter().flatten().collect();
        for place in searches {
            if let Some(What::Find { name, tags, .. }) = wanted.get(place) {
                let found = self.search(name.as_deref(), tags.as_ref(), turns, &health);
                answers.insert(place, found.await.unwrap_or_else(Answered::Unread));
            }
        }
        answers.into_values().collect()
    }
}

impl Kubernetes {
    /// The answers about one Secret, each with its place.
    async fn secret(
        &self,
        key: &str,
        places: Vec<(usize, bool)>,
        turns: &Turns,
        health: &Health,
    ) -> Vec<(usize, Answered)> {
        let read = self.get(key, turns, health).await;
        places
            .into_iter()
            .map(|(place, metadata)| {
                let answer = match &read {
                    Ok(secret) => Answered::One(raw(secret, metadata)),
                    Err(Missed::NotFound) => Answered::NotFound,
                    Err(Missed::Refused) => Answered::Fails(Failure::Refused),
                    Err(Missed::Unread(unread)) => Answered::Unread(unread.clone()),
                };
                (place, answer)
            })
            .collect()
    }

    async fn get(&self, key: &str, turns: &Turns, health: &Health) -> Result<Secret, Missed> {
        // The operator's own client refuses what would be another path; what is merely no name is asked for, and not there.
        if key.is_empty() || matches!(key, "." | "..") || key.contains(['/', '%']) {
            return Err(Missed::Refused);
        }
        if !is_name(key) {
            return Err(Missed::NotFound);
        }
        let path = format!("{}/{key}", self.secrets());
        let (cluster, age) = self.ready(turns, health).await?;
        let mut read: Result<Secret, CallError> = cluster.get(&path).await;
        if let Some(cluster) = self.fresher(trouble(&read), age, turns, health).await? {
            read = cluster.get(&path).await;
        }
        if read.is_ok() || trouble(&read) == Some(Trouble::NotFound) {
            health.answered();
        }
        read.map_err(|error| {
            if error.trouble == Trouble::NotFound {
                return Missed::NotFound;
            }
            Missed::Unread(self.unread(&error, &format!("get secrets/{key}"), health))
        })
    }

    async fn search(
        &self,
        name: Option<&str>,
        tags: Option<&BTreeMap<String, String>>,
        turns: &Turns,
        health: &Health,
    ) -> Result<Answered, Unread> {
        let mut query = Query::new(self.secrets());
        let mut regex = None;
        match Operator::of(expected::Provider::Kubernetes, name, tags) {
            Some(Operator::Tags) => {
                let Some(selector) = selector(tags) else {
                    return Ok(Answered::Fails(Failure::Refused));
                };
                if !selector.is_empty() {
                    query = query.with("labelSelector", selector);
                }
            }
            Some(Operator::Name(pattern)) => {
                let Ok(pattern) = GoRegex::new(pattern) else {
                    return Err(Unread::secret(why::REGEXP, "a name to find"));
                };
                regex = Some(pattern);
            }
            _ => return Ok(Answered::Fails(Failure::Refused)),
        }
        let (cluster, age) = self.ready(turns, health).await?;
        let mut listed = list(&cluster, &query, regex.as_ref()).await;
        if let Some(cluster) = self.fresher(trouble(&listed), age, turns, health).await? {
            listed = list(&cluster, &query, regex.as_ref()).await;
        }
        match listed {
            Ok(Some(found)) => Ok(Answered::Many(found)),
            Ok(None) => Err(Unread::secret(
                unread::UNREADABLE,
                "the Secrets that were found are too many to be read",
            )),
            Err(error) => Err(self.unread(&error, "list secrets", health)),
        }
    }

    /// The connection, after a turn.
    async fn ready(&self, turns: &Turns, health: &Health) -> Result<(Cluster, u32), Unread> {
        health.check()?;
        turns.turn().await;
        // Another call may have found out meanwhile.
        health.check()?;
        Ok(self.session.present().await)
    }

    /// Another connection for one more try, where the server does not take the credentials and there are fresher ones.
    async fn fresher(
        &self,
        trouble: Option<Trouble>,
        age: u32,
        turns: &Turns,
        health: &Health,
    ) -> Result<Option<Cluster>, Unread> {
        if trouble != Some(Trouble::Unauthenticated) {
            return Ok(None);
        }
        let renewed = self.session.renewed(age).await;
        let renewed = renewed.map_err(|unread| health.lose(unread))?;
        if renewed.is_some() {
            turns.turn().await;
        }
        Ok(renewed)
    }

    fn secrets(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.namespace)
    }

    /// The server may be anybody's: what it says is not repeated.
    fn unread(&self, error: &CallError, right: &str, health: &Health) -> Unread {
        match error.trouble {
            Trouble::Denied => Unread::secret(unread::DENIED, "the API server refuses the read")
                .lacking(format!("{right} in {}", self.namespace)),
            Trouble::Unauthenticated => health.lose(Unread::store(
                unread::LOGIN,
                "the API server does not take the credentials",
            )),
            Trouble::Unavailable => match error.own_words() {
                Some(why) => health.lose(Unread::store(unread::UNAVAILABLE, why)),
                None => health.failed_at(
                    right,
                    Unread::secret(unread::UNAVAILABLE, "the API server fails"),
                ),
            },
            Trouble::NotFound
            | Trouble::Conflict
            | Trouble::Expired
            | Trouble::Invalid
            | Trouble::Unreadable => Unread::secret(
                unread::UNREADABLE,
                "the API server answers in a way that makes no sense",
            ),
        }
    }
}

/// Why there is no Secret.
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

fn trouble<T>(answer: &Result<T, CallError>) -> Option<Trouble> {
    answer.as_ref().err().map(|error| error.trouble)
}

/// All Secrets that the query gives and whose names match; nothing if they are more than a job could hold.
async fn list(
    cluster: &Cluster,
    query: &Query,
    name: Option<&GoRegex>,
) -> Result<Option<BTreeMap<String, Raw>>, CallError> {
    let mut found = BTreeMap::new();
    let mut room = MOST_BYTES;
    let each = |secret: Secret| {
        let data = secret.data.iter();
        let size: usize = data
            .map(|(key, value)| key.len() + value.expose().len())
            .sum();
        if name.is_none_or(|name| name.is_match(&secret.metadata.name)) {
            room = room.saturating_sub(size);
            if room == 0 {
                return;
            }
            found.insert(secret.metadata.name, Raw::Keys(secret.data));
        }
    };
    cluster.list(query, each).await?;
    Ok((room > 0).then_some(found))
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

/// Nothing where these are no labels, which the operator refuses. No tags at all select everything.
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
