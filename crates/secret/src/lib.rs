//! Secret values in memory. They are never printed, never copied by accident, wiped when dropped, and compared by keyed
//! digests.
//!
//! Nothing here implements `Debug`, `Display`, `Serialize` or `Clone`, so neither a format string nor a derive on a
//! containing type can leak a value:
//!
//! ```compile_fail
//! let value = secret::Value::from("hunter2");
//! format!("{value:?}");
//! ```
//!
//! ```compile_fail
//! let value = secret::Value::from("hunter2");
//! value.clone();
//! ```
//!
//! ```compile_fail
//! let key = secret::RunKey::from_bytes([0; 32]);
//! format!("{key:?}");
//! ```

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

/// The bytes of a secret value, wiped when dropped.
#[derive(Default)]
pub struct Value(Zeroizing<Vec<u8>>);

impl Value {
    /// Takes ownership of the bytes, which are wiped together with the value.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the bytes. Callers must also wipe what they derive from them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns a copy, which is wiped separately.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::from(self.expose())
    }

    /// Returns the keyed digest, which may be compared and stored in place of the value.
    pub fn fingerprint(&self, key: &RunKey) -> Fingerprint {
        key.fingerprint(self.expose())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

/// A buffer for building a value.
///
/// A `Vec` that grows leaves its old bytes in memory without wiping them. This buffer wipes them.
#[derive(Default)]
pub struct Buffer(Zeroizing<Vec<u8>>);

impl Buffer {
    /// Creates a buffer with this capacity in bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            larger.extend_from_slice(&self.0);
            // Replacing the buffer wipes the old bytes.
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(bytes);
    }

    pub fn push_char(&mut self, c: char) {
        let mut utf8 = [0; 4];
        self.push(c.encode_utf8(&mut utf8).as_bytes());
        utf8.zeroize();
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the finished value.
    pub fn finish(self) -> Value {
        Value(self.0)
    }
}

/// The key of one run's fingerprints. Without it, fingerprints reveal nothing, and those of different runs cannot be
/// matched.
pub struct RunKey(Hmac<Sha256>);

impl RunKey {
    /// Creates the key from random bytes, which are wiped.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        // HMAC pads a key to its block length. A key of that length is used unchanged.
        let mut block = Zeroizing::new([0; 64]);
        block
            .iter_mut()
            .zip(bytes.iter())
            .for_each(|(to, from)| *to = *from);
        Self(Hmac::new(&(*block).into()))
    }

    /// Returns the HMAC-SHA-256 of the bytes.
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        Fingerprint(
            self.0
                .clone()
                .chain_update(bytes)
                .finalize()
                .into_bytes()
                .into(),
        )
    }
}

/// A keyed digest of a value.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the first 64 bits, for sets that may hold many.
    pub fn start(&self) -> u64 {
        let bytes = self.0.iter().take(8);
        bytes.fold(0, |start, byte| start << 8 | u64::from(*byte))
    }

    /// Returns the hexadecimal form, which can only be compared with digests made with the same key.
    pub fn hex(&self) -> String {
        use std::fmt::Write as _;
        self.0.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Constant-time comparison.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        let different = self
            .0
            .iter()
            .zip(other.0)
            .fold(0, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(different) == 0
    }
}

impl Eq for Fingerprint {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if the type does not implement the trait: otherwise the call to `is_absent` is ambiguous.
    macro_rules! lacks {
        ($type:ty, $trait:path) => {
            const _: fn() = || {
                trait Absent<Which> {
                    fn is_absent() {}
                }
                struct Present;
                impl<T: ?Sized> Absent<()> for T {}
                impl<T: ?Sized + $trait> Absent<Present> for T {}
                let _ = <$type as Absent<_>>::is_absent;
            };
        };
    }

    lacks!(Value, std::fmt::Debug);
    lacks!(Value, std::fmt::Display);
    lacks!(Value, serde::Serialize);
    lacks!(Value, Clone);
    lacks!(Value, PartialEq);
    lacks!(Value, AsRef<[u8]>);
    lacks!(Buffer, std::fmt::Debug);
    lacks!(Buffer, serde::Serialize);
    lacks!(Buffer, Clone);
    lacks!(RunKey, std::fmt::Debug);
    lacks!(RunKey, serde::Serialize);
    lacks!(RunKey, Clone);
    lacks!(Fingerprint, std::fmt::Debug);
    lacks!(Fingerprint, serde::Serialize);

    #[test]
    fn fingerprint_is_hmac_sha_256() {
        // RFC 4231, test case 2, has a key of 4 bytes. HMAC pads with zeros, so this key is equivalent.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            Value::from("what do ya want for nothing?")
                .fingerprint(&RunKey::from_bytes(key))
                .hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn fingerprints_differ_between_runs() {
        let [one, two] = [1, 2].map(|byte| RunKey::from_bytes([byte; 32]));
        let value = Value::from("hunter2");
        assert!(value.fingerprint(&one) == value.duplicate().fingerprint(&one));
        assert!(value.fingerprint(&one) != value.fingerprint(&two));
        assert!(value.fingerprint(&one) != Value::from("hunter3").fingerprint(&one));
    }

    #[test]
    fn buffer_grows() {
        let mut buffer = Buffer::with_capacity(1);
        for part in ["", "a", "bc", "def"] {
            buffer.push(part.as_bytes());
        }
        buffer.push_char('é');
        assert_eq!(buffer.as_bytes(), "abcdefé".as_bytes());
        assert_eq!(buffer.finish().expose(), "abcdefé".as_bytes());
    }
}
