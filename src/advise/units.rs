//! The units of a suggestion: ExternalSecrets that share one interval.

use std::{collections::BTreeMap, time::Duration};

use eso_model::{QuotaKey, refresh::Refresh};
use providers::queue::address::Address;

use super::{
    coverage::covers,
    rotation::{KeyRotation, Rotations},
};
use crate::{
    inventory::{ExternalSecret, Inventory},
    plan::Charges,
    policy::Advise,
};

/// Everything that advice is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub inventory: &'a Inventory,
    /// The ExternalSecrets to advise about.
    pub selected: &'a [&'a ExternalSecret],
    pub advise: &'a Advise,
    /// The queues of the policy, whose events cover the stores of their clouds.
    pub queues: &'a [Address],
    /// None if they were not looked up.
    pub rotations: Option<&'a Rotations>,
}

/// An ExternalSecret, or all children of a ClusterExternalSecret, which has their interval.
#[derive(Clone, Debug)]
pub(super) struct Unit<'a> {
    /// The ClusterExternalSecret.
    pub(super) parent: Option<&'a str>,
    pub(super) members: Vec<Member<'a>>,
    /// True if changes in all its stores arrive as events, so that refreshes are only the safety net.
    pub(super) is_covered: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    pub(super) external_secret: &'a ExternalSecret,
    /// The provider calls of one refresh.
    pub(super) charges: Charges,
    /// Their price in US dollars. None if it is not known.
    pub(super) usd: Option<f64>,
    /// The rotations of its keys, if they were looked up.
    pub(super) rotations: Vec<KeyRotation>,
}

/// Why an interval is not weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    /// The operator does not refresh it periodically, because its author wants that.
    NotPeriodic,
    /// Each refresh creates new credentials, so the interval is more than a matter of cost.
    Generator,
    /// A store or a price is unknown.
    Unknown,
}

impl<'a> Unit<'a> {
    /// The units of these ExternalSecrets, sorted.
    pub(super) fn of(facts: Facts<'a>) -> Vec<Self> {
        let Facts {
            inventory,
            selected,
            advise,
            queues,
            rotations,
        } = facts;
        let mut units: Vec<Self> = Vec::new();
        let mut parents: BTreeMap<&str, usize> = BTreeMap::new();
        for &external_secret in selected {
            let charges = Charges::of(inventory, external_secret);
            let known = external_secret
                .store_keys()
                .all(|key| inventory.store(key).is_some());
            let usd = if known {
                cost(charges.accounts.iter(), advise)
            } else {
                None
            };
            let member = Member {
                external_secret,
                charges,
                usd,
                rotations: rotations.map_or_else(Vec::new, |it| it.of(external_secret)),
            };
            let mut stores = external_secret.store_keys().peekable();
            let is_covered = stores.peek().is_some()
                && stores.all(|key| {
                    let store = inventory.store(key);
                    store.is_some_and(|store| covers(queues, store))
                });
            let parent = external_secret.parent.as_ref().map(|parent| &*parent.name);
            let next = units.len();
            let at = parent.map_or(next, |name| *parents.entry(name).or_insert(next));
            if let Some(unit) = units.get_mut(at) {
                unit.members.push(member);
                unit.is_covered &= is_covered;
            } else {
                units.push(Self {
                    parent,
                    members: vec![member],
                    is_covered,
                });
            }
        }
        units
    }

    /// The refresh of its first member. The others have the same.
    pub(super) fn refresh(&self) -> Refresh {
        let first = self.members.first();
        first.map_or(Refresh::OnChange, |member| member.external_secret.refresh)
    }

    /// The present interval; None if it is never refreshed.
    pub(super) fn interval(&self) -> Option<Duration> {
        interval_of(self.refresh())
    }

    pub(super) fn fixed(&self) -> Option<Fixed> {
        let mut members = self.members.iter();
        match self.refresh() {
            Refresh::OnChange | Refresh::CreatedOnce => Some(Fixed::NotPeriodic),
            Refresh::Periodic(_) if members.any(Member::has_generator) => Some(Fixed::Generator),
            Refresh::Periodic(_) => {
                let unknown = self.members.iter().any(|member| member.usd.is_none());
                unknown.then_some(Fixed::Unknown)
            }
        }
    }

    fn rotations(&self) -> impl Iterator<Item = &KeyRotation> {
        let members = self.members.iter();
        members.flat_map(|member| &member.rotations)
    }

    /// The longest interval that is short enough for the rotations of its keys. None if there are none, or if events say what changed.
    pub(super) fn longest_by_rotation(&self) -> Option<Duration> {
        let longest = self.rotations().filter_map(KeyRotation::longest_interval);
        longest.min().filter(|_| !self.is_covered)
    }

    /// True if all its values change by rotations, and stay valid for long enough after them.
    pub(super) fn only_rotates(&self) -> bool {
        let mut members = self.members.iter();
        let rotates = |member: &Member<'_>| {
            let mut keys = member.rotations.iter();
            !member.rotations.is_empty() && keys.all(|key| key.longest_interval().is_some())
        };
        !self.is_covered && members.all(rotates)
    }

    /// The dollars of one refresh, per member.
    pub(super) fn usd(&self) -> f64 {
        let sum: f64 = self.members.iter().filter_map(|member| member.usd).sum();
        sum / count(self.members.len())
    }
}

impl Member<'_> {
    fn has_generator(&self) -> bool {
        !self.external_secret.generators.is_empty()
    }

    /// The provider calls of one refresh.
    pub(super) fn calls(&self) -> f64 {
        f64::from(self.charges.total())
    }
}

/// The interval of periodic refreshes.
pub(super) fn interval_of(refresh: Refresh) -> Option<Duration> {
    match refresh {
        Refresh::Periodic(interval) if !interval.is_zero() => Some(interval),
        Refresh::Periodic(_) | Refresh::OnChange | Refresh::CreatedOnce => None,
    }
}

/// The price of these calls. None if a price is not known.
fn cost<'c>(calls: impl Iterator<Item = &'c (QuotaKey, u32)>, advise: &Advise) -> Option<f64> {
    calls
        .map(|(quota, calls)| advise.prices.cost(&quota.provider, f64::from(*calls)))
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) const fn count(count: usize) -> f64 {
    count as f64
}
