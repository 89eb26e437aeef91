//! Writes to Key Vault.
//!
//! | call | when | permission |
//! |---|---|---|
//! | `GET /secrets` | 25 secrets of the vault per call | `list` |
//! | `GET /secrets/NAME` | to compare, before a write, and to prove | `get` |
//! | `GET /secrets/NAME/versions` | before and after a write | `list` |
//! | `GET /deletedsecrets/NAME` | for a name without a secret | `get` |
//! | `PUT /secrets/NAME` | `create`, `update` | `set` |
//! | `PATCH /secrets/NAME/VERSION` | `adopt`: the owner, the origin and the mark | `set` |
//! | `DELETE /secrets/NAME` | `retire` | `delete` |
//! | `POST /deletedsecrets/NAME/recover` | `restore` | `recover` |
//!
//! Tags belong to a version, so the mark is written together with the value. It is bound to the time at which the version was
//! created, because others may copy the tags to a new version. Tags of others are kept.
//!
//! Key Vault has no compare-and-swap, and each `PUT` makes a version. So the current version is read before a write, and all
//! versions after it: one that is neither known nor ours is a race. A write is not repeated if it may have been done.
//!
//! A deletion can be undone until the vault purges the secret. eso-sync never purges.

mod calls;
mod versions;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use eso_model::ProviderKind;
use pace::Clock;
use publish::{Compared, Held, History, Owner, Presence, Wrote};
use secret::RunKey;

use self::{
    calls::NewVersion,
    versions::{MAX_TAGS, Tags, Version, bound, history},
};
use super::{
    KeyVault, MAX_NAMES, MAX_PAGES,
    client::Listing,
    fault::{Fault, Problem},
};
use crate::{
    RateLimiter, Unread,
    engine::Failure,
    holder::{
        self, Ask, Change, Holder, MARK, ORPHANED, OWNER, SOURCE, Scope, WriteFailure, Writer,
        unknown,
    },
    unread,
};

/// How often a secret that is being restored is looked for. With the default pauses, this takes about a minute.
const LOOKS: u32 = 16;

/// A vault that may be written, for one publisher.
pub(super) struct Publisher {
    vault: KeyVault,
    owner: String,
    clock: Clock,
}

/// What a vault has under a name.
enum Current {
    Enabled(Version),
    /// The current version is disabled. Key Vault does not tell which one it is.
    Disabled,
    Absent,
}

impl Publisher {
    pub(super) const fn new(vault: KeyVault, owner: String, clock: Clock) -> Self {
        Self {
            vault,
            owner,
            clock,
        }
    }

    /// The reason for a failed call, with the role that it needs.
    fn lacking(&self, unread: Unread) -> Unread {
        self.vault.lacking(unread, "Key Vault Secrets Officer")
    }

    fn unread(&self, problem: Problem) -> Unread {
        match problem {
            Problem::Unread(unread) => self.lacking(unread),
            problem @ (Problem::NotFound | Problem::Disabled | Problem::Conflict(_)) => {
                Fault::answer(problem).unread()
            }
        }
    }

    /// The failure of a write.
    fn refused(&self, failure: Failure<Fault>) -> WriteFailure {
        failure.of_write(|fault| match fault.problem {
            Problem::NotFound | Problem::Disabled => WriteFailure::raced(),
            Problem::Conflict(code) => WriteFailure::Raced(format!(
                "a secret of this name is deleted, or is being deleted or restored ({code})"
            )),
            Problem::Unread(unread) => self.lacking(unread).into(),
        })
    }

    async fn current(&self, name: &str, limiter: &RateLimiter) -> Result<Current, Unread> {
        match self.vault.client.secret(name, "", limiter).await {
            Ok(secret) => {
                let version = Version::of_secret(secret).ok_or_else(versions::unnamed)?;
                Ok(Current::Enabled(version))
            }
            Err(Problem::NotFound) => Ok(Current::Absent),
            Err(Problem::Disabled) => Ok(Current::Disabled),
            Err(problem) => Err(self.unread(problem)),
        }
    }

    /// Returns the current version, if it is the one that was seen when the write was planned.
    async fn as_planned(
        &self,
        name: &str,
        held: &Held,
        limiter: &RateLimiter,
    ) -> Result<Version, WriteFailure> {
        match self.current(name, limiter).await? {
            Current::Enabled(version) if Some(&version.id) == held.version.as_ref() => Ok(version),
            Current::Enabled(_) | Current::Disabled | Current::Absent => Err(WriteFailure::raced()),
        }
    }

    /// Lists secrets, or all versions of a secret. None if there is no such secret.
    async fn listed(&self, of: Listing<'_>, limiter: &RateLimiter) -> Result<Vec<Version>, Unread> {
        let (mut found, mut next) = (Vec::new(), None);
        for pages in 1.. {
            let page = match self.vault.client.page(of, next.as_ref(), limiter).await {
                Ok(page) => page,
                Err(Problem::NotFound) => break,
                Err(problem) => return Err(self.unread(problem)),
            };
            next = self.vault.client.next(&page)?;
            for entry in page.value {
                // An entry that is left out could be a version of somebody else.
                found.push(Version::listed(of, entry).ok_or_else(versions::unnamed)?);
            }
            if next.is_none() {
                break;
            }
            if pages >= MAX_PAGES || found.len() > MAX_NAMES {
                let detail = "the list is too long";
                return Err(Unread::secret(unread::UNREADABLE, detail));
            }
        }
        Ok(found)
    }

    async fn versions(&self, name: &str, limiter: &RateLimiter) -> Result<Vec<Version>, Unread> {
        self.listed(Listing::Versions(name), limiter).await
    }

    async fn described(&self, name: &str, limiter: &RateLimiter) -> Result<Held, Unread> {
        let (current, versions) = match self.current(name, limiter).await? {
            Current::Absent => return self.deleted(name, limiter).await,
            Current::Enabled(current) => (current, self.versions(name, limiter).await?),
            Current::Disabled => {
                let versions = self.versions(name, limiter).await?;
                let newest = versions.iter().max_by_key(|version| version.created);
                let newest = newest.cloned().ok_or_else(versions::unnamed)?;
                (newest, versions)
            }
        };
        Ok(Held {
            history: Some(history(&current.id, &versions, &self.owner)),
            version: Some(current.id.clone()),
            ..current.held(Presence::Present, &self.owner)
        })
    }

    /// Describes a name without a secret: it may be deleted, and its versions cannot be listed then.
    async fn deleted(&self, name: &str, limiter: &RateLimiter) -> Result<Held, Unread> {
        match self.vault.client.deleted(name, limiter).await {
            Ok((until, version)) => {
                let presence = Presence::Retired { until };
                let mut held = version.held(presence, &self.owner);
                held.history = Some(History::default());
                held.version = Some(version.id).filter(|id| !id.is_empty());
                Ok(held)
            }
            Err(Problem::NotFound) => Ok(Held::absent()),
            Err(problem) => Err(self.unread(problem)),
        }
    }

    /// The tags of a version with this owner, origin and mark. `before` are those that it has, or those of the replaced version.
    fn tags(
        &self,
        change: &Change<'_>,
        before: Option<&Tags>,
        mark: String,
    ) -> Result<Tags, WriteFailure> {
        let mut tags = before.unwrap_or(&change.creation.tags).clone();
        tags.remove(ORPHANED);
        tags.insert(OWNER.to_owned(), Owner::tag(&self.owner, change.item));
        tags.insert(MARK.to_owned(), mark);
        if !change.provenance.is_empty() {
            tags.insert(SOURCE.to_owned(), change.provenance.to_owned());
        }
        if tags.len() > MAX_TAGS {
            // The origin is only for people.
            tags.remove(SOURCE);
        }
        if tags.len() > MAX_TAGS {
            let detail = format!(
                "a secret can have {MAX_TAGS} tags, and eso-sync needs two of them. Remove tags"
            );
            return Err(Unread::secret(unread::UNSUPPORTED, detail).into());
        }
        Ok(tags)
    }

    /// Writes a version after the current one. None if there is no secret.
    async fn write(
        &self,
        change: &Change<'_>,
        current: Option<&Version>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let known = Known::of(change.held).ok_or_else(WriteFailure::raced)?;
        let (value, _) = change.value()?;
        let value = std::str::from_utf8(value.expose()).map_err(|_| {
            let detail = "Key Vault stores text: the value is not UTF-8";
            Unread::secret(unread::UNSUPPORTED, detail)
        })?;
        let before = current.map(|version| &version.tags);
        let mut tags = self.tags(change, before, String::new())?;
        if change.provenance.is_empty() {
            // It is that of the replaced value.
            tags.remove(SOURCE);
        }
        let new = || {
            // At each attempt, because an attempt may wait for a long time.
            let mark = bound(change.mark, self.clock.now());
            let mut tags = tags.clone();
            tags.insert(MARK.to_owned(), mark);
            NewVersion {
                value,
                content_type: current.and_then(|version| version.content_type.as_deref()),
                tags,
            }
        };
        match self.vault.client.set(change.name, new, limiter).await {
            Ok(Some(ours)) => {
                let versions = self.versions(change.name, limiter).await;
                let versions =
                    versions.map_err(|unread| WriteFailure::Unknown(unchecked(unread)))?;
                if known.others(&versions).any(|version| version.id != ours) {
                    return Err(WriteFailure::raced());
                }
                Ok(Wrote::unproven(ours))
            }
            Ok(None) => {
                self.confirm(change, &known, versions::unnamed(), limiter)
                    .await
            }
            Err(Failure::Unknown(unread)) => self.confirm(change, &known, unread, limiter).await,
            Err(failure) => Err(self.refused(failure)),
        }
    }

    /// Finds out if a version was written although there is no answer.
    async fn confirm(
        &self,
        change: &Change<'_>,
        known: &Known<'_>,
        unread: Unread,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let versions = self.versions(change.name, limiter).await;
        let versions = versions.map_err(WriteFailure::Unknown)?;
        let others: Vec<&Version> = known.others(&versions).collect();
        match others[..] {
            [] => Err(WriteFailure::Failed(unread)),
            [one] if one.mark() == Some(change.mark) => Ok(Wrote::unproven(one.id.clone())),
            [..] => Err(WriteFailure::raced()),
        }
    }

    /// Waits until a secret that is being restored is there. Key Vault answers before it is.
    async fn restored(&self, name: &str, limiter: &RateLimiter) -> Result<(), WriteFailure> {
        let backoff = limiter.backoff();
        let mut pause = backoff.first.max(Duration::from_millis(1));
        for look in 1..=LOOKS {
            match self.current(name, limiter).await {
                Ok(Current::Enabled(_) | Current::Disabled) => return Ok(()),
                Ok(Current::Absent) if look == LOOKS => {}
                Ok(Current::Absent) => tokio::time::sleep(pause).await,
                Err(unread) => return Err(WriteFailure::Unknown(unread)),
            }
            pause = (pause * 2).min(backoff.longest);
        }
        let detail = "Key Vault has not restored the secret yet. The next run continues";
        Err(Unread::secret(unread::UNAVAILABLE, detail).into())
    }

    async fn recover(&self, name: &str, limiter: &RateLimiter) -> Result<(), WriteFailure> {
        match self.vault.client.recover(name, limiter).await {
            // After such an error, an earlier attempt or somebody else has started it, or it is done.
            Ok(())
            | Err(Failure::Answer(Fault {
                problem: Problem::Conflict(_) | Problem::NotFound,
                ..
            })) => self.restored(name, limiter).await,
            Err(Failure::Unknown(unread)) => {
                let restored = self.restored(name, limiter).await;
                restored.map_err(|_| WriteFailure::Unknown(unread))
            }
            Err(failure) => Err(self.refused(failure)),
        }
    }
}

/// The versions that were known when a write was planned.
struct Known<'a>(BTreeSet<&'a str>);

impl<'a> Known<'a> {
    /// None if the secret was only listed.
    fn of(held: &'a Held) -> Option<Self> {
        let versions = held.history.as_ref()?.versions.iter();
        let versions = versions.map(|version| version.id.as_str());
        Some(Self(versions.chain(held.version.as_deref()).collect()))
    }

    /// The versions that were written since then.
    fn others<'v>(&self, versions: &'v [Version]) -> impl Iterator<Item = &'v Version> {
        let versions = versions.iter();
        versions.filter(|version| !self.0.contains(version.id.as_str()))
    }
}

/// A failed check after a write that was done.
fn unchecked(mut unread: Unread) -> Unread {
    let detail = &unread.why.detail;
    unread.why.detail = format!(
        "the value was written, but not checked for a write of somebody else at the same time: {detail}"
    );
    unread
}

fn canonical(name: &str) -> String {
    ProviderKind::AzureKeyVault.canonical(name)
}

#[async_trait]
impl Holder for Publisher {
    /// Lists the whole vault, because there is no filter. Secrets of others are included if they are wanted.
    async fn list(
        &self,
        scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let wanted: BTreeSet<String> = scope.names.iter().map(|name| canonical(name)).collect();
        let listed = self.listed(Listing::Secrets, limiter).await?;
        let held = listed.into_iter().filter_map(|secret| {
            // The list names the secrets, not their versions.
            let name = canonical(&secret.id);
            let held = secret.held(Presence::Present, &self.owner);
            let is_asked = wanted.contains(&name) || matches!(held.owner, Owner::Ours { .. });
            is_asked.then_some((name, held))
        });
        Ok(held.collect())
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
        holder::compare(&self.vault, asked, key, limiter).await
    }
}

#[async_trait]
impl Writer for Publisher {
    async fn create(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        match self.current(change.name, limiter).await? {
            Current::Absent => self.write(change, None, limiter).await,
            Current::Enabled(_) | Current::Disabled => Err(WriteFailure::raced()),
        }
    }

    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let current = self.as_planned(change.name, change.held, limiter).await?;
        self.write(change, Some(&current), limiter).await
    }

    async fn restore(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        self.recover(change.name, limiter).await?;
        let held = self.described(change.name, limiter).await;
        let held = held.map_err(WriteFailure::Unknown)?;
        let planned = &change.held.version;
        let is_other = planned.is_some() && *planned != held.version;
        if is_other || held.refusal.is_some() {
            return Err(WriteFailure::raced());
        }
        let change = Change {
            held: &held,
            ..*change
        };
        if held.mark == Some(change.mark) {
            return self.adopt(&change, limiter).await;
        }
        self.update(&change, limiter).await
    }

    async fn adopt(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let current = self.as_planned(change.name, change.held, limiter).await?;
        let mark = match (current.tags.get(MARK), current.created) {
            (Some(tag), _) if current.mark() == Some(change.mark) => tag.clone(),
            (_, Some(created)) => bound(change.mark, created),
            (_, None) => return Err(versions::unnamed().into()),
        };
        let tags = self.tags(change, Some(&current.tags), mark)?;
        if tags != current.tags {
            let tagged = self
                .vault
                .client
                .tag(change.name, &current.id, &tags, limiter);
            tagged.await.map_err(|failure| self.refused(failure))?;
        }
        Ok(Wrote::unproven(current.id))
    }

    /// The vault decides for how many days the secret can be restored.
    async fn retire(
        &self,
        name: &str,
        held: &Held,
        _days: u16,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let current = match self.current(name, limiter).await? {
            Current::Absent => return Ok(()),
            Current::Disabled => return Err(WriteFailure::raced()),
            Current::Enabled(current) => current,
        };
        let now = current.held(Presence::Present, &self.owner);
        if Some(&current.id) != held.version.as_ref() || now.owner != held.owner {
            return Err(WriteFailure::raced());
        }
        match self.vault.client.delete(name, limiter).await {
            Ok(Some(deleted)) if deleted != current.id => {
                // Somebody else wrote a version in between, and loses it otherwise.
                self.recover(name, limiter).await?;
                Err(WriteFailure::raced())
            }
            // If it is not found, an earlier attempt deleted it.
            Ok(_)
            | Err(Failure::Answer(Fault {
                problem: Problem::NotFound,
                ..
            })) => Ok(()),
            Err(Failure::Unknown(unread)) => match self.described(name, limiter).await {
                Ok(Held {
                    presence: Presence::Retired { .. } | Presence::Absent,
                    ..
                }) => Ok(()),
                Ok(_) => Err(WriteFailure::Failed(unread)),
                Err(_) => Err(WriteFailure::Unknown(unread)),
            },
            Err(failure) => Err(self.refused(failure)),
        }
    }
}
