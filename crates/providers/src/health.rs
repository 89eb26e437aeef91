//! When a store counts as lost: then nothing more is asked of it.
//!
//! A tenant chooses the paths that are read, and there may be one that its server, or what stands before it, fails at. That is
//! this path's trouble, and no reason to leave everybody else's unread.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::Unread;

/// Failures at so many paths, with no answer between them, are the server's.
const SEVERAL: usize = 5;

/// What is known about a server.
#[derive(Default)]
pub(super) struct Health(Mutex<Known>);

#[derive(Default)]
struct Known {
    lost: Option<Unread>,
    /// Where it failed since it last answered.
    failing: BTreeSet<String>,
}

impl Health {
    /// Why the store is lost, if it is.
    pub(super) fn check(&self) -> Result<(), Unread> {
        self.locked().lost.clone().map_or(Ok(()), Err)
    }

    /// It answers.
    pub(super) fn answered(&self) {
        self.locked().failing.clear();
    }

    /// The whole store cannot be read. The first reason stays.
    pub(super) fn lose(&self, unread: Unread) -> Unread {
        let whole = Unread {
            whole_store: true,
            ..unread
        };
        self.locked().lost.get_or_insert(whole).clone()
    }

    /// The server failed at this path, also when it was asked again: the path's trouble, or that of the store.
    pub(super) fn failed_at(&self, path: &str, unread: Unread) -> Unread {
        let failing = {
            let mut known = self.locked();
            known.failing.insert(path.to_owned());
            known.failing.len()
        };
        if failing >= SEVERAL {
            self.lose(unread)
        } else {
            unread
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Known> {
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
    fn one_tenants_path_does_not_lose_the_store_of_all() {
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
    fn a_server_that_fails_everywhere_is_lost() {
        let health = Health::default();
        for index in 1..SEVERAL {
            assert!(!health.failed_at(&index.to_string(), failure()).whole_store);
        }
        assert!(health.failed_at("last", failure()).whole_store);
        assert!(health.check().is_err());
        health.answered();
        assert!(health.check().is_err(), "it is asked no more");
    }
}
