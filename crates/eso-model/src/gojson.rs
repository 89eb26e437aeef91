//! Reads and writes JSON like Go's `encoding/json`, because the differences to Rust's JSON libraries would be visible in
//! Secrets.
//!
//! Go keeps the notation of a value (`1.50` stays `1.50`), accepts strings that are not UTF-8, uses the last of duplicate
//! keys, replaces lone surrogates by U+FFFD, and escapes `<`, `>` and `&`. Documents are parsed into a tree that borrows
//! their text, so there are no copies to wipe.

mod encode;
pub(crate) mod number;

use std::collections::BTreeMap;

pub use encode::{
    Numbers, Style, byte_value, encode, encode_members, encode_strings, float, quoted, to_f64,
};
pub(crate) use encode::{json_float, quote};

use secret::{Buffer, Value};

use crate::budget::{Budget, TooCostly};

/// The maximum depth of a document. (Go's limit is 10,000.)
const MAX_DEPTH: usize = 200;

/// The memory of a node and its key. A vector that grows holds up to twice as much.
const NODE: usize = 2 * size_of::<(&[u8], Node<'_>)>();

/// The reason why a text was not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJson {
    /// Go rejects it too.
    Invalid,
    /// It is nested too deeply for this parser.
    TooDeep,
    /// It exceeds the budget.
    TooCostly(TooCostly),
}

impl From<TooCostly> for NotJson {
    fn from(error: TooCostly) -> Self {
        Self::TooCostly(error)
    }
}

/// A value in a document.
pub struct Node<'a> {
    /// The text of the value, without surrounding whitespace.
    pub raw: &'a [u8],
    pub shape: Shape<'a>,
}

/// The type of a value.
pub enum Shape<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    Number,
    /// A string, as the raw text between its quotes.
    String(&'a [u8]),
    Array(Vec<Node<'a>>),
    /// An object: the raw text between the quotes of each key, and the values, in document order.
    Object(Vec<(&'a [u8], Node<'a>)>),
}

impl Node<'_> {
    /// Returns the members of an object like a Go map: keys without escapes, the last of duplicates. For `null`, an empty
    /// map.
    pub fn members(&self) -> Option<BTreeMap<String, &Self>> {
        match &self.shape {
            Shape::Null => Some(BTreeMap::new()),
            Shape::Object(members) => Some(
                members
                    .iter()
                    .map(|(key, node)| (key_text(key), node))
                    .collect(),
            ),
            Shape::Bool | Shape::Number | Shape::String(_) | Shape::Array(_) => None,
        }
    }
}

/// Returns a key without its escapes.
pub fn key_text(key: &[u8]) -> String {
    String::from_utf8_lossy(unquote(key).expose()).into_owned()
}

/// Parses a whole document.
pub fn parse(text: &[u8]) -> Result<Node<'_>, NotJson> {
    parse_whole(text, None)
}

/// Parses a whole document. The budget pays for its text and for each node of the tree.
pub fn parse_within<'a>(text: &'a [u8], budget: &Budget) -> Result<Node<'a>, NotJson> {
    budget.read(text.len())?;
    parse_whole(text, Some(budget))
}

fn parse_whole<'a>(text: &'a [u8], budget: Option<&Budget>) -> Result<Node<'a>, NotJson> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        budget,
    };
    parser.space();
    let node = parser.value()?;
    parser.space();
    if parser.at == text.len() {
        Ok(node)
    } else {
        Err(NotJson::Invalid)
    }
}

struct Parser<'a, 'b> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    budget: Option<&'b Budget>,
}

impl<'a> Parser<'a, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(NotJson::Invalid)
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self) -> Result<Node<'a>, NotJson> {
        if let Some(budget) = self.budget {
            budget.write(NODE)?;
        }
        let start = self.at;
        let shape = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Shape::String(self.string()?),
            Some(b't') => self.word(b"true", Shape::Bool)?,
            Some(b'f') => self.word(b"false", Shape::Bool)?,
            Some(b'n') => self.word(b"null", Shape::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(NotJson::Invalid),
        };
        Ok(Node {
            raw: self.since(start),
            shape,
        })
    }

    fn nested(
        &mut self,
        inner: fn(&mut Self) -> Result<Shape<'a>, NotJson>,
    ) -> Result<Shape<'a>, NotJson> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(NotJson::TooDeep);
        }
        self.space();
        let shape = inner(self)?;
        self.depth -= 1;
        Ok(shape)
    }

    fn object(&mut self) -> Result<Shape<'a>, NotJson> {
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Shape::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            members.push((key, self.value()?));
            self.space();
            if self.take(b'}') {
                return Ok(Shape::Object(members));
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self) -> Result<Shape<'a>, NotJson> {
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Shape::Array(items));
        }
        loop {
            self.space();
            items.push(self.value()?);
            self.space();
            if self.take(b']') {
                return Ok(Shape::Array(items));
            }
            self.expect(b',')?;
        }
    }

    /// Parses a string and returns the raw text between its quotes.
    fn string(&mut self) -> Result<&'a [u8], NotJson> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(0x20..) => self.at += 1,
                Some(_) | None => return Err(NotJson::Invalid),
            }
        }
        let inner = self.since(start);
        self.at += 1;
        Ok(inner)
    }

    fn escape(&mut self) -> Result<(), NotJson> {
        let kind = self.peek().ok_or(NotJson::Invalid)?;
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let digits = self
                    .text
                    .get(self.at..self.at + 4)
                    .ok_or(NotJson::Invalid)?;
                self.at += 4;
                let hex = digits.iter().all(u8::is_ascii_hexdigit);
                if hex { Ok(()) } else { Err(NotJson::Invalid) }
            }
            _ => Err(NotJson::Invalid),
        }
    }

    fn word(&mut self, word: &[u8], shape: Shape<'a>) -> Result<Shape<'a>, NotJson> {
        let end = self.at + word.len();
        if self.text.get(self.at..end) == Some(word) {
            self.at = end;
            Ok(shape)
        } else {
            Err(NotJson::Invalid)
        }
    }

    fn number(&mut self) -> Result<Shape<'a>, NotJson> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Shape::Number)
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(NotJson::Invalid)
        }
    }
}

/// Decodes the raw text between the quotes of a valid document's string, like Go: each invalid UTF-8 byte and each lone
/// surrogate becomes U+FFFD.
pub fn unquote(inner: &[u8]) -> Value {
    let mut out = Buffer::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escaped) = rest.split_at(at);
        push_utf8(&mut out, plain);
        rest = push_escape(&mut out, escaped);
    }
    push_utf8(&mut out, rest);
    out.finish()
}

/// Decodes the escape at the start of `text` and returns the rest.
fn push_escape<'a>(out: &mut Buffer, text: &'a [u8]) -> &'a [u8] {
    let [_, kind, rest @ ..] = text else {
        return &[];
    };
    if *kind != b'u' {
        out.push(&[simple_escape(*kind)]);
        return rest;
    }
    let (unit, rest) = hex4(rest);
    if let Some(c) = char::from_u32(unit) {
        out.push_char(c);
        return rest;
    }
    if let Some(low) = rest.strip_prefix(br"\u") {
        let (low, after) = hex4(low);
        if let Some(c) = join_surrogates(unit, low) {
            out.push_char(c);
            return after;
        }
    }
    out.push_char(char::REPLACEMENT_CHARACTER);
    rest
}

/// Returns the byte for a single-letter escape.
pub(super) const fn simple_escape(kind: u8) -> u8 {
    match kind {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

/// Parses four hexadecimal digits and returns the number and the rest.
pub(super) fn hex4(text: &[u8]) -> (u32, &[u8]) {
    let (digits, rest) = text.split_at(text.len().min(4));
    let number = digits.iter().fold(0, |number, &digit| {
        number * 16 + char::from(digit).to_digit(16).unwrap_or_default()
    });
    (number, rest)
}

/// Joins a surrogate pair to a character; None if it is not a valid pair.
pub(super) fn join_surrogates(high: u32, low: u32) -> Option<char> {
    let pair = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
    if !pair {
        return None;
    }
    char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
}

/// Appends the bytes, with U+FFFD for each byte that is not part of a character.
fn push_utf8(out: &mut Buffer, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        out.push(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            out.push_char(char::REPLACEMENT_CHARACTER);
        }
    }
}
