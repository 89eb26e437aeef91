//! Lists whose entries are found by an index that only they hand out: an index cannot be used on another kind of list, and what it
//! names is there.

use std::{
    iter::FusedIterator,
    marker::PhantomData,
    ops::{Index, IndexMut},
};

/// The place of an entry.
pub trait Place: Copy + Ord {
    /// From a place.
    fn at(place: usize) -> Self;
    /// The place.
    fn place(self) -> usize;
}

/// Makes a type for the places of one list.
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

/// A list, and what belongs to each entry of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<I, T> {
    all: Vec<T>,
    by: PhantomData<fn(I)>,
}

impl<I: Place, T> Table<I, T> {
    /// With these entries.
    pub fn new(entries: Vec<T>) -> Self {
        Self {
            all: entries,
            by: PhantomData,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds one; the answer is where.
    pub fn push(&mut self, entry: T) -> I {
        self.all.push(entry);
        I::at(self.all.len() - 1)
    }

    /// The entries.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.all.iter()
    }

    /// The entries, to change them.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.all.iter_mut()
    }

    /// The entries, each with its place.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + FusedIterator {
        let places = self.all.iter().enumerate();
        places.map(|(place, entry)| (I::at(place), entry))
    }

    /// Something for each entry, found by the same places.
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
    reason = "a place is handed out by the list that it is used on, or by the one that this list was made beside"
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
        /// Of a letter.
        Letter
    }

    #[test]
    fn what_a_place_names_is_there() {
        let mut letters: Table<Letter, char> = ['a', 'b'].into_iter().collect();
        let c = letters.push('c');
        let upper = letters.beside(char::to_ascii_uppercase);
        assert_eq!((letters[c], upper[c]), ('c', 'C'));
        for (place, letter) in letters.entries() {
            assert_eq!(upper[place], letter.to_ascii_uppercase());
        }
    }
}
