//! The write side: what a provider holds under a name, and the writes that change it.
//!
//! A [`Holder`] only looks. A [`Writer`] also writes. Both are connections to one store with one set of credentials, for one
//! publisher. Names are those of [`publish::Target`]: complete, with the prefix of the store.
//!
//! | rule | how |
//! |---|---|
//! | an error is never taken for absence | only the provider's own code for "not found" is [`publish::Presence::Absent`] |
//! | a change makes one version at most | a write that may have been done is read back before anything is written again |
//! | nobody else's write is lost | compare-and-swap where the provider has it, otherwise a check after the write; both report [`WriteFailure::Raced`] |

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use publish::{Compared, Held, Mark, MarkKey, PropertyTag, Wanted, Wrote};
use secret::RunKey;

use crate::{RateLimiter, Unread};

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod compare;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
mod result;

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
pub(crate) use self::compare::compare;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "vault"))]
pub(crate) use self::result::{is_equal, property, unknown};

pub use publish::{Creation, Tier};

/// The tag with the publisher and the item: `<owner>/<item>`.
pub const OWNER: &str = "eso-sync-owner";
/// The tag with the origin of the current value: `repository@revision:path`.
pub const SOURCE: &str = "eso-sync-source";
/// The tag with a mark that is not part of the version itself: `<mark> <version>`.
pub const MARK: &str = "eso-sync-mark";
/// The tag with the marks of earlier versions, where versions have no tags of their own.
pub const EARLIER: &str = "eso-sync-earlier";
/// The tag with the time since when a secret is orphaned.
pub const ORPHANED: &str = "eso-sync-orphaned";

/// Looks at what a provider holds. Cannot write.
#[async_trait]
pub trait Holder: Send + Sync {
    /// Lists what this publisher owns, with as few calls as possible. By canonical name. A wanted name that is missing in the answer
    /// is not known to be absent: describe it.
    async fn list(
        &self,
        scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread>;

    /// Describes one secret with its history.
    async fn describe(&self, name: &str, limiter: &RateLimiter) -> Held;

    /// Reads values and compares them, in the same order. The values do not leave this function.
    async fn compare(
        &self,
        asked: &[Ask<'_>],
        key: &RunKey,
        limiter: &RateLimiter,
    ) -> Vec<Compared>;
}

/// Changes what a provider holds. Each write checks its precondition at the provider, as far as its API allows.
#[async_trait]
pub trait Writer: Holder {
    /// Creates a secret with its value.
    async fn create(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure>;

    /// Writes a new version in place of [`Held::version`].
    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure>;

    /// Restores a deleted secret, and writes a new version unless it already has the mark.
    async fn restore(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure>;

    /// Records the owner, and the mark of the current version, without a new version.
    async fn adopt(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure>;

    /// Records that the secret is orphaned since this time.
    async fn announce(
        &self,
        _name: &str,
        _held: &Held,
        _since: Timestamp,
        _limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        Err(not_supported("its deletions can be undone"))
    }

    /// Deletes a secret, so that it can be restored within these days where the provider supports it.
    async fn retire(
        &self,
        name: &str,
        held: &Held,
        days: u16,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure>;

    /// Destroys an old version.
    async fn destroy_version(
        &self,
        _name: &str,
        _version: &str,
        _limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        Err(not_supported("it cannot destroy single versions"))
    }
}

pub(crate) fn not_supported(why: &str) -> WriteFailure {
    let detail = format!("this is not needed for this provider: {why}");
    WriteFailure::Failed(Unread::secret(crate::unread::UNSUPPORTED, detail))
}

/// What a list is for.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The items of this publisher that publish here.
    pub items: &'a BTreeSet<String>,
    /// The wanted names.
    pub names: &'a BTreeSet<String>,
    /// The starts of names, or the folders, under which this publisher may own more. Only these and the folders of `names` are
    /// searched where a provider cannot list by owner.
    pub prefixes: &'a BTreeSet<String>,
}

/// A comparison: the wanted value of a secret, or the wanted values of a document.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub name: &'a str,
    pub wanted: &'a [&'a Wanted],
}

/// What is written to one secret.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub name: &'a str,
    /// One value, or the values of a document.
    pub wanted: &'a [&'a Wanted],
    /// What the provider held when the write was planned. Its version is the precondition.
    pub held: &'a Held,
    /// The keys of a document that are removed.
    pub dropped: &'a [PropertyTag],
    pub mark: Mark,
    pub marks: &'a MarkKey,
    /// The item of the policy, for the owner tag.
    pub item: &'a str,
    /// The origin of the value; empty if it is not known. See [`publish::provenance`].
    pub provenance: &'a str,
    pub creation: &'a Creation,
}

/// Why a write was not done, or is not known to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteFailure {
    /// Somebody else wrote the secret at the same time, or it is no longer as planned. The next run plans again.
    Raced(String),
    /// The value was not written: the current version is as before.
    Failed(Unread),
    /// The value was written, but not its owner, origin or mark. The next run compares the values and records the rest.
    Unrecorded(Wrote, Unread),
    /// The provider did not confirm the write, and it could not be read back.
    Unknown(Unread),
}

impl WriteFailure {
    /// The stable word for `Raced`.
    pub const RACED: &'static str = "raced";

    /// The secret is not as it was when the write was planned.
    pub fn raced() -> Self {
        Self::Raced("somebody else wrote this secret at the same time".to_owned())
    }
}

impl From<Unread> for WriteFailure {
    fn from(unread: Unread) -> Self {
        Self::Failed(unread)
    }
}
