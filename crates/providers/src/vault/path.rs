//! Paths of Vault's API. [`Paths`] maps a remote key to one.

pub(super) use eso_model::remote::vault::{Paths, Version};
use reqwest::Url;

use crate::{Unread, unread};

/// The maximum length of a path, in bytes.
const MAX_PATH: usize = 4096;

/// The segments of a path as Vault's client sends it, without empty ones and `.`.
///
/// Vault's client also resolves `..`, which may leave the mount, so such a key is rejected. Control characters are rejected
/// because the operator's client encodes them and ours drops them. So are paths that are too long.
pub(super) fn segments(path: &str) -> Result<Vec<&str>, Unread> {
    let unread = |detail| Err(Unread::secret(unread::UNSUPPORTED, detail));
    if path.len() > MAX_PATH {
        return unread("a path longer than 4096 bytes is not supported");
    }
    if path.contains(|c: char| c.is_ascii_control()) {
        return unread("a path with control characters is not supported");
    }
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !matches!(*segment, "" | "."))
        .collect();
    if segments.contains(&"..") {
        return unread("a path with `..` is not supported");
    }
    Ok(segments)
}

/// True if the URL's path ends in exactly these segments below `v1`. The URL parser may have changed a segment.
pub(super) fn ends_in_segments(address: &Url, segments: &[&str]) -> bool {
    let Some(made) = address.path_segments() else {
        return false;
    };
    let wanted = segments.iter().rev().chain([&"v1"]);
    let mut made = made.rev();
    wanted
        .map(|segment| Some(segment.as_bytes()))
        .all(|segment| made.next().map(decoded).as_deref() == segment)
}

fn decoded(segment: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let code = after.get(..2).map(|code| u8::from_str_radix(code, 16));
        let Some(Ok(byte)) = code else {
            bytes.push(b'%');
            rest = after;
            continue;
        };
        bytes.push(byte);
        rest = after.get(2..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_path_is_detected() {
        let leads = |address: &str, segments: &[&str]| {
            ends_in_segments(&Url::parse(address).unwrap(), segments)
        };
        assert!(leads(
            "http://v/base/v1/kv/a%20b%252F%C3%A4",
            &["kv", "a b%2F\u{e4}"]
        ));
        assert!(!leads("http://v/v1/kv/db", &["kv", "db\n"]));
        assert!(!leads(
            "http://v/v1/sys/seal-status",
            &["kv", ".\t.", "sys", "seal-status"]
        ));
        assert!(!leads("http://v/v2/db", &["db"]));
    }

    #[test]
    fn no_key_leaves_its_mount() {
        let refused = segments("secret/data/../../sys/seal-status").unwrap_err();
        assert_eq!(refused.why.reason, unread::UNSUPPORTED);
        for odd in ["secret/data/db\n", "a/.\t./b", "a/.\r./b", "a/\u{7f}"] {
            let refused = segments(odd).unwrap_err();
            assert_eq!(refused.why.reason, unread::UNSUPPORTED, "{odd:?}");
        }
        assert!(segments(&"a".repeat(MAX_PATH + 1)).is_err());
        assert_eq!(
            segments("secret//data/./a b/").unwrap(),
            ["secret", "data", "a b"]
        );
    }
}
