//! Dotenv as SOPS reads it: everything after the first `=` is the value, quotes and blanks included.

use super::{
    Document, Member, Plain, Stored,
    limits::{Keys, Limits},
};
use crate::refusal::{Reason, Refused};

pub(super) fn parse(text: &str) -> Result<Document, Refused> {
    let mut limits = Limits::default();
    let mut keys = Keys::default();
    let mut members = Vec::new();
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        limits.count()?;
        if let Some(comment) = line.strip_prefix('#') {
            members.push(Member::Comment(comment.to_owned()));
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            // The line is not quoted: it may be a value with a line break.
            return Err(Reason::NotDotenv.into());
        };
        limits.push(key)?;
        keys.add(key, &limits)?;
        limits.pop();
        let value = Plain::text(value.replace("\\n", "\n"));
        members.push(Member::Entry(key.to_owned(), Stored::Scalar(value)));
    }
    Ok(members)
}
