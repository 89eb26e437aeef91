//! Reads the data for a Secret from the provider (`GetProviderSecretData` in the operator's
//! `externalsecret_controller_secret.go`).

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use eso_model::expected::{
    Data as DataRef, DataFrom, DecodingStrategy, DeletionPolicy, Find, MetadataPolicy, RemoteRef,
    SourceRef, StoreRef,
};
use regex::Regex;
use serde_json::Value;

use super::{
    CLASS, Reconciler,
    spec::{Spec, is_cluster_wide},
    template::Data,
};
use crate::{
    object,
    provider::{Access, ProviderError, Time},
    resource::Resource,
    select,
};

/// An ExternalSecret, and the point in time whose values it gets.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) external_secret: &'a Value,
    pub(super) spec: &'a Spec,
    pub(super) time: Time,
}

/// Returns the data, or the message for the operator's Event.
pub(super) async fn provider_data(
    reconciler: &Reconciler,
    wanted: Wanted<'_>,
) -> Result<Data, String> {
    let mut data = Data::new();
    let skips_missing = wanted.spec.target.deletion_policy != DeletionPolicy::Retain;
    for (index, from) in wanted.spec.data_from.iter().enumerate() {
        let (part, fetched) = data_from(reconciler, wanted, from).await;
        match fetched {
            Ok(fetched) => data.extend(fetched),
            Err(ProviderError::NoSecret) if skips_missing => {
                let message =
                    format!("secret does not exist at provider using spec.dataFrom[{index}]");
                note_missing(reconciler, wanted, &message);
            }
            Err(error) => {
                return Err(format!(
                    "error processing spec.dataFrom[{index}].{part}, err: {error}"
                ));
            }
        }
    }
    for (index, entry) in wanted.spec.data.iter().enumerate() {
        let key = &entry.remote_ref.key;
        match single(reconciler, wanted, entry).await {
            Ok(value) => {
                data.insert(entry.secret_key.clone(), value);
            }
            Err(ProviderError::NoSecret) if skips_missing => {
                // The real operator's message names dataFrom here too.
                let message = format!(
                    "secret does not exist at provider using spec.dataFrom[{index}] (key={key})"
                );
                note_missing(reconciler, wanted, &message);
            }
            Err(error) => {
                return Err(format!(
                    "error processing spec.data[{index}] (key: {key}), err: {error}"
                ));
            }
        }
    }
    Ok(data)
}

fn note_missing(reconciler: &Reconciler, wanted: Wanted<'_>, message: &str) {
    if wanted.time == Time::Present {
        reconciler.event(
            wanted.external_secret,
            "Normal",
            "MissingProviderSecret",
            message,
        );
    }
}

async fn single(
    reconciler: &Reconciler,
    wanted: Wanted<'_>,
    entry: &DataRef,
) -> Result<Vec<u8>, ProviderError> {
    let store = usable_store(reconciler, wanted, entry.source_ref.as_ref())?;
    let RemoteRef {
        key,
        property,
        decoding_strategy,
        ..
    } = supported(&entry.remote_ref)?;
    let value = reconciler
        .provider
        .get(access(wanted, &store), key, property)
        .await?;
    decode(*decoding_strategy, value)
}

async fn data_from(
    reconciler: &Reconciler,
    wanted: Wanted<'_>,
    from: &DataFrom,
) -> (&'static str, Result<Data, ProviderError>) {
    if !from.rewrite.is_empty() {
        return ("extract", Err(unsupported("does not support rewrites")));
    }
    if let Some(find) = &from.find {
        return ("find", found(reconciler, wanted, from, find).await);
    }
    if let Some(extract) = &from.extract {
        return (
            "extract",
            extracted(reconciler, wanted, from, extract).await,
        );
    }
    (
        "sourceRef.generatorRef",
        Err(unsupported("does not support generators")),
    )
}

async fn extracted(
    reconciler: &Reconciler,
    wanted: Wanted<'_>,
    from: &DataFrom,
    extract: &RemoteRef,
) -> Result<Data, ProviderError> {
    let store = usable_store(reconciler, wanted, from.source_ref.as_ref())?;
    let RemoteRef {
        key,
        property,
        decoding_strategy,
        ..
    } = supported(extract)?;
    let members = reconciler
        .provider
        .get_map(access(wanted, &store), key, property)
        .await?;
    finish(members, *decoding_strategy)
}

async fn found(
    reconciler: &Reconciler,
    wanted: Wanted<'_>,
    from: &DataFrom,
    find: &Find,
) -> Result<Data, ProviderError> {
    let store = usable_store(reconciler, wanted, from.source_ref.as_ref())
        .map_err(|error| ProviderError::Failed(format!("error getting all secrets: {error}")))?;
    let Some(name) = find
        .name
        .as_ref()
        .filter(|_| find.path.is_none() && find.tags.is_none())
    else {
        return Err(unsupported("supports `find` by name only"));
    };
    let members = reconciler
        .provider
        .find(access(wanted, &store), &name.regexp)
        .await?;
    finish(members, find.decoding_strategy)
}

fn access<'a>(wanted: Wanted<'a>, store: &'a Value) -> Access<'a> {
    Access {
        store,
        external_secret: Some(wanted.external_secret),
        time: wanted.time,
    }
}

fn supported(remote: &RemoteRef) -> Result<&RemoteRef, ProviderError> {
    if !remote.version.is_empty() {
        return Err(unsupported("does not support versions"));
    }
    if remote.metadata_policy == MetadataPolicy::Fetch {
        return Err(unsupported("does not support metadata"));
    }
    Ok(remote)
}

fn unsupported(what: &str) -> ProviderError {
    ProviderError::Failed(format!("the sandbox's provider {what}"))
}

/// Returns the store if it can be used now (`client_manager.go`).
fn usable_store(
    reconciler: &Reconciler,
    wanted: Wanted<'_>,
    source: Option<&SourceRef>,
) -> Result<Arc<Value>, ProviderError> {
    let reference = source
        .and_then(|source| source.store_ref.as_ref())
        .or(wanted.spec.secret_store_ref.as_ref());
    let (kind, name) = reference.map_or(("SecretStore", ""), |store| (&*store.kind, &*store.name));
    let namespace = object::namespace(wanted.external_secret);
    let store = reference.and_then(|reference| reconciler.store_of(reference, namespace));
    let store = store.ok_or_else(|| {
        ProviderError::Failed(format!(
            "could not get {kind} {name:?}, {kind}.external-secrets.io {name:?} not found"
        ))
    })?;
    if wanted.time == Time::Previous {
        return Ok(store);
    }
    if !matches!(object::text(&store, "/spec/controller"), "" | CLASS) {
        return Err(ProviderError::Failed(
            "can not reference unmanaged store".to_owned(),
        ));
    }
    if reference.is_some_and(is_cluster_wide) && !allows_namespace(reconciler, &store, namespace) {
        return Err(ProviderError::Failed(format!(
            "using cluster store {name:?} is not allowed from namespace {namespace:?}: denied by spec.condition"
        )));
    }
    if !is_ready(&store) {
        return Err(ProviderError::Failed(format!(
            "{kind} {name:?} is not ready"
        )));
    }
    Ok(store)
}

/// True if a store's Ready condition is `True`.
pub(super) fn is_ready(store: &Value) -> bool {
    let mut conditions = object::items(store, "/status/conditions").iter();
    conditions.any(|condition| {
        object::text(condition, "/type") == "Ready" && object::text(condition, "/status") == "True"
    })
}

fn allows_namespace(reconciler: &Reconciler, store: &Value, name: &str) -> bool {
    let conditions = object::items(store, "/spec/conditions");
    let namespaces = Resource::of_plural("namespaces");
    let namespace = namespaces.and_then(|namespaces| reconciler.store.get(namespaces, "", name));
    conditions.is_empty()
        || conditions.iter().any(|condition| {
            let selector = condition.get("namespaceSelector");
            let selected = selector.is_some_and(|selector| {
                namespace
                    .as_ref()
                    .is_some_and(|namespace| select::matches_selector(selector, namespace))
            });
            let listed = object::items(condition, "/namespaces")
                .iter()
                .any(|listed| listed == name);
            let mut patterns = object::items(condition, "/namespaceRegexes")
                .iter()
                .filter_map(Value::as_str);
            selected
                || listed
                || patterns
                    .any(|pattern| Regex::new(pattern).is_ok_and(|regex| regex.is_match(name)))
        })
}

impl Reconciler {
    /// The store that a reference names, for an ExternalSecret in this namespace.
    pub(super) fn store_of(&self, reference: &StoreRef, namespace: &str) -> Option<Arc<Value>> {
        let (plural, namespace) = if is_cluster_wide(reference) {
            ("clustersecretstores", "")
        } else {
            ("secretstores", namespace)
        };
        self.store
            .get(Resource::of_plural(plural)?, namespace, &reference.name)
    }
}

/// Replaces characters that are invalid in Secret keys, and decodes the values.
fn finish(members: Data, decoding: DecodingStrategy) -> Result<Data, ProviderError> {
    let mut data = Data::new();
    for (key, value) in members {
        let fits = |c: char| c.is_alphanumeric() || "-._".contains(c);
        let key: String = key.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        if data.insert(key, decode(decoding, value)?).is_some() {
            return Err(ProviderError::Failed(
                "error applying conversion strategy Default to keys: secret name collision during conversion".to_owned(),
            ));
        }
    }
    Ok(data)
}

fn decode(strategy: DecodingStrategy, value: Vec<u8>) -> Result<Vec<u8>, ProviderError> {
    let failed = |strategy: &str| {
        ProviderError::Failed(format!(
            "error applying decoding strategy {strategy} to data: illegal base64 data"
        ))
    };
    match strategy {
        DecodingStrategy::Base64 => STANDARD.decode(&value).map_err(|_| failed("Base64")),
        DecodingStrategy::Base64Url => URL_SAFE.decode(&value).map_err(|_| failed("Base64URL")),
        DecodingStrategy::Auto => Ok(STANDARD
            .decode(&value)
            .or_else(|_| URL_SAFE.decode(&value))
            .unwrap_or(value)),
        DecodingStrategy::None => Ok(value),
    }
}
