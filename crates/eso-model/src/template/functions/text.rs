//! Functions on text.

use std::collections::BTreeMap;

use memchr::memmem;

use super::{
    Function,
    Parameter::{Any, Int, Text as String_},
    int, refused, take, text, unsupported,
};
use crate::template::{
    Failure, print,
    value::{Heap, Of, Text, Value},
};

const ONE: &[super::Parameter] = &[String_];
const TWO: &[super::Parameter] = &[String_, String_];

pub(super) const TABLE: &[Function] = &[
    Function::new("trim", ONE, |heap, arguments| {
        let [value] = take(arguments)?;
        heap.text(trim(text(&value)?)?.to_vec())
    }),
    Function::new("trimAll", TWO, trim_all),
    Function::new("trimall", TWO, trim_all),
    Function::new("trimSuffix", TWO, |heap, arguments| {
        let [suffix, value] = take(arguments)?;
        let value = text(&value)?.bytes();
        let kept = value.strip_suffix(text(&suffix)?.bytes()).unwrap_or(value);
        heap.text(kept.to_vec())
    }),
    Function::new("trimPrefix", TWO, |heap, arguments| {
        let [prefix, value] = take(arguments)?;
        let value = text(&value)?.bytes();
        let kept = value.strip_prefix(text(&prefix)?.bytes()).unwrap_or(value);
        heap.text(kept.to_vec())
    }),
    Function::new("hasPrefix", TWO, |_, arguments| {
        let [prefix, value] = take(arguments)?;
        let starts = text(&value)?.bytes().starts_with(text(&prefix)?.bytes());
        Ok(Value::Bool(starts))
    }),
    Function::new("hasSuffix", TWO, |_, arguments| {
        let [suffix, value] = take(arguments)?;
        let ends = text(&value)?.bytes().ends_with(text(&suffix)?.bytes());
        Ok(Value::Bool(ends))
    }),
    Function::new("contains", TWO, |_, arguments| {
        let [part, value] = take(arguments)?;
        let found = memmem::find(text(&value)?.bytes(), text(&part)?.bytes());
        Ok(Value::Bool(found.is_some()))
    }),
    Function::new("upper", ONE, |heap, arguments| {
        map_case(heap, arguments, |character| {
            (
                character.to_uppercase().next(),
                character.to_uppercase().count(),
            )
        })
    }),
    Function::new("lower", ONE, |heap, arguments| {
        map_case(heap, arguments, |character| {
            (
                character.to_lowercase().next(),
                character.to_lowercase().count(),
            )
        })
    }),
    Function::new("title", ONE, title),
    Function::new("untitle", ONE, untitle),
    Function::new("nospace", ONE, |heap, arguments| {
        let [value] = take(arguments)?;
        let value = text(&value)?.bytes();
        // The operator's library treats each byte as a character.
        if !value.is_ascii() {
            return Err(unsupported("non-ASCII text"));
        }
        let space = |byte: u8| matches!(byte, b'\t'..=b'\r' | b' ');
        heap.text(value.iter().copied().filter(|byte| !space(*byte)).collect())
    }),
    Function::new("replace", &[String_, String_, String_], replace),
    Function::new("repeat", &[Int, String_], |heap, arguments| {
        let [count, value] = take(arguments)?;
        let count = usize::try_from(int(&count)?).map_err(|_| refused())?;
        let value = text(&value)?.bytes();
        let size = count.checked_mul(value.len()).ok_or_else(refused)?;
        heap.consume_bytes(size)?;
        Ok(Value::Text(Text::from(value.repeat(if size == 0 {
            0
        } else {
            count
        }))))
    }),
    Function::new("indent", &[Int, String_], |heap, arguments| {
        let [spaces, value] = take(arguments)?;
        indent(heap, int(&spaces)?, text(&value)?.bytes(), b"")
    }),
    Function::new("nindent", &[Int, String_], |heap, arguments| {
        let [spaces, value] = take(arguments)?;
        indent(heap, int(&spaces)?, text(&value)?.bytes(), b"\n")
    }),
    Function::new("trunc", &[Int, String_], trunc),
    Function::new("substr", &[Int, Int, String_], substr),
    Function::new("split", TWO, |heap, arguments| {
        let [separator, value] = take(arguments)?;
        let mut entries = BTreeMap::new();
        for (index, part) in split(heap, &separator, &value)?.into_iter().enumerate() {
            entries.insert(format!("_{index}").into_bytes(), part);
        }
        heap.map(Of::Text, entries)
    }),
    Function::new("splitList", TWO, |heap, arguments| {
        let [separator, value] = take(arguments)?;
        let parts = split(heap, &separator, &value)?;
        heap.list(Of::Text, parts)
    }),
    Function::new("quote", &[], |heap, arguments| {
        quoted(heap, arguments, print::quote)
    })
    .with_rest(Any),
    Function::new("squote", &[], |heap, arguments| {
        quoted(heap, arguments, |shown, output| {
            output.push(b'\'');
            output.extend_from_slice(shown);
            output.push(b'\'');
            Ok(())
        })
    })
    .with_rest(Any),
    Function::new("cat", &[], cat).with_rest(Any),
    Function::new("plural", &[String_, String_, Int], |_, arguments| {
        let [one, many, count] = take(arguments)?;
        Ok(if int(&count)? == 1 { one } else { many })
    }),
];

/// Returns the text without surrounding spaces.
fn trim(value: &Text) -> Result<&[u8], Failure> {
    if let Ok(value) = value.utf8() {
        return Ok(value.trim().as_bytes());
    }
    let ascii = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ');
    let start = value.bytes().iter().position(|byte| !ascii(byte));
    let end = value.bytes().iter().rposition(|byte| !ascii(byte));
    let (Some(start), Some(end)) = (start, end) else {
        return Ok(&[]);
    };
    let kept = value.bytes().get(start..=end).unwrap_or_default();
    let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii);
    if plain(kept.first()) && plain(kept.last()) {
        return Ok(kept);
    }
    Err(unsupported("text that is not UTF-8"))
}

fn trim_all(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [cut, value] = take(arguments)?;
    let (cut, value) = (text(&cut)?.utf8()?, text(&value)?.utf8()?);
    heap.read(value.len().saturating_mul(cut.len()))?;
    let kept = value.trim_matches(|character| cut.contains(character));
    heap.text(kept.as_bytes().to_vec())
}

/// Converts the case of each letter like Go. Rejects letters that Unicode maps to several, because Go maps them
/// differently.
fn map_case(
    heap: &mut Heap,
    arguments: Vec<Value>,
    mapped: fn(char) -> (Option<char>, usize),
) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    let mut output = String::new();
    for character in text(&value)?.utf8()?.chars() {
        print::require_stable(character)?;
        match mapped(character) {
            (Some(one), 1) => {
                print::require_stable(one)?;
                output.push(one);
            }
            _ => {
                return Err(unsupported(
                    "a letter whose other case is not a single letter",
                ));
            }
        }
    }
    heap.text(output.into_bytes())
}

fn title(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let separates = |byte: u8| !(byte.is_ascii_alphanumeric() || byte == b'_');
    first_letters(heap, arguments, u8::make_ascii_uppercase, separates)
}

fn untitle(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let separates = |byte: u8| matches!(byte, b'\t'..=b'\r' | b' ');
    first_letters(heap, arguments, u8::make_ascii_lowercase, separates)
}

/// Changes the first letter of each word.
fn first_letters(
    heap: &mut Heap,
    arguments: Vec<Value>,
    change: fn(&mut u8),
    separates: impl Fn(u8) -> bool,
) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    let mut output = text(&value)?.bytes().to_vec();
    if !output.is_ascii() {
        return Err(unsupported("non-ASCII text"));
    }
    let mut begins = true;
    for byte in &mut output {
        if begins {
            change(byte);
        }
        begins = separates(*byte);
    }
    heap.text(output)
}

fn replace(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [old, new, value] = take(arguments)?;
    let (old, new, value) = (text(&old)?, text(&new)?.bytes(), text(&value)?);
    if old.bytes().is_empty() {
        let value = value.utf8()?;
        heap.consume_bytes(new.len().saturating_mul(value.chars().count() + 1))?;
        let mut output = new.to_vec();
        for character in value.chars() {
            output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            output.extend_from_slice(new);
        }
        return heap.text(output);
    }
    let mut output = Vec::new();
    let value = value.bytes();
    let mut from = 0;
    for at in memmem::find_iter(value, old.bytes()) {
        let kept = value.get(from..at).unwrap_or_default();
        heap.step(1)?;
        heap.consume_bytes(kept.len() + new.len())?;
        output.extend_from_slice(kept);
        output.extend_from_slice(new);
        from = at + old.bytes().len();
    }
    output.extend_from_slice(value.get(from..).unwrap_or_default());
    heap.text(output)
}

fn indent(heap: &mut Heap, spaces: i64, value: &[u8], before: &[u8]) -> Result<Value, Failure> {
    let spaces = usize::try_from(spaces).map_err(|_| refused())?;
    let lines = value.split(|byte| *byte == b'\n').count();
    heap.consume_bytes(spaces.saturating_mul(lines))?;
    let padding = b" ".repeat(spaces);
    let mut output = before.to_vec();
    for line in value.split_inclusive(|byte| *byte == b'\n') {
        output.extend_from_slice(&padding);
        output.extend_from_slice(line);
    }
    if value.last().is_none_or(|last| *last == b'\n') {
        output.extend_from_slice(&padding);
    }
    heap.text(output)
}

fn trunc(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [count, value] = take(arguments)?;
    let value = text(&value)?.bytes();
    let count = int(&count)?;
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let kept = match value.len().checked_sub(size) {
        Some(cut) if count < 0 => value.get(cut..),
        Some(_) if count >= 0 => value.get(..size),
        _ => Some(value),
    };
    heap.text(kept.unwrap_or(value).to_vec())
}

fn substr(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [start, end, value] = take(arguments)?;
    let value = text(&value)?.bytes();
    let start = usize::try_from(int(&start)?).ok();
    let end = usize::try_from(int(&end)?).ok();
    let kept = match (start, end) {
        (None, Some(end)) => value.get(..end),
        (None, None) => None,
        (Some(start), Some(end)) if end <= value.len() => value.get(start..end),
        (Some(start), _) => value.get(start..),
    };
    heap.text(kept.ok_or_else(refused)?.to_vec())
}

fn split(heap: &Heap, separator: &Value, value: &Value) -> Result<Vec<Value>, Failure> {
    let (separator, value) = (text(separator)?.bytes(), text(value)?);
    if separator.is_empty() {
        let characters = value.utf8()?.chars();
        return characters
            .map(|one| heap.text(one.to_string().into_bytes()))
            .collect();
    }
    let value = value.bytes();
    let mut parts = Vec::new();
    let mut from = 0;
    for at in memmem::find_iter(value, separator) {
        parts.push(heap.text(value.get(from..at).unwrap_or_default().to_vec())?);
        from = at + separator.len();
    }
    parts.push(heap.text(value.get(from..).unwrap_or_default().to_vec())?);
    Ok(parts)
}

/// Formats and quotes the arguments, separated by spaces. Nil arguments are left out.
fn quoted(
    heap: &mut Heap,
    arguments: Vec<Value>,
    quote: fn(&[u8], &mut Vec<u8>) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let mut output = Vec::new();
    for argument in arguments {
        if matches!(argument, Value::Nil) {
            continue;
        }
        if !output.is_empty() {
            output.push(b' ');
        }
        let shown = print::shown(heap, &argument)?;
        // A byte becomes at most four.
        heap.budget.room(shown.len().saturating_mul(4))?;
        quote(&shown, &mut output)?;
    }
    heap.text(output)
}

fn cat(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let mut output = Vec::new();
    let mut first = true;
    for argument in arguments {
        if matches!(argument, Value::Nil) {
            continue;
        }
        if !first {
            output.push(b' ');
        }
        first = false;
        print::show(heap, &argument, &mut output)?;
    }
    heap.text(output)
}
