//! Which values of a file are encrypted.

use regex::{Regex, RegexBuilder};

use crate::refusal::Reason;

/// The largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// The rule of a file. SOPS writes exactly one.
pub(crate) enum Rule {
    /// Unencrypted are values below keys with this suffix.
    UnencryptedSuffix(String),
    /// Encrypted are values below keys with this suffix, and no others.
    EncryptedSuffix(String),
    UnencryptedRegex(Regex),
    EncryptedRegex(Regex),
    /// Unencrypted are values below a matching comment.
    UnencryptedCommentRegex(Regex),
    EncryptedCommentRegex(Regex),
}

pub(crate) fn regex(pattern: &str) -> Result<Regex, Reason> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX)
        .build()
        .map_err(|_| Reason::InvalidRule)
}

/// The place of a node, as far as the rule depends on it. It is computed once for each key and comment, so that a hostile file
/// cannot cause a search of the same key for each value below it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scope {
    /// True if a key of the path matches the rule.
    key: bool,
    /// True if a comment above a node of the path matches.
    outer_comment: bool,
    /// True if a comment directly above the next node of this map or list matches.
    comment: bool,
}

impl Scope {
    /// The scope inside the value of a key.
    pub(crate) fn below(self, rule: &Rule, key: &str) -> Self {
        let matches = match rule {
            Rule::UnencryptedSuffix(suffix) | Rule::EncryptedSuffix(suffix) => {
                key.ends_with(suffix)
            }
            Rule::UnencryptedRegex(regex) | Rule::EncryptedRegex(regex) => regex.is_match(key),
            Rule::UnencryptedCommentRegex(_) | Rule::EncryptedCommentRegex(_) => false,
        };
        Self {
            key: self.key || matches,
            ..self
        }
    }

    /// The scope inside a map or list, which has comments of its own.
    pub(crate) fn enter(self) -> Self {
        Self {
            outer_comment: self.outer_comment || self.comment,
            comment: false,
            ..self
        }
    }

    /// Passes a comment, and returns true if the comment itself should be encrypted.
    pub(crate) fn comment(&mut self, rule: &Rule, text: &str) -> bool {
        match rule {
            Rule::UnencryptedCommentRegex(regex) => {
                self.comment |= regex.is_match(text);
                self.is_encrypted(rule)
            }
            Rule::EncryptedCommentRegex(regex) => {
                // A comment does not decide about itself, so that it stays readable.
                let encrypted = self.is_encrypted(rule);
                self.comment |= regex.is_match(text);
                encrypted
            }
            Rule::UnencryptedSuffix(_)
            | Rule::EncryptedSuffix(_)
            | Rule::UnencryptedRegex(_)
            | Rule::EncryptedRegex(_) => self.is_encrypted(rule),
        }
    }

    /// Passes a value: the comments above it do not concern the next one.
    pub(crate) fn after_value(&mut self) {
        self.comment = false;
    }

    /// True if a value here should be encrypted.
    pub(crate) fn is_encrypted(self, rule: &Rule) -> bool {
        let comment = self.outer_comment || self.comment;
        match rule {
            Rule::UnencryptedSuffix(_) | Rule::UnencryptedRegex(_) => !self.key,
            Rule::EncryptedSuffix(_) | Rule::EncryptedRegex(_) => self.key,
            Rule::UnencryptedCommentRegex(_) => !comment,
            Rule::EncryptedCommentRegex(_) => comment,
        }
    }
}
