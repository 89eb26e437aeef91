//! Text from outside: names and messages of the cluster, the operator, the providers and the environment. It can hold terminal
//! sequences, line breaks, direction marks and the commands of CI systems.

use std::{borrow::Borrow, fmt::Write as _};

use cluster::escape::{changes_the_screen, push};
use schemars::JsonSchema;
use serde::Serialize;

/// The maximum length of one foreign text on a terminal, in characters.
const LONGEST: usize = 1000;

/// A text that is foreign, or contains a foreign part. It has no `Display`, so a renderer must choose how to escape it. JSON and
/// YAML keep it exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Foreign(String);

impl Foreign {
    /// The unchanged text, for comparisons and for formats that escape it themselves.
    pub fn exact(&self) -> &str {
        &self.0
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text on one line of a terminal or a CI log, with at most 1,000 characters.
    pub fn terminal(&self) -> String {
        line(&self.0)
    }

    /// The text as text on one line of Markdown: no markup, no HTML, no link, no mention, no cell of a table.
    pub fn markdown(&self) -> String {
        let mut escaped = String::new();
        let text = self.terminal();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                // It neither starts the name of an emoji nor follows the scheme of a link.
                ':' if rest.peek() == Some(&' ') => escaped.push(c),
                // Harmless between other characters, and frequent in names.
                '-' | '/' | ',' | ' ' | '\'' | '.' | '%' | ';' | '(' | ')' | '"' | '?' => {
                    escaped.push(c);
                }
                // An invisible character stops a mention.
                '@' => escaped.push_str("&#64;&#8203;"),
                c if c.is_ascii_punctuation() => {
                    // Writing to a String cannot fail.
                    let _ = write!(escaped, "&#{};", u32::from(c));
                }
                c => escaped.push(c),
            }
        }
        // GitHub makes links of these without any markup.
        escaped.replace("www.", "www&#46;")
    }
}

impl<T: Into<String>> From<T> for Foreign {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl PartialEq<&str> for Foreign {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// The first `count` texts on one line, and the number of the others.
pub fn first(count: usize, texts: impl ExactSizeIterator<Item = impl Borrow<Foreign>>) -> String {
    let more = texts.len().saturating_sub(count);
    let shown: Vec<String> = texts
        .take(count)
        .map(|text| text.borrow().terminal())
        .collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Escapes a text for one line of a terminal, and shortens it.
pub fn line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut left = text.char_indices();
    for (_, c) in left.by_ref().take(LONGEST) {
        push(&mut escaped, c);
    }
    let more = left.count();
    defuse_commands(&mut escaped);
    if more > 0 {
        // Writing to a String cannot fail.
        let _ = write!(escaped, "… and {more} more characters");
    }
    escaped
}

/// A text as one word of a POSIX shell. One with control characters, or with what a CI system takes for a command, uses the quotes `$'…'`
/// of bash, zsh and ksh.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    // No argument of a program can hold it.
    let text = text.replace('\0', "");
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    if !text.chars().any(changes_the_screen) && !text.contains("##") {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut quoted = "$'".to_owned();
    for c in text.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            // Writing to a String cannot fail.
            c if changes_the_screen(c) || c == '#' => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// Escapes a text of several lines, which has foreign parts, for a terminal. Keeps its line breaks.
pub fn lines(text: &str) -> String {
    let escaped: Vec<String> = text
        .split('\n')
        .map(|line| {
            let mut escaped = String::with_capacity(line.len());
            line.chars().for_each(|c| push(&mut escaped, c));
            defuse_commands(&mut escaped);
            escaped
        })
        .collect();
    escaped.join("\n")
}

/// Escapes a text for the message of a command of GitHub Actions. It has one line.
pub fn annotation(text: &str) -> String {
    line(text).replace('%', "%25")
}

/// Escapes a text for a property of a command of GitHub Actions, such as `file=`. Only there, the runner decodes `%3A` and `%2C`.
pub fn annotation_property(text: &str) -> String {
    annotation(text).replace(':', "%3A").replace(',', "%2C")
}

/// Escapes the commands that a CI runner would execute: GitHub takes a line that starts with `::`, and `##[` or `##vso[` (Azure
/// Pipelines) anywhere in a line.
fn defuse_commands(escaped: &mut String) {
    let start = escaped.len() - escaped.trim_start().len();
    if escaped[start..].starts_with("::") {
        escaped.replace_range(start..=start, "\\u{3a}");
    }
    for command in ["##[", "##vso["] {
        while let Some(at) = escaped.find(command) {
            escaped.replace_range(at..=at, "\\u{23}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_a_shell_are_plain_quoted_or_escaped() {
        for (text, shown) in [
            ("prod/db-1", "prod/db-1"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(id)`id`\"", "'$(id)`id`\"'"),
            ("it's", r"'it'\''s'"),
            ("~", "'~'"),
            ("a\nb", r"$'a\U0000000ab'"),
            ("##[error]x", r"$'\U00000023\U00000023[error]x'"),
            ("\u{202e}'", r"$'\U0000202e\''"),
        ] {
            assert_eq!(shell_word(text), shown);
        }
    }

    #[test]
    fn foreign_text_cannot_control_a_terminal_or_a_ci_log() {
        for (text, shown) in [
            ("plain / ünïcödé 日本", "plain / ünïcödé 日本"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{202e}txt", "\\u{202e}txt"),
            ("::add-mask::x", "\\u{3a}:add-mask::x"),
            ("  ::stop-commands::x", "  \\u{3a}:stop-commands::x"),
            ("a::b", "a::b"),
            ("x ##[error]y", "x \\u{23}#[error]y"),
            ("##vso[task.setvariable]", "\\u{23}#vso[task.setvariable]"),
        ] {
            assert_eq!(line(text), shown);
        }
        assert_eq!(lines("a\n::debug::b\n\u{7}"), "a\n\\u{3a}:debug::b\n\\u{7}");
    }

    #[test]
    fn foreign_text_is_only_text_in_markdown() {
        for (text, shown) in [
            ("payments/api-1.2", "payments/api-1.2"),
            ("a|b", "a&#124;b"),
            ("<script>", "&#60;script&#62;"),
            ("[x](y)", "&#91;x&#93;(y)"),
            ("`*_~#!", "&#96;&#42;&#95;&#126;&#35;&#33;"),
            ("@team", "&#64;&#8203;team"),
            ("&amp;", "&#38;amp;"),
            ("https://x", "https&#58;//x"),
            ("denied: no right: :x:", "denied: no right: &#58;x&#58;"),
            ("www.x", "www&#46;x"),
            ("a\nb\\", "a&#92;nb&#92;"),
        ] {
            assert_eq!(Foreign::from(text).markdown(), shown);
        }
    }

    #[test]
    fn foreign_text_is_bounded() {
        let long = "x".repeat(LONGEST + 5);
        let shown = line(&long);
        assert!(shown.ends_with("x… and 5 more characters"), "{shown}");
        assert_eq!(line(&long[..LONGEST]), long[..LONGEST]);
    }

    proptest! {
        /// The shell itself reads the word back.
        #[test]
        fn bash_reads_each_word_as_this_text(text in "[^\u{0}]{0,40}") {
            let command = format!("printf %s {}", shell_word(&text));
            let output = Command::new("bash")
                .args(["-c", &command])
                .env("LC_ALL", "C.UTF-8")
                .output();
            // Not every machine has bash.
            if let Ok(output) = output {
                prop_assert_eq!(String::from_utf8_lossy(&output.stdout), text);
            }
        }

        #[test]
        fn no_text_controls_the_terminal(text in any::<String>()) {
            let shown = line(&text);
            prop_assert!(!shown.chars().any(changes_the_screen));
            prop_assert!(!shown.trim_start().starts_with("::"));
            prop_assert!(!shown.contains("##["));
        }
    }
}
