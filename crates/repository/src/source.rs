//! Files as the readers see them: found in the tree, and decrypted.

use std::collections::BTreeSet;

use secret::Value;

use crate::{
    entry::Entry,
    fault::{Fault, Reason},
    tree::Tree,
};

/// As the reader of SOPS files calls it.
const NO_EXACT_TEXT: &str = "no-exact-text";

/// What the decryption of a file gives.
pub enum Decrypted {
    /// The file is not encrypted by SOPS.
    NotSops,
    Sops {
        /// The text that `sops decrypt` prints, in the file's own format.
        text: Value,
        /// False if only the data of the text is certain: `sops decrypt` may write it in another notation.
        is_exact: bool,
        /// The keys of values that the file holds in plain text, flattened like the keys of a YAML file: `a.b`, `a[0]`.
        unencrypted: BTreeSet<String>,
    },
}

/// Why a SOPS file cannot be decrypted.
pub struct Undecrypted {
    /// A stable word.
    pub reason: &'static str,
    /// What is wrong, and what to do, without content of the file.
    pub message: String,
}

/// Decrypts a file, given its path and content.
pub type Decrypt<'a> = dyn Fn(&str, &[u8]) -> Result<Decrypted, Undecrypted> + 'a;

/// The files to read, and how to decrypt them.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub tree: &'a Tree,
    pub decrypt: &'a Decrypt<'a>,
}

impl Source<'_> {
    /// Returns the file's bytes, exactly as `sops decrypt` writes them.
    pub(crate) fn open(&self, path: &str) -> Result<Opened, Fault> {
        self.data(path)?.exact()
    }

    /// Returns the file, decrypted, for readers of its data. See [`Decrypted::Sops::is_exact`].
    pub(crate) fn data(&self, path: &str) -> Result<Opened, Fault> {
        let content = self.tree.get(path)?;
        match (self.decrypt)(path, content.expose()) {
            Ok(Decrypted::NotSops) => Ok(Opened {
                file: path.to_owned(),
                content: content.duplicate(),
                is_sops: false,
                is_exact: true,
                unencrypted: BTreeSet::new(),
            }),
            Ok(Decrypted::Sops {
                text,
                is_exact,
                unencrypted,
            }) => Ok(Opened {
                file: path.to_owned(),
                content: text,
                is_sops: true,
                is_exact,
                unencrypted,
            }),
            Err(Undecrypted { reason, message }) => {
                Err(Fault::new(path, Reason::NotDecrypted(reason), message))
            }
        }
    }

    /// Returns the file's text, exactly as `sops decrypt` writes it.
    pub(crate) fn text(&self, path: &str) -> Result<Text, Fault> {
        self.open(path)?.into_text()
    }

    /// Returns the file's text, in some notation of YAML if it is an encrypted YAML file.
    pub(crate) fn yaml(&self, path: &str) -> Result<Text, Fault> {
        self.data(path)?.into_text()
    }
}

/// A decrypted file.
pub(crate) struct Opened {
    pub(crate) file: String,
    pub(crate) content: Value,
    pub(crate) is_sops: bool,
    pub(crate) is_exact: bool,
    unencrypted: BTreeSet<String>,
}

/// The fault for an encrypted YAML file that is needed as a whole.
pub(crate) fn no_exact_text(file: &str) -> Fault {
    let message = "is an encrypted YAML file that is used as a whole, and only the real sops knows its notation: use --sops-program, or \
                   encrypt the file as binary (`sops encrypt --input-type binary`)";
    Fault::new(file, Reason::NotDecrypted(NO_EXACT_TEXT), message)
}

impl Opened {
    fn exact(self) -> Result<Self, Fault> {
        if self.is_exact {
            Ok(self)
        } else {
            Err(no_exact_text(&self.file))
        }
    }

    pub(crate) fn into_text(self) -> Result<Text, Fault> {
        if std::str::from_utf8(self.content.expose()).is_err() {
            return Err(Fault::new(&self.file, Reason::NotUtf8, "is not UTF-8 text"));
        }
        Ok(Text(self))
    }

    /// True if nothing in the file is in plain text.
    pub(crate) fn is_all_encrypted(&self) -> bool {
        self.is_sops && self.unencrypted.is_empty()
    }
}

/// A decrypted file that is UTF-8.
pub(crate) struct Text(Opened);

impl std::ops::Deref for Text {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.0
    }
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.content.expose()).unwrap_or_default()
    }

    pub(crate) fn fault(&self, reason: Reason, message: impl Into<String>) -> Fault {
        Fault::new(&self.file, reason, message)
    }

    /// True if the file holds the value of this key encrypted.
    pub(crate) fn is_encrypted(&self, key: &str) -> bool {
        self.is_sops && !self.0.unencrypted.contains(key)
    }

    pub(crate) fn entry(&self, key: &str, value: Value, line: usize) -> Entry {
        Entry {
            key: key.to_owned(),
            value,
            file: self.file.clone(),
            line: Some(line),
            encrypted: self.is_encrypted(key),
        }
    }

    /// Takes content that is not from a repository.
    pub(crate) fn of(file: &str, content: Value) -> Result<Self, Fault> {
        let opened = Opened {
            file: file.to_owned(),
            content,
            is_sops: false,
            is_exact: true,
            unencrypted: BTreeSet::new(),
        };
        opened.into_text()
    }

    /// Returns a part of this file as a file of its own.
    pub(crate) fn inline(&self, part: &str) -> Self {
        Self(Opened {
            file: self.file.clone(),
            content: Value::from(part),
            is_sops: self.is_sops,
            is_exact: true,
            unencrypted: self.unencrypted.clone(),
        })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(content: &[u8], is_sops: bool) -> Self {
        Self(Opened {
            file: "file".to_owned(),
            content: Value::from(content),
            is_sops,
            is_exact: true,
            unencrypted: BTreeSet::new(),
        })
    }
}
