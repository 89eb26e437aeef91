//! Functions on words and lines: other spellings, abbreviations, wrapping.

use std::collections::BTreeMap;

use memchr::memmem;

use super::{
    Function,
    Parameter::{Int, Text},
    int, refused, take, text, unsupported,
};
use crate::template::{
    Failure,
    value::{Heap, Of, Value},
};

const ONE: &[super::Parameter] = &[Text];

pub(super) const TABLE: &[Function] = &[
    Function::new("swapcase", ONE, |heap, arguments| {
        spelled(heap, arguments, swap_case)
    }),
    Function::new("initials", ONE, |heap, arguments| {
        spelled(heap, arguments, initials)
    }),
    Function::new("snakecase", ONE, |heap, arguments| {
        spelled(heap, arguments, |value| Ok(lower_words(value, b'_')))
    }),
    Function::new("kebabcase", ONE, |heap, arguments| {
        spelled(heap, arguments, |value| Ok(lower_words(value, b'-')))
    }),
    Function::new("camelcase", ONE, |heap, arguments| {
        spelled(heap, arguments, camel_case)
    }),
    Function::new("abbrev", &[Int, Text], |heap, arguments| {
        let [width, value] = take(arguments)?;
        let (width, value) = (int(&width)?, text(&value)?.bytes());
        let short = abbreviate(value, 0, width);
        heap.text(short)
    }),
    Function::new("abbrevboth", &[Int, Int, Text], |heap, arguments| {
        let [left, right, value] = take(arguments)?;
        let (left, right, value) = (int(&left)?, int(&right)?, text(&value)?.bytes());
        let short = abbreviate(value, left, right);
        heap.text(short)
    }),
    Function::new("wrap", &[Int, Text], |heap, arguments| {
        let [width, value] = take(arguments)?;
        let long = false;
        wrap(heap, text(&value)?.bytes(), int(&width)?, b"", long)
    }),
    Function::new("wrapWith", &[Int, Text, Text], |heap, arguments| {
        let [width, separator, value] = take(arguments)?;
        let (value, separator) = (text(&value)?.bytes(), text(&separator)?.bytes());
        wrap(heap, value, int(&width)?, separator, true)
    }),
    Function::new("splitn", &[Text, Int, Text], |heap, arguments| {
        let [separator, count, value] = take(arguments)?;
        let parts = split_at_most(
            heap,
            text(&separator)?.bytes(),
            int(&count)?,
            text(&value)?.bytes(),
        )?;
        let mut entries = BTreeMap::new();
        for (index, part) in parts.into_iter().enumerate() {
            entries.insert(format!("_{index}").into_bytes(), part);
        }
        heap.map(Of::Text, entries)
    }),
];

/// Applies a function to ASCII text. Go's rules for other letters depend on its Unicode version.
fn spelled(
    heap: &mut Heap,
    arguments: Vec<Value>,
    spell: fn(&[u8]) -> Result<Vec<u8>, Failure>,
) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    let value = text(&value)?.bytes();
    if !value.is_ascii() {
        return Err(unsupported("non-ASCII text"));
    }
    // A word can get a connector before it and in its middle.
    heap.consume_bytes(value.len().saturating_mul(2))?;
    let output = spell(value)?;
    heap.text(output)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "same type as the other functions of this table"
)]
fn swap_case(value: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(value
        .iter()
        .map(|byte| {
            if byte.is_ascii_uppercase() {
                byte.to_ascii_lowercase()
            } else {
                byte.to_ascii_uppercase()
            }
        })
        .collect())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "same type as the other functions of this table"
)]
fn initials(value: &[u8]) -> Result<Vec<u8>, Failure> {
    let words = value.split(|byte| is_space(*byte));
    Ok(words.filter_map(|word| word.first().copied()).collect())
}

const fn is_connector(byte: u8) -> bool {
    byte == b'-' || byte == b'_' || is_space(byte)
}

/// Returns the text in camel case. Operators from v0.19 to v0.20 write the first letter in lower case, all others in upper
/// case, so the result is known only if both are the same.
fn camel_case(value: &[u8]) -> Result<Vec<u8>, Failure> {
    let (lower, upper) = (camel(value, false), camel(value, true));
    if lower == upper {
        Ok(upper)
    } else {
        Err(unsupported(
            "a first letter whose case depends on the operator's version",
        ))
    }
}

fn camel(value: &[u8], big: bool) -> Vec<u8> {
    let mut output = Vec::with_capacity(value.len());
    let start = value.iter().position(|byte| !is_connector(*byte));
    let Some(start) = start else {
        return camel_of_connectors(value);
    };
    let (leading, rest) = value.split_at(start);
    output.extend_from_slice(leading);
    let Some((first, rest)) = rest.split_first() else {
        return output;
    };
    let mut run_of_upper = first.is_ascii_uppercase();
    let mut current = if big {
        first.to_ascii_uppercase()
    } else {
        first.to_ascii_lowercase()
    };
    if rest.is_empty() {
        output.push(current);
        return output;
    }
    for byte in rest {
        let before = current;
        current = *byte;
        if is_connector(current) && is_connector(before) {
            output.push(before);
            continue;
        }
        if is_connector(before) {
            run_of_upper = current.is_ascii_uppercase();
            current.make_ascii_uppercase();
            continue;
        }
        if run_of_upper {
            run_of_upper = current.is_ascii_uppercase();
            current.make_ascii_lowercase();
        }
        output.push(before);
    }
    if run_of_upper && !big {
        current.make_ascii_lowercase();
    }
    output.push(current);
    output
}

/// The operator's library writes the last connector twice if there is nothing else.
fn camel_of_connectors(value: &[u8]) -> Vec<u8> {
    let mut output = value.to_vec();
    output.extend(value.last());
    output
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Nothing,
    Number,
    Upper,
    Letters,
    Connector,
    Punctuation,
    Other,
}

/// Splits off the first word.
fn next_word(value: &[u8]) -> (Word, &[u8], &[u8]) {
    let Some(first) = value.first() else {
        return (Word::Nothing, &[], &[]);
    };
    let (kind, length) = if is_connector(*first) {
        (Word::Connector, run(value, 0, is_connector))
    } else if is_punctuation(*first) {
        (Word::Punctuation, run(value, 0, is_punctuation))
    } else if first.is_ascii_uppercase() {
        (Word::Upper, upper_word(value))
    } else if first.is_ascii_lowercase() {
        (
            Word::Letters,
            run(value, 0, |byte| byte.is_ascii_lowercase()),
        )
    } else if first.is_ascii_digit() {
        (Word::Number, run(value, 0, |byte| byte.is_ascii_digit()))
    } else {
        let other = |byte: u8| {
            !is_connector(byte) && !byte.is_ascii_alphanumeric() && !is_punctuation(byte)
        };
        (Word::Other, run(value, 0, other))
    };
    let (word, rest) = value.split_at_checked(length).unwrap_or((value, &[]));
    (kind, word, rest)
}

/// Returns the end of the bytes that belong to the word that starts before `from`.
fn run(value: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let rest = value.get(from..).unwrap_or_default();
    let more = rest.iter().position(|byte| !belongs(*byte));
    from + more.unwrap_or(rest.len())
}

/// Returns the length of a word that begins with a capital letter. In `HTTPServer`, the `S` belongs to the next word.
fn upper_word(value: &[u8]) -> usize {
    let capitals = run(value, 0, |byte| byte.is_ascii_uppercase());
    let lower_follows = value.get(capitals).is_some_and(u8::is_ascii_lowercase);
    match (capitals, lower_follows) {
        (1, true) => run(value, 1, |byte| byte.is_ascii_lowercase()),
        (capitals, true) => capitals - 1,
        (capitals, false) => capitals,
    }
}

/// Unicode punctuation in ASCII. The others are symbols.
const fn is_punctuation(byte: u8) -> bool {
    byte.is_ascii_punctuation()
        && !matches!(
            byte,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~'
        )
}

/// Appends a word in lower case; connectors are replaced.
fn push_lower(output: &mut Vec<u8>, kind: Word, word: &[u8], connector: u8) {
    for byte in word {
        output.push(if kind == Word::Connector {
            connector
        } else {
            byte.to_ascii_lowercase()
        });
    }
}

/// Returns the words in lower case with connectors between them, with the rules of the operator's library.
fn lower_words(value: &[u8], connector: u8) -> Vec<u8> {
    let mut output = Vec::with_capacity(value.len());
    let (mut kind, mut word, mut rest) = next_word(value);
    while !rest.is_empty() {
        if kind != Word::Connector {
            push_lower(&mut output, kind, word, connector);
        }
        let (before, last) = (kind, word);
        (kind, word, rest) = next_word(rest);
        match before {
            Word::Number => {
                follow(&mut output, (&mut kind, &mut word, &mut rest), connector);
                if !matches!(kind, Word::Nothing | Word::Punctuation | Word::Connector) {
                    output.push(connector);
                }
            }
            Word::Connector => push_lower(&mut output, before, last, connector),
            Word::Punctuation => {}
            Word::Nothing | Word::Upper | Word::Letters | Word::Other => {
                if kind != Word::Number {
                    if !matches!(kind, Word::Connector | Word::Punctuation) {
                        output.push(connector);
                    }
                } else if !rest.is_empty() {
                    number(&mut output, (&mut kind, &mut word, &mut rest), connector);
                }
            }
        }
    }
    push_lower(&mut output, kind, word, connector);
    output
}

/// The word that was split off last, and the text after it.
type Place<'p, 'v> = (&'p mut Word, &'p mut &'v [u8], &'p mut &'v [u8]);

/// Appends the lower-case words and numbers that belong to a number.
fn follow(output: &mut Vec<u8>, (kind, word, rest): Place<'_, '_>, connector: u8) {
    while matches!(*kind, Word::Letters | Word::Number) {
        push_lower(output, *kind, word, connector);
        (*kind, *word, *rest) = next_word(rest);
    }
}

/// Appends a number in the middle of a text: to the word before it, or as a word of its own if small letters follow.
fn number(output: &mut Vec<u8>, (kind, word, rest): Place<'_, '_>, connector: u8) {
    let digits = *word;
    (*kind, *word, *rest) = next_word(rest);
    let apart = |kind: Word| !matches!(kind, Word::Connector | Word::Punctuation);
    if *kind != Word::Letters {
        push_lower(output, Word::Number, digits, connector);
        if apart(*kind) {
            output.push(connector);
        }
        return;
    }
    output.push(connector);
    push_lower(output, Word::Number, digits, connector);
    follow(output, (kind, word, rest), connector);
    if *kind != Word::Nothing && apart(*kind) {
        output.push(connector);
    }
}

/// Returns at most `width` bytes, with `...` for what is left out before `left` and at the end.
fn abbreviate(value: &[u8], left: i64, width: i64) -> Vec<u8> {
    let Ok(width) = usize::try_from(width) else {
        return value.to_vec();
    };
    if width < 4 || (left > 0 && width < 7) || value.len() <= width {
        return value.to_vec();
    }
    let shown = width - 3;
    let left = usize::try_from(left).unwrap_or(0);
    let start = left.min(value.len() - shown);
    let part = |range: std::ops::Range<usize>| value.get(range).unwrap_or_default();
    if start <= 4 {
        return [part(0..shown), b"..."].concat();
    }
    let rest = part(start..value.len());
    let rest = if start + shown < value.len() {
        abbreviate(rest, 0, i64::try_from(shown).unwrap_or(i64::MAX))
    } else {
        rest.to_vec()
    };
    [b"...".as_slice(), &rest].concat()
}

/// Breaks a line at spaces. `long` also breaks words that are longer than the width.
fn wrap(
    heap: &mut Heap,
    value: &[u8],
    width: i64,
    separator: &[u8],
    long: bool,
) -> Result<Value, Failure> {
    let width = usize::try_from(width.max(1)).map_err(|_| refused())?;
    let separator = if separator.is_empty() {
        b"\n"
    } else {
        separator
    };
    let mut output = Vec::with_capacity(value.len());
    let mut rest = value;
    while rest.len() > width {
        heap.step(1)?;
        if let Some(after) = rest.strip_prefix(b" ") {
            rest = after;
            continue;
        }
        let line = rest.get(..=width).unwrap_or(rest);
        let at = line.iter().rposition(|byte| *byte == b' ');
        let (end, skipped) = match at {
            Some(at) => (at, 1),
            None if long => (width, 0),
            None => {
                let beyond = rest.get(width..).unwrap_or_default();
                heap.step(beyond.len())?;
                match beyond.iter().position(|byte| *byte == b' ') {
                    Some(at) => (width + at, 1),
                    None => break,
                }
            }
        };
        heap.consume_bytes(separator.len())?;
        output.extend_from_slice(rest.get(..end).unwrap_or_default());
        output.extend_from_slice(separator);
        rest = rest.get(end + skipped..).unwrap_or_default();
    }
    output.extend_from_slice(rest);
    heap.text(output)
}

/// Splits into at most `count` parts; the last one holds the rest. No limit if negative.
fn split_at_most(
    heap: &Heap,
    separator: &[u8],
    count: i64,
    value: &[u8],
) -> Result<Vec<Value>, Failure> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 {
        return Ok(Vec::new());
    }
    if separator.is_empty() {
        return Err(unsupported("an empty separator"));
    }
    let mut parts = Vec::new();
    let mut from = 0;
    for at in memmem::find_iter(value, separator).take(count - 1) {
        parts.push(heap.text(value.get(from..at).unwrap_or_default().to_vec())?);
        from = at + separator.len();
    }
    parts.push(heap.text(value.get(from..).unwrap_or_default().to_vec())?);
    Ok(parts)
}
