//! Data keys that are encrypted with PGP.

use ::pgp::{
    composed::{DecryptionOptions, Deserializable as _, Message, SignedSecretKey, TheRing},
    types::Password,
};
use secret::Value;

use super::{MAX_ENCRYPTED, read};
use crate::refusal::{Reason, Refused};

pub(super) type Identity = SignedSecretKey;

/// Parses armoured private keys.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Identity>, Refused> {
    let (keys, _) = SignedSecretKey::from_armor_many(text).map_err(|_| Reason::InvalidIdentity)?;
    let keys: Vec<Identity> = keys
        .collect::<Result<_, _>>()
        .map_err(|_| Reason::InvalidIdentity)?;
    if keys.is_empty() {
        return Err(Reason::InvalidIdentity.into());
    }
    if keys.iter().any(is_protected) {
        return Err(Reason::PassphraseProtected.into());
    }
    Ok(keys)
}

fn is_protected(key: &Identity) -> bool {
    let mut subkeys = key.secret_subkeys.iter();
    key.primary_key.secret_params().is_encrypted()
        || subkeys.any(|subkey| subkey.secret_params().is_encrypted())
}

pub(super) fn open(encrypted: &str, identities: &[Identity]) -> Option<Value> {
    if encrypted.len() > MAX_ENCRYPTED || identities.is_empty() {
        return None;
    }
    let (message, _) = Message::from_armor(encrypted.as_bytes()).ok()?;
    let password = Password::empty();
    let ring = TheRing {
        secret_keys: identities.iter().collect(),
        key_passwords: vec![&password],
        // What GnuPG 2.4 writes for keys that it made.
        decrypt_options: DecryptionOptions::new().enable_gnupg_aead(),
        ..TheRing::default()
    };
    let (message, _) = message.decrypt_the_ring(ring, true).ok()?;
    let message = if message.is_compressed() {
        message.decompress().ok()?
    } else {
        message
    };
    message.is_literal().then_some(())?;
    read(message)
}
