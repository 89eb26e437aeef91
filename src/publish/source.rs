//! Where files come from: a folder with a checkout, the artifact of a Flux GitRepository, or a Git repository.

mod argocd;
mod flux;
mod folder;
#[cfg(feature = "git")]
mod git;

use ::git::{Address, Revision};
use cluster::Cluster;
use repository::Tree;

#[cfg(feature = "git")]
pub(super) use self::git::History;
use super::{fault::Fault, keys::Keys};
use crate::{
    pattern::Wildcard,
    policy::publish::{GitSource, SourceFrom},
};

/// Files, and where they come from.
pub(super) struct Opened {
    pub(super) tree: Tree,
    /// The repository, for the provenance and the report.
    pub(super) repository: String,
    /// The revision; empty if it is not known.
    pub(super) revision: String,
    /// How to tell which of two revisions is newer, if the source knows it.
    pub(super) history: Option<History>,
}

/// Without Git, no source has a history.
#[cfg(not(feature = "git"))]
pub(super) enum History {}

#[cfg(not(feature = "git"))]
impl History {
    #[expect(clippy::unused_async, reason = "as with the feature")]
    pub(super) async fn is_before(&self, _: &str) -> bool {
        match *self {}
    }
}

/// What opening a source needs.
pub(super) struct Opener<'a> {
    /// None without a cluster.
    pub(super) cluster: Option<&'a Cluster>,
    #[cfg_attr(
        not(feature = "git"),
        expect(dead_code, reason = "for credentials of Git")
    )]
    pub(super) keys: &'a Keys<'a>,
    /// `GITHUB_SHA`.
    pub(super) github_sha: Option<&'a str>,
    /// The sources that flags permit. None: all.
    pub(super) permitted: Option<&'a [Wildcard]>,
}

/// Which commit of which repository is read.
#[cfg_attr(
    not(feature = "git"),
    expect(dead_code, reason = "for reading with Git")
)]
struct Wanted {
    address: Address,
    revision: Revision,
    /// The Secret with the credentials.
    secret: Option<String>,
}

impl Opener<'_> {
    /// Reads the needed files of a source.
    pub(super) async fn open(
        &self,
        source: &SourceFrom,
        is_needed: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Opened, Fault> {
        let SourceFrom {
            path,
            flux,
            argocd,
            git,
        } = source;
        if let Some(path) = path {
            return self.folder(path, is_needed);
        }
        if let Some(flux) = flux {
            return self.artifact(flux, is_needed).await;
        }
        let wanted = match (argocd, git) {
            (Some(application), _) => self.application(application).await?,
            (None, Some(git)) => wanted(git)?,
            (None, None) => return Err(Fault::new("no-source", "the item has no source")),
        };
        self.repository(wanted, is_needed).await
    }

    #[cfg(feature = "git")]
    async fn repository(
        &self,
        Wanted {
            address,
            revision,
            secret,
        }: Wanted,
        is_needed: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Opened, Fault> {
        let login = match &secret {
            Some(name) => git::Login::of(name, &self.keys.secret(name).await?)?,
            None => git::Login::default(),
        };
        git::open(&address, &revision, login, is_needed).await
    }

    #[cfg(not(feature = "git"))]
    #[expect(clippy::unused_async, reason = "as with the feature")]
    async fn repository(
        &self,
        Wanted {
            address,
            revision: _,
            secret: _,
        }: Wanted,
        _: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Opened, Fault> {
        let message = format!("this build cannot read {address} (feature `git`)");
        Err(Fault::new("unsupported", message))
    }
}

fn wanted(
    GitSource {
        url,
        git_ref,
        secret,
    }: &GitSource,
) -> Result<Wanted, Fault> {
    Ok(Wanted {
        address: address(url)?,
        revision: Revision::of(git_ref.as_deref().unwrap_or_default()),
        secret: secret.clone(),
    })
}

fn address(url: &str) -> Result<Address, Fault> {
    url.parse().map_err(|::git::InvalidAddress| {
        let shown = crate::foreign::line(&without_credentials(url));
        let hint = ::git::InvalidAddress::HINT;
        Fault::new("git-address", format!("`{shown}` is not supported: {hint}"))
    })
}

/// The address of a repository without user and password.
fn without_credentials(url: &str) -> String {
    cluster::Address::new(url).to_string()
}
