//! The ExternalSecrets that use the keys of events. Pure.

use std::collections::BTreeSet;

use ::events::Group;
use eso_model::{
    Id, StoreKey,
    expected::What,
    remote::{Place, RemoteKey},
};

use crate::{inventory::Inventory, readers::Readers};

/// The ExternalSecrets that use keys.
pub(super) struct Concerned {
    /// Those that use the key of each group, or may. A wrong one costs a comparison.
    pub(super) of: Vec<BTreeSet<Id>>,
    /// Their reads of the key of each group.
    pub(super) reads: Vec<Vec<ReadOf>>,
    /// Those whose spec is not known. Each may use any key.
    pub(super) unknown: BTreeSet<Id>,
}

/// A read of a key.
pub(super) struct ReadOf {
    pub(super) by: Id,
    pub(super) store: StoreKey,
    /// None if the store is not known.
    pub(super) place: Option<Place>,
    pub(super) what: What,
}

pub(super) fn concerned(groups: &[Group], inventory: &Inventory) -> Concerned {
    let readers = Readers::of(inventory);
    let (mut keys, mut group_of) = (Vec::<RemoteKey>::new(), Vec::new());
    for (at, group) in groups.iter().enumerate() {
        group_of.extend(group.keys.iter().map(|_| at));
        keys.extend(group.keys.iter().cloned());
    }
    let mut of = vec![BTreeSet::new(); groups.len()];
    let mut reads: Vec<Vec<ReadOf>> = groups.iter().map(|_| Vec::new()).collect();
    for (key, used) in readers.index.users(&keys) {
        let Some(at) = group_of.get(key) else {
            continue;
        };
        let (Some(group), Some(ids), Some(reads)) =
            (groups.get(*at), of.get_mut(*at), reads.get_mut(*at))
        else {
            continue;
        };
        let store = inventory.store(used.store);
        let place = store.map(|store| &*store.place);
        if place.is_none_or(|place| group.touched.concerns(&place.provider, used.what)) {
            ids.insert(used.by.clone());
            reads.push(ReadOf {
                by: used.by.clone(),
                store: used.store.clone(),
                place: place.cloned(),
                what: used.what.clone(),
            });
        }
    }
    Concerned {
        of,
        reads,
        unknown: readers.unknown.into_keys().collect(),
    }
}
