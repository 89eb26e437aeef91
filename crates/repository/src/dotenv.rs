//! dotenv files: one `KEY=VALUE` a line. Programs read the same line differently, so a file is read in a named dialect.
//!
//! In every dialect: no substitution of variables, quotes are kept, a comment is no entry and disables nothing, and a key that
//! occurs twice is a fault. So is a value of several lines, which no dialect has.

use std::{collections::BTreeSet, ops::ControlFlow};

use secret::{Buffer, Value};

use serde::{Deserialize, Serialize};

use crate::{
    entry::Entry,
    fault::{Fault, Reason},
    source::Text,
    torn::{self, is_torn},
};

/// The longest line that kustomize and docker read.
const LONGEST_LINE: usize = (64 << 10) - 1;

/// The program whose reading of a file applies.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Dialect {
    /// As `sops` reads and encrypts it: `\n` is a line feed, and nothing is trimmed.
    Sops,
    /// As a `secretGenerator` of kustomize reads it: blanks before the key are trimmed, a line without `=` is an empty value.
    Kustomize,
    /// As the Secret Manager Controller reads it: blanks around key and value are trimmed, a line without `=` is ignored.
    Smc,
    /// As `docker --env-file` reads it, without its look-up of variables: a line without `=` is a fault.
    Plain,
}

impl Dialect {
    const ALL: [Self; 4] = [Self::Sops, Self::Kustomize, Self::Smc, Self::Plain];
}

/// What a line is in one dialect.
#[derive(PartialEq, Eq)]
enum Line<'a> {
    /// An empty line, a comment, or one that this dialect ignores.
    Nothing,
    Pair(&'a str, &'a str),
    Fault(Reason, &'static str),
}

/// Reads a dotenv file. Without a dialect, a line that the dialects read differently is a fault, unless the file is encrypted:
/// the default for SOPS files is [`Dialect::Sops`].
pub(crate) fn read(text: &Text, dialect: Option<Dialect>, faults: &mut Vec<Fault>) -> Vec<Entry> {
    let mut reader = Reader {
        text,
        faults,
        entries: Vec::new(),
        keys: BTreeSet::new(),
    };
    let dialect = dialect.or(text.is_sops.then_some(Dialect::Sops));
    for (index, line) in text.as_str().split('\n').enumerate() {
        if reader.line(index + 1, line, dialect).is_break() {
            break;
        }
    }
    reader.entries
}

struct Reader<'a> {
    text: &'a Text,
    faults: &'a mut Vec<Fault>,
    entries: Vec<Entry>,
    keys: BTreeSet<String>,
}

impl Reader<'_> {
    /// Reads a line. Breaks where the next lines are a part of a value.
    fn line(&mut self, number: usize, line: &str, dialect: Option<Dialect>) -> ControlFlow<()> {
        let Some(dialect) = dialect else {
            if let Some(message) = difference(line, number == 1) {
                self.fault(number, Reason::DialectsDiffer, &message);
                return ControlFlow::Continue(());
            }
            return self.line(number, line, Some(Dialect::Plain));
        };
        match parse(line, number == 1, dialect) {
            Line::Nothing => {}
            Line::Fault(reason, message) => self.fault(number, reason, message),
            Line::Pair(key, value) if is_torn(key, value) => {
                self.fault(number, Reason::InvalidSyntax, torn::MESSAGE);
                return ControlFlow::Break(());
            }
            Line::Pair(key, value) => {
                if self.keys.insert(key.to_owned()) {
                    self.entries
                        .push(self.text.entry(key, decoded(value, dialect), number));
                } else {
                    let fault = self.text.fault(
                        Reason::DuplicateKey,
                        "the key occurs twice in this file; remove one of them",
                    );
                    self.faults.push(fault.at(number).of(key));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn fault(&mut self, number: usize, reason: Reason, message: &str) {
        self.faults
            .push(self.text.fault(reason, message).at(number));
    }
}

/// Returns the value, which is the text but for the line feeds of SOPS.
fn decoded(value: &str, dialect: Dialect) -> Value {
    if dialect != Dialect::Sops {
        return Value::from(value);
    }
    let mut buffer = Buffer::with_capacity(value.len());
    for (index, part) in value.split("\\n").enumerate() {
        if index > 0 {
            buffer.push(b"\n");
        }
        buffer.push(part.as_bytes());
    }
    buffer.finish()
}

fn parse(line: &str, is_first: bool, dialect: Dialect) -> Line<'_> {
    match dialect {
        Dialect::Sops => sops(line),
        Dialect::Kustomize => kustomize(scanned(line, is_first)),
        Dialect::Smc => smc(line),
        Dialect::Plain => plain(scanned(line, is_first)),
    }
}

const NO_EQUALS: &str = "a line needs the form KEY=VALUE";
const NO_KEY: &str = "the key before `=` is empty";

fn sops(line: &str) -> Line<'_> {
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    match line.split_once('=') {
        Some(("", _)) => Line::Fault(Reason::EmptyKey, NO_KEY),
        Some((key, value)) => Line::Pair(key, value),
        None => Line::Fault(Reason::InvalidSyntax, NO_EQUALS),
    }
}

/// Returns the line as Go's line scanner returns it, without the byte order mark of the first line.
fn scanned(line: &str, is_first: bool) -> &str {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if is_first {
        line.strip_prefix('\u{feff}').unwrap_or(line)
    } else {
        line
    }
}

const TOO_LONG: &str = "the line is longer than 64 KiB, which this dialect cannot read";

fn kustomize(line: &str) -> Line<'_> {
    if line.len() > LONGEST_LINE {
        return Line::Fault(Reason::TooLarge, TOO_LONG);
    }
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    match line.split_once('=').unwrap_or((line, "")) {
        ("", _) => Line::Fault(Reason::EmptyKey, NO_KEY),
        (key, value) => Line::Pair(key, value),
    }
}

fn smc(line: &str) -> Line<'_> {
    let line = line.trim();
    if line.starts_with('#') {
        return Line::Nothing;
    }
    match line.split_once('=') {
        Some((key, _)) if key.trim().is_empty() => Line::Fault(Reason::EmptyKey, NO_KEY),
        Some((key, value)) => Line::Pair(key.trim(), value.trim()),
        None => Line::Nothing,
    }
}

fn plain(line: &str) -> Line<'_> {
    if line.len() > LONGEST_LINE {
        return Line::Fault(Reason::TooLarge, TOO_LONG);
    }
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    match line.split_once('=') {
        Some(("", _)) => Line::Fault(Reason::EmptyKey, NO_KEY),
        Some((key, _)) if key.contains(char::is_whitespace) => {
            Line::Fault(Reason::InvalidSyntax, "the key contains a blank")
        }
        Some((key, value)) => Line::Pair(key, value),
        None => Line::Fault(Reason::InvalidSyntax, NO_EQUALS),
    }
}

/// Returns a message if the dialects read the line differently. It does not quote the line, which may be a part of a value.
fn difference(line: &str, is_first: bool) -> Option<String> {
    let readings = Dialect::ALL.map(|dialect| (dialect, parse(line, is_first, dialect)));
    let expands = |dialect, reading: &Line<'_>| {
        dialect == Dialect::Sops && matches!(reading, Line::Pair(_, value) if value.contains("\\n"))
    };
    let [first, rest @ ..] = &readings;
    let differs = rest.iter().any(|reading| reading.1 != first.1);
    if !differs && !expands(first.0, &first.1) {
        return None;
    }
    let cause = cause(line, is_first);
    Some(format!(
        "{cause}: sops, kustomize, smc and plain read this line differently; set `dialect` for this file"
    ))
}

fn cause(line: &str, is_first: bool) -> &'static str {
    let without_return = line.strip_suffix('\r').unwrap_or(line);
    if is_first && line.starts_with('\u{feff}') {
        "the file starts with a byte order mark"
    } else if without_return.len() < line.len() {
        "the line ends with a carriage return"
    } else if line.len() > LONGEST_LINE {
        "the line is longer than 64 KiB"
    } else if line.trim_start().starts_with('#') || line.trim().is_empty() {
        "the line starts with blanks"
    } else if let Some((key, value)) = line.split_once('=') {
        if key.trim() != key {
            "there are blanks around the key"
        } else if key.contains(char::is_whitespace) {
            "the key contains a blank (`export`?)"
        } else if value.trim() != value {
            "there are blanks around the value"
        } else {
            "the value contains `\\n`"
        }
    } else {
        "the line has no `=`"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strum::IntoEnumIterator as _;

    use super::*;

    /// Returns `KEY=VALUE` for each entry, and the reason of each fault with its line.
    fn reading(text: &[u8], is_sops: bool, dialect: Option<Dialect>) -> Vec<String> {
        let text = Text::for_tests(text, is_sops);
        let mut faults = Vec::new();
        let entries = read(&text, dialect, &mut faults);
        let faults = faults
            .iter()
            .map(|fault| format!("{}:{}", fault.line.unwrap_or_default(), fault.reason.word()));
        let entries = entries
            .iter()
            .map(|entry| format!("{}={}", entry.key, entry.text()));
        entries.chain(faults).collect()
    }

    fn all(line: &str) -> Vec<String> {
        let dialects = Dialect::iter().map(Some).chain([None]);
        dialects
            .map(|dialect| reading(line.as_bytes(), false, dialect).join(" "))
            .collect()
    }

    /// The table of the design: sops, kustomize, smc, plain, and without a dialect.
    #[test]
    fn each_dialect_reads_a_line_like_its_program() {
        let differ = "1:dialects-differ";
        for (line, expected) in [
            ("A=x", ["A=x"; 5]),
            ("", [""; 5]),
            ("#A=x", [""; 5]),
            ("A=\"x\"", ["A=\"x\""; 5]),
            ("A='x'", ["A='x'"; 5]),
            ("A=x # c", ["A=x # c"; 5]),
            ("A=a$HOME", ["A=a$HOME"; 5]),
            ("A=${HOME}", ["A=${HOME}"; 5]),
            ("A=x=y==", ["A=x=y=="; 5]),
            ("A=", ["A="; 5]),
            ("a.b-c=x", ["a.b-c=x"; 5]),
            ("=x", ["1:empty-key"; 5]),
            ("A=x ", ["A=x ", "A=x ", "A=x", "A=x ", differ]),
            ("A= x", ["A= x", "A= x", "A=x", "A= x", differ]),
            ("A=x\t", ["A=x\t", "A=x\t", "A=x", "A=x\t", differ]),
            (
                "A=l1\\nl2",
                ["A=l1\nl2", "A=l1\\nl2", "A=l1\\nl2", "A=l1\\nl2", differ],
            ),
            (
                "export A=x",
                [
                    "export A=x",
                    "export A=x",
                    "export A=x",
                    "1:invalid-syntax",
                    differ,
                ],
            ),
            (
                "A",
                ["1:invalid-syntax", "A=", "", "1:invalid-syntax", differ],
            ),
            (" A=x", [" A=x", "A=x", "A=x", "A=x", differ]),
            ("A =x", ["A =x", "A =x", "A=x", "1:invalid-syntax", differ]),
            (" #A=x", [" #A=x", "", "", "", differ]),
            ("  ", ["1:invalid-syntax", "", "", "", differ]),
            ("A=x\r", ["A=x\r", "A=x", "A=x", "A=x", differ]),
            (
                "\u{feff}A=x",
                ["\u{feff}A=x", "A=x", "\u{feff}A=x", "A=x", differ],
            ),
        ] {
            assert_eq!(all(line), expected, "{line:?}");
        }
    }

    #[test]
    fn long_lines_are_refused_where_the_program_drops_them() {
        let line = format!("A={}", "x".repeat(LONGEST_LINE - 2));
        assert_eq!(all(&line), [line.as_str(); 5]);
        let long = line + "x";
        let large = "1:too-large";
        assert_eq!(
            all(&long),
            [&long, large, &long, large, "1:dialects-differ"]
        );
    }

    #[test]
    fn duplicate_keys_are_refused_in_every_dialect() {
        for dialect in Dialect::iter().map(Some).chain([None]) {
            assert_eq!(
                reading(b"A=1\nB=2\nA=3\n", false, dialect),
                ["A=1", "B=2", "3:duplicate-key"]
            );
        }
    }

    #[test]
    fn comments_disable_nothing() {
        for dialect in Dialect::iter().map(Some).chain([None]) {
            assert_eq!(
                reading(b"A=1\n#A=1\n#B=2\n# see http://x?y=1\n", false, dialect),
                ["A=1"]
            );
        }
    }

    #[test]
    fn sops_dialect_is_the_default_for_sops_files() {
        assert_eq!(reading(b"A=1\\n2 \n", true, None), ["A=1\n2 "]);
        assert_eq!(
            reading(b"A=1\\n2 \n", true, Some(Dialect::Smc)),
            ["A=1\\n2"]
        );
    }

    #[test]
    fn every_line_with_a_fault_is_reported() {
        let found = reading(b"A=1 \nB=2\nexport C=3\n\nD\n", false, None);
        assert_eq!(
            found,
            [
                "B=2",
                "1:dialects-differ",
                "3:dialects-differ",
                "5:dialects-differ"
            ]
        );
    }

    #[test]
    fn faults_do_not_quote_the_line() {
        for line in [
            "hunter2",
            "hunter2 =x",
            "A=hunter2 ",
            "A=hunter2\\n",
            "hunter2+/8=\n=hunter2",
            " #hunter2",
            "hunter2 x=y\nhunter2 x=y",
        ] {
            for dialect in Dialect::iter().map(Some).chain([None]) {
                let mut faults = Vec::new();
                read(
                    &Text::for_tests(line.as_bytes(), false),
                    dialect,
                    &mut faults,
                );
                assert!(
                    faults
                        .iter()
                        .all(|fault| !fault.to_string().contains("hunter2")),
                    "{line}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_not_panic(text in ".*", sops: bool) {
            for dialect in Dialect::iter().map(Some).chain([None]) {
                reading(text.as_bytes(), sops, dialect);
            }
        }

        /// Without a dialect, what is accepted is what all dialects read.
        #[test]
        fn accepted_without_a_dialect_means_that_all_agree(text in "([A#= \\\\n\"x\t\r\n]|\u{feff}){0,12}") {
            let found = reading(text.as_bytes(), false, None);
            if !found.iter().any(|entry| entry.contains(':')) {
                for dialect in Dialect::iter() {
                    prop_assert_eq!(&found, &reading(text.as_bytes(), false, Some(dialect)));
                }
            }
        }
    }
}
