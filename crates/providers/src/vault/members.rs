//! Reads only some members of a secret's data, while the answer arrives. The rest is checked to be JSON, and not kept.

use std::collections::BTreeSet;

use eso_model::gojson;
use secret::{Buffer, Value};

use super::path::Version;
use crate::{MAX_VALUE, Unread, unread};

/// The largest name of a member. The names of members are kept until they are compared.
const MAX_NAME: usize = 4 << 10;

/// The largest number. Longer ones are not checked.
const MAX_SCALAR: usize = 256;

/// The maximum depth of a document, as for a document that is read as a whole.
const MAX_DEPTH: usize = 200;

/// Passes on an answer without the unwanted members of its data object.
pub(super) struct Members<'a> {
    wanted: &'a BTreeSet<String>,
    /// The depth of the data object: `data`, or `data.data` for KV version 2.
    target: usize,
    stack: Vec<Frame>,
    expected: Expected,
    token: Token,
    /// The name of the member, or the number or literal, that is being read.
    text: Buffer,
    /// While a member is dropped, the depth at which it ends.
    dropped_at: Option<usize>,
    kept: Buffer,
}

/// An open object or array.
#[derive(Clone, Copy)]
struct Frame {
    is_object: bool,
    /// True for the document, and for `data` of an object on the path.
    is_on_path: bool,
    is_empty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    None,
    /// `escape` is 0 outside of an escape, 1 after the backslash, and up to 5 before the last digit of `\uXXXX`.
    String {
        is_name: bool,
        escape: u8,
    },
    Scalar,
}

impl<'a> Members<'a> {
    pub(super) fn new(wanted: &'a BTreeSet<String>, version: Version) -> Self {
        Self {
            wanted,
            target: match version {
                Version::V1 => 1,
                Version::V2 => 2,
            },
            stack: Vec::new(),
            expected: Expected::Value,
            token: Token::None,
            text: Buffer::default(),
            dropped_at: None,
            kept: Buffer::default(),
        }
    }

    /// The number of bytes that are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.as_bytes().len()
    }

    /// Reads more of the answer.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Unread> {
        bytes.iter().try_for_each(|&byte| self.byte(byte))
    }

    /// Returns the reduced answer.
    pub(super) fn finish(mut self) -> Result<Value, Unread> {
        if self.token == Token::Scalar {
            self.end_scalar()?;
        }
        if self.expected == Expected::Nothing && self.token == Token::None {
            Ok(self.kept.finish())
        } else {
            Err(invalid())
        }
    }

    fn byte(&mut self, byte: u8) -> Result<(), Unread> {
        match self.token {
            Token::String { is_name, escape } => self.string(byte, is_name, escape),
            Token::Scalar if !is_delimiter(byte) => self.scalar(byte),
            Token::Scalar => {
                self.end_scalar()?;
                self.structure(byte)
            }
            Token::None => self.structure(byte),
        }
    }

    fn string(&mut self, byte: u8, is_name: bool, escape: u8) -> Result<(), Unread> {
        let escape = match (escape, byte) {
            (0, b'"') => {
                self.token = Token::None;
                return if is_name {
                    self.expected = Expected::Colon;
                    Ok(())
                } else {
                    self.keep(byte)?;
                    self.end_value();
                    Ok(())
                };
            }
            (0, b'\\') => 1,
            (0, 0..=0x1f) => return Err(invalid()),
            (1, b'u') => 2,
            (0, _) | (1, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 0,
            (2..=4, digit) if digit.is_ascii_hexdigit() => escape + 1,
            (5, digit) if digit.is_ascii_hexdigit() => 0,
            _ => return Err(invalid()),
        };
        self.token = Token::String { is_name, escape };
        if is_name {
            self.collect(byte, MAX_NAME)
        } else {
            self.keep(byte)
        }
    }

    fn scalar(&mut self, byte: u8) -> Result<(), Unread> {
        self.collect(byte, MAX_SCALAR)?;
        self.keep(byte)
    }

    fn end_scalar(&mut self) -> Result<(), Unread> {
        self.token = Token::None;
        let text = std::mem::take(&mut self.text);
        gojson::parse(text.as_bytes()).map_err(|_| invalid())?;
        self.end_value();
        Ok(())
    }

    fn structure(&mut self, byte: u8) -> Result<(), Unread> {
        match (byte, self.expected) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => Ok(()),
            (b'{' | b'[', Expected::Value | Expected::ValueOrEnd) => self.open(byte == b'{'),
            (b'"', Expected::Value | Expected::ValueOrEnd) => {
                self.token = Token::String {
                    is_name: false,
                    escape: 0,
                };
                self.keep(byte)
            }
            (b'"', Expected::Name | Expected::NameOrEnd) => {
                self.text = Buffer::default();
                self.token = Token::String {
                    is_name: true,
                    escape: 0,
                };
                Ok(())
            }
            (b':', Expected::Colon) => self.end_name(),
            (b',', Expected::CommaOrEnd) => {
                let in_object = self.stack.last().is_some_and(|frame| frame.is_object);
                if in_object {
                    self.expected = Expected::Name;
                    Ok(())
                } else {
                    self.expected = Expected::Value;
                    self.keep(byte)
                }
            }
            (b'}', Expected::NameOrEnd | Expected::CommaOrEnd) => self.close(true),
            (b']', Expected::ValueOrEnd | Expected::CommaOrEnd) => self.close(false),
            (_, Expected::Value | Expected::ValueOrEnd) => {
                self.text = Buffer::default();
                self.token = Token::Scalar;
                self.scalar(byte)
            }
            _ => Err(invalid()),
        }
    }

    fn open(&mut self, is_object: bool) -> Result<(), Unread> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(invalid());
        }
        let is_on_path = match self.stack.last() {
            None => true,
            Some(parent) => {
                parent.is_object
                    && parent.is_on_path
                    && self.stack.len() <= self.target
                    && gojson::key_text(self.text.as_bytes()) == "data"
            }
        };
        self.stack.push(Frame {
            is_object,
            is_on_path,
            is_empty: true,
        });
        self.expected = if is_object {
            Expected::NameOrEnd
        } else {
            Expected::ValueOrEnd
        };
        self.keep(if is_object { b'{' } else { b'[' })
    }

    fn close(&mut self, is_object: bool) -> Result<(), Unread> {
        match self.stack.pop() {
            Some(frame) if frame.is_object == is_object => {
                self.keep(if is_object { b'}' } else { b']' })?;
                self.end_value();
                Ok(())
            }
            _ => Err(invalid()),
        }
    }

    /// Decides if the member is kept.
    fn end_name(&mut self) -> Result<(), Unread> {
        self.expected = Expected::Value;
        let depth = self.stack.len();
        let Some(frame) = self.stack.last_mut() else {
            return Err(invalid());
        };
        if self.dropped_at.is_some() {
            return Ok(());
        }
        let is_data = frame.is_on_path && depth == self.target + 1;
        if is_data
            && !self
                .wanted
                .contains(&gojson::key_text(self.text.as_bytes()))
        {
            self.dropped_at = Some(depth);
            return Ok(());
        }
        let is_first = std::mem::replace(&mut frame.is_empty, false);
        if !is_first {
            self.kept.push(b",");
        }
        self.kept.push(b"\"");
        self.kept.push(self.text.as_bytes());
        self.kept.push(b"\":");
        Ok(())
    }

    fn end_value(&mut self) {
        if self.dropped_at == Some(self.stack.len()) {
            self.dropped_at = None;
        }
        self.expected = if self.stack.is_empty() {
            Expected::Nothing
        } else {
            Expected::CommaOrEnd
        };
    }

    fn collect(&mut self, byte: u8, most: usize) -> Result<(), Unread> {
        self.text.push(&[byte]);
        if self.text.as_bytes().len() > most {
            return Err(Unread::value_too_large());
        }
        Ok(())
    }

    fn keep(&mut self, byte: u8) -> Result<(), Unread> {
        if self.dropped_at.is_none() {
            self.kept.push(&[byte]);
            if self.len() > MAX_VALUE {
                return Err(Unread::value_too_large());
            }
        }
        Ok(())
    }
}

const fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b'[' | b']' | b'{' | b'}' | b'"'
    )
}

fn invalid() -> Unread {
    Unread::secret(unread::UNREADABLE, "this is not an answer of Vault")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn reduced(
        text: &str,
        wanted: &[&str],
        version: Version,
        chunk: usize,
    ) -> Result<String, String> {
        let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let mut members = Members::new(&wanted, version);
        for part in text.as_bytes().chunks(chunk) {
            members
                .push(part)
                .map_err(|unread| unread.why.reason.to_owned())?;
        }
        let kept = members
            .finish()
            .map_err(|unread| unread.why.reason.to_owned())?;
        Ok(String::from_utf8(kept.expose().to_vec()).unwrap())
    }

    #[test]
    fn unwanted_members_are_dropped() {
        let text = r#"{"id": "x", "data": {"data": {"a": [1, {"data": 2}], "b" : "v\"w", "c": {"d": 1.50}, "\u0062": null}, "metadata": {"a": 1}}}"#;
        let expected =
            r#"{"id":"x","data":{"data":{"b":"v\"w","\u0062":null},"metadata":{"a":1}}}"#;
        for chunk in [1, 3, 1000] {
            let reduced = reduced(text, &["b", "x"], Version::V2, chunk);
            assert_eq!(reduced.as_deref(), Ok(expected));
        }
        let text = r#"{"data": {"data": {"a": 1}, "b": 2}}"#;
        assert_eq!(
            reduced(text, &["data"], Version::V1, 5).as_deref(),
            Ok(r#"{"data":{"data":{"a":1}}}"#)
        );
    }

    #[test]
    fn only_the_dropped_part_may_be_large() {
        let large = "x".repeat(2 << 20);
        let text = json!({"data": {"data": {"a": large, "b": "v"}}}).to_string();
        assert_eq!(
            reduced(&text, &["b"], Version::V2, 4096).as_deref(),
            Ok(r#"{"data":{"data":{"b":"v"}}}"#)
        );
        let kept = reduced(&text, &["a"], Version::V2, 4096);
        assert_eq!(kept, Err(unread::VALUE_TOO_LARGE.to_owned()));
    }

    /// The operator fails on such an answer, so it must not be judged by the wanted part.
    #[test]
    fn a_dropped_part_that_is_not_json_is_an_error() {
        for bad in [
            "[1,]",
            "01",
            "tru",
            r#""\x""#,
            r#""a"#,
            "{]",
            r#"{"a" 1}"#,
            "{,}",
            "1 2",
            "\"\n\"",
            "",
        ] {
            let text = format!(r#"{{"data": {{"data": {{"a": {bad}, "b": 1}}}}}}"#);
            let reduced = reduced(&text, &["b"], Version::V2, 7);
            assert_eq!(reduced, Err(unread::UNREADABLE.to_owned()), "{bad}");
        }
        for bad in ["", "{", r#"{"data": 1"#, "{} {}", "<html>"] {
            assert!(reduced(bad, &["b"], Version::V2, 7).is_err(), "{bad}");
        }
    }

    fn document() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            ".{0,6}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 30, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map("a|b|data|\"|.{0,3}", inner, 0..4)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn wanted_members_are_unchanged(inner in document(), other in document(), chunk in 1_usize..20, pretty in any::<bool>()) {
            let text = json!({"data": {"data": inner, "metadata": other}, "auth": other});
            let text = if pretty { format!("{text:#}") } else { text.to_string() };
            let reduced = reduced(&text, &["a", "data"], Version::V2, chunk).unwrap();
            let mut expected: Json = serde_json::from_str(&text).unwrap();
            if let Some(data) = expected["data"]["data"].as_object_mut() {
                data.retain(|name, _| name == "a" || name == "data");
            }
            prop_assert_eq!(serde_json::from_str::<Json>(&reduced).unwrap(), expected);
        }
    }
}
