//! One key and its value.

use secret::Value;

/// One key and its value, with the place in the repository.
pub struct Entry {
    pub key: String,
    pub value: Value,
    /// The file's path in the repository.
    pub file: String,
    /// Counted from 1, in the decrypted text if the file is encrypted.
    pub line: Option<usize>,
    /// False if the file is not a SOPS file, or if it holds this value in plain text.
    pub encrypted: bool,
}

impl Entry {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.value.expose()).unwrap_or_default()
    }
}
