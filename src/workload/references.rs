//! Finds all Secrets that a pod spec references.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Keys,
    object::{Container, PodSpec},
};

/// The Secrets that pods of this spec use, each with its keys.
pub fn references(spec: &PodSpec) -> BTreeMap<String, Keys> {
    let mut found = Found::default();
    for container in spec.containers.iter().chain(&spec.init_containers) {
        found.container(container);
    }
    for volume in &spec.volumes {
        for (kind, source) in volume {
            found.volume(kind, source);
        }
    }
    for secret in &spec.image_pull_secrets {
        found.add(&secret.name, Keys::All);
    }
    found.0
}

#[derive(Default)]
struct Found(BTreeMap<String, Keys>);

impl Found {
    fn add(&mut self, name: &str, keys: Keys) {
        if name.is_empty() {
            return;
        }
        match (self.0.get_mut(name), keys) {
            (None, keys) => drop(self.0.insert(name.to_owned(), keys)),
            (Some(Keys::Some(known)), Keys::Some(more)) => known.extend(more),
            (Some(known), Keys::All) => *known = Keys::All,
            (Some(Keys::All), Keys::Some(_)) => {}
        }
    }

    fn container(&mut self, container: &Container) {
        for variable in &container.env {
            if let Some(secret) = &variable.value_from.secret_key_ref {
                self.add(
                    &secret.name,
                    Keys::Some(BTreeSet::from([secret.key.clone()])),
                );
            }
        }
        for source in &container.env_from {
            if let Some(secret) = &source.secret_ref {
                self.add(&secret.name, Keys::All);
            }
        }
    }

    fn volume(&mut self, kind: &str, source: &Value) {
        match kind {
            "secret" => self.add(text(source, "/secretName"), items(source)),
            "projected" => {
                let sources = source.pointer("/sources").and_then(Value::as_array);
                for source in sources.into_iter().flatten() {
                    if let Some(secret) = source.get("secret") {
                        self.add(text(secret, "/name"), items(secret));
                    }
                }
            }
            "csi" => self.add(text(source, "/nodePublishSecretRef/name"), Keys::All),
            "azureFile" => self.add(text(source, "/secretName"), Keys::All),
            // CephFS, RBD, iSCSI, FlexVolume, ScaleIO, StorageOS.
            _ => self.add(text(source, "/secretRef/name"), Keys::All),
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
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
