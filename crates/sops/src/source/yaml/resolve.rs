//! The types of scalars without quotes, as in the YAML parser of SOPS (go-yaml 3).

use crate::source::scalar::{Plain, is_time};

/// Returns the value, or None if its type is not certain.
pub(super) fn resolve(text: &str) -> Option<Plain> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Plain::null()),
        "true" | "True" | "TRUE" => return Some(Plain::bool(true)),
        "false" | "False" | "FALSE" => return Some(Plain::bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Some(Plain::float(text, f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Plain::float(text, f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Plain::float(text, f64::NEG_INFINITY)),
        _ => {}
    }
    let may_be_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if !may_be_number {
        return Some(Plain::text(text.to_owned()));
    }
    if looks_like_a_time(text) {
        return time(text);
    }
    number(text)
}

fn number(text: &str) -> Option<Plain> {
    // go-yaml removes underscores from integers, but not from numbers that start with a point.
    let digits = if text.starts_with('.') {
        text.to_owned()
    } else {
        text.replace('_', "")
    };
    if let Some(integer) = integer(&digits) {
        // Larger ones are refused by SOPS.
        return Some(Plain::int(text, i64::try_from(integer).ok()?));
    }
    if is_float(&digits) {
        let value: f64 = digits.parse().ok()?;
        return value.is_finite().then(|| Plain::float(text, value));
    }
    Some(Plain::text(text.to_owned()))
}

/// Integers as Go's `strconv.ParseInt` reads them with base 0: `0x`, `0o`, `0b`, and `0` for octal numbers.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, &*lower),
    };
    let is_valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    // The longest that can fit are 64 binary digits.
    if !is_valid {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.len() > 64 {
        return Some(i128::MAX);
    }
    let significant = if significant.is_empty() {
        "0"
    } else {
        significant
    };
    Some(sign * i128::from_str_radix(significant, radix).unwrap_or(i128::MAX))
}

/// go-yaml's `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        ),
        None => (unsigned, None),
    };
    let are_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = !whole.is_empty() || (mantissa.starts_with('.') && !fraction.is_empty());
    has_digits
        && are_digits(whole)
        && are_digits(fraction)
        && exponent.is_none_or(|exponent| !exponent.is_empty() && are_digits(exponent))
}

/// True if go-yaml may read the text as a time: four digits, a hyphen, and no letters other than those of a time.
fn looks_like_a_time(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits == 4
        && text.as_bytes().get(4) == Some(&b'-')
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "-+:., TtZz".contains(c))
}

/// Other notations than the one that SOPS writes and that of days are not certain: go-yaml has several.
fn time(text: &str) -> Option<Plain> {
    let day = format!("{text}T00:00:00Z");
    if is_time(text) {
        Some(Plain::time(text, text.to_owned()))
    } else if text.len() == 10 && is_time(&day) {
        Some(Plain::time(text, day))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Kind;

    /// The values were decoded with go-yaml 3.0.1 into `interface{}`, and passed to SOPS' `ToBytes`.
    #[test]
    fn unquoted_scalars_have_the_types_of_go_yaml() {
        for (text, kind, hashed) in [
            ("yes", Kind::Text, "yes"),
            ("y", Kind::Text, "y"),
            ("True", Kind::Bool, "True"),
            ("false", Kind::Bool, "False"),
            ("7", Kind::Int, "7"),
            ("+7", Kind::Int, "7"),
            ("-0", Kind::Int, "0"),
            ("017", Kind::Int, "15"),
            ("0o17", Kind::Int, "15"),
            ("0x1F", Kind::Int, "31"),
            ("-0b11", Kind::Int, "-3"),
            ("1_000", Kind::Int, "1000"),
            ("08", Kind::Float, "8"),
            ("1.50", Kind::Float, "1.5"),
            ("1.", Kind::Float, "1"),
            (".5", Kind::Float, "0.5"),
            ("1e3", Kind::Float, "1000"),
            ("1e21", Kind::Float, "1000000000000000000000"),
            (".inf", Kind::Float, "+Inf"),
            ("-.inf", Kind::Float, "-Inf"),
            (".nan", Kind::Float, "NaN"),
            ("2002-12-14", Kind::Time, "2002-12-14T00:00:00Z"),
            (
                "2026-01-31T12:00:00.5+01:00",
                Kind::Time,
                "2026-01-31T12:00:00.5+01:00",
            ),
            ("2026-foo", Kind::Text, "2026-foo"),
            ("1.2.3", Kind::Text, "1.2.3"),
            ("10.0.0.0/8", Kind::Text, "10.0.0.0/8"),
            ("12:30", Kind::Text, "12:30"),
            ("-", Kind::Text, "-"),
            ("...", Kind::Text, "..."),
            ("1x", Kind::Text, "1x"),
            ("12ab34", Kind::Text, "12ab34"),
            ("0x1p3", Kind::Text, "0x1p3"),
            (".1_5", Kind::Text, ".1_5"),
            ("", Kind::Null, ""),
            ("~", Kind::Null, ""),
        ] {
            let plain = resolve(text).expect(text);
            assert_eq!((plain.kind, plain.hashed()), (kind, hashed), "{text}");
        }
    }

    #[test]
    fn uncertain_scalars_are_refused() {
        for text in [
            "18446744073709551615",
            "9223372036854775808",
            "0xFFFFFFFFFFFFFFFFF",
            "1e400",
            "2002-1-2",
            "2002-12-14 21:59:43",
            "2001-12-14t21:59:43.10-05:00",
        ] {
            assert!(resolve(text).is_none(), "{text}");
        }
    }
}
