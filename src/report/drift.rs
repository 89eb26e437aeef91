//! The part of the document about the drift check.

use std::collections::BTreeMap;

use eso_model::{QuotaKey, expected::Difference};
use schemars::JsonSchema;
use serde::Serialize;

use super::{DocumentGap, DocumentItem, Summary, price};
use crate::{
    finding::{Finding, Verdict},
    foreign::Foreign,
    outcome::Outcome,
    plan::Plan,
};

/// A key of the Secret that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentKey {
    /// The name of the key.
    pub name: Foreign,
    /// The difference.
    pub difference: Difference,
}

/// The number of ExternalSecrets of a store that have a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentVerifiable {
    /// The store: `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`; `-` for ExternalSecrets without a store.
    pub store: Foreign,
    /// ExternalSecrets that are not `unverifiable`.
    pub verifiable: usize,
    /// ExternalSecrets that were checked.
    pub total: usize,
}

impl DocumentItem {
    /// Adds the finding.
    pub(super) fn found(mut self, finding: &Finding) -> Self {
        self.verdict = Some(finding.verdict);
        self.unverifiable = finding.unverifiable.as_ref().map(|why| why.reason);
        self.permission = finding.permission.as_ref().map(Into::into);
        let shown = finding.keys.iter().filter_map(|key| {
            Some(DocumentKey {
                name: key.name.shown()?.into(),
                difference: key.difference,
            })
        });
        self.keys = shown.collect();
        self.hidden_keys = finding.keys.len() - self.keys.len();
        let hidden = finding.keys.iter().filter(|key| key.name.shown().is_none());
        self.hidden_extra = hidden
            .filter(|key| key.difference == Difference::Extra)
            .count();
        self
    }

    /// Removes the finding of a synced item: the sync made it obsolete.
    pub(super) fn without_finding_if_synced(mut self) -> Self {
        if self.outcome == Some(Outcome::Synced) {
            self.verdict = None;
            self.unverifiable = None;
            self.permission = None;
            self.keys.clear();
            self.hidden_keys = 0;
            self.hidden_extra = 0;
        }
        self
    }
}

/// Adds the counts and the cost of the drift check to the summary.
pub(super) fn summarize(summary: &mut Summary, plan: &Plan, items: &[DocumentItem]) {
    let Some(check) = &plan.check else {
        summary.about_usd = price::about(plan, &BTreeMap::new());
        return;
    };
    let mut verifiable: BTreeMap<String, DocumentVerifiable> = BTreeMap::new();
    for (item, planned) in items.iter().zip(&plan.items) {
        let Some(verdict) = item.verdict else {
            continue;
        };
        *summary.verdicts.entry(verdict).or_default() += 1;
        let store = planned
            .store
            .as_ref()
            .map_or_else(|| "-".to_owned(), ToString::to_string);
        let counts = verifiable
            .entry(store.clone())
            .or_insert(DocumentVerifiable {
                store: store.into(),
                verifiable: 0,
                total: 0,
            });
        counts.total += 1;
        counts.verifiable += usize::from(verdict != Verdict::Unverifiable);
    }
    summary.verifiable = verifiable.into_values().collect();
    summary.reads = counted(&check.reads).collect();
    summary.throttles = counted(&check.throttles).collect();
    summary.about_usd = price::about(plan, &check.reads);
}

/// The counts that are not 0, by the name of the quota.
pub(super) fn counted(counts: &BTreeMap<QuotaKey, u64>) -> impl Iterator<Item = (String, u64)> {
    let some = counts.iter().filter(|(_, count)| **count > 0);
    some.map(|(quota, count)| (quota.to_string(), *count))
}

/// Returns the stores whose provider could not be read.
pub(super) fn unread(plan: &Plan) -> Vec<DocumentGap> {
    let unread = plan.check.iter().flat_map(|check| &check.unread);
    unread
        .map(|(store, why)| DocumentGap {
            what: store.to_string().into(),
            namespace: None,
            why: why.into(),
        })
        .collect()
}
