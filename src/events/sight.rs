//! Whether the values that events tell of were read. Pure.

use std::collections::BTreeSet;

use ::events::{Group, ReadKey, Says, Sight};
use eso_model::Id;
use jiff::Timestamp;

use super::concern::{Concerned, ReadOf};
use crate::drift::check::Versions;

/// What the reads of a key show about its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The least that one of the reads shows.
    pub(super) sight: Sight,
    /// The ExternalSecrets that read an older version.
    pub(super) missing: BTreeSet<Id>,
}

/// Looks at the versions that were read for each group, in the same order. None if none are known.
pub(super) fn seen(
    groups: &[Group],
    concerned: &Concerned,
    versions: Option<&Versions>,
    now: Timestamp,
) -> Vec<Seen> {
    let each = groups.iter().zip(&concerned.reads);
    each.map(|(group, reads)| {
        let mut seen = Seen {
            sight: Sight::Visible,
            missing: BTreeSet::new(),
        };
        if group.says != Says::Changed {
            return seen;
        }
        for read in reads {
            let sight = match versions {
                Some(versions) => sight(group, read, versions, now),
                None => Sight::Unknown,
            };
            seen.sight = seen.sight.max(sight);
            if sight == Sight::NotYet {
                seen.missing.insert(read.by.clone());
            }
        }
        seen
    })
    .collect()
}

fn sight(group: &Group, read: &ReadOf, versions: &Versions, now: Timestamp) -> Sight {
    let Some(of) = versions.get(&read.by) else {
        return Sight::Unknown;
    };
    let mut of = of.iter();
    let found = of.find(|it| it.store == read.store && it.what == read.what);
    let version = found.and_then(|found| found.version.as_ref());
    let Some(place) = &read.place else {
        return Sight::Unknown;
    };
    let read = ReadKey {
        provider: &place.provider,
        store: &place.realm,
        what: &read.what,
        version,
    };
    group.sight(read, now)
}
