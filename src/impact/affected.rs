//! The ExternalSecrets that a change reaches.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
};

use eso_model::{
    Id, ProviderKind, StoreKey,
    expected::What,
    remote::{Certainty, Realm, RemoteKey, Use},
};

use crate::{
    drift::templates::{SourceKind, SourceName, sources},
    inventory::{ExternalSecret, Inventory},
    pattern::Pattern,
    policy::StorePattern,
    readers::Readers,
    select::store_matches,
    similar::{SHOWN, distance, first, nearest},
};

/// What a command asks about. Each part that is given narrows the answer; several keys are alternatives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub keys: Vec<RemoteKey>,
    pub secret: Option<Id>,
    pub store: Option<StorePattern>,
    /// Only ExternalSecrets in this namespace.
    pub namespace: Option<String>,
}

/// The ExternalSecrets that a change reaches, each with the ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    pub of: BTreeMap<Id, BTreeSet<Way>>,
    /// The ExternalSecrets whose spec is not known, each with the reason. They may be affected, too.
    pub unknown: BTreeMap<Id, String>,
    /// The keys, Secrets or stores that the user may have meant, if nothing is affected.
    pub similar: Vec<String>,
}

/// How a change reaches an ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It reads a key or makes a search.
    Read {
        store: StoreKey,
        what: What,
        certainty: Certainty,
    },
    /// Its template contains this Secret, which another affected ExternalSecret writes.
    Template(String),
    /// It was asked for, and reads nothing from a store.
    Named,
}

impl From<Use<'_>> for Way {
    fn from(used: Use<'_>) -> Self {
        Self::Read {
            store: used.store.clone(),
            what: used.what.clone(),
            certainty: used.certainty,
        }
    }
}

/// The parsed inventory.
struct Search<'a> {
    inventory: &'a Inventory,
    by_id: BTreeMap<&'a Id, &'a ExternalSecret>,
    readers: Readers,
    /// The ExternalSecrets whose templates contain a Secret, by that Secret.
    templates: BTreeMap<Id, BTreeSet<Id>>,
}

/// Finds the ExternalSecrets that the change reaches, also those that use the Secrets of others.
pub fn affected(question: &Question, inventory: &Inventory) -> Affected {
    let search = Search::of(inventory);
    let by_reads = !question.keys.is_empty() || question.store.is_some();
    let mut of = if by_reads {
        search.readers(question)
    } else {
        search.writers(question.secret.as_ref())
    };
    search.spread(&mut of);
    let is_asked = |id: &Id| {
        let namespace = question.namespace.as_ref();
        let secret = question.secret.as_ref();
        let written = search.by_id.get(id).map(|one| one.secret_id());
        namespace.is_none_or(|namespace| id.namespace == *namespace)
            && (!by_reads || secret.is_none_or(|secret| written.as_ref() == Some(secret)))
    };
    of.retain(|id, _| is_asked(id));
    let similar = if of.is_empty() {
        search.similar(question)
    } else {
        Vec::new()
    };
    let mut unknown = search.readers.unknown;
    unknown.retain(|id, _| {
        let namespace = question.namespace.as_ref();
        namespace.is_none_or(|namespace| id.namespace == *namespace)
    });
    Affected {
        of,
        unknown,
        similar,
    }
}

impl<'a> Search<'a> {
    fn of(inventory: &'a Inventory) -> Self {
        let all = inventory.external_secrets.iter();
        let mut templates: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        let readers = Readers::visiting(inventory, &mut |id, spec| {
            for SourceName { kind, name } in sources(spec) {
                if kind == SourceKind::Secret {
                    let secret = Id {
                        namespace: id.namespace.clone(),
                        name,
                    };
                    templates.entry(secret).or_default().insert(id.clone());
                }
            }
        });
        Self {
            inventory,
            by_id: all.map(|one| (&one.id, one)).collect(),
            readers,
            templates,
        }
    }

    /// Those that use one of the keys, at a store that matches.
    fn readers(&self, question: &Question) -> BTreeMap<Id, BTreeSet<Way>> {
        let at_store = |key: &StoreKey| {
            let pattern = question.store.as_ref();
            pattern.is_none_or(|pattern| store_matches(pattern, key))
        };
        let mut of: BTreeMap<Id, BTreeSet<Way>> = BTreeMap::new();
        let mut add = |used: Use<'_>| {
            if at_store(used.store) {
                of.entry(used.by.clone()).or_default().insert(used.into());
            }
        };
        if question.keys.is_empty() {
            self.readers.index.all().for_each(&mut add);
            // A spec may name a store without reading anything from it.
            for external_secret in &self.inventory.external_secrets {
                if external_secret.store_keys().any(at_store) {
                    let ways = of.entry(external_secret.id.clone()).or_default();
                    if ways.is_empty() {
                        ways.insert(Way::Named);
                    }
                }
            }
        } else {
            for (_, used) in self.readers.index.users(&question.keys) {
                add(used);
            }
        }
        of
    }

    /// The names that are nearest to those that were asked for and do not exist.
    fn similar(&self, question: &Question) -> Vec<String> {
        let keys = question.keys.iter().flat_map(|key| self.similar_keys(key));
        let secrets = question.secret.iter();
        let secrets = secrets.flat_map(|secret| self.similar_secrets(secret));
        let stores = question.store.iter();
        let stores = stores.flat_map(|pattern| self.similar_stores(pattern));
        let mut similar: Vec<String> = Vec::new();
        for name in keys.chain(secrets).chain(stores) {
            if !similar.contains(&name) && similar.len() < SHOWN {
                similar.push(name);
            }
        }
        similar
    }

    /// The keys that are read and have nearly this name. None if the key itself is read.
    fn similar_keys(&self, key: &RemoteKey) -> Vec<String> {
        if !self.readers.index.users(slice::from_ref(key)).is_empty() {
            return Vec::new();
        }
        let read = self.readers.index.all().filter_map(|used| match used.what {
            What::Secret { key, .. } => Some(&**key),
            What::Find { .. } => None,
        });
        let read: BTreeSet<&str> = read.collect();
        let names = key.names.iter();
        let near = names.flat_map(|name| nearest(name, read.iter().copied()));
        near.map(str::to_owned).collect()
    }

    /// The Secrets that are written and have nearly this name. None if the Secret itself is written.
    fn similar_secrets(&self, secret: &Id) -> Vec<String> {
        let all = self.inventory.external_secrets.iter();
        let written = all.filter(|one| one.target.written);
        let written: Vec<String> = written.map(|one| one.secret_id().to_string()).collect();
        let wanted = secret.to_string();
        if written.contains(&wanted) {
            return Vec::new();
        }
        let near = nearest(&wanted, written.iter().map(|name| &**name));
        near.into_iter().map(str::to_owned).collect()
    }

    /// The stores that are named in specs and have nearly this name, as the question names stores. None if the store itself is
    /// named in one.
    fn similar_stores(&self, pattern: &StorePattern) -> Vec<String> {
        let all = self.inventory.external_secrets.iter();
        let named: BTreeSet<&StoreKey> = all.flat_map(ExternalSecret::store_keys).collect();
        if named.iter().any(|key| store_matches(pattern, key)) {
            return Vec::new();
        }
        let namespace = pattern.namespace.as_ref().map(Pattern::literal);
        let (Some(name), None | Some(Some(_))) = (pattern.name.literal(), namespace) else {
            return Vec::new();
        };
        let namespace = namespace.flatten();
        let wanted = in_namespace(namespace, name);
        let near = named.iter().filter_map(|key| {
            let within = key.namespace().filter(|_| namespace.is_some());
            let far = distance(&wanted, &in_namespace(within, key.name()))?;
            let shown = match (pattern.kind, namespace) {
                (None, _) => key.name().to_owned(),
                (Some(_), None) => format!("{}/{}", key.kind().into_str(), key.name()),
                (Some(_), Some(_)) => key.to_string(),
            };
            Some((far, shown))
        });
        first(near)
    }

    /// Those that write the Secret, with everything that they read.
    fn writers(&self, secret: Option<&Id>) -> BTreeMap<Id, BTreeSet<Way>> {
        let is_writer = |one: &&ExternalSecret| {
            one.target.written && secret.is_some_and(|secret| one.secret_id() == *secret)
        };
        let writers = self.inventory.external_secrets.iter().filter(is_writer);
        let mut of: BTreeMap<Id, BTreeSet<Way>> = writers
            .map(|one| (one.id.clone(), BTreeSet::new()))
            .collect();
        for used in self.readers.index.all() {
            if let Some(ways) = of.get_mut(used.by) {
                ways.insert(used.into());
            }
        }
        for ways in of.values_mut().filter(|ways| ways.is_empty()) {
            ways.insert(Way::Named);
        }
        of
    }

    /// Adds those that use a Secret of an affected one: in a template, or through a store that reads Secrets of this cluster.
    fn spread(&self, of: &mut BTreeMap<Id, BTreeSet<Way>>) {
        let mut next: Vec<Id> = of.keys().cloned().collect();
        let mut seen: BTreeSet<Id> = BTreeSet::new();
        while !next.is_empty() {
            let written = next.iter().filter_map(|id| self.by_id.get(id));
            let written = written.filter(|one| one.target.written);
            let secrets: Vec<Id> = written
                .map(|one| one.secret_id())
                .filter(|secret| seen.insert(secret.clone()))
                .collect();
            next.clear();
            let keys: Vec<RemoteKey> = secrets.iter().map(own_secret).collect();
            let mut reached: Vec<(Id, Way)> = Vec::new();
            for secret in &secrets {
                let by = self.templates.get(secret).into_iter().flatten();
                reached.extend(by.map(|id| (id.clone(), Way::Template(secret.name.clone()))));
            }
            let users = self.readers.index.users(&keys).into_iter();
            reached.extend(users.map(|(_, used)| (used.by.clone(), used.into())));
            for (id, way) in reached {
                if is_of_this_cluster(&way, self.inventory) {
                    let ways = of.entry(id.clone()).or_default();
                    if ways.is_empty() {
                        next.push(id);
                    }
                    ways.insert(way);
                }
            }
        }
    }
}

fn in_namespace(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(
        || name.to_owned(),
        |namespace| format!("{namespace}/{name}"),
    )
}

/// A Secret of this cluster as a store of the provider `kubernetes` reads it.
fn own_secret(secret: &Id) -> RemoteKey {
    RemoteKey {
        provider: Some(ProviderKind::Kubernetes),
        realm: Realm {
            host: Some(String::new()),
            ..Realm::default()
        },
        names: BTreeSet::from([secret.to_string()]),
    }
}

/// False for a read from a store that is not known to read Secrets of this cluster: its key only has the same name.
fn is_of_this_cluster(way: &Way, inventory: &Inventory) -> bool {
    match way {
        Way::Read { store, .. } => inventory
            .store(store)
            .is_some_and(|store| store.provider == ProviderKind::Kubernetes),
        Way::Template(_) | Way::Named => true,
    }
}
