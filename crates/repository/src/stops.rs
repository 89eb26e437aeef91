//! Entries that must not be published: encrypted values, metadata of SOPS, empty values.

use crate::{
    entry::Entry,
    fault::{Fault, Reason},
};

/// What starts an armoured message of age or PGP, and a binary one of age.
const ARMOUR: [&[u8]; 3] = [
    b"-----BEGIN AGE ENCRYPTED FILE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"age-encryption.org/v1\n",
];
/// What an encrypted value of SOPS contains.
const SOPS_VALUE: &[u8] = b"ENC[AES256_GCM";

/// Returns a fault for each entry that must not be published: the value is still encrypted, the key belongs to the metadata
/// of SOPS, or the value is empty.
pub fn stops(entries: &[Entry]) -> Vec<Fault> {
    entries.iter().filter_map(stop).collect()
}

/// The fault of an item whose files contain no keys: a wrong path or environment looks like this, and nobody publishes nothing on
/// purpose.
pub fn empty_source() -> Fault {
    let message = "the files of this item contain no keys, so nothing is published; check `source` and `read`, or remove the item";
    Fault::new("", Reason::EmptySource, message)
}

fn stop(entry: &Entry) -> Option<Fault> {
    let (reason, message) = if is_sops_metadata(&entry.key) {
        let message = "belongs to the metadata of SOPS: the file was not decrypted; check that it is a complete SOPS file";
        (Reason::SopsMetadata, message)
    } else if looks_encrypted(entry.value.expose()) {
        let message =
            "the value is still encrypted; decrypt it, or add its file to what is decrypted";
        (Reason::LooksEncrypted, message)
    } else if entry.value.expose().is_empty() {
        let message = "the value is empty; remove the key, or allow empty values";
        (Reason::EmptyValue, message)
    } else {
        return None;
    };
    let fault = Fault::new(&entry.file, reason, message).of(&entry.key);
    Some(Fault {
        line: entry.line,
        ..fault
    })
}

/// True for `sops`, and for what a dotenv file (`sops_mac`) or flattened YAML (`sops.mac`) makes of it.
fn is_sops_metadata(key: &str) -> bool {
    key.strip_prefix("sops")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '.', '[']))
}

fn looks_encrypted(value: &[u8]) -> bool {
    let start = value.trim_ascii_start();
    ARMOUR.iter().any(|armour| start.starts_with(armour)) || contains(value, SOPS_VALUE)
}

fn contains(value: &[u8], part: &[u8]) -> bool {
    value.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use secret::Value;

    use super::*;

    fn reason(key: &str, value: &str) -> Option<&'static str> {
        let entry = Entry {
            key: key.to_owned(),
            value: Value::from(value),
            file: "a.env".to_owned(),
            line: Some(7),
            encrypted: false,
        };
        let mut faults = stops(&[entry]);
        let fault = faults.pop()?;
        assert_eq!((fault.file.as_str(), fault.line), ("a.env", Some(7)));
        Some(fault.reason.word())
    }

    #[test]
    fn encrypted_values_are_stopped() {
        for value in [
            "ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]",
            "prefix ENC[AES256_GCM",
            "-----BEGIN AGE ENCRYPTED FILE-----\nx",
            " \n-----BEGIN PGP MESSAGE-----",
            "age-encryption.org/v1\n-> X25519",
        ] {
            assert_eq!(reason("A", value), Some("looks-encrypted"), "{value}");
        }
        for value in ["ENC", "-----BEGIN PRIVATE KEY-----", "AES256_GCM", "x"] {
            assert_eq!(reason("A", value), None, "{value}");
        }
    }

    #[test]
    fn metadata_of_sops_is_stopped() {
        for key in [
            "sops",
            "sops_mac",
            "sops_age__list_0__map_enc",
            "sops.mac",
            "sops[0]",
        ] {
            assert_eq!(reason(key, "x"), Some("sops-metadata"), "{key}");
        }
        for key in ["SOPS_KEY", "sopsy", "my_sops_key"] {
            assert_eq!(reason(key, "x"), None, "{key}");
        }
    }

    #[test]
    fn empty_values_are_stopped() {
        assert_eq!(reason("A", ""), Some("empty-value"));
        assert_eq!(reason("A", " "), None);
    }
}
