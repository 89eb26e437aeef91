//! Maps a remote key to a path of Vault's API, by the operator's exact rules.

use crate::expected::Failure;

/// The KV version in the store's spec. (The mount may have another version: the operator does not check it.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Version {
    #[serde(rename = "v1")]
    V1,
    #[default]
    #[serde(rename = "v2")]
    V2,
}

/// How a store maps keys to paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `path` in the store's spec: the mount of the engine.
    pub mount: Option<String>,
    pub version: Version,
}

impl Paths {
    /// The path of a secret's data (`buildPath` of the operator). Like the operator, it does not find a secret below a folder
    /// with the mount's name.
    pub fn data(&self, key: &str) -> String {
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
    pub fn metadata(&self, key: &str) -> Result<String, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
