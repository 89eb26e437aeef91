//! What eso-sync records in the annotations of a secret.

use std::collections::{BTreeSet, HashMap};

use publish::{Bound, Mark};

use crate::holder::{EARLIER, MARK};

/// The longest annotation with earlier marks. All annotations of a secret share 16 KiB.
const LONGEST: usize = 2048;

/// The annotations of a secret.
pub(super) type Annotations = HashMap<String, String>;

/// The marks in annotations.
pub(super) struct Recorded<'a>(pub(super) &'a Annotations);

impl Recorded<'_> {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The mark of the last version that eso-sync recorded.
    pub(super) fn last(&self) -> Option<Bound> {
        self.text(MARK)?.parse().ok()
    }

    /// The versions before it, newest first: `<mark>:<version> …`.
    fn before(&self) -> Vec<Bound> {
        Bound::of_list(self.text(EARLIER).unwrap_or_default()).collect()
    }

    /// The marks of earlier versions, without that of the last one.
    pub(super) fn earlier(&self) -> Vec<Mark> {
        let last = self.last().map(|last| last.mark);
        let marks = self.before().into_iter().map(|bound| bound.mark);
        marks.filter(|mark| Some(*mark) != last).collect()
    }

    /// The versions that eso-sync wrote.
    pub(super) fn versions(&self) -> BTreeSet<String> {
        let all = self.last().into_iter().chain(self.before());
        all.map(|bound| bound.version).collect()
    }

    /// The annotation with the versions before a new one, as many as fit. None if there are none.
    pub(super) fn earlier_with_last(&self, new: &Bound) -> Option<String> {
        let all = self.last().into_iter().chain(self.before());
        // A mark of another key for the same version is replaced.
        let all = all.filter(|bound| bound.version != new.version);
        Some(Bound::list(all, LONGEST)).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(letter: u8, version: &str) -> Bound {
        Bound {
            mark: format!("{letter:032x}").parse().unwrap(),
            version: version.to_owned(),
        }
    }

    /// Records a version after those that are recorded.
    fn with(annotations: &Annotations, new: &Bound) -> Annotations {
        let mut next = Annotations::from([(MARK.to_owned(), new.to_string())]);
        let earlier = Recorded(annotations).earlier_with_last(new);
        next.extend(earlier.map(|earlier| (EARLIER.to_owned(), earlier)));
        next
    }

    #[test]
    fn versions_are_recorded_newest_first() {
        let [a, b, c] = [bound(1, "1"), bound(2, "2"), bound(1, "3")];
        let first = with(&Annotations::new(), &a);
        assert_eq!(Recorded(&first).earlier(), []);
        let second = with(&first, &b);
        assert_eq!(Recorded(&second).last(), Some(b.clone()));
        assert_eq!(Recorded(&second).earlier(), [a.mark]);
        // The first value again: it is the last one, and no longer an earlier one.
        let third = with(&second, &c);
        assert_eq!(Recorded(&third).earlier(), [b.mark]);
        assert_eq!(
            Recorded(&third).versions(),
            ["1", "2", "3"].map(str::to_owned).into()
        );
    }

    #[test]
    fn renewed_mark_replaces_that_of_the_same_version() {
        let first = with(&Annotations::new(), &bound(1, "1"));
        let renewed = with(&first, &bound(9, "1"));
        assert_eq!(Recorded(&renewed).last(), Some(bound(9, "1")));
        assert_eq!(Recorded(&renewed).earlier(), []);
    }

    #[test]
    fn earlier_versions_are_bounded_and_foreign_texts_are_no_marks() {
        let mut annotations = Annotations::new();
        for version in 1..200 {
            annotations = with(&annotations, &bound(1, &version.to_string()));
        }
        let text = &annotations[EARLIER];
        assert!(text.len() < LONGEST && text.contains(":198 "), "{text}");
        for foreign in ["", "x", "x:1", ":", "eso", "\u{1f600}"] {
            let annotations = Annotations::from([
                (MARK.to_owned(), foreign.to_owned()),
                (EARLIER.to_owned(), foreign.to_owned()),
            ]);
            let recorded = Recorded(&annotations);
            assert_eq!(recorded.last(), None);
            assert_eq!(recorded.earlier(), []);
        }
    }
}
