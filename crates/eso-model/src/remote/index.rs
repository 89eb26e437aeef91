//! The index of all keys that ExternalSecrets read, and the search in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{key::RemoteKey, place::Place, realm::Realm};
use crate::{
    Id, ProviderKind, StoreKey,
    budget::{Budget, Limits},
    expected::{GoRegex, Operator, Read, Spec, What, reads},
};

/// The keys that ExternalSecrets read, by their names at the providers.
#[derive(Debug, Default)]
pub struct Index {
    places: BTreeMap<StoreKey, Place>,
    reads: Vec<Entry>,
    /// The entries that read single keys, by provider and name.
    by_name: BTreeMap<ProviderKind, BTreeMap<String, Vec<usize>>>,
    /// The entries that search.
    searches: Vec<usize>,
    /// The entries whose store is unknown.
    unplaced: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    by: Arc<Id>,
    store: StoreKey,
    what: What,
    realm: Realm,
}

/// A use of a key by an ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use<'a> {
    pub by: &'a Id,
    pub store: &'a StoreKey,
    pub what: &'a What,
    pub certainty: Certainty,
}

/// How certain a use is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// The ExternalSecret reads a key with one of these names.
    Uses,
    /// It may use the key.
    MayUse(Why),
}

/// Why it is not certain that an ExternalSecret uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its search finds keys with this name.
    Name,
    /// It searches by tags, which the name does not show.
    Tags,
    /// It searches with a regular expression that cannot be evaluated.
    Regexp,
    /// It searches in a provider whose searches are not known.
    Search,
    /// Its store is unknown, and with it the prefix of its keys.
    Store,
}

impl Index {
    /// An index for ExternalSecrets that read from stores in these places. A store that could not be read is missing.
    pub fn new(places: BTreeMap<StoreKey, Place>) -> Self {
        Self {
            places,
            ..Self::default()
        }
    }

    /// Adds all reads of an ExternalSecret.
    pub fn add(&mut self, id: &Id, spec: &Spec) {
        let by = Arc::new(id.clone());
        for Read { store, what } in reads(spec) {
            let store = store.key(&id.namespace);
            let at = self.reads.len();
            let mut realm = Realm::default();
            match (self.places.get(&store), &what) {
                (None, _) => self.unplaced.push(at),
                (Some(_), What::Find { .. }) => self.searches.push(at),
                (Some(place), What::Secret { key, .. }) => {
                    let (of, names) = place.names(key);
                    realm = of;
                    let by_name = self.by_name.entry(place.provider.clone()).or_default();
                    for name in names {
                        by_name.entry(name).or_default().push(at);
                    }
                }
            }
            self.reads.push(Entry {
                by: Arc::clone(&by),
                store,
                what,
                realm,
            });
        }
    }

    /// All uses, of whatever key.
    pub fn all(&self) -> impl Iterator<Item = Use<'_>> {
        self.reads.iter().map(|entry| entry.used(Certainty::Uses))
    }

    /// The uses of any of these keys, sorted, each with the index of the key.
    pub fn users(&self, keys: &[RemoteKey]) -> BTreeSet<(usize, Use<'_>)> {
        let mut found = BTreeSet::new();
        for (index, key) in keys.iter().enumerate() {
            found.extend(self.readers(key).map(|used| (index, used)));
            found.extend(self.perhaps(key).map(|used| (index, used)));
        }
        let mut budgets: BTreeMap<&str, Budget> = BTreeMap::new();
        for &at in &self.searches {
            let Some(entry) = self.reads.get(at) else {
                continue;
            };
            // Each namespace has a budget of its own, so that no tenant can use up that of others.
            let budget = budgets
                .entry(&entry.by.namespace)
                .or_insert_with(|| Budget::new(Limits::default()));
            let found_by = self.found_by(entry, keys, budget);
            found.extend(found_by.map(|(index, why)| (index, entry.used(Certainty::MayUse(why)))));
        }
        found
    }

    /// The entries that read a key with one of these names.
    fn readers(&self, key: &RemoteKey) -> impl Iterator<Item = Use<'_>> {
        let kinds = self.by_name.iter();
        let mut at = BTreeSet::new();
        for (kind, by_name) in kinds.filter(|(kind, _)| key.may_be_of(kind)) {
            let names = key.names.iter().map(|name| Place::canonical(kind, name));
            at.extend(
                names
                    .filter_map(|name| by_name.get(&name))
                    .flatten()
                    .copied(),
            );
        }
        let realm = key.realm.clone();
        let entries = at.into_iter().filter_map(|at| self.reads.get(at));
        entries
            .filter(move |entry| entry.realm.may_be(&realm))
            .map(|entry| entry.used(Certainty::Uses))
    }

    /// The entries whose store is unknown and that may read a key with one of these names: their store may add a prefix.
    fn perhaps(&self, key: &RemoteKey) -> impl Iterator<Item = Use<'_>> {
        let entries = self.unplaced.iter().filter_map(|&at| self.reads.get(at));
        let may_be = |entry: &&Entry| match &entry.what {
            What::Find { .. } => true,
            What::Secret { key: own, .. } => {
                let arn = own.starts_with("arn:");
                arn || key.names.iter().any(|name| {
                    let (name, own) = (name.to_ascii_lowercase(), own.to_ascii_lowercase());
                    name.ends_with(&own) || own.ends_with(&name)
                })
            }
        };
        entries
            .filter(may_be)
            .map(|entry| entry.used(Certainty::MayUse(Why::Store)))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The keys that a search may find, by index.
    fn found_by<'k>(
        &self,
        entry: &Entry,
        keys: &'k [RemoteKey],
        budget: &Budget,
    ) -> impl Iterator<Item = (usize, Why)> + use<'k> {
        let (Some(place), What::Find { path, name, tags }) =
            (self.places.get(&entry.store), &entry.what)
        else {
            return Vec::new().into_iter();
        };
        let operator = Operator::of(&place.provider, name.as_deref(), tags.as_ref());
        let (regexp, why) = match operator {
            Some(Operator::Name(regexp) | Operator::NameAndTags(regexp)) => {
                (Some(GoRegex::within(regexp, budget)), Why::Name)
            }
            Some(Operator::Tags) => (None, Why::Tags),
            Some(Operator::All) => (None, Why::Name),
            None if matches!(place.provider, ProviderKind::Other(_)) => (None, Why::Search),
            // The operator rejects such a search.
            None => return Vec::new().into_iter(),
        };
        let why_of = |key: &RemoteKey| {
            if !key.may_be_of(&place.provider) || !place.realm.may_be(&key.realm) {
                return None;
            }
            let names = key.names.iter();
            let forms = names.flat_map(|name| place.found_as(path.as_deref(), name));
            let mut matches = forms.map(|form| match &regexp {
                None => Some(why),
                Some(Err(_)) => Some(Why::Regexp),
                Some(Ok(regexp)) => match regexp.matches(&form, budget) {
                    Ok(matches) => matches.then_some(why),
                    Err(_) => Some(Why::Regexp),
                },
            });
            matches.find_map(|found| found)
        };
        let found = keys.iter().enumerate();
        let found = found.filter_map(|(index, key)| Some((index, why_of(key)?)));
        found.collect::<Vec<_>>().into_iter()
    }
}

impl Entry {
    fn used(&self, certainty: Certainty) -> Use<'_> {
        Use {
            by: &self.by,
            store: &self.store,
            what: &self.what,
            certainty,
        }
    }
}

impl RemoteKey {
    /// True if the key may be one of this provider.
    fn may_be_of(&self, kind: &ProviderKind) -> bool {
        self.provider.as_ref().is_none_or(|own| own == kind)
            // The names of other kinds are not known.
            || matches!(kind, ProviderKind::Other(_))
    }
}
