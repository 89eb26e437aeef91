//! Values for stores of which nothing is known: a secret has the parts that ExternalSecrets ask for, so that whoever reads the
//! whole of it finds them too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::values::Epoch;
use crate::{
    object,
    resource::Resource,
    store::{Changes, Store},
};

/// The parts of secrets that were ever asked for.
#[derive(Default)]
pub(super) struct Parts {
    /// By the identity of the store, and by key.
    asked: BTreeMap<String, BTreeMap<String, Asked>>,
    /// The change of an ExternalSecret up to which this holds.
    seen: Option<u64>,
}

#[derive(Default)]
struct Asked {
    properties: BTreeSet<String>,
    /// Properties of which the members are asked for; the empty one is the secret itself.
    extracted: BTreeSet<String>,
}

impl Parts {
    /// Takes in what ExternalSecrets ask for by now.
    pub(super) fn look(&mut self, store: &Store) {
        let Some(resource) = Resource::of_plural("externalsecrets") else {
            return;
        };
        let since = self.seen.map(|seen| store.changes_since(resource, seen));
        if let Some(Ok(Changes { revision, changes })) = since {
            for change in &changes {
                self.note(&change.object);
            }
            self.seen = Some(revision);
        } else {
            let page = store.list(resource, None);
            for (_, external_secret) in &page.objects {
                self.note(external_secret);
            }
            self.seen = Some(page.revision);
        }
    }

    fn note(&mut self, external_secret: &Value) {
        for entry in object::items(external_secret, "/spec/data") {
            let property = object::text(entry, "/remoteRef/property");
            let asked = self.of(
                external_secret,
                entry,
                object::text(entry, "/remoteRef/key"),
            );
            if !property.is_empty() {
                asked.properties.insert(property.to_owned());
            }
        }
        for entry in object::items(external_secret, "/spec/dataFrom") {
            if let Some(key) = entry.pointer("/extract/key").and_then(Value::as_str) {
                let property = object::text(entry, "/extract/property");
                let asked = self.of(external_secret, entry, key);
                asked.extracted.insert(property.to_owned());
            }
        }
    }

    fn of(&mut self, external_secret: &Value, entry: &Value, key: &str) -> &mut Asked {
        let store = entry
            .pointer("/sourceRef/storeRef")
            .unwrap_or_else(|| object::at(external_secret, "/spec/secretStoreRef"));
        let name = object::text(store, "/name");
        let identity = match object::text(store, "/kind") {
            "ClusterSecretStore" => format!("ClusterSecretStore/{name}"),
            _ => format!("SecretStore/{}/{name}", object::namespace(external_secret)),
        };
        let keys = self.asked.entry(identity).or_default();
        keys.entry(key.to_owned()).or_default()
    }

    /// The value of a key; `structured` where the provider holds nothing but objects.
    pub(super) fn value(&self, store: &str, key: &str, structured: bool, epoch: Epoch) -> String {
        let when = match epoch {
            Epoch::Previous => ", before",
            Epoch::Present => "",
        };
        let text = format!("made up by the sandbox{when}: {key}");
        let some = || {
            Value::Object(Map::from_iter([(
                "made-up".to_owned(),
                text.as_str().into(),
            )]))
        };
        let mut members = Map::new();
        let asked = self.asked.get(store).and_then(|keys| keys.get(key));
        for property in asked.iter().flat_map(|asked| &asked.properties) {
            members.insert(property.clone(), text.as_str().into());
        }
        let extracted = asked.iter().flat_map(|asked| &asked.extracted);
        for property in extracted.filter(|property| !property.is_empty()) {
            members.insert(property.clone(), some());
        }
        let whole = asked.is_some_and(|asked| asked.extracted.contains(""));
        match (members.is_empty(), structured || whole) {
            (true, false) => text,
            (true, true) => some().to_string(),
            (false, _) => Value::Object(members).to_string(),
        }
    }
}
