//! Java properties files.
//!
//! The text is UTF-8. A key that occurs twice is a fault, in Java the last one wins.

use std::{collections::BTreeSet, iter::Peekable, str::Chars};

use secret::{Buffer, Value};
use zeroize::Zeroizing;

use crate::{
    entry::Entry,
    fault::{Fault, Reason},
    source::Text,
    torn::{self, is_torn},
};

/// Who reads the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// `java.util.Properties`: `=`, `:` or a blank ends the key; `!` starts a comment, too; `\` escapes and continues a line.
    Java,
    /// The Secret Manager Controller: each line is split at the first `=`, and blanks around key and value are trimmed.
    Smc,
}

pub(crate) fn read(text: &Text, rules: Rules, faults: &mut Vec<Fault>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut keys = BTreeSet::new();
    let pairs = match rules {
        Rules::Java => java(text, faults),
        Rules::Smc => smc(text.as_str()),
    };
    for Pair { key, value, line } in pairs {
        let key = key.as_str();
        if is_torn(key, std::str::from_utf8(value.expose()).unwrap_or_default()) {
            // The next lines are a part of the value.
            faults.push(text.fault(Reason::InvalidSyntax, torn::MESSAGE).at(line));
            break;
        }
        let message = if key.is_empty() {
            Some((Reason::EmptyKey, "the key is empty"))
        } else if !keys.insert(key.to_owned()) {
            Some((
                Reason::DuplicateKey,
                "the key occurs twice in this file; remove one of them",
            ))
        } else {
            None
        };
        match message {
            Some((reason, message)) => faults.push(text.fault(reason, message).at(line).of(key)),
            None => entries.push(text.entry(key, value, line)),
        }
    }
    entries
}

struct Pair {
    key: Zeroizing<String>,
    value: Value,
    line: usize,
}

fn smc(text: &str) -> Vec<Pair> {
    let lines = text.lines().map(str::trim).enumerate();
    let pairs = lines
        .filter(|(_, line)| !line.starts_with('#'))
        .filter_map(|(index, line)| {
            let (key, value) = line.split_once('=')?;
            Some(Pair {
                key: Zeroizing::new(key.trim().to_owned()),
                value: Value::from(value.trim()),
                line: index + 1,
            })
        });
    pairs.collect()
}

fn java(text: &Text, faults: &mut Vec<Fault>) -> Vec<Pair> {
    let mut reader = Java {
        rest: text.as_str().chars().peekable(),
        line: 1,
    };
    let mut pairs = Vec::new();
    while let Some((line, logical)) = reader.logical_line() {
        match pair(&logical, line) {
            Ok(pair) => pairs.push(pair),
            Err(message) => faults.push(text.fault(Reason::InvalidSyntax, message).at(line)),
        }
    }
    pairs
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

struct Java<'a> {
    rest: Peekable<Chars<'a>>,
    /// The number of the current line.
    line: usize,
}

impl Java<'_> {
    /// Consumes a character, or a pair of carriage return and line feed.
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\r' {
            self.rest.next_if_eq(&'\n');
        }
        if matches!(next, '\r' | '\n') {
            self.line += 1;
            return Some('\n');
        }
        Some(next)
    }

    fn skip_blanks(&mut self) {
        while self.rest.next_if(|c| is_blank(*c)).is_some() {}
    }

    /// Returns the next line with its continuations, without the blanks at their starts, and its number.
    fn logical_line(&mut self) -> Option<(usize, Value)> {
        let mut logical = Buffer::with_capacity(128);
        let mut start = self.line;
        self.skip_blanks();
        while let Some(c) = self.next() {
            let is_empty = logical.as_bytes().is_empty();
            match c {
                '#' | '!' if is_empty => {
                    while self.next().is_some_and(|c| c != '\n') {}
                    start = self.line;
                    self.skip_blanks();
                }
                '\n' if is_empty => {
                    start = self.line;
                    self.skip_blanks();
                }
                '\n' => return Some((start, logical.finish())),
                '\\' => match self.next() {
                    None => break,
                    // An empty line after this one ends the logical line.
                    Some('\n') => self.skip_blanks(),
                    Some(escaped) => {
                        logical.push_char('\\');
                        logical.push_char(escaped);
                    }
                },
                c => logical.push_char(c),
            }
        }
        (!logical.as_bytes().is_empty()).then(|| (start, logical.finish()))
    }
}

/// Splits a logical line into key and value.
fn pair(logical: &Value, line: usize) -> Result<Pair, &'static str> {
    let text = std::str::from_utf8(logical.expose()).unwrap_or_default();
    let mut is_escaped = false;
    let end = text.find(|c| {
        let ends = !is_escaped && (is_blank(c) || matches!(c, '=' | ':'));
        is_escaped = !is_escaped && c == '\\';
        ends
    });
    let (key, rest) = text
        .split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or_default();
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let key = unescaped(key)?;
    Ok(Pair {
        key: Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned()),
        value: unescaped(rest.trim_start_matches(is_blank))?,
        line,
    })
}

fn unescaped(text: &str) -> Result<Value, &'static str> {
    let mut buffer = Buffer::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            buffer.push_char(c);
            continue;
        }
        match chars.next() {
            Some('t') => buffer.push_char('\t'),
            Some('n') => buffer.push_char('\n'),
            Some('r') => buffer.push_char('\r'),
            Some('f') => buffer.push_char('\u{c}'),
            Some('u') => buffer.push_char(unicode(&mut chars)?),
            Some(c) => buffer.push_char(c),
            None => {}
        }
    }
    Ok(buffer.finish())
}

const BAD_ESCAPE: &str =
    "an escape `\\u` needs four hexadecimal digits, and two escapes for characters beyond U+FFFF";

/// Reads what follows `\u`: one character, in one or two escapes.
fn unicode(chars: &mut Chars<'_>) -> Result<char, &'static str> {
    let mut unit = || {
        let mut digits = || chars.next()?.to_digit(16);
        let digits = [digits()?, digits()?, digits()?, digits()?];
        u16::try_from(digits.iter().fold(0, |unit, digit| unit << 4 | digit)).ok()
    };
    let first = unit().ok_or(BAD_ESCAPE)?;
    if let Some(c) = char::from_u32(u32::from(first)) {
        return Ok(c);
    }
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(BAD_ESCAPE);
    }
    let mut digits = || chars.next()?.to_digit(16);
    let digits = [digits(), digits(), digits(), digits()];
    let second = digits
        .iter()
        .try_fold(0, |unit, digit| Some(unit << 4 | (*digit)?));
    let second = second
        .and_then(|unit: u32| u16::try_from(unit).ok())
        .ok_or(BAD_ESCAPE)?;
    let decoded = char::decode_utf16([first, second]).next();
    decoded.and_then(Result::ok).ok_or(BAD_ESCAPE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(text: &str, rules: Rules) -> Vec<String> {
        let text = Text::for_tests(text.as_bytes(), false);
        let mut faults = Vec::new();
        let entries = read(&text, rules, &mut faults);
        let faults = faults
            .iter()
            .map(|fault| format!("{}:{}", fault.line.unwrap_or_default(), fault.reason.word()));
        let entries = entries.iter().map(|entry| {
            format!(
                "{}|{}@{}",
                entry.key,
                entry.text(),
                entry.line.unwrap_or_default()
            )
        });
        entries.chain(faults).collect()
    }

    #[test]
    fn java_rules() {
        for (text, expected) in [
            ("a=1", "a|1@1"),
            ("a:1", "a|1@1"),
            ("a 1", "a|1@1"),
            ("a = 1 ", "a|1 @1"),
            ("  a\t:  1", "a|1@1"),
            ("a  =", "a|@1"),
            ("a", "a|@1"),
            ("a==b", "a|=b@1"),
            ("a = = b", "a|= b@1"),
            ("a b=c", "a|b=c@1"),
            ("a\\ b=c", "a b|c@1"),
            ("a\\=b\\:c=d", "a=b:c|d@1"),
            ("a=1\\\n   2", "a|12@1"),
            ("a=1\\\r\n   2", "a|12@1"),
            ("a=1\\\\\nb=2", "a|1\\@1 b|2@2"),
            ("a=1\\\\\\\n2", "a|1\\2@1"),
            ("a=1\\\n\nb=2", "a|1@1 b|2@3"),
            ("a=1\\\n#2", "a|1#2@1"),
            ("a=1\\", "a|1@1"),
            ("\\\n#c\na=1", "a|1@3"),
            ("#a=1\\\nb=2", "b|2@2"),
            ("!a=1\n ! b\n\n \t\nb=2", "b|2@5"),
            ("a=x#y!z", "a|x#y!z@1"),
            ("a=\\t\\n\\r\\f\\q\\\"", "a|\t\n\r\u{c}q\"@1"),
            ("a=\\u00e9\\uD83D\\uDE00", "a|é😀@1"),
            ("\\u0061=1", "a|1@1"),
            ("a=é", "a|é@1"),
            ("a=1\rb=2", "a|1@1 b|2@2"),
            ("a=1\na=2", "a|1@1 2:duplicate-key"),
            ("=1", "1:empty-key"),
            ("a=\\u00g0", "1:invalid-syntax"),
            ("a=\\u+123", "1:invalid-syntax"),
            ("a=\\u12", "1:invalid-syntax"),
            ("a=\\uD83D", "1:invalid-syntax"),
            ("a=\\uD83D\\u0041", "1:invalid-syntax"),
            ("a=\\uDE00", "1:invalid-syntax"),
            ("", ""),
        ] {
            assert_eq!(reading(text, Rules::Java).join(" "), expected, "{text:?}");
        }
    }

    #[test]
    fn smc_splits_at_the_equals_sign() {
        for (text, expected) in [
            (" a = 1 \r\nb=2=3", "a|1@1 b|2=3@2"),
            ("a:1\nb 2\nc", ""),
            ("!a=1", "!a|1@1"),
            ("#a=1", ""),
            ("a=1\\\n2", "a|1\\@1"),
            ("a=\\u00e9", "a|\\u00e9@1"),
            ("a=", "a|@1"),
            ("a=1\na=1", "a|1@1 2:duplicate-key"),
            ("=1", "1:empty-key"),
        ] {
            assert_eq!(reading(text, Rules::Smc).join(" "), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "([\\\\ua0Dd=: \n\r#!]|.){0,40}") {
            reading(&text, Rules::Java);
            reading(&text, Rules::Smc);
        }

        /// What Java's `Properties.store` escapes comes back.
        #[test]
        fn escaped_text_comes_back(key in "[a-z=: \\\\#!é]{1,8}", value in "[a-z=: \\\\#!\n\té]{0,12}") {
            let escape = |text: &str| text.chars().map(|c| match c {
                '\n' => "\\n".to_owned(),
                '\t' => "\\t".to_owned(),
                'a'..='z' => c.to_string(),
                'é' => "\\u00E9".to_owned(),
                c => format!("\\{c}"),
            }).collect::<String>();
            let found = reading(&format!("{}={}", escape(&key), escape(&value)), Rules::Java);
            prop_assert_eq!(found, [format!("{key}|{value}@1")]);
        }
    }
}
