//! What a workload's stamp says against what its Secrets hold now.

use std::collections::BTreeSet;

use eso_model::expected::Difference;

use super::Change;
use crate::{
    restart::{
        stamp::{Prints, Stamp},
        subject::{Concern, Subject},
    },
    workload::Keys,
};

/// What of the stamp and of the references differs now.
pub(super) fn changes(subject: &Subject, stamp: &Stamp) -> Vec<Change> {
    subject
        .counting()
        .filter_map(|(name, concern)| {
            let before = stamp.secrets.get(name)?;
            let keys = differences(before, concern);
            (!keys.is_empty()).then(|| Change {
                secret: name.clone(),
                keys,
            })
        })
        .collect()
}

fn differences(before: &Prints, concern: &Concern) -> Vec<(String, Option<Difference>)> {
    let nothing = Prints::new();
    let now = concern.now().map_or(&nothing, |now| &now.prints);
    let mut keys = Vec::new();
    for (key, print) in before.iter().filter(|(key, _)| concern.keys.covers(key)) {
        match now.get(key) {
            Some(same) if same == print => {}
            Some(_) => keys.push((key.clone(), Some(Difference::Changed))),
            None => keys.push((key.clone(), Some(Difference::Missing))),
        }
    }
    // Where single keys are used, one that is new is a reference that is new: its pods came with it.
    if concern.keys == Keys::All {
        let new = now.keys().filter(|key| !before.contains_key(*key));
        keys.extend(new.map(|key| (key.clone(), Some(Difference::Extra))));
    }
    keys
}

/// Whether a Secret, or a single key of one, is not in the stamp yet.
pub(super) fn has_news(subject: &Subject, stamp: &Stamp) -> bool {
    subject.secrets.iter().any(|(name, concern)| {
        let Some(now) = concern.now() else {
            return false;
        };
        match stamp.secrets.get(name) {
            None => true,
            Some(prints) => now.prints.keys().any(|key| !prints.contains_key(key)),
        }
    })
}

/// The Secrets that count and of which nobody knows whether the pods have them.
pub(super) fn unproven(subject: &Subject, stamp: &Stamp) -> BTreeSet<String> {
    subject
        .counting()
        .filter(|(name, concern)| stamp.assumed.contains(*name) && !subject.is_current(concern))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Whether all pods came well after everything that changed.
pub(super) fn are_newer(subject: &Subject, changes: &[Change]) -> bool {
    !changes.is_empty()
        && changes.iter().all(|change| {
            subject
                .secrets
                .get(&change.secret)
                .is_some_and(|concern| subject.is_current(concern))
        })
}
