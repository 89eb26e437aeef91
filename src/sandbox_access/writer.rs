//! Writes the sandbox's stores for `publish`, with the records that eso-sync keeps at a provider.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use providers::{
    RateLimiter, StoreSettings, Unread,
    holder::{
        Ask, Change, EARLIER, Holder, MARK, ORPHANED, OWNER, SOURCE, Scope, WriteFailure, Writer,
    },
    unread,
};
use publish::{Bound, Compared, Held, History, Mark, Owner, Presence, Wrote};
use sandbox::{Kept, Records, Sandbox};
use secret::{RunKey, Value};

use super::Reader;

/// The earlier marks that are kept.
const EARLIER_MARKS: usize = 10;

struct Publisher {
    reader: Reader,
    owner: String,
}

/// Connects to a store of the sandbox for writing, as this publisher.
pub fn connect(
    sandbox: &Sandbox,
    settings: &StoreSettings,
    owner: &str,
) -> Result<Box<dyn Writer>, Unread> {
    Ok(Box::new(Publisher {
        reader: Reader::connect(sandbox, settings)?,
        owner: owner.to_owned(),
    }))
}

impl Publisher {
    async fn kept(&self, limiter: &RateLimiter) -> Result<BTreeMap<String, Kept>, Unread> {
        self.reader.call(limiter).await?;
        let kept = self.reader.backend.kept();
        kept.map_err(|error| self.reader.failed(error))
    }

    async fn one(&self, name: &str, limiter: &RateLimiter) -> Result<Option<Kept>, Unread> {
        Ok(self.kept(limiter).await?.remove(name))
    }

    fn held(&self, kept: &Kept) -> Held {
        let Records { version, tags } = &kept.records;
        let tag = |name: &str| tags.get(name).map(String::as_str);
        let bound: Option<Bound> = tag(MARK).and_then(|text| text.parse().ok());
        let version = version.to_string();
        let is_bound = bound.as_ref().is_some_and(|bound| bound.version == version);
        Held {
            mark: bound.as_ref().filter(|_| is_bound).map(|bound| bound.mark),
            owner: Owner::of(tag(OWNER), &self.owner),
            provenance: tag(SOURCE).map(str::to_owned),
            orphaned_since: tag(ORPHANED).and_then(|text| text.parse().ok()),
            version: Some(version),
            history: Some(History {
                earlier: earlier(tags).collect(),
                ..History::default()
            }),
            ..Held::new(Presence::Present)
        }
    }

    /// The records of a change: the owner, and with a new value its origin and mark.
    fn records(&self, change: &Change<'_>, before: Option<&Records>, writes: bool) -> Records {
        let none = Records::default();
        let before = before.unwrap_or(&none);
        let version = before.version + u64::from(writes);
        let mut tags = before.tags.clone();
        tags.insert(OWNER.to_owned(), Owner::tag(&self.owner, change.item));
        tags.remove(ORPHANED);
        if writes {
            tags.insert(SOURCE.to_owned(), change.provenance.to_owned());
            let last: Option<Bound> = before.tags.get(MARK).and_then(|text| text.parse().ok());
            let marks = last.map(|bound| bound.mark).into_iter();
            let marks = marks.chain(earlier(&before.tags)).take(EARLIER_MARKS);
            let marks: Vec<String> = marks.map(|mark| mark.to_string()).collect();
            tags.insert(EARLIER.to_owned(), marks.join(" "));
        }
        let bound = Bound {
            mark: change.mark,
            version: version.to_string(),
        };
        tags.insert(MARK.to_owned(), bound.to_string());
        Records { version, tags }
    }

    /// Writes the value and its records, or only the records.
    async fn write(
        &self,
        change: &Change<'_>,
        writes: bool,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        let [wanted] = change.wanted else {
            let detail = "the sandbox stores one value in a secret";
            return Err(Unread::secret(unread::UNSUPPORTED, detail).into());
        };
        let value = std::str::from_utf8(wanted.value.expose()).map_err(|_| {
            let detail = "the sandbox stores text only";
            WriteFailure::Failed(Unread::secret(unread::UNSUPPORTED, detail))
        })?;
        let before = self.one(change.name, limiter).await?;
        let before = before.map(|kept| kept.records);
        let planned = change.held.version.as_deref();
        let version = before.as_ref().map(|records| records.version);
        if version.map(|version| version.to_string()).as_deref() != planned {
            return Err(WriteFailure::raced());
        }
        let records = self.records(change, before.as_ref(), writes);
        let value = Some(value).filter(|_| writes);
        let kept = self
            .reader
            .backend
            .keep(change.name, version, value, &records);
        if !kept.map_err(|error| self.reader.failed(error))? {
            return Err(WriteFailure::raced());
        }
        Ok(Wrote::unproven(records.version.to_string()))
    }
}

fn earlier(tags: &BTreeMap<String, String>) -> impl Iterator<Item = Mark> {
    let marks = tags.get(EARLIER).map(String::as_str).unwrap_or_default();
    marks.split(' ').filter_map(|mark| mark.parse().ok())
}

#[async_trait]
impl Holder for Publisher {
    async fn list(
        &self,
        scope: Scope<'_>,
        limiter: &RateLimiter,
    ) -> Result<BTreeMap<String, Held>, Unread> {
        let kept = self.kept(limiter).await?;
        let mut held: BTreeMap<String, Held> = kept
            .iter()
            .map(|(name, kept)| (name.clone(), self.held(kept)))
            .filter(|(name, held)| {
                let ours =
                    matches!(&held.owner, Owner::Ours { item } if scope.items.contains(item));
                ours || scope.names.contains(name)
            })
            .collect();
        for name in scope.names {
            held.entry(name.clone()).or_insert_with(Held::absent);
        }
        Ok(held)
    }

    async fn describe(&self, name: &str, limiter: &RateLimiter) -> Held {
        match self.one(name, limiter).await {
            Ok(Some(kept)) => self.held(&kept),
            Ok(None) => Held::absent(),
            Err(unread) => Held::new(Presence::Unknown(unread.why)),
        }
    }

    async fn compare(
        &self,
        asked: &[Ask<'_>],
        key: &RunKey,
        limiter: &RateLimiter,
    ) -> Vec<Compared> {
        let mut compared = Vec::with_capacity(asked.len());
        for ask in asked {
            let kept = self.one(ask.name, limiter).await;
            compared.push(match (kept, ask.wanted) {
                (Ok(Some(kept)), [wanted]) => {
                    let held = Value::from(&*kept.value).fingerprint(key);
                    if held == wanted.value.fingerprint(key) {
                        Compared::Equal
                    } else {
                        Compared::Different {
                            properties: Vec::new(),
                        }
                    }
                }
                (Ok(_), _) => Compared::Different {
                    properties: Vec::new(),
                },
                (Err(unread), _) => Compared::Unknown(unread.why),
            });
        }
        compared
    }
}

#[async_trait]
impl Writer for Publisher {
    async fn create(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        self.write(change, true, limiter).await
    }

    async fn update(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        self.write(change, true, limiter).await
    }

    async fn restore(
        &self,
        _change: &Change<'_>,
        _limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        // The sandbox keeps no deleted secrets, so none is ever planned to be restored.
        Err(WriteFailure::raced())
    }

    async fn adopt(
        &self,
        change: &Change<'_>,
        limiter: &RateLimiter,
    ) -> Result<Wrote, WriteFailure> {
        self.write(change, false, limiter).await
    }

    async fn announce(
        &self,
        name: &str,
        held: &Held,
        since: Timestamp,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        let kept = self
            .one(name, limiter)
            .await?
            .ok_or_else(WriteFailure::raced)?;
        if held.version != Some(kept.records.version.to_string()) {
            return Err(WriteFailure::raced());
        }
        let mut records = kept.records;
        records.tags.insert(ORPHANED.to_owned(), since.to_string());
        let version = Some(records.version);
        match self.reader.backend.keep(name, version, None, &records) {
            Ok(true) => Ok(()),
            Ok(false) => Err(WriteFailure::raced()),
            Err(error) => Err(self.reader.failed(error).into()),
        }
    }

    async fn retire(
        &self,
        name: &str,
        held: &Held,
        _days: u16,
        limiter: &RateLimiter,
    ) -> Result<(), WriteFailure> {
        self.reader.call(limiter).await?;
        let version = held.version.as_deref().unwrap_or_default().parse();
        let version = version.map_err(|_| WriteFailure::raced())?;
        match self.reader.backend.remove(name, version) {
            Ok(true) => Ok(()),
            Ok(false) => Err(WriteFailure::raced()),
            Err(error) => Err(self.reader.failed(error).into()),
        }
    }
}
