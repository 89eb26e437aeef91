//! Runs Go's regular expressions on Rust's regex engine.
//!
//! Both engines find the leftmost match and prefer the first alternative. They differ in syntax and in the meaning of
//! `\d`, `\w`, `\s` and `\b`. Patterns are parsed with Go's grammar and rewritten for Rust in an unambiguous form.
//! Patterns that the engines may treat differently, or that Go may reject, are not translated.

mod translate;

use regex::{Regex, RegexBuilder};

use super::{
    letters,
    verdict::{NotComputable, why},
};
use crate::budget::{Budget, TooCostly};

/// The maximum size of a compiled pattern in bytes. A tenant writes the pattern.
const MAX_SIZE: usize = 1 << 20;

/// The maximum number of states of a pattern that is used without a budget.
const MAX_STATES: usize = 1000;

/// The work of compiling a pattern, in bytes, and that of each of its states.
const COMPILE: usize = 20_000;
const COMPILE_STATE: usize = 1000;

/// The error for a pattern that is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTranslated;

/// The error for a pattern that is not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCompiled {
    NotTranslated,
    TooCostly(TooCostly),
}

impl From<NotCompiled> for NotComputable {
    fn from(error: NotCompiled) -> Self {
        match error {
            NotCompiled::NotTranslated => Self::unverifiable(why::REGEXP),
            NotCompiled::TooCostly(error) => error.into(),
        }
    }
}

impl From<NotTranslated> for NotCompiled {
    fn from(_: NotTranslated) -> Self {
        Self::NotTranslated
    }
}

impl From<TooCostly> for NotCompiled {
    fn from(error: TooCostly) -> Self {
        Self::TooCostly(error)
    }
}

/// A Go regular expression, compiled for Rust.
pub struct GoRegex {
    regex: Regex,
    /// The names of the groups, starting with the whole match; empty for unnamed groups.
    names: Vec<String>,
    /// The states of the pattern, roughly. In the worst case, the engine visits all of them for each byte.
    states: usize,
    /// The bytes of the longest possible match, if there is a limit.
    longest: Option<usize>,
}

impl GoRegex {
    /// Translates and compiles a pattern that is used without a budget. It must be so small that a search of a megabyte takes
    /// no longer than about a second.
    pub fn new(pattern: &str) -> Result<Self, NotTranslated> {
        let translated = translate::translate(pattern)?;
        if translated.states > MAX_STATES {
            return Err(NotTranslated);
        }
        Self::compile(translated)
    }

    /// Translates and compiles a pattern. The budget pays for it.
    pub fn within(pattern: &str, budget: &Budget) -> Result<Self, NotCompiled> {
        budget.step(pattern.len())?;
        let translated = translate::translate(pattern)?;
        budget.read(COMPILE + translated.states.saturating_mul(COMPILE_STATE))?;
        Ok(Self::compile(translated)?)
    }

    /// Takes the work of searching the text from the budget. The work of all searches of a text is that of one, and what
    /// [`Self::charge_match`] takes.
    pub(crate) fn charge(&self, text: &str, budget: &Budget) -> Result<(), TooCostly> {
        budget.step(1)?;
        budget.read(text.len().saturating_mul(self.states))
    }

    /// Takes the work of one match from the budget: to know that a longer match is not possible, the engine may read beyond
    /// the match, up to the end of the text. The next search reads that part again.
    fn charge_match(&self, end: usize, text: &str, budget: &Budget) -> Result<(), TooCostly> {
        let rest = text.len().saturating_sub(end);
        let read_again = self.longest.map_or(rest, |longest| longest.min(rest));
        budget.step(1)?;
        budget.read(read_again.saturating_mul(self.states))
    }

    fn compile(translated: translate::Translated) -> Result<Self, NotTranslated> {
        let regex = RegexBuilder::new(&translated.pattern)
            .size_limit(MAX_SIZE)
            .build()
            .map_err(|_| NotTranslated)?;
        Ok(Self {
            regex,
            names: translated.names,
            states: translated.states,
            longest: translated.longest,
        })
    }

    /// True if the pattern matches anywhere in the text. The budget pays for the search.
    pub fn matches(&self, text: &str, budget: &Budget) -> Result<bool, TooCostly> {
        self.charge(text, budget)?;
        Ok(self.regex.is_match(text))
    }

    /// True if the pattern matches anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The first match.
    pub(crate) fn find<'t>(
        &self,
        text: &'t str,
        budget: &Budget,
    ) -> Result<Option<regex::Match<'t>>, TooCostly> {
        self.charge(text, budget)?;
        Ok(self.regex.find(text))
    }

    /// The first matches. In both engines, an empty match directly after another match is ignored.
    pub(crate) fn find_all<'t>(
        &self,
        text: &'t str,
        most: usize,
        budget: &Budget,
    ) -> Result<Vec<regex::Match<'t>>, TooCostly> {
        self.charge(text, budget)?;
        let mut all = Vec::new();
        for found in self.regex.find_iter(text).take(most) {
            budget.write(size_of_val(&found))?;
            self.charge_match(found.end(), text, budget)?;
            all.push(found);
        }
        Ok(all)
    }

    /// Replaces like Go's `ReplaceAllString` or, with `literal`, like `ReplaceAllLiteralString`: an empty match directly after
    /// another match is ignored.
    pub(crate) fn replace_all(
        &self,
        text: &str,
        template: &str,
        literal: bool,
        budget: &Budget,
    ) -> Result<String, TooCostly> {
        // The groups of a match are searched in a second pass.
        self.charge(text, budget)?;
        self.charge(text, budget)?;
        budget.write(text.len())?;
        let mut out = String::new();
        let (mut last_end, mut from) = (0, 0);
        while from <= text.len() {
            let Some(captures) = self.regex.captures_at(text, from) else {
                break;
            };
            let Some(whole) = captures.get(0) else { break };
            self.charge_match(whole.end(), text, budget)?;
            out += text.get(last_end..whole.start()).unwrap_or_default();
            if whole.end() > last_end || whole.start() == 0 {
                // Each reference is at most the whole match.
                let references = template.bytes().filter(|byte| *byte == b'$').count();
                let most = template.len() + references.saturating_mul(whole.len());
                budget.room(most)?;
                let before = out.len();
                if literal {
                    out.push_str(template);
                } else {
                    self.expand(&mut out, template, &captures);
                }
                budget.write(out.len() - before + template.len())?;
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
    fn expand(&self, out: &mut String, template: &str, captures: &regex::Captures<'_>) {
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
