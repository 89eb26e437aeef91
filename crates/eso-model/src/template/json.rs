//! JSON as Go's encoding/json reads and writes it: numbers are float64.

use std::collections::BTreeMap;

use super::{
    Failure,
    value::{Heap, MAX_DEPTH, Of, Text, Value},
};

mod write;

pub(super) use write::{Style, write};

/// Reads a document; `None` if it is not JSON.
pub(super) fn read(heap: &mut Heap, text: &[u8]) -> Result<Option<Value>, Failure> {
    heap.afford(text.len())?;
    let mut reader = Reader {
        heap,
        text,
        at: 0,
        depth: 0,
    };
    let value = reader.document();
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Trouble::Malformed) => Ok(None),
        Err(Trouble::Failure(failure)) => Err(failure),
    }
}

enum Trouble {
    Malformed,
    Failure(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

struct Reader<'a> {
    heap: &'a mut Heap,
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Value, Trouble> {
        let value = self.value()?;
        self.spaces();
        if self.at < self.text.len() {
            return Err(Trouble::Malformed);
        }
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, text: &str) -> Result<(), Trouble> {
        if text.bytes().all(|byte| self.take(byte)) {
            Ok(())
        } else {
            Err(Trouble::Malformed)
        }
    }

    fn value(&mut self) -> Result<Value, Trouble> {
        self.heap.step(1)?;
        self.spaces();
        match self.peek() {
            Some(b'{') => self.deeper(Self::object),
            Some(b'[') => self.deeper(Self::array),
            Some(b'"') => Ok(Value::Text(Text::from(self.string()?))),
            Some(b't') => self.expect("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Value::Bool(false)),
            Some(b'n') => self.expect("null").map(|()| Value::Nil),
            _ => self.number(),
        }
    }

    fn deeper(&mut self, read: fn(&mut Self) -> Result<Value, Trouble>) -> Result<Value, Trouble> {
        self.depth += 1;
        if self.depth >= MAX_DEPTH {
            return Err(Failure::unverifiable("deep nesting").into());
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, Trouble> {
        let mut entries = BTreeMap::new();
        self.spaces();
        if !self.take(b'}') {
            loop {
                self.spaces();
                let key = self.string()?;
                self.spaces();
                self.expect(":")?;
                let value = self.value()?;
                entries.insert(key, value);
                self.spaces();
                if self.take(b'}') {
                    break;
                }
                self.expect(",")?;
            }
        }
        Ok(self.heap.map(Of::Any, entries)?)
    }

    fn array(&mut self) -> Result<Value, Trouble> {
        let mut items = Vec::new();
        self.spaces();
        if !self.take(b']') {
            loop {
                items.push(self.value()?);
                self.spaces();
                if self.take(b']') {
                    break;
                }
                self.expect(",")?;
            }
        }
        Ok(self.heap.list(Of::Any, items)?)
    }

    fn digits(&mut self) -> Result<(), Trouble> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Trouble::Malformed);
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Trouble> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let number: f64 = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Trouble::Malformed)?;
        if number.is_infinite() {
            return Err(Failure::unverifiable("a number's size").into());
        }
        Ok(Value::Float(number))
    }

    /// A string's bytes. What is not UTF-8 becomes U+FFFD, byte by byte.
    fn string(&mut self) -> Result<Vec<u8>, Trouble> {
        self.expect("\"")?;
        let mut bytes = Vec::new();
        let start = self.at;
        let mut plain = start;
        loop {
            match self.peek().ok_or(Trouble::Malformed)? {
                0..0x20 => return Err(Trouble::Malformed),
                b'"' => {
                    self.clean(plain, &mut bytes);
                    self.at += 1;
                    return Ok(bytes);
                }
                b'\\' => {
                    self.clean(plain, &mut bytes);
                    self.at += 1;
                    self.escape(&mut bytes)?;
                    plain = self.at;
                }
                _ => self.at += 1,
            }
        }
    }

    fn clean(&self, from: usize, bytes: &mut Vec<u8>) {
        let plain = self.text.get(from..self.at).unwrap_or_default();
        for chunk in plain.utf8_chunks() {
            bytes.extend_from_slice(chunk.valid().as_bytes());
            for _ in chunk.invalid() {
                bytes.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), Trouble> {
        let byte = self.peek().ok_or(Trouble::Malformed)?;
        self.at += 1;
        bytes.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.coded()?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Trouble::Malformed),
        });
        Ok(())
    }

    fn unit(&mut self) -> Result<u32, Trouble> {
        let text = self.text.get(self.at..self.at + 4);
        let text = text.ok_or(Trouble::Malformed)?;
        if !text.iter().all(u8::is_ascii_hexdigit) {
            return Err(Trouble::Malformed);
        }
        self.at += 4;
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or(Trouble::Malformed)
    }

    /// A coded character, in two halves if it has them; half a pair is U+FFFD.
    fn coded(&mut self) -> Result<char, Trouble> {
        let first = self.unit()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        let after = self.at;
        if (0xd800..0xdc00).contains(&first) && self.take(b'\\') && self.take(b'u') {
            let second = self.unit()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
        }
        self.at = after;
        Ok('\u{fffd}')
    }
}
