//! Data keys that are encrypted with age.

use ::age::{Decryptor, armor::ArmoredReader, x25519};
use secret::Value;

use super::{MAX_ENCRYPTED, read};
use crate::refusal::{Reason, Refused};

pub(super) type Identity = x25519::Identity;

/// Parses an identity file. Lines are not quoted in errors.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Identity>, Refused> {
    let text = std::str::from_utf8(text).map_err(|_| Reason::InvalidIdentity)?;
    if text.contains("BEGIN AGE ENCRYPTED FILE") {
        return Err(Reason::PassphraseProtected.into());
    }
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut identities = Vec::new();
    for line in lines {
        identities.push(line.parse().map_err(|_| unknown(line))?);
    }
    if identities.is_empty() {
        return Err(Reason::InvalidIdentity.into());
    }
    Ok(identities)
}

fn unknown(line: &str) -> Reason {
    let kinds = [
        "AGE-PLUGIN-",
        "AGE-SECRET-KEY-PQ-",
        "-----BEGIN OPENSSH",
        "-----BEGIN RSA",
    ];
    if kinds.iter().any(|kind| line.starts_with(kind)) {
        Reason::UnsupportedIdentity
    } else {
        Reason::InvalidIdentity
    }
}

pub(super) fn open(encrypted: &str, identities: &[Identity]) -> Option<Value> {
    if encrypted.len() > MAX_ENCRYPTED || identities.is_empty() {
        return None;
    }
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(encrypted.as_bytes())).ok()?;
    let identities = identities
        .iter()
        .map(|identity| identity as &dyn ::age::Identity);
    read(decryptor.decrypt(identities).ok()?)
}
