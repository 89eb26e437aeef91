//! Parses rendered text like the operator parses keys and values: as a YAML map of strings.
//!
//! Accepts only what every YAML parser reads the same way: plain words, quoted strings with simple escapes, and literal
//! blocks. Numbers, booleans and nulls are rejected, because their result depends on the operator's version.

use std::collections::BTreeMap;

use super::Failure;

/// Words that some YAML versions do not read as strings.
const AMBIGUOUS_WORDS: &[&str] = &[
    "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf",
];

fn unknown() -> Failure {
    Failure::unverifiable("YAML other than plain keys and strings")
}

pub(super) fn read(text: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| unknown())?;
    if !text
        .bytes()
        .all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic())
    {
        return Err(unknown());
    }
    let mut lines = text.split_inclusive('\n').peekable();
    let mut entries = BTreeMap::new();
    while let Some(line) = lines.next() {
        let line = line.trim_end_matches(['\n', ' ']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once(": ").ok_or_else(unknown)?;
        if !is_key(key) {
            return Err(unknown());
        }
        let value = match value {
            "|" | "|-" => {
                let mut block = Vec::new();
                while let Some(line) = lines.next_if(|line| line.starts_with(' ') || *line == "\n")
                {
                    block.push(line);
                }
                literal(&block, value == "|")?
            }
            value => scalar(value)?,
        };
        if entries.insert(key.to_owned(), value.into_bytes()).is_some() {
            return Err(unknown());
        }
    }
    if entries.is_empty() {
        return Err(unknown());
    }
    Ok(entries)
}

fn is_word(text: &str) -> bool {
    !AMBIGUOUS_WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn is_key(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && is_word(key)
}

fn scalar(value: &str) -> Result<String, Failure> {
    if let Some(quoted) = value.strip_prefix('"') {
        let inner = quoted.strip_suffix('"').ok_or_else(unknown)?;
        let odd = |text: &str| text.contains(['"', '\\']);
        let mut parts = Vec::new();
        // Split at escaped backslashes first, so that they are not part of another escape.
        for part in inner.split("\\\\") {
            let part = part.replace("\\n", "\n");
            let pieces: Vec<&str> = part.split("\\\"").collect();
            if pieces.iter().any(|piece| odd(piece)) {
                return Err(unknown());
            }
            parts.push(pieces.join("\""));
        }
        return Ok(parts.join("\\"));
    }
    if let Some(quoted) = value.strip_prefix('\'') {
        let inner = quoted.strip_suffix('\'').ok_or_else(unknown)?;
        if inner.contains('\'') {
            return Err(unknown());
        }
        return Ok(inner.to_owned());
    }
    let plain = value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && !value.contains(": ")
        && !value.contains(" #")
        && !value.ends_with(':');
    if plain && is_word(value) {
        Ok(value.to_owned())
    } else {
        Err(unknown())
    }
}

/// Returns the text of a literal block. `ended` keeps one line break at the end; otherwise all are removed.
fn literal(lines: &[&str], ended: bool) -> Result<String, Failure> {
    let first = lines.first().ok_or_else(unknown)?;
    let indent = first.len() - first.trim_start_matches(' ').len();
    let mut text = String::new();
    for line in lines {
        let line = line.strip_suffix('\n').ok_or_else(unknown)?;
        if line.is_empty() {
            text.push('\n');
            continue;
        }
        let (margin, content) = line.split_at_checked(indent).ok_or_else(unknown)?;
        if !margin.trim_start_matches(' ').is_empty() || content.trim_end().is_empty() {
            return Err(unknown());
        }
        text.push_str(content);
        text.push('\n');
    }
    text.truncate(text.trim_end_matches('\n').len());
    if text.is_empty() || indent == 0 {
        return Err(unknown());
    }
    if ended {
        text.push('\n');
    }
    Ok(text)
}
