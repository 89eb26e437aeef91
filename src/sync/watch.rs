//! Watches of ExternalSecrets and of their Events that continue after disconnects, 410 responses and silence.

use std::{collections::BTreeSet, time::Duration};

use async_stream::stream;
use cluster::{ApiError, Cluster, ErrorKind, Path, Query, wire::Event};
use eso_model::Id;
use futures::{Stream, StreamExt as _};
use kube::core::WatchEvent;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::wire::Observed;

/// A watch without data for this time is opened again. The API server sends a bookmark about every minute.
const SILENCE: Duration = Duration::from_secs(75);

/// The first backoff before a watch is opened again. It doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The maximum backoff.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An item of the stream of ExternalSecrets.
#[derive(Debug)]
pub(super) enum Sighting {
    /// The current state of an object.
    Seen(Box<Observed>),
    /// An object was deleted; with its UID.
    Gone(Id, String),
    /// All objects in the watched scope, after a gap in the watch.
    Listed {
        /// None: all namespaces.
        namespace: Option<String>,
        present: BTreeSet<Id>,
    },
    /// The watch was denied.
    WatchDenied(String),
}

/// Watches the ExternalSecrets of a scope from a resource version. After a gap, returns the objects that match `ours` again.
pub(super) fn external_secrets(
    cluster: Cluster,
    path: Path,
    namespace: Option<String>,
    resource_version: String,
    ours: impl Fn(&Observed) -> bool + Clone,
) -> impl Stream<Item = Sighting> {
    stream! {
        let query = Query::new(path);
        let mut from = resource_version;
        loop {
            let mut end = End::Cut;
            {
                let changes = changes::<Observed>(&cluster, &query, &mut from);
                let mut changes = std::pin::pin!(changes);
                while let Some(change) = changes.next().await {
                    match change {
                        Change::Is(object) => yield Sighting::Seen(object),
                        Change::Gone(object) => yield Sighting::Gone(id(&object), object.metadata.uid),
                        Change::End(why) => end = why,
                    }
                }
            }
            match end {
                End::Denied(why) => {
                    yield Sighting::WatchDenied(why);
                    return;
                }
                End::Expired => match relist(&cluster, &query, ours.clone()).await {
                    Ok((again, present, resource_version)) => {
                        from = resource_version;
                        for object in again {
                            yield Sighting::Seen(Box::new(object));
                        }
                        yield Sighting::Listed { namespace: namespace.clone(), present };
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot list ExternalSecrets after a gap in the watch");
                        sleep(LONGEST_PAUSE).await;
                    }
                },
                End::Cut => {}
            }
        }
    }
}

fn id(object: &Observed) -> Id {
    Id {
        namespace: object.metadata.namespace.clone(),
        name: object.metadata.name.clone(),
    }
}

async fn relist(
    cluster: &Cluster,
    query: &Query,
    ours: impl Fn(&Observed) -> bool,
) -> Result<(Vec<Observed>, BTreeSet<Id>, String), ApiError> {
    let (mut again, mut present) = (Vec::new(), BTreeSet::new());
    let resource_version = cluster
        .list(query, |object: Observed| {
            present.insert(id(&object));
            if ours(&object) {
                again.push(object);
            }
        })
        .await?;
    Ok((again, present, resource_version))
}

/// Returns the query for Events about ExternalSecrets in a scope.
pub(super) fn events_query(namespace: Option<&str>) -> Query {
    Query::new(Path::core(namespace, "events"))
        .with("fieldSelector", "involvedObject.kind=ExternalSecret")
}

/// Watches the Events of a scope from a resource version. Ends if the watch is denied.
pub(super) fn events(
    cluster: Cluster,
    query: Query,
    resource_version: String,
) -> impl Stream<Item = Result<Event, String>> {
    stream! {
        let mut next = Some(resource_version);
        loop {
            let mut from = match next.take() {
                Some(resource_version) => resource_version,
                None => match cluster.resource_version(&query).await {
                    Ok(resource_version) => resource_version,
                    Err(error) => {
                        tracing::warn!(%error, "cannot watch Events");
                        sleep(LONGEST_PAUSE).await;
                        continue;
                    }
                },
            };
            let changes = changes::<Event>(&cluster, &query, &mut from);
            let mut changes = std::pin::pin!(changes);
            while let Some(change) = changes.next().await {
                match change {
                    Change::Is(event) => yield Ok(*event),
                    Change::End(End::Denied(why)) => {
                        yield Err(why);
                        return;
                    }
                    Change::Gone(_) | Change::End(_) => {}
                }
            }
        }
    }
}

enum Change<T> {
    Is(Box<T>),
    Gone(Box<T>),
    End(End),
}

enum End {
    /// The connection ended. The watch can continue from the last resource version.
    Cut,
    /// The resource version is too old.
    Expired,
    /// The watch is denied.
    Denied(String),
}

fn is_final(error: &ApiError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::NotFound
    )
}

/// Returns changes from a resource version, over any number of connections. The last item is the reason for the end.
fn changes<'a, T: Tracked>(
    cluster: &'a Cluster,
    query: &'a Query,
    from: &'a mut String,
) -> impl Stream<Item = Change<T>> + 'a {
    stream! {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut watch = match cluster.watch::<T>(query, from).await {
                Ok(watch) => std::pin::pin!(watch),
                Err(error) if is_final(&error) => {
                    yield Change::End(End::Denied(error.why().to_owned()));
                    return;
                }
                Err(error) if error.kind == ErrorKind::Expired => {
                    yield Change::End(End::Expired);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot open the watch");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            loop {
                match timeout(SILENCE, watch.next()).await {
                    Ok(Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                        pause = FIRST_PAUSE;
                        object.resource_version().clone_into(from);
                        yield Change::Is(Box::new(object));
                    }
                    Ok(Some(Ok(WatchEvent::Deleted(object)))) => {
                        object.resource_version().clone_into(from);
                        yield Change::Gone(Box::new(object));
                    }
                    Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => {
                        from.clone_from(&bookmark.metadata.resource_version);
                    }
                    Ok(Some(Ok(WatchEvent::Error(status)))) if status.code == 410 => {
                        yield Change::End(End::Expired);
                        return;
                    }
                    Ok(Some(Ok(WatchEvent::Error(_)) | Err(_)) | None) | Err(_) => break,
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// An object with a resource version to continue the watch from.
trait Tracked: Clone + DeserializeOwned + 'static {
    fn resource_version(&self) -> &str;
}

impl Tracked for Observed {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Tracked for Event {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}
