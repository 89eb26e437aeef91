//! Writes to Secrets Manager.
//!
//! | call | when | permission |
//! |---|---|---|
//! | `ListSecrets` | 100 secrets of this publisher per call | `secretsmanager:ListSecrets` on `*` |
//! | `DescribeSecret`, `ListSecretVersionIds` | before a write | `secretsmanager:DescribeSecret`, `secretsmanager:ListSecretVersionIds` |
//! | `BatchGetSecretValue`, `GetSecretValue` | to compare, and to prove | as for reading |
//! | `CreateSecret` | `create` | `secretsmanager:CreateSecret`, `secretsmanager:TagResource` |
//! | `PutSecretValue`, `UpdateSecretVersionStage` | `update` | the same names |
//! | `TagResource`, `UntagResource` | the owner and the origin | the same names |
//! | `DeleteSecret`, `RestoreSecret` | `retire`, `restore` | the same names |
//!
//! The version ID contains the mark, so value and mark are written with one call. A new version gets the label `eso-sync` first. Then
//! `AWSCURRENT` moves from the version that was seen to the new one, which fails if it is elsewhere. A repetition of either call
//! changes nothing.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use aws_sdk_secretsmanager::{
    Client,
    operation::describe_secret::DescribeSecretOutput,
    primitives::Blob,
    types::{Filter, FilterNameStringType, SecretVersionsListEntry, Tag},
};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use publish::{
    Bound, Compared, Held, History, Owner, Presence, Refusal, Version, VersionId, VersionState,
    Wrote,
};
use secret::RunKey;

use super::{CURRENT, SecretsManager};
use crate::{
    RateLimiter, Unread,
    aws::error::{AwsError, Kind},
    engine::{self, Request},
    holder::{
        self, Ask, Change, Holder, MARK, ORPHANED, OWNER, SOURCE, Scope, WriteFailure, Writer,
        unknown,
    },
};

/// The label of the last version that eso-sync wrote.
const OURS: &str = "eso-sync";
const PREVIOUS: &str = "AWSPREVIOUS";

/// The recovery windows that AWS accepts, in days.
const WINDOW: std::ops::RangeInclusive<u16> = 7..=30;

type Failure = engine::Failure<AwsError>;

/// A Secrets Manager connection that may write, for one publisher.
pub(in crate::aws) struct Publisher {
    reader: SecretsManager,
    owner: String,
}

/// What a list and a description tell.
struct Facts<'a> {
    tags: &'a [Tag],
    stages: Option<&'a HashMap<String, Vec<String>>>,
    is_rotated: bool,
    service: Option<&'a str>,
    primary_region: Option<&'a str>,
    deleted: Option<&'a DateTime>,
}

impl<'a> Facts<'a> {
    fn described(output: &'a DescribeSecretOutput) -> Self {
        Self {
            tags: output.tags(),
            stages: output.version_ids_to_stages(),
            is_rotated: output.rotation_enabled() == Some(true),
            service: output.owning_service(),
            primary_region: output.primary_region(),
            deleted: output.deleted_date(),
        }
    }

    /// The ID of the current version.
    fn current(&self) -> Option<&'a str> {
        let stages = self.stages?.iter();
        stages
            .filter(|(_, labels)| labels.iter().any(|label| label == CURRENT))
            .map(|(id, _)| id.as_str())
            .next()
    }

    fn tag(&self, key: &str) -> Option<&'a str> {
        let tag = self.tags.iter().find(|tag| tag.key() == Some(key));
        tag.and_then(Tag::value)
    }

    fn held(&self, owner: &str, region: &str) -> Held {
        let current = self.current();
        let presence = match (self.deleted, current) {
            (Some(until), _) => Presence::Retired {
                until: timestamp(until),
            },
            (None, Some(_)) => Presence::Present,
            (None, None) => Presence::Empty,
        };
        let of_tag = || self.tag(MARK)?.parse::<Bound>().ok()?.of_version(current?);
        let of_id = current.and_then(|id| id.parse::<VersionId>().ok());
        let refusal = if self.is_rotated {
            Some(Refusal::Rotated)
        } else if self.service.is_some_and(|service| !service.is_empty()) {
            Some(Refusal::Managed)
        } else {
            let foreign = self.primary_region.filter(|primary| *primary != region);
            foreign.map(|_| Refusal::Replica)
        };
        Held {
            version: current.map(str::to_owned),
            // A later tag replaces the mark in the ID, which may be of another key.
            mark: of_tag().or(of_id.map(|id| id.mark)),
            owner: Owner::of(self.tag(OWNER), owner),
            refusal,
            provenance: self.tag(SOURCE).map(str::to_owned),
            orphaned_since: self.tag(ORPHANED).and_then(|since| since.parse().ok()),
            ..Held::new(presence)
        }
    }
}

fn timestamp(date: &DateTime) -> Option<Timestamp> {
    Timestamp::from_second(date.secs()).ok()
}

/// The history, from all versions.
fn history(current: Option<&str>, versions: &[SecretVersionsListEntry]) -> History {
    let created = |entry: &SecretVersionsListEntry| entry.created_date().and_then(timestamp);
    let is = |entry: &&SecretVersionsListEntry, label: &str| {
        entry.version_stages().iter().any(|it| it == label)
    };
    let mut ours: Vec<(VersionId, &SecretVersionsListEntry)> = versions
        .iter()
        .filter_map(|entry| Some((entry.version_id()?.parse().ok()?, entry)))
        .collect();
    // The newest first. AWS keeps whole seconds, so labels decide between versions of the same one.
    ours.sort_by_key(|(_, entry)| {
        std::cmp::Reverse((created(entry), is(entry, OURS) || is(entry, CURRENT)))
    });
    let is_current = |entry: &SecretVersionsListEntry| entry.version_id() == current;
    let of_current = ours.iter().find(|(_, entry)| is_current(entry));
    // A version that never was current, because the run was killed before the label moved.
    let is_pending = |entry: &SecretVersionsListEntry| {
        is(&entry, OURS) && !is_current(entry) && !is(&entry, PREVIOUS) && of_current.is_some()
    };
    let went_back = of_current.and_then(|(_, now)| {
        ours.iter()
            .find(|(_, entry)| is(entry, PREVIOUS) && created(entry) > created(now))
    });
    let last = went_back.or(of_current).or(ours.first());
    let earlier = ours.iter().filter(|(_, entry)| {
        last.is_none_or(|(_, last)| last.version_id() != entry.version_id()) && !is_pending(entry)
    });
    History {
        earlier: earlier.map(|(id, _)| id.mark).collect(),
        went_back: went_back.is_some(),
        writes: ours
            .iter()
            .filter_map(|(_, entry)| created(entry))
            .collect(),
        versions: versions
            .iter()
            .filter(|entry| !is_current(entry))
            .filter_map(version)
            .collect(),
        last_read: None,
    }
}

fn version(entry: &SecretVersionsListEntry) -> Option<Version> {
    let id = entry.version_id()?;
    Some(Version {
        id: id.to_owned(),
        created: entry.created_date().and_then(timestamp),
        is_ours: id.parse::<VersionId>().is_ok(),
        state: VersionState::Enabled,
        is_named: !entry.version_stages().is_empty(),
    })
}

impl Publisher {
    pub(in crate::aws) const fn new(reader: SecretsManager, owner: String) -> Self {
        Self { reader, owner }
    }

    fn unread(&self, failure: Failure, request: &Request<'_>) -> Unread {
        self.reader.engine.unread(failure, request)
    }

    /// The failure of a write whose answer says that nothing was done.
    fn refused(&self, failure: Failure, request: &Request<'_>) -> WriteFailure {
        let needed = self.reader.engine.service().needed(request);
        failure.of_write(|error| error.unread(&needed).into())
    }

    fn held(&self, facts: &Facts<'_>) -> Held {
        facts.held(&self.owner, self.reader.engine.service().region())
    }

    async fn described(
        &self,
        name: &str,
        limiter: &RateLimiter,
    ) -> Result<Option<DescribeSecretOutput>, Unread> {
        let request = Request::read("DescribeSecret", Some(name));
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client.describe_secret().secret_id(name);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        match answer {
            Ok(output) => Ok(Some(output)),
            Err(Failure::Answer(error)) if error.code == "ResourceNotFoundException" => Ok(None),
            Err(failure) => Err(self.unread(failure, &request)),
        }
    }

    async fn versions(
        &self,
        name: &str,
        limiter: &RateLimiter,
    ) -> Result<Vec<SecretVersionsListEntry>, Unread> {
        let request = Request::read("ListSecretVersionIds", Some(name));
        let (mut versions, mut next) = (Vec::new(), None::<String>);
        loop {
            let page = self
                .reader
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .list_secret_version_ids()
                        .secret_id(name)
                        .include_deprecated(true)
                        .max_results(100)
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await
                .map_err(|failure| self.unread(failure, &request))?;
            versions.extend(page.versions.unwrap_or_default());
            // moto ends with an empty token.
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(versions);
            }
        }
    }

    async fn with_history(&self, name: &str, limiter: &RateLimiter) -> Result<Held, Unread> {
        let Some(output) = self.described(name, limiter).await? else {
            return Ok(Held::absent());
        };
        let facts = Facts::described(&output);
        let versions = self.versions(name, limiter).await?;
        Ok(Held {
            history: Some(History {
                last_read: output.last_accessed_date().and_then(timestamp),
                ..history(facts.current(), &versions)
            }),
            ..self.held(&facts)
        })
    }

    /// Finds out if this version became current although the call failed. `replaced` was current before.
    async fn confirm(
        &self,
        name: &str,
        replaced: Option<&str>,
        id: &str,
        failure: WriteFailure,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let output = match self.described(name, limiter).await {
            Ok(output) => output,
            Err(unread) => return Err(WriteFailure::Unknown(unread)),
        };
        let facts = output.as_ref().map(Facts::described);
        let now = facts.and_then(|facts| facts.current());
        if now == Some(id) {
            Ok(())
        } else if now == replaced {
            // It is as before.
            Err(failure.or_failed())
        } else {
            Err(WriteFailure::raced())
        }
    }

    /// Writes a version that is not current yet.
    async fn put(
        &self,
        change: &Change<'_>,
        id: &str,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let (value, _) = change.value()?;
        let request = Request::repeatable_write("PutSecretValue", change.name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let (text, bytes) = payload(value);
                let call = client
                    .put_secret_value()
                    .secret_id(change.name)
                    .client_request_token(id)
                    .version_stages(OURS)
                    .set_secret_string(text)
                    .set_secret_binary(bytes);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        match answer {
            Ok(_) => Ok(()),
            // Even if the version was written, it is not current.
            Err(failure) => Err(self.unread(failure, &request).into()),
        }
    }

    /// Makes a version current, if the replaced one still is.
    async fn move_current(
        &self,
        name: &str,
        replaced: Option<&str>,
        id: &str,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let request = Request::repeatable_write("UpdateSecretVersionStage", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .update_secret_version_stage()
                    .secret_id(name)
                    .version_stage(CURRENT)
                    .move_to_version_id(id)
                    .set_remove_from_version_id(replaced.map(str::to_owned));
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        let Err(failure) = answer else {
            return Ok(());
        };
        let may_be_done = is_invalid(&failure) || matches!(failure, Failure::Unknown(_));
        let refused = self.refused(failure, &request);
        if may_be_done {
            // An earlier attempt may have moved it, or somebody else.
            return self.confirm(name, replaced, id, refused, limiter).await;
        }
        Err(refused)
    }

    /// Writes the tags that differ from those that were seen.
    async fn tag(
        &self,
        change: &Change<'_>,
        mark: Option<&Bound>,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let mut tags = BTreeMap::new();
        if !matches!(&change.held.owner, Owner::Ours { item } if item == change.item) {
            tags.insert(OWNER, Owner::tag(&self.owner, change.item));
        }
        let known = change.held.provenance.as_deref().unwrap_or_default();
        if !change.provenance.is_empty() && change.provenance != known {
            tags.insert(SOURCE, change.provenance.to_owned());
        }
        if let Some(mark) = mark {
            tags.insert(MARK, mark.to_string());
        }
        self.set_tags(change.name, &tags, limiter).await?;
        if change.held.orphaned_since.is_some() {
            self.untag(change.name, limiter).await?;
        }
        Ok(())
    }

    async fn set_tags(
        &self,
        name: &str,
        tags: &BTreeMap<&str, String>,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        if tags.is_empty() {
            return Ok(());
        }
        let request = Request::repeatable_write("TagResource", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
                let call = client.tag_resource().secret_id(name).set_tags(Some(tags));
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        answer
            .map(|_| ())
            .map_err(|failure| self.refused(failure, &request))
    }

    async fn untag(&self, name: &str, limiter: &RateLimiter) -> Result<(), WriteFailure> {
        let request = Request::repeatable_write("UntagResource", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client.untag_resource().secret_id(name).tag_keys(ORPHANED);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        answer
            .map(|_| ())
            .map_err(|failure| self.refused(failure, &request))
    }

    async fn restored(&self, name: &str, limiter: &RateLimiter) -> Result<Held, WriteFailure> {
        let request = Request::repeatable_write("RestoreSecret", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client.restore_secret().secret_id(name);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        if let Err(failure) = answer {
            return Err(self.refused(failure, &request));
        }
        let held = self.with_history(name, limiter).await;
        held.map_err(WriteFailure::Unknown)
    }
}

fn is_invalid(failure: &Failure) -> bool {
    matches!(failure, Failure::Answer(error) if error.kind == Kind::Invalid)
}

/// True if a secret of this name exists, or existed and is scheduled for deletion.
fn exists(failure: &Failure) -> bool {
    matches!(failure, Failure::Answer(error) if error.code == "ResourceExistsException")
        || is_invalid(failure)
}

/// The value as text if it is UTF-8, otherwise as bytes.
fn payload(value: &secret::Value) -> (Option<String>, Option<Blob>) {
    let bytes = value.expose();
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(Blob::new(bytes))),
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

#[async_trait]
impl Holder for Publisher {
    async fn list(
        &self,
        _scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let filter = |key, value: String| Filter::builder().key(key).values(value).build();
        // Both match the start of a text.
        let filters = vec![
            filter(FilterNameStringType::TagKey, OWNER.to_owned()),
            filter(FilterNameStringType::TagValue, Owner::tag(&self.owner, "")),
        ];
        let request = Request::read("ListSecrets", None);
        let (mut held, mut next) = (BTreeMap::new(), None::<String>);
        loop {
            let page = self
                .reader
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .list_secrets()
                        .set_filters(Some(filters.clone()))
                        .include_planned_deletion(true)
                        .max_results(100)
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await
                .map_err(|failure| self.unread(failure, &request))?;
            for entry in page.secret_list.unwrap_or_default() {
                let facts = Facts {
                    tags: entry.tags(),
                    stages: entry.secret_versions_to_stages(),
                    is_rotated: entry.rotation_enabled() == Some(true),
                    service: entry.owning_service(),
                    primary_region: entry.primary_region(),
                    deleted: entry.deleted_date(),
                };
                let found = self.held(&facts);
                if let (Some(name), Owner::Ours { .. }) = (entry.name(), &found.owner) {
                    held.insert(name.to_owned(), found);
                }
            }
            // moto ends with an empty token.
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(held);
            }
        }
    }

    async fn describe(&self, name: &str, limiter: &RateLimiter) -> Held {
        let held = self.with_history(name, limiter).await;
        held.unwrap_or_else(unknown)
    }

    async fn compare(
        &self,
        asked: &[Ask<'_>],
        key: &RunKey,
        limiter: &RateLimiter,
    ) -> Vec<Compared> {
        holder::compare(&self.reader, asked, key, limiter).await
    }
}

#[async_trait]
impl Writer for Publisher {
    async fn create(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let (value, _) = change.value()?;
        let id = change.marks.version_id(change.mark, None).to_string();
        let mut tags = change.creation.tags.clone();
        tags.insert(OWNER.to_owned(), Owner::tag(&self.owner, change.item));
        if !change.provenance.is_empty() {
            tags.insert(SOURCE.to_owned(), change.provenance.to_owned());
        }
        let request = Request::repeatable_write("CreateSecret", change.name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let (text, bytes) = payload(value);
                let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
                let call = client
                    .create_secret()
                    .name(change.name)
                    .client_request_token(&id)
                    .set_secret_string(text)
                    .set_secret_binary(bytes)
                    .set_kms_key_id(change.creation.kms_key.clone())
                    .set_tags(Some(tags));
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        if let Err(failure) = answer {
            let may_be_done = exists(&failure) || matches!(failure, Failure::Unknown(_));
            let refused = self.refused(failure, &request);
            if !may_be_done {
                return Err(refused);
            }
            // An earlier attempt may have created it, or somebody else.
            self.confirm(change.name, None, &id, refused, limiter)
                .await?;
        }
        Ok(Wrote::unproven(id))
    }

    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let base = change.held.version.as_deref();
        let id = change.marks.version_id(change.mark, base).to_string();
        self.put(change, &id, limiter).await?;
        self.move_current(change.name, base, &id, limiter).await?;
        let tagged = self.tag(change, None, limiter).await;
        tagged.map_err(|failure| failure.after(Wrote::unproven(id.clone())))?;
        Ok(Wrote::unproven(id))
    }

    async fn restore(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let held = self.restored(change.name, limiter).await?;
        let change = Change {
            held: &held,
            ..*change
        };
        match (&held.version, held.mark) {
            (Some(version), Some(mark)) if mark == change.mark => {
                self.tag(&change, None, limiter).await?;
                Ok(Wrote::unproven(version.clone()))
            }
            _ => self.update(&change, limiter).await,
        }
    }

    async fn adopt(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let version = change.held.version.clone().unwrap_or_default();
        // The tag is bound to this version, so it says nothing about a later one.
        let bound = (change.held.mark != Some(change.mark)).then(|| Bound {
            mark: change.mark,
            version: version.clone(),
        });
        self.tag(change, bound.as_ref(), limiter).await?;
        Ok(Wrote::unproven(version))
    }

    async fn retire(
        &self,
        name: &str,
        held: &Held,
        days: u16,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let now = self.with_history(name, limiter).await?;
        if matches!(now.presence, Presence::Absent | Presence::Retired { .. }) {
            return Ok(());
        }
        if now.version != held.version || now.owner != held.owner {
            return Err(WriteFailure::raced());
        }
        let days = days.clamp(*WINDOW.start(), *WINDOW.end());
        let request = Request::repeatable_write("DeleteSecret", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .delete_secret()
                    .secret_id(name)
                    .recovery_window_in_days(i64::from(days));
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        let Err(failure) = answer else {
            return Ok(());
        };
        // An earlier attempt may have deleted it.
        let now = self.with_history(name, limiter).await;
        match now.map(|now| now.presence) {
            Ok(Presence::Retired { .. } | Presence::Absent) => Ok(()),
            _ => Err(self.refused(failure, &request)),
        }
    }
}

#[cfg(test)]
mod tests;
