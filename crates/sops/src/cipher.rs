//! Encrypted values: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, AES-256-GCM with nonces of 32 bytes.

use aes_gcm::{AeadInOut as _, AesGcm, KeyInit as _, aead::consts::U32, aes::Aes256};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{keys::DataKey, refusal::Reason};

const START: &str = "ENC[AES256_GCM,";

/// Decrypts values with one data key.
pub(crate) struct Cipher(AesGcm<Aes256, U32>);

/// A decrypted value, before its text is held against its type.
pub(crate) struct Opened<'a> {
    pub(crate) text: Zeroizing<Vec<u8>>,
    pub(crate) kind: &'a str,
}

impl Cipher {
    pub(crate) fn new(key: &DataKey) -> Self {
        Self(AesGcm::new(key.expose().into()))
    }

    /// Decrypts a value. The path is authenticated together with it.
    pub(crate) fn open<'a>(&self, value: &'a str, path: &str) -> Result<Opened<'a>, Reason> {
        let sealed = Sealed::parse(value).ok_or(Reason::MalformedValue)?;
        let mut text = Zeroizing::new(sealed.data);
        self.0
            .decrypt_inout_detached(
                &sealed.nonce.into(),
                path.as_bytes(),
                text.as_mut_slice().into(),
                &sealed.tag.into(),
            )
            .map_err(|_| Reason::NotAuthentic)?;
        Ok(Opened {
            text,
            kind: sealed.kind,
        })
    }
}

/// True if the text has the form of an encrypted value, even if it is damaged.
pub(crate) fn looks_encrypted(text: &str) -> bool {
    text.starts_with(START)
}

struct Sealed<'a> {
    data: Vec<u8>,
    nonce: [u8; 32],
    tag: [u8; 16],
    kind: &'a str,
}

impl<'a> Sealed<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let fields = value.strip_prefix(START)?.strip_suffix(']')?;
        let mut fields = fields.split(',');
        let sealed = Self {
            data: bytes(fields.next()?, "data:")?,
            nonce: bytes(fields.next()?, "iv:")?.try_into().ok()?,
            tag: bytes(fields.next()?, "tag:")?.try_into().ok()?,
            kind: fields.next()?.strip_prefix("type:")?,
        };
        // SOPS does not encrypt empty values.
        (fields.next().is_none() && !sealed.data.is_empty()).then_some(sealed)
    }
}

fn bytes(field: &str, name: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(field.strip_prefix(name)?).ok()
}
