//! The limit on the work that one ExternalSecret may cause. It counts, and does not measure time: the same input with the same
//! limits always ends in the same way, on any machine and in any order.
//!
//! Tenants write templates, paths, regular expressions and values. Everything that computes with them takes from a [`Budget`]
//! before it works: for each byte that it reads or writes, and for each iteration of a loop.

use std::{cell::Cell, rc::Rc};

/// The work of one step, such as a loop iteration, a function call or a list item. A unit of work is the time for one byte,
/// about a nanosecond.
const STEP: u64 = 128;

/// The limits of one ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The work: one unit for each byte that is read or written, and 128 for each step.
    pub work: u64,
    /// The memory in bytes for values and intermediate results.
    pub memory: u64,
}

impl Default for Limits {
    /// Far more than a Secret needs, which can hold 1 MiB: about a second.
    fn default() -> Self {
        Self {
            work: 1 << 30,
            memory: 16 << 20,
        }
    }
}

/// The work of all ExternalSecrets of a namespace: about half a minute.
const NAMESPACE_WORK: u64 = 32 << 30;

impl Limits {
    /// The limits of each ExternalSecret in a namespace that has `count` of them. Each gets an equal share of the namespace's
    /// work, so that none depends on what the others need, and on the order in which they are computed.
    #[must_use]
    pub fn in_namespace_of(count: usize) -> Self {
        let all = Self::default();
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        Self {
            work: all.work.min(NAMESPACE_WORK / count),
            ..all
        }
    }
}

/// The error if a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooCostly {
    #[error("its spec and values need more computing steps than one ExternalSecret may use")]
    Work,
    #[error("its spec and values need more memory than one ExternalSecret may use")]
    Memory,
}

/// What is left of the limits. Clones share the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Rc<Rest>);

#[derive(Debug)]
struct Rest {
    work: Cell<u64>,
    memory: Cell<u64>,
}

impl Budget {
    pub fn new(limits: Limits) -> Self {
        Self(Rc::new(Rest {
            work: Cell::new(limits.work),
            memory: Cell::new(limits.memory),
        }))
    }

    /// Takes the work of this many steps.
    pub fn step(&self, count: usize) -> Result<(), TooCostly> {
        self.work(amount(count).saturating_mul(STEP))
    }

    /// Takes the work of reading this many bytes.
    pub fn read(&self, bytes: usize) -> Result<(), TooCostly> {
        self.work(amount(bytes))
    }

    /// Takes the work and the memory of writing this many bytes. Call it before they are allocated.
    pub fn write(&self, bytes: usize) -> Result<(), TooCostly> {
        self.room(bytes)?;
        self.0
            .memory
            .update(|left| left.saturating_sub(amount(bytes)));
        self.read(bytes)
    }

    /// Fails if there is no memory for this many bytes. Takes nothing.
    pub fn room(&self, bytes: usize) -> Result<(), TooCostly> {
        if self.0.memory.get() < amount(bytes) {
            return Err(TooCostly::Memory);
        }
        Ok(())
    }

    fn work(&self, units: u64) -> Result<(), TooCostly> {
        let left = self.0.work.get().checked_sub(units);
        // After the first refusal nothing more is computed, not even something that would still fit.
        self.0.work.set(left.unwrap_or_default());
        left.map(|_| ()).ok_or(TooCostly::Work)
    }

    /// Does this work, and gives the memory back that it took.
    pub fn temporarily<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.0.memory.get();
        let done = work();
        self.0.memory.set(before);
        done
    }

    /// What is left.
    pub fn left(&self) -> Limits {
        Limits {
            work: self.0.work.get(),
            memory: self.0.memory.get(),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

fn amount(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_computed_after_the_work_is_used_up() {
        let budget = Budget::new(Limits {
            work: 1000,
            memory: 10,
        });
        budget.read(900).unwrap();
        assert_eq!(budget.read(101), Err(TooCostly::Work));
        assert_eq!(budget.read(1), Err(TooCostly::Work));
    }

    #[test]
    fn temporary_memory_is_given_back_and_work_is_not() {
        let budget = Budget::new(Limits {
            work: 1000,
            memory: 100,
        });
        budget.temporarily(|| budget.write(100)).unwrap();
        budget.write(100).unwrap();
        assert_eq!(budget.write(1), Err(TooCostly::Memory));
        assert_eq!(budget.left().work, 800);
    }

    #[test]
    fn namespaces_with_many_external_secrets_share_their_work() {
        let work = |count| Limits::in_namespace_of(count).work;
        assert_eq!(work(1), Limits::default().work);
        assert_eq!(work(0), work(1));
        for count in [1, 32, 100, 10_000, usize::MAX] {
            let all = u128::from(work(count)) * count as u128;
            assert!(all <= u128::from(NAMESPACE_WORK), "{count}");
        }
    }
}
