//! Writes to Secret Manager.
//!
//! | call | when | permission |
//! |---|---|---|
//! | `ListSecrets` | 25,000 secrets per call | `secretmanager.secrets.list` |
//! | `AccessSecretVersion` | to compare, before an update, and to prove | `secretmanager.versions.access` |
//! | `GetSecret`, `ListSecretVersions` | before a write | `secretmanager.secrets.get`, `secretmanager.versions.list` |
//! | `CreateSecret`, `AddSecretVersion` | `create` | `secretmanager.secrets.create`, `secretmanager.versions.add` |
//! | `AddSecretVersion` | `update` | `secretmanager.versions.add` |
//! | `UpdateSecret` | the owner, the origin and the mark, after a version | `secretmanager.secrets.update` |
//! | `DeleteSecret` | `retire`. Final | `secretmanager.secrets.delete` |
//! | `DisableSecretVersion`, `DestroySecretVersion` | old versions | `secretmanager.versions.disable`, `secretmanager.versions.destroy` |
//!
//! A new secret first gets its owner, so that a run that is killed leaves a secret without a version, which the next run completes.
//!
//! Adding a version has neither a request ID nor a compare-and-swap. Versions count by one, so the number in the answer must follow
//! the one that was seen. After a lost answer the versions are listed, which is strongly consistent, before anything else is written.
//! An update first reads the newest version by its number, because `latest` may be some minutes old: a value that is there already
//! is not written again. Annotations, the state of a version and deletions are guarded by the etag.

mod recorded;
mod state;

use std::collections::BTreeMap;

use async_trait::async_trait;
use eso_model::expected::Raw;
use google_cloud_gax::error::rpc::Code;
use google_cloud_secretmanager_v1::{
    client::SecretManagerService,
    model::{
        CustomerManagedEncryption, Replication, Secret, SecretPayload, UpdateSecretRequest,
        replication::{Automatic, UserManaged, user_managed::Replica},
    },
};
use jiff::Timestamp;
use publish::{Bound, Compared, Held, Owner, VersionState, Wrote};
use secret::{RunKey, Value};

use self::{
    recorded::{Annotations, Recorded},
    state::{Numbered, described, is_named, listed, newest, number},
};
use super::{
    error::{GcpError, Kind},
    secrets::{Secrets, is_id},
};
use crate::{
    Answered, RateLimiter, Unread,
    engine::{self, Request},
    holder::{
        self, Ask, Change, EARLIER, Holder, MARK, ORPHANED, OWNER, SOURCE, Scope, WriteFailure,
        Writer, unknown,
    },
    unread,
};

/// The largest page of a list.
const PAGE: i32 = 25_000;

type Failure = engine::Failure<GcpError>;

/// A Secret Manager connection that may write, for one publisher.
pub(super) struct Publisher {
    reader: Secrets,
    owner: String,
}

/// True if the provider may have done what was asked, or if it says that the secret is not as it was.
fn may_be_done(failure: &Failure) -> bool {
    match failure {
        // Also FAILED_PRECONDITION, for an etag that is out of date.
        Failure::Answer(error) => error.kind == Kind::Other,
        Failure::Unread(_) => false,
        Failure::Unknown(_) => true,
    }
}

fn is_code(failure: &Failure, code: Code) -> bool {
    matches!(failure, Failure::Answer(error) if error.code == code.name())
}

fn is_not_found(failure: &Failure) -> bool {
    matches!(failure, Failure::Answer(error) if error.kind == Kind::NotFound)
}

fn refused(failure: Failure, request: &Request<'_>) -> WriteFailure {
    failure.of_write(|error| error.unread(request).into())
}

/// The failure of a call that may be done: whoever made it must look. Fails with a failure after which nothing was done.
fn doubtful(failure: Failure, request: &Request<'_>) -> Result<WriteFailure, WriteFailure> {
    let may_be_done = may_be_done(&failure);
    let failure = refused(failure, request);
    if may_be_done {
        Ok(failure)
    } else {
        Err(failure)
    }
}

/// The number of the version that was seen. Zero without one.
fn seen(held: &Held) -> Result<u64, WriteFailure> {
    match &held.version {
        None => Ok(0),
        Some(version) => version.parse().map_err(|_| WriteFailure::raced()),
    }
}

/// The call that brings a version closer to its end.
const fn removal(version: &Numbered) -> &'static str {
    match version.state {
        VersionState::Enabled => "DisableSecretVersion",
        VersionState::Disabled | VersionState::Destroyed => "DestroySecretVersion",
    }
}

impl Publisher {
    pub(super) const fn new(reader: Secrets, owner: String) -> Self {
        Self { reader, owner }
    }

    fn unread(&self, failure: Failure, request: &Request<'_>) -> Unread {
        self.reader.engine.unread(failure, request)
    }

    /// The resource of a secret.
    fn resource(&self, name: &str) -> Result<String, Unread> {
        if is_id(name) {
            return Ok(self.reader.name(name));
        }
        let detail = "this is not the ID of a secret";
        Err(Unread::secret(unread::UNSUPPORTED, detail))
    }

    /// The secret without its versions. None if it does not exist.
    async fn secret(&self, name: &str, limiter: &RateLimiter) -> Result<Option<Secret>, Unread> {
        let resource = self.resource(name)?;
        let request = Request::read("GetSecret", Some(&resource)).listing();
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: SecretManagerService| {
                let call = client.get_secret().set_name(&resource);
                async move { call.send().await.map_err(|error| GcpError::of(&error)) }
            })
            .await;
        match answer {
            Ok(secret) => Ok(Some(secret)),
            Err(failure) if is_not_found(&failure) => Ok(None),
            Err(failure) => Err(self.unread(failure, &request)),
        }
    }

    /// All versions of a secret, in any order.
    async fn versions(&self, name: &str, limiter: &RateLimiter) -> Result<Vec<Numbered>, Unread> {
        let resource = self.resource(name)?;
        let request = Request::read("ListSecretVersions", Some(&resource)).listing();
        let (mut versions, mut next) = (Vec::new(), String::new());
        loop {
            let page = self
                .reader
                .engine
                .call(&request, limiter, |client: SecretManagerService| {
                    let call = client
                        .list_secret_versions()
                        .set_parent(&resource)
                        .set_page_size(PAGE)
                        .set_page_token(next.clone());
                    async move { call.send().await.map_err(|error| GcpError::of(&error)) }
                })
                .await
                .map_err(|failure| self.unread(failure, &request))?;
            for version in page.versions {
                versions.push(Numbered::of(version)?);
            }
            next = page.next_page_token;
            if next.is_empty() {
                return Ok(versions);
            }
        }
    }

    async fn described(&self, name: &str, limiter: &RateLimiter) -> Result<Held, Unread> {
        let Some(secret) = self.secret(name, limiter).await? else {
            return Ok(Held::absent());
        };
        let versions = self.versions(name, limiter).await?;
        Ok(described(&secret, &versions, &self.owner))
    }

    /// True if this version has this value. Unlike a read of `latest`, this is strongly consistent.
    async fn has(
        &self,
        name: &str,
        version: u64,
        value: &Value,
        limiter: &RateLimiter,
    ) -> Result<bool, Unread> {
        let answer = self.reader.value(name, &version.to_string(), limiter).await;
        match answer {
            Answered::One(Raw::Bytes(held), _) => Ok(held.expose() == value.expose()),
            Answered::Unread(unread) => Err(unread),
            Answered::One(..) | Answered::NotFound | Answered::Fails(_) | Answered::Many(_) => {
                Ok(false)
            }
        }
    }

    /// Creates a secret without a version.
    async fn created(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Secret, WriteFailure> {
        let resource = self.resource(change.name)?;
        let parent = self.reader.parent();
        let secret = self.new_secret(change);
        let request = Request::write("CreateSecret", &resource);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: SecretManagerService| {
                let call = client
                    .create_secret()
                    .set_parent(&parent)
                    .set_secret_id(change.name)
                    .set_secret(secret.clone());
                async move { call.send().await.map_err(|error| GcpError::of(&error)) }
            })
            .await;
        let failure = match answer {
            Ok(created) => return Ok(created),
            Err(failure) if is_code(&failure, Code::AlreadyExists) => {
                return Err(WriteFailure::raced());
            }
            Err(failure) => failure,
        };
        // No value was written.
        let failure = doubtful(failure, &request)?.or_failed();
        let Some(now) = self.secret(change.name, limiter).await? else {
            return Err(failure);
        };
        let versions = self.versions(change.name, limiter).await?;
        if now.annotations == secret.annotations && versions.is_empty() {
            Ok(now)
        } else {
            Err(WriteFailure::raced())
        }
    }

    fn new_secret(&self, change: &Change<'_>) -> Secret {
        let creation = change.creation;
        let key = creation
            .kms_key
            .as_ref()
            .map(|key| CustomerManagedEncryption::new().set_kms_key_name(key));
        let owner = Owner::tag(&self.owner, change.item);
        let secret = Secret::new()
            .set_labels(&creation.tags)
            .set_annotations([(OWNER, owner)]);
        if !self.reader.settings.location.is_empty() {
            return secret.set_or_clear_customer_managed_encryption(key);
        }
        let replication = Replication::new();
        secret.set_replication(if creation.replication.is_empty() {
            let automatic = Automatic::new().set_or_clear_customer_managed_encryption(key);
            replication.set_automatic(automatic)
        } else {
            let replicas = creation.replication.iter().map(|location| {
                Replica::new()
                    .set_location(location)
                    .set_or_clear_customer_managed_encryption(key.clone())
            });
            replication.set_user_managed(UserManaged::new().set_replicas(replicas))
        })
    }

    /// Adds a version after the one that was seen, and returns its number.
    async fn add(
        &self,
        name: &str,
        value: &Value,
        seen: u64,
        limiter: &RateLimiter,
    ) -> Result<u64, WriteFailure> {
        let resource = self.resource(name)?;
        let request = Request::write("AddSecretVersion", &resource);
        let sum = i64::from(crc32c::crc32c(value.expose()));
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: SecretManagerService| {
                let payload = SecretPayload::new()
                    .set_data(value.expose().to_vec())
                    .set_data_crc32c(sum);
                let call = client
                    .add_secret_version()
                    .set_parent(&resource)
                    .set_payload(payload);
                async move {
                    let added = call.send().await.map_err(|error| GcpError::of(&error))?;
                    Ok(added.name)
                }
            })
            .await;
        let failure = match answer.map(|name| number(&name)) {
            Ok(Ok(number)) if number == seen + 1 => return Ok(number),
            // Somebody else added a version in between, which ours replaced.
            Ok(Ok(_)) => return Err(WriteFailure::raced()),
            Ok(Err(unread)) => return self.confirm(name, value, seen, unread, limiter).await,
            Err(failure) => failure,
        };
        if may_be_done(&failure) {
            let unread = self.unread(failure, &request);
            return self.confirm(name, value, seen, unread, limiter).await;
        }
        Err(refused(failure, &request))
    }

    /// Finds out if a version was added although there is no answer.
    async fn confirm(
        &self,
        name: &str,
        value: &Value,
        seen: u64,
        failed: Unread,
        limiter: &RateLimiter,
    ) -> Result<u64, WriteFailure> {
        let versions = self.versions(name, limiter).await;
        let versions = versions.map_err(WriteFailure::Unknown)?;
        let now = newest(&versions).map_or(0, |newest| newest.number);
        if now == seen {
            return Err(WriteFailure::Failed(failed));
        }
        let is_ours = now == seen + 1 && {
            let has = self.has(name, now, value, limiter).await;
            has.map_err(WriteFailure::Unknown)?
        };
        if is_ours {
            Ok(now)
        } else {
            Err(WriteFailure::raced())
        }
    }

    /// Replaces the annotations, if the secret is as it was when `seen` was read.
    async fn annotate(
        &self,
        name: &str,
        seen: &Secret,
        annotations: &Annotations,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        if seen.annotations == *annotations {
            return Ok(());
        }
        let resource = self.resource(name)?;
        let request = Request::repeatable_write("UpdateSecret", &resource);
        let mut etag = &seen.etag;
        let mut again;
        loop {
            let Err(failure) = self
                .update_secret(&request, etag, annotations, limiter)
                .await
            else {
                return Ok(());
            };
            let failure = doubtful(failure, &request)?;
            // An earlier attempt may have written them, or somebody else changed the secret.
            let now = self.secret(name, limiter).await;
            let Some(now) = now.map_err(WriteFailure::Unknown)? else {
                return Err(WriteFailure::raced());
            };
            if now.annotations == *annotations {
                return Ok(());
            } else if now.etag == *etag {
                return Err(failure.or_failed());
            } else if now.annotations != seen.annotations || *etag != seen.etag {
                return Err(WriteFailure::raced());
            }
            // Something else changed: once more, and only once.
            again = now.etag;
            etag = &again;
        }
    }

    async fn update_secret(
        &self,
        request: &Request<'_>,
        etag: &str,
        annotations: &Annotations,
        limiter: &RateLimiter,
    ) -> Result<(), Failure> {
        let resource = request.key.unwrap_or_default();
        self.reader
            .engine
            .call(request, limiter, |client: SecretManagerService| {
                let secret = Secret::new()
                    .set_name(resource)
                    .set_etag(etag)
                    .set_annotations(annotations);
                let mask = UpdateSecretRequest::new().update_mask.unwrap_or_default();
                let call = client
                    .update_secret()
                    .set_secret(secret)
                    .set_update_mask(mask.set_paths(["annotations"]));
                async move {
                    let updated = call.send().await;
                    updated.map(drop).map_err(|error| GcpError::of(&error))
                }
            })
            .await
    }

    /// Records the owner and the mark of a version; for a version that was written now, also its origin.
    async fn record(
        &self,
        change: &Change<'_>,
        seen: &Secret,
        (version, is_new): (u64, bool),
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let bound = Bound {
            mark: change.mark,
            version: version.to_string(),
        };
        let mut annotations = seen.annotations.clone();
        match Recorded(&seen.annotations).earlier_with_last(&bound) {
            Some(earlier) => annotations.insert(EARLIER.to_owned(), earlier),
            None => annotations.remove(EARLIER),
        };
        annotations.insert(MARK.to_owned(), bound.to_string());
        let owner = Owner::tag(&self.owner, change.item);
        annotations.insert(OWNER.to_owned(), owner);
        if is_new && !change.provenance.is_empty() {
            annotations.insert(SOURCE.to_owned(), change.provenance.to_owned());
        }
        annotations.remove(ORPHANED);
        self.annotate(change.name, seen, &annotations, limiter)
            .await
    }

    /// Adds a version after the one that was seen, records it, and reads it back.
    async fn publish(
        &self,
        change: &Change<'_>,
        secret: &Secret,
        base: u64,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let (value, _) = change.value()?;
        let version = self.add(change.name, value, base, limiter).await?;
        let mut wrote = Wrote::unproven(version.to_string());
        let done = self.record(change, secret, (version, true), limiter).await;
        done.map_err(|failure| failure.after(wrote.clone()))?;
        // If this read fails, the value is read once more with all others.
        let proof = self.has(change.name, version, value, limiter).await;
        wrote.proven = proof == Ok(true);
        Ok(wrote)
    }

    /// The secret, if it still belongs to whom it belonged to when the write was planned.
    async fn unchanged(
        &self,
        name: &str,
        held: &Held,
        limiter: &RateLimiter,
    ) -> Result<Secret, WriteFailure> {
        let secret = self.secret(name, limiter).await?;
        let secret = secret.ok_or_else(WriteFailure::raced)?;
        let now = listed(&secret, &self.owner);
        if now.owner == held.owner && now.orphaned_since == held.orphaned_since {
            Ok(secret)
        } else {
            Err(WriteFailure::raced())
        }
    }

    /// Deletes a secret, if it is as it was when it was read.
    async fn delete(
        &self,
        name: &str,
        secret: &Secret,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let resource = self.resource(name)?;
        let request = Request::repeatable_write("DeleteSecret", &resource);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: SecretManagerService| {
                let call = client
                    .delete_secret()
                    .set_name(&resource)
                    .set_etag(&secret.etag);
                async move { call.send().await.map_err(|error| GcpError::of(&error)) }
            })
            .await;
        let failure = match answer {
            Ok(()) => return Ok(()),
            // An earlier attempt deleted it.
            Err(failure) if is_not_found(&failure) => return Ok(()),
            Err(failure) => failure,
        };
        let failure = doubtful(failure, &request)?;
        let now = self.secret(name, limiter).await;
        match now.map_err(WriteFailure::Unknown)? {
            None => Ok(()),
            Some(now) if now.etag == secret.etag => Err(failure.or_failed()),
            Some(_) => Err(WriteFailure::raced()),
        }
    }

    /// Disables an enabled version, and destroys a disabled one.
    async fn remove(
        &self,
        secret: &str,
        version: &Numbered,
        limiter: &RateLimiter,
    ) -> Result<(), Failure> {
        let resource = format!("{secret}/versions/{}", version.number);
        let request = Request::repeatable_write(removal(version), &resource);
        let disables = version.state == VersionState::Enabled;
        self.reader
            .engine
            .call(&request, limiter, |client: SecretManagerService| {
                let disable = client
                    .disable_secret_version()
                    .set_name(&resource)
                    .set_etag(&version.etag);
                let destroy = client
                    .destroy_secret_version()
                    .set_name(&resource)
                    .set_etag(&version.etag);
                async move {
                    let done = if disables {
                        disable.send().await
                    } else {
                        destroy.send().await
                    };
                    done.map(drop).map_err(|error| GcpError::of(&error))
                }
            })
            .await
    }
}

#[async_trait]
impl Holder for Publisher {
    /// Lists the whole project: there is no filter by annotation. The answer says nothing about versions, so every value is compared.
    async fn list(
        &self,
        scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let parent = self.reader.parent();
        let request = Request::read("ListSecrets", Some(&parent)).listing();
        let (mut found, mut next) = (BTreeMap::new(), String::new());
        loop {
            let page = self
                .reader
                .engine
                .call(&request, limiter, |client: SecretManagerService| {
                    let call = client
                        .list_secrets()
                        .set_parent(&parent)
                        .set_page_size(PAGE)
                        .set_page_token(next.clone());
                    async move { call.send().await.map_err(|error| GcpError::of(&error)) }
                })
                .await
                .map_err(|failure| self.unread(failure, &request))?;
            for secret in page.secrets {
                let Some((_, id)) = secret.name.split_once("/secrets/") else {
                    continue;
                };
                let held = listed(&secret, &self.owner);
                if matches!(held.owner, Owner::Ours { .. }) || scope.names.contains(id) {
                    found.insert(id.to_owned(), held);
                }
            }
            next = page.next_page_token;
            if next.is_empty() {
                return Ok(found);
            }
        }
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
        change.value()?;
        let secret = self.created(change, limiter).await?;
        self.publish(change, &secret, 0, limiter).await
    }

    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let (value, _) = change.value()?;
        let base = seen(change.held)?;
        let secret = self.unchanged(change.name, change.held, limiter).await?;
        let versions = self.versions(change.name, limiter).await?;
        let newest = newest(&versions);
        if newest.map_or(0, |newest| newest.number) != base {
            return Err(WriteFailure::raced());
        }
        match newest.map(|newest| newest.state) {
            None | Some(VersionState::Destroyed) => {}
            Some(VersionState::Disabled) => return Err(WriteFailure::raced()),
            Some(VersionState::Enabled) => {
                // The comparison read `latest`, which may be some minutes old.
                if self.has(change.name, base, value, limiter).await? {
                    let wrote = Wrote {
                        version: Some(base.to_string()),
                        proven: true,
                    };
                    let done = self.record(change, &secret, (base, true), limiter).await;
                    done.map_err(|failure| failure.after(wrote.clone()))?;
                    return Ok(wrote);
                }
            }
        }
        self.publish(change, &secret, base, limiter).await
    }

    async fn restore(
        &self,
        _change: &Change<'_>,
        _limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let detail = "a deleted secret cannot be restored";
        Err(Unread::secret(unread::UNSUPPORTED, detail).into())
    }

    async fn adopt(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let version = seen(change.held)?;
        let secret = self.unchanged(change.name, change.held, limiter).await?;
        // Bound to this version, so it says nothing about a later one.
        self.record(change, &secret, (version, false), limiter)
            .await?;
        Ok(Wrote {
            version: change.held.version.clone(),
            proven: false,
        })
    }

    async fn announce(
        &self,
        name: &str,
        held: &Held,
        since: Timestamp,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let secret = self.unchanged(name, held, limiter).await?;
        let mut annotations = secret.annotations.clone();
        annotations.insert(ORPHANED.to_owned(), since.to_string());
        self.annotate(name, &secret, &annotations, limiter).await
    }

    async fn retire(
        &self,
        name: &str,
        held: &Held,
        _days: u16,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let Some(secret) = self.secret(name, limiter).await? else {
            return Ok(());
        };
        // A new version does not change the etag of its secret, so the versions are looked at last.
        let versions = self.versions(name, limiter).await?;
        let now = described(&secret, &versions, &self.owner);
        let is_same = now.version == held.version
            && now.presence == held.presence
            && now.owner == held.owner
            && now.orphaned_since == held.orphaned_since;
        if !is_same {
            return Err(WriteFailure::raced());
        }
        self.delete(name, &secret, limiter).await
    }

    /// One run disables a version, so that whoever still needs it notices while it can be enabled again. A later run destroys it.
    async fn destroy_version(
        &self,
        name: &str,
        version: &str,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let wanted: u64 = version.parse().map_err(|_| WriteFailure::raced())?;
        let look = async || -> Result<Option<Numbered>, WriteFailure> {
            let secret = self.secret(name, limiter).await?;
            let secret = secret.ok_or_else(WriteFailure::raced)?;
            let versions = self.versions(name, limiter).await?;
            let is_current = newest(&versions).is_none_or(|newest| newest.number == wanted);
            if is_current || is_named(&secret, wanted) {
                return Err(WriteFailure::raced());
            }
            let mut versions = versions.into_iter();
            Ok(versions.find(|version| {
                version.number == wanted && version.state != VersionState::Destroyed
            }))
        };
        let Some(before) = look().await? else {
            return Ok(());
        };
        let resource = self.resource(name)?;
        let Err(failure) = self.remove(&resource, &before, limiter).await else {
            return Ok(());
        };
        let request = Request::repeatable_write(removal(&before), &resource);
        let failure = doubtful(failure, &request)?;
        match look().await? {
            None => Ok(()),
            Some(now) if now.etag == before.etag => Err(failure.or_failed()),
            Some(now) if now.state != before.state => Ok(()),
            Some(_) => Err(WriteFailure::raced()),
        }
    }
}
