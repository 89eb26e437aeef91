//! What is wrong with a file.

/// The stable word for a kind of [`Fault`].
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::EnumIter,
    strum::EnumMessage,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Reason {
    /// The archive is not a `.tar.gz` file, or is cut off.
    InvalidArchive,
    /// The archive's digest differs from the expected one.
    DigestMismatch,
    /// A path is absolute, contains `..`, or is otherwise invalid.
    InvalidPath,
    /// A path leaves the repository.
    OutsideRepository,
    /// The archive holds a link, device or another special file.
    NotARegularFile,
    /// The archive holds a path twice.
    DuplicatePath,
    /// A size limit is exceeded: of the repository, of a file, of a line, or of the data in a YAML file.
    TooLarge,
    /// There is no such file or folder in the repository.
    NotFound,
    /// A file that is needed is a symbolic link, or below one.
    SymbolicLink,
    /// A file that is needed is in a submodule.
    Submodule,
    /// A file that is needed is stored with Git LFS.
    LfsPointer,
    /// The folder or file cannot be read.
    Unreadable,
    /// The text is not UTF-8.
    NotUtf8,
    /// The text does not follow the format.
    InvalidSyntax,
    /// The dialects of the format read this line differently, and the policy names none.
    DialectsDiffer,
    /// The same key twice.
    DuplicateKey,
    /// The key is empty.
    EmptyKey,
    /// The file's format cannot be told from its name.
    UnknownFormat,
    /// The value is null.
    NullValue,
    /// The file's content is not a map with keys.
    NotAMap,
    /// YAML that can be read in more than one way: a tag, a merge key, a key that is not a scalar.
    UnsupportedYaml,
    /// A value below `data` of a Secret is not base64.
    InvalidBase64,
    /// A value of a Secret is not text: a number, a boolean or a date without quotes.
    NotText,
    /// kustomize itself fails on this.
    KustomizeInvalid,
    /// The subset of kustomize does not include this field, operation or remote resource.
    KustomizeUnsupported,
    /// A field of a manifest is missing, or has a wrong value.
    InvalidField,
    /// There is no such field in a manifest.
    UnknownField,
    /// A warning: the field or object of a manifest has no effect.
    WithoutEffect,
    /// The manifest asks for a store of configuration that is not supported.
    ConfigStoreUnsupported,
    /// The SOPS file cannot be decrypted. The word is that of [`crate::Undecrypted`].
    NotDecrypted(&'static str),
    /// The value is encrypted: a SOPS value, or an armoured age or PGP message.
    LooksEncrypted,
    /// The key belongs to the metadata of SOPS.
    SopsMetadata,
    /// The value is empty.
    EmptyValue,
    /// The files of the item contain no keys.
    EmptySource,
}

impl Reason {
    /// Returns the word, for example `dialects-differ`.
    pub fn word(self) -> &'static str {
        if let Self::NotDecrypted(word) = self {
            word
        } else {
            self.into()
        }
    }
}

/// What is wrong with a file, without any of its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file's path in the repository. Empty if the repository as a whole is concerned.
    pub file: String,
    /// Counted from 1.
    pub line: Option<usize>,
    pub reason: Reason,
    /// The key, if its text looks like a name: other text may be part of a value.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(file: &str, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            reason,
            key: None,
            message: message.into(),
        }
    }

    pub(crate) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub(crate) fn of(mut self, key: &str) -> Self {
        self.key = looks_like_a_name(key).then(|| key.to_owned());
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        if !self.file.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// The longest key that is shown.
const LONGEST_NAME: usize = 128;

/// True if the text can be shown as a key. A line of a value that continues on several lines may look like `dGV4dA==`.
pub fn looks_like_a_name(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-[]".contains(c);
    key.len() <= LONGEST_NAME && key.chars().all(allowed) && !key.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_shows_only_keys_that_look_like_names() {
        let fault = |key: &str| {
            Fault::new("a.env", Reason::DuplicateKey, "twice")
                .at(3)
                .of(key)
        };
        assert_eq!(
            fault("db.pass[0]").to_string(),
            "a.env:3: db.pass[0]: twice"
        );
        for key in ["MIIE+x/y", "two words", "", "\u{1b}[31m", &"A".repeat(129)] {
            assert_eq!(fault(key).to_string(), "a.env:3: twice");
        }
    }

    #[test]
    fn reasons_are_kebab_case_words() {
        assert_eq!(Reason::DialectsDiffer.word(), "dialects-differ");
        assert_eq!(Reason::NotUtf8.word(), "not-utf8");
        assert_eq!(Reason::NotDecrypted("mac-mismatch").word(), "mac-mismatch");
    }
}
