//! Lists with typed indexes. Only a list creates its indexes, so an index cannot be used with another kind of list, and its
//! entry always exists.

use std::{
    iter::FusedIterator,
    marker::PhantomData,
    ops::{Index, IndexMut},
};

/// The index of an entry.
pub trait Place: Copy + Ord {
    fn at(place: usize) -> Self;
    fn place(self) -> usize;
}

/// Defines the index type of one list.
macro_rules! place {
    ($(#[$doc:meta])* $visible:vis $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visible struct $name(usize);

        impl $crate::index::Place for $name {
            fn at(place: usize) -> Self {
                Self(place)
            }

            fn place(self) -> usize {
                self.0
            }
        }
    };
}
pub(crate) use place;

/// A list with the index type `I`, or a list parallel to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<I, T> {
    all: Vec<T>,
    by: PhantomData<fn(I)>,
}

impl<I: Place, T> Table<I, T> {
    pub fn new(entries: Vec<T>) -> Self {
        Self {
            all: entries,
            by: PhantomData,
        }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds an entry and returns its index.
    pub fn push(&mut self, entry: T) -> I {
        self.all.push(entry);
        I::at(self.all.len() - 1)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.all.iter()
    }

    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.all.iter_mut()
    }

    /// The entries with their indexes.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + FusedIterator {
        let places = self.all.iter().enumerate();
        places.map(|(place, entry)| (I::at(place), entry))
    }

    /// Makes a parallel list that uses the same indexes.
    pub fn beside<V>(&self, of: impl FnMut(&T) -> V) -> Table<I, V> {
        Table::new(self.all.iter().map(of).collect())
    }
}

impl<I: Place, T> Default for Table<I, T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<I: Place, T> FromIterator<T> for Table<I, T> {
    fn from_iter<E: IntoIterator<Item = T>>(entries: E) -> Self {
        Self::new(entries.into_iter().collect())
    }
}

impl<I, T> IntoIterator for Table<I, T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl<'a, I, T> IntoIterator for &'a Table<I, T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}

impl<'a, I, T> IntoIterator for &'a mut Table<I, T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter_mut()
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "the list, or the list that it is parallel to, created the index"
)]
impl<I: Place, T> Index<I> for Table<I, T> {
    type Output = T;

    fn index(&self, place: I) -> &T {
        &self.all[place.place()]
    }
}

#[expect(clippy::indexing_slicing, reason = "as above")]
impl<I: Place, T> IndexMut<I> for Table<I, T> {
    fn index_mut(&mut self, place: I) -> &mut T {
        &mut self.all[place.place()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    place! {
        /// The index of a letter.
        Letter
    }

    #[test]
    fn index_finds_its_entry_in_parallel_lists() {
        let mut letters: Table<Letter, char> = ['a', 'b'].into_iter().collect();
        let c = letters.push('c');
        let upper = letters.beside(char::to_ascii_uppercase);
        assert_eq!((letters[c], upper[c]), ('c', 'C'));
        for (place, letter) in letters.entries() {
            assert_eq!(upper[place], letter.to_ascii_uppercase());
        }
    }
}
