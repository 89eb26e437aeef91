//! Globs for Kubernetes names.

use std::{collections::BTreeSet, fmt, str::FromStr};

use cluster::names::{is_name, is_name_char};
use globset::{GlobBuilder, GlobMatcher};

/// A glob for names: `prod-*`, `vault-{a,b}`, `web-?`.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

/// Characters that make a pattern a glob instead of a plain name.
const GLOB: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

impl Pattern {
    /// Parses a pattern; the error completes the sentence "`text` …". A pattern that no name can match is an error: it
    /// would silently select or exclude nothing.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("has uppercase letters, but Kubernetes names are lowercase".to_owned());
        }
        if !text.contains(GLOB) && !is_name(text) {
            return Err("is not a valid Kubernetes name".to_owned());
        }
        if let Some(stray) = text
            .chars()
            .find(|&c| !is_name_char(c) && !GLOB.contains(&c) && !matches!(c, ',' | '!' | '^'))
        {
            return Err(format!(
                "contains `{}`, which Kubernetes names cannot contain",
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

    /// True if the glob matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// Returns the name if the pattern is a plain name.
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains(GLOB)).then_some(&*self.text)
    }
}

/// A glob for any text, in which `*` also matches `/`: `ClusterSecretStore/prod-*`, `flux/*`.
#[derive(Clone, Debug)]
pub struct Wildcard {
    text: String,
    matcher: GlobMatcher,
}

impl Wildcard {
    /// True if the glob matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }
}

impl FromStr for Wildcard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let glob = GlobBuilder::new(text)
            .build()
            .map_err(|error| format!("is not a glob: {}", error.kind()))?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
        })
    }
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Wildcard {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Returns the names if all patterns are plain names. None if there is no pattern.
pub fn literals(patterns: &[Pattern]) -> Option<BTreeSet<String>> {
    let names: Option<BTreeSet<String>> = patterns
        .iter()
        .map(|pattern| pattern.literal().map(str::to_owned))
        .collect();
    names.filter(|names| !names.is_empty())
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
    fn glob_matches_whole_names() {
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
    fn invalid_glob_is_rejected() {
        let why = |text| Pattern::new(text).unwrap_err();
        insta::assert_snapshot!(why(""), @"is empty");
        insta::assert_snapshot!(why("a["), @"is not a glob: unclosed character class; missing ']'");
        insta::assert_snapshot!(why("{a"), @"is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)");
    }

    #[test]
    fn pattern_that_matches_no_name_is_rejected() {
        let why = |text| Pattern::new(text).unwrap_err();
        insta::assert_snapshot!(why("Prod-*"), @"has uppercase letters, but Kubernetes names are lowercase");
        insta::assert_snapshot!(why("prod_*"), @"contains `_`, which Kubernetes names cannot contain");
        insta::assert_snapshot!(why("payments/db"), @"is not a valid Kubernetes name");
        insta::assert_snapshot!(why("-db"), @"is not a valid Kubernetes name");
        insta::assert_snapshot!(why("a..b"), @"is not a valid Kubernetes name");
        insta::assert_snapshot!(why(&"a".repeat(254)), @"is not a valid Kubernetes name");
        assert!(Pattern::new(&"a".repeat(253)).is_ok());
    }
}
