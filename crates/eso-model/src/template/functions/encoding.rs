//! Encodings and digests.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use super::{
    Function,
    Parameter::{Any, ConstantText, Text},
    refused, take, text, unsupported,
};
use crate::template::{
    Failure,
    json::{self, Style},
    print,
    value::{Heap, Value},
    yaml,
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
    })
    .with_work_per_byte(4),
    Function::new("sha512sum", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let digest = Sha512::digest(text(&value)?.bytes());
        heap.text(hex(&digest))
    })
    .with_work_per_byte(4),
    Function::new("b32enc", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let encoded = base32(text(&value)?.bytes());
        heap.text(encoded)
    }),
    Function::new("b32dec", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        // The operator returns the error's text as the value, but the offset in it depends on its version.
        let decoded = from_base32(text(&value)?.bytes())
            .ok_or_else(|| unsupported("text that is not valid base32"))?;
        heap.text(decoded)
    }),
    Function::new("hexdec", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let decoded = from_hex(text(&value)?.bytes())?;
        heap.text(decoded)
    }),
    Function::new("htpasswd", &[Text, Text], htpasswd).with_rest(ConstantText),
    Function::new("sha1sum", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        heap.text(hex(&Sha1::digest(text(&value)?.bytes())))
    })
    .with_work_per_byte(4),
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
    })
    .with_work_per_byte(4),
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
    Function::new("fromYaml", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        yaml::read(heap, text(&value)?.bytes())
    }),
    Function::new("toYaml", &[Any], |heap, arguments| {
        let [value] = take(arguments)?;
        let written = yaml::write(heap, &value)?;
        heap.text(written)
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

/// Returns an entry of an htpasswd file. Only the algorithm `sha` has no random salt; operators before v2.3 know no
/// algorithm and use bcrypt.
fn htpasswd(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [user, password, algorithm @ ..] = arguments.as_slice() else {
        return Err(refused());
    };
    let user = text(user)?.bytes();
    match algorithm {
        [algorithm] if user.contains(&b':') => {
            text(algorithm)?;
            heap.text([b"invalid username: ", user].concat())
        }
        [algorithm] if text(algorithm)?.bytes() == b"sha" => {
            let digest = STANDARD.encode(Sha1::digest(text(password)?.bytes()));
            heap.text([user, b":{SHA}", digest.as_bytes()].concat())
        }
        [] | [_] => Err(unsupported("bcrypt, whose salt is random")),
        _ => Err(refused()),
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut group = [0; 8];
        for (slot, byte) in group.iter_mut().skip(3).zip(chunk) {
            *slot = *byte;
        }
        let bits = u64::from_be_bytes(group);
        let used = (chunk.len() * 8).div_ceil(5);
        for place in 0..8 {
            let digit = usize::try_from(bits >> (35 - 5 * place) & 31).unwrap_or_default();
            let character = BASE32.get(digit).copied().unwrap_or(b'=');
            output.push(if place < used { character } else { b'=' });
        }
    }
    output
}

/// Decodes base32 with its padding. Line breaks are ignored.
fn from_base32(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let digits = text.iter().take_while(|byte| **byte != b'=').count();
    let padding = text.get(digits..)?;
    let fits = matches!(padding.len(), 0 | 1 | 3 | 4 | 6);
    if !fits || !text.len().is_multiple_of(8) || padding.iter().any(|byte| *byte != b'=') {
        return None;
    }
    let mut output = Vec::with_capacity(text.len() / 8 * 5);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.get(..digits)? {
        let digit = BASE32.iter().position(|digit| digit == byte)?;
        bits = bits << 5 | u32::try_from(digit).ok()?;
        count += 5;
        if count >= 8 {
            count -= 8;
            output.push(u8::try_from(bits >> count & 255).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    Some(output)
}

/// Decodes hexadecimal text. For other text, the operator returns the error's text as the value.
fn from_hex(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if let Some(byte) = text.iter().copied().find(|byte| digit(*byte).is_none()) {
        let character = char::from(byte);
        let shown = if print::printable(character)? {
            format!(" '{character}'")
        } else {
            String::new()
        };
        let error = format!("encoding/hex: invalid byte: U+{byte:04X}{shown}");
        return Ok(error.into_bytes());
    }
    if !text.len().is_multiple_of(2) {
        return Ok(b"encoding/hex: odd length hex string".to_vec());
    }
    let bytes = text.chunks(2).map(|pair| {
        let value = pair
            .iter()
            .fold(0, |value, byte| value << 4 | digit(*byte).unwrap_or(0));
        u8::try_from(value).unwrap_or(0)
    });
    Ok(bytes.collect())
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
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
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
