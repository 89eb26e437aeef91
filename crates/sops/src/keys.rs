//! The data key of a file, and the private keys that open it.

#[cfg(feature = "age")]
mod age;
#[cfg(feature = "pgp")]
mod pgp;
mod shamir;

use secret::Value;
use zeroize::Zeroizing;

use crate::{
    metadata::{MasterKey, Metadata, Recipient},
    refusal::{Reason, Refused},
};

/// The largest encrypted data key of an age or PGP recipient, in bytes.
#[cfg(any(feature = "age", feature = "pgp"))]
const MAX_ENCRYPTED: usize = 64 << 10;
/// The largest decrypted content of a recipient: the data key, or a part of it with one byte more.
#[cfg(any(feature = "age", feature = "pgp"))]
const MAX_PART: usize = 33;

/// The key that the values of one file are encrypted with. It has no `Debug`, and is wiped when dropped.
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    fn new(bytes: &[u8]) -> Result<Self, Refused> {
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return Err(Reason::InvalidDataKey.into());
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a key service decrypted for a recipient.
pub struct Answer {
    /// The position in [`crate::File::recipients`].
    pub recipient: usize,
    pub decrypted: Value,
}

/// Private keys. They have no `Debug`, and are wiped when dropped.
#[derive(Default)]
pub struct Identities {
    #[cfg(feature = "age")]
    age: Vec<age::Identity>,
    #[cfg(feature = "pgp")]
    pgp: Vec<pgp::Identity>,
}

impl Identities {
    /// Adds the age identities of a file as `age-keygen` writes it: one `AGE-SECRET-KEY-1…` per line, and comments.
    #[cfg(feature = "age")]
    pub fn add_age(&mut self, text: &[u8]) -> Result<(), Refused> {
        self.age.extend(age::parse(text)?);
        Ok(())
    }

    /// Adds armoured PGP private keys without a passphrase.
    #[cfg(feature = "pgp")]
    pub fn add_pgp(&mut self, text: &[u8]) -> Result<(), Refused> {
        self.pgp.extend(pgp::parse(text)?);
        Ok(())
    }

    /// Returns what the recipient's key encrypts, or None if no identity fits.
    fn open(&self, recipient: &Recipient) -> Option<Value> {
        match &recipient.key {
            #[cfg(feature = "age")]
            MasterKey::Age { encrypted, .. } => age::open(encrypted, &self.age),
            #[cfg(feature = "pgp")]
            MasterKey::Pgp { encrypted, .. } => pgp::open(encrypted, &self.pgp),
            _ => None,
        }
    }
}

/// Opens the data key.
pub(crate) fn data_key(
    metadata: &Metadata,
    identities: &Identities,
    answers: &[Answer],
) -> Result<DataKey, Refused> {
    let mut parts = Vec::new();
    for group in 0..metadata.groups {
        if parts.len() < metadata.threshold {
            parts.extend(part(metadata, group, identities, answers));
        }
    }
    if parts.len() < metadata.threshold {
        let supported = metadata
            .recipients
            .iter()
            .any(|recipient| is_supported(&recipient.key));
        return Err(if supported {
            Reason::NoIdentityFits.into()
        } else {
            Reason::UnsupportedRecipients.into()
        });
    }
    match parts.as_slice() {
        [key] if metadata.groups == 1 => DataKey::new(key.expose()),
        parts => DataKey::new(shamir::combine(parts)?.expose()),
    }
}

/// Opens the part of the data key that a group encrypts.
fn part(
    metadata: &Metadata,
    group: usize,
    identities: &Identities,
    answers: &[Answer],
) -> Option<Value> {
    let recipients = metadata.recipients.iter().enumerate();
    let mut group = recipients.filter(|(_, recipient)| recipient.group == group);
    group.find_map(|(index, recipient)| {
        let answer = answers.iter().find(|answer| answer.recipient == index);
        answer
            .map(|answer| answer.decrypted.duplicate())
            .or_else(|| identities.open(recipient))
    })
}

const fn is_supported(key: &MasterKey) -> bool {
    match key {
        MasterKey::Age { .. } => cfg!(feature = "age"),
        MasterKey::Pgp { .. } => cfg!(feature = "pgp"),
        MasterKey::AwsKms { .. }
        | MasterKey::GcpKms { .. }
        | MasterKey::AzureKeyVault { .. }
        | MasterKey::VaultTransit { .. } => true,
        MasterKey::HuaweiKms { .. } => false,
    }
}

/// Reads the decrypted content of a recipient. Returns None if it is longer than any part of a data key.
#[cfg(any(feature = "age", feature = "pgp"))]
fn read(reader: impl std::io::Read) -> Option<Value> {
    use std::io::Read as _;

    let limit = u64::try_from(MAX_PART).unwrap_or(u64::MAX) + 1;
    // With the capacity from the start, so that the bytes are never moved.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PART + 1));
    reader.take(limit).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= MAX_PART).then(|| Value::new(std::mem::take(&mut bytes)))
}
