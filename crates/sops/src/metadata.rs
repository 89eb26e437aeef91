//! The `sops` metadata of a file.

mod fields;
mod flat;
mod recipients;

use self::fields::Fields;
pub use self::recipients::{MasterKey, Recipient};
use crate::{
    Format,
    refusal::{Reason, Refused},
    rules::{Rule, regex},
    source::{Document, Member, Stored},
};

/// The most recipients of a file.
pub const MAX_RECIPIENTS: usize = 256;

const KEY: &str = "sops";
const PREFIX: &str = "sops_";

pub(crate) struct Metadata {
    pub(crate) recipients: Vec<Recipient>,
    /// The number of key groups, and how many of them are needed.
    pub(crate) groups: usize,
    pub(crate) threshold: usize,
    /// Encrypted; empty if it is missing.
    pub(crate) mac: String,
    /// As Go formats it, because the MAC is authenticated with it.
    pub(crate) last_modified: String,
    pub(crate) rule: Rule,
    pub(crate) mac_only_encrypted: bool,
}

impl Metadata {
    /// Takes the metadata out of the documents. Only the first document's is used.
    pub(crate) fn take(format: Format, documents: &mut [Document]) -> Result<Self, Refused> {
        let mut found = None;
        for document in documents.iter_mut().rev() {
            found = take_from(format, document)?;
        }
        Self::parse(&found.ok_or(Reason::NoMetadata)?)
    }

    fn parse(members: &[Member]) -> Result<Self, Refused> {
        let fields = Fields::new(members, &[KEY]);
        if !is_version(fields.required("version")?) {
            return Err(fields.refuse("version"));
        }
        let (recipients, groups) = recipients::parse(&fields)?;
        Ok(Self {
            threshold: threshold(&fields, groups)?,
            recipients,
            groups,
            mac: fields.text("mac")?.unwrap_or_default().to_owned(),
            last_modified: last_modified(&fields)?,
            rule: rule(&fields)?,
            mac_only_encrypted: fields.bool("mac_only_encrypted")?,
        })
    }
}

/// Removes the metadata from a document.
fn take_from(format: Format, document: &mut Document) -> Result<Option<Document>, Refused> {
    let is_metadata = |member: &mut Member| match member {
        Member::Entry(key, _) if format == Format::Dotenv => key.starts_with(PREFIX),
        Member::Entry(key, _) => key == KEY,
        Member::Comment(_) => false,
    };
    let taken: Vec<Member> = document.extract_if(.., is_metadata).collect();
    if taken.is_empty() {
        return Ok(None);
    }
    if format == Format::Dotenv {
        return flat::unflatten(taken, PREFIX).map(Some);
    }
    match taken.into_iter().next() {
        Some(Member::Entry(_, Stored::Map(members))) if format == Format::Ini => {
            flat::unflatten(members, "").map(Some)
        }
        Some(Member::Entry(_, Stored::Map(members))) => Ok(Some(members)),
        _ => Err(Refused::at(Reason::InvalidMetadata, &[KEY])),
    }
}

/// True for a version that sops accepts: a semantic version, or 1 with anything.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let is_number = |part: &str| {
        let is_canonical = part == "0" || !part.starts_with('0');
        is_canonical && part.parse::<u64>().is_ok() && !part.starts_with('+')
    };
    text.starts_with("1.") || (core.split('.').count() == 3 && core.split('.').all(is_number))
}

fn threshold(fields: &Fields<'_>, groups: usize) -> Result<usize, Refused> {
    // One group has the whole data key, and SOPS ignores the threshold.
    let Some(text) = fields.text("shamir_threshold")?.filter(|_| groups > 1) else {
        return Ok(groups);
    };
    match text.parse() {
        Ok(threshold) if (2..=groups).contains(&threshold) => Ok(threshold),
        _ => Err(fields.refuse("shamir_threshold")),
    }
}

fn last_modified(fields: &Fields<'_>) -> Result<String, Refused> {
    let text = fields.required("lastmodified")?;
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    match shape.as_str() {
        "0000-00-00T00:00:00Z" => Ok(text.to_owned()),
        "0000-00-00T00:00:00+00:00" | "0000-00-00T00:00:00-00:00" => {
            // Go writes an offset of zero as Z.
            let utc = ["+00:00", "-00:00"]
                .iter()
                .find_map(|zero| text.strip_suffix(zero));
            Ok(utc.map_or_else(|| text.to_owned(), |time| format!("{time}Z")))
        }
        _ => Err(fields.refuse("lastmodified")),
    }
}

fn rule(fields: &Fields<'_>) -> Result<Rule, Refused> {
    let mut found = None;
    for name in [
        "unencrypted_suffix",
        "encrypted_suffix",
        "unencrypted_regex",
        "encrypted_regex",
        "unencrypted_comment_regex",
        "encrypted_comment_regex",
    ] {
        let Some(text) = fields.text(name)?.filter(|text| !text.is_empty()) else {
            continue;
        };
        if found.is_some() {
            return Err(Refused::at(Reason::ConflictingRules, &[KEY]));
        }
        let regex = || regex(text).map_err(|reason| Refused::at(reason, &[KEY, name]));
        found = Some(match name {
            "unencrypted_suffix" => Rule::UnencryptedSuffix(text.to_owned()),
            "encrypted_suffix" => Rule::EncryptedSuffix(text.to_owned()),
            "unencrypted_regex" => Rule::UnencryptedRegex(regex()?),
            "encrypted_regex" => Rule::EncryptedRegex(regex()?),
            "unencrypted_comment_regex" => Rule::UnencryptedCommentRegex(regex()?),
            _ => Rule::EncryptedCommentRegex(regex()?),
        });
    }
    Ok(found.unwrap_or_else(|| Rule::UnencryptedSuffix("_unencrypted".to_owned())))
}
