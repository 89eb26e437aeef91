//! Maps a remote key to a path of Vault's API, by the operator's exact rules.

use eso_model::expected::Failure;
use reqwest::Url;

use crate::{Unread, unread};

/// The maximum length of a path, in bytes.
const MAX_PATH: usize = 4096;

/// The KV version in the store's spec. (The mount may have another version: the operator does not check it.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub(super) enum Version {
    #[serde(rename = "v1")]
    V1,
    #[default]
    #[serde(rename = "v2")]
    V2,
}

/// How a store maps keys to paths.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// `path` in the store's spec: the mount of the engine.
    pub(super) mount: Option<String>,
    pub(super) version: Version,
}

impl Paths {
    /// The path of a secret's data (`buildPath` of the operator). Like the operator, it does not find a secret below a folder
    /// with the mount's name.
    pub(super) fn data(&self, key: &str) -> String {
        let v2 = self.version == Version::V2;
        let Some(mount) = &self.mount else {
            return match key.split_once('/') {
                _ if !v2 || key.contains("/data/") => key.to_owned(),
                Some((first, rest)) => format!("{first}/data/{rest}"),
                None => format!("{key}/data"),
            };
        };
        let mut rest = key;
        if let Some(inside) = strip_folder(key, mount) {
            rest = inside;
            if v2 {
                rest = strip_folder(rest, "data").unwrap_or(rest);
            }
        }
        if v2 {
            format!("{mount}/data/{rest}")
        } else {
            format!("{mount}/{rest}")
        }
    }

    /// The path of a secret's metadata and of lists (`buildMetadataPath`). The key is used unchanged.
    pub(super) fn metadata(&self, key: &str) -> Result<String, Failure> {
        match (&self.mount, self.version) {
            (Some(mount), Version::V2) => Ok(format!("{mount}/metadata/{key}")),
            (Some(mount), Version::V1) => Ok(format!("{mount}/{key}")),
            (None, Version::V2) if key.contains("data") => {
                Ok(key.replacen("/data/", "/metadata/", 1))
            }
            (None, _) => Err(Failure::Refused),
        }
    }
}

fn strip_folder<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

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

    fn paths(mount: Option<&str>, version: Version) -> Paths {
        Paths {
            mount: mount.map(str::to_owned),
            version,
        }
    }

    #[test]
    fn key_maps_to_the_operators_path() {
        let v2 = |mount, key: &str| paths(mount, Version::V2).data(key);
        assert_eq!(v2(Some("secret"), "foo"), "secret/data/foo");
        assert_eq!(v2(Some("secret/path"), "foo"), "secret/path/data/foo");
        assert_eq!(v2(Some("secret"), "secret/foo"), "secret/data/foo");
        assert_eq!(v2(Some("secret"), "secret/data/foo"), "secret/data/foo");
        assert_eq!(v2(Some("secret"), "data/foo"), "secret/data/data/foo");
        assert_eq!(
            v2(Some("secret"), "secretive/foo"),
            "secret/data/secretive/foo"
        );
        assert_eq!(v2(None, "secret/path/foo"), "secret/data/path/foo");
        assert_eq!(v2(None, "secret/path/data/foo"), "secret/path/data/foo");
        assert_eq!(v2(None, "secret"), "secret/data");
        let v1 = |mount, key: &str| paths(mount, Version::V1).data(key);
        assert_eq!(v1(Some("kv"), "foo"), "kv/foo");
        assert_eq!(v1(Some("kv"), "kv/data/foo"), "kv/data/foo");
        assert_eq!(v1(None, "kv/foo"), "kv/foo");
    }

    /// The operator's source calls it a bug.
    #[test]
    fn folder_with_the_mounts_name_is_removed() {
        let paths = paths(Some("secret"), Version::V2);
        assert_eq!(paths.data("secret/data/db"), "secret/data/db");
        assert_eq!(paths.data("secret/db"), paths.data("db"));
    }

    #[test]
    fn metadata_path_replaces_the_data_path() {
        let of = |mount, version, key: &str| paths(mount, version).metadata(key);
        assert_eq!(
            of(Some("secret"), Version::V2, "secret/a").as_deref(),
            Ok("secret/metadata/secret/a")
        );
        assert_eq!(of(Some("kv"), Version::V1, "a").as_deref(), Ok("kv/a"));
        assert_eq!(
            of(None, Version::V2, "secret/data/a").as_deref(),
            Ok("secret/metadata/a")
        );
        assert_eq!(of(None, Version::V2, "secret/a"), Err(Failure::Refused));
        assert_eq!(of(None, Version::V1, "kv/a"), Err(Failure::Refused));
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
