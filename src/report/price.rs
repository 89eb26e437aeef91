//! The estimated cost of provider calls, without free tiers and discounts.

use std::collections::BTreeMap;

use eso_model::QuotaKey;

use crate::plan::Plan;

/// Returns the cost of the plan's syncs and these reads in US dollars; None if all calls are free or have no known price.
pub(super) fn about(plan: &Plan, reads: &BTreeMap<QuotaKey, u64>) -> Option<f64> {
    let calls = plan.calls();
    let costs = calls.iter().chain(reads).filter_map(|(quota, calls)| {
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let calls = *calls as f64;
        plan.prices.cost(&quota.provider, calls)
    });
    let cost: f64 = costs.sum();
    (cost > 0.0).then_some((cost * 1e6).round() / 1e6)
}
