//! Old versions that are destroyed.

use jiff::SignedDuration;

use super::{Group, Input, Item};
use crate::{Action, Cost, Held, Precondition, Reason, Step, Version, VersionState};

/// A younger version is never destroyed.
const AGE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The old versions of a secret that are destroyed: own ones beyond the newest `keep`, which nothing names.
pub(super) fn to_destroy(
    input: &Input<'_>,
    item: &Item,
    group: &Group<'_>,
    held: &Held,
) -> Vec<Step> {
    let (Some(keep), Some(history), Some(reads)) = (item.rules.keep, &held.history, input.reads)
    else {
        return Vec::new();
    };
    if !input.ceilings.destroy || !item.store.destroys_versions {
        return Vec::new();
    }
    let mut ours: Vec<&Version> = history
        .versions
        .iter()
        .filter(|version| version.is_ours && version.state != VersionState::Destroyed)
        .collect();
    ours.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    let is_old = |version: &&Version| {
        version
            .created
            .is_some_and(|at| input.now.duration_since(at) >= AGE)
    };
    let is_pinned = |version: &Version| {
        let pin = (group.key.clone(), version.id.clone());
        version.is_named || reads.pinned.contains(&pin)
    };
    ours.into_iter()
        // The current version counts, too.
        .skip(keep.saturating_sub(1))
        .filter(is_old)
        .filter(|version| !is_pinned(version))
        .map(|version| {
            let version = version.id.clone();
            let action = Action::DestroyVersion { version };
            Step {
                cost: Cost::of(&item.store, &action),
                action,
                reason: Reason::OldVersion,
                precondition: Precondition::None,
            }
        })
        .collect()
}
