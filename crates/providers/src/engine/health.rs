//! Decides when a store is lost, so that it is not called again.
//!
//! Tenants choose the keys that are read. If the server, or a proxy in front of it, fails for one tenant's key, the secrets of
//! the other tenants must still be read.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::Unread;

/// The store is lost after failures for this number of different keys without an answer in between.
const KEYS_UNTIL_LOST: usize = 5;

/// The health of one store.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Default)]
struct State {
    lost: Option<Unread>,
    /// The keys for which the server failed since its last answer.
    failing: BTreeSet<String>,
}

impl Health {
    /// Fails with the reason if the store is lost.
    pub(super) fn check(&self) -> Result<(), Unread> {
        self.locked().lost.clone().map_or(Ok(()), Err)
    }

    /// Records that the server answered.
    pub(super) fn answered(&self) {
        self.locked().failing.clear();
    }

    /// Marks the store as lost. Returns the reason of the first loss.
    pub(super) fn lose(&self, unread: Unread) -> Unread {
        let whole = Unread {
            whole_store: true,
            ..unread
        };
        self.locked().lost.get_or_insert(whole).clone()
    }

    /// Records that the server failed for this key after all retries. Returns the reason for the key, or for the store if it is
    /// lost now.
    pub(super) fn failed_at(&self, key: &str, unread: Unread) -> Unread {
        let failing = {
            let mut state = self.locked();
            state.failing.insert(key.to_owned());
            state.failing.len()
        };
        if failing >= KEYS_UNTIL_LOST {
            self.lose(unread)
        } else {
            unread
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unread;

    fn failure() -> Unread {
        Unread::secret(unread::UNAVAILABLE, "502")
    }

    #[test]
    fn failures_of_one_key_do_not_lose_the_store() {
        let health = Health::default();
        for _ in 0..100 {
            assert!(!health.failed_at("evil", failure()).whole_store);
        }
        for index in 0..100 {
            health.failed_at(&format!("evil-{index}"), failure());
            health.answered();
        }
        assert_eq!(health.check(), Ok(()));
    }

    #[test]
    fn failures_of_five_keys_lose_the_store() {
        let health = Health::default();
        for index in 1..KEYS_UNTIL_LOST {
            assert!(!health.failed_at(&index.to_string(), failure()).whole_store);
        }
        assert!(health.failed_at("last", failure()).whole_store);
        health.answered();
        assert!(health.check().is_err(), "a lost store stays lost");
    }
}
