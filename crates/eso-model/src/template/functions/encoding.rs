//! Encodings and digests.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{
    Function,
    Parameter::{Any, Text},
    refused, take, text,
};
use crate::template::{
    Failure,
    json::{self, Style},
    value::{Heap, Value},
};

const COMPACT: Style = Style {
    html: true,
    pretty: false,
};
const PRETTY: Style = Style {
    html: true,
    pretty: true,
};
const RAW: Style = Style {
    html: false,
    pretty: false,
};

pub(super) const TABLE: &[Function] = &[
    Function::new("b64enc", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        heap.text(STANDARD.encode(text(&value)?.bytes()).into_bytes())
    }),
    Function::new("b64dec", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        // The operator returns the error's text as the value.
        let decoded = decode(text(&value)?.bytes())
            .unwrap_or_else(|at| format!("illegal base64 data at input byte {at}").into_bytes());
        heap.text(decoded)
    }),
    Function::new("sha256sum", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let digest = Sha256::digest(text(&value)?.bytes());
        heap.text(hex(&digest))
    }),
    Function::new("sha1sum", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        heap.text(hex(&Sha1::digest(text(&value)?.bytes())))
    }),
    Function::new("adler32sum", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let (low, high) = text(&value)?
            .bytes()
            .iter()
            .fold((1_u32, 0_u32), |(low, high), byte| {
                let low = (low + u32::from(*byte)) % 65521;
                (low, (high + low) % 65521)
            });
        heap.text(((high << 16) | low).to_string().into_bytes())
    }),
    Function::new("fromJson", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        Ok(json::read(heap, text(&value)?.bytes())?.unwrap_or(Value::Nil))
    }),
    Function::new("mustFromJson", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        json::read(heap, text(&value)?.bytes())?.ok_or_else(refused)
    }),
    Function::new("toJson", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let written = json::write(heap, &value, COMPACT)?;
        heap.text(written.unwrap_or_default())
    }),
    Function::new("toPrettyJson", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let written = json::write(heap, &value, PRETTY)?;
        heap.text(written.unwrap_or_default())
    }),
    Function::new("mustToJson", &[Any], |heap, arguments| {
        must_write(heap, arguments, COMPACT)
    }),
    Function::new("mustToPrettyJson", &[Any], |heap, arguments| {
        must_write(heap, arguments, PRETTY)
    }),
    Function::new("toRawJson", &[Any], |heap, arguments| {
        must_write(heap, arguments, RAW)
    }),
    Function::new("mustToRawJson", &[Any], |heap, arguments| {
        must_write(heap, arguments, RAW)
    }),
];

/// Formats bytes in lowercase hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |value: u8| match value {
        0..10 => b'0' + value,
        value => b'a' + value - 10,
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn must_write(heap: &mut Heap, arguments: Vec<Value>, style: Style) -> Result<Value, Failure> {
    let [value] = take(arguments)?;
    let written = json::write(heap, &value, style)?.ok_or_else(refused)?;
    heap.text(written)
}

fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Decodes like Go: line breaks are allowed anywhere, padding is required, unused bits are ignored. The error is the
/// offset that Go reports.
fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut at = 0;
    loop {
        let mut digits = [0; 4];
        let mut count = 0;
        for slot in &mut digits {
            while matches!(text.get(at), Some(b'\r' | b'\n')) {
                at += 1;
            }
            match text.get(at) {
                None if count == 0 => return Ok(decoded),
                None => return Err(at - count),
                Some(byte) => match digit(*byte) {
                    Some(digit) => *slot = digit,
                    None if *byte == b'=' && count >= 2 => {
                        padding(text, at, count)?;
                        push(&mut decoded, digits, count);
                        return Ok(decoded);
                    }
                    None => return Err(at),
                },
            }
            at += 1;
            count += 1;
        }
        push(&mut decoded, digits, count);
    }
}

/// Checks the padding at this offset. Nothing may follow it.
fn padding(text: &[u8], mut at: usize, count: usize) -> Result<(), usize> {
    let skip = |mut at: usize| {
        while matches!(text.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        at
    };
    at += 1;
    if count == 2 {
        at = skip(at);
        match text.get(at) {
            None => return Err(text.len()),
            Some(b'=') => at += 1,
            Some(_) => return Err(at - 1),
        }
    }
    at = skip(at);
    if at < text.len() {
        return Err(at);
    }
    Ok(())
}

fn push(decoded: &mut Vec<u8>, digits: [u32; 4], count: usize) {
    let bits = digits.iter().fold(0, |bits, digit| bits << 6 | digit);
    let [_, bytes @ ..] = bits.to_be_bytes();
    decoded.extend(bytes.into_iter().take(count.saturating_sub(1)));
}
