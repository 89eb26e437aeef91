//! Limits the memory of what discovery keeps of texts that tenants write: specs of ExternalSecrets, and settings of stores.

use std::collections::{BTreeMap, BTreeSet};

/// The texts that are kept, by namespace and name. If they exceed the limit, the largest text of the namespace with the most
/// bytes is given up, so that no namespace loses anything because of a larger one.
pub(super) struct Kept {
    limit: usize,
    total: usize,
    of: BTreeMap<String, Namespace>,
}

#[derive(Default)]
struct Namespace {
    total: usize,
    by_size: BTreeSet<(usize, String)>,
}

impl Kept {
    /// Keeps at most this number of bytes.
    pub(super) const fn within(limit: usize) -> Self {
        Self {
            limit,
            total: 0,
            of: BTreeMap::new(),
        }
    }

    /// Adds a text. Returns the texts that must be given up, as namespace and name.
    pub(super) fn add(
        &mut self,
        namespace: &str,
        name: &str,
        size: usize,
    ) -> Vec<(String, String)> {
        let of = self.of.entry(namespace.to_owned()).or_default();
        of.by_size.insert((size, name.to_owned()));
        of.total += size;
        self.total += size;
        let mut given_up = Vec::new();
        while self.total > self.limit
            && let Some(text) = self.give_up()
        {
            given_up.push(text);
        }
        given_up
    }

    fn give_up(&mut self) -> Option<(String, String)> {
        let (namespace, of) = self.of.iter_mut().max_by_key(|(_, of)| of.total)?;
        let (size, name) = of.by_size.pop_last()?;
        of.total -= size;
        self.total -= size;
        Some((namespace.clone(), name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn largest_namespace_gives_up_its_largest_text() {
        let mut kept = Kept::within(100);
        assert!(kept.add("a", "small", 10).is_empty());
        assert!(kept.add("b", "one", 40).is_empty());
        assert!(kept.add("b", "two", 45).is_empty());
        assert_eq!(
            kept.add("a", "more", 10),
            [("b".to_owned(), "two".to_owned())]
        );
        assert_eq!(
            kept.add("c", "huge", 1000),
            [("c".to_owned(), "huge".to_owned())]
        );
    }

    proptest! {
        #[test]
        fn namespace_with_its_share_loses_nothing(others in prop::collection::vec((0_usize..3, 1_usize..50), 0..40)) {
            // A quarter of the limit, and there are four namespaces.
            let mut kept = Kept::within(400);
            let mut lost = kept.add("mine", "a", 60);
            for (index, (namespace, size)) in others.into_iter().enumerate() {
                lost.extend(kept.add(&namespace.to_string(), &index.to_string(), size));
                prop_assert!(kept.total <= 400);
            }
            lost.extend(kept.add("mine", "b", 40));
            prop_assert!(lost.iter().all(|(namespace, _)| namespace != "mine"));
        }
    }
}
