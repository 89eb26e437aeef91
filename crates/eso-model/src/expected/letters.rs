//! Go's `unicode.IsLetter`, `IsNumber` and `IsDigit`: the categories of Unicode 15, which are narrower than Rust's.

use std::sync::LazyLock;

use regex::Regex;

static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| category("L"));
static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| category("N"));
static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| category("Nd"));

fn category(name: &str) -> Option<Regex> {
    Regex::new(&format!(r"[\p{{{name}}}&&\p{{Age=15.0}}]")).ok()
}

fn is_in(c: char, category: &LazyLock<Option<Regex>>) -> bool {
    let mut utf8 = [0; 4];
    let text = c.encode_utf8(&mut utf8);
    category.as_ref().is_some_and(|regex| regex.is_match(text))
}

/// `unicode.IsLetter`.
pub(super) fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphabetic()
    } else {
        is_in(c, &LETTER)
    }
}

/// `unicode.IsNumber`.
pub(super) fn is_number(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_digit()
    } else {
        is_in(c, &NUMBER)
    }
}

/// `unicode.IsDigit`.
pub(super) fn is_digit(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_digit()
    } else {
        is_in(c, &DIGIT)
    }
}
