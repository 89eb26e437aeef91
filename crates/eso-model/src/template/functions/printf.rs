//! `printf`, for verbs and flags with a known result.

use super::{encoding::hex, text, unsupported};
use crate::template::{
    Failure, print,
    value::{Heap, Value},
};

/// A format verb with its flags.
struct Verb {
    minus: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

pub(super) fn printf(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let mut arguments = arguments.into_iter();
    let format = arguments.next().ok_or_else(super::refused)?;
    let mut rest = text(&format)?.utf8()?;
    let mut output = Vec::new();
    while let Some((before, after)) = rest.split_once('%') {
        heap.step(1)?;
        heap.consume_bytes(before.len())?;
        output.extend_from_slice(before.as_bytes());
        if let Some(after) = after.strip_prefix('%') {
            output.push(b'%');
            rest = after;
            continue;
        }
        let (verb, after) = parse(after)?;
        let argument = arguments
            .next()
            .ok_or_else(|| unsupported("a format verb without an argument"))?;
        apply(heap, &verb, &argument, &mut output)?;
        rest = after;
    }
    if arguments.next().is_some() {
        return Err(unsupported("an argument without a format verb"));
    }
    output.extend_from_slice(rest.as_bytes());
    heap.text(output)
}

fn parse(text: &str) -> Result<(Verb, &str), Failure> {
    let unknown = || unsupported("this format verb");
    let mut rest = text;
    let mut verb = Verb {
        minus: false,
        zero: false,
        width: 0,
        precision: None,
        letter: ' ',
    };
    loop {
        if let Some(after) = rest.strip_prefix('-') {
            verb.minus = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('0') {
            verb.zero = true;
            rest = after;
        } else {
            break;
        }
    }
    if let (Some(width), after) = number(rest)? {
        verb.width = width;
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (Some(precision), after) = number(after)? else {
            return Err(unknown());
        };
        verb.precision = Some(precision);
        rest = after;
    }
    let mut characters = rest.chars();
    verb.letter = characters.next().ok_or_else(unknown)?;
    Ok((verb, characters.as_str()))
}

fn number(text: &str) -> Result<(Option<usize>, &str), Failure> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Ok((None, text));
    }
    match digits.parse() {
        Ok(number) if number < 1000 => Ok((Some(number), rest)),
        _ => Err(unsupported("this format verb")),
    }
}

fn apply(
    heap: &mut Heap,
    verb: &Verb,
    argument: &Value,
    output: &mut Vec<u8>,
) -> Result<(), Failure> {
    let unknown = || unsupported("a format verb with this type of argument");
    let plain = verb.precision.is_none() && !verb.zero;
    let shown = match (verb.letter, argument) {
        ('v', Value::List(_) | Value::Map(_)) if verb.width == 0 && plain => {
            print::shown(heap, argument)?
        }
        ('v' | 's', Value::Text(_))
        | ('v', Value::Nil | Value::Bool(_) | Value::Float(_))
        | ('t', Value::Bool(_))
        | ('g', Value::Float(_))
            if plain =>
        {
            print::shown(heap, argument)?
        }
        ('v' | 'd', Value::Int(_) | Value::Int64(_))
            if verb.precision.is_none() && !(verb.zero && verb.minus) =>
        {
            print::shown(heap, argument)?
        }
        ('q', Value::Text(text)) if plain => {
            heap.budget.room(text.bytes().len().saturating_mul(4))?;
            let mut quoted = Vec::new();
            print::quote(text.bytes(), &mut quoted)?;
            quoted
        }
        ('x', Value::Text(text)) if plain => hex(text.bytes()),
        ('f', Value::Float(value)) if value.is_finite() && !verb.zero => {
            let precision = verb.precision.unwrap_or(6);
            format!("{value:.precision$}").into_bytes()
        }
        _ => return Err(unknown()),
    };
    pad(heap, verb, shown, output)
}

fn pad(heap: &mut Heap, verb: &Verb, shown: Vec<u8>, output: &mut Vec<u8>) -> Result<(), Failure> {
    heap.consume_bytes(shown.len() + verb.width)?;
    if verb.width == 0 {
        output.extend_from_slice(&shown);
        return Ok(());
    }
    let text = std::str::from_utf8(&shown).map_err(|_| unsupported("text that is not UTF-8"))?;
    let missing = verb.width.saturating_sub(text.chars().count());
    if verb.minus {
        output.extend_from_slice(&shown);
        output.resize(output.len() + missing, b' ');
    } else if verb.zero {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text),
        };
        output.extend_from_slice(sign.as_bytes());
        output.resize(output.len() + missing, b'0');
        output.extend_from_slice(digits.as_bytes());
    } else {
        output.resize(output.len() + missing, b' ');
        output.extend_from_slice(&shown);
    }
    Ok(())
}
