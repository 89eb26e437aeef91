//! Marks: keyed digests that recognise an unchanged value without reading it, and the forms in which providers store them.
//!
//! A mark proves nothing by itself: it says which value eso-sync wrote. The value is unchanged only if the mark is also bound to the
//! version that is current. Without the key, no guess of a value can be tested against a mark, and equal values under different
//! names have different marks.

use std::{fmt, str::FromStr};

use eso_model::ProviderName;
use secret::{Buffer, RunKey};

use crate::target::{Format, RemoteKey, Wanted};

/// The separation of the digests that one key is used for.
const VALUE: &str = "publish/1";
const DOCUMENT: &str = "publish-document/1";
const REPLACED: &str = "publish-replaced/1";
const PROPERTY: &str = "publish-property/1";

/// The first 128 bits of an HMAC-SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u128);

/// Written as 32 hexadecimal digits.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text is not a mark of eso-sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a mark of eso-sync")]
pub struct NotAMark;

impl FromStr for Mark {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        hex(text, 32).map(Self).ok_or(NotAMark)
    }
}

/// Parses exactly this number of lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let good = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_hex = text.len() == digits && text.bytes().all(good);
    u128::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

/// The keyed digest of the name of a key in a document. Recognises the keys that eso-sync wrote without revealing their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PropertyTag(u32);

/// Written as eight hexadecimal digits.
impl fmt::Display for PropertyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for PropertyTag {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let bits = hex(text, 8).and_then(|bits| u32::try_from(bits).ok());
        bits.map(Self).ok_or(NotAMark)
    }
}

/// The key of all marks of one publisher. No `Debug`: with it, guesses of values can be tested.
pub struct MarkKey(RunKey);

impl MarkKey {
    /// Creates the key from random bytes, which are wiped.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(RunKey::from_bytes(bytes))
    }

    /// The mark of one secret: of its value, or of all values of a document, in any order.
    pub fn mark(&self, key: &RemoteKey, wanted: &[&Wanted]) -> Mark {
        let provider = ProviderName::from(&key.provider);
        let mut message = Message::default();
        match wanted {
            [one] if one.target.property.is_none() => {
                message.field(VALUE.as_bytes());
                message.field(provider.as_str().as_bytes());
                message.field(key.name.as_bytes());
                message.entry(one);
            }
            several => {
                message.field(DOCUMENT.as_bytes());
                message.field(provider.as_str().as_bytes());
                message.field(key.name.as_bytes());
                let mut sorted = several.to_vec();
                sorted.sort_by(|a, b| a.target.property.cmp(&b.target.property));
                for entry in sorted {
                    message.entry(entry);
                }
            }
        }
        Mark(self.digest(message))
    }

    /// The tag of a key in a document.
    pub fn property(&self, key: &RemoteKey, property: &str) -> PropertyTag {
        let mut message = Message::default();
        for field in [PROPERTY, &key.name, property] {
            message.field(field.as_bytes());
        }
        // The first 32 bits.
        PropertyTag(u32::try_from(self.digest(message) >> 96).unwrap_or_default())
    }

    /// The version ID of a version in AWS Secrets Manager with this mark that replaces a version; None for the first one.
    ///
    /// It depends on the replaced version: if a value returns after another one, its old version ID exists already, and a
    /// `PutSecretValue` with it would change nothing.
    pub fn version_id(&self, mark: Mark, replaced: Option<&str>) -> VersionId {
        let mut message = Message::default();
        message.field(REPLACED.as_bytes());
        message.field(replaced.unwrap_or_default().as_bytes());
        VersionId {
            mark,
            replaced: self.digest(message) >> 80,
        }
    }

    fn digest(&self, message: Message) -> u128 {
        let digest = self.0.fingerprint(message.0.finish().expose()).hex();
        digest
            .get(..32)
            .and_then(|half| u128::from_str_radix(half, 16).ok())
            .unwrap_or_default()
    }
}

/// Fields with a length before each, so that two lists of fields never have the same bytes.
#[derive(Default)]
struct Message(Buffer);

impl Message {
    fn field(&mut self, bytes: &[u8]) {
        // A length fits in 64 bits.
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.0.push(&length.to_be_bytes());
        self.0.push(bytes);
    }

    fn entry(&mut self, wanted: &Wanted) {
        let format: Format = wanted.format;
        // An absent property differs from an empty one.
        match &wanted.target.property {
            Some(property) => {
                self.field(b"property");
                self.field(property.as_bytes());
            }
            None => self.field(b"whole"),
        }
        self.field(format.into_str().as_bytes());
        self.field(wanted.value.expose());
    }
}

/// The start of a version ID of eso-sync in AWS Secrets Manager.
const VERSION_ID: &str = "es1";

/// A version ID of AWS Secrets Manager that contains a mark: `es1-<32 hex mark>-<12 hex of the replaced version>`. AWS accepts 32 to
/// 64 characters, and refuses to use one again for other data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionId {
    pub mark: Mark,
    /// 48 bits of the keyed digest of the replaced version ID.
    replaced: u128,
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION_ID}-{}-{:012x}", self.mark, self.replaced)
    }
}

impl FromStr for VersionId {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let parts: Vec<&str> = text.split('-').collect();
        let [VERSION_ID, mark, replaced] = *parts else {
            return Err(NotAMark);
        };
        Ok(Self {
            mark: mark.parse()?,
            replaced: hex(replaced, 12).ok_or(NotAMark)?,
        })
    }
}

/// A mark with the version that it belongs to, for providers that store it apart from the value: `<mark> <version>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub mark: Mark,
    pub version: String,
}

/// The start of a description of eso-sync in AWS Parameter Store.
const DESCRIPTION: &str = "eso-sync 1 ";

impl Bound {
    /// The mark, if it belongs to this version.
    pub fn of_version(&self, current: &str) -> Option<Mark> {
        (self.version == current).then_some(self.mark)
    }

    /// The form of several marks, newest first, as many as fit into less than `longest` bytes: `<mark>:<version> …`.
    pub fn list(all: impl IntoIterator<Item = Self>, longest: usize) -> String {
        let mut text = String::new();
        for bound in all {
            let one = format!("{}:{}", bound.mark, bound.version);
            if text.len() + one.len() >= longest {
                break;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&one);
        }
        text
    }

    /// Parses [`Bound::list`]. What is no mark is left out.
    pub fn of_list(text: &str) -> impl Iterator<Item = Self> {
        let all = text.split(' ');
        all.filter_map(|one| one.replacen(':', " ", 1).parse().ok())
    }

    /// The description of a parameter, which Parameter Store sets together with the value: `eso-sync 1 <mark> <version>`.
    pub fn description(&self) -> String {
        format!("{DESCRIPTION}{self}")
    }

    /// Parses the description of a parameter.
    pub fn of_description(text: &str) -> Option<Self> {
        text.strip_prefix(DESCRIPTION)?.parse().ok()
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mark, self.version)
    }
}

impl FromStr for Bound {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let (mark, version) = text.split_once(' ').ok_or(NotAMark)?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if version.is_empty() || version.len() > 128 || !version.bytes().all(good) {
            return Err(NotAMark);
        }
        Ok(Self {
            mark: mark.parse()?,
            version: version.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eso_model::ProviderKind;
    use proptest::prelude::*;
    use secret::Value;
    use serde_json::json;

    use super::*;
    use crate::target::{Origin, Store, Target};

    fn wanted(name: &str, property: Option<&str>, value: &str) -> Wanted {
        let settings = json!({"service": "SecretsManager", "region": "eu-west-1"});
        let store = Store::new("aws", ProviderKind::SecretsManager, &settings).unwrap();
        Wanted {
            target: Target {
                store: Arc::new(store),
                name: name.to_owned(),
                property: property.map(str::to_owned),
            },
            value: Value::from(value),
            format: Format::Secret,
            origin: Origin {
                item: "item".to_owned(),
                file: "file".to_owned(),
                key: "KEY".to_owned(),
                revision: None,
            },
        }
    }

    fn key() -> MarkKey {
        MarkKey::from_bytes([7; 32])
    }

    fn mark(key: &MarkKey, wanted: &[Wanted]) -> Mark {
        let all: Vec<&Wanted> = wanted.iter().collect();
        key.mark(&wanted[0].target.remote_key(), &all)
    }

    #[test]
    fn mark_depends_on_key_name_property_format_and_value() {
        let base = || wanted("db", None, "hunter2");
        let of = |one: Wanted| mark(&key(), &[one]);
        assert_eq!(of(base()), of(base()));
        let other_key = MarkKey::from_bytes([8; 32]);
        assert_ne!(mark(&other_key, &[base()]), of(base()));
        for other in [
            wanted("db2", None, "hunter2"),
            wanted("db", Some("a"), "hunter2"),
            wanted("db", Some(""), "hunter2"),
            wanted("db", None, "hunter3"),
            Wanted {
                format: Format::Plain,
                ..base()
            },
        ] {
            assert_ne!(of(other), of(base()));
        }
    }

    #[test]
    fn parameter_store_and_secrets_manager_have_different_marks() {
        let of = |provider| {
            let one = wanted("db", None, "x");
            let name = RemoteKey {
                provider,
                ..one.target.remote_key()
            };
            key().mark(&name, &[&one])
        };
        assert_ne!(
            of(ProviderKind::SecretsManager),
            of(ProviderKind::ParameterStore)
        );
    }

    #[test]
    fn mark_of_a_document_ignores_the_order_of_its_keys() {
        let (a, b) = (
            || wanted("db", Some("a"), "1"),
            || wanted("db", Some("b"), "2"),
        );
        assert_eq!(mark(&key(), &[a(), b()]), mark(&key(), &[b(), a()]));
        assert_ne!(mark(&key(), &[a(), b()]), mark(&key(), &[a()]));
    }

    /// Values A, B, then A again: the version ID of the first A must not return.
    #[test]
    fn version_id_differs_when_a_value_returns() {
        let (a, b) = (
            mark(&key(), &[wanted("db", None, "a")]),
            mark(&key(), &[wanted("db", None, "b")]),
        );
        let first = key().version_id(a, None).to_string();
        let second = key().version_id(b, Some(&first)).to_string();
        let third = key().version_id(a, Some(&second)).to_string();
        assert_ne!(first, third);
        // The same write again has the same version ID, so that it changes nothing.
        assert_eq!(key().version_id(b, Some(&first)).to_string(), second);
        assert_eq!(third.len(), 49);
        assert_eq!(third.parse::<VersionId>().map(|id| id.mark), Ok(a));
    }

    #[test]
    fn version_id_of_somebody_else_is_no_mark() {
        let ours = key().version_id(Mark(1), None).to_string();
        for foreign in [
            "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE",
            "",
            "es1",
            &ours.to_uppercase(),
            &format!("{ours}0"),
            &format!("{ours}-x"),
            &ours.replace("es1", "es2"),
        ] {
            assert_eq!(foreign.parse::<VersionId>(), Err(NotAMark), "{foreign}");
        }
    }

    #[test]
    fn bound_mark_is_read_back_from_each_form() {
        let bound = Bound {
            mark: Mark(0xabc),
            version: "3".to_owned(),
        };
        assert_eq!(bound.to_string().parse(), Ok(bound.clone()));
        assert_eq!(
            Bound::of_description(&bound.description()),
            Some(bound.clone())
        );
        assert_eq!(bound.of_version("3"), Some(Mark(0xabc)));
        assert_eq!(bound.of_version("4"), None);
        for foreign in [
            "",
            "the database",
            "eso-sync 1 x 3",
            "eso-sync 2 00000000000000000000000000000abc 3",
        ] {
            assert_eq!(Bound::of_description(foreign), None, "{foreign}");
        }
    }

    proptest! {
        /// Moving bytes from one field to the next changes the mark.
        #[test]
        fn fields_are_separated(name in "[a-z]{1,4}", property in "[a-z]{1,4}", value in "[a-z]{1,4}", cut in 1_usize..3) {
            let whole = mark(&key(), &[wanted(&name, Some(&property), &value)]);
            let text = format!("{property}{value}");
            let cut = (property.len() + cut) % text.len();
            prop_assume!(cut != property.len() && cut > 0);
            let moved = mark(&key(), &[wanted(&name, Some(&text[..cut]), &text[cut..])]);
            prop_assert_ne!(whole, moved);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,80}") {
            drop((text.parse::<VersionId>(), text.parse::<Bound>(), text.parse::<Mark>(), Bound::of_description(&text)));
        }
    }
}
