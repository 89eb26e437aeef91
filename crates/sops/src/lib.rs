//! A reader of [SOPS](https://getsops.io) files.
//!
//! It parses a file ([`File::parse`]), opens its data key ([`File::data_key`]), and decrypts its values ([`File::decrypt`]). The MAC
//! is required: a file without a MAC, or with a wrong one, is refused, and nothing of it is returned.
//!
//! There is no I/O: age and PGP private keys are given as bytes ([`Identities`]). For key services (AWS KMS, GCP KMS, Azure Key Vault,
//! Vault transit) the crate says what must be decrypted ([`File::recipients`]), and takes the result ([`Answer`]).
//!
//! ```
//! # fn read(text: &[u8], age_key: &[u8]) -> Result<(), sops::Refused> {
//! use sops::{File, Format, Identities, Protection};
//!
//! let file = File::parse(Format::Yaml, text)?;
//! let mut identities = Identities::default();
//! identities.add_age(age_key)?;
//! let key = file.data_key(&identities, &[])?;
//! let decrypted = file.decrypt(&key)?;
//! for document in &decrypted.documents {
//!     for entry in sops::entries(document) {
//!         // Anybody can add empty values, and rename unencrypted ones, without breaking the MAC.
//!         assert_eq!(entry.scalar.protection, Protection::Encrypted);
//!         let value: &secret::Value = &entry.scalar.value;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Decrypted values have no `Debug`, `Display` or `Serialize`, and are wiped when dropped. Errors have a stable word
//! ([`Reason::word`]), and quote nothing of the file except a path of keys, which is escaped and shortened.

mod cipher;
mod decrypt;
mod keys;
mod mac;
mod metadata;
mod refusal;
mod rules;
mod source;
mod text;
mod tree;

use std::path::Path;

use secret::Value;
use source::Document;

pub use crate::{
    keys::{Answer, DataKey, Identities},
    metadata::{MAX_RECIPIENTS, MasterKey, Recipient},
    refusal::{Reason, Refused},
    source::{MAX_DEPTH, MAX_FILE, MAX_NODES, MAX_PATH},
    tree::{Comment, Element, Entry, Kind, Member, Node, Protection, Scalar, Step, entries},
};

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Yaml,
    Json,
    Dotenv,
    Ini,
    /// One encrypted value, in JSON.
    Binary,
}

impl Format {
    /// The format that SOPS chooses for a file of this name.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            Some("env") => Self::Dotenv,
            Some("ini") => Self::Ini,
            _ => Self::Binary,
        }
    }
}

/// An encrypted file.
pub struct File {
    format: Format,
    documents: Vec<Document>,
    metadata: metadata::Metadata,
}

impl File {
    /// Parses a file. Refuses one without SOPS metadata.
    pub fn parse(format: Format, text: &[u8]) -> Result<Self, Refused> {
        let mut documents = source::parse(format, text)?;
        let metadata = metadata::Metadata::take(format, &mut documents)?;
        if format == Format::Binary && !documents.iter().all(is_binary) {
            return Err(Reason::NotBinary.into());
        }
        Ok(Self {
            format,
            documents,
            metadata,
        })
    }

    pub fn recipients(&self) -> &[Recipient] {
        &self.metadata.recipients
    }

    /// Returns the path of each value, and what protects it, as far as this is seen without the data key: an encrypted value may
    /// be damaged.
    pub fn protections(&self) -> Vec<(Vec<Step<'_>>, Protection)> {
        let documents = self.documents.iter();
        let scalars = documents.flat_map(|document| tree::scalars(document));
        let protection = |plain: &source::Plain| match plain.text.as_str() {
            "" => Protection::Empty,
            text if cipher::looks_encrypted(text) => Protection::Encrypted,
            _ => Protection::Unencrypted,
        };
        scalars
            .map(|(path, plain)| (path, protection(plain)))
            .collect()
    }

    /// Opens the data key with identities and with answers of key services. Identities need no network, so try them alone first, and
    /// ask key services only if the result is [`Reason::NoIdentityFits`].
    pub fn data_key(
        &self,
        identities: &Identities,
        answers: &[Answer],
    ) -> Result<DataKey, Refused> {
        keys::data_key(&self.metadata, identities, answers)
    }

    /// Decrypts all values and verifies the MAC.
    pub fn decrypt(&self, key: &DataKey) -> Result<Decrypted, Refused> {
        Ok(Decrypted {
            format: self.format,
            documents: decrypt::decrypt(&self.documents, &self.metadata, key)?,
        })
    }
}

fn is_binary(document: &Document) -> bool {
    matches!(document.as_slice(), [Member::Entry(key, Node::Scalar(_))] if key == "data")
}

/// A decrypted file.
pub struct Decrypted {
    pub format: Format,
    /// The members of each document's map. Only YAML can have several documents.
    pub documents: Vec<Vec<Member>>,
}

impl Decrypted {
    /// Returns the file as `sops decrypt` writes it, byte by byte. Refuses YAML and the few values of other formats for which this is
    /// not certain ([`Reason::NoExactText`]).
    pub fn text(&self) -> Result<Value, Refused> {
        text::text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if the type does not implement the trait: otherwise the call to `is_absent` is ambiguous.
    macro_rules! lacks {
        ($trait:path: $($type:ty),+) => {
            $(const _: fn() = || {
                trait Absent<Which> {
                    fn is_absent() {}
                }
                struct Present;
                impl<T: ?Sized> Absent<()> for T {}
                impl<T: ?Sized + $trait> Absent<Present> for T {}
                let _ = <$type as Absent<_>>::is_absent;
            };)+
        };
    }

    lacks!(std::fmt::Debug: Decrypted, Node, Member, Element, Scalar, Comment, DataKey, Identities, Answer);
    lacks!(std::fmt::Display: Decrypted, Node, Scalar, Comment, DataKey, Identities, Answer);
    lacks!(serde::Serialize: Decrypted, Node, Scalar, Comment, DataKey, Identities, Answer);
    lacks!(Clone: Decrypted, Node, Scalar, Comment, DataKey, Identities, Answer);
}

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
