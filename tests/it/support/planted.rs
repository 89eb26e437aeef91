//! A search for planted secret values, in all forms in which they could leak.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::Digest as _;

/// Parts of a value with this length must not appear.
const PART: usize = 6;

/// Planted values, which must appear nowhere.
pub(crate) struct Planted {
    /// A description, and what is searched for.
    forms: Vec<(String, String)>,
    /// True for the first three bytes of each form. Few places of a text pass, so that megabytes are searched in no time.
    starts: Vec<bool>,
}

impl Planted {
    /// The values must be unlike any other text.
    pub(crate) fn new<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let forms: Vec<_> = values.into_iter().flat_map(forms).collect();
        let mut starts = vec![false; 1 << 24];
        for (_, form) in &forms {
            starts[start(form.as_bytes())] = true;
        }
        Self { forms, starts }
    }

    /// Describes the first value that a text contains.
    pub(crate) fn found(&self, text: &str) -> Option<&(String, String)> {
        let text = text.as_bytes();
        let places = text.windows(3).enumerate();
        places
            .filter(|(_, three)| self.starts[start(three)])
            .find_map(|(at, _)| {
                let is_here =
                    |(_, form): &&(String, String)| text[at..].starts_with(form.as_bytes());
                self.forms.iter().find(is_here)
            })
    }

    #[track_caller]
    pub(crate) fn not_in(&self, text: &str, shown: &str) {
        if let Some((what, form)) = self.found(text) {
            let lines = text.lines().filter(|line| line.contains(form));
            let lines: Vec<&str> = lines.take(2).collect();
            panic!("{shown} contains {what}: {form}\n{}", lines.join("\n"));
        }
    }
}

/// The first three bytes as a number.
fn start(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String");
        text
    })
}

/// All encodings in which a value could appear, with a description.
fn forms(value: &str) -> Vec<(String, String)> {
    let bytes = value.as_bytes();
    let mut forms: Vec<(String, String)> = Vec::new();
    for part in bytes.windows(PART) {
        let part = std::str::from_utf8(part).expect("ASCII");
        forms.push((format!("a part of {value}"), part.to_owned()));
        forms.push((format!("a part of {value} in hex"), hex(part.as_bytes())));
        forms.push((
            format!("a part of {value} in hex"),
            hex(part.as_bytes()).to_uppercase(),
        ));
    }
    // Base64 of the value at each offset in a longer text, without the characters that depend on the neighbours.
    for shift in 0..3 {
        let shifted = [&vec![0; shift], bytes].concat();
        let encoded = STANDARD.encode(&shifted[..shifted.len() / 3 * 3]);
        let own = &encoded[if shift == 0 { 0 } else { 4 }..];
        for part in own.as_bytes().windows(8) {
            let part = std::str::from_utf8(part).expect("ASCII");
            forms.push((format!("a part of {value} in base64"), part.to_owned()));
        }
    }
    for digest in [
        hex(&sha2::Sha256::digest(bytes)),
        hex(&sha1::Sha1::digest(bytes)),
        hex(&md5::Md5::digest(bytes)),
        hex(&sha3::Sha3_224::digest(bytes)),
    ] {
        forms.push((format!("a digest of {value}"), digest[..16].to_owned()));
    }
    forms
}

#[test]
fn search_finds_planted_values() {
    let (one, other) = ("zQ7xKv9Wp2LmbFrq", "uI9oPk7Jb2MneDtq");
    let planted = Planted::new([one, other]);
    for leak in [
        one.to_owned(),
        format!("…{}…", &other[3..9]),
        STANDARD.encode(format!("x{other}")),
        STANDARD.encode(format!("{{\"a\":\"{one}\"}}")),
        hex(&one.as_bytes()[4..12]),
        format!("sha256:{}", hex(&sha2::Sha256::digest(other))),
    ] {
        assert!(planted.found(&leak).is_some(), "{leak}");
    }
    assert!(planted.found("ExternalSecret stale k changed").is_none());
}
