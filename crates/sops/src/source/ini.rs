//! INI as the library of SOPS reads it (gopkg.in/ini.v1): sections with keys. A comment follows the key below which it is stored.

use super::{
    Document, Member, Plain, Stored,
    limits::{Keys, Limits},
};
use crate::refusal::{Reason, Refused};

/// The section of keys that stand before the first section. It always exists.
pub(crate) const DEFAULT: &str = "DEFAULT";

pub(super) fn parse(text: &str) -> Result<Document, Refused> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        lines: text.split_inclusive('\n'),
        comment: String::new(),
        limits: Limits::default(),
        names: Keys::default(),
        document: Vec::new(),
    };
    let mut section = reader.section(DEFAULT)?;
    while let Some(line) = reader.lines.next() {
        let line = line.trim_start();
        if line.is_empty() {
            continue;
        }
        if line.starts_with(['#', ';']) {
            reader.comment.push_str(line);
        } else if let Some(rest) = line.strip_prefix('[') {
            let (name, rest) = rest.rsplit_once(']').ok_or(Reason::NotIni)?;
            reader.comment.push_str(inline_comment(rest));
            reader.finish(section);
            section = reader.section(name)?;
        } else {
            reader.entry(line, &mut section)?;
        }
    }
    reader.finish(section);
    Ok(reader.document)
}

struct Reader<'a> {
    lines: std::str::SplitInclusive<'a, char>,
    /// Comments that belong to the next section or key.
    comment: String,
    limits: Limits,
    names: Keys,
    document: Document,
}

struct Section {
    name: String,
    keys: Keys,
    members: Vec<Member>,
}

impl Reader<'_> {
    fn section(&mut self, name: &str) -> Result<Section, Refused> {
        if name.is_empty() {
            return Err(Reason::NotIni.into());
        }
        self.limits.enter()?;
        self.limits.push(name)?;
        self.names.add(name, &self.limits)?;
        let mut section = Section {
            name: name.to_owned(),
            keys: Keys::default(),
            members: Vec::new(),
        };
        self.take_comment(&mut section.members)?;
        Ok(section)
    }

    fn finish(&mut self, section: Section) {
        self.limits.pop();
        self.limits.leave();
        let node = Stored::Map(section.members);
        self.document.push(Member::Entry(section.name, node));
    }

    /// Reads `key = value`.
    fn entry(&mut self, line: &str, section: &mut Section) -> Result<(), Refused> {
        self.limits.count()?;
        let (key, rest) = key(line).ok_or_else(|| self.limits.refuse(Reason::NotIni))?;
        // A key `-` is replaced with a number.
        if key.is_empty() || key == "-" {
            return Err(self.limits.refuse(Reason::NotIni));
        }
        self.limits.push(key)?;
        section.keys.add(key, &self.limits)?;
        let value = self.value(rest)?;
        self.limits.pop();
        let value = Stored::Scalar(Plain::text(value));
        section.members.push(Member::Entry(key.to_owned(), value));
        self.take_comment(&mut section.members)
    }

    fn value(&mut self, rest: &str) -> Result<String, Refused> {
        let line = rest.trim_start();
        let triple = line.strip_prefix("\"\"\"").filter(|_| line.len() > 3);
        let quoted = triple
            .map(|quoted| ("\"\"\"", quoted))
            .or_else(|| Some(("`", line.strip_prefix('`')?)));
        if let Some((quote, quoted)) = quoted {
            return match quoted.rsplit_once(quote) {
                Some((value, _)) => Ok(value.to_owned()),
                None => self.lines_until(quote, quoted),
            };
        }
        let line = line.trim();
        if line.ends_with('\\') {
            // The value continues on the next line.
            return Err(self.limits.refuse(Reason::NotIni));
        }
        let comment = inline_comment(line);
        self.comment.push_str(comment);
        let value = line
            .get(..line.len() - comment.len())
            .unwrap_or(line)
            .trim();
        Ok(unquoted(value).to_owned())
    }

    /// Reads a quoted value of several lines.
    fn lines_until(&mut self, quote: &str, first: &str) -> Result<String, Refused> {
        let mut value = first.to_owned();
        for line in self.lines.by_ref() {
            if let Some((end, rest)) = line.rsplit_once(quote) {
                value.push_str(end);
                self.comment.push_str(inline_comment(rest).trim());
                return Ok(value);
            }
            value.push_str(line);
        }
        Err(self.limits.refuse(Reason::NotIni))
    }

    fn take_comment(&mut self, members: &mut Vec<Member>) -> Result<(), Refused> {
        let comment = std::mem::take(&mut self.comment);
        let comment = comment.trim();
        if comment.is_empty() {
            return Ok(());
        }
        self.limits.count()?;
        let stripped = match comment.chars().next() {
            Some(mark @ (';' | '#')) => comment.trim_start_matches([mark, ' ']),
            _ => comment,
        };
        members.push(Member::Comment(stripped.to_owned()));
        Ok(())
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
    // Nothing but blanks may stand between: the library skips other text.
    let (between, rest) = rest.split_once(delimiters)?;
    between.trim().is_empty().then_some((key.trim(), rest))
}

/// Returns the comment at the end of a line, or an empty text.
fn inline_comment(text: &str) -> &str {
    text.find(['#', ';'])
        .and_then(|start| text.get(start..))
        .unwrap_or_default()
}

/// Removes quotes, if there are no other quotes of this kind.
fn unquoted(value: &str) -> &str {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| {
            let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.contains(quote)).then_some(inner)
        })
        .unwrap_or(value)
}
