//! Writes to version 2 of the KV engine.
//!
//! | call | when | capability |
//! |---|---|---|
//! | `SCAN detailed-metadata/…` (OpenBao) | one call per subtree | `scan` |
//! | `LIST metadata/…`, `GET metadata/…` | the same elsewhere, one call per path | `list`, `read` |
//! | `GET data/…` | to compare, and before an update | `read` |
//! | `POST data/…` | `create`, `update` | `create`, `update` |
//! | `POST metadata/…` | `create`, before the value: the owner | `create` |
//! | `PATCH metadata/…` | the owner, the origin and the mark, after a version | `patch` |
//! | `POST delete/…`, `undelete/…`, `destroy/…` | `retire`, `restore`, old versions | `update` |
//!
//! A new secret first gets its owner, so that a run that is killed leaves a secret without a version, which the next run completes.
//! A version is written with `cas`, so it replaces only the version that was read. Keys of a document that this publisher did not
//! write stay. If a run is killed before the metadata is written, the next run reads the value once.

mod document;
mod metadata;
mod unversioned;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::{FutureExt as _, future::BoxFuture};
use pace::Clock;
use publish::{Bound, Compared, Held, MarkKey, Presence, Wanted, Wrote};
use reqwest::Method;
use secret::{RunKey, Value};
use serde_json::{Value as Json, json};

use self::{
    document::{Content, Document},
    metadata::{Metadata, Recorded},
    unversioned::Unversioned,
};
use super::{
    client::{Fault, JSON, Outgoing, Reply},
    path::{Version, segments},
    read::{Reader, Stop},
    settings::unsupported,
};
use crate::{
    Answered, RateLimiter, Unread,
    engine::{self, Request, in_flight},
    holder::{
        Ask, Change, EARLIER, Holder, MARK, ORPHANED, OWNER, SOURCE, Scope, WriteFailure, Writer,
        is_equal, property, unknown,
    },
};

type Failure = engine::Failure<Fault>;

const MERGE_PATCH: &str = "application/merge-patch+json";

/// A KV engine that may be written, for one publisher.
struct Publisher {
    reader: Reader,
    mount: String,
    owner: String,
    clock: Clock,
}

/// The writer for the version of the store.
pub(super) fn writer(
    reader: Reader,
    owner: String,
    clock: Clock,
) -> Result<Box<dyn Writer>, Unread> {
    let mount = reader.paths.mount.clone().unwrap_or_default();
    let mount = mount.trim_matches('/').to_owned();
    if mount.is_empty() {
        let detail = "spec.provider.vault.path is required to publish: the mount of the engine";
        return Err(unsupported(detail.to_owned()));
    }
    Ok(match reader.paths.version {
        Version::V1 => Box::new(Unversioned::new(reader, mount)),
        Version::V2 => Box::new(Publisher {
            reader,
            mount,
            owner,
            clock,
        }),
    })
}

impl Publisher {
    /// The path of an endpoint of the engine.
    fn path(&self, endpoint: &str, name: &str) -> String {
        format!("{}/{endpoint}/{name}", self.mount)
    }

    /// Sends something below the mount, which must be a KV engine.
    async fn send(
        &self,
        path: &str,
        outgoing: Outgoing<'_>,
        request: &Request<'_>,
        limiter: &RateLimiter,
    ) -> Result<Reply, Failure> {
        let path = segments(path)?;
        self.reader
            .confirm_version(&path, Version::V2, request, limiter)
            .await?;
        self.reader
            .client
            .send(&path, outgoing, request, limiter)
            .await
    }

    fn unread(&self, failure: Failure, request: &Request<'_>) -> Unread {
        self.reader.client.unread(failure, request)
    }

    fn refused(&self, failure: Failure, request: &Request<'_>) -> WriteFailure {
        match failure {
            Failure::Unknown(unread) => WriteFailure::Unknown(unread),
            failure @ (Failure::Answer(_) | Failure::Unread(_)) => {
                self.unread(failure, request).into()
            }
        }
    }

    async fn get(&self, path: &str, limiter: &RateLimiter) -> Result<Reply, Unread> {
        let request = Request::read("read", Some(path));
        let outgoing = Outgoing {
            method: &Method::GET,
            body: None,
            content_type: JSON,
        };
        let answer = self.send(path, outgoing, &request, limiter).await;
        answer.map_err(|failure| self.unread(failure, &request))
    }

    async fn described(&self, name: &str, limiter: &RateLimiter) -> Result<Held, Unread> {
        let reply = self.get(&self.path("metadata", name), limiter).await?;
        let metadata = Metadata::of(reply.body.expose(), reply.found)?;
        Ok(match metadata {
            Some(metadata) => metadata.held(&self.owner, self.clock.now()),
            None => Held::absent(),
        })
    }

    async fn content(&self, name: &str, limiter: &RateLimiter) -> Result<Content, Unread> {
        let reply = self.get(&self.path("data", name), limiter).await?;
        Content::of(reply.body.expose(), reply.found)
    }

    /// All secrets below a folder with one call. None if the server cannot.
    async fn scan(
        &self,
        folder: &str,
        limiter: &RateLimiter,
    ) -> Result<Option<BTreeMap<String, Held>>, Unread> {
        let path = self.path("detailed-metadata", folder);
        let request = Request::read("scan", Some(&path));
        let Ok(scan) = Method::from_bytes(b"SCAN") else {
            return Ok(None);
        };
        let outgoing = Outgoing {
            method: &scan,
            body: None,
            content_type: JSON,
        };
        let reply = match self.send(&path, outgoing, &request, limiter).await {
            Ok(reply) if reply.found => reply,
            // Vault does not know the method, or the token may not use it.
            Ok(_) | Err(Failure::Answer(_)) => return Ok(None),
            Err(failure) => return Err(self.unread(failure, &request)),
        };
        let found = Metadata::all(reply.body.expose())?;
        let now = self.clock.now();
        let held = found.into_iter().map(|(name, metadata)| {
            let name = format!("{folder}{name}");
            (name, metadata.held(&self.owner, now))
        });
        Ok(Some(held.collect()))
    }

    /// All secrets below a folder, with one call for each.
    async fn walk(
        &self,
        folder: &str,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let names = match self.reader.names(folder.to_owned(), limiter).await {
            Ok(names) => names,
            Err(Stop::As(Answered::NotFound)) => Vec::new(),
            Err(Stop::As(_)) => {
                let detail = "the folder cannot be listed";
                return Err(Unread::secret(crate::unread::UNREADABLE, detail));
            }
            Err(Stop::Unread(unread)) => return Err(unread),
        };
        let calls = names.into_iter().map(|name| {
            let call = async move {
                let held = self.described(&name, limiter).await;
                (name, held.unwrap_or_else(unknown))
            };
            call.boxed()
        });
        Ok(in_flight(calls.collect()).await.into_iter().collect())
    }

    /// Writes a version in place of this one.
    async fn write(
        &self,
        change: &Change<'_>,
        base: u64,
        document: &Document,
        limiter: &RateLimiter,
    ) -> Result<u64, WriteFailure> {
        let path = self.path("data", change.name);
        let body = document.request(base);
        // With `cas`, a repetition writes nothing.
        let request = Request::repeatable_write("update", &path);
        let outgoing = Outgoing {
            method: &Method::POST,
            body: Some(&body),
            content_type: JSON,
        };
        let failure = match self.send(&path, outgoing, &request, limiter).await {
            Ok(reply) if reply.found => return Ok(base + 1),
            Ok(_) => {
                let detail = "Vault answered 404 to a write";
                return Err(Unread::secret(crate::unread::UNREADABLE, detail).into());
            }
            Err(failure) => failure,
        };
        let may_be_done = match &failure {
            Failure::Answer(fault) => fault.is_cas_mismatch(),
            Failure::Unread(_) => false,
            Failure::Unknown(_) => true,
        };
        let failure = self.refused(failure, &request);
        if !may_be_done {
            return Err(failure);
        }
        // An earlier attempt may have written it, or somebody else.
        let now = self.content(change.name, limiter).await;
        let now = now.map_err(WriteFailure::Unknown)?;
        let is_ours = now.version == base + 1 && document.is_in(&now);
        if is_ours {
            Ok(base + 1)
        } else if now.version == base {
            Err(failure.or_failed())
        } else {
            Err(WriteFailure::raced())
        }
    }

    /// Writes what is recorded about the current version.
    async fn record(
        &self,
        change: &Change<'_>,
        recorded: &BTreeMap<String, Json>,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let method = (&Method::PATCH, "patch", MERGE_PATCH);
        self.metadata(change, recorded, method, limiter).await
    }

    async fn metadata(
        &self,
        change: &Change<'_>,
        recorded: &BTreeMap<String, Json>,
        (method, capability, content_type): (&Method, &'static str, &'static str),
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let path = self.path("metadata", change.name);
        let request = Request::repeatable_write(capability, &path);
        let body = json!({ "custom_metadata": recorded }).to_string();
        let body = Value::from(body.as_str());
        let outgoing = Outgoing {
            method,
            body: Some(&body),
            content_type,
        };
        match self.send(&path, outgoing, &request, limiter).await {
            Ok(reply) if reply.found => Ok(()),
            Ok(_) => Err(WriteFailure::raced()),
            Err(failure) => Err(self.refused(failure, &request)),
        }
    }

    /// Sends the number of a version to an endpoint.
    async fn of_version(
        &self,
        endpoint: &str,
        name: &str,
        version: &str,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let path = self.path(endpoint, name);
        let request = Request::repeatable_write("update", &path);
        let body = json!({ "versions": [version] }).to_string();
        let body = Value::from(body.as_str());
        let outgoing = Outgoing {
            method: &Method::POST,
            body: Some(&body),
            content_type: JSON,
        };
        match self.send(&path, outgoing, &request, limiter).await {
            Ok(reply) if reply.found => Ok(()),
            Ok(_) => Err(WriteFailure::raced()),
            Err(failure) => Err(self.refused(failure, &request)),
        }
    }

    /// Writes a version and what is recorded about it.
    async fn publish(
        &self,
        change: &Change<'_>,
        before: &Content,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let document = Document::new(before, change)?;
        let version = self
            .write(change, before.version, &document, limiter)
            .await?
            .to_string();
        let wrote = Wrote::unproven(version.clone());
        let mut recorded = self.owned(change);
        let bound = Bound {
            mark: change.mark,
            version,
        };
        let earlier = before.recorded.earlier_with_last(change.mark);
        recorded.insert(EARLIER.to_owned(), earlier);
        recorded.insert(MARK.to_owned(), bound.to_string().into());
        recorded.extend(before.recorded.keys(&tags(change, change.held)));
        let done = self.record(change, &recorded, limiter).await;
        done.map_err(|failure| failure.after(wrote.clone()))?;
        Ok(wrote)
    }

    /// The owner and the origin.
    fn owned(&self, change: &Change<'_>) -> BTreeMap<String, Json> {
        let mut recorded: BTreeMap<String, Json> = change
            .creation
            .tags
            .iter()
            .filter(|_| change.held.presence == Presence::Absent)
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        let owner = publish::Owner::tag(&self.owner, change.item);
        recorded.insert(OWNER.to_owned(), owner.into());
        if !change.provenance.is_empty() {
            recorded.insert(SOURCE.to_owned(), change.provenance.into());
        }
        if change.held.orphaned_since.is_some() {
            recorded.insert(ORPHANED.to_owned(), Json::Null);
        }
        recorded
    }
}

/// Compares the values of each path. `content` reads a path.
async fn compared<'a>(
    asked: &'a [Ask<'_>],
    key: &'a RunKey,
    content: impl Fn(&'a str) -> BoxFuture<'a, Result<Content, Unread>>,
) -> Vec<Compared> {
    let calls = asked.iter().enumerate().map(|(index, ask)| {
        let read = content(ask.name);
        let call = async move {
            let compared = match read.await {
                Ok(content) => ask.compared(|wanted| {
                    let held = content.text(property(wanted));
                    held.is_some_and(|held| is_equal(key, &held, &wanted.value))
                }),
                Err(unread) => Compared::Unknown(unread.why),
            };
            (index, compared)
        };
        call.boxed()
    });
    let mut compared = in_flight(calls.collect()).await;
    compared.sort_by_key(|(index, _)| *index);
    compared.into_iter().map(|(_, compared)| compared).collect()
}

/// The tags of the keys that this publisher wrote.
fn tags(change: &Change<'_>, held: &Held) -> BTreeSet<publish::PropertyTag> {
    let kept = held.properties.iter().copied();
    let kept = kept.filter(|tag| !change.dropped.contains(tag));
    kept.chain(wanted_tags(change)).collect()
}

fn wanted_tags<'a>(change: &'a Change<'_>) -> impl Iterator<Item = publish::PropertyTag> + 'a {
    let marks: &MarkKey = change.marks;
    change.wanted.iter().map(move |wanted: &&Wanted| {
        let key = wanted.target.remote_key();
        marks.property(&key, property(wanted))
    })
}

/// The folders that contain all names, without those inside another one.
fn folders(scope: Scope<'_>) -> BTreeSet<String> {
    let all = scope.names.iter().chain(scope.prefixes);
    let all: BTreeSet<String> = all
        .map(|name| {
            let end = name.rfind('/').map_or(0, |at| at + 1);
            name.get(..end).unwrap_or_default().to_owned()
        })
        .collect();
    let is_inside = |folder: &String| {
        let mut others = all.iter();
        others.any(|other| other != folder && folder.starts_with(other.as_str()))
    };
    all.iter()
        .filter(|folder| !is_inside(folder))
        .cloned()
        .collect()
}

#[async_trait]
impl Holder for Publisher {
    async fn list(
        &self,
        scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let mut held = BTreeMap::new();
        for folder in folders(scope) {
            held.extend(match self.scan(&folder, limiter).await? {
                Some(found) => found,
                None => self.walk(&folder, limiter).await?,
            });
        }
        // The lists are complete and up to date.
        for name in scope.names {
            held.entry(name.clone()).or_insert_with(Held::absent);
        }
        Ok(held)
    }

    async fn describe(&self, name: &str, limiter: &RateLimiter) -> Held {
        let held = self.described(name, limiter).await;
        held.unwrap_or_else(unknown)
    }

    async fn compare(
        &self,
        asked: &[Ask<'_>],
        key: &RunKey,
        limiter: &RateLimiter,
    ) -> Vec<Compared> {
        compared(asked, key, |name| self.content(name, limiter).boxed()).await
    }
}

#[async_trait]
impl Writer for Publisher {
    async fn create(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        // This call would replace the metadata of somebody else.
        let now = self.described(change.name, limiter).await?;
        if now.presence != Presence::Absent {
            return Err(WriteFailure::raced());
        }
        let mut owner = self.owned(change);
        // The origin belongs to a version.
        owner.remove(SOURCE);
        let create = (&Method::POST, "create", JSON);
        let made = self.metadata(change, &owner, create, limiter).await;
        // No value was written.
        made.map_err(WriteFailure::or_failed)?;
        self.publish(change, &Content::default(), limiter).await
    }

    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let before = self.content(change.name, limiter).await?;
        let seen = change.held.version.as_deref().unwrap_or("0");
        if before.version.to_string() != seen {
            return Err(WriteFailure::raced());
        }
        self.publish(change, &before, limiter).await
    }

    async fn restore(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let version = change.held.version.clone().unwrap_or_default();
        self.of_version("undelete", change.name, &version, limiter)
            .await?;
        let held = self.described(change.name, limiter).await;
        let held = held.map_err(WriteFailure::Unknown)?;
        let change = Change {
            held: &held,
            ..*change
        };
        if held.mark == Some(change.mark) {
            self.adopt(&change, limiter).await
        } else {
            self.update(&change, limiter).await
        }
    }

    async fn adopt(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let version = change.held.version.clone().unwrap_or_default();
        let mut recorded = self.owned(change);
        // The origin belongs to a version.
        recorded.remove(SOURCE);
        // Bound to this version, so it says nothing about a later one.
        let bound = Bound {
            mark: change.mark,
            version: version.clone(),
        };
        recorded.insert(MARK.to_owned(), bound.to_string().into());
        recorded.extend(Recorded::default().keys(&tags(change, change.held)));
        self.record(change, &recorded, limiter).await?;
        Ok(Wrote::unproven(version))
    }

    async fn retire(
        &self,
        name: &str,
        held: &Held,
        _days: u16,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let now = self.described(name, limiter).await?;
        if matches!(now.presence, Presence::Absent | Presence::Retired { .. }) {
            return Ok(());
        }
        if now.version != held.version || now.owner != held.owner {
            return Err(WriteFailure::raced());
        }
        let version = now.version.unwrap_or_default();
        // Only this version, so a later one of somebody else stays.
        self.of_version("delete", name, &version, limiter).await
    }

    async fn destroy_version(
        &self,
        name: &str,
        version: &str,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        self.of_version("destroy", name, version, limiter).await
    }
}
