//! The stores of the document.

use std::{collections::BTreeMap, time::Duration};

use eso_model::StoreKey;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    MONTH,
    coverage::covers,
    suggest::Needs,
    units::{Facts, Unit, count},
};
use crate::foreign::Foreign;

/// Rounded to a millionth.
pub(super) fn rounded(number: f64) -> f64 {
    // Adding zero turns -0 into 0.
    (number * 1e6).round() / 1e6 + 0.0
}

/// One store.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdviceStore {
    /// `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`.
    pub store: Foreign,
    /// The provider; absent if the store could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The number of ExternalSecrets that read from it.
    pub external_secrets: usize,
    /// Provider calls a month.
    pub reads_per_month: f64,
    /// Their cost in US dollars; absent if the price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_month: Option<f64>,
    /// Provider calls a month with the suggested intervals.
    pub suggested_reads_per_month: f64,
    /// Their cost in US dollars; absent if the price is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_usd_per_month: Option<f64>,
    /// How long a change stays unseen on average, in seconds: the mean of its ExternalSecrets that are refreshed periodically; absent
    /// without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_staleness_seconds: Option<f64>,
    /// The same with the suggested intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_mean_staleness_seconds: Option<f64>,
    /// The longest time, with the operator's queue if all are due at once; absent without any that is refreshed periodically.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_staleness_seconds: Option<f64>,
    /// The same with the suggested intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_worst_staleness_seconds: Option<f64>,
    /// The share of the provider's quota that all stores of the same account use; absent without a known quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_share: Option<f64>,
    /// The same with the suggested intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_quota_share: Option<f64>,
    /// The share of the operator's time that refreshes of its ExternalSecrets take. One that reads several stores counts in each.
    pub operator_load: f64,
    /// The same with the suggested intervals.
    pub suggested_operator_load: f64,
    /// True if a queue of `events.queues` is for its cloud, region and account.
    pub covered_by_events: bool,
}

/// What is added up for one store and one choice of intervals.
#[derive(Default)]
struct Sum {
    /// Provider calls a month.
    reads: f64,
    /// Refreshes per second.
    refreshes: f64,
    /// The ExternalSecrets that are refreshed periodically, and their intervals.
    periodic: usize,
    intervals: Duration,
    longest: Duration,
}

impl Sum {
    fn add(&mut self, calls: u32, interval: Option<Duration>) {
        let Some(interval) = interval else { return };
        let seconds = interval.as_secs_f64();
        self.reads += f64::from(calls) * MONTH / seconds;
        self.refreshes += 1.0 / seconds;
        self.periodic += 1;
        self.intervals = self.intervals.saturating_add(interval);
        self.longest = self.longest.max(interval);
    }

    fn mean_staleness(&self) -> Option<f64> {
        let mean = || self.intervals.as_secs_f64() / count(self.periodic) / 2.0;
        (self.periodic > 0).then(mean).map(f64::round)
    }

    fn worst_staleness(&self, queue: Duration) -> Option<f64> {
        let worst = self.longest.saturating_add(queue).as_secs_f64().round();
        (self.periodic > 0).then_some(worst)
    }

    fn load(&self, facts: Facts<'_>) -> f64 {
        let needs = Needs {
            refreshes: self.refreshes,
            ..Needs::default()
        };
        rounded(needs.load(facts.advise))
    }
}

/// The ExternalSecrets of one store: their number, and the sums with the present and the suggested intervals.
#[derive(Default)]
struct Sums {
    count: usize,
    present: Sum,
    suggested: Sum,
}

/// The present and the suggested intervals of the units, what all of them together need, and the operator's queue.
pub(super) struct Intervals<'a> {
    pub(super) present: &'a [Option<Duration>],
    pub(super) suggested: &'a [Option<Duration>],
    pub(super) now: &'a Needs,
    pub(super) then: &'a Needs,
    pub(super) queue: Duration,
}

pub(super) fn stores(
    units: &[Unit<'_>],
    intervals: &Intervals<'_>,
    facts: Facts<'_>,
) -> Vec<AdviceStore> {
    let mut sums: BTreeMap<&StoreKey, Sums> = BTreeMap::new();
    let both = intervals.present.iter().zip(intervals.suggested);
    for (unit, (present, suggested)) in units.iter().zip(both) {
        for member in &unit.members {
            for (store, calls) in &member.charges.stores {
                let sums = sums.entry(store).or_default();
                sums.count += 1;
                sums.present.add(*calls, *present);
                sums.suggested.add(*calls, *suggested);
            }
        }
    }
    let sums = sums.into_iter();
    sums.map(|(key, sums)| store(key, &sums, intervals, facts))
        .collect()
}

fn store(key: &StoreKey, sums: &Sums, intervals: &Intervals<'_>, facts: Facts<'_>) -> AdviceStore {
    let Sums {
        count,
        present,
        suggested,
    } = sums;
    let store = facts.inventory.store(key);
    let usd = |reads: f64| {
        let usd = facts.advise.prices.cost(&store?.provider, reads);
        usd.map(rounded)
    };
    let share = |needs: &Needs| needs.share(&store?.quota, facts.advise).map(rounded);
    AdviceStore {
        store: key.to_string().into(),
        provider: store.map(|store| store.provider.to_string()),
        external_secrets: *count,
        reads_per_month: present.reads.round(),
        usd_per_month: usd(present.reads),
        suggested_reads_per_month: suggested.reads.round(),
        suggested_usd_per_month: usd(suggested.reads),
        mean_staleness_seconds: present.mean_staleness(),
        suggested_mean_staleness_seconds: suggested.mean_staleness(),
        worst_staleness_seconds: present.worst_staleness(intervals.queue),
        suggested_worst_staleness_seconds: suggested.worst_staleness(intervals.queue),
        quota_share: share(intervals.now),
        suggested_quota_share: share(intervals.then),
        operator_load: present.load(facts),
        suggested_operator_load: suggested.load(facts),
        covered_by_events: store.is_some_and(|store| covers(facts.queues, store)),
    }
}
