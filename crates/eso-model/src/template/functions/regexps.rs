//! Regular expressions, as far as Go's and Rust's engines agree.

use regex::{Captures, Regex, RegexBuilder};

use super::{
    Function,
    Parameter::{Int, Text},
    int, take, text, unsupported,
};
use crate::template::{
    Failure,
    value::{Heap, List, Of, Value},
};

const TWO: &[super::Parameter] = &[Text, Text];
const THREE: &[super::Parameter] = &[Text, Text, Text];
const MANY: &[super::Parameter] = &[Text, Text, Int];

pub(super) const TABLE: &[Function] = &[
    Function::new("regexMatch", TWO, matches),
    Function::new("mustRegexMatch", TWO, matches),
    Function::new("regexFind", TWO, find),
    Function::new("mustRegexFind", TWO, find),
    Function::new("regexFindAll", MANY, find_all),
    Function::new("mustRegexFindAll", MANY, find_all),
    Function::new("regexReplaceAll", THREE, |heap, arguments| {
        replace(heap, arguments, false)
    }),
    Function::new("mustRegexReplaceAll", THREE, |heap, arguments| {
        replace(heap, arguments, false)
    }),
    Function::new("regexReplaceAllLiteral", THREE, |heap, arguments| {
        replace(heap, arguments, true)
    }),
    Function::new("mustRegexReplaceAllLiteral", THREE, |heap, arguments| {
        replace(heap, arguments, true)
    }),
    Function::new("regexSplit", MANY, split),
    Function::new("mustRegexSplit", MANY, split),
    Function::new("regexQuoteMeta", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let mut output = Vec::new();
        for byte in text(&value)?.bytes() {
            if br"\.+*?()|[]{}^$".contains(byte) {
                output.push(b'\\');
            }
            output.push(*byte);
        }
        heap.text(output)
    }),
];

/// Compiles an expression that has the same meaning in both engines.
fn compile(heap: &mut Heap, value: &Value) -> Result<Regex, Failure> {
    let pattern = text(value)?.utf8()?;
    heap.step(1 + pattern.len())?;
    RegexBuilder::new(&translate(pattern)?)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| unknown())
}

fn unknown() -> Failure {
    unsupported("this regular expression")
}

/// Translates a Go expression for Rust, or rejects it.
fn translate(pattern: &str) -> Result<String, Failure> {
    if !pattern.is_ascii() {
        return Err(unknown());
    }
    let mut output = String::new();
    let mut characters = pattern.chars().peekable();
    let mut in_class = false;
    let mut quantified = false;
    while let Some(character) = characters.next() {
        let was_quantified = std::mem::take(&mut quantified);
        match character {
            '\\' => output.push_str(escape(characters.next(), in_class)?),
            ']' if in_class => {
                in_class = false;
                output.push(']');
            }
            '[' | '&' | '~' if in_class => return Err(unknown()),
            '-' if in_class && characters.peek() == Some(&'-') => return Err(unknown()),
            _ if in_class => output.push(character),
            '[' => {
                in_class = true;
                output.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    output.push('^');
                }
                if characters.peek() == Some(&']') {
                    return Err(unknown());
                }
            }
            '*' | '+' | '?' => {
                if was_quantified {
                    return Err(unknown());
                }
                output.push(character);
                if characters.next_if_eq(&'?').is_some() {
                    output.push('?');
                }
                quantified = true;
            }
            '{' | '}' if was_quantified || character == '}' => return Err(unknown()),
            '{' => {
                let rest: String = characters.clone().collect();
                let length = counted(&rest).ok_or_else(unknown)?;
                output.push('{');
                output.extend(characters.by_ref().take(length));
                quantified = true;
            }
            '(' => {
                output.push('(');
                if characters.next_if_eq(&'?').is_some() {
                    // Only non-capturing groups are supported.
                    if characters.next() != Some(':') {
                        return Err(unknown());
                    }
                    output.push_str("?:");
                }
            }
            character => output.push(character),
        }
    }
    Ok(output)
}

/// Returns the length of `3}`, `3,}` or `3,5}` if the numbers are small.
fn counted(text: &str) -> Option<usize> {
    let (inner, _) = text.split_once('}')?;
    let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
    let small = |number: &str| {
        (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    (small(low) && (high.is_empty() || small(high))).then_some(inner.len() + 1)
}

/// Returns Rust's equivalent of a Go escape. Go's classes are ASCII only.
fn escape(character: Option<char>, in_class: bool) -> Result<&'static str, Failure> {
    Ok(match (character.ok_or_else(unknown)?, in_class) {
        ('d', true) => "0-9",
        ('d', false) => "[0-9]",
        ('D', false) => "[^0-9]",
        ('w', true) => "0-9A-Za-z_",
        ('w', false) => "[0-9A-Za-z_]",
        ('W', false) => "[^0-9A-Za-z_]",
        ('s', true) => r"\t\n\x0C\r ",
        ('s', false) => r"[\t\n\x0C\r ]",
        ('S', false) => r"[^\t\n\x0C\r ]",
        ('b', false) => r"(?-u:\b)",
        ('A', false) => r"\A",
        ('z', false) => r"\z",
        ('n', _) => r"\n",
        ('t', _) => r"\t",
        ('r', _) => r"\r",
        ('.', _) => r"\.",
        ('+', _) => r"\+",
        ('*', _) => r"\*",
        ('?', _) => r"\?",
        ('(', _) => r"\(",
        (')', _) => r"\)",
        ('|', _) => r"\|",
        ('[', _) => r"\[",
        (']', _) => r"\]",
        ('{', _) => r"\{",
        ('}', _) => r"\}",
        ('^', _) => r"\^",
        ('$', _) => r"\$",
        ('\\', _) => r"\\",
        ('-', _) => r"\-",
        ('/', _) => r"/",
        ('"', _) => "\"",
        (':', _) => ":",
        ('@', _) => "@",
        _ => return Err(unknown()),
    })
}

fn matches(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    Ok(Value::Bool(pattern.is_match(text(&value)?.utf8()?)))
}

fn find(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    let found = pattern.find(text(&value)?.utf8()?);
    heap.text(found.map_or_else(Vec::new, |found| found.as_str().as_bytes().to_vec()))
}

/// Returns the maximum number of matches; unlimited if the number is negative.
fn at_most(count: &Value) -> Result<usize, Failure> {
    Ok(usize::try_from(int(count)?).unwrap_or(usize::MAX))
}

/// Returns a list of texts. With `nil`, an empty list becomes nil.
fn texts(heap: &mut Heap, parts: Vec<&str>, nil: bool) -> Result<Value, Failure> {
    heap.step(parts.len())?;
    let items = parts
        .into_iter()
        .map(|part| heap.text(part.as_bytes().to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut list = List::new(Of::Text, items)?;
    list.nil = nil && list.items().is_empty();
    Ok(Value::List(list))
}

fn find_all(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value, count] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    let found = pattern.find_iter(text(&value)?.utf8()?);
    let found = found.take(at_most(&count)?).map(|found| found.as_str());
    texts(heap, found.collect(), true)
}

fn replace(heap: &mut Heap, arguments: Vec<Value>, literal: bool) -> Result<Value, Failure> {
    let [pattern, value, by] = take(arguments)?;
    let pattern = compile(heap, &pattern)?;
    let (value, by) = (text(&value)?.utf8()?, text(&by)?.utf8()?);
    let mut output = String::new();
    let mut end = 0;
    for captures in pattern.captures_iter(value) {
        let Some(whole) = captures.get(0) else {
            continue;
        };
        heap.step(1)?;
        output.push_str(value.get(end..whole.start()).unwrap_or_default());
        let before = output.len();
        if literal {
            output.push_str(by);
        } else {
            expand(&captures, by, &mut output)?;
        }
        heap.consume_bytes(output.len() - before)?;
        end = whole.end();
    }
    output.push_str(value.get(end..).unwrap_or_default());
    heap.text(output.into_bytes())
}

/// Expands `$1` and `${1}`. A name consists of as many letters, digits and underscores as possible.
fn expand(captures: &Captures<'_>, by: &str, output: &mut String) -> Result<(), Failure> {
    let mut rest = by;
    while let Some((before, after)) = rest.split_once('$') {
        output.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            output.push('$');
            rest = after;
            continue;
        }
        let braced = after.strip_prefix('{');
        let named = braced.unwrap_or(after);
        let end = named
            .find(|character: char| !(character.is_alphanumeric() || character == '_'))
            .unwrap_or(named.len());
        let (name, after) = named.split_at(end);
        let after = match braced {
            Some(_) => after.strip_prefix('}'),
            None => Some(after),
        };
        let (Some(after), true, true) = (after, !name.is_empty(), name.is_ascii()) else {
            return Err(unsupported("this replacement"));
        };
        if let Ok(index) = name.parse::<usize>() {
            if name.len() > 1 && name.starts_with('0') {
                return Err(unsupported("this replacement"));
            }
            output.push_str(captures.get(index).map_or("", |group| group.as_str()));
        }
        rest = after;
    }
    output.push_str(rest);
    Ok(())
}

fn split(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [pattern, value, count] = take(arguments)?;
    let empty = text(&pattern)?.bytes().is_empty();
    let pattern = compile(heap, &pattern)?;
    let (value, count) = (text(&value)?.utf8()?, at_most(&count)?);
    if count == 0 {
        return texts(heap, Vec::new(), true);
    }
    if !empty && value.is_empty() {
        return texts(heap, vec![""], false);
    }
    let mut parts = Vec::new();
    let (mut from, mut end) = (0, 0);
    for found in pattern.find_iter(value).take(count) {
        if parts.len() == count - 1 {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(value.get(from..end).unwrap_or_default());
        }
        from = found.end();
    }
    if end != value.len() {
        parts.push(value.get(from..).unwrap_or_default());
    }
    texts(heap, parts, false)
}
