//! The syntax of names in the Kubernetes API.

/// The field manager of every change, and the source of every Event.
pub const FIELD_MANAGER: &str = "eso-sync";

/// The maximum length of a Kubernetes name.
const LONGEST: usize = 253;

/// True if Kubernetes accepts this as the name of a namespace, a store or an ExternalSecret.
pub fn is_name(text: &str) -> bool {
    text.len() <= LONGEST
        && text.chars().all(is_name_char)
        && text
            .split('.')
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

/// True if the character may stand in such a name.
pub const fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.')
}

/// True if Kubernetes accepts this as a label or annotation key: `name` or `example.com/name`.
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_word(name) && prefix.is_none_or(is_name)
}

/// True if Kubernetes accepts this as a label value.
pub fn is_label_value(text: &str) -> bool {
    is_word(text)
}

/// True for at most 63 letters, digits, `-`, `_` and `.` that start and end with a letter or digit.
fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |end: Option<char>| end.is_none_or(|end| end.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(allowed)
        && edge(text.chars().next())
        && edge(text.chars().next_back())
}
