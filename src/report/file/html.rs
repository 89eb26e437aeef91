//! HTML: one file that loads nothing. The data is JSON in the page; a script makes the page of it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use crate::report::sheet::Sheet;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

pub(super) fn html(sheet: &Sheet) -> Result<String, String> {
    let data = serde_json::to_string(sheet).map_err(|error| error.to_string())?;
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    let mut rest = PAGE;
    for (name, text) in [
        ("{script-hash}", &*hash(SCRIPT)),
        ("{style-hash}", &*hash(STYLE)),
        ("{style}", STYLE),
        ("{data}", &*inert(&data)),
        ("{script}", SCRIPT),
    ] {
        let (before, after) = rest.split_once(name).ok_or("the page lacks a part")?;
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// The only script and style that the browser accepts, as the Content Security Policy names them.
fn hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    format!("sha256-{}", BASE64_STANDARD.encode(digest.as_slice()))
}

/// JSON in which no text can end the element, or be an element.
fn inert(json: &str) -> String {
    let mut inert = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => inert.push_str("\\u003c"),
            '>' => inert.push_str("\\u003e"),
            '&' => inert.push_str("\\u0026"),
            '\u{2028}' => inert.push_str("\\u2028"),
            '\u{2029}' => inert.push_str("\\u2029"),
            c => inert.push(c),
        }
    }
    inert
}
