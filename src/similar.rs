//! What a user may have meant by a name that does not exist.

use std::collections::BTreeSet;

/// The most names of a suggestion.
pub const SHOWN: usize = 3;

/// In how many characters the name differs from the wanted one. None if it is more than a third of them.
pub fn distance(wanted: &str, name: &str) -> Option<usize> {
    let far = strsim::damerau_levenshtein(wanted, name);
    (far <= (wanted.len() / 3).max(1)).then_some(far)
}

/// The nearest of these, each once. They have their distances.
pub fn first<T: Ord>(near: impl Iterator<Item = (usize, T)>) -> Vec<T> {
    let near: BTreeSet<(usize, T)> = near.collect();
    near.into_iter().take(SHOWN).map(|(_, one)| one).collect()
}

/// The names that are similar to the wanted one, the nearest first.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    first(names.filter_map(|name| Some((distance(wanted, name)?, name))))
}

/// The names as a question. None without names.
pub fn question(names: &[impl AsRef<str>]) -> Option<String> {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", crate::foreign::line(name.as_ref())))
        .collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first_and_far_ones_not_at_all() {
        let names = ["prod/db", "prod/dbs", "dev/db", "prod/db", "other"];
        let near = |wanted| nearest(wanted, names.into_iter());
        assert_eq!(near("prod/bd"), ["prod/db", "prod/dbs"]);
        assert_eq!(near("prod/dbx"), ["prod/db", "prod/dbs"]);
        assert!(near("unknown-name").is_empty());
        assert!(near("").is_empty());
        let many = ["aa", "ab", "ac", "ad"];
        assert_eq!(nearest("a", many.into_iter()).len(), SHOWN);
    }

    #[test]
    fn question_escapes_foreign_names() {
        assert_eq!(question(&[""; 0]), None);
        let asked = question(&["a", "\u{1b}[2J"]);
        assert_eq!(asked.as_deref(), Some("did you mean `a` or `\\u{1b}[2J`?"));
    }
}
