//! The metadata of a secret, and what eso-sync records in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use publish::{Bound, Held, History, Mark, Owner, Presence, PropertyTag, Version, VersionState};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::{
    Unread,
    holder::{EARLIER, MARK, ORPHANED, OWNER, SOURCE},
    unread,
};

/// The start of the names of entries with the tags of keys.
const KEYS: &str = "eso-sync-keys";

/// The longest value of an entry.
const LONGEST: usize = 512;

/// An answer of Vault.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    data: Option<T>,
    /// Empty if nothing was found.
    #[serde(default)]
    errors: Option<Vec<String>>,
}

impl<T> Answer<T> {
    /// The data, or None if Vault says that it does not exist. A 404 of something else is an error.
    pub(super) fn data(self, found: bool) -> Result<Option<T>, Unread> {
        match (self.data, self.errors) {
            (Some(data), _) => Ok(Some(data)),
            (None, Some(errors)) if !found && errors.is_empty() => Ok(None),
            (None, _) => Err(unreadable()),
        }
    }
}

pub(super) fn unreadable() -> Unread {
    Unread::secret(unread::UNREADABLE, "this is not an answer of Vault")
}

#[derive(Deserialize)]
pub(super) struct Metadata {
    current_version: u64,
    #[serde(default)]
    versions: BTreeMap<String, OfVersion>,
    #[serde(default, rename = "custom_metadata")]
    custom: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct OfVersion {
    created_time: Timestamp,
    /// Empty if it is not deleted, and will not be.
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

impl OfVersion {
    fn is_deleted(&self, now: Timestamp) -> bool {
        let at: Option<Timestamp> = self.deletion_time.parse().ok();
        at.is_some_and(|at| at <= now)
    }
}

#[derive(Deserialize)]
struct Scanned {
    #[serde(default)]
    key_info: BTreeMap<String, Metadata>,
}

impl Metadata {
    /// Parses the answer of `metadata/…`. None if the secret does not exist.
    pub(super) fn of(body: &[u8], found: bool) -> Result<Option<Self>, Unread> {
        let answer: Answer<Self> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        answer.data(found)
    }

    /// Parses the answer of a scan.
    pub(super) fn all(body: &[u8]) -> Result<BTreeMap<String, Self>, Unread> {
        let answer: Answer<Scanned> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        Ok(answer.data(true)?.ok_or_else(unreadable)?.key_info)
    }

    pub(super) fn held(self, owner: &str, now: Timestamp) -> Held {
        let recorded = Recorded(self.custom.unwrap_or_default());
        let id = self.current_version.to_string();
        let presence = match self.versions.get(&id) {
            None => Presence::Empty,
            Some(current) if current.destroyed => Presence::Empty,
            Some(current) if current.is_deleted(now) => Presence::Retired { until: None },
            Some(_) => Presence::Present,
        };
        let own = recorded.versions();
        let versions = self.versions.iter().filter(|(version, _)| **version != id);
        let history = History {
            earlier: recorded.earlier().into_iter().map(|it| it.mark).collect(),
            went_back: false,
            writes: self.versions.values().map(|it| it.created_time).collect(),
            versions: versions
                .map(|(id, version)| Version {
                    id: id.clone(),
                    created: Some(version.created_time),
                    is_ours: own.contains(id),
                    state: match version {
                        _ if version.destroyed => VersionState::Destroyed,
                        _ if version.is_deleted(now) => VersionState::Disabled,
                        _ => VersionState::Enabled,
                    },
                    is_named: false,
                })
                .collect(),
            last_read: None,
        };
        Held {
            mark: recorded.last().and_then(|last| last.of_version(&id)),
            version: Some(id).filter(|id| id != "0"),
            owner: Owner::of(recorded.text(OWNER), owner),
            provenance: recorded.text(SOURCE).map(str::to_owned),
            orphaned_since: recorded.text(ORPHANED).and_then(|at| at.parse().ok()),
            properties: recorded.properties(),
            history: Some(history),
            ..Held::new(presence)
        }
    }
}

/// The custom metadata.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Recorded(BTreeMap<String, String>);

impl Recorded {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The mark of the last version that eso-sync wrote.
    fn last(&self) -> Option<Bound> {
        self.text(MARK)?.parse().ok()
    }

    /// The marks before it, newest first: `<mark>:<version> …`.
    fn earlier(&self) -> Vec<Bound> {
        Bound::of_list(self.text(EARLIER).unwrap_or_default()).collect()
    }

    /// The versions that eso-sync wrote.
    fn versions(&self) -> BTreeSet<String> {
        let all = self.last().into_iter().chain(self.earlier());
        all.map(|bound| bound.version).collect()
    }

    /// The marks before a new one, as many as fit.
    pub(super) fn earlier_with_last(&self, new: Mark) -> Json {
        let all = self.last().into_iter().chain(self.earlier());
        let text = Bound::list(all.filter(|bound| bound.mark != new), LONGEST);
        // An empty value is refused.
        if text.is_empty() {
            Json::Null
        } else {
            text.into()
        }
    }

    fn properties(&self) -> Vec<PropertyTag> {
        let entries = self.0.iter().filter(|(name, _)| name.starts_with(KEYS));
        let tags: BTreeSet<PropertyTag> = entries
            .flat_map(|(_, text)| text.split(' '))
            .filter_map(|tag| tag.parse().ok())
            .collect();
        tags.into_iter().collect()
    }

    /// The entries with these tags. Entries that are no longer needed are removed.
    pub(super) fn keys(&self, tags: &BTreeSet<PropertyTag>) -> BTreeMap<String, Json> {
        let old = self.0.keys().filter(|name| name.starts_with(KEYS));
        let mut entries: BTreeMap<String, Json> =
            old.map(|name| (name.clone(), Json::Null)).collect();
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        // Each takes eight digits and a space.
        for (index, some) in tags.chunks(LONGEST / 9).enumerate() {
            let name = match index {
                0 => KEYS.to_owned(),
                more => format!("{KEYS}-{}", more + 1),
            };
            entries.insert(name, some.join(" ").into());
        }
        entries
    }
}
