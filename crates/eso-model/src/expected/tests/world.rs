//! A fake store for tests.

use std::collections::BTreeMap;

use secret::Value;
use serde_json::json;

use super::super::*;
use crate::{ProviderKind, budget::Budget};

pub(super) fn spec(spec: &serde_json::Value) -> Spec {
    Spec::parse(spec).unwrap()
}

pub(super) fn text(value: &str) -> Raw {
    Raw::Bytes(Value::from(value))
}

/// A store of one provider: its secrets by remote key. A key that ends in `/` is the result of a search.
pub(super) struct World {
    pub(super) provider: ProviderKind,
    pub(super) secrets: BTreeMap<&'static str, Raw>,
    pub(super) found: BTreeMap<String, Raw>,
}

impl World {
    pub(super) fn new(provider: ProviderKind, secrets: &[(&'static str, &str)]) -> Self {
        let secrets = secrets
            .iter()
            .map(|(key, value)| (*key, text(value)))
            .collect();
        Self {
            provider,
            secrets,
            found: BTreeMap::new(),
        }
    }

    pub(super) fn finds(mut self, found: &[(&str, &str)]) -> Self {
        self.found = found
            .iter()
            .map(|(key, value)| ((*key).to_owned(), text(value)))
            .collect();
        self
    }

    pub(super) fn answer(&self, read: &Read) -> Answer<'_> {
        let content = match &read.what {
            What::Find { .. } => Content::Many(&self.found),
            What::Secret { key, .. } => match self.secrets.get(key.as_str()) {
                Some(raw) => Content::One(raw),
                None => Content::NotFound,
            },
        };
        Answer {
            provider: &self.provider,
            content,
        }
    }

    pub(super) fn expect(&self, mut json: serde_json::Value) -> Result<Expected, NotComputable> {
        json["secretStoreRef"] = json!({"name": "store"});
        expected(
            &spec(&json),
            |read| self.answer(read),
            &NoTemplates,
            &Budget::default(),
        )
    }

    /// Returns `key=value` for each key, or the error.
    pub(super) fn data(&self, json: serde_json::Value) -> String {
        match self.expect(json) {
            Ok(expected) => shown(&expected),
            Err(NotComputable::Unverifiable(it)) => format!("unverifiable {it}"),
            Err(NotComputable::WouldFail(it)) => format!("fails {it}"),
        }
    }
}

pub(super) fn shown(expected: &Expected) -> String {
    let keys = expected
        .data
        .iter()
        .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value.expose())));
    keys.collect::<Vec<_>>().join(" ")
}

pub(super) fn fake(secrets: &[(&'static str, &str)]) -> World {
    World::new(ProviderKind::Fake, secrets)
}
