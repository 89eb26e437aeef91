//! Runs Go's regular expressions on Rust's regex engine.
//!
//! Both engines find the leftmost match and prefer the first alternative. They differ in syntax and in the meaning of
//! `\d`, `\w`, `\s` and `\b`. Patterns are parsed with Go's grammar and rewritten for Rust in an unambiguous form.
//! Patterns that the engines may treat differently, or that Go may reject, are not translated.

mod translate;

use regex::{Regex, RegexBuilder};

use super::letters;

/// The maximum size of a compiled pattern in bytes. A tenant writes the pattern.
const MAX_SIZE: usize = 1 << 20;

/// The error for a pattern that is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTranslated;

/// A Go regular expression, compiled for Rust.
pub struct GoRegex {
    regex: Regex,
    /// The names of the groups, starting with the whole match; empty for unnamed groups.
    names: Vec<String>,
}

impl GoRegex {
    /// Translates and compiles a pattern.
    pub fn new(pattern: &str) -> Result<Self, NotTranslated> {
        let translated = translate::translate(pattern)?;
        let regex = RegexBuilder::new(&translated.pattern)
            .size_limit(MAX_SIZE)
            .build()
            .map_err(|_| NotTranslated)?;
        Ok(Self {
            regex,
            names: translated.names,
        })
    }

    /// True if the pattern matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The first match.
    pub(crate) fn find<'t>(&self, text: &'t str) -> Option<regex::Match<'t>> {
        self.regex.find(text)
    }

    /// All matches. In both engines, an empty match directly after another match is ignored.
    pub(crate) fn find_iter<'t>(&self, text: &'t str) -> impl Iterator<Item = regex::Match<'t>> {
        self.regex.find_iter(text)
    }

    /// Replaces like Go's `ReplaceAllString`: an empty match directly after another match is ignored.
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let replaced: Result<String, NotTranslated> = self.try_replace(text, |out, captures| {
            self.expand(out, template, captures);
            Ok(())
        });
        replaced.unwrap_or_default()
    }

    /// Replaces each match with what `append` adds to the text, and stops at its first error.
    pub(crate) fn try_replace<E>(
        &self,
        text: &str,
        mut append: impl FnMut(&mut String, &regex::Captures<'_>) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut out = String::new();
        let (mut last_end, mut from) = (0, 0);
        while from <= text.len() {
            let Some(captures) = self.regex.captures_at(text, from) else {
                break;
            };
            let Some(whole) = captures.get(0) else { break };
            out += text.get(last_end..whole.start()).unwrap_or_default();
            if whole.end() > last_end || whole.start() == 0 {
                append(&mut out, &captures)?;
            }
            last_end = whole.end();
            let width = text
                .get(from..)
                .and_then(|rest| rest.chars().next())
                .map_or(1, char::len_utf8);
            from = whole.end().max(from + width);
        }
        out += text.get(last_end..).unwrap_or_default();
        Ok(out)
    }

    /// Appends the template with its groups (`$1`, `${name}`), like Go's `Expand`.
    pub(crate) fn expand(&self, out: &mut String, template: &str, captures: &regex::Captures<'_>) {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            *out += before;
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = group_name(after) {
                *out += self.group(name, captures);
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        *out += rest;
    }

    fn group<'t>(&self, name: &str, captures: &regex::Captures<'t>) -> &'t str {
        let by_number = name.bytes().all(|byte| byte.is_ascii_digit())
            && (name.len() == 1 || !name.starts_with('0'));
        if by_number && name.len() <= 8 {
            let number = name.parse().ok();
            return number
                .and_then(|number| captures.get(number))
                .map_or("", |group| group.as_str());
        }
        self.names
            .iter()
            .enumerate()
            .filter(|(_, candidate)| *candidate == name)
            .find_map(|(index, _)| captures.get(index))
            .map_or("", |group| group.as_str())
    }
}

/// Splits off the longest possible name after a dollar sign, and returns it with the rest.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let (braced, text) = match text.strip_prefix('{') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let end = text
        .find(|c| !(c == '_' || letters::is_letter(c) || letters::is_digit(c)))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = if braced {
        rest.strip_prefix('}')?
    } else {
        rest
    };
    (!name.is_empty()).then_some((name, rest))
}
