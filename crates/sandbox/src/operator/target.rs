//! The target Secret of an ExternalSecret (`mutationFunc`, `createSecret`, `updateSecret` in the operator).

use eso_model::{
    GROUP,
    digest::{Algorithm, FIELD_MANAGERS, field_manager},
    expected::{CreationPolicy, MergePolicy, Template},
};
use serde_json::{Value, json};

use super::{
    Reconciler,
    spec::Spec,
    template::{self, Data},
};
use crate::{
    data::{decode, encode},
    managed, object,
    resource::Resource,
    store::Write,
};

const MANAGED: &str = "reconcile.external-secrets.io/managed";
const CREATED_BY: &str = "reconcile.external-secrets.io/created-by";
const DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";

/// The reason why a Secret was not written.
pub(super) enum WriteError {
    /// Another client wrote it in the meantime: retry immediately.
    Conflict,
    /// A retry cannot help.
    Final {
        condition: &'static str,
        text: String,
    },
    /// A retry may help.
    Failed(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Created,
    Updated,
    Unchanged,
}

/// True if a Secret is as the operator left it (`isSecretValid`).
pub(super) fn is_valid(secret: Option<&Value>, spec: &Spec, algorithm: Algorithm) -> bool {
    if spec.target.creation_policy == CreationPolicy::Orphan {
        return true;
    }
    secret.is_some_and(|secret| {
        is_managed(secret)
            && object::annotation(secret, DATA_HASH) == Some(&*data_hash(secret, algorithm))
    })
}

/// True if a Secret has the label by which the operator finds its Secrets.
pub(super) fn is_managed(secret: &Value) -> bool {
    object::label(secret, MANAGED) == Some("true")
}

/// Adds that label to a Secret.
pub(super) fn mark_managed(
    reconciler: &Reconciler,
    external_secret: &Value,
    secret: &Value,
) -> bool {
    let Some(secrets) = Resource::of_plural("secrets") else {
        return false;
    };
    let manager = field_manager(object::name(external_secret));
    let (namespace, name) = (object::namespace(secret), object::name(secret));
    let marked =
        reconciler
            .store
            .update(secrets, namespace, name, Write::by(&manager), |current| {
                let mut next = current.clone();
                set(&mut next, "labels", MANAGED, "true");
                Ok(next)
            });
    marked.is_ok()
}

/// Writes the Secret. `existing` is the current Secret, as it was read.
pub(super) fn write(
    reconciler: &Reconciler,
    external_secret: &Value,
    spec: &Spec,
    existing: Option<&Value>,
    data: &Data,
) -> Result<Written, WriteError> {
    let Some(secrets) = Resource::of_plural("secrets") else {
        return Ok(Written::Unchanged);
    };
    let namespace = object::namespace(external_secret);
    let name = spec.secret_name(object::name(external_secret));
    let manager = field_manager(object::name(external_secret));
    let write = Write::by(&manager);
    let Some(existing) = existing else {
        let empty = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {},
            "metadata": {"namespace": namespace, "name": name},
        });
        let secret = mutated(reconciler, external_secret, spec, empty, data)?;
        let created = reconciler.store.create(secrets, secret, write);
        return created
            .map(|_| Written::Created)
            .map_err(|failure| WriteError::Failed(failure.message));
    };
    let updated =
        mutated(reconciler, external_secret, spec, existing.clone(), data).map_err(|error| {
            match error {
                WriteError::Failed(text) => {
                    WriteError::Failed(format!("unable to mutate secret {name}: {text}"))
                }
                WriteError::Final { condition, text } => WriteError::Final {
                    condition,
                    text: format!("unable to mutate secret {name}: {text}"),
                },
                WriteError::Conflict => WriteError::Conflict,
            }
        })?;
    if updated == *existing {
        return Ok(Written::Unchanged);
    }
    let frozen = object::at(existing, "/immutable") == true
        && (object::at(&updated, "/data") != object::at(existing, "/data")
            || object::at(&updated, "/type") != object::at(existing, "/type"));
    if frozen {
        return Err(WriteError::Final {
            condition: "could not update secret, target is immutable",
            text: format!("unable to update secret {name}: secret is immutable"),
        });
    }
    match reconciler
        .store
        .update(secrets, namespace, name, write, |_| Ok(updated))
    {
        Ok(_) => Ok(Written::Updated),
        Err(failure) if failure.code == 409 => Err(WriteError::Conflict),
        Err(failure) => Err(WriteError::Failed(format!(
            "unable to update secret {name}: {}",
            failure.message
        ))),
    }
}

/// The Secret as it should be.
fn mutated(
    reconciler: &Reconciler,
    external_secret: &Value,
    spec: &Spec,
    mut secret: Value,
    data: &Data,
) -> Result<Value, WriteError> {
    let is_new = object::uid(&secret).is_empty();
    let name = object::name(external_secret);
    let owns = spec.target.creation_policy == CreationPolicy::Owner;
    take_ownership(external_secret, &mut secret, owns)?;
    if spec.target.immutable {
        object::as_map(&mut secret).insert("immutable".to_owned(), true.into());
    }
    if is_new || !spec.target.immutable {
        let manager = field_manager(name);
        let stale = managed::owned_keys(&secret, &manager, &["data"]);
        object::child(&mut secret, "data").retain(|key, _| !stale.contains(key));
        apply_template(external_secret, spec, &mut secret, data)
            .map_err(|text| WriteError::Failed(format!("could not apply template: {text}")))?;
    }
    let algorithm = reconciler.algorithm;
    if owns {
        let owner = algorithm.hex(&format!("{}/{name}", object::namespace(external_secret)));
        set(&mut secret, "labels", CREATED_BY, &owner);
    } else if let Some(labels) = object::metadata(&mut secret).get_mut("labels") {
        object::as_map(labels).remove(CREATED_BY);
    }
    set(&mut secret, "labels", MANAGED, "true");
    let hash = data_hash(&secret, algorithm);
    set(&mut secret, "annotations", DATA_HASH, &hash);
    Ok(secret)
}

fn take_ownership(
    external_secret: &Value,
    secret: &mut Value,
    owns: bool,
) -> Result<(), WriteError> {
    let is_of_operator = |owner: &Value| {
        let version = object::text(owner, "/apiVersion");
        let group = version.split_once('/').map_or("", |(group, _)| group);
        object::text(owner, "/kind") == "ExternalSecret" && group == GROUP
    };
    let is_this = |owner: &Value| {
        is_of_operator(owner)
            && object::at(owner, "/name") == object::at(external_secret, "/metadata/name")
    };
    let owner = object::controller(secret).cloned();
    match &owner {
        Some(owner) if is_of_operator(owner) && !is_this(owner) => {
            let other = object::text(owner, "/name");
            return Err(WriteError::Final {
                condition: "target is owned by another ExternalSecret",
                text: format!("secret is owned by another ExternalSecret: {other}"),
            });
        }
        Some(owner) if owns && !is_this(owner) => {
            let (kind, other) = (object::text(owner, "/kind"), object::text(owner, "/name"));
            let of = format!("{}/{}", object::namespace(secret), object::name(secret));
            return Err(WriteError::Final {
                condition: "failed to take ownership of target secret",
                text: format!(
                    "could not set controller reference on secret: Object {of} is already owned by another {kind} \
                     controller {other}"
                ),
            });
        }
        _ => {}
    }
    let mut owners = object::items(secret, "/metadata/ownerReferences").to_vec();
    owners.retain(|owner| !is_this(owner));
    if owns {
        owners.push(json!({
            "apiVersion": object::at(external_secret, "/apiVersion"), "kind": "ExternalSecret",
            "name": object::at(external_secret, "/metadata/name"), "uid": object::at(external_secret, "/metadata/uid"),
            "controller": true, "blockOwnerDeletion": true,
        }));
    }
    let metadata = object::metadata(secret);
    if owners.is_empty() {
        metadata.remove("ownerReferences");
    } else {
        metadata.insert("ownerReferences".to_owned(), owners.into());
    }
    Ok(())
}

/// `ApplyTemplate` in the operator's `externalsecret_controller_template.go`.
fn apply_template(
    external_secret: &Value,
    spec: &Spec,
    secret: &mut Value,
    data: &Data,
) -> Result<(), String> {
    set_metadata(external_secret, spec.target.template.as_ref(), secret);
    if spec.target.creation_policy != CreationPolicy::Merge {
        object::child(secret, "data").clear();
    }
    let Some(template) = &spec.target.template else {
        insert(secret, data);
        return Ok(());
    };
    if !template.template_from.is_empty() {
        return Err(
            "error fetching templateFrom data: the sandbox does not support templateFrom"
                .to_owned(),
        );
    }
    if !template.r#type.is_empty() {
        object::as_map(secret).insert("type".to_owned(), template.r#type.clone().into());
    }
    if template.merge_policy == MergePolicy::Merge || template.data.is_empty() {
        insert(secret, data);
    }
    let mut rendered = Data::new();
    for (key, text) in &template.data {
        rendered.insert(key.clone(), template::render(key, text, data)?.into_bytes());
    }
    insert(secret, &rendered);
    for field in ["labels", "annotations"] {
        let metadata = template.metadata.as_ref().unwrap_or(&Value::Null);
        for (key, text) in object::texts(metadata, &format!("/{field}")) {
            let value = template::render(&key, &text, data)?;
            set(secret, field, &key, &value);
        }
    }
    Ok(())
}

/// Sets the labels and annotations from the template, or copies those of the ExternalSecret if there is no template.
fn set_metadata(external_secret: &Value, template: Option<&Template>, secret: &mut Value) {
    let name = object::name(external_secret);
    for field in ["labels", "annotations"] {
        // A bug of the operator: for names of up to 63 characters it looks for its earlier writes under the long form of
        // its field manager, but it writes under the short form for names of 28 characters or more. In between, stale
        // keys remain.
        let looked_for = if name.len() > 63 {
            field_manager(name)
        } else {
            long_field_manager(name)
        };
        let stale = managed::owned_keys(secret, &looked_for, &["metadata", field]);
        if let Some(texts) = object::metadata(secret).get_mut(field) {
            object::as_map(texts).retain(|key, _| !stale.contains(key));
        }
        if template.is_none() {
            for (key, value) in object::texts(external_secret, &format!("/metadata/{field}")) {
                set(secret, field, &key, &value);
            }
        }
    }
}

fn insert(secret: &mut Value, data: &Data) {
    let map = object::child(secret, "data");
    for (key, value) in data {
        map.insert(key.clone(), encode(value).into());
    }
}

fn set(object: &mut Value, field: &str, key: &str, value: &str) {
    let texts = object::metadata(object)
        .entry(field)
        .or_insert_with(|| json!({}));
    object::as_map(texts).insert(key.to_owned(), value.into());
}

/// The digest of a Secret's data, in the format of Go's `%+v`.
fn data_hash(secret: &Value, algorithm: Algorithm) -> String {
    let entries = object::at(secret, "/data")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let bytes = value.as_str().and_then(decode).unwrap_or_default();
            let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
            format!("{key}:[{}]", bytes.join(" "))
        });
    let entries: Vec<String> = entries.collect();
    algorithm.hex(&format!("map[{}]", entries.join(" ")))
}

fn long_field_manager(name: &str) -> String {
    format!("{FIELD_MANAGERS}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_hash_matches_recorded_secrets() {
        let secret = json!({"data": {"username": encode(b"admin"), "password": encode(b"s3cr3t")}});
        assert_eq!(
            data_hash(&secret, Algorithm::Sha3_224),
            "4dc87f1bc1b42f99971f11cd8a752c3c1babc6486c0744d841d68c6a"
        );
        assert_eq!(
            data_hash(&secret, Algorithm::Md5),
            "bd97a990a322595f67156a368159c206"
        );
        assert_eq!(
            data_hash(&json!({}), Algorithm::Md5),
            "97a15070f5f8c3bfe47678c5409471f6"
        );
    }
}
