//! Secrets that eso-sync published, and that the repository no longer has.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Group, Input, Item, PruneMode, stops::Stops};
use crate::{Action, Cost, Held, Owner, Precondition, Presence, Reason, RemoteKey, Step, Verdict};

/// A secret of an item that is no longer wanted.
pub(super) struct Orphan<'a> {
    item: usize,
    of: &'a Item,
    pub(super) key: &'a RemoteKey,
    held: &'a Held,
}

/// Finds the orphans. Only in the store where their item publishes now: if its target was changed, nothing is deleted at the old
/// one.
pub(super) fn find<'a>(input: &Input<'a>, groups: &[Group<'_>]) -> Vec<Orphan<'a>> {
    let wanted: BTreeSet<&RemoteKey> = groups.iter().map(|group| &group.key).collect();
    let items: BTreeMap<&str, usize> = input
        .items
        .iter()
        .enumerate()
        .map(|(index, item)| (item.name.as_str(), index))
        .collect();
    let orphan = |(key, known): (&'a RemoteKey, &'a super::Known)| {
        let Owner::Ours { item } = &known.held.owner else {
            return None;
        };
        let index = *items.get(item.as_str())?;
        let of = input.items.get(index)?;
        let in_place = key.provider == of.store.provider && key.space == of.store.space;
        let exists = matches!(known.held.presence, Presence::Present | Presence::Empty);
        (in_place && exists && !wanted.contains(key)).then_some(Orphan {
            item: index,
            of,
            key,
            held: &known.held,
        })
    };
    input.known.iter().filter_map(orphan).collect()
}

/// True if more must be known before the orphan is deleted.
pub(super) fn must_describe(input: &Input<'_>, orphan: &Orphan<'_>) -> bool {
    orphan.of.rules.prune.mode == PruneMode::Prune
        && input.ceilings.prune
        && orphan.held.history.is_none()
}

/// Decides about all orphans.
pub(super) fn entries(
    input: &Input<'_>,
    groups: &[Group<'_>],
    wanted: &[Entry],
    stops: &Stops,
) -> Vec<Entry> {
    let orphans = find(input, groups);
    let mut per_item: BTreeMap<usize, usize> = BTreeMap::new();
    for orphan in &orphans {
        *per_item.entry(orphan.item).or_default() += 1;
    }
    let too_many = input
        .ceilings
        .max_prunes
        .is_some_and(|max| orphans.len() > max);
    let decide = |orphan: &Orphan<'_>| {
        let of_item = per_item.get(&orphan.item).copied().unwrap_or_default();
        if let Some(reason) = held_back(input, orphan) {
            (Action::Leave, reason)
        } else if !is_complete(orphan, wanted, stops) {
            (Action::Leave, Reason::SourceIncomplete)
        } else if too_many || of_item > orphan.of.rules.prune.max {
            (Action::Leave, Reason::PruneLimit)
        } else {
            remove(input, orphan)
        }
    };
    let entry = |orphan: &Orphan<'_>| {
        let (action, reason) = decide(orphan);
        orphan.entry(action, reason)
    };
    orphans.iter().map(entry).collect()
}

impl Orphan<'_> {
    fn entry(&self, action: Action, reason: Reason) -> Entry {
        let current = self.held.version.clone();
        let precondition = match current {
            Some(current) if action.is_write() => Precondition::Current(current),
            _ => Precondition::None,
        };
        Entry {
            item: self.item,
            key: self.key.clone(),
            name: self.key.name.clone(),
            wanted: Vec::new(),
            mark: None,
            verdict: Verdict::Orphaned,
            different: Vec::new(),
            orphaned_properties: Vec::new(),
            dropped: Vec::new(),
            step: Step {
                cost: Cost::of(&self.of.store, &action),
                action,
                reason,
                precondition,
            },
            destroy: Vec::new(),
        }
    }
}

fn held_back(input: &Input<'_>, orphan: &Orphan<'_>) -> Option<Reason> {
    let prune = &orphan.of.rules.prune;
    let history = orphan.held.history.as_ref();
    let last_read = history.and_then(|history| history.last_read);
    if prune.mode == PruneMode::Report {
        Some(Reason::PruneReports)
    } else if !input.ceilings.prune {
        Some(Reason::PruneNotAllowed)
    } else if let Some(refusal) = orphan.held.refusal {
        Some(refusal.into())
    } else if input.reads.is_none() {
        Some(Reason::ReadersUnknown)
    } else if input
        .reads
        .is_some_and(|reads| reads.of.contains(orphan.key))
    {
        Some(Reason::StillRead)
    } else if last_read.is_some_and(|at| input.now.duration_since(at) < prune.after) {
        Some(Reason::ReadRecently)
    } else {
        history.is_none().then_some(Reason::Unverifiable)
    }
}

/// True if it is certain that the repository no longer has the value.
fn is_complete(orphan: &Orphan<'_>, wanted: &[Entry], stops: &Stops) -> bool {
    let is_known = |entry: &Entry| !matches!(entry.verdict, Verdict::Unverifiable(_));
    orphan.of.source_is_whole
        && !orphan.of.wanted.is_empty()
        && !stops.stops(orphan.item)
        && wanted
            .iter()
            .filter(|entry| entry.item == orphan.item)
            .all(is_known)
}

/// Deletes it, or first records that it is orphaned where a deletion is final.
fn remove(input: &Input<'_>, orphan: &Orphan<'_>) -> (Action, Reason) {
    if !orphan.of.store.deletion_is_final {
        return (Action::Retire, Reason::Orphaned);
    }
    match orphan.held.orphaned_since {
        None => (Action::Announce, Reason::Orphaned),
        Some(since) if input.now.duration_since(since) < orphan.of.rules.prune.after => {
            (Action::Leave, Reason::PruneLater)
        }
        Some(_) => (Action::Retire, Reason::Orphaned),
    }
}
