//! A byte budget: how much of other people's data a run may hold at a time, with a share for each namespace.
//!
//! Bytes are held before memory is allocated for them. Nothing waits here: who gets [`Over`] must give up what it read, and may
//! try again after others have freed bytes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A budget for all namespaces.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    held: Mutex<Bytes>,
}

/// The limits of a budget, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For all namespaces together.
    pub total: usize,
    /// For each namespace.
    pub share: usize,
    /// A namespace that holds less may hold more even if the total is used up, so that no namespace stops another one.
    pub floor: usize,
}

#[derive(Debug, Default)]
struct Bytes {
    total: usize,
    by_namespace: BTreeMap<Arc<str>, usize>,
}

/// The bytes cannot be held now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// The share of one namespace.
#[derive(Clone, Debug)]
pub struct Share {
    budget: Budget,
    namespace: Arc<str>,
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub struct Held {
    share: Share,
    bytes: usize,
}

impl Budget {
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            limits,
            held: Mutex::default(),
        }))
    }

    /// A budget that one reader uses alone.
    pub fn of(bytes: usize) -> Self {
        Self::new(Limits {
            total: bytes,
            share: bytes,
            floor: 0,
        })
    }

    /// The share of this namespace.
    pub fn share(&self, namespace: &str) -> Share {
        Share {
            budget: self.clone(),
            namespace: namespace.into(),
        }
    }

    /// The bytes that are held now.
    pub fn held(&self) -> usize {
        self.bytes().total
    }

    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Holds these bytes, or none of them.
    pub fn hold(&self, bytes: usize) -> Result<Held, Over> {
        let mut held = self.nothing();
        held.grow(bytes)?;
        Ok(held)
    }

    /// Holds no bytes yet.
    pub fn nothing(&self) -> Held {
        Held {
            share: self.clone(),
            bytes: 0,
        }
    }

    /// The namespace whose share this is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// True if this number of bytes could be held now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.fits(&self.budget.bytes(), bytes)
    }

    /// The bytes that the namespace holds now.
    pub fn held(&self) -> usize {
        let bytes = self.budget.bytes();
        bytes
            .by_namespace
            .get(&self.namespace)
            .copied()
            .unwrap_or_default()
    }

    fn fits(&self, held: &Bytes, more: usize) -> bool {
        let Limits {
            total,
            share,
            floor,
        } = self.budget.0.limits;
        let own = held.by_namespace.get(&self.namespace).copied();
        let own = own.unwrap_or_default().saturating_add(more);
        own <= floor || (own <= share && held.total.saturating_add(more) <= total)
    }
}

impl Held {
    /// Holds more bytes. If they do not fit, the bytes that are held already stay held.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Over> {
        let mut held = self.share.budget.bytes();
        if !self.share.fits(&held, bytes) {
            return Err(Over);
        }
        held.total = held.total.saturating_add(bytes);
        *held
            .by_namespace
            .entry(Arc::clone(&self.share.namespace))
            .or_default() += bytes;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.share.budget.bytes();
        held.total = held.total.saturating_sub(self.bytes);
        if let Some(own) = held.by_namespace.get_mut(&self.share.namespace) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                held.by_namespace.remove(&self.share.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget() -> Budget {
        Budget::new(Limits {
            total: 100,
            share: 60,
            floor: 10,
        })
    }

    #[test]
    fn namespace_cannot_exceed_its_share() {
        let budget = budget();
        let a = budget.share("a");
        let held = a.hold(60).unwrap();
        assert_eq!(a.hold(1).err(), Some(Over));
        assert!(!a.has_room(1));
        drop(held);
        assert!(a.has_room(60) && a.hold(61).is_err());
    }

    #[test]
    fn namespace_always_has_its_floor() {
        let budget = budget();
        let [a, b, c] = ["a", "b", "c"].map(|name| budget.share(name));
        let _all = [a.hold(60).unwrap(), b.hold(40).unwrap()];
        let floor = c.hold(10).unwrap();
        assert_eq!(c.hold(1).err(), Some(Over));
        drop(floor);
        assert_eq!(c.hold(11).err(), Some(Over));
    }

    #[test]
    fn held_bytes_are_freed_on_drop() {
        let budget = budget();
        let share = budget.share("a");
        let mut held = share.hold(20).unwrap();
        held.grow(20).unwrap();
        assert_eq!(held.grow(21), Err(Over), "nothing of it is held");
        assert_eq!((budget.held(), share.held()), (40, 40));
        drop(held);
        assert_eq!((budget.held(), share.held()), (0, 0));
    }

    proptest! {
        #[test]
        fn total_is_exceeded_by_floors_only(steps in prop::collection::vec((0_usize..5, 0_usize..40), 0..60)) {
            let budget = budget();
            let mut all = Vec::new();
            for (namespace, bytes) in steps {
                all.extend(budget.share(&namespace.to_string()).hold(bytes));
                prop_assert!(budget.held() <= 100 + 5 * 10);
            }
            all.clear();
            prop_assert_eq!(budget.held(), 0);
        }
    }
}
