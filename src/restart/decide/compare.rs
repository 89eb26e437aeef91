//! Compares a workload's stamp with the current data of its Secrets.

use std::collections::BTreeSet;

use eso_model::expected::Difference;

use super::Change;
use crate::{
    key_names::KeyName,
    restart::{
        stamp::{ABSENT, Prints, Stamp},
        subject::{Concern, Subject},
    },
    workload::Keys,
};

/// Secrets that are both in the stamp and in the references, and hold other data now.
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

fn differences(before: &Prints, concern: &Concern) -> Vec<(KeyName, Option<Difference>)> {
    let nothing = Prints::new();
    let now = concern.now().map_or(&nothing, |now| &now.prints);
    let present = |print: &&String| *print != ABSENT;
    let mut keys = Vec::new();
    for (key, print) in before.iter().filter(|(key, _)| concern.keys.covers(key)) {
        let difference = match (Some(print).filter(present), now.get(key).filter(present)) {
            (Some(before), Some(now)) if before == now => continue,
            (None, None) => continue,
            (Some(_), Some(_)) => Difference::Changed,
            (Some(_), None) => Difference::Missing,
            (None, Some(_)) => Difference::Extra,
        };
        keys.push((key.clone(), Some(difference)));
    }
    // If only single keys are used, a key that is not in the stamp comes with a new reference, so the pods are new too.
    if concern.keys == Keys::All {
        let new = now.keys().filter(|key| !before.contains_key(*key));
        keys.extend(new.map(|key| (key.clone(), Some(Difference::Extra))));
    }
    keys
}

/// True if a Secret or a key of it is not in the stamp yet.
pub(super) fn has_new_keys(subject: &Subject, stamp: &Stamp) -> bool {
    subject.secrets.iter().any(|(name, concern)| {
        let Some(now) = concern.prints() else {
            return false;
        };
        match stamp.secrets.get(name) {
            None => true,
            Some(prints) => now.keys().any(|key| !prints.contains_key(key)),
        }
    })
}

/// Secrets that count and for which it is unknown whether the pods have the data.
pub(super) fn unproven(subject: &Subject, stamp: &Stamp) -> BTreeSet<String> {
    subject
        .counting()
        .filter(|(name, concern)| stamp.assumed.contains(*name) && !subject.is_current(concern))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Adds the Secrets to a stamp without which the pods started, although the stamp does not say so.
pub(super) fn note_absent(subject: &Subject, stamp: &mut Stamp) {
    for (name, concern) in subject.counting() {
        if !stamp.secrets.contains_key(name)
            && let Some(prints) = subject.started_without(concern)
        {
            stamp.secrets.insert(name.clone(), prints);
        }
    }
}

/// True if all pods were created well after the last write of every changed Secret.
pub(super) fn are_newer(subject: &Subject, changes: &[Change]) -> bool {
    !changes.is_empty()
        && changes.iter().all(|change| {
            subject
                .secrets
                .get(&change.secret)
                .is_some_and(|concern| subject.is_current(concern))
        })
}
