//! Names from outside in commands, JSON, HCL and Markdown. Whatever they hold, they stay names.

use std::fmt::Write as _;

use cluster::escape::changes_the_screen;

use crate::foreign::line;

/// A text as one word of a POSIX shell. One with control characters, or with what a CI system takes for a command, uses the quotes `$'…'`
/// of bash, zsh and ksh.
pub(super) fn word(text: &str) -> String {
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

/// A text as a string of JSON, in which nothing changes the screen.
pub(super) fn json(text: &str) -> String {
    visible_json(&serde_json::Value::from(text).to_string())
}

/// JSON in which nothing changes the screen, except line breaks between its parts.
pub(super) fn visible_json(json: &str) -> String {
    let mut visible = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && changes_the_screen(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(visible, "\\u{unit:04x}");
            }
        } else {
            visible.push(c);
        }
    }
    visible.replace("##", "\\u0023\\u0023")
}

/// A text as code in Markdown, on one line.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", line(text).replace('`', "'"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_plain_quoted_or_escaped() {
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
            assert_eq!(word(text), shown);
        }
    }

    #[test]
    fn json_shows_no_control_characters() {
        assert_eq!(json("a\"\n\u{202e}"), r#""a\"\n\u202e""#);
        assert_eq!(json("\u{e0001}"), r#""\udb40\udc01""#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The shell itself reads the word back.
        #[test]
        fn bash_reads_each_word_as_this_text(text in "[^\u{0}]{0,40}") {
            let command = format!("printf %s {}", word(&text));
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
        fn json_reads_each_string_as_this_text(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&json(&text)).ok(), Some(text));
        }
    }
}
