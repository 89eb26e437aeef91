//! The reasons for which a file or key is refused.

use std::fmt;

/// Why a file, a key or a value was refused. The words ([`Reason::word`]) are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Reason {
    // Size
    /// The file is larger than [`crate::MAX_FILE`].
    FileTooLarge,
    /// Maps and lists are nested deeper than [`crate::MAX_DEPTH`].
    TooDeep,
    /// The file has more than [`crate::MAX_NODES`] values, maps, lists and comments.
    TooManyValues,
    /// The keys of one path have more than [`crate::MAX_PATH`] bytes.
    PathTooLong,
    /// The file has more than [`crate::MAX_RECIPIENTS`] recipients.
    TooManyRecipients,
    // Syntax
    /// The file is not UTF-8.
    NotUtf8,
    NotYaml,
    NotJson,
    NotDotenv,
    /// The file is not INI, or uses a notation that this crate does not read.
    NotIni,
    /// A YAML alias or anchor. SOPS resolves them when it encrypts, so an encrypted file has none.
    YamlAlias,
    /// A YAML tag, for example `!!binary`.
    YamlTag,
    /// The YAML merge key `<<`.
    YamlMergeKey,
    /// A document is a list or a single value.
    NotAMap,
    /// A YAML key that is a number, a boolean or null.
    KeyNotText,
    /// A key occurs twice in the same map.
    DuplicateKey,
    /// An unencrypted value of which the type is not certain, or that SOPS does not support.
    UnsupportedValue,
    /// A binary file with other keys than `data`.
    NotBinary,
    // Metadata
    /// The file has no `sops` metadata: it is not encrypted.
    NoMetadata,
    /// A field of the `sops` metadata is missing or has an invalid value.
    InvalidMetadata,
    /// More than one of the fields that select the encrypted values, such as `encrypted_regex`.
    ConflictingRules,
    /// The regular expression of `encrypted_regex` or a similar field is invalid or too large.
    InvalidRule,
    NoRecipients,
    // Keys
    /// An identity is not an age identity or an armoured PGP private key.
    InvalidIdentity,
    /// An identity is protected with a passphrase.
    PassphraseProtected,
    /// An identity of a kind that this crate does not support: an SSH key or a plugin.
    UnsupportedIdentity,
    /// No identity and no answer of a key service opens the data key.
    NoIdentityFits,
    /// The file has only recipients that this crate does not support.
    UnsupportedRecipients,
    /// The opened data key has a wrong length.
    InvalidDataKey,
    // Values
    /// A value should be encrypted according to the file's rules, but is not.
    NotEncrypted,
    /// An encrypted value is truncated or malformed.
    MalformedValue,
    /// An encrypted value was changed, moved to another key, or encrypted with another data key.
    NotAuthentic,
    /// An encrypted value has an unknown type, or is a comment in the place of a value.
    UnknownType,
    /// The text of an encrypted value does not fit its type.
    InvalidValue,
    // MAC
    MacMissing,
    /// The MAC cannot be decrypted: it, `lastmodified` or the data key was replaced.
    MacUnreadable,
    /// The values of the file are not those that its MAC was computed for.
    MacMismatch,
    // Text
    /// The decrypted file has no text that equals the output of `sops decrypt`.
    NoExactText,
}

impl Reason {
    /// The stable word, for example `mac-mismatch`.
    pub const fn word(self) -> &'static str {
        self.into_str()
    }

    /// What is wrong, in a sentence without a full stop.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::FileTooLarge => "the file is too large",
            Self::TooDeep => "the file is nested too deeply",
            Self::TooManyValues => "the file has too many values",
            Self::PathTooLong => "the keys of this path are too long",
            Self::TooManyRecipients => "the file has too many recipients",
            Self::NotUtf8 => "the file is not UTF-8 text",
            Self::NotYaml => "the file is not valid YAML",
            Self::NotJson => "the file is not valid JSON",
            Self::NotDotenv => "a line is not a comment and has no `=`",
            Self::NotIni => "the file is not INI, or uses a notation that is not supported",
            Self::YamlAlias => "YAML anchors and aliases are not allowed",
            Self::YamlTag => "YAML tags are not allowed",
            Self::YamlMergeKey => "the YAML merge key `<<` is not allowed",
            Self::NotAMap => "a document must be a map",
            Self::KeyNotText => "a key must be text: put it in quotes",
            Self::DuplicateKey => "the key is set twice",
            Self::UnsupportedValue => "the unencrypted value has no certain type: put it in quotes",
            Self::NotBinary => "a binary file must have the key `data` and no other",
            Self::NoMetadata => "the file has no SOPS metadata, so it is not encrypted",
            Self::InvalidMetadata => "the SOPS metadata is incomplete or invalid",
            Self::ConflictingRules => {
                "the SOPS metadata has more than one rule for which values are encrypted"
            }
            Self::InvalidRule => "the regular expression of the SOPS metadata is invalid",
            Self::NoRecipients => "the SOPS metadata has no recipients",
            Self::InvalidIdentity => {
                "the key is not an age identity or an armoured PGP private key"
            }
            Self::PassphraseProtected => {
                "the private key is protected with a passphrase: provide one without"
            }
            Self::UnsupportedIdentity => "the private key is of a kind that is not supported",
            Self::NoIdentityFits => "none of the provided keys opens the file",
            Self::UnsupportedRecipients => {
                "the file is encrypted only for kinds of keys that are not supported"
            }
            Self::InvalidDataKey => "the opened data key has a wrong length",
            Self::NotEncrypted => {
                "the value should be encrypted by the rules of the file, but is not"
            }
            Self::MalformedValue => "the encrypted value is malformed or truncated",
            Self::NotAuthentic => {
                "the encrypted value was changed, moved, or encrypted with another data key"
            }
            Self::UnknownType => "the encrypted value has a type that is not allowed here",
            Self::InvalidValue => "the decrypted value does not fit its type",
            Self::MacMissing => "the file has no MAC",
            Self::MacUnreadable => "the MAC cannot be decrypted",
            Self::MacMismatch => {
                "the file was changed after it was encrypted: its values do not match the MAC"
            }
            Self::NoExactText => {
                "the decrypted file has no text that equals the output of `sops decrypt`"
            }
        }
    }
}

/// A refused file, key or value. It quotes nothing of the file except a path of keys, which is escaped and shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    /// The path of the value or of the metadata's field, for example `database.password`; empty if the whole file is meant.
    pub place: String,
}

impl Refused {
    pub(crate) fn at(reason: Reason, path: &[&str]) -> Self {
        Self {
            reason,
            place: shown(path),
        }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::at(reason, &[])
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{} ({})", self.reason.sentence(), self.reason.word())
    }
}

impl std::error::Error for Refused {}

/// The longest path that is shown, in characters.
const SHOWN: usize = 200;

/// Joins the keys with dots. Characters that could control a terminal or a log are escaped.
fn shown(path: &[&str]) -> String {
    let mut text = String::new();
    for (index, key) in path.iter().enumerate() {
        let dot = if index == 0 { "" } else { "." };
        for character in dot.chars().chain(key.chars()) {
            if text.chars().count() >= SHOWN {
                text.push('…');
                return text;
            }
            // Not only control characters: also marks that reverse or hide text.
            if character.is_ascii_graphic() || character == ' ' || character.is_alphanumeric() {
                text.push(character);
            } else {
                text.extend(character.escape_default());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;

    #[test]
    fn words_are_kebab_case_and_unique() {
        let mut words: Vec<&str> = Reason::iter().map(Reason::word).collect();
        for word in &words {
            assert!(
                word.chars()
                    .all(|c| c.is_ascii_lowercase() || "-8".contains(c)),
                "{word}"
            );
        }
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
    }

    #[test]
    fn place_is_escaped_and_short() {
        let long = "k".repeat(10_000);
        let refused = Refused::at(
            Reason::NotAuthentic,
            &["a\u{1b}[31m\n", "b\u{202e}c", &long],
        );
        assert!(
            refused.place.starts_with("a\\u{1b}[31m\\n.b\\u{202e}c.kkk"),
            "{}",
            refused.place
        );
        assert!(refused.place.chars().count() <= SHOWN + 10);
        assert!(refused.to_string().ends_with("(not-authentic)"));
    }
}
