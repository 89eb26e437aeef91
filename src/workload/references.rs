//! Finds all Secrets that a pod spec references.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Keys,
    object::{Container, PodSpec},
};

/// The Secrets that the containers of a pod use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct References {
    /// Each Secret with its keys.
    pub uses: BTreeMap<String, Keys>,
    /// The keys without which the containers start too.
    pub optional: BTreeMap<String, Keys>,
}

/// The Secrets that pods of this spec use.
pub fn references(spec: &PodSpec) -> References {
    let mut found = Found::default();
    for container in spec.containers.iter().chain(&spec.init_containers) {
        found.container(container);
    }
    for volume in &spec.volumes {
        for (kind, source) in volume {
            found.volume(kind, source);
        }
    }
    found.references()
}

/// The keys of each Secret, by whether the container starts without them.
#[derive(Default)]
struct Found {
    required: BTreeMap<String, Keys>,
    optional: BTreeMap<String, Keys>,
}

fn add(secrets: &mut BTreeMap<String, Keys>, name: &str, keys: Keys) {
    match (secrets.get_mut(name), keys) {
        (None, keys) => drop(secrets.insert(name.to_owned(), keys)),
        (Some(Keys::Some(known)), Keys::Some(more)) => known.extend(more),
        (Some(known), Keys::All) => *known = Keys::All,
        (Some(Keys::All), Keys::Some(_)) => {}
    }
}

impl Found {
    fn add(&mut self, name: &str, keys: Keys, optional: bool) {
        if name.is_empty() {
            return;
        }
        let secrets = if optional {
            &mut self.optional
        } else {
            &mut self.required
        };
        add(secrets, name, keys);
    }

    fn references(self) -> References {
        let Self { required, optional } = self;
        let mut uses = required.clone();
        for (name, keys) in &optional {
            add(&mut uses, name, keys.clone());
        }
        let only_optional = |(name, keys): (String, Keys)| {
            let keys = match (keys, required.get(&name)) {
                (keys, None) => keys,
                (Keys::Some(keys), Some(Keys::Some(required))) => Keys::Some(&keys - required),
                // A new key of a Secret that is used as a whole counts in any case.
                (Keys::All, Some(_)) | (Keys::Some(_), Some(Keys::All)) => return None,
            };
            Some((name, keys))
        };
        References {
            optional: optional.into_iter().filter_map(only_optional).collect(),
            uses,
        }
    }

    fn container(&mut self, container: &Container) {
        for variable in &container.env {
            if let Some(secret) = &variable.value_from.secret_key_ref {
                let key = BTreeSet::from([secret.key.clone()]);
                self.add(&secret.name, Keys::Some(key), secret.optional);
            }
        }
        for source in &container.env_from {
            if let Some(secret) = &source.secret_ref {
                self.add(&secret.name, Keys::All, secret.optional);
            }
        }
    }

    fn volume(&mut self, kind: &str, source: &Value) {
        match kind {
            "secret" => self.add(text(source, "/secretName"), items(source), optional(source)),
            "projected" => {
                let sources = source.pointer("/sources").and_then(Value::as_array);
                for source in sources.into_iter().flatten() {
                    if let Some(secret) = source.get("secret") {
                        self.add(text(secret, "/name"), items(secret), optional(secret));
                    }
                }
            }
            "csi" => self.add(text(source, "/nodePublishSecretRef/name"), Keys::All, false),
            "azureFile" => self.add(text(source, "/secretName"), Keys::All, false),
            // CephFS, RBD, iSCSI, FlexVolume, ScaleIO, StorageOS.
            _ => self.add(text(source, "/secretRef/name"), Keys::All, false),
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// True if the container starts without the Secret of this volume, or without some of its keys.
fn optional(source: &Value) -> bool {
    source.get("optional").and_then(Value::as_bool) == Some(true)
}

/// A volume without `items` contains every key.
fn items(source: &Value) -> Keys {
    let items = source.get("items").and_then(Value::as_array);
    match items.filter(|items| !items.is_empty()) {
        None => Keys::All,
        Some(items) => Keys::Some(
            items
                .iter()
                .map(|item| text(item, "/key").to_owned())
                .collect(),
        ),
    }
}
