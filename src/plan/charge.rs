//! What a sync costs: the provider calls at each account and each store.

use eso_model::{ProviderKind, QuotaKey, StoreKey};

use crate::inventory::{ExternalSecret, Inventory};

/// The assumed reads of a search, one per match. The spec does not show the number of matches. In addition, a search lists, which
/// counts as more reads where the quota of lists is smaller.
const SEARCH_READS: u32 = 9;

/// The provider calls of a step. Each account and each store is listed once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charges {
    /// The calls that count against the quota of an account. Never empty for a step.
    pub accounts: Vec<(QuotaKey, u32)>,
    pub stores: Vec<(StoreKey, u32)>,
}

impl Charges {
    /// The calls of one sync of this ExternalSecret.
    pub fn of(inventory: &Inventory, external_secret: &ExternalSecret) -> Self {
        let mut charges = Self::default();
        for of in &external_secret.stores {
            let store = inventory.store(&of.key);
            let facts = store.map(|store| store.provider.facts());
            let once = facts.as_ref().is_some_and(|facts| facts.reads_keys_once);
            let keys = if once {
                of.calls.distinct
            } else {
                of.calls.entries
            };
            let list = facts.and_then(|facts| facts.reads_per_list).unwrap_or(1);
            let search = SEARCH_READS.saturating_add(list);
            let calls = keys.saturating_add(of.calls.searches.saturating_mul(search));
            if calls > 0 {
                let quota = store.map(|store| store.quota.clone());
                let quota = quota.unwrap_or_else(|| unknown("unknown", of.key.to_string()));
                add(&mut charges.accounts, &quota, calls);
                add(&mut charges.stores, &of.key, calls);
            }
        }
        if charges.accounts.is_empty() {
            add(
                &mut charges.accounts,
                &unknown("generator", String::new()),
                1,
            );
        }
        charges
    }

    /// Adds the calls of another sync in the same step.
    pub(super) fn add(&mut self, other: &Self) {
        for (quota, calls) in &other.accounts {
            add(&mut self.accounts, quota, *calls);
        }
        for (store, calls) in &other.stores {
            add(&mut self.stores, store, *calls);
        }
    }

    /// All provider calls.
    pub fn total(&self) -> u32 {
        let calls = self.accounts.iter().map(|(_, calls)| *calls);
        calls.fold(0, u32::saturating_add)
    }
}

fn add<K: Clone + PartialEq>(charges: &mut Vec<(K, u32)>, key: &K, calls: u32) {
    match charges.iter_mut().find(|(known, _)| known == key) {
        Some((_, sum)) => *sum = sum.saturating_add(calls),
        None => charges.push((key.clone(), calls)),
    }
}

/// The account of a store that could not be read, or of generators.
fn unknown(provider: &str, account: String) -> QuotaKey {
    QuotaKey {
        provider: ProviderKind::Other(provider.to_owned()),
        account,
    }
}
