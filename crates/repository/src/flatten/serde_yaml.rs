//! Plain scalars as the library `serde_yaml` 0.9 reads and prints them.

use secret::Value;

use crate::node::is_null;

/// True if a plain scalar is text, and not a number, a boolean or null.
pub(super) fn is_text(plain: &str) -> bool {
    !is_null(plain.as_bytes())
        && boolean(plain).is_none()
        && !is_integer(plain)
        && float(plain).is_none()
}

/// Returns the plain scalar as it is printed. None for integers that do not fit into 64 bits, which `serde_yaml` refuses.
pub(super) fn rendered(plain: &str) -> Option<Value> {
    if is_null(plain.as_bytes()) {
        return Some(Value::default());
    }
    if let Some(value) = boolean(plain) {
        return Some(Value::from(if value { "true" } else { "false" }));
    }
    if is_integer(plain) {
        let text = match (
            integer(plain, u64::from_str_radix),
            negative(plain, i64::from_str_radix),
        ) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => return None,
        };
        return Some(Value::new(text.into_bytes()));
    }
    Some(float(plain).map_or_else(|| Value::from(plain), printed))
}

fn boolean(plain: &str) -> Option<bool> {
    match plain {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// True for integers of up to 128 bits.
fn is_integer(plain: &str) -> bool {
    integer(plain, u128::from_str_radix).is_some()
        || negative(plain, i128::from_str_radix).is_some()
}

type Parse<T> = fn(&str, u32) -> Result<T, std::num::ParseIntError>;

fn integer<T>(plain: &str, parse: Parse<T>) -> Option<T> {
    let digits = plain.strip_prefix('+').unwrap_or(plain);
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            if rest.starts_with(['+', '-']) {
                return None;
            }
            if let Ok(number) = parse(rest, radix) {
                return Some(number);
            }
        }
    }
    if digits.starts_with(['+', '-']) || has_leading_zero(plain) {
        return None;
    }
    parse(digits, 10).ok()
}

fn negative<T>(plain: &str, parse: Parse<T>) -> Option<T> {
    let digits = plain.strip_prefix('-')?;
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            if rest.starts_with(['+', '-']) {
                return None;
            }
            if let Ok(number) = parse(&format!("-{rest}"), radix) {
                return Some(number);
            }
        }
    }
    if digits.starts_with(['+', '-']) || has_leading_zero(plain) {
        return None;
    }
    parse(plain, 10).ok()
}

/// True for digits with a leading zero, which are text.
fn has_leading_zero(plain: &str) -> bool {
    let digits = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn float(plain: &str) -> Option<f64> {
    let unsigned = plain.strip_prefix('+').unwrap_or(plain);
    if has_leading_zero(plain) || (unsigned.len() < plain.len() && unsigned.starts_with(['+', '-']))
    {
        return None;
    }
    match (unsigned, plain) {
        (".inf" | ".Inf" | ".INF", _) => Some(f64::INFINITY),
        (_, "-.inf" | "-.Inf" | "-.INF") => Some(f64::NEG_INFINITY),
        (_, ".nan" | ".NaN" | ".NAN") => Some(f64::NAN),
        _ => unsigned
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite()),
    }
}

/// Prints a number with the fewest digits that identify it, and an exponent from 1e16 and below 1e-5,
/// like the library ryu.
fn printed(number: f64) -> Value {
    if number.is_nan() {
        return Value::from(".nan");
    }
    if number.is_infinite() {
        return Value::from(if number > 0.0 { ".inf" } else { "-.inf" });
    }
    let scientific = format!("{number:e}");
    let exponent = scientific
        .rsplit_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok());
    let text = match exponent.unwrap_or(0_i32) {
        -5..16 if number.fract() == 0.0 => format!("{number}.0"),
        -5..16 => number.to_string(),
        _ => scientific,
    };
    Value::new(text.into_bytes())
}
