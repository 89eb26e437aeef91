//! The files of a commit in a Git repository. They are kept in memory only.

mod https;
mod login;
mod ssh;

use std::collections::BTreeMap;

use git::{Address, Content, Id, Objects, Refused, Revision, Server};
use repository::Tree;

pub(super) use self::login::Login;
use self::{https::Https, ssh::Ssh};
use super::Opened;
use crate::publish::fault::Fault;

/// The largest answer: a pack, and the headers of its packets.
const MAX_ANSWER: usize = git::MAX_PACK + (1 << 20);

/// A connection to a repository.
enum Connection {
    Https(Https),
    Ssh(Box<Ssh>),
}

impl Connection {
    async fn open(address: &Address, login: &Login) -> Result<(Self, Vec<u8>), Fault> {
        Ok(match address {
            Address::Https(url) => {
                let (connection, advertised) = Https::open(url, login).await?;
                (Self::Https(connection), advertised)
            }
            Address::Ssh(address) => {
                let (connection, advertised) = Ssh::open(address, login).await?;
                (Self::Ssh(Box::new(connection)), advertised)
            }
        })
    }

    async fn ask(&mut self, request: Vec<u8>) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Https(connection) => connection.ask(request).await,
            Self::Ssh(connection) => connection.ask(&request).await,
        }
    }
}

/// Reads the needed files of a commit.
pub(super) async fn open(
    address: &Address,
    revision: &Revision,
    login: Login,
    is_needed: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Opened, Fault> {
    let (connection, advertised) = Connection::open(address, &login).await?;
    let (tree, commit) = read(connection, &advertised, revision, is_needed).await?;
    Ok(Opened {
        tree,
        repository: address.to_string(),
        revision: commit.to_string(),
        history: Some(History {
            address: address.clone(),
            login,
            commit,
        }),
    })
}

/// The commit that was read, and how to ask for other commits of its repository.
pub(in crate::publish) struct History {
    address: Address,
    login: Login,
    commit: Id,
}

impl History {
    /// True if this published commit comes after the one that was read. False also if that is not known: the server cannot send
    /// commits alone, or no longer has this one.
    pub(in crate::publish) async fn is_before(&self, published: &str) -> bool {
        let is_before = self.comes_before(published).await;
        is_before.unwrap_or_else(|fault| {
            let why = fault.reason;
            tracing::debug!(why, published, "it is not known which commit is newer");
            false
        })
    }

    async fn comes_before(&self, published: &str) -> Result<bool, Fault> {
        let Ok(published) = published.parse::<Id>() else {
            return Ok(false);
        };
        let (mut connection, advertised) = Connection::open(&self.address, &self.login).await?;
        let server = Server::parse(&advertised).map_err(refused)?;
        let Some(request) = server.fetch_history(published) else {
            return Ok(false);
        };
        let answer = connection.ask(request).await?;
        let mut objects = Objects::default();
        objects.add(&answer).map_err(refused)?;
        Ok(objects.descends(published, self.commit))
    }
}

async fn read(
    mut connection: Connection,
    advertised: &[u8],
    revision: &Revision,
    is_needed: &(dyn Fn(&str) -> bool + Sync),
) -> Result<(Tree, Id), Fault> {
    let server = Server::parse(advertised).map_err(refused)?;
    let commit = match revision {
        Revision::Commit(id) => *id,
        Revision::Head | Revision::Named(_) => {
            let answer = connection.ask(server.list(revision)).await?;
            server.find(revision, &answer).map_err(refused)?
        }
    };
    let mut objects = Objects::default();
    let answer = connection.ask(server.fetch_commit(commit)).await?;
    objects.add(&answer).map_err(refused)?;
    drop(answer);
    let mut tree = Tree::default();
    let mut needed = BTreeMap::new();
    for listed in objects.list(commit).map_err(refused)? {
        match listed.content {
            Content::File(id) if is_needed(&listed.path) => drop(needed.insert(listed.path, id)),
            Content::File(_) => {}
            Content::Link => tree.insert_link(&listed.path).map_err(Fault::of_file)?,
            Content::Submodule => tree
                .insert_submodule(&listed.path)
                .map_err(Fault::of_file)?,
        }
    }
    let mut missing: Vec<Id> = needed.values().copied().collect();
    missing.retain(|id| objects.file(*id).is_none());
    missing.sort_unstable();
    missing.dedup();
    if missing.len() > repository::MAX_FILES {
        let message = format!("the item needs more than {} files", repository::MAX_FILES);
        return Err(Fault::new("too-large", message));
    }
    if !missing.is_empty() {
        let answer = connection.ask(server.fetch_files(&missing)).await?;
        objects.add(&answer).map_err(refused)?;
    }
    for (path, id) in needed {
        let content = objects.file(id).ok_or_else(|| {
            Fault::new(
                "invalid-pack",
                "the Git server did not send all files of the commit",
            )
        })?;
        tree.insert(&path, content.duplicate())
            .map_err(Fault::of_file)?;
    }
    Ok((tree, commit))
}

fn refused(refused: Refused) -> Fault {
    Fault::new(refused.reason.into_str(), refused.message)
}
