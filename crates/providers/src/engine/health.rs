//! When a store counts as lost: then it is not called again.
//!
//! A tenant chooses the keys that are read. A server, or a proxy before it, that fails at one of them must not keep everybody
//! else's secrets from being read.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use crate::Unread;

/// Failures at so many different keys, with no answer in between, are failures of the server.
const PATHS_UNTIL_LOST: usize = 5;

/// The health of one store.
#[derive(Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Default)]
struct State {
    lost: Option<Unread>,
    /// The keys at which the server failed since its last answer.
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

    /// Loses the store. Returns the reason, which is the first one.
    pub(super) fn lose(&self, unread: Unread) -> Unread {
        let whole = Unread {
            whole_store: true,
            ..unread
        };
        self.locked().lost.get_or_insert(whole).clone()
    }

    /// Records that the server failed at this key, also when it was asked again. Returns the reason: that of the key, or that
    /// of the store if this loses it.
    pub(super) fn failed_at(&self, key: &str, unread: Unread) -> Unread {
        let failing = {
            let mut state = self.locked();
            state.failing.insert(key.to_owned());
            state.failing.len()
        };
        if failing >= PATHS_UNTIL_LOST {
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
    fn one_tenants_key_does_not_lose_the_store() {
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
    fn a_server_that_fails_at_every_key_is_lost() {
        let health = Health::default();
        for index in 1..PATHS_UNTIL_LOST {
            assert!(!health.failed_at(&index.to_string(), failure()).whole_store);
        }
        assert!(health.failed_at("last", failure()).whole_store);
        health.answered();
        assert!(health.check().is_err(), "a lost store stays lost");
    }
}
