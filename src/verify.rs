//! Checks again, once everything is synced, whether the Secrets hold what they should. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    drift::check::Check,
    finding::{Finding, Verdict},
    inventory::Inventory,
    outcome::{Outcome, SecretChange},
    plan::{ItemAt, Plan},
    reason::Reason,
    results::Results,
};

/// The items whose Secret is not as it should be, each with what was found.
pub type Stale = BTreeMap<ItemAt, Finding>;

/// The eyes of a run: what is checked, and with what.
pub struct Verifier<'a> {
    /// What was carried out.
    pub plan: &'a Plan,
    /// The specs.
    pub inventory: &'a Inventory,
    /// Its client changes nothing.
    pub check: &'a mut Check,
}

impl Verifier<'_> {
    /// Checks what was synced; the answer is what is still stale after a proven sync.
    pub async fn verify(&mut self, results: &mut Results) -> Stale {
        let synced: BTreeSet<ItemAt> = results
            .items
            .iter()
            .filter(|(_, result)| {
                result.outcome == Outcome::Synced
                    || (result.outcome == Outcome::Unproven
                        && result.reason != Some(Reason::Interrupted))
            })
            .map(|(&at, _)| at)
            .collect();
        let mut stale = self.check(&synced, results).await;
        stale.retain(|at, _| {
            let result = results.items.get(at);
            result.is_some_and(|result| result.outcome == Outcome::Synced)
        });
        stale
    }

    /// Checks these, relying on nothing that was read before; the answer is those that differ.
    pub async fn check(&mut self, wanted: &BTreeSet<ItemAt>, results: &mut Results) -> Stale {
        let mut stale = Stale::new();
        if wanted.is_empty() {
            return stale;
        }
        let ids = wanted.iter().map(|&at| self.plan.items[at].id.clone());
        let mut findings = self.check.again(self.inventory, &ids.collect()).await;
        results.reads = findings.reads;
        for &at in wanted {
            let item = &self.plan.items[at];
            let Some(finding) = findings.of.remove(&item.id) else {
                continue;
            };
            if finding.verdict.is_drift() {
                stale.insert(at, finding.clone());
            }
            if let Some(result) = results.items.get_mut(&at) {
                result.secret = changed(item.finding.as_ref(), &finding, result.secret);
            }
            results.checked.insert(at, finding);
        }
        stale
    }
}

/// Whether the Secret changed: what differed before the sync and does not now was written.
fn changed(before: Option<&Finding>, after: &Finding, heard: SecretChange) -> SecretChange {
    match before.map(|before| before.verdict) {
        Some(Verdict::Missing) if after.verdict == Verdict::InSync => SecretChange::Created,
        Some(before) if before.is_drift() && after.verdict == Verdict::InSync => {
            SecretChange::Updated
        }
        _ => heard,
    }
}
