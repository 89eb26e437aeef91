//! Reads secrets, metadata and searches. Reads only below mounts that are known to be KV, because a read in another engine may
//! create credentials.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{
    ProviderKind,
    expected::{Failure, Operator, Raw},
};
use futures::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use secret::Value;
use tokio::sync::Mutex;

use super::{
    body::{self, Mount, Secret},
    client::{Client, Reading, Reply},
    path::{Paths, Version, segments},
};
use crate::{
    Answered, RateLimiter, Unread,
    engine::{Request, SEARCH_CALLS},
    found::Found,
    names::Names,
    unread,
};

/// Limits of a search. A server can generate folders and names without end.
const MOST_FOLDERS: usize = 10_000;
const MOST_NAMES: usize = 100_000;
const DEEPEST: usize = 64;

/// Counts the folders and names of a search.
#[derive(Default)]
struct Walk {
    folders: usize,
    names: usize,
}

impl Walk {
    /// Counts a folder and its names. Fails if a limit is exceeded.
    fn add_folder(&mut self, folder: &str, names: &[String]) -> Result<(), Unread> {
        self.folders += 1;
        self.names += names.len();
        let ends = self.folders <= MOST_FOLDERS
            && self.names <= MOST_NAMES
            && folder.matches('/').count() <= DEEPEST
            // An empty name leads back to the same folder.
            && !names.iter().any(|name| name.trim_matches('/').is_empty());
        if ends {
            Ok(())
        } else {
            let detail = "the search exceeds the limits for folders and names";
            Err(Unread::secret(unread::UNREADABLE, detail))
        }
    }
}

impl From<Secret> for Answered {
    fn from(secret: Secret) -> Self {
        match secret {
            Secret::Data(text) => Self::One(Raw::Json(text), None),
            Secret::Absent => Self::NotFound,
            Secret::Fails(failure) => Self::Fails(failure),
        }
    }
}

/// Reads the KV engines of one store.
pub(super) struct Reader {
    pub(super) client: Client,
    pub(super) paths: Paths,
    /// The mounts that are known to be KV, with a trailing slash.
    kv: Mutex<BTreeMap<String, Version>>,
}

/// The reason why a search has no result.
pub(super) enum Stop {
    Unread(Unread),
    As(Answered),
}

impl From<Unread> for Stop {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

impl Reader {
    pub(super) fn new(client: Client, paths: Paths) -> Self {
        Self {
            client,
            paths,
            kv: Mutex::new(BTreeMap::new()),
        }
    }

    /// `GetSecret`.
    pub(super) async fn secret(
        &self,
        key: &str,
        version: &str,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        self.data(key, version, limiter).await.map(Answered::from)
    }

    /// `GetSecret` of a secret that is too large to be kept as a whole. Keeps these members of its data.
    pub(super) async fn members(
        &self,
        key: &str,
        version: &str,
        members: &BTreeSet<String>,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        let reading = Reading {
            limiter,
            members: Some((members, self.paths.version)),
        };
        self.read(key, version, reading).await.map(Answered::from)
    }

    async fn data(
        &self,
        key: &str,
        version: &str,
        limiter: &RateLimiter,
    ) -> Result<Secret, Unread> {
        self.read(key, version, Reading::whole(limiter)).await
    }

    async fn read(&self, key: &str, version: &str, reading: Reading<'_>) -> Result<Secret, Unread> {
        let path = self.paths.data(key);
        let query = [("version", version)];
        let query = if version.is_empty() { &[][..] } else { &query };
        let reply = self.get(&path, query, "read", reading).await?;
        body::secret(reply.body.expose(), reply.found, self.paths.version)
    }

    /// Reads exactly this path of version 1.
    pub(super) async fn exact(&self, path: &str, limiter: &RateLimiter) -> Result<Secret, Unread> {
        let reply = self.get(path, &[], "read", Reading::whole(limiter)).await?;
        body::secret(reply.body.expose(), reply.found, Version::V1)
    }

    /// `GetSecret` with `metadataPolicy: Fetch`. It ignores the version.
    pub(super) async fn metadata(
        &self,
        key: &str,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        if self.paths.version == Version::V1 {
            return Ok(Answered::Fails(Failure::Refused));
        }
        match self.tags(key, limiter).await {
            Ok(tags) => Ok(Answered::One(Raw::Tags(tags), None)),
            Err(Stop::As(answered)) => Ok(answered),
            Err(Stop::Unread(unread)) => Err(unread),
        }
    }

    async fn tags(
        &self,
        key: &str,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Value>, Stop> {
        let path = self.paths.metadata(key).map_err(fails)?;
        let whole = Reading::whole(limiter);
        let reply = self.get(&path, &[], "read", whole).await?;
        body::custom_metadata(reply.body.expose(), reply.found)?.ok_or(Stop::As(Answered::NotFound))
    }

    /// `GetAllSecrets`.
    pub(super) async fn find(
        &self,
        path: Option<&str>,
        name: Option<&str>,
        tags: Option<&BTreeMap<String, String>>,
        limiter: &RateLimiter,
    ) -> Result<Answered, Unread> {
        match self.search(path, name, tags, limiter).await {
            Ok(found) => Ok(found.into()),
            Err(Stop::As(answered)) => Ok(answered),
            Err(Stop::Unread(unread)) => Err(unread),
        }
    }

    async fn search(
        &self,
        path: Option<&str>,
        name: Option<&str>,
        tags: Option<&BTreeMap<String, String>>,
        limiter: &RateLimiter,
    ) -> Result<Found, Stop> {
        if self.paths.version == Version::V1 && tags.is_some() {
            return Err(fails(Failure::Refused));
        }
        let regexp = match Operator::of(&ProviderKind::Vault, name, tags) {
            Some(Operator::Name(regexp)) => Some(regexp),
            _ => None,
        };
        let mut matching = match regexp {
            Some(regexp) => Names::matching(regexp, limiter).await?,
            None => Names::all(limiter),
        };
        let folder = path.map_or_else(String::new, |path| format!("{path}/"));
        let names = self.names(folder, limiter).await?;
        let candidates = matching.of(names, limiter).await?.into_iter();
        let wanted = if regexp.is_none() { Some(tags) } else { None };
        let reads = candidates.map(async |candidate| {
            if let Some(tags) = wanted
                && !self.has_tags(&candidate, tags, limiter).await?
            {
                return Ok(None);
            }
            match self.data(&candidate, "", limiter).await? {
                Secret::Data(text) => Ok(Some((candidate, Raw::Json(text)))),
                Secret::Absent => Ok(None),
                Secret::Fails(failure) if failure.is_absent() => Ok(None),
                Secret::Fails(failure) => Err(fails(failure)),
            }
        });
        let mut found = Found::new(limiter)?;
        let mut reads = stream::iter(reads).buffer_unordered(SEARCH_CALLS);
        while let Some(read) = reads.next().await {
            if let Some((name, raw)) = read? {
                found.insert(name, raw)?;
            }
        }
        Ok(found)
    }

    /// True if the candidate has these tags. Its metadata must exist even if no tags are wanted.
    async fn has_tags(
        &self,
        key: &str,
        wanted: Option<&BTreeMap<String, String>>,
        limiter: &RateLimiter,
    ) -> Result<bool, Stop> {
        let tags = match self.tags(key, limiter).await {
            Err(Stop::As(Answered::NotFound)) => return Err(fails(Failure::NotFoundError)),
            tags => tags?,
        };
        Ok(wanted.into_iter().flatten().all(|(name, value)| {
            tags.get(name)
                .is_some_and(|tag| tag.expose() == value.as_bytes())
        }))
    }

    /// Lists all names below a folder, with the folder as prefix.
    pub(super) async fn names(
        &self,
        folder: String,
        limiter: &RateLimiter,
    ) -> Result<Vec<String>, Stop> {
        let mut walk = Walk::default();
        let mut held = limiter.hold(0)?;
        let (mut folders, mut all) = (vec![folder], Vec::new());
        let mut lists = FuturesUnordered::new();
        loop {
            while lists.len() < SEARCH_CALLS
                && let Some(folder) = folders.pop()
            {
                lists.push(self.folder(folder, limiter));
            }
            let Some(listed) = lists.next().await else {
                return Ok(all);
            };
            let (folder, names) = listed?;
            walk.add_folder(&folder, &names)?;
            for name in names {
                let full = format!("{folder}{name}");
                let grown = held.grow(full.len() + size_of::<String>());
                grown.map_err(|_| Unread::too_much_data())?;
                if full.ends_with('/') {
                    folders.push(full);
                } else {
                    all.push(full);
                }
            }
        }
    }

    /// Lists the names in a folder.
    pub(super) async fn folder(
        &self,
        folder: String,
        limiter: &RateLimiter,
    ) -> Result<(String, Vec<String>), Stop> {
        let path = self.paths.metadata(&folder).map_err(fails)?;
        let reply = self
            .get(&path, &[("list", "true")], "list", Reading::whole(limiter))
            .await?;
        let names = body::names(reply.body.expose(), reply.found)?;
        Ok((folder, names.ok_or(Stop::As(Answered::NotFound))?))
    }

    /// Reads a path of a KV engine.
    async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        capability: &'static str,
        reading: Reading<'_>,
    ) -> Result<Reply, Unread> {
        let path = segments(path)?;
        // A policy for lists needs the trailing slash.
        let slash = if capability == "list" { "/" } else { "" };
        let key = format!("{}{slash}", path.join("/"));
        let request = Request::read(capability, Some(&key));
        self.confirm_kv(&path, &request, reading.limiter).await?;
        self.client.get(&path, query, &request, reading).await
    }

    /// Checks that the path is below a KV mount of this version. Reading does not check it, like the operator. Writing to a mount of
    /// another version would create secrets with other names.
    pub(super) async fn confirm_version(
        &self,
        path: &[&str],
        version: Version,
        request: &Request<'_>,
        limiter: &RateLimiter,
    ) -> Result<(), Unread> {
        let found = self.confirm_kv(path, request, limiter).await?;
        if found == version {
            return Ok(());
        }
        let detail = match found {
            Version::V1 => "the mount is version 1 of the KV engine: set `version: v1`",
            Version::V2 => "the mount is version 2 of the KV engine: remove `version: v1`",
        };
        Err(Unread::secret(unread::UNSUPPORTED, detail))
    }

    /// Checks that the path is below a KV mount, and returns the version of the mount. Any token that may read something there may
    /// call this endpoint.
    async fn confirm_kv(
        &self,
        path: &[&str],
        request: &Request<'_>,
        limiter: &RateLimiter,
    ) -> Result<Version, Unread> {
        let folder = format!("{}/", path.join("/"));
        // Locked during the request, so that waiting calls use its result.
        let mut kv = self.kv.lock().await;
        let known = kv.iter().find(|(mount, _)| folder.starts_with(*mount));
        if let Some((_, version)) = known {
            return Ok(*version);
        }
        let mut question = vec!["sys", "internal", "ui", "mounts"];
        question.extend(path);
        let whole = Reading::whole(limiter);
        let reply = match self.client.get(&question, &[], request, whole).await {
            Ok(reply) => reply,
            Err(unread) if unread.why.reason == unread::DENIED => {
                let detail = "the mount does not exist, or the token may not read anything in it";
                return Err(Unread {
                    permission: unread.permission,
                    ..Unread::secret(unread::DENIED, detail)
                });
            }
            Err(unread) => return Err(unread),
        };
        if !reply.found {
            let known = body::known_error(reply.body.expose());
            let known = known.map_or_else(String::new, |known| format!(" ({known})"));
            let why = format!("Vault does not return the mount of this path{known}");
            return Err(unconfirmed(&why));
        }
        let mount = body::mount(reply.body.expose())?;
        if mount.path.is_empty() || !mount.path.ends_with('/') || !folder.starts_with(&mount.path) {
            return Err(unconfirmed("Vault returned another mount"));
        }
        // `generic` is the old name of KV.
        if !matches!(mount.kind.as_str(), "kv" | "generic") {
            let Mount { path, kind, .. } = mount;
            return Err(unconfirmed(&format!(
                "{path} is an engine of type {kind}, not KV"
            )));
        }
        kv.insert(mount.path, mount.version);
        Ok(mount.version)
    }
}

fn fails(failure: Failure) -> Stop {
    Stop::As(Answered::Fails(failure))
}

fn unconfirmed(why: &str) -> Unread {
    let detail = format!("not read because the mount may not be KV: {why}");
    Unread::secret(unread::UNSUPPORTED, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_folders_end_the_search() {
        let names = |name: &str| vec![name.to_owned()];
        let mut walk = Walk::default();
        assert!(walk.add_folder("a/b/", &names("c/")).is_ok());
        assert!(walk.add_folder(&"a/".repeat(65), &names("c/")).is_err());
        for back in ["", "/"] {
            assert!(walk.add_folder("a/", &names(back)).is_err());
        }
        let many = vec!["n".to_owned(); MOST_NAMES];
        assert!(walk.add_folder("a/", &many).is_err(), "with those before");
        let mut walk = Walk::default();
        for _ in 0..MOST_FOLDERS {
            assert!(walk.add_folder("a/", &[]).is_ok());
        }
        assert!(walk.add_folder("a/", &[]).is_err());
    }
}
