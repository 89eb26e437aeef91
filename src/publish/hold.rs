//! Finds out what the providers hold, with as few calls as the plan needs.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{expected::What, remote};
use jiff::Timestamp;
use providers::holder::{Ask, Scope};
use publish::{
    Held, MarkKey, Presence, RemoteKey, Wanted,
    plan::{Ceilings, Input, Item, Known, Reads, missing},
};
use secret::RunKey;

use super::places::Place;
use crate::readers::Readers;

/// A plan asks again after what it learned: for a description after a list, for a comparison after a description.
const ROUNDS: usize = 4;

/// What is known about all secrets.
pub(super) type AllKnown = BTreeMap<RemoteKey, Known>;

/// The input of the plan without what the providers hold.
pub(super) struct Facts {
    pub(super) items: Vec<Item>,
    /// The names of all items of the policy.
    pub(super) names: BTreeSet<String>,
    pub(super) marks: MarkKey,
    pub(super) binds_marks: bool,
    /// None if it is not known what ExternalSecrets read.
    pub(super) reads: Option<Reads>,
    /// The published revisions that come after the one to publish.
    pub(super) newer: BTreeSet<String>,
    pub(super) now: Timestamp,
    pub(super) ceilings: Ceilings,
}

impl Facts {
    pub(super) fn input<'k>(&'k self, known: &'k AllKnown) -> Input<'k> {
        Input {
            items: &self.items,
            names: &self.names,
            known,
            marks: &self.marks,
            binds_marks: self.binds_marks,
            newer_revisions: &self.newer,
            reads: self.reads.as_ref(),
            now: self.now,
            ceilings: self.ceilings,
        }
    }
}

/// How to look.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) places: &'a [Place],
    pub(super) run_key: &'a RunKey,
    /// True to read also what a mark says is unchanged.
    pub(super) verify: bool,
    /// The ExternalSecrets of the cluster, if they are known.
    pub(super) readers: Option<&'a Readers>,
}

/// Looks until the plan knows enough.
pub(super) async fn look(look: Look<'_>, facts: &mut Facts) -> AllKnown {
    let Look {
        places,
        run_key: key,
        verify,
        readers,
    } = look;
    let names: BTreeMap<RemoteKey, &str> = facts
        .items
        .iter()
        .flat_map(|item| &item.wanted)
        // The first of several spellings counts.
        .rev()
        .map(|wanted| (wanted.target.remote_key(), &*wanted.target.name))
        .collect();
    let mut known = AllKnown::new();
    for place in places {
        known.extend(listed(place, &facts.input(&known)).await);
    }
    facts.reads = readers.map(|readers| reads(readers, places, &known));
    if verify {
        // A comparison wins over the mark.
        let all: BTreeSet<RemoteKey> = known
            .iter()
            .filter(|(_, known)| known.held.presence == Presence::Present)
            .map(|(key, _)| key.clone())
            .collect();
        compare(places, &all, key, &mut known, facts).await;
    }
    for _ in 0..ROUNDS {
        let missing = missing(&facts.input(&known));
        if missing.is_empty() {
            break;
        }
        for key in &missing.describe {
            let Some(place) = places.iter().find(|place| place.holds(key)) else {
                continue;
            };
            let name = names.get(key).copied().unwrap_or(&key.name);
            let held = place.writer.describe(name, &place.reads).await;
            let known_before = known.remove(key);
            let now = match known_before {
                Some(before) => before.described(held),
                None => Known::new(held),
            };
            known.insert(key.clone(), now);
        }
        compare(places, &missing.compare, key, &mut known, facts).await;
    }
    known
}

/// Which of the listed secrets, and which of their versions, ExternalSecrets read.
fn reads(readers: &Readers, places: &[Place], known: &AllKnown) -> Reads {
    let listed = known.keys().filter_map(|key| {
        let place = places.iter().find(|place| place.holds(key))?;
        Some((key, place.remote.key(&key.name)))
    });
    let (keys, asked): (Vec<&RemoteKey>, Vec<remote::RemoteKey>) = listed.unzip();
    let mut reads = Reads::default();
    for (at, used) in readers.index.users(&asked) {
        let Some(key) = keys.get(at).copied() else {
            continue;
        };
        reads.of.insert(key.clone());
        if let What::Secret { version, .. } = used.what {
            // AWS names the ID of a version so.
            let id = version.strip_prefix("uuid/").unwrap_or(version);
            reads.pinned.insert((key.clone(), id.to_owned()));
        }
    }
    reads
}

/// What a list of the place tells.
async fn listed(place: &Place, input: &Input<'_>) -> AllKnown {
    let names: BTreeSet<String> = wanted(input)
        .filter(|wanted| place.holds(&wanted.target.remote_key()))
        .map(|wanted| wanted.target.name.clone())
        .collect();
    let of = |name: &str| RemoteKey::new(&place.store, name);
    let scope = Scope {
        items: &place.items,
        names: &names,
        prefixes: &place.prefixes,
    };
    match place.writer.list(scope, &place.reads).await {
        Ok(found) => found
            .into_iter()
            .map(|(name, held)| (of(&name), Known::new(held)))
            .collect(),
        Err(unread) => names
            .iter()
            .map(|name| {
                let held = Held::new(Presence::Unknown(unread.why.clone()));
                (of(name), Known::new(held))
            })
            .collect(),
    }
}

async fn compare(
    places: &[Place],
    keys: &BTreeSet<RemoteKey>,
    run_key: &RunKey,
    known: &mut AllKnown,
    facts: &Facts,
) {
    for place in places {
        let results = {
            let input = facts.input(known);
            let mut groups: BTreeMap<RemoteKey, Vec<&Wanted>> = BTreeMap::new();
            for wanted in wanted(&input) {
                let key = wanted.target.remote_key();
                if keys.contains(&key) && place.holds(&key) {
                    groups.entry(key).or_default().push(wanted);
                }
            }
            let asked: Vec<Ask<'_>> = groups
                .values()
                .filter_map(|group| {
                    let name = &*group.first()?.target.name;
                    Some(Ask {
                        name,
                        wanted: group,
                    })
                })
                .collect();
            let compared = place.writer.compare(&asked, run_key, &place.reads).await;
            groups.into_keys().zip(compared).collect::<Vec<_>>()
        };
        for (key, compared) in results {
            if let Some(known) = known.get_mut(&key) {
                known.compared = Some(compared);
            }
        }
    }
}

fn wanted<'i>(input: &Input<'i>) -> impl Iterator<Item = &'i Wanted> {
    input.items.iter().flat_map(|item| &item.wanted)
}
