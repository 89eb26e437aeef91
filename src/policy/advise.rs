//! The section `advise`.

use std::{collections::BTreeMap, time::Duration};

use eso_model::{ProviderKind, ProviderName};
use pace::rate::Rate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    dollars::Dollars,
    form::{self, Entries, Written},
    written::{self, in_order},
};

/// What `eso-sync advise` weighs refresh intervals by. The other commands use only the prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Advise {
    /// The longest time that a Secret may have an old value after a change. Longer intervals are `too-long`.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::Duration>")]
    pub stale_after: Duration,
    /// The most that all refreshes may cost in a month.
    #[schemars(with = "Written<form::Dollars>")]
    pub budget: Dollars,
    /// What an hour costs in which a Secret has an old value. The best interval is where this equals the cost of the reads.
    #[schemars(with = "Written<form::Dollars>")]
    pub stale_cost_per_hour: Dollars,
    /// The number of ExternalSecrets that the operator syncs at the same time: its flag `--concurrent`.
    #[schemars(range(min = 1))]
    pub operator_workers: u32,
    /// The price of 10,000 reads by provider type, in place of the list price.
    #[schemars(with = "Entries<form::Provider, Written<form::Dollars>>")]
    pub prices: Prices,
    /// The quota of reads by provider type, for each account, vault or project, in place of the provider's default quota.
    #[schemars(with = "Entries<form::Provider, Written<form::Rate>>")]
    pub quotas: Quotas,
}

/// Quotas of reads that replace the providers' default quotas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quotas(pub BTreeMap<ProviderName, Rate>);

impl Quotas {
    /// The calls per second that the provider permits; None if there is no quota, or none is known.
    pub fn of(&self, provider: &ProviderKind) -> Option<f64> {
        let own = ProviderName::value_of(&self.0, provider);
        match own {
            Some(own) => Some(own.as_per_second()),
            None => Some(provider.facts().read_quota?.per_second),
        }
    }
}

/// Prices of 10,000 reads that replace list prices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prices(pub BTreeMap<ProviderName, Dollars>);

impl Default for Advise {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_mins(15),
            budget: Dollars(50.0),
            stale_cost_per_hour: Dollars(1.0),
            operator_workers: 1,
            prices: Prices::default(),
            quotas: Quotas::default(),
        }
    }
}

impl Advise {
    /// True if no key is set, so that a policy without the section keeps its digest.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Prices {
    /// The price of 10,000 reads in US dollars: that of the policy, else the list price. Zero if reads are free; None if it is
    /// not known.
    pub fn of(&self, provider: &ProviderKind) -> Option<f64> {
        let own = ProviderName::value_of(&self.0, provider);
        match (own, provider) {
            (Some(Dollars(own)), _) => Some(*own),
            (None, ProviderKind::Other(_)) => None,
            (None, provider) => {
                let listed = provider.facts().price;
                Some(listed.map_or(0.0, |price| price.per_10_000))
            }
        }
    }

    /// The cost of so many reads in US dollars; None if the price is not known.
    pub fn cost(&self, provider: &ProviderKind, reads: f64) -> Option<f64> {
        Some(reads * self.of(provider)? / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_of_the_policy_replaces_the_list_price() {
        let mut prices = Prices::default();
        assert_eq!(prices.of(&ProviderKind::SecretsManager), Some(0.05));
        assert_eq!(prices.of(&ProviderKind::ParameterStore), Some(0.0));
        assert_eq!(prices.of(&ProviderKind::Other("x".to_owned())), None);
        for (name, price) in [("aws", 0.01), ("x", 0.2)] {
            prices.0.insert(name.parse().unwrap(), Dollars(price));
        }
        assert_eq!(prices.of(&ProviderKind::SecretsManager), Some(0.01));
        assert_eq!(prices.of(&ProviderKind::Other("x".to_owned())), Some(0.2));
    }

    #[test]
    fn a_quota_of_the_policy_replaces_the_default_one() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.of(&ProviderKind::ParameterStore), Some(40.0));
        assert_eq!(quotas.of(&ProviderKind::Vault), None);
        for (name, rate) in [("parameterStore", "1000/s"), ("vault", "20/s")] {
            quotas
                .0
                .insert(name.parse().unwrap(), rate.parse().unwrap());
        }
        assert_eq!(quotas.of(&ProviderKind::ParameterStore), Some(1000.0));
        assert_eq!(quotas.of(&ProviderKind::SecretsManager), Some(10_000.0));
        assert_eq!(quotas.of(&ProviderKind::Vault), Some(20.0));
    }
}
