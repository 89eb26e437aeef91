//! Globs on Kubernetes names.

use std::{fmt, str::FromStr};

use cluster::names::{in_a_name, is_name};
use globset::{GlobBuilder, GlobMatcher};

/// A glob (`prod-*`, `vault-{a,b}`, `web-?`) on a name.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

/// What makes a pattern more than a name.
const GLOB: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

impl Pattern {
    /// The error says what is wrong with `text`. A pattern that no name can match is an error: it would select nothing,
    /// or fail to exclude, without a word.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("has capital letters, which no name in Kubernetes has".to_owned());
        }
        if !text.contains(GLOB) && !is_name(text) {
            return Err("is no name that Kubernetes allows".to_owned());
        }
        if let Some(stray) = text
            .chars()
            .find(|&c| !in_a_name(c) && !GLOB.contains(&c) && !matches!(c, ',' | '!' | '^'))
        {
            return Err(format!(
                "has `{}`, which no name in Kubernetes has",
                stray.escape_debug()
            ));
        }
        let glob = GlobBuilder::new(text)
            .build()
            .map_err(|error| format!("is not a glob: {}", error.kind()))?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
        })
    }

    /// Whether the glob covers `name`, whole.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// The name, if the pattern is one and no glob.
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains(GLOB)).then_some(&*self.text)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::new(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_covers_whole_names() {
        let pattern = Pattern::new("prod-*").unwrap();
        assert!(
            pattern.matches("prod-eu") && !pattern.matches("a-prod-eu") && !pattern.matches("prod")
        );
        assert_eq!(pattern.literal(), None);
        assert_eq!(Pattern::new("prod").unwrap().literal(), Some("prod"));
        let one_of = Pattern::new("vault-{a,b}[!0-9]").unwrap();
        assert!(
            one_of.matches("vault-ax")
                && !one_of.matches("vault-a1")
                && !one_of.matches("vault-cx")
        );
    }

    #[test]
    fn a_broken_glob_is_refused() {
        let why = |text| Pattern::new(text).unwrap_err();
        insta::assert_snapshot!(why(""), @"is empty");
        insta::assert_snapshot!(why("a["), @"is not a glob: unclosed character class; missing ']'");
        insta::assert_snapshot!(why("{a"), @"is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)");
    }

    #[test]
    fn a_pattern_that_no_name_can_match_is_refused() {
        let why = |text| Pattern::new(text).unwrap_err();
        insta::assert_snapshot!(why("Prod-*"), @"has capital letters, which no name in Kubernetes has");
        insta::assert_snapshot!(why("prod_*"), @"has `_`, which no name in Kubernetes has");
        insta::assert_snapshot!(why("payments/db"), @"is no name that Kubernetes allows");
        insta::assert_snapshot!(why("-db"), @"is no name that Kubernetes allows");
        insta::assert_snapshot!(why("a..b"), @"is no name that Kubernetes allows");
        insta::assert_snapshot!(why(&"a".repeat(254)), @"is no name that Kubernetes allows");
        assert!(Pattern::new(&"a".repeat(253)).is_ok());
    }
}
