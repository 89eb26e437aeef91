//! Go's regular expressions on Rust's engine.
//!
//! Both find the leftmost match and prefer the first alternative; they differ in syntax and in what `\d`, `\w`, `\s` and `\b`
//! mean. So a pattern is read here by Go's grammar and written anew for Rust with nothing left to interpretation. What the two may
//! see differently, and what Go may refuse, is not translated.

mod translate;

use regex::Regex;

use super::letters;

/// The pattern is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTranslated;

/// A pattern of Go.
pub struct GoRegex {
    regex: Regex,
    /// The names of the groups, the whole match first; empty for none.
    names: Vec<String>,
}

impl GoRegex {
    /// Translates a pattern.
    pub fn new(pattern: &str) -> Result<Self, NotTranslated> {
        let translated = translate::translate(pattern)?;
        let regex = Regex::new(&translated.pattern).map_err(|_| NotTranslated)?;
        Ok(Self {
            regex,
            names: translated.names,
        })
    }

    /// Whether it matches anywhere.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// As Go's `ReplaceAllString`: no empty match right after another match.
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::new();
        let (mut last_end, mut from) = (0, 0);
        while from <= text.len() {
            let Some(captures) = self.regex.captures_at(text, from) else {
                break;
            };
            let Some(whole) = captures.get(0) else { break };
            out += text.get(last_end..whole.start()).unwrap_or_default();
            if whole.end() > last_end || whole.start() == 0 {
                self.expand(&mut out, template, &captures);
            }
            last_end = whole.end();
            let width = text
                .get(from..)
                .and_then(|rest| rest.chars().next())
                .map_or(1, char::len_utf8);
            from = whole.end().max(from + width);
        }
        out += text.get(last_end..).unwrap_or_default();
        out
    }

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

/// The name that follows a dollar sign, as long as can be, and what follows it.
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
