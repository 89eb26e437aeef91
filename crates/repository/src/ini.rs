//! INI files, as the library of SOPS (gopkg.in/ini.v1) reads them. Keys are `SECTION.KEY`, and `KEY` before the first section.

use std::{collections::BTreeSet, str::SplitInclusive};

use secret::{Buffer, Value};

use crate::{
    entry::Entry,
    fault::{Fault, Reason},
    source::Text,
};

/// The section of keys before the first section.
const DEFAULT: &str = "DEFAULT";

pub(crate) fn read(text: &Text, faults: &mut Vec<Fault>) -> Vec<Entry> {
    let content = text.as_str();
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut reader = Reader {
        text,
        lines: content.split_inclusive('\n'),
        number: 0,
        section: DEFAULT.to_owned(),
        seen: BTreeSet::new(),
        entries: Vec::new(),
    };
    while let Some(line) = reader.next() {
        if let Err((reason, message)) = reader.line(line.trim_start()) {
            faults.push(text.fault(reason, message).at(reader.number));
        }
    }
    reader.entries
}

type Wrong = (Reason, &'static str);

struct Reader<'a> {
    text: &'a Text,
    lines: SplitInclusive<'a, char>,
    /// The number of the current line.
    number: usize,
    section: String,
    /// Sections, and keys with their sections.
    seen: BTreeSet<String>,
    entries: Vec<Entry>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.number += 1;
        self.lines.next()
    }

    fn line(&mut self, line: &'a str) -> Result<(), Wrong> {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest
                .rsplit_once(']')
                .map(|(name, _)| name)
                .filter(|name| !name.is_empty());
            name.ok_or((Reason::InvalidSyntax, "a section needs the form [NAME]"))?
                .clone_into(&mut self.section);
            if !self.seen.insert(format!("[{}]", self.section)) {
                return Err((
                    Reason::DuplicateKey,
                    "the section occurs twice in this file; join them",
                ));
            }
            return Ok(());
        }
        let number = self.number;
        let (key, rest) =
            key(line).ok_or((Reason::InvalidSyntax, "a line needs the form KEY = VALUE"))?;
        let stored = format!("{}.{key}", self.section);
        let shown = if self.section == DEFAULT {
            key
        } else {
            &stored
        };
        let value = self.value(rest)?;
        if key.is_empty() || key == "-" {
            return Err((
                Reason::EmptyKey,
                "the key before `=` is empty, or `-`, which stands for a number",
            ));
        }
        if !self.seen.insert(stored.clone()) {
            return Err((
                Reason::DuplicateKey,
                "the key occurs twice in its section; remove one of them",
            ));
        }
        let encrypted = self.text.is_encrypted(&stored);
        let entry = self.text.entry(shown, value, number);
        self.entries.push(Entry { encrypted, ..entry });
        Ok(())
    }

    fn value(&mut self, rest: &'a str) -> Result<Value, Wrong> {
        let line = rest.trim_start();
        let triple = line.strip_prefix("\"\"\"").filter(|_| line.len() > 3);
        let quoted = triple
            .map(|quoted| ("\"\"\"", quoted))
            .or_else(|| Some(("`", line.strip_prefix('`')?)));
        if let Some((quote, first)) = quoted {
            return match first.rsplit_once(quote) {
                Some((value, _)) => Ok(Value::from(value)),
                None => self.lines_until(quote, first),
            };
        }
        let line = line.trim();
        if line.ends_with('\\') {
            return Err((
                Reason::InvalidSyntax,
                "a value that continues on the next line is not supported; use \"\"\"",
            ));
        }
        let end = line.find(['#', ';']).unwrap_or(line.len());
        Ok(Value::from(unquoted(
            line.get(..end).unwrap_or(line).trim(),
        )))
    }

    /// Reads a quoted value of several lines.
    fn lines_until(&mut self, quote: &str, first: &str) -> Result<Value, Wrong> {
        let mut value = Buffer::with_capacity(first.len());
        value.push(first.as_bytes());
        while let Some(line) = self.next() {
            if let Some((end, _)) = line.rsplit_once(quote) {
                value.push(end.as_bytes());
                return Ok(value.finish());
            }
            value.push(line.as_bytes());
        }
        Err((Reason::InvalidSyntax, "a quoted value has no end"))
    }
}

/// Splits a line into its key and the rest after `=` or `:`.
fn key(line: &str) -> Option<(&str, &str)> {
    let delimiters = ['=', ':'];
    let quote = if line.starts_with("\"\"\"") && line.len() > 6 {
        "\"\"\""
    } else if line.starts_with('"') {
        "\""
    } else if line.starts_with('`') {
        "`"
    } else {
        let (key, rest) = line.split_once(delimiters)?;
        return Some((key.trim(), rest));
    };
    let (key, rest) = line.strip_prefix(quote)?.split_once(quote)?;
    let (between, rest) = rest.split_once(delimiters)?;
    between.trim().is_empty().then_some((key.trim(), rest))
}

/// Removes quotes, if there are no other quotes of this kind.
fn unquoted(value: &str) -> &str {
    let inner = |quote| {
        let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    };
    ['\'', '"'].into_iter().find_map(inner).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(text: &str) -> String {
        let text = Text::for_tests(text.as_bytes(), false);
        let mut faults = Vec::new();
        let entries = read(&text, &mut faults);
        let entries = entries.iter().map(|entry| {
            format!(
                "{}={}@{}",
                entry.key,
                entry.text(),
                entry.line.unwrap_or_default()
            )
        });
        let faults = faults
            .iter()
            .map(|fault| format!("{}:{}", fault.line.unwrap_or_default(), fault.reason.word()));
        entries.chain(faults).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn sections_keys_and_quotes() {
        for (text, expected) in [
            ("a=1\n[s]\nb = 2\n[t.u]\nc:3", "a=1@1 s.b=2@3 t.u.c=3@5"),
            ("[DEFAULT]\na = 1", "a=1@2"),
            ("# a=1\n; b=2\n\n  c = 3  ", "c=3@4"),
            ("a = 1 # comment\nb = 2;c", "a=1@1 b=2@2"),
            (
                "a = `x # y`\nb = \"\"\"x ; \"y\"\"\"\"",
                "a=x # y@1 b=x ; \"y\"@2",
            ),
            (
                "a = \" x \"\nb = ' y '\nc = \"x\"y\"",
                "a= x @1 b= y @2 c=\"x\"y\"@3",
            ),
            (
                "a = \"\"\"one\n[two]\n three\"\"\"\nb = 1",
                "a=one\n[two]\n three@1 b=1@4",
            ),
            (
                "`a=b` = 1\n\"c:d\" = 2\n\"\"\"e`f\"\"\" = 3",
                "a=b=1@1 c:d=2@2 e`f=3@3",
            ),
            ("a =\nb", "a=@1 2:invalid-syntax"),
            ("a = x\\\ny", "1:invalid-syntax 2:invalid-syntax"),
            ("a = `x\ny", "3:invalid-syntax"),
            ("a=1\na=2", "a=1@1 2:duplicate-key"),
            ("[s]\na=1\n[s]\nb=2", "s.a=1@2 s.b=2@4 3:duplicate-key"),
            ("=1\n- = 2", "1:empty-key 2:empty-key"),
            ("[]\n[x", "1:invalid-syntax 2:invalid-syntax"),
            ("\u{feff}a=1\r\nb=2\r\n", "a=1@1 b=2@2"),
        ] {
            assert_eq!(reading(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in "([\\[\\]=:#;\"'`\\\\ab \n]|.){0,40}") {
            reading(&text);
        }
    }
}
