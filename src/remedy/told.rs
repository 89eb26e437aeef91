//! The results of the items to which remedies are applied. They are right at any time, and the record has them too, because the run
//! can end or be killed while a Secret is deleted.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    finding::{Finding, Verdict},
    outcome::{ItemResult, Outcome},
    plan::ItemAt,
    reason::Reason,
    record::Record,
    results::Results,
    verify::{Stale, Verifier},
};

/// The note while a Secret is deleted and not created again yet.
const DELETED: &str = "the run ended while the Secret was deleted and created again (recreate)";

pub(super) struct Told<'a> {
    /// The results of the syncs.
    before: BTreeMap<ItemAt, ItemResult>,
    /// What was done since then.
    notes: BTreeMap<ItemAt, Vec<String>>,
    results: &'a mut Results,
    record: &'a Record,
}

impl<'a> Told<'a> {
    /// Marks all these items as still stale.
    pub(super) fn of(stale: &Stale, results: &'a mut Results, record: &'a Record) -> Self {
        let before = stale.keys().filter_map(|&at| {
            let result = results.items.get(&at)?;
            Some((at, result.clone()))
        });
        let mut told = Self {
            before: before.collect(),
            notes: BTreeMap::new(),
            results,
            record,
        };
        for (&at, finding) in stale {
            told.tell(at, Some(finding));
        }
        told
    }

    /// Notes what was done. [`Self::tell`] shows it.
    pub(super) fn note(&mut self, at: ItemAt, message: String) {
        let notes = self.notes.entry(at).or_default();
        notes.retain(|note| note != DELETED);
        notes.push(message);
    }

    /// The Secret is deleted now. The next note replaces this one.
    pub(super) fn is_deleted(&mut self, at: ItemAt) {
        self.results.wrote = true;
        self.note(at, DELETED.to_owned());
        let missing = Finding::of(
            Verdict::Missing,
            "the operator may not have created it again",
        );
        self.tell(at, Some(&missing));
    }

    /// The last thing that was done helped.
    pub(super) fn helped(&mut self, at: ItemAt) {
        let last = self.notes.get_mut(&at).and_then(|notes| notes.last_mut());
        if let Some(last) = last {
            last.push_str(", and is in sync");
        }
    }

    /// Shows the state of an item: still stale by this finding, or in sync.
    pub(super) fn tell(&mut self, at: ItemAt, finding: Option<&Finding>) {
        let (Some(before), Some(now)) = (self.before.get(&at), self.results.items.get_mut(&at))
        else {
            return;
        };
        now.outcome = before.outcome;
        now.reason = before.reason;
        now.message.clone_from(&before.message);
        for note in self.notes.get(&at).into_iter().flatten() {
            if now.message.is_empty() {
                "still stale after its sync".clone_into(&mut now.message);
            }
            now.message = format!("{}; {note}", now.message);
        }
        if let Some(finding) = finding {
            fail(now, finding);
        }
        self.record.ended(at, now);
    }

    /// Checks these items again.
    pub(super) async fn check(
        &mut self,
        verifier: &mut Verifier<'_>,
        items: &BTreeSet<ItemAt>,
    ) -> Stale {
        self.results.wrote = true;
        let stale = verifier.check(items, self.results).await;
        self.record.checked(&self.results.checked);
        stale
    }
}

/// Marks an item that is still stale after a proven sync.
fn fail(result: &mut ItemResult, finding: &Finding) {
    // Pods cannot start without the Secret, so this is a failure.
    result.outcome = if finding.verdict == Verdict::Missing {
        Outcome::Failed
    } else {
        Outcome::Unproven
    };
    result.reason = Some(Reason::StillStale);
    let joint = if result.message.is_empty() { "" } else { "; " };
    let verdict = finding.verdict.into_str();
    result.message = format!(
        "{}{joint}{verdict} after its sync: {}",
        result.message, finding.message
    );
}
