//! The message authentication code: SHA-512 of all values in order, encrypted with the data key.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    cipher::Cipher,
    metadata::Metadata,
    refusal::{Reason, Refused},
};

/// The start of the MAC of files with `mac_only_encrypted`, so that it differs from the MAC of other files: SHA-256 of "sops".
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Collects the values of a file in their order.
pub(crate) struct Mac {
    hash: Sha512,
    only_encrypted: bool,
}

impl Mac {
    pub(crate) fn new(only_encrypted: bool) -> Self {
        let mut hash = Sha512::new();
        if only_encrypted {
            hash.update(ONLY_ENCRYPTED);
        }
        Self {
            hash,
            only_encrypted,
        }
    }

    pub(crate) fn add(&mut self, value: &[u8], encrypted: bool) {
        if encrypted || !self.only_encrypted {
            self.hash.update(value);
        }
    }

    /// Compares with the file's MAC in constant time. Neither is ever shown: they are unkeyed hashes of the values.
    pub(crate) fn verify(self, metadata: &Metadata, cipher: &Cipher) -> Result<(), Refused> {
        if metadata.mac.is_empty() {
            return Err(Reason::MacMissing.into());
        }
        let stored = cipher
            .open(&metadata.mac, &metadata.last_modified)
            .map_err(|_| Reason::MacUnreadable)?;
        let digest = Zeroizing::new(<[u8; 64]>::from(self.hash.finalize()));
        let mut computed = Zeroizing::new(String::with_capacity(2 * digest.len()));
        for byte in digest.iter() {
            // Writing to a String cannot fail.
            let _ = write!(computed, "{byte:02X}");
        }
        let is_equal = computed.as_bytes().ct_eq(&stored.text);
        if stored.kind == "str" && bool::from(is_equal) {
            Ok(())
        } else {
            Err(Reason::MacMismatch.into())
        }
    }
}
