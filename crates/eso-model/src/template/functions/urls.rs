//! URLs, with the rules of Go's net/url. Hosts other than plain names and IPv4 addresses are unverifiable, because their rules
//! depend on the operator's version.

use std::collections::BTreeMap;

use super::{
    Function,
    Parameter::{Map, Text},
    map, refused, take, text, unsupported,
};
use crate::template::{
    Failure,
    value::{Heap, Of, Value},
};

pub(super) const TABLE: &[Function] = &[
    Function::new("urlParse", &[Text], |heap, arguments| {
        let [value] = take(arguments)?;
        let value = text(&value)?.bytes();
        heap.consume_bytes(value.len().saturating_mul(4))?;
        let url = parse(value)?;
        let mut entries = BTreeMap::new();
        for (name, part) in url.parts() {
            entries.insert(name.as_bytes().to_vec(), heap.text(part)?);
        }
        heap.map(Of::Any, entries)
    }),
    Function::new("urlJoin", &[Map], join),
];

/// The parts of a URL, decoded.
#[derive(Default)]
struct Url {
    scheme: Vec<u8>,
    /// Escaped again.
    user: Vec<u8>,
    host: Vec<u8>,
    port: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    opaque: Vec<u8>,
    fragment: Vec<u8>,
}

impl Url {
    fn parts(self) -> [(&'static str, Vec<u8>); 8] {
        [
            ("scheme", self.scheme),
            ("userinfo", self.user),
            ("host", [&*self.host, &*self.port].concat()),
            ("hostname", self.host),
            ("path", self.path),
            ("query", self.query),
            ("opaque", self.opaque),
            ("fragment", self.fragment),
        ]
    }
}

fn cut(value: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let position = value.iter().position(|byte| *byte == at);
    let after = position.and_then(|at| value.get(at + 1..));
    let before = position.and_then(|at| value.get(..at)).unwrap_or(value);
    (before, after)
}

fn parse(value: &[u8]) -> Result<Url, Failure> {
    let (rest, fragment) = cut(value, b'#');
    if rest.iter().any(|byte| *byte < 0x20 || *byte == 0x7f) {
        return Err(refused());
    }
    let mut url = Url {
        fragment: unescape(fragment.unwrap_or_default())?,
        ..Url::default()
    };
    if rest == b"*" {
        url.path = rest.to_vec();
        return Ok(url);
    }
    let (scheme, rest) = scheme(rest)?;
    url.scheme = scheme.to_ascii_lowercase();
    let (rest, query) = cut(rest, b'?');
    url.query = query.unwrap_or_default().to_vec();
    if !rest.starts_with(b"/") {
        if !scheme.is_empty() {
            url.opaque = rest.to_vec();
            return Ok(url);
        }
        if cut(rest, b'/').0.contains(&b':') {
            return Err(refused());
        }
    }
    let has_authority = !scheme.is_empty() || !rest.starts_with(b"///");
    let path = match rest.strip_prefix(b"//").filter(|_| has_authority) {
        None => rest,
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'/');
            let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
            url.authority(authority)?;
            path
        }
    };
    url.path = unescape(path)?;
    Ok(url)
}

/// Splits off the scheme. It is empty for a URL without a scheme.
fn scheme(value: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err(refused()),
            b':' => {
                let (scheme, rest) = value.split_at(at);
                return Ok((scheme, rest.get(1..).unwrap_or_default()));
            }
            _ => break,
        }
    }
    Ok((&[], value))
}

impl Url {
    fn authority(&mut self, authority: &[u8]) -> Result<(), Failure> {
        let at = authority.iter().rposition(|byte| *byte == b'@');
        let host = match at {
            None => authority,
            Some(at) => {
                self.user = user(authority.get(..at).unwrap_or_default())?;
                authority.get(at + 1..).unwrap_or_default()
            }
        };
        let (name, port) = cut(host, b':');
        let known = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
        if !known || port.is_some_and(|port| port.contains(&b':')) {
            return Err(unsupported("a host of this form"));
        }
        if let Some(port) = port {
            if !port.iter().all(u8::is_ascii_digit) {
                return Err(refused());
            }
            self.port = [b":", port].concat();
        }
        self.host = name.to_vec();
        Ok(())
    }
}

/// Decodes user and password, and escapes them again.
fn user(value: &[u8]) -> Result<Vec<u8>, Failure> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte);
    if !value.iter().all(valid) {
        return Err(refused());
    }
    let (name, password) = cut(value, b':');
    let again = |value: &[u8]| {
        let value = unescape(value)?;
        Ok::<_, Failure>(escape(&value, |byte| b"$&+,;=".contains(&byte)))
    };
    let mut output = again(name)?;
    if let Some(password) = password {
        output.push(b':');
        output.extend(again(password)?);
    }
    Ok(output)
}

/// Decodes `%41`.
fn unescape(value: &[u8]) -> Result<Vec<u8>, Failure> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut output = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            output.push(*byte);
            continue;
        }
        let (high, low) = (digit(bytes.next()), digit(bytes.next()));
        let code = high.zip(low).map(|(high, low)| high << 4 | low);
        let code = code.and_then(|code| u8::try_from(code).ok());
        output.push(code.ok_or_else(refused)?);
    }
    Ok(output)
}

fn escape(value: &[u8], kept: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut output = Vec::with_capacity(value.len());
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) || kept(*byte) {
            output.push(*byte);
        } else {
            output.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    output
}

/// Builds a URL from the parts that `urlParse` returns.
fn join(heap: &mut Heap, arguments: Vec<Value>) -> Result<Value, Failure> {
    let [from] = take(arguments)?;
    let entries = &heap.get(map(&from)?)?.entries;
    let part = |name: &str| match entries.get(name.as_bytes()) {
        None => Ok(Vec::new()),
        Some(Value::Text(text)) => Ok(text.bytes().to_vec()),
        Some(_) => Err(refused()),
    };
    let (scheme, host, path) = (part("scheme")?, part("host")?, part("path")?);
    let (opaque, info) = (part("opaque")?, part("userinfo")?);
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(byte);
    if !host.iter().all(known) {
        return Err(unsupported("a host of this form"));
    }
    let mut output = Vec::new();
    if !scheme.is_empty() {
        output.extend_from_slice(&scheme);
        output.push(b':');
    }
    if opaque.is_empty() {
        if !host.is_empty() || !info.is_empty() || (!scheme.is_empty() && !path.is_empty()) {
            output.extend_from_slice(b"//");
        }
        if !info.is_empty() {
            if info.contains(&b'/') || info.contains(&b'?') || info.contains(&b'#') {
                return Err(unsupported("a user of this form"));
            }
            output.extend(user(&info)?);
            output.push(b'@');
        }
        output.extend_from_slice(&host);
        push_path(&mut output, &path, !host.is_empty());
    } else {
        output.extend(opaque);
    }
    for (sign, part) in [
        (b'?', part("query")?),
        (
            b'#',
            escape(&part("fragment")?, |byte| b"!$&()*+,/:;=?@".contains(&byte)),
        ),
    ] {
        if !part.is_empty() {
            output.push(sign);
            output.extend(part);
        }
    }
    heap.consume_bytes(output.len().saturating_mul(2))?;
    heap.text(output)
}

fn push_path(output: &mut Vec<u8>, path: &[u8], follows_host: bool) {
    if path == b"*" {
        output.push(b'*');
        return;
    }
    if !path.is_empty() && !path.starts_with(b"/") && follows_host {
        output.push(b'/');
    }
    // Without this, the first segment of a relative path would look like a scheme.
    if output.is_empty() && cut(path, b'/').0.contains(&b':') {
        output.extend_from_slice(b"./");
    }
    output.extend(escape(path, |byte| b"$&+,/:;=@".contains(&byte)));
}
