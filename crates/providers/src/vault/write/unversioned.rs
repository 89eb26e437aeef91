//! Writes to version 1 of the KV engine, which keeps nothing beside the values: no owner, no mark, no versions, no guard.
//!
//! | call | when | capability |
//! |---|---|---|
//! | `LIST MOUNT/FOLDER` | one call per folder; without the right, one `GET` per secret | `list` |
//! | `GET MOUNT/…` | to compare, before and after a write | `read` |
//! | `POST MOUNT/…` | `create`, `update` | `create`, `update` |
//!
//! A write replaces all values of the path, so the keys of others are read first and written again. What somebody else writes
//! between these two calls is lost: the engine cannot prevent it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::FutureExt as _;
use publish::{Compared, Held, History, Presence, Wrote};
use reqwest::Method;
use secret::RunKey;

use super::{
    Failure, Outgoing, compared,
    document::{Content, Document},
};
use crate::{
    Answered, RateLimiter, Unread,
    engine::Request,
    holder::{Ask, Change, Holder, Scope, WriteFailure, Writer, not_supported, unknown},
    vault::{
        body::Secret,
        client::JSON,
        path::{Version, segments},
        read::{Reader, Stop},
    },
};

/// A KV engine of version 1 that may be written.
pub(in crate::vault) struct Unversioned {
    reader: Reader,
    mount: String,
}

impl Unversioned {
    pub(super) const fn new(reader: Reader, mount: String) -> Self {
        Self { reader, mount }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.mount)
    }

    /// Fails unless the mount is version 1. Below a mount of version 2 all secrets would seem to be absent.
    async fn confirm(&self, request: &Request<'_>, limiter: &RateLimiter) -> Result<(), Unread> {
        let path = self.path("x");
        let path = segments(&path)?;
        self.reader
            .confirm_version(&path, Version::V1, request, limiter)
            .await
    }

    /// The values of a path. None if nothing is there.
    async fn content(&self, name: &str, limiter: &RateLimiter) -> Result<Option<Content>, Unread> {
        let path = self.path(name);
        let request = Request::read("read", Some(&path));
        self.confirm(&request, limiter).await?;
        match self.reader.exact(&path, limiter).await? {
            Secret::Data(text) => Content::unversioned(&text).map(Some),
            Secret::Absent => Ok(None),
            Secret::Fails(_) => Err(Unread::secret(crate::unread::UNREADABLE, "")),
        }
    }

    /// The names in a folder, without those in folders below it. None if the token may not list it.
    async fn names(
        &self,
        folder: &str,
        limiter: &RateLimiter,
    ) -> Result<Option<BTreeSet<String>>, Unread> {
        let path = self.path(folder);
        let request = Request::read("list", Some(&path));
        self.confirm(&request, limiter).await?;
        match self.reader.folder(folder.to_owned(), limiter).await {
            Ok((_, names)) => Ok(Some(names.into_iter().collect())),
            Err(Stop::As(Answered::NotFound)) => Ok(Some(BTreeSet::new())),
            Err(Stop::As(_)) => Ok(None),
            Err(Stop::Unread(unread)) if unread.why.reason == crate::unread::DENIED => Ok(None),
            Err(Stop::Unread(unread)) => Err(unread),
        }
    }

    async fn described(&self, name: &str, limiter: &RateLimiter) -> Result<Held, Unread> {
        let found = self.content(name, limiter).await?;
        Ok(if found.is_some() {
            present()
        } else {
            Held::absent()
        })
    }

    /// Replaces the values of a path.
    async fn write(
        &self,
        change: &Change<'_>,
        before: &Content,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let document = Document::new(before, change)?;
        let path = self.path(change.name);
        let body = document.unversioned_request();
        // It replaces the values of somebody else who wrote in the meantime, so it is not repeated.
        let request = Request::write("update", &path);
        self.confirm(&Request::read("read", Some(&path)), limiter)
            .await?;
        let outgoing = Outgoing {
            method: &Method::POST,
            body: Some(&body),
            content_type: JSON,
        };
        let path = segments(&path)?;
        let client = &self.reader.client;
        let failure = match client.send(&path, outgoing, &request, limiter).await {
            Ok(_) => return Ok(wrote()),
            Err(Failure::Unknown(unread)) => unread,
            Err(failure) => return Err(client.unread(failure, &request).into()),
        };
        // The answer was lost. The value may be there.
        match self.content(change.name, limiter).await {
            Ok(Some(now)) if document.is_in(&now) => Ok(wrote()),
            Ok(_) | Err(_) => Err(WriteFailure::Unknown(failure)),
        }
    }
}

const fn wrote() -> Wrote {
    Wrote {
        version: None,
        proven: false,
    }
}

/// The engine tells nothing more about a secret.
fn present() -> Held {
    Held {
        history: Some(History::default()),
        ..Held::new(Presence::Present)
    }
}

#[async_trait]
impl Holder for Unversioned {
    async fn list(
        &self,
        scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let mut held = BTreeMap::new();
        let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in scope.names {
            let (folder, name) = name.split_at(name.rfind('/').map_or(0, |at| at + 1));
            wanted.entry(folder).or_default().push(name);
        }
        for (folder, wanted) in wanted {
            let Some(names) = self.names(folder, limiter).await? else {
                continue;
            };
            for name in wanted {
                let is_listed = names.contains(name);
                let found = if is_listed { present() } else { Held::absent() };
                held.insert(format!("{folder}{name}"), found);
            }
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
        let content = |name| {
            let content = self.content(name, limiter);
            content
                .map(|found| found.map(Option::unwrap_or_default))
                .boxed()
        };
        compared(asked, key, content).await
    }
}

#[async_trait]
impl Writer for Unversioned {
    async fn create(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        match self.content(change.name, limiter).await? {
            None => self.write(change, &Content::default(), limiter).await,
            Some(_) => Err(WriteFailure::raced()),
        }
    }

    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        match self.content(change.name, limiter).await? {
            Some(before) => self.write(change, &before, limiter).await,
            None => Err(WriteFailure::raced()),
        }
    }

    async fn restore(&self, _: &Change<'_>, _: &RateLimiter) -> Result<Wrote, WriteFailure> {
        Err(not_supported(WHY))
    }

    async fn adopt(&self, _: &Change<'_>, _: &RateLimiter) -> Result<Wrote, WriteFailure> {
        Err(not_supported(WHY))
    }

    async fn retire(&self, _: &str, _: &Held, _: u16, _: &RateLimiter) -> Result<(), WriteFailure> {
        Err(not_supported(WHY))
    }
}

const WHY: &str = "version 1 of Vault's KV engine keeps neither owners nor deleted secrets";
