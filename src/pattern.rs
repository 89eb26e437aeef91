//! Globs on Kubernetes names.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

/// A glob (`prod-*`, `vault-{a,b}`, `web-?`) on a name.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    /// The error says what is wrong with `text`.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let glob = GlobBuilder::new(text).build().map_err(|error| error.kind().to_string())?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    /// Whether the glob covers `name`, whole.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }

    /// The name, if the pattern is one and no glob.
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains(['*', '?', '[', ']', '{', '}', '\\'])).then_some(&*self.text)
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
        assert!(pattern.matches("prod-eu") && !pattern.matches("a-prod-eu") && !pattern.matches("prod"));
        assert_eq!(pattern.literal(), None);
        assert_eq!(Pattern::new("prod").unwrap().literal(), Some("prod"));
    }

    #[test]
    fn a_broken_glob_is_refused() {
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new("a[").is_err());
        assert!(Pattern::new("{a").is_err());
    }
}
