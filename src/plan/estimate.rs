//! The estimated duration of the syncs.

use std::{collections::BTreeMap, time::Duration};

use eso_model::{QuotaKey, StoreKey, refresh::Refresh};

use super::{Step, StepAt};
use crate::{index::Table, inventory::ExternalSecret, policy::Pace};

/// The syncs per second of an operator with one worker, the default (measured with v0.20.4 and a provider without latency).
pub const DEFAULT_SPEED: f64 = 8.0;

/// The time in which the operator was busiest, in seconds.
const BUSIEST: i64 = 60;

/// The number of refreshes that show a speed.
const ENOUGH: usize = 10;

/// An operator that refreshes this many times as often as the refresh intervals ask for has a queue, so it shows its speed.
const QUEUED: f64 = 2.0;

/// Returns the syncs per second that the operator makes when it has a queue: how close together most of the last refreshes are in
/// the minute with the most of them. If they are as far apart as the refresh intervals, the operator was not busy, and its speed
/// is not known.
pub(super) fn operator_speed(external_secrets: &[ExternalSecret]) -> f64 {
    let refreshed = external_secrets.iter().filter_map(|one| one.refreshed);
    let mut times: Vec<i64> = refreshed.map(jiff::Timestamp::as_second).collect();
    times.sort_unstable();
    let minutes = (0..times.len()).filter_map(|start| {
        let rest = times.get(start..)?;
        let first = rest.first()?;
        rest.get(..rest.partition_point(|time| time - first < BUSIEST))
    });
    let busiest = minutes.max_by_key(|minute| minute.len());
    // Single refreshes before and after a burst are not part of it.
    let most = busiest.map_or(0, |minute| (minute.len() * 4).div_ceil(5));
    let spans = busiest
        .into_iter()
        .flat_map(|minute| minute.windows(most.max(1)));
    let shortest = spans.filter_map(|span| Some(span.last()? - span.first()? + 1));
    let Some(seconds) = shortest.min().filter(|_| most >= ENOUGH) else {
        return DEFAULT_SPEED;
    };
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let speed = most as f64 / seconds as f64;
    let asked: f64 = external_secrets.iter().map(asked).sum();
    if speed < QUEUED * asked {
        return DEFAULT_SPEED;
    }
    speed
}

/// The refreshes per second that its interval asks for.
fn asked(external_secret: &ExternalSecret) -> f64 {
    match external_secret.refresh {
        Refresh::Periodic(interval) if !interval.is_zero() => 1.0 / interval.as_secs_f64(),
        Refresh::Periodic(_) | Refresh::CreatedOnce | Refresh::OnChange => 0.0,
    }
}

/// Returns the duration of the steps: that of the slowest rate, or of the operator.
pub(super) fn estimate(pace: &Pace, steps: &Table<StepAt, Step>, operator_speed: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let seconds = |count: u64, per_second: f64| count as f64 / per_second;
    let mut by_quota: BTreeMap<&QuotaKey, u64> = BTreeMap::new();
    let mut by_store: BTreeMap<&StoreKey, u64> = BTreeMap::new();
    for step in steps {
        for (quota, calls) in &step.charges.accounts {
            *by_quota.entry(quota).or_default() += u64::from(*calls);
        }
        for (store, calls) in &step.charges.stores {
            *by_store.entry(store).or_default() += u64::from(*calls);
        }
    }
    let quotas = by_quota
        .into_iter()
        .map(|(quota, calls)| seconds(calls, pace.of(&quota.provider).as_per_second()));
    let stores = by_store
        .into_iter()
        .filter_map(|(store, calls)| Some(seconds(calls, pace.stores.get(store)?.as_per_second())));
    let members = steps.iter().map(|step| step.members.len() as u64).sum();
    let whole = [
        seconds(steps.len() as u64, pace.kubernetes.as_per_second()),
        seconds(members, operator_speed),
    ];
    let longest = quotas.chain(stores).chain(whole).fold(0.0, f64::max);
    Duration::try_from_secs_f64(longest).unwrap_or(Duration::MAX)
}
