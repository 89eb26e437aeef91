//! The operator's Fake provider. The data is part of the store's spec, so no call is made.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use eso_model::expected::{Raw, What};
use secret::Value;
use serde_json::Value as Json;

use super::{Answered, Provider, RateLimiter, StoreSettings, Unread, unread};

/// The value of one entry, or None if it uses a form that newer operators have dropped.
struct Entry {
    version: String,
    value: Option<Value>,
}

/// By key and version, concatenated without a separator, as in the operator: a later entry replaces an earlier one.
pub(super) struct Fake {
    entries: BTreeMap<String, Entry>,
    /// The result of each search.
    all: OnceLock<Option<Arc<BTreeMap<String, Raw>>>>,
}

impl Fake {
    pub(super) fn new(store: &StoreSettings) -> Self {
        let entries = store.at("/data").as_array().into_iter().flatten();
        let entries = entries.map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            let version = text("version").to_owned();
            let value = Json::is_null(&entry["valueMap"]).then(|| Value::from(text("value")));
            (
                format!("{}{version}", text("key")),
                Entry { version, value },
            )
        });
        Self {
            entries: entries.collect(),
            all: OnceLock::new(),
        }
    }

    fn one(&self, key: &str, version: &str) -> Answered {
        match self.entries.get(&format!("{key}{version}")) {
            Some(entry) if entry.version == version => match &entry.value {
                Some(value) => Answered::One(Raw::Bytes(value.duplicate()), None),
                None => Answered::Unread(Unread::secret(
                    unread::UNSUPPORTED,
                    format!("`{key}` is a `valueMap`"),
                )),
            },
            _ => Answered::NotFound,
        }
    }

    fn all(&self) -> Answered {
        match self.all.get_or_init(|| self.newest().map(Arc::new)) {
            Some(found) => Answered::Many(Arc::clone(found)),
            None => Answered::Unread(Unread::secret(
                unread::UNSUPPORTED,
                "the store has a `valueMap`",
            )),
        }
    }

    /// Each key with its newest version, or None if the store has a `valueMap`. The operator compares versions as text.
    fn newest(&self) -> Option<BTreeMap<String, Raw>> {
        let mut newest: BTreeMap<&str, &Entry> = BTreeMap::new();
        for (combined, entry) in &self.entries {
            let key = combined.strip_suffix(&entry.version).unwrap_or(combined);
            let known = newest.entry(key).or_insert(entry);
            if known.version < entry.version {
                *known = entry;
            }
        }
        let raw = |entry: &Entry| Some(Raw::Bytes(entry.value.as_ref()?.duplicate()));
        newest
            .into_iter()
            .map(|(key, entry)| Some((key.to_owned(), raw(entry)?)))
            .collect()
    }
}

#[async_trait]
impl Provider for Fake {
    async fn read(&self, wanted: &[What], _: &RateLimiter) -> Vec<Answered> {
        let answer = |what: &What| match what {
            What::Secret { key, version, .. } => self.one(key, version),
            What::Find { .. } => self.all(),
        };
        wanted.iter().map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use eso_model::StoreKey;
    use pace::rate::Rate;
    use serde_json::json;

    use super::*;

    fn store(data: &Json) -> Fake {
        Fake::new(&StoreSettings::new(
            StoreKey::Cluster {
                name: "fake".to_owned(),
            },
            "fake",
            json!({"data": data}),
        ))
    }

    async fn read(fake: &Fake, what: What) -> String {
        let limiter = RateLimiter::new(Rate::per_second(1.0).unwrap());
        let answers = fake.read(&[what], &limiter).await;
        assert_eq!(limiter.calls(), 0);
        let text = |raw: &Raw| match raw {
            Raw::Bytes(value) => String::from_utf8(value.expose().to_vec()).unwrap(),
            Raw::Json(_) | Raw::Keys(_) | Raw::Tags(_) | Raw::Metadata { .. } => {
                "another kind".to_owned()
            }
        };
        match &answers[0] {
            Answered::One(raw, _) => text(raw),
            Answered::Many(found) => {
                let each = found.iter();
                let each: Vec<String> = each
                    .map(|(key, raw)| format!("{key}={}", text(raw)))
                    .collect();
                each.join(" ")
            }
            Answered::NotFound => "not found".to_owned(),
            Answered::Unread(unread) => unread.why.to_string(),
            Answered::Fails(failure) => failure.into_str().to_owned(),
        }
    }

    fn secret(key: &str, version: &str) -> What {
        What::Secret {
            key: key.to_owned(),
            version: version.to_owned(),
            metadata: false,
        }
    }

    #[tokio::test]
    async fn key_and_version_must_both_match() {
        let fake = store(&json!([
            {"key": "a", "value": "plain"},
            {"key": "a", "value": "first", "version": "v1"},
            {"key": "a", "value": "second", "version": "v1"},
        ]));
        assert_eq!(read(&fake, secret("a", "")).await, "plain");
        assert_eq!(read(&fake, secret("a", "v1")).await, "second");
        assert_eq!(read(&fake, secret("a", "v2")).await, "not found");
        assert_eq!(read(&fake, secret("av1", "")).await, "not found");
    }

    #[tokio::test]
    async fn entries_with_equal_concatenation_replace_each_other() {
        let fake = store(&json!([
            {"key": "a", "value": "lost", "version": "b1"},
            {"key": "ab", "value": "kept", "version": "1"},
        ]));
        assert_eq!(read(&fake, secret("a", "b1")).await, "not found");
        assert_eq!(read(&fake, secret("ab", "1")).await, "kept");
    }

    #[tokio::test]
    async fn search_returns_the_newest_version_in_text_order() {
        let fake = store(&json!([
            {"key": "a", "value": "nine", "version": "v9"},
            {"key": "a", "value": "ten", "version": "v10"},
            {"key": "a", "value": "none"},
            {"key": "b", "value": "b"},
        ]));
        let all = What::Find {
            path: None,
            name: None,
            tags: None,
        };
        assert_eq!(read(&fake, all).await, "a=nine b=b");
    }

    #[tokio::test]
    async fn value_map_is_unsupported() {
        let fake = store(&json!([{"key": "a", "valueMap": {"k": "v"}}]));
        assert_eq!(
            read(&fake, secret("a", "")).await,
            "unsupported-store (`a` is a `valueMap`)"
        );
    }
}
