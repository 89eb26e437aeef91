//! Integers in text, with the rules of Go's `strconv.ParseInt`.

/// Parses an integer in this base. Base 0 reads the base from a prefix, and allows `_` between digits.
/// Returns None for anything else, and for numbers out of range.
pub(super) fn parse_int(text: &[u8], base: u32) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    let (base, digits, underscores) = if base == 0 {
        prefixed(digits)
    } else {
        (base, digits, false)
    };
    if digits.is_empty() || (underscores && !underscores_are_valid(digits, base)) {
        return None;
    }
    let mut number = 0_i128;
    for digit in digits
        .iter()
        .filter(|byte| !(underscores && **byte == b'_'))
    {
        let digit = char::from(*digit).to_digit(base)?;
        number = number * i128::from(base) + i128::from(digit);
        if number > 1 << 64 {
            return None;
        }
    }
    i64::try_from(if negative { -number } else { number }).ok()
}

/// Returns the base of a prefix and the digits. A single `0` before digits means octal; it stays a digit.
fn prefixed(digits: &[u8]) -> (u32, &[u8], bool) {
    let rest = digits.get(2..).unwrap_or_default();
    match digits {
        [b'0', b'x' | b'X', _, ..] => (16, rest, true),
        [b'0', b'b' | b'B', _, ..] => (2, rest, true),
        [b'0', b'o' | b'O', _, ..] => (8, rest, true),
        [b'0', _, ..] => (8, digits, true),
        _ => (10, digits, true),
    }
}

/// True if each `_` stands between two digits, or directly after a prefix.
fn underscores_are_valid(digits: &[u8], base: u32) -> bool {
    let after_prefix = matches!(base, 2 | 8 | 16);
    let mut before = after_prefix;
    for byte in digits {
        let is_underscore = *byte == b'_';
        if is_underscore && !before {
            return false;
        }
        before = !is_underscore;
    }
    before
}

/// Returns the integer in text, or 0 for text without an integer. Returns None for fractions that the operator's versions cut off
/// differently.
pub(super) fn of_text(text: &[u8]) -> Option<i64> {
    let Some(point) = text.iter().rposition(|byte| *byte == b'.') else {
        return Some(parse_int(text, 0).unwrap_or(0));
    };
    let (whole, fraction) = text.split_at_checked(point)?;
    let zeros = fraction.get(1..)?;
    let older = if !zeros.is_empty() && zeros.iter().all(|byte| *byte == b'0') {
        parse_int(whole, 0).unwrap_or(0)
    } else {
        0
    };
    let signed = whole
        .strip_prefix(b"-")
        .or_else(|| whole.strip_prefix(b"+"));
    let digits = signed.unwrap_or(whole);
    let decimal = digits.iter().chain(zeros).all(u8::is_ascii_digit);
    let newer = if decimal {
        parse_int(whole, 0).unwrap_or(0)
    } else {
        0
    };
    (older == newer).then_some(newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_parsed_like_in_go() {
        for (text, expected) in [
            ("0x10", 16),
            ("-0X1f", -31),
            ("010", 8),
            ("0o17", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_1", 1),
            ("0_7", 7),
            ("1__0", 0),
            ("_1", 0),
            ("08", 0),
            ("0x", 0),
            ("9223372036854775807", i64::MAX),
            ("9223372036854775808", 0),
            ("-9223372036854775808", i64::MIN),
            ("12.00", 12),
            ("1e3", 0),
            ("abc", 0),
        ] {
            assert_eq!(of_text(text.as_bytes()), Some(expected), "{text}");
        }
        assert_eq!(of_text(b"10.5"), None);
    }
}
