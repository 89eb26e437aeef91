//! The IDs of objects.

use std::{fmt, str::FromStr};

use sha1_checked::{Digest as _, Sha1};

use crate::refusal::Refused;

/// The ID of an object: its SHA-1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 20]);

impl Id {
    pub(crate) const LENGTH: usize = 20;

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The SHA-1 of these parts. Refuses content that was made to have the ID of other content.
    pub(crate) fn of(parts: &[&[u8]]) -> Result<Self, Refused> {
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part);
        }
        let result = hash.try_finalize();
        if result.has_collision() {
            return Err(Refused::damaged(
                "an object was made so that another one has the same ID (SHA-1 collision)",
            ));
        }
        Self::from_bytes(result.hash()).ok_or_else(|| Refused::damaged("no ID"))
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::LENGTH || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(());
        }
        let mut id = [0; Self::LENGTH];
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(drop)?;
            *byte = u8::from_str_radix(pair, 16).map_err(drop)?;
        }
        Ok(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
