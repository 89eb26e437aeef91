//! Which ExternalSecrets of an inventory read a remote key. Pure.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{
    Id,
    expected::Spec,
    remote::{Index, Place, RemoteKey},
};

use crate::inventory::{Inventory, StoreView};

/// The keys that the ExternalSecrets of an inventory read.
#[derive(Debug)]
pub struct Readers {
    pub index: Index,
    /// The ExternalSecrets whose spec is not known, each with the reason. They may read any key.
    pub unknown: BTreeMap<Id, String>,
}

impl Readers {
    pub fn of(inventory: &Inventory) -> Self {
        Self::visiting(inventory, &mut |_, _| {})
    }

    /// Like [`of`](Self::of), and shows each spec that could be parsed.
    pub fn visiting(inventory: &Inventory, visit: &mut dyn FnMut(&Id, &Spec)) -> Self {
        let places = inventory.stores.iter().filter_map(|(key, view)| {
            let StoreView::Seen(store) = view else {
                return None;
            };
            Some((key.clone(), Place::clone(&store.place)))
        });
        let mut readers = Self {
            index: Index::new(places.collect()),
            unknown: BTreeMap::new(),
        };
        for external_secret in &inventory.external_secrets {
            let id = &external_secret.id;
            let too_large = "the specs of its namespace are too large to be kept in memory";
            let spec = external_secret.spec.as_deref().ok_or(too_large.to_owned());
            let spec = spec.and_then(|text| {
                Spec::from_json(text).map_err(|error| format!("its spec cannot be parsed: {error}"))
            });
            match spec {
                Ok(spec) => {
                    readers.index.add(id, &spec);
                    visit(id, &spec);
                }
                Err(why) => drop(readers.unknown.insert(id.clone(), why)),
            }
        }
        readers
    }

    /// The ExternalSecrets that read one of these keys, or may read it. A wrong one costs a comparison or a sync.
    pub fn of_keys(&self, keys: &[RemoteKey]) -> BTreeSet<Id> {
        let users = self.index.users(keys).into_iter();
        users.map(|(_, used)| used.by.clone()).collect()
    }
}
