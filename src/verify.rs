//! Checks the Secrets for drift again after the syncs. Reads only.

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

/// The items whose Secret has drifted, each with its finding.
pub type Stale = BTreeMap<ItemAt, Finding>;

/// Runs the drift check for items of a plan.
pub struct Verifier<'a> {
    /// The executed plan.
    pub plan: &'a Plan,
    /// The specs of the ExternalSecrets.
    pub inventory: &'a Inventory,
    /// Uses a read-only client.
    pub check: &'a mut Check,
}

impl Verifier<'_> {
    /// Checks the synced items. Returns those that are still stale after a proven sync.
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

    /// Checks these items with new reads. Returns those that have drifted.
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

/// The change of the Secret: drift that is gone after the sync proves a write. Otherwise the change from the operator's Events.
fn changed(before: Option<&Finding>, after: &Finding, from_events: SecretChange) -> SecretChange {
    match before.map(|before| before.verdict) {
        Some(Verdict::Missing) if after.verdict == Verdict::InSync => SecretChange::Created,
        Some(before) if before.is_drift() && after.verdict == Verdict::InSync => {
            SecretChange::Updated
        }
        _ => from_events,
    }
}
