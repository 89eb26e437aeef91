//! The rows of a table in the report of a run: a long one shows what matters, and counts the rest.

use std::collections::BTreeMap;

/// The report of a run with at most so many rows shows them all.
const SMALL: usize = 50;

/// The rows that a table shows, and the others.
pub(super) struct Shown<'a, T> {
    pub rows: Vec<&'a T>,
    others: Vec<&'a T>,
}

impl<'a, T> Shown<'a, T> {
    /// Shows all rows, or if `shortens` and there are many, those that matter.
    pub(super) fn of(all: &'a [T], shortens: bool, matters: &impl Fn(&T) -> bool) -> Self {
        let shows_all = !shortens || all.len() <= SMALL;
        let (rows, others) = all.iter().partition(|row| shows_all || matters(row));
        Self { rows, others }
    }

    /// A line with the number of rows that are not shown, by their state; the most frequent first.
    pub(super) fn rest(&self, state: impl Fn(&T) -> String) -> String {
        if self.others.is_empty() {
            return String::new();
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for row in &self.others {
            *counts.entry(state(row)).or_default() += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        let and = if self.rows.is_empty() { "" } else { "and " };
        let more = if self.rows.is_empty() { "" } else { " more" };
        format!(
            "{and}{}{more}, not shown: {} (`-o wide` shows all)\n",
            self.others.len(),
            counts.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(count: usize, shortens: bool) -> (usize, String) {
        let all: Vec<usize> = (0..count).collect();
        let shown = Shown::of(&all, shortens, &|row| row.is_multiple_of(10));
        let state = |row: &usize| if row.is_multiple_of(2) { "even" } else { "odd" }.to_owned();
        (shown.rows.len(), shown.rest(state))
    }

    #[test]
    fn many_rows_are_counted_unless_they_matter() {
        assert_eq!(shown(SMALL, true), (SMALL, String::new()));
        assert_eq!(shown(1000, false), (1000, String::new()));
        let (rows, rest) = shown(1000, true);
        assert_eq!(rows, 100);
        assert_eq!(
            rest,
            "and 900 more, not shown: 500 odd, 400 even (`-o wide` shows all)\n"
        );
    }

    #[test]
    fn table_without_rows_that_matter_is_one_line() {
        let all = [1; 60];
        let shown = Shown::of(&all, true, &|_| false);
        let rest = shown.rest(|_| "skipped (in-sync)".to_owned());
        assert_eq!(
            rest,
            "60, not shown: 60 skipped (in-sync) (`-o wide` shows all)\n"
        );
    }
}
