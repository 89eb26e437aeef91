//! Evaluates the paths of `property` like gjson v1.18, the library that the operator uses.
//!
//! Supported, with exact results, on valid JSON: keys, array indexes, `#` for the length of an array, and escapes. Not
//! supported: wildcards, queries, pipes, modifiers, multipaths, JSON lines, and invalid JSON that contains a bracket,
//! because gjson may or may not find something in it.

use std::{cell::OnceCell, collections::BTreeMap};

use secret::{Buffer, Value};

use super::{
    budget::{Budget, TooCostly},
    gojson::{self, Node, NotJson, Shape, float, hex4, join_surrogates, simple_escape},
};

/// The reason why a path was not evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEvaluated {
    /// The path or the text to search is not supported.
    Unsupported,
    /// It exceeds the budget.
    TooCostly(TooCostly),
}

impl From<TooCostly> for NotEvaluated {
    fn from(error: TooCostly) -> Self {
        Self::TooCostly(error)
    }
}

/// The members of the outermost object by name: for each name, the places of its members.
type Index = BTreeMap<Box<[u8]>, Vec<usize>>;

/// The memory of an entry of the index.
const ENTRY: usize = 96;

/// A text that is parsed once, for many paths.
pub struct Document<'a> {
    text: &'a [u8],
    parsed: Result<Node<'a>, NotJson>,
    index: OnceCell<Index>,
    /// The last member of each name, as Go decodes names.
    names: OnceCell<BTreeMap<String, usize>>,
}

impl<'a> Document<'a> {
    /// Parses the text. A text that is not JSON is a document too, in which some paths can be evaluated.
    pub fn parse(text: &'a [u8], budget: &Budget) -> Result<Self, TooCostly> {
        let parsed = match gojson::parse_within(text, budget) {
            Err(NotJson::TooCostly(error)) => return Err(error),
            parsed => parsed,
        };
        Ok(Self {
            text,
            parsed,
            index: OnceCell::new(),
            names: OnceCell::new(),
        })
    }

    /// The parsed text, or why it is not JSON.
    pub const fn node(&self) -> Result<&Node<'a>, NotJson> {
        match &self.parsed {
            Ok(node) => Ok(node),
            Err(error) => Err(*error),
        }
    }

    /// Returns the value at `path`, or None if gjson would report that it does not exist.
    pub fn get(&self, path: &str, budget: &Budget) -> Result<Option<Value>, NotEvaluated> {
        let path = path.as_bytes();
        budget.read(path.len())?;
        if path.len() > 1 && matches!(path.first(), Some(b'@' | b'!' | b'[' | b'{'))
            || path.starts_with(b"..")
        {
            return Err(NotEvaluated::Unsupported);
        }
        let document = match &self.parsed {
            Ok(document) => document,
            Err(NotJson::Invalid) => {
                budget.read(self.text.len())?;
                if has_bracket(self.text) {
                    return Err(NotEvaluated::Unsupported);
                }
                return Ok(None);
            }
            Err(NotJson::TooDeep | NotJson::TooCostly(_)) => return Err(NotEvaluated::Unsupported),
        };
        let found = match &document.shape {
            Shape::Object(members) => self.member(members, path, budget)?,
            Shape::Array(_) => descend(document, path, budget)?,
            Shape::String(inner) => {
                budget.read(inner.len())?;
                if has_bracket(inner) {
                    return Err(NotEvaluated::Unsupported);
                }
                None
            }
            Shape::Null | Shape::Bool | Shape::Number => None,
        };
        found.map(|found| found.value(budget)).transpose()
    }

    /// Evaluates a path below the outermost object, like [`descend`], but does not compare with each of its names.
    fn member<'n>(
        &'n self,
        members: &'n [(&'a [u8], Node<'a>)],
        path: &[u8],
        budget: &Budget,
    ) -> Result<Option<Found<'n, 'a>>, NotEvaluated> {
        let step = object_step(path)?;
        let index = self.index(members, budget)?;
        for place in index.get(&*step.part).into_iter().flatten() {
            if let Some((_, node)) = members.get(*place)
                && let Some(found) = follow(node, step.rest, budget)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the member of the outermost object with exactly this name, like a Go map: the last of duplicates.
    pub(crate) fn last_member(
        &self,
        name: &str,
        budget: &Budget,
    ) -> Result<Option<&Node<'a>>, TooCostly> {
        budget.step(1)?;
        budget.read(name.len())?;
        let Ok(Node {
            shape: Shape::Object(members),
            ..
        }) = &self.parsed
        else {
            return Ok(None);
        };
        if self.names.get().is_none() {
            let mut names = BTreeMap::new();
            for (place, (key, _)) in members.iter().enumerate() {
                budget.step(1)?;
                budget.write(key.len() + ENTRY)?;
                names.insert(gojson::key_text(key), place);
            }
            self.names.get_or_init(|| names);
        }
        let place = self.names.get().and_then(|names| names.get(name));
        Ok(place.and_then(|place| Some(&members.get(*place)?.1)))
    }

    fn index(&self, members: &[(&[u8], Node<'_>)], budget: &Budget) -> Result<&Index, TooCostly> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let mut index = Index::new();
        for (place, (key, _)) in members.iter().enumerate() {
            budget.step(1)?;
            budget.write(key.len() + ENTRY)?;
            let name = Box::from(name(key).expose());
            index.entry(name).or_default().push(place);
        }
        Ok(self.index.get_or_init(|| index))
    }
}

/// A key without its escapes.
fn name(key: &[u8]) -> Value {
    if key.contains(&b'\\') {
        unescape(key)
    } else {
        Value::from(key)
    }
}

fn has_bracket(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'{' | b'['))
}

enum Found<'n, 'a> {
    Node(&'n Node<'a>),
    Length(usize),
}

impl Found<'_, '_> {
    fn value(self, budget: &Budget) -> Result<Value, NotEvaluated> {
        Ok(match self {
            Self::Length(length) => Value::from(length.to_string().as_str()),
            Self::Node(node) => {
                budget.write(node.raw.len() + ENTRY)?;
                match &node.shape {
                    Shape::Null => Value::default(),
                    Shape::String(inner) => unescape(inner),
                    Shape::Number => number(node.raw),
                    Shape::Bool | Shape::Array(_) | Shape::Object(_) => Value::from(node.raw),
                }
            }
        })
    }
}

/// Integers keep their notation; other numbers are converted to float64 and back.
fn number(raw: &[u8]) -> Value {
    let digits = raw.strip_prefix(b"-").unwrap_or(raw);
    if digits.iter().all(u8::is_ascii_digit) {
        return Value::from(raw);
    }
    let parsed = std::str::from_utf8(raw)
        .ok()
        .and_then(|text| text.parse().ok());
    Value::from(float(parsed.unwrap_or_default()).as_str())
}

/// Evaluates the path below an object or array. If a duplicate key leads to nothing, the next one is tried.
fn descend<'n, 'a>(
    node: &'n Node<'a>,
    path: &[u8],
    budget: &Budget,
) -> Result<Option<Found<'n, 'a>>, NotEvaluated> {
    budget.read(path.len())?;
    match &node.shape {
        Shape::Object(members) => {
            let step = object_step(path)?;
            for (key, node) in members {
                budget.step(1)?;
                budget.read(key.len())?;
                if name(key).expose() == step.part
                    && let Some(found) = follow(node, step.rest, budget)?
                {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
        Shape::Array(items) => match array_step(path)? {
            ArrayStep::Length => Ok(Some(Found::Length(items.len()))),
            ArrayStep::Nothing => Ok(None),
            ArrayStep::Item(index, rest) => match items.get(index) {
                Some(node) => follow(node, rest, budget),
                None => Ok(None),
            },
        },
        Shape::Null | Shape::Bool | Shape::Number | Shape::String(_) => Ok(None),
    }
}

fn follow<'n, 'a>(
    node: &'n Node<'a>,
    rest: Option<&[u8]>,
    budget: &Budget,
) -> Result<Option<Found<'n, 'a>>, NotEvaluated> {
    match rest {
        None => Ok(Some(Found::Node(node))),
        Some(path) => descend(node, path, budget),
    }
}

struct ObjectStep<'p> {
    part: Vec<u8>,
    rest: Option<&'p [u8]>,
}

/// Splits off the first part of a path below an object. A backslash escapes the next character.
fn object_step(path: &[u8]) -> Result<ObjectStep<'_>, NotEvaluated> {
    let mut part = Vec::new();
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        match byte {
            b'|' | b'*' | b'?' => return Err(NotEvaluated::Unsupported),
            b'.' => {
                let rest = path.get(at..).unwrap_or_default();
                refuse_pipe(rest)?;
                return Ok(ObjectStep {
                    part,
                    rest: Some(rest),
                });
            }
            b'\\' => {
                part.extend(path.get(at));
                at += 1;
            }
            _ => part.push(byte),
        }
    }
    Ok(ObjectStep { part, rest: None })
}

enum ArrayStep<'p> {
    Item(usize, Option<&'p [u8]>),
    Length,
    Nothing,
}

/// Splits off the first part of a path below an array, where a backslash has no special meaning.
fn array_step(path: &[u8]) -> Result<ArrayStep<'_>, NotEvaluated> {
    let end = path
        .iter()
        .position(|byte| matches!(byte, b'.' | b'|'))
        .unwrap_or(path.len());
    let (part, tail) = path.split_at(end);
    if tail.first() == Some(&b'|') || part.starts_with(b"#(") || part.starts_with(b"#[") {
        return Err(NotEvaluated::Unsupported);
    }
    let rest = tail.get(1..);
    if part.contains(&b'#') {
        return match (part, rest) {
            (b"#", None) => Ok(ArrayStep::Length),
            (b"#", Some(_)) => Err(NotEvaluated::Unsupported),
            _ => Ok(ArrayStep::Nothing),
        };
    }
    if let Some(rest) = rest {
        refuse_pipe(rest)?;
    }
    if part.is_empty() || !part.iter().all(u8::is_ascii_digit) {
        return Ok(ArrayStep::Nothing);
    }
    // Wraps on overflow, like gjson.
    let index = part.iter().fold(0_u64, |index, digit| {
        index.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    Ok(usize::try_from(index).map_or(ArrayStep::Nothing, |index| ArrayStep::Item(index, rest)))
}

/// Rejects a modifier or multipath after a dot.
const fn refuse_pipe(rest: &[u8]) -> Result<(), NotEvaluated> {
    if matches!(rest.first(), Some(b'@' | b'[' | b'{')) {
        Err(NotEvaluated::Unsupported)
    } else {
        Ok(())
    }
}

/// Decodes a string like gjson: invalid UTF-8 is kept, and a lone surrogate also consumes a `\u` escape that follows it.
fn unescape(inner: &[u8]) -> Value {
    let mut out = Buffer::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escaped) = rest.split_at(at);
        out.push(plain);
        let [_, kind, after @ ..] = escaped else {
            return out.finish();
        };
        rest = after;
        if *kind != b'u' {
            out.push(&[simple_escape(*kind)]);
            continue;
        }
        let (unit, after) = hex4(rest);
        rest = after;
        let c = match (char::from_u32(unit), rest.strip_prefix(br"\u")) {
            (None, Some(low)) => {
                let (low, after) = hex4(low);
                rest = after;
                join_surrogates(unit, low)
            }
            (c, _) => c,
        };
        out.push_char(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    out.push(rest);
    out.finish()
}
