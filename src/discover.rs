//! Reads the cluster into an [`Inventory`]. Objects that cannot be read or listed become a gap or a degraded item.

mod kept;
mod project;

use std::collections::{BTreeMap, BTreeSet};

use cluster::{ApiError, Cluster, ErrorKind, Path, Query, wire::Meta};
use eso_model::{self, Id, ProviderKind, StoreKey};
use providers::{
    Unread,
    reader::{NamespaceLabels, Source},
    unread,
};

use self::kept::Kept;
use crate::{
    inventory::{ExternalSecret, Gap, Inventory, Operator, Parent, ParentReference, StoreView},
    policy::{Policy, Selection},
    wire,
};

/// The bytes of specs that are kept for the drift check and for the names of keys. Ten thousand ordinary specs take 10 MiB.
const SPECS: usize = 24 << 20;

/// The bytes of settings of stores that are kept for the drift check, and the maximum for one store. Only the `fake` provider needs
/// more: its settings contain the values.
const SETTINGS: usize = 4 << 20;
const SETTINGS_OF_STORE: usize = 64 << 10;

/// The result of discovery, with the starting points for watches.
#[derive(Debug)]
pub struct Discovered {
    pub inventory: Inventory,
    /// The API version and paths of the ExternalSecrets.
    pub api: Api,
    /// One entry per list of ExternalSecrets.
    pub watch_from: Vec<WatchFrom>,
    /// The stores for the drift check, or why a store is unavailable. Empty without a drift check.
    pub sources: BTreeMap<StoreKey, Result<Source, Unread>>,
    /// The labels of namespaces, if conditions of stores need them. None if they could not be read.
    pub labels: Option<NamespaceLabels>,
}

/// The served version of the operator's API, and its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    version: String,
}

/// The starting point of a watch: a list that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchFrom {
    /// None means all namespaces.
    pub namespace: Option<String>,
    pub resource_version: String,
}

/// The reason why discovery failed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The cluster does not serve ExternalSecrets.
    #[error(
        "the cluster serves no ExternalSecrets ({}): is the External Secrets Operator installed?",
        eso_model::GROUP
    )]
    NotInstalled,
    /// Neither `v1` nor `v1beta1`.
    #[error("the cluster serves {group} in {0} only; eso-sync supports v1 and v1beta1", group = eso_model::GROUP)]
    UnknownVersion(String),
    /// A required call failed.
    #[error(transparent)]
    Call(#[from] ApiError),
}

impl Api {
    /// Determines the served version.
    pub async fn find(cluster: &Cluster) -> Result<Self, DiscoverError> {
        let group: cluster::wire::ApiGroup = match cluster.get(&Path::group(eso_model::GROUP)).await
        {
            Err(error) if error.kind == ErrorKind::NotFound => {
                return Err(DiscoverError::NotInstalled);
            }
            other => other?,
        };
        let served = |version: &str| {
            group
                .versions
                .iter()
                .any(|served| served.version == version)
        };
        let version = ["v1", "v1beta1"]
            .into_iter()
            .find(|version| served(version))
            .ok_or_else(|| {
                let versions: Vec<&str> = group
                    .versions
                    .iter()
                    .map(|served| &*served.version)
                    .collect();
                DiscoverError::UnknownVersion(versions.join(", "))
            })?;
        Ok(Self {
            version: version.to_owned(),
        })
    }

    /// The path of a collection such as `externalsecrets`, in one namespace or in all.
    pub fn path(&self, namespace: Option<&str>, plural: &str) -> Path {
        Path::api(eso_model::GROUP, &self.version).collection(namespace, plural)
    }

    /// `external-secrets.io/v1`
    pub fn api_version(&self) -> String {
        format!("{}/{}", eso_model::GROUP, self.version)
    }
}

/// Reads everything that the plan for this policy needs.
pub async fn discover(cluster: &Cluster, policy: &Policy) -> Result<Discovered, DiscoverError> {
    let api = Api::find(cluster).await?;
    let mut inventory = Inventory::default();
    let scopes: Vec<Option<String>> = match policy.literal_namespaces() {
        Some(namespaces) => namespaces.into_iter().map(Some).collect(),
        None => vec![None],
    };
    let labels = namespace_labels(cluster, policy, &mut inventory).await?;
    let watch_from =
        external_secrets(cluster, &api, policy, &scopes, &labels, &mut inventory).await?;
    let sources = stores(cluster, &api, policy, &scopes, &mut inventory).await;
    let labels = labels_for(&sources, labels, cluster).await;
    parents(cluster, &api, &mut inventory).await;
    if age_matters(&inventory) {
        inventory.operator = operator(cluster, &api).await;
    }
    inventory.external_secrets.sort_by(|a, b| a.id.cmp(&b.id));
    inventory.gaps.sort();
    Ok(Discovered {
        inventory,
        api,
        watch_from,
        sources,
        labels,
    })
}

/// The labels of namespaces that conditions of stores need. Without them, the drift check degrades the affected items.
async fn labels_for(
    sources: &BTreeMap<StoreKey, Result<Source, Unread>>,
    known: NamespaceLabels,
    cluster: &Cluster,
) -> Option<NamespaceLabels> {
    let asks = |source: &Source| {
        let mut conditions = source.conditions.iter();
        conditions.any(|condition| condition.namespace_selector.is_some())
    };
    if !known.is_empty() || !sources.values().flatten().any(asks) {
        return Some(known);
    }
    let mut labels = NamespaceLabels::new();
    let each = |namespace: cluster::wire::Namespace| {
        labels.insert(namespace.metadata.name, namespace.metadata.labels);
    };
    let listed = cluster
        .list(&Query::new(Path::core(None, "namespaces")), each)
        .await;
    listed.ok().map(|_| labels)
}

/// The labels of all namespaces, if an entry of the policy needs them.
async fn namespace_labels(
    cluster: &Cluster,
    policy: &Policy,
    inventory: &mut Inventory,
) -> Result<NamespaceLabels, DiscoverError> {
    let mut labels = NamespaceLabels::new();
    let asks = |selection: &Selection| selection.namespace_selector.is_some();
    if !policy.select.iter().chain(&policy.exclude).any(asks) {
        return Ok(labels);
    }
    let listed = cluster
        .list(
            &Query::new(Path::core(None, "namespaces")),
            |namespace: cluster::wire::Namespace| {
                labels.insert(namespace.metadata.name, namespace.metadata.labels);
            },
        )
        .await;
    match listed {
        // An `exclude` that cannot be evaluated would exclude nothing, so the run must not continue.
        Err(error) if policy.exclude.iter().any(asks) => return Err(error.into()),
        Err(error) => inventory.gaps.push(gap("namespaces", None, &error)),
        Ok(_) => {}
    }
    Ok(labels)
}

async fn external_secrets(
    cluster: &Cluster,
    api: &Api,
    policy: &Policy,
    scopes: &[Option<String>],
    labels: &NamespaceLabels,
    inventory: &mut Inventory,
) -> Result<Vec<WatchFrom>, DiscoverError> {
    let (mut watch_from, mut refused) = (Vec::new(), None);
    let mut specs = Kept::within(SPECS);
    for namespace in scopes {
        let query = Query::new(api.path(namespace.as_deref(), "externalsecrets"));
        // A list that starts again passes items again. The map keeps each name once.
        let mut found = BTreeMap::new();
        let mut others = BTreeMap::new();
        let listed = if needs_specs(policy) {
            let each = |object: wire::WholeExternalSecret| {
                let (object, spec) = object.split();
                let target = project::target(&object);
                let id = project::id(&object);
                if let Some(mut external_secret) = project::external_secret(object, policy, labels)
                {
                    let given_up = specs.add(&id.namespace, &id.name, spec.len());
                    external_secret.spec = Some(spec.into());
                    found.insert(id, external_secret);
                    give_up(&mut found, given_up);
                } else {
                    others.insert(id, target);
                }
            };
            cluster.list(&query, each).await
        } else {
            let each = |object: wire::ExternalSecret| {
                if let Some(external_secret) = project::external_secret(object, policy, labels) {
                    found.insert(external_secret.id.clone(), external_secret);
                }
            };
            cluster.list(&query, each).await
        };
        match listed {
            Ok(resource_version) => {
                inventory.external_secrets.extend(found.into_values());
                for (id, secret) in others {
                    let target = Id {
                        namespace: id.namespace,
                        name: secret,
                    };
                    inventory.others.entry(target).or_default().push(id.name);
                }
                watch_from.push(WatchFrom {
                    namespace: namespace.clone(),
                    resource_version,
                });
            }
            Err(error) if error.kind == ErrorKind::Denied && namespace.is_some() => {
                inventory
                    .gaps
                    .push(gap("externalsecrets", namespace.as_deref(), &error));
                refused = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match refused {
        Some(error) if watch_from.is_empty() => Err(error.into()),
        _ => Ok(watch_from),
    }
}

/// True if the specs are kept: for the drift check, for names of keys, or to find the readers of a key.
fn needs_specs(policy: &Policy) -> bool {
    policy.drift.enabled
        || !policy.restart.is_empty()
        || policy.publish.is_some()
        || policy.events.is_some()
}

/// Drops the specs of these ExternalSecrets, by namespace and name.
fn give_up(found: &mut BTreeMap<Id, ExternalSecret>, given_up: Vec<(String, String)>) {
    for (namespace, name) in given_up {
        if let Some(external_secret) = found.get_mut(&Id { namespace, name }) {
            external_secret.spec = None;
        }
    }
}

/// Keeps the settings of a store for the drift check, if they are not too large.
fn keep_source(
    object: &wire::Store,
    store: &crate::inventory::Store,
    kept: &mut Kept,
    sources: &mut BTreeMap<StoreKey, Result<Source, Unread>>,
) {
    let too_large = || Unread::store(unread::TOO_MUCH_DATA, "its settings are too large");
    let size = serde_json::to_vec(&object.spec).map_or(0, |text| text.len());
    if size > SETTINGS_OF_STORE && store.provider != ProviderKind::Fake {
        sources.insert(store.key.clone(), Err(too_large()));
        return;
    }
    sources.insert(store.key.clone(), project::source(object, store));
    let Meta {
        namespace, name, ..
    } = &object.metadata;
    for (namespace, name) in kept.add(namespace, name, size) {
        let key = if namespace.is_empty() {
            StoreKey::Cluster { name }
        } else {
            StoreKey::Namespaced { namespace, name }
        };
        sources.insert(key, Err(too_large()));
    }
}

/// Reads the stores. An unreadable store degrades the items that use it.
async fn stores(
    cluster: &Cluster,
    api: &Api,
    policy: &Policy,
    scopes: &[Option<String>],
    inventory: &mut Inventory,
) -> BTreeMap<StoreKey, Result<Source, Unread>> {
    let wanted: BTreeSet<StoreKey> = inventory
        .external_secrets
        .iter()
        .flat_map(|external_secret| external_secret.store_keys().cloned())
        .collect();
    let mut lists: Vec<(&str, Option<&str>)> = Vec::new();
    if wanted.iter().any(|key| key.namespace().is_none()) {
        lists.push(("clustersecretstores", None));
    }
    for scope in scopes {
        let covers = |key: &StoreKey| {
            key.namespace()
                .is_some_and(|own| scope.as_deref().is_none_or(|it| it == own))
        };
        if wanted.iter().any(covers) {
            lists.push(("secretstores", scope.as_deref()));
        }
    }
    let (mut views, mut sources) = (BTreeMap::new(), BTreeMap::new());
    let (mut settings, mut unreadable) = (Kept::within(SETTINGS), Vec::new());
    for (plural, namespace) in lists {
        let listed = cluster
            .list(
                &Query::new(api.path(namespace, plural)),
                |object: wire::Store| {
                    let store = project::store(&object);
                    if wanted.contains(&store.key) {
                        if policy.drift.enabled {
                            keep_source(&object, &store, &mut settings, &mut sources);
                        }
                        views.insert(store.key.clone(), StoreView::Seen(store));
                    }
                },
            )
            .await;
        if let Err(error) = listed {
            unreadable.push((plural, namespace, error.why().to_owned()));
            inventory.gaps.push(gap(plural, namespace, &error));
        }
    }
    for key in wanted {
        views.entry(key.clone()).or_insert_with(|| {
            let why = unreadable
                .iter()
                .find(|(plural, namespace, _)| match key.namespace() {
                    None => *plural == "clustersecretstores",
                    Some(own) => *plural == "secretstores" && namespace.is_none_or(|it| it == own),
                });
            why.map_or(StoreView::Missing, |(_, _, why)| {
                StoreView::Unknown(why.clone())
            })
        });
    }
    if policy.drift.enabled {
        add_unreadable_stores(&views, &mut sources);
    }
    inventory.stores = views;
    sources
}

/// Reads one store.
pub async fn source(cluster: &Cluster, key: &StoreKey) -> Result<Source, Unread> {
    let unread = |why: &str| Unread::store(unread::STORE, format!("{key}: {why}"));
    let api = Api::find(cluster)
        .await
        .map_err(|error| unread(&error.to_string()))?;
    let plural = match key {
        StoreKey::Cluster { .. } => "clustersecretstores",
        StoreKey::Namespaced { .. } => "secretstores",
    };
    let path = api.path(key.namespace(), plural).named(key.name());
    let object = cluster.get::<wire::Store>(&path).await;
    let object = object.map_err(|error| unread(error.why()))?;
    project::source(&object, &project::store(&object))
}

/// Adds the reason for each store that cannot be read.
fn add_unreadable_stores(
    views: &BTreeMap<StoreKey, StoreView>,
    sources: &mut BTreeMap<StoreKey, Result<Source, Unread>>,
) {
    for (key, view) in views {
        let why = match view {
            StoreView::Seen(_) => continue,
            StoreView::Missing => "it does not exist",
            StoreView::Unknown(why) => why,
        };
        sources.insert(key.clone(), Err(Unread::store(unread::STORE, why)));
    }
}

async fn parents(cluster: &Cluster, api: &Api, inventory: &mut Inventory) {
    let wanted: BTreeSet<String> = inventory
        .external_secrets
        .iter()
        .filter_map(|external_secret| Some(external_secret.parent.as_ref()?.name.clone()))
        .collect();
    for name in wanted {
        let path = api.path(None, "clusterexternalsecrets").named(&name);
        let parent = match cluster.get::<wire::ClusterExternalSecret>(&path).await {
            Ok(object) => {
                forget_false_parents(inventory, &name, &object.metadata.uid);
                Some(Parent {
                    uid: object.metadata.uid,
                    namespaces: object.status.provisioned_namespaces,
                })
            }
            Err(error) => {
                inventory
                    .gaps
                    .push(gap(&format!("clusterexternalsecrets/{name}"), None, &error));
                None
            }
        };
        inventory.parents.insert(name, parent);
    }
}

/// Removes the reference to this parent from the ExternalSecrets that name it with another UID. Whoever may write an
/// ExternalSecret can name any parent, so only the UID proves that it is one.
fn forget_false_parents(inventory: &mut Inventory, name: &str, uid: &str) {
    for external_secret in &mut inventory.external_secrets {
        let is_false = |parent: &mut ParentReference| parent.name == name && parent.uid != uid;
        external_secret.parent.take_if(is_false);
    }
}

/// True if a decision depends on the operator's age.
fn age_matters(inventory: &Inventory) -> bool {
    inventory.external_secrets.iter().any(|external_secret| {
        external_secret.parent.is_some()
            || external_secret.refresh
                == eso_model::refresh::Refresh::Periodic(std::time::Duration::ZERO)
    })
}

/// Determines the operator's age from the fields of its CRD. Unknown if the CRD cannot be read.
async fn operator(cluster: &Cluster, api: &Api) -> Operator {
    let path = Path::api("apiextensions.k8s.io", "v1")
        .collection(None, "customresourcedefinitions")
        .named(&format!("externalsecrets.{}", eso_model::GROUP));
    match cluster
        .get::<cluster::wire::CustomResourceDefinition>(&path)
        .await
    {
        Ok(definition) => project::operator(&definition, &api.version),
        Err(error) => {
            tracing::debug!(%error, "the operator's age is unknown");
            Operator::default()
        }
    }
}

/// The gap after a failed call: what could not be read or listed.
pub(crate) fn gap(what: &str, namespace: Option<&str>, error: &ApiError) -> Gap {
    Gap {
        what: what.to_owned(),
        namespace: namespace.map(str::to_owned),
        why: error.why().to_owned(),
    }
}
