//! Names from outside in commands, JSON, HCL and Markdown. Whatever they hold, they stay names.

use std::fmt::Write as _;

use cluster::escape::changes_the_screen;

use crate::foreign::line;
pub(super) use crate::foreign::shell_word as word;

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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_shows_no_control_characters() {
        assert_eq!(json("a\"\n\u{202e}"), r#""a\"\n\u202e""#);
        assert_eq!(json("\u{e0001}"), r#""\udb40\udc01""#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn json_reads_each_string_as_this_text(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&json(&text)).ok(), Some(text));
        }
    }
}
