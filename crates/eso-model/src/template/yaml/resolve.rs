//! The types of plain scalars.

use jiff::civil::Date;

use super::{Failure, LazyLock, Regex, unknown};
use crate::template::integer::parse_int;

/// The type of a plain scalar.
pub(super) enum Resolved {
    Text,
    /// A timestamp, which the operator reads as text, but does not write without quotes.
    Time,
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
}

static FLOAT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$").ok());

/// A number of base 60, such as `1:30`: it is read as text, but not written without quotes.
static BASE60: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$").ok());

static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let date = "^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})";
    let time = "([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})([.,][0-9]+)?";
    let zone = "(Z|[-+][0-9]{2}:[0-9]{2})";
    Regex::new(&format!("{date}(?:[Tt]{time}{zone}| +{time})?$")).ok()
});

fn is_match(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(text))
}

/// Returns the type of a plain scalar. Fails for text that the operator's versions may treat differently.
pub(super) fn resolve(text: &str) -> Result<Resolved, Failure> {
    if let Some(word) = word(text) {
        return Ok(word);
    }
    match text.as_bytes().first() {
        Some(b'.') if is_match(&FLOAT, text) => float(text),
        Some(b'.') if text.contains('_') => Err(unknown()),
        Some(b'0'..=b'9' | b'+' | b'-') => number(text),
        _ => Ok(Resolved::Text),
    }
}

fn word(text: &str) -> Option<Resolved> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Resolved::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Resolved::Bool(false)
        }
        "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
        ".nan" | ".NaN" | ".NAN" => Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Resolved::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn float(text: &str) -> Result<Resolved, Failure> {
    let number: f64 = text.parse().map_err(|_| unknown())?;
    if number.is_finite() {
        Ok(Resolved::Float(number))
    } else {
        Err(unknown())
    }
}

fn number(text: &str) -> Result<Resolved, Failure> {
    if let Some(resolved) = time(text)? {
        return Ok(resolved);
    }
    let plain = text.replace('_', "");
    if let Some(number) = parse_int(plain.as_bytes(), 0) {
        return Ok(Resolved::Int(number));
    }
    // A sign is not allowed for numbers beyond int64.
    let digits = plain.as_bytes();
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    if all_digits && !digits.starts_with(b"0") {
        if let Ok(number) = plain.parse() {
            return Ok(Resolved::Uint(number));
        }
    } else if plain.len() > 16 && !plain.contains(['.', 'e', 'E', '-']) {
        // Long hexadecimal and octal numbers.
        return Err(unknown());
    }
    if is_match(&FLOAT, &plain) {
        return float(&plain);
    }
    if plain.starts_with("0b") || plain.starts_with("-0b") {
        return Err(unknown());
    }
    Ok(Resolved::Text)
}

/// Returns `Time` for a valid timestamp.
fn time(text: &str) -> Result<Option<Resolved>, Failure> {
    let Some(parts) = TIME.as_ref().and_then(|regex| regex.captures(text)) else {
        return Ok(None);
    };
    let number = |index: usize| {
        let part = parts.get(index)?;
        part.as_str().parse::<i16>().ok()
    };
    let small = |index| number(index).and_then(|number| i8::try_from(number).ok());
    let date = (number(1), small(2), small(3));
    let valid_date = match date {
        (Some(year), Some(month), Some(day)) => Date::new(year, month, day).is_ok(),
        _ => false,
    };
    let within = |index: usize, limit: i8| small(index).is_none_or(|number| number < limit);
    let valid_time = [4, 9]
        .iter()
        .all(|first| within(*first, 24) && within(first + 1, 60) && within(first + 2, 60));
    let zone = parts.get(8).map_or("Z", |zone| zone.as_str());
    let normal_zone = zone == "Z"
        || zone.get(1..3).is_some_and(|hours| hours < "24")
            && zone.get(4..).is_some_and(|minutes| minutes < "60");
    if !normal_zone || text.contains("  ") {
        return Err(unknown());
    }
    Ok((valid_date && valid_time).then_some(Resolved::Time))
}

/// True if the text can be written without quotes, as far as its type is concerned.
pub(super) fn is_plain_text(text: &str) -> Result<bool, Failure> {
    let resolved = resolve(text)?;
    Ok(matches!(resolved, Resolved::Text) && !is_match(&BASE60, text))
}
