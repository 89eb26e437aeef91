//! The ExternalSecrets that use the keys of events. Pure.

use std::collections::BTreeSet;

use ::events::Group;
use eso_model::{Id, remote::RemoteKey};

use crate::{inventory::Inventory, readers::Readers};

/// The ExternalSecrets that use keys.
pub(super) struct Concerned {
    /// Those that use the key of each group, or may. A wrong one costs a comparison.
    pub(super) of: Vec<BTreeSet<Id>>,
    /// Those whose spec is not known. Each may use any key.
    pub(super) unknown: BTreeSet<Id>,
}

pub(super) fn concerned(groups: &[Group], inventory: &Inventory) -> Concerned {
    let readers = Readers::of(inventory);
    let (mut keys, mut group_of) = (Vec::<RemoteKey>::new(), Vec::new());
    for (at, group) in groups.iter().enumerate() {
        group_of.extend(group.keys.iter().map(|_| at));
        keys.extend(group.keys.iter().cloned());
    }
    let mut of = vec![BTreeSet::new(); groups.len()];
    for (key, used) in readers.index.users(&keys) {
        let Some(at) = group_of.get(key) else {
            continue;
        };
        let (Some(group), Some(ids)) = (groups.get(*at), of.get_mut(*at)) else {
            continue;
        };
        let provider = inventory.store(used.store).map(|store| &store.provider);
        if provider.is_none_or(|provider| group.touched.concerns(provider, used.what)) {
            ids.insert(used.by.clone());
        }
    }
    Concerned {
        of,
        unknown: readers.unknown.into_keys().collect(),
    }
}
