//! Chooses the intervals.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::QuotaKey;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    MONTH,
    units::{Fixed, Unit, count},
};
use crate::{plan::DEFAULT_SPEED, policy::Advise};

/// The intervals that are suggested, in seconds.
const STEPS: [u64; 8] = [60, 120, 300, 600, 900, 1800, 3600, 21_600];

/// The last step that the costs alone lead to.
const LONGEST: usize = 6;

/// The step where events say what changed, so that refreshes are only the safety net: six hours.
const SAFETY_NET: usize = STEPS.len() - 1;

/// The share of a provider's quota that refreshes may use.
pub(super) const QUOTA_SHARE: f64 = 0.1;

/// The share of the operator's time that refreshes may use.
pub(super) const OPERATOR_LOAD: f64 = 0.5;

/// How good an interval is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    JsonSchema,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Verdict {
    /// A change stays unseen for too long.
    TooLong,
    /// Near enough to the suggested interval, or not a matter of cost.
    Good,
    /// It reads more often than the freshness is worth, or than the limits allow.
    Aggressive,
    /// A store could not be read, or the price of its provider is not known.
    Unknown,
}

/// Why a verdict is not `good`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Reason {
    /// It is never refreshed: `refreshInterval: 0`.
    IntervalZero,
    /// It is longer than `advise.staleAfter`.
    StaleAfter,
    /// It is more than twice the best interval.
    AboveBest,
    /// It is less than a quarter of the best interval.
    BelowBest,
    /// All refreshes together use more than a tenth of the provider's quota.
    QuotaShare,
    /// All refreshes together take more than half of the operator's time.
    OperatorLoad,
    /// All refreshes together cost more than `advise.budget`.
    Budget,
    /// `events.queues` covers its stores, so that refreshes are only the safety net.
    EventsCover,
    /// With `--rotation=two-users`: a refresh at least every half of a rotation period is early enough, and a more frequent one is
    /// not needed.
    Rotation,
    /// A store could not be read.
    StoreUnknown,
    /// The price of the provider is not known: set `advise.prices`.
    PriceUnknown,
}

/// The suggestion for one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Suggestion {
    pub(super) verdict: Verdict,
    pub(super) reason: Option<Reason>,
    /// The interval after the suggestion; the present one if it stays. None if it is never refreshed.
    pub(super) interval: Option<Duration>,
}

/// A limit on all refreshes together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    Quota(QuotaKey),
    Operator,
    Budget,
}

/// What all refreshes together need.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Needs {
    /// Calls per second by quota.
    pub(super) calls: BTreeMap<QuotaKey, f64>,
    /// Refreshes per second.
    pub(super) refreshes: f64,
    /// Dollars per month.
    pub(super) usd: f64,
}

impl Needs {
    /// The needs of units with these intervals.
    pub(super) fn of(units: &[Unit<'_>], intervals: &[Option<Duration>]) -> Self {
        let mut needs = Self::default();
        for (unit, interval) in units.iter().zip(intervals) {
            let Some(interval) = interval else { continue };
            let seconds = interval.as_secs_f64();
            for member in &unit.members {
                needs.refreshes += 1.0 / seconds;
                needs.usd += member.usd.unwrap_or_default() * MONTH / seconds;
                for (quota, calls) in &member.charges.accounts {
                    *needs.calls.entry(quota.clone()).or_default() += f64::from(*calls) / seconds;
                }
            }
        }
        needs
    }

    /// The share of a quota, if the quota is known.
    pub(super) fn share(&self, quota: &QuotaKey, advise: &Advise) -> Option<f64> {
        let calls = self.calls.get(quota).copied().unwrap_or_default();
        Some(calls / advise.quotas.of(&quota.provider)?)
    }

    /// The share of the operator's time.
    pub(super) fn load(&self, advise: &Advise) -> f64 {
        self.refreshes / (DEFAULT_SPEED * f64::from(advise.operator_workers))
    }

    /// The limits that are exceeded.
    pub(super) fn exceeded(&self, advise: &Advise) -> BTreeSet<Limit> {
        let quotas = self.calls.keys();
        let share = |quota: &QuotaKey| self.share(quota, advise);
        let quotas = quotas.filter(|quota| share(quota).is_some_and(|it| it > QUOTA_SHARE));
        let mut exceeded: BTreeSet<Limit> = quotas.cloned().map(Limit::Quota).collect();
        if self.load(advise) > OPERATOR_LOAD {
            exceeded.insert(Limit::Operator);
        }
        if self.usd > advise.budget.0 {
            exceeded.insert(Limit::Budget);
        }
        exceeded
    }
}

impl Limit {
    /// True if a longer interval of this unit helps.
    fn concerns(&self, unit: &Unit<'_>) -> bool {
        match self {
            Self::Operator => true,
            Self::Budget => unit.usd() > 0.0,
            Self::Quota(quota) => {
                let mut members = unit.members.iter();
                members.any(|member| member.charges.accounts.iter().any(|(own, _)| own == quota))
            }
        }
    }

    const fn reason(&self) -> Reason {
        match self {
            Self::Quota(_) => Reason::QuotaShare,
            Self::Operator => Reason::OperatorLoad,
            Self::Budget => Reason::Budget,
        }
    }
}

/// Chooses the interval of each unit.
pub(super) fn suggest(units: &[Unit<'_>], advise: &Advise) -> Vec<Suggestion> {
    let best = best(units, advise);
    let mut suggestions: Vec<Suggestion> = units
        .iter()
        .zip(&best)
        .map(|(unit, best)| alone(unit, *best, advise))
        .collect();
    loop {
        let intervals: Vec<_> = suggestions.iter().map(|it| it.interval).collect();
        let exceeded = Needs::of(units, &intervals).exceeded(advise);
        let mut changed = false;
        for ((unit, best), suggestion) in units.iter().zip(&best).zip(&mut suggestions) {
            let (Some(best), Some(interval)) = (best, suggestion.interval) else {
                continue;
            };
            let limit = exceeded.iter().find(|limit| limit.concerns(unit));
            if let Some(limit) = limit.filter(|_| interval < *best) {
                *suggestion = Suggestion {
                    verdict: Verdict::Aggressive,
                    reason: Some(limit.reason()),
                    interval: Some(*best),
                };
                changed = true;
            }
        }
        if !changed {
            return suggestions;
        }
    }
}

/// The verdict by the cost of this unit alone.
fn alone(unit: &Unit<'_>, best: Option<Duration>, advise: &Advise) -> Suggestion {
    let present = unit.interval();
    let (verdict, reason) = match (best, present) {
        (None, _) if unit.fixed() == Some(Fixed::Unknown) => {
            (Verdict::Unknown, Some(unknown(unit)))
        }
        (Some(_), None) => (Verdict::TooLong, Some(Reason::IntervalZero)),
        (Some(_), Some(present)) if unit.longest_by_rotation().is_some_and(|it| present > it) => {
            (Verdict::TooLong, Some(Reason::Rotation))
        }
        (Some(best), Some(present)) if unit.only_rotates() => {
            if present < best / 4 {
                (Verdict::Aggressive, Some(Reason::Rotation))
            } else {
                (Verdict::Good, None)
            }
        }
        (Some(best), Some(present))
            if !unit.is_covered && present > advise.stale_after && present > best =>
        {
            (Verdict::TooLong, Some(Reason::StaleAfter))
        }
        (Some(best), Some(present)) if present > best * 2 => {
            (Verdict::TooLong, Some(covered_or(unit, Reason::AboveBest)))
        }
        (Some(best), Some(present)) if present < best / 4 => (
            Verdict::Aggressive,
            Some(covered_or(unit, Reason::BelowBest)),
        ),
        (None, _) | (Some(_), Some(_)) => (Verdict::Good, None),
    };
    let stays = matches!(verdict, Verdict::Good | Verdict::Unknown);
    Suggestion {
        verdict,
        reason,
        interval: if stays { present } else { best },
    }
}

fn covered_or(unit: &Unit<'_>, other: Reason) -> Reason {
    if unit.is_covered {
        Reason::EventsCover
    } else {
        other
    }
}

fn unknown(unit: &Unit<'_>) -> Reason {
    let mut accounts = unit
        .members
        .iter()
        .flat_map(|member| &member.charges.accounts);
    // Charges have such an account for a store that could not be read.
    let lost = accounts.any(|(quota, _)| quota.provider.name() == "unknown");
    if lost {
        Reason::StoreUnknown
    } else {
        Reason::PriceUnknown
    }
}

/// The best interval of each unit, within the limits on all together as far as possible. None if it is not weighed. Does not
/// depend on the present intervals of those that are.
fn best(units: &[Unit<'_>], advise: &Advise) -> Vec<Option<Duration>> {
    let last: Vec<usize> = units.iter().map(last_step).collect();
    let mut steps: Vec<Option<usize>> = units
        .iter()
        .zip(&last)
        .map(|(unit, last)| {
            let first = || {
                if unit.is_covered || unit.only_rotates() {
                    *last
                } else {
                    first_step(unit.usd(), advise).min(*last)
                }
            };
            unit.fixed().is_none().then(first)
        })
        .collect();
    let intervals = |steps: &[Option<usize>]| -> Vec<Option<Duration>> {
        let each = units.iter().zip(steps);
        each.map(|(unit, step)| match step {
            Some(step) => STEPS.get(*step).copied().map(Duration::from_secs),
            None => unit.interval(),
        })
        .collect()
    };
    loop {
        let exceeded = Needs::of(units, &intervals(&steps)).exceeded(advise);
        let raised = exceeded
            .iter()
            .any(|limit| raise(units, &mut steps, &last, limit));
        if !raised {
            let weighed = intervals(&steps).into_iter().zip(&steps);
            return weighed
                .map(|(interval, step)| interval.filter(|_| step.is_some()))
                .collect();
        }
    }
}

/// The last step that is short enough for the rotations of its keys.
fn last_step(unit: &Unit<'_>) -> usize {
    let Some(longest) = unit.longest_by_rotation() else {
        return SAFETY_NET;
    };
    let fits = |step: &&u64| Duration::from_secs(**step) <= longest;
    STEPS.iter().filter(fits).count().saturating_sub(1)
}

/// The step for reads of this price: where the cost of the reads equals that of old values, √(2·price·month ÷ cost per second).
fn first_step(usd: f64, advise: &Advise) -> usize {
    // With one change a month.
    let harm = advise.stale_cost_per_hour.0 / 3600.0;
    let seconds = (2.0 * usd * MONTH / harm).sqrt();
    let distance = |step: &u64| {
        #[expect(clippy::cast_precision_loss, reason = "at most a few hours")]
        let step = *step as f64;
        (seconds.max(1.0) / step).ln().abs()
    };
    let candidates = STEPS.iter().enumerate().take(LONGEST + 1);
    let nearest = candidates.min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)));
    let nearest = nearest.map_or(LONGEST, |(step, _)| step);
    // No value may be older than the policy allows, if a minute is short enough for that.
    let fresh = |step: &&u64| Duration::from_secs(**step) <= advise.stale_after;
    let longest = STEPS.iter().filter(fresh).count().saturating_sub(1);
    // Without a cost of old values, the reads are all that counts.
    if harm > 0.0 {
        nearest.min(longest)
    } else {
        LONGEST.min(longest)
    }
}

/// Takes the next step for the units with the shortest interval among those that the limit concerns and that have one more. False
/// if none has.
fn raise(units: &[Unit<'_>], steps: &mut [Option<usize>], last: &[usize], limit: &Limit) -> bool {
    let has_more = |at: &usize| {
        let (step, last) = (steps.get(*at).copied().flatten(), last.get(*at));
        step.zip(last).is_some_and(|(step, last)| step < *last)
            && units.get(*at).is_some_and(|unit| limit.concerns(unit))
    };
    let concerned: Vec<usize> = (0..units.len()).filter(has_more).collect();
    let of = |at: &usize| steps.get(*at).copied().flatten();
    let Some(shortest) = concerned.iter().filter_map(of).min() else {
        return false;
    };
    for at in concerned {
        if let Some(Some(step)) = steps.get_mut(at)
            && *step == shortest
        {
            *step += 1;
        }
    }
    true
}

/// The time until the operator has refreshed all if all are due at once.
pub(super) fn queue(units: &[Unit<'_>], advise: &Advise) -> Duration {
    let members: usize = units.iter().map(|unit| unit.members.len()).sum();
    let seconds = count(members) / (DEFAULT_SPEED * f64::from(advise.operator_workers));
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
