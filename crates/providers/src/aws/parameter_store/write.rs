//! Writes to Parameter Store.
//!
//! | call | when | permission |
//! |---|---|---|
//! | `DescribeParameters` | 50 parameters of this publisher per call; before a write | `ssm:DescribeParameters` on `*` |
//! | `GetParameterHistory` | before a write | `ssm:GetParameterHistory` |
//! | `ListTagsForResource` | before a write | `ssm:ListTagsForResource` |
//! | `GetParameters` | to compare, and to prove | as for reading |
//! | `PutParameter` | `create`, `update` | `ssm:PutParameter` |
//! | `AddTagsToResource`, `RemoveTagsFromResource` | the owner and the origin | the same names |
//! | `DeleteParameter` | `retire`. Final | `ssm:DeleteParameter` |
//!
//! The description contains the mark and the number of the version, and is set together with the value. There is no
//! compare-and-swap: the answer to a write has the number of its version, which must follow the one that was seen.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_ssm::{
    Client,
    types::{
        ParameterHistory, ParameterMetadata, ParameterStringFilter, ParameterTier, ParameterType,
        ResourceTypeForTagging, Tag,
    },
};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use publish::{
    Bound, Compared, Format, Held, History, Owner, Presence, Refusal, Version, VersionState, Wrote,
};
use secret::RunKey;

use super::ParameterStore;
use crate::{
    RateLimiter, Unread,
    aws::error::AwsError,
    engine::{self, Request},
    holder::{
        self, Ask, Change, Holder, MARK, ORPHANED, OWNER, SOURCE, Scope, Tier, WriteFailure,
        Writer, unknown,
    },
    unread,
};

type Failure = engine::Failure<AwsError>;

/// A Parameter Store connection that may write, for one publisher.
pub(in crate::aws) struct Publisher {
    reader: ParameterStore,
    owner: String,
}

fn timestamp(date: &DateTime) -> Option<Timestamp> {
    Timestamp::from_second(date.secs()).ok()
}

/// What a description and tags tell.
fn held(owner: &str, parameter: &ParameterMetadata, tags: &BTreeMap<String, String>) -> Held {
    let version = parameter.version().to_string();
    let text = |name: &str| tags.get(name).map(String::as_str);
    let of_tag = || text(MARK)?.parse::<Bound>().ok()?.of_version(&version);
    let of_description = || {
        let bound = Bound::of_description(parameter.description()?)?;
        bound.of_version(&version)
    };
    let (format, refusal) = match parameter.r#type() {
        Some(ParameterType::SecureString) => (Some(Format::Secret), None),
        Some(ParameterType::String) => (Some(Format::Plain), None),
        _ => (None, Some(Refusal::OtherType)),
    };
    Held {
        mark: of_tag().or_else(of_description),
        version: Some(version),
        owner: Owner::of(text(OWNER), owner),
        refusal,
        provenance: text(SOURCE).map(str::to_owned),
        orphaned_since: text(ORPHANED).and_then(|since| since.parse().ok()),
        format,
        ..Held::new(Presence::Present)
    }
}

/// The history, from all versions.
fn history(current: i64, versions: &[ParameterHistory]) -> History {
    let bound = |version: &ParameterHistory| {
        let bound = Bound::of_description(version.description()?)?;
        bound.of_version(&version.version().to_string())
    };
    let at = |version: &ParameterHistory| version.last_modified_date().and_then(timestamp);
    let mut ours: Vec<(i64, publish::Mark)> = versions
        .iter()
        .filter_map(|version| Some((version.version(), bound(version)?)))
        .collect();
    ours.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let written = versions.iter().filter(|version| bound(version).is_some());
    History {
        // Without the last one.
        earlier: ours.iter().skip(1).map(|(_, mark)| *mark).collect(),
        went_back: false,
        writes: written.filter_map(at).collect(),
        versions: versions
            .iter()
            .filter(|version| version.version() != current)
            .map(|version| Version {
                id: version.version().to_string(),
                created: at(version),
                is_ours: bound(version).is_some(),
                state: VersionState::Enabled,
                is_named: !version.labels().is_empty(),
            })
            .collect(),
        last_read: None,
    }
}

impl Publisher {
    pub(in crate::aws) const fn new(reader: ParameterStore, owner: String) -> Self {
        Self { reader, owner }
    }

    fn unread(&self, failure: Failure, request: &Request<'_>) -> Unread {
        self.reader.engine.unread(failure, request)
    }

    fn refused(&self, failure: Failure, request: &Request<'_>) -> WriteFailure {
        let needed = self.reader.engine.service().needed(request);
        failure.of_write(|error| error.unread(&needed).into())
    }

    /// The parameters that match a filter.
    async fn parameters(
        &self,
        filter: ParameterStringFilter,
        limiter: &RateLimiter,
    ) -> Result<Vec<ParameterMetadata>, Unread> {
        let request = Request::read("DescribeParameters", None);
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let page = self
                .reader
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .describe_parameters()
                        .parameter_filters(filter.clone())
                        .max_results(50)
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await
                .map_err(|failure| self.unread(failure, &request))?;
            found.extend(page.parameters.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    async fn tags(
        &self,
        name: &str,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, String>, Unread> {
        let request = Request::read("ListTagsForResource", Some(name));
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .list_tags_for_resource()
                    .resource_type(ResourceTypeForTagging::Parameter)
                    .resource_id(name);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await
            .map_err(|failure| self.unread(failure, &request))?;
        let tags = answer.tag_list.unwrap_or_default().into_iter();
        Ok(tags.map(|tag| (tag.key, tag.value)).collect())
    }

    async fn versions(
        &self,
        name: &str,
        limiter: &RateLimiter,
    ) -> Result<Vec<ParameterHistory>, Unread> {
        let request = Request::read("GetParameterHistory", Some(name));
        let (mut versions, mut next) = (Vec::new(), None::<String>);
        loop {
            // Encrypted values stay encrypted.
            let page = self
                .reader
                .engine
                .call(&request, limiter, |client: Client| {
                    let call = client
                        .get_parameter_history()
                        .name(name)
                        .with_decryption(false)
                        .max_results(50)
                        .set_next_token(next.clone());
                    async move { call.send().await.map_err(|error| AwsError::of(&error)) }
                })
                .await
                .map_err(|failure| self.unread(failure, &request))?;
            versions.extend(page.parameters.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(versions);
            }
        }
    }

    async fn described(&self, name: &str, limiter: &RateLimiter) -> Result<Held, Unread> {
        let filter = filter("Name", Some("Equals"), name)?;
        let found = self.parameters(filter, limiter).await?;
        let same =
            |parameter: &&ParameterMetadata| parameter.name().is_some_and(|it| is_same(it, name));
        let Some(parameter) = found.iter().find(same) else {
            return Ok(Held::absent());
        };
        let tags = self.tags(name, limiter).await?;
        let versions = self.versions(name, limiter).await?;
        Ok(Held {
            history: Some(history(parameter.version(), &versions)),
            ..held(&self.owner, parameter, &tags)
        })
    }

    /// Writes a version after the one that was seen. `seen` is zero for a new parameter.
    async fn put(
        &self,
        change: &Change<'_>,
        seen: i64,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let (value, format) = change.value()?;
        let text = std::str::from_utf8(value.expose()).map_err(|_| {
            let detail = "Parameter Store stores text: the value is not UTF-8";
            Unread::secret(unread::UNSUPPORTED, detail)
        })?;
        let next = seen.saturating_add(1);
        let bound = Bound {
            mark: change.mark,
            version: next.to_string(),
        };
        // Tags cannot be set together with `Overwrite`.
        let tags = (seen == 0).then(|| self.new_tags(change)).transpose()?;
        let request = Request::write("PutParameter", change.name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .put_parameter()
                    .name(change.name)
                    .value(text)
                    .description(bound.description())
                    .overwrite(seen > 0)
                    .r#type(match format {
                        Format::Secret => ParameterType::SecureString,
                        Format::Plain => ParameterType::String,
                    })
                    .set_key_id(key_id(change, format))
                    .set_tier(tier(change))
                    .set_tags(tags.clone());
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        let wrote = Wrote::unproven(next.to_string());
        match answer {
            Ok(answer) if answer.version() == next => Ok(wrote),
            // Somebody else wrote a version in between, which ours replaced.
            Ok(_) => Err(WriteFailure::raced()),
            Err(Failure::Answer(error)) if error.code == "ParameterAlreadyExists" => {
                Err(WriteFailure::raced())
            }
            Err(Failure::Unknown(unread)) => {
                self.confirm(change, seen, wrote, unread, limiter).await
            }
            Err(failure) => Err(self.refused(failure, &request)),
        }
    }

    /// Finds out if a version was written although there is no answer.
    async fn confirm(
        &self,
        change: &Change<'_>,
        seen: i64,
        wrote: Wrote,
        unread: Unread,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let now = self.described(change.name, limiter).await;
        let now = now.map_err(WriteFailure::Unknown)?;
        if now.version == wrote.version && now.mark == Some(change.mark) {
            Ok(wrote)
        } else if now.version.as_deref().unwrap_or("0") == seen.to_string() {
            Err(WriteFailure::Failed(unread))
        } else {
            Err(WriteFailure::raced())
        }
    }

    fn new_tags(&self, change: &Change<'_>) -> Result<Vec<Tag>, Unread> {
        let mut tags = change.creation.tags.clone();
        tags.insert(OWNER.to_owned(), Owner::tag(&self.owner, change.item));
        if !change.provenance.is_empty() {
            tags.insert(SOURCE.to_owned(), change.provenance.to_owned());
        }
        tags.iter().map(|(key, value)| tag(key, value)).collect()
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
        if mark.is_none() && !change.provenance.is_empty() && change.provenance != known {
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
        let tags: Vec<Tag> = tags
            .iter()
            .map(|(key, value)| tag(key, value))
            .collect::<Result<_, _>>()?;
        let request = Request::repeatable_write("AddTagsToResource", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .add_tags_to_resource()
                    .resource_type(ResourceTypeForTagging::Parameter)
                    .resource_id(name)
                    .set_tags(Some(tags.clone()));
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        answer
            .map(|_| ())
            .map_err(|failure| self.refused(failure, &request))
    }

    async fn untag(&self, name: &str, limiter: &RateLimiter) -> Result<(), WriteFailure> {
        let request = Request::repeatable_write("RemoveTagsFromResource", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client
                    .remove_tags_from_resource()
                    .resource_type(ResourceTypeForTagging::Parameter)
                    .resource_id(name)
                    .tag_keys(ORPHANED);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        answer
            .map(|_| ())
            .map_err(|failure| self.refused(failure, &request))
    }
}

/// The KMS key, for values that are encrypted.
fn key_id(change: &Change<'_>, format: Format) -> Option<String> {
    match format {
        Format::Secret => change.creation.kms_key.clone(),
        Format::Plain => None,
    }
}

fn tier(change: &Change<'_>) -> Option<ParameterTier> {
    match change.creation.tier {
        Tier::Standard => None,
        Tier::Advanced => Some(ParameterTier::Advanced),
    }
}

/// True if both names have the same ARN.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_start_matches('/') == other.trim_start_matches('/')
}

fn tag(key: &str, value: &str) -> Result<Tag, Unread> {
    Tag::builder()
        .key(key)
        .value(value)
        .build()
        .map_err(|_| Unread::secret(unread::UNSUPPORTED, "a tag needs a key and a value"))
}

fn filter(key: &str, option: Option<&str>, value: &str) -> Result<ParameterStringFilter, Unread> {
    ParameterStringFilter::builder()
        .key(key)
        .set_option(option.map(str::to_owned))
        .values(value)
        .build()
        .map_err(|_| Unread::secret(unread::UNSUPPORTED, "a filter needs a key"))
}

#[async_trait]
impl Holder for Publisher {
    /// Lists by the owner tag of each item. The answer has no tags, so an adopted parameter has no mark in it, and is compared.
    async fn list(
        &self,
        scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let tag = format!("tag:{OWNER}");
        let mut found = BTreeMap::new();
        for item in scope.items {
            let owner = Owner::tag(&self.owner, item);
            let filter = filter(&tag, None, &owner)?;
            let tags = BTreeMap::from([(OWNER.to_owned(), owner)]);
            for parameter in self.parameters(filter, limiter).await? {
                if let Some(name) = parameter.name() {
                    let held = held(&self.owner, &parameter, &tags);
                    found.insert(canonical(name), held);
                }
            }
        }
        Ok(found)
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

fn canonical(name: &str) -> String {
    eso_model::ProviderKind::ParameterStore.canonical(name)
}

#[async_trait]
impl Writer for Publisher {
    async fn create(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        self.put(change, 0, limiter).await
    }

    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let seen = change.held.version.as_deref();
        let seen = seen.and_then(|seen| seen.parse().ok()).unwrap_or_default();
        // There is no compare-and-swap, so the version is looked at once more.
        let now = self.described(change.name, limiter).await?;
        if now.version != change.held.version {
            return Err(WriteFailure::raced());
        }
        let wrote = self.put(change, seen, limiter).await?;
        let tagged = self.tag(change, None, limiter).await;
        tagged.map_err(|failure| failure.after(wrote.clone()))?;
        Ok(wrote)
    }

    async fn restore(
        &self,
        _change: &Change<'_>,
        _limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let detail = "a deleted parameter cannot be restored";
        Err(Unread::secret(unread::UNSUPPORTED, detail).into())
    }

    async fn adopt(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let version = change.held.version.clone().unwrap_or_default();
        let bound = Bound {
            mark: change.mark,
            version: version.clone(),
        };
        self.tag(change, Some(&bound), limiter).await?;
        Ok(Wrote::unproven(version))
    }

    async fn announce(
        &self,
        name: &str,
        _held: &Held,
        since: Timestamp,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let tags = BTreeMap::from([(ORPHANED, since.to_string())]);
        self.set_tags(name, &tags, limiter).await
    }

    async fn retire(
        &self,
        name: &str,
        held: &Held,
        _days: u16,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let now = self.described(name, limiter).await?;
        if now.presence == Presence::Absent {
            return Ok(());
        }
        if now.version != held.version || now.owner != held.owner {
            return Err(WriteFailure::raced());
        }
        let request = Request::repeatable_write("DeleteParameter", name);
        let answer = self
            .reader
            .engine
            .call(&request, limiter, |client: Client| {
                let call = client.delete_parameter().name(name);
                async move { call.send().await.map_err(|error| AwsError::of(&error)) }
            })
            .await;
        match answer {
            Ok(_) => Ok(()),
            // An earlier attempt deleted it.
            Err(Failure::Answer(error)) if error.code == "ParameterNotFound" => Ok(()),
            Err(failure) => Err(self.refused(failure, &request)),
        }
    }
}
