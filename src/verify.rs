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
        results.throttles = findings.throttles;
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

/// The change of the Secret: drift that is gone after the sync proves a write, and so does other data. Without both comparisons, the
/// change from the operator's Events.
fn changed(before: Option<&Finding>, after: &Finding, from_events: SecretChange) -> SecretChange {
    let Some(before) = before else {
        return from_events;
    };
    let is_repaired = before.verdict.is_drift() && after.verdict == Verdict::InSync;
    match (before.verdict, &before.judged, &after.judged) {
        (Verdict::Missing, ..) if is_repaired => SecretChange::Created,
        _ if is_repaired => SecretChange::Updated,
        (_, Some(data), Some(now)) if data == now => SecretChange::Unchanged,
        (_, Some(_), Some(_)) => SecretChange::Updated,
        (_, Some(_) | None, _) => from_events,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eso_model::expected::SecretFingerprints;
    use secret::RunKey;
    use serde_json::json;

    use super::*;
    use crate::finding::{Judged, version};

    fn finding(verdict: Verdict, data: Option<&str>) -> Finding {
        let key = Arc::new(RunKey::from_bytes([3; 32]));
        let judged = |value: &str| {
            let secret = json!({"data": {"key": value}});
            let secret: cluster::wire::Secret = serde_json::from_value(secret).unwrap();
            let held = SecretFingerprints::of(&secret.data, &key);
            Judged::of(&held, version(&secret.metadata, &key), &key)
        };
        Finding {
            judged: data.map(judged),
            ..Finding::of(verdict, "")
        }
    }

    #[test]
    fn two_comparisons_show_if_the_data_changed() {
        use SecretChange::{Created, Unchanged, Unknown, Updated};
        use Verdict::{InSync, Missing, Stale, Unverifiable};
        let (a, b) = (Some("YQ=="), Some("Yg=="));
        for (before, after, expected) in [
            ((Missing, None), (InSync, a), Created),
            ((Stale, a), (InSync, b), Updated),
            ((InSync, a), (InSync, a), Unchanged),
            // The provider changed after the first comparison.
            ((InSync, a), (InSync, b), Updated),
            ((Unverifiable, a), (Unverifiable, a), Unchanged),
            ((Unverifiable, a), (Unverifiable, b), Updated),
            ((Stale, a), (Stale, a), Unchanged),
            ((Unverifiable, None), (InSync, a), Unknown),
        ] {
            let (before, after) = (finding(before.0, before.1), finding(after.0, after.1));
            assert_eq!(
                changed(Some(&before), &after, Unknown),
                expected,
                "{before:?} {after:?}"
            );
        }
        assert_eq!(changed(None, &finding(InSync, a), Updated), Updated);
    }
}
