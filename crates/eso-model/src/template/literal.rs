//! Go literals: quoted strings, characters, numbers.

use super::{Failure, tree::Number};

fn malformed() -> Failure {
    Failure::fails("a malformed literal")
}

/// Returns the bytes of a double-quoted string.
pub(super) fn quoted(text: &str) -> Result<Vec<u8>, Failure> {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .ok_or_else(malformed)?;
    unescape(inner, b'"')
}

/// Returns the bytes of a back-quoted string, without carriage returns.
pub(super) fn raw(text: &str) -> Vec<u8> {
    text.trim_matches('`')
        .bytes()
        .filter(|byte| *byte != b'\r')
        .collect()
}

fn unescape(inner: &str, quote: u8) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = escape(after, quote, &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Decodes the escape after a backslash, appends it, and returns the rest.
fn escape<'a>(text: &'a str, quote: u8, bytes: &mut Vec<u8>) -> Result<&'a str, Failure> {
    let first = *text.as_bytes().first().ok_or_else(malformed)?;
    let simple = match first {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' => b'\\',
        byte if byte == quote => quote,
        b'x' => return coded(text, 1, 2, bytes),
        b'u' => return coded(text, 1, 4, bytes),
        b'U' => return coded(text, 1, 8, bytes),
        b'0'..=b'7' => return octal(text, bytes),
        _ => return Err(malformed()),
    };
    bytes.push(simple);
    text.get(1..).ok_or_else(malformed)
}

fn coded<'a>(
    text: &'a str,
    from: usize,
    digits: usize,
    bytes: &mut Vec<u8>,
) -> Result<&'a str, Failure> {
    let code = text.get(from..from + digits).ok_or_else(malformed)?;
    if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let code = u32::from_str_radix(code, 16).map_err(|_| malformed())?;
    match u8::try_from(code) {
        Ok(byte) if digits == 2 => bytes.push(byte),
        _ => {
            let character = char::from_u32(code).ok_or_else(malformed)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    text.get(from + digits..).ok_or_else(malformed)
}

fn octal<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, Failure> {
    let code = text.get(..3).ok_or_else(malformed)?;
    if !code.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return Err(malformed());
    }
    bytes.push(u8::from_str_radix(code, 8).map_err(|_| malformed())?);
    text.get(3..).ok_or_else(malformed)
}

/// Returns the code of a character constant.
pub(super) fn character(text: &str) -> Result<Number, Failure> {
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
        .ok_or_else(malformed)?;
    if inner.starts_with('\\') {
        return Err(Failure::unverifiable("an escaped character constant"));
    }
    let mut characters = inner.chars();
    let (Some(character), None) = (characters.next(), characters.next()) else {
        return Err(malformed());
    };
    let code = i64::from(u32::from(character));
    Ok(Number::whole(code))
}

/// Parses a number: decimal and hexadecimal integers, and decimal fractions.
pub(super) fn number(text: &str) -> Result<Number, Failure> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(Failure::unverifiable("this number format"));
        }
        // An integer that is out of range fails here or when it is used. It does not matter where.
        let value: i64 = text
            .parse()
            .map_err(|_| Failure::unverifiable("a number of this size"))?;
        return Ok(Number::whole(value));
    }
    if let Some(hex) = digits.strip_prefix("0x")
        && !negative
        && !hex.is_empty()
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        let value = i64::from_str_radix(hex, 16)
            .map_err(|_| Failure::unverifiable("a number of this size"))?;
        return Ok(Number::whole(value));
    }
    let plain =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !digits.bytes().all(plain) {
        return Err(Failure::unverifiable("this number format"));
    }
    let value: f64 = text.parse().map_err(|_| malformed())?;
    if value.is_infinite() {
        return Err(malformed());
    }
    Ok(Number::fraction(value))
}
