//! Converts Kubernetes objects to the types of the inventory. Keeps only what decisions need.

use std::collections::BTreeSet;

use eso_model::{
    Id, ProviderKind, StoreKey, digest, duration::GoDuration, expected::CreationPolicy,
    refresh::Refresh, remote::Place, window::Windows,
};
use providers::{StoreSettings, Unread, reader::Source, unread};
use serde::Deserialize as _;
use serde_json::Value;

use super::NamespaceLabels;
use crate::{
    inventory::{Calls, ExternalSecret, Operator, ParentReference, Store, StoreUse, Target},
    policy::{Policy, Selection},
    wire,
};

/// The annotation that excludes an ExternalSecret.
pub(super) const IGNORE: &str = "eso-sync/ignore";

/// The annotation that allows a force-sync of an ExternalSecret with generators.
pub(super) const ROTATE: &str = "eso-sync/rotate";

pub(super) fn id(object: &wire::ExternalSecret) -> Id {
    Id {
        namespace: object.metadata.namespace.clone(),
        name: object.metadata.name.clone(),
    }
}

/// The name of the target Secret. By default it is the name of the ExternalSecret.
pub(super) fn target(object: &wire::ExternalSecret) -> String {
    let named = &object.spec.target.name;
    let name = if named.is_empty() {
        &object.metadata.name
    } else {
        named
    };
    name.clone()
}

/// Converts an ExternalSecret, if an entry of `select` in the policy may select it.
pub(super) fn external_secret(
    object: wire::ExternalSecret,
    policy: &Policy,
    labels: &NamespaceLabels,
) -> Option<ExternalSecret> {
    let covered_by = covering(&policy.select, &object.metadata, labels);
    if covered_by.is_empty() {
        return None;
    }
    let excluded_by = covering(&policy.exclude, &object.metadata, labels);
    let secret = target(&object);
    let wire::ExternalSecret {
        metadata,
        spec,
        status,
    } = object;
    let says = |annotation: &str| {
        metadata
            .annotations
            .get(annotation)
            .is_some_and(|value| value == "true")
    };
    let template = spec.target.template.is_some();
    let ready = wire::ready(&status.conditions);
    let recorded = &status.synced_resource_version;
    let (annotations, labels) = (&metadata.annotations, &metadata.labels);
    let synced = digest::is_synced(recorded, metadata.generation, annotations, labels);
    Some(ExternalSecret {
        proven: synced && ready.as_ref().is_some_and(|ready| ready.ready),
        stores: stores_of(&spec, &metadata.namespace),
        refresh: refresh_of(&spec),
        windows: windows_of(&spec),
        generators: generators_of(&spec),
        rotation_allowed: says(ROTATE),
        covered_by,
        excluded_by,
        target: Target {
            written: spec.target.creation_policy.as_deref() != Some("None"),
            immutable: spec.target.immutable,
            creation: creation(spec.target.creation_policy.as_deref()),
            templated: template,
        },
        secret,
        spec: None,
        parent: metadata
            .owner_references
            .iter()
            .find(|owner| owner.controller && owner.kind == "ClusterExternalSecret")
            .map(|owner| ParentReference {
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            }),
        ignored: says(IGNORE),
        deleting: metadata.deletion_timestamp.is_some(),
        refreshed: status.refresh_time,
        ready,
        uid: metadata.uid,
        id: Id {
            namespace: metadata.namespace,
            name: metadata.name,
        },
    })
}

/// An unknown policy counts as `None`, so that nothing relies on it.
fn creation(policy: Option<&str>) -> CreationPolicy {
    match policy {
        None | Some("" | "Owner") => CreationPolicy::Owner,
        Some("Orphan") => CreationPolicy::Orphan,
        Some("Merge") => CreationPolicy::Merge,
        Some("CreateOrMerge") => CreationPolicy::CreateOrMerge,
        Some(_) => CreationPolicy::None,
    }
}

fn covering(
    selections: &[Selection],
    metadata: &cluster::wire::Meta,
    labels: &NamespaceLabels,
) -> Vec<u16> {
    let covers = |selection: &Selection| {
        (selection.names.is_empty()
            || selection
                .names
                .iter()
                .any(|name| name.matches(&metadata.name)))
            && (selection.namespaces.is_empty()
                || selection
                    .namespaces
                    .iter()
                    .any(|namespace| namespace.matches(&metadata.namespace)))
            && selection
                .label_selector
                .as_ref()
                .is_none_or(|selector| selector.matches(&metadata.labels))
            && selection
                .namespace_selector
                .as_ref()
                .is_none_or(|selector| {
                    labels
                        .get(&metadata.namespace)
                        .is_some_and(|labels| selector.matches(labels))
                })
    };
    (0..)
        .zip(selections)
        .filter(|(_, selection)| covers(selection))
        .map(|(index, _)| index)
        .collect()
}

fn refresh_of(spec: &wire::ExternalSecretSpec) -> Refresh {
    let interval = spec
        .refresh_interval
        .as_ref()
        .and_then(|text| text.parse::<GoDuration>().ok());
    Refresh::from_spec(
        spec.refresh_policy.as_deref(),
        interval.map(|interval| interval.0),
    )
}

/// The stores of one ExternalSecret that are kept. The drift check does not find the others. A spec can name ten thousands.
const MOST_STORES: usize = 100;

/// The reads of one sync from one store.
struct Reads<'a> {
    store: StoreKey,
    /// The key and version of each entry.
    keys: Vec<(&'a str, &'a str)>,
    finds: usize,
}

/// The operator evaluates the windows only for periodic syncs.
fn windows_of(spec: &wire::ExternalSecretSpec) -> Option<Box<Windows>> {
    let periodic = matches!(refresh_of(spec), Refresh::Periodic(_));
    let windows = spec.sync_windows.as_ref().filter(|_| periodic)?;
    Windows::of(windows).map(Box::new)
}

/// All stores that the spec names with the calls of one sync, the default store first.
fn stores_of(spec: &wire::ExternalSecretSpec, namespace: &str) -> Vec<StoreUse> {
    let mut stores = Vec::new();
    let default = spec.secret_store_ref.as_ref();
    reads_of(&mut stores, default, namespace);
    let own = |source: Option<&'_ wire::SourceRef>| source?.store_ref.clone();
    for entry in &spec.data {
        let own = own(entry.source_ref.as_ref());
        if let Some(reads) = reads_of(&mut stores, own.as_ref().or(default), namespace) {
            let key = &entry.remote_ref;
            reads.keys.push((&key.key, &key.version));
        }
    }
    for entry in &spec.data_from {
        let own = own(entry.source_ref.as_ref());
        if let Some(reads) = reads_of(&mut stores, own.as_ref().or(default), namespace) {
            let extract = entry.extract.iter();
            reads
                .keys
                .extend(extract.map(|key| (&*key.key, &*key.version)));
            reads.finds += usize::from(entry.find.is_some());
        }
    }
    stores.into_iter().map(Reads::counted).collect()
}

/// The reads from a store. None if the reference is missing or names none.
fn reads_of<'r, 'a>(
    stores: &'r mut Vec<Reads<'a>>,
    reference: Option<&wire::StoreRef>,
    namespace: &str,
) -> Option<&'r mut Reads<'a>> {
    let reference = reference.filter(|reference| !reference.name.is_empty())?;
    let name = reference.name.clone();
    let store = if reference.kind == "ClusterSecretStore" {
        StoreKey::Cluster { name }
    } else {
        StoreKey::Namespaced {
            namespace: namespace.to_owned(),
            name,
        }
    };
    let known = stores.iter().position(|reads| reads.store == store);
    if known.is_none() && stores.len() >= MOST_STORES {
        return None;
    }
    let at = known.unwrap_or_else(|| {
        stores.push(Reads {
            store,
            keys: Vec::new(),
            finds: 0,
        });
        stores.len() - 1
    });
    stores.get_mut(at)
}

impl Reads<'_> {
    fn counted(self) -> StoreUse {
        let count = |calls: usize| u32::try_from(calls).unwrap_or(u32::MAX);
        let distinct: BTreeSet<&(&str, &str)> = self.keys.iter().collect();
        let calls = Calls {
            entries: count(self.keys.len()),
            distinct: count(distinct.len()),
            searches: count(self.finds),
        };
        StoreUse {
            key: self.store,
            calls,
        }
    }
}

fn generators_of(spec: &wire::ExternalSecretSpec) -> Vec<String> {
    let sources = spec
        .data_from
        .iter()
        .filter_map(|entry| entry.source_ref.as_ref());
    let kinds: BTreeSet<String> = sources
        .filter_map(|source| source.generator_ref.as_ref())
        .map(|generator| generator.kind.clone())
        .collect();
    kinds.into_iter().collect()
}

/// Converts a store.
pub(super) fn store(object: &wire::Store) -> Store {
    let wire::Store {
        metadata,
        spec,
        status,
    } = object.clone();
    let key = if metadata.namespace.is_empty() {
        StoreKey::Cluster {
            name: metadata.name,
        }
    } else {
        StoreKey::Namespaced {
            namespace: metadata.namespace,
            name: metadata.name,
        }
    };
    let (provider, settings) = spec.provider.iter().next().unzip();
    let settings = settings.unwrap_or(&Value::Null);
    let provider = ProviderKind::of(provider.map_or("", String::as_str), settings);
    Store {
        key,
        quota: provider.quota(settings),
        place: Box::new(Place::of(&provider, settings)),
        provider,
        foreign_class: Some(spec.controller)
            .filter(|class| !class.is_empty() && class != eso_model::DEFAULT_CLASS),
        ready: wire::ready(&status.conditions),
    }
}

/// Converts a store for the drift check.
pub(super) fn source(object: &wire::Store, store: &Store) -> Result<Source, Unread> {
    let conditions = &object.spec.conditions;
    let conditions = if conditions.is_null() {
        Ok(Vec::new())
    } else {
        Vec::deserialize(conditions)
    };
    let conditions = conditions
        .map_err(|_| Unread::store(unread::STORE, "its namespace conditions cannot be parsed"))?;
    let settings = object.spec.provider.values().next();
    Ok(Source {
        settings: StoreSettings {
            key: store.key.clone(),
            provider: store.provider.clone(),
            settings: settings.cloned().unwrap_or_default(),
        },
        conditions,
        quota: store.quota.clone(),
    })
}

/// Determines the operator's age from its CRD of ExternalSecrets (checked with the CRDs of v0.9.20, v0.10.7, v0.12.1, v0.14.4,
/// v0.16.2 and v0.20.4). The pattern on `secretKey` was added after v0.10 and not later than v0.12; selectable fields were added
/// in v0.20.0. Nothing else distinguishes v0.10, which honours a force-sync with interval 0, from v0.11, which does not.
pub(super) fn operator(
    definition: &cluster::wire::CustomResourceDefinition,
    version: &str,
) -> Operator {
    let Some(served) = definition
        .spec
        .versions
        .iter()
        .find(|served| served.name == version)
    else {
        return Operator::default();
    };
    let pattern =
        "/openAPIV3Schema/properties/spec/properties/data/items/properties/secretKey/pattern";
    Operator {
        mirrors_force_sync: Some(!served.selectable_fields.is_empty()),
        ignores_interval_zero: served.schema.pointer(pattern).map(|_| true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: Value) -> wire::ExternalSecretSpec {
        serde_json::from_value(value).unwrap()
    }

    /// Each store that the spec names, with its calls: of all entries, of distinct keys, and searches.
    fn calls(value: Value) -> Vec<(String, [u32; 3])> {
        let stores = stores_of(&spec(value), "ns").into_iter();
        let counted = |calls: Calls| [calls.entries, calls.distinct, calls.searches];
        stores
            .map(|of| (of.key.to_string(), counted(of.calls)))
            .collect()
    }

    #[test]
    fn each_store_of_the_entries_is_listed_once_with_its_calls() {
        let other = json!({"storeRef": {"name": "b", "kind": "ClusterSecretStore"}});
        let stores = calls(json!({
            "secretStoreRef": {"name": "a"},
            "data": [
                {"secretKey": "k", "remoteRef": {"key": "x"}, "sourceRef": other},
                {"secretKey": "l", "remoteRef": {"key": "x"}, "sourceRef": {"storeRef": {"name": "a", "kind": "SecretStore"}}},
                {"secretKey": "m", "remoteRef": {"key": "y"}},
            ],
            "dataFrom": [
                {"extract": {"key": "x"}, "sourceRef": other},
                {"find": {"name": {"regexp": ".*"}}, "sourceRef": {"storeRef": {"name": "c"}}},
            ],
        }));
        let expected = [
            ("SecretStore/ns/a", [2, 2, 0]),
            ("ClusterSecretStore/b", [2, 1, 0]),
            ("SecretStore/ns/c", [0, 0, 1]),
        ];
        assert_eq!(
            stores,
            expected.map(|(store, counts)| (store.to_owned(), counts))
        );
    }

    #[test]
    fn cost_counts_entries_and_distinct_keys() {
        let value = json!({
            "secretStoreRef": {"name": "a"},
            "data": [
                {"remoteRef": {"key": "x", "property": "a"}},
                {"remoteRef": {"key": "x", "property": "b"}},
                {"remoteRef": {"key": "x", "version": "1"}},
            ],
            "dataFrom": [{"extract": {"key": "y"}}, {"find": {"name": {"regexp": ".*"}}}, {"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}}],
        });
        assert_eq!(generators_of(&spec(value.clone())), ["Password"]);
        assert_eq!(calls(value), [("SecretStore/ns/a".to_owned(), [4, 3, 1])]);
    }

    #[test]
    fn operator_age_is_read_from_crd_fields() {
        let of = |value: Value| operator(&serde_json::from_value(value).unwrap(), "v1");
        let schema = json!({"openAPIV3Schema": {"properties": {"spec": {"properties": {"data": {"items": {"properties": {
            "secretKey": {"pattern": "^[-._a-zA-Z0-9]+$"}}}}}}}}});
        let young = of(
            json!({"spec": {"versions": [{"name": "v1", "schema": schema, "selectableFields": [{"jsonPath": ".spec.x"}]}]}}),
        );
        assert_eq!(
            young,
            Operator {
                mirrors_force_sync: Some(true),
                ignores_interval_zero: Some(true)
            }
        );
        let older = of(json!({"spec": {"versions": [{"name": "v1", "schema": schema}]}}));
        assert_eq!(
            older,
            Operator {
                mirrors_force_sync: Some(false),
                ignores_interval_zero: Some(true)
            }
        );
        let old = of(json!({"spec": {"versions": [{"name": "v1", "schema": {}}]}}));
        assert_eq!(old.ignores_interval_zero, None);
        assert_eq!(of(json!({"spec": {"versions": []}})), Operator::default());
    }
}
