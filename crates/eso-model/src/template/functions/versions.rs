//! Semantic versions and constraints, with the rules of the operator's library.

use std::{cmp::Ordering, rc::Rc};

use super::{Function, Parameter::Text as String_, refused, take, text, unsupported};
use crate::template::{
    Failure,
    value::{Text, Value, Version},
};

mod constraint;

pub(super) const TABLE: &[Function] = &[
    Function::new("semver", &[String_], |heap, arguments| {
        let [value] = take(arguments)?;
        let value = text(&value)?;
        heap.consume_bytes(value.bytes().len().saturating_mul(2))?;
        let version = parse(value.bytes()).ok_or_else(refused)?;
        Ok(Value::Version(Rc::new(version)))
    }),
    Function::new("semverCompare", &[String_, String_], |heap, arguments| {
        let [constraint, value] = take(arguments)?;
        let (constraint, value) = (text(&constraint)?.utf8()?, text(&value)?.bytes());
        heap.consume_bytes(constraint.len().saturating_mul(4) + value.len() * 2)?;
        let constraint = constraint::parse(constraint)?;
        let version = parse(value).ok_or_else(refused)?;
        Ok(Value::Bool(constraint.allows(&version)))
    }),
];

/// Returns the result of a method without arguments.
pub(in crate::template) fn version_method(version: &Version, name: &str) -> Result<Value, Failure> {
    let [major, minor, patch] = version.numbers;
    Ok(match name {
        "Major" => Value::Uint64(major),
        "Minor" => Value::Uint64(minor),
        "Patch" => Value::Uint64(patch),
        "Prerelease" => Value::Text(version.pre_release.clone()),
        "Metadata" => Value::Text(version.metadata.clone()),
        "Original" => Value::Text(version.original.clone()),
        _ => return Err(unsupported("this method of a version")),
    })
}

/// Parses one to three numbers, with an optional `v`, pre-release and metadata.
pub(super) fn parse(text: &[u8]) -> Option<Version> {
    let rest = text.strip_prefix(b"v").unwrap_or(text);
    let (rest, metadata) = split(rest, b'+');
    let (numbers, pre_release) = split(rest, b'-');
    let mut parts = numbers.split(|byte| *byte == b'.');
    let mut numbers = [0; 3];
    for (index, slot) in numbers.iter_mut().enumerate() {
        match parts.next() {
            Some(part) => *slot = number(part)?,
            None if index > 0 => {}
            None => return None,
        }
    }
    let parts_are_valid = |part: Option<&[u8]>, pre_release: bool| {
        part.is_none_or(|part| {
            part.split(|byte| *byte == b'.')
                .all(|part| is_identifier(part, pre_release))
        })
    };
    let valid = parts.next().is_none()
        && parts_are_valid(pre_release, true)
        && parts_are_valid(metadata, false);
    let owned = |part: Option<&[u8]>| Text::from(part.unwrap_or_default().to_vec());
    valid.then(|| Version {
        numbers,
        pre_release: owned(pre_release),
        metadata: owned(metadata),
        original: Text::from(text.to_vec()),
    })
}

fn split(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == at) {
        Some(at) => {
            let (before, after) = text.split_at(at);
            (before, after.get(1..))
        }
        None => (text, None),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_identifier(part: &[u8], pre_release: bool) -> bool {
    let leads = part.len() > 1 && part.starts_with(b"0") && part.iter().all(u8::is_ascii_digit);
    !part.is_empty()
        && part
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !(pre_release && leads)
}

pub(super) fn compare(a: &Version, b: &Version) -> Ordering {
    let (pre_a, pre_b) = (a.pre_release.bytes(), b.pre_release.bytes());
    let by_pre_release = match (pre_a.is_empty(), pre_b.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => compare_pre_release(pre_a, pre_b),
    };
    a.numbers.cmp(&b.numbers).then(by_pre_release)
}

pub(super) fn compare_pre_release(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a.split(|byte| *byte == b'.'), b.split(|byte| *byte == b'.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => compare_identifiers(a, b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn compare_identifiers(a: &[u8], b: &[u8]) -> Ordering {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}
