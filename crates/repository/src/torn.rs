//! Values of several lines in files in which a value is one line. The lines after the first one would be read as keys.

/// What such a value needs.
pub(crate) const MESSAGE: &str = "this line is a part of a value of several lines, but in this format a value is one line: encode the value as base64, or use \
     another format, for example yaml";

/// The shortest line of base64 that is recognised by the value `=`, which no other key of this length has.
const SHORTEST: usize = 12;
/// The shortest line of base64 that is recognised by its characters, if its value is empty.
const SHORTEST_WITHOUT_VALUE: usize = 40;

/// True if a line is the start of a PEM block that does not end on it, or a line of a base64 text, whose padding looks like `=`
/// and a value.
pub(crate) fn is_torn(key: &str, value: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let has = |is: fn(&u8) -> bool| key.as_bytes().iter().any(is);
    let is_random =
        has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    let is_line = match value {
        "=" => key.len() >= SHORTEST,
        "" => key.len() >= SHORTEST_WITHOUT_VALUE && is_random,
        _ => false,
    };
    let is_start = value.contains("-----BEGIN ") && !value.contains("-----END ");
    (is_line && key.bytes().all(is_base64)) || is_start || key.starts_with("-----END")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_values_are_not_torn() {
        for (key, value) in [
            ("KEY", "-----BEGIN KEY-----\\nabc==\\n-----END KEY-----"),
            ("KEY", "="),
            ("LONG_KEY_OF_AN_APPLICATION", "="),
            ("LONGKEYOFANAPPLICATION", "abc="),
            ("AnEmptyValue2", ""),
            ("THE_EMPTY_VALUE_OF_A_VERY_LONG_KEY_2_OF_AN_APPLICATION", ""),
        ] {
            assert!(!is_torn(key, value), "{key}={value}");
        }
    }

    #[test]
    fn lines_of_a_longer_value_are_torn() {
        for (key, value) in [
            ("KEY", "-----BEGIN KEY-----"),
            ("KEY", "\"-----BEGIN KEY-----"),
            ("hV8fGtq2Lw9JmZc4QzYnRw", "="),
            ("-----END", "KEY-----"),
            ("hV8fGtq2Lw9JmZc4QzYnRwhV8fGtq2Lw9JmZc4QzYnRw", ""),
        ] {
            assert!(is_torn(key, value), "{key}={value}");
        }
    }
}
