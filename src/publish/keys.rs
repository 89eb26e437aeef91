//! The keys of a publisher: the key of its marks, and the private keys that decrypt its files.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::{Cluster, ErrorKind as ApiErrorKind, Path, wire};
use publish::MarkKey;
use secret::Value;
use std::{collections::BTreeMap, io::ErrorKind};
use zeroize::Zeroizing;

use super::fault::Fault;
use crate::{
    policy::KeyFrom,
    regular_file::{self, Links},
};

/// The largest key file.
const LARGEST: u64 = 1 << 20;

/// Where keys are read.
pub(super) struct Keys<'a> {
    /// None without a cluster.
    pub(super) cluster: Option<&'a Cluster>,
    /// The job's own namespace. Keys in other namespaces are never read.
    pub(super) namespace: Option<&'a str>,
    pub(super) environment: &'a BTreeMap<String, String>,
}

impl Keys<'_> {
    /// The key of the marks: 32 bytes, or their hexadecimal or base64 text. In a Secret, under `key`.
    pub(super) async fn marks(&self, from: &KeyFrom) -> Result<MarkKey, Fault> {
        let mut found = self.read(from).await?;
        let bytes = match found.len() {
            1 => found.pop_first().map(|(_, value)| value),
            _ => found.remove("key"),
        };
        let bytes = bytes.and_then(|value| key_bytes(value.expose()));
        bytes.map(|bytes| MarkKey::from_bytes(*bytes)).ok_or_else(|| {
            let message = format!(
                "{from} does not contain the key of the marks: 32 random bytes, or their base64 or hexadecimal text. \
                 Create one with `head -c 32 /dev/urandom`; in a Secret, its data key is `key`"
            );
            Fault::new("invalid-key", message)
        })
    }

    /// The values in this place, by name.
    pub(super) async fn read(&self, from: &KeyFrom) -> Result<BTreeMap<String, Value>, Fault> {
        let one = |value| BTreeMap::from([(String::new(), value)]);
        match from {
            KeyFrom::Variable(name) => {
                let value = self.environment.get(name).filter(|value| !value.is_empty());
                value.map(|text| one(Value::from(&**text))).ok_or_else(|| {
                    Fault::new("key-not-found", format!("the variable {name} is not set"))
                })
            }
            KeyFrom::File(path) => {
                let failed = |error: std::io::Error| {
                    let message = format!("{from} cannot be read: {error}");
                    let is_no_key = matches!(
                        error.kind(),
                        ErrorKind::InvalidInput | ErrorKind::FileTooLarge
                    );
                    let reason = if is_no_key {
                        "invalid-key"
                    } else {
                        "key-not-found"
                    };
                    Fault::new(reason, message)
                };
                let read = regular_file::read(path, LARGEST, Links::Followed);
                read.map(one).map_err(failed)
            }
            KeyFrom::Secret(name) => self.secret(name).await,
        }
    }

    /// The data of a Secret in the job's own namespace.
    pub(super) async fn secret(&self, name: &str) -> Result<BTreeMap<String, Value>, Fault> {
        let cluster = self.cluster.ok_or_else(Fault::no_cluster)?;
        let namespace = self.namespace.ok_or_else(|| {
            let message = "the namespace of the Secret is not known: use --lock-namespace, or in a Pod ESO_SYNC_POD_NAMESPACE";
            Fault::new("key-not-found", message)
        })?;
        let path = Path::core(Some(namespace), "secrets").named(name);
        match cluster.get::<wire::Secret>(&path).await {
            Ok(secret) => Ok(secret.data),
            Err(error) if error.kind == ApiErrorKind::NotFound => {
                let message = format!("the Secret {namespace}/{name} does not exist");
                Err(Fault::new("key-not-found", message))
            }
            Err(error) => Err(Fault::new("key-not-found", error.to_string())),
        }
    }
}

/// 32 bytes, or their text.
fn key_bytes(found: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if let Ok(bytes) = found.try_into() {
        return Some(Zeroizing::new(bytes));
    }
    let text = std::str::from_utf8(found).ok()?.trim();
    if text.len() == 64 {
        let mut bytes = Zeroizing::new([0; 32]);
        for (to, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *to = u8::from_str_radix(pair, 16).ok()?;
        }
        return Some(bytes);
    }
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    let bytes: [u8; 32] = decoded.as_slice().try_into().ok()?;
    Some(Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_any_of_three_forms() {
        let bytes = [7; 32];
        assert_eq!(*key_bytes(&bytes).unwrap(), bytes);
        let hex = "07".repeat(32);
        assert_eq!(*key_bytes(format!("{hex}\n").as_bytes()).unwrap(), bytes);
        assert_eq!(
            *key_bytes(STANDARD.encode(bytes).as_bytes()).unwrap(),
            bytes
        );
        for bad in ["", "short", &"0".repeat(63), &"g".repeat(64), "AAAA"] {
            assert!(key_bytes(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
