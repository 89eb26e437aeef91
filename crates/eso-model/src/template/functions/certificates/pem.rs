//! PEM like Go's `encoding/pem`. What its versions read differently is rejected.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::template::{
    Failure,
    functions::{encoding, unsupported},
};

/// The characters of a line of base64.
const LINE: usize = 64;

const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";
const DASHES: &str = "-----";

/// A part of a PEM text between `BEGIN` and `END`.
pub(super) struct Block<'a> {
    pub(super) kind: &'a str,
    headers: BTreeMap<&'a str, &'a str>,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// The blocks of a text, and what follows the last one.
pub(super) struct Decoded<'a> {
    pub(super) blocks: Vec<Block<'a>>,
    pub(super) rest: &'a str,
}

/// The error for text that versions of Go read differently.
fn ambiguous() -> Failure {
    unsupported("PEM that versions of the operator read differently")
}

/// Reads all blocks. Text between them is ignored.
pub(super) fn decode(text: &[u8]) -> Result<Decoded<'_>, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| ambiguous())?;
    let mut decoded = Decoded {
        blocks: Vec::new(),
        rest: text,
    };
    let mut rest = text;
    while !rest.is_empty() {
        let (line, next) = split(rest);
        rest = next;
        if line.starts_with("-----BEGIN ") {
            let (block, next) = block(line, rest)?;
            decoded.blocks.push(block);
            decoded.rest = next;
            rest = next;
        } else if line.contains(BEGIN) || line.contains(END) {
            return Err(ambiguous());
        }
    }
    Ok(decoded)
}

/// Returns a line without its end, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.strip_suffix('\r').unwrap_or(line);
    (line.trim_end_matches([' ', '\t']), rest)
}

/// Reads the block that begins with this line. Returns also what follows it.
fn block<'a>(line: &'a str, text: &'a str) -> Result<(Block<'a>, &'a str), Failure> {
    let kind = line.strip_prefix("-----BEGIN ");
    let kind = kind.and_then(|kind| kind.strip_suffix(DASHES));
    let kind = kind.filter(|kind| is_plain(kind) && !kind.is_empty() && !kind.contains(DASHES));
    let kind = kind.ok_or_else(ambiguous)?;
    let mut headers = BTreeMap::new();
    let mut rest = text;
    while let (line, next) = split(rest)
        && let Some((key, value)) = line.split_once(':')
    {
        if !is_plain(line) {
            return Err(ambiguous());
        }
        headers.insert(key.trim(), value.trim());
        rest = next;
    }
    let (body, rest) = rest.split_once("\n-----END ").ok_or_else(ambiguous)?;
    let (line, rest) = split(rest);
    if body.is_empty() || line.strip_suffix(DASHES) != Some(kind) {
        return Err(ambiguous());
    }
    let mut digits = Zeroizing::new(Vec::with_capacity(body.len()));
    digits.extend(body.bytes().filter(|byte| !matches!(byte, b' ' | b'\t')));
    let bytes = encoding::decode(&digits).map_err(|_| ambiguous())?;
    let block = Block {
        kind,
        headers,
        bytes: Zeroizing::new(bytes),
    };
    Ok((block, rest))
}

/// True if the text consists of spaces and visible ASCII characters.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic())
}

impl Block<'_> {
    /// The number of bytes that are written, at most.
    pub(super) fn written_size(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|(key, value)| key.len() + value.len() + 3)
            .sum();
        written_size(self.bytes.len()) + 2 * self.kind.len() + headers
    }

    /// Appends the block as Go writes it.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        begin(self.kind, to);
        let first = self.headers.get_key_value("Proc-Type");
        let others = self.headers.iter().filter(|(key, _)| **key != "Proc-Type");
        for (key, value) in first.into_iter().chain(others) {
            to.extend([key.as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        if !self.headers.is_empty() {
            to.push(b'\n');
        }
        end(self.kind, &self.bytes, to);
    }
}

/// Appends a block without headers.
pub(super) fn write(kind: &str, bytes: &[u8], to: &mut Vec<u8>) {
    begin(kind, to);
    end(kind, bytes, to);
}

/// The number of bytes of a block with so many bytes of content, at most.
pub(super) const fn written_size(bytes: usize) -> usize {
    bytes / 3 * 4 + bytes / 48 + 256
}

fn begin(kind: &str, to: &mut Vec<u8>) {
    for part in ["-----BEGIN ", kind, "-----\n"] {
        to.extend_from_slice(part.as_bytes());
    }
}

fn end(kind: &str, bytes: &[u8], to: &mut Vec<u8>) {
    for line in bytes.chunks(LINE / 4 * 3) {
        let mut digits = Zeroizing::new([0; LINE]);
        let length = STANDARD.encode_slice(line, &mut *digits).unwrap_or(0);
        to.extend(digits.iter().take(length));
        to.push(b'\n');
    }
    for part in ["-----END ", kind, "-----\n"] {
        to.extend_from_slice(part.as_bytes());
    }
}
