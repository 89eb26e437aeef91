//! Plain scalars of YAML, whose type depends on the parser.

use std::sync::LazyLock;

use regex::Regex;

use crate::node::is_null;

/// Numbers of YAML 1.1 and 1.2: decimal, with underscores, of base 2, 8, 16 and 60; dates.
const NUMBER: &str = r"(?x)^(
    [-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?
  | [-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?
  | [-+]?0[xX][0-9a-fA-F_]+
  | [-+]?0[oO][0-7_]+
  | [-+]?0[bB][01_]+
  | [-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?
  | [-+]?\.(inf|Inf|INF)
  | \.(nan|NaN|NAN)
  | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt\ ].*)?
)$";

static IS_NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(NUMBER).ok());

/// True if some parser reads the plain scalar as something else than text.
pub(crate) fn may_be_no_text(text: &str) -> bool {
    is_null(text.as_bytes())
        || is_boolean(text)
        || IS_NUMBER.as_ref().is_none_or(|regex| regex.is_match(text))
}

fn is_boolean(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_parser_reads_as_another_type_is_found() {
        for text in [
            "",
            "~",
            "null",
            "Null",
            "y",
            "N",
            "yes",
            "No",
            "ON",
            "off",
            "true",
            "FALSE",
            "0",
            "1",
            "007",
            "-5",
            "+5",
            "1_000",
            "1.5",
            "1.",
            ".5",
            "1e3",
            "1.5E-3",
            "0x1F",
            "0o17",
            "0b11",
            "1:30",
            "190:20:30.15",
            ".inf",
            "-.Inf",
            ".NaN",
            "2026-11-29",
            "2026-1-2 10:00:00",
            "2026-11-29T10:00:00Z",
            "1234",
        ] {
            assert!(may_be_no_text(text), "{text}");
        }
        for text in [
            "c2VjcmV0", "MTIzNA==", "5Y2X", "0aGVs", "12ab", "1.2.3", "v1", "e3", "nullx", "=",
            "a: b", "-", "0x", "10.0.0.1", "1-2",
        ] {
            assert!(!may_be_no_text(text), "{text}");
        }
    }
}
