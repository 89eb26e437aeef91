//! Where a store reads its keys, and the names that a key of its ExternalSecrets has there.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{
    key::{Arn, RemoteKey},
    realm::{Realm, host},
    vault::{Paths, Version},
};
use crate::provider::{Naming, ProviderKind, at};

/// Where a store reads its keys, by its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub provider: ProviderKind,
    pub realm: Realm,
    /// Added before each key.
    prefix: String,
    /// The mapping of keys to paths of a Vault, which is also the namespace of a Kubernetes store.
    paths: Paths,
}

impl Place {
    /// The place of a store of this kind with these settings.
    pub fn of(provider: &ProviderKind, settings: &Json) -> Self {
        let known = |pointer: &str| {
            let text = at(settings, pointer);
            (!text.is_empty()).then(|| text.to_owned())
        };
        let mut place = Self {
            provider: provider.clone(),
            realm: Realm::default(),
            prefix: String::new(),
            paths: Paths {
                mount: None,
                version: Version::V2,
            },
        };
        match provider.facts().naming {
            Naming::SecretsManager | Naming::ParameterStore => {
                place.realm.region = known("/region");
                let account = at(settings, "/role").split(':').nth(4);
                place.realm.account = account
                    .filter(|account| !account.is_empty())
                    .map(str::to_owned);
                at(settings, "/prefix").clone_into(&mut place.prefix);
            }
            Naming::KeyVault => {
                place.realm.host = known("/vaultUrl").map(|url| host(&url));
            }
            Naming::GcpSecretManager => {
                place.realm.account = known("/projectID");
                place.realm.region = Some(at(settings, "/location").to_owned());
            }
            Naming::Vault => {
                place.realm.host = known("/server").map(|url| host(&url));
                place.paths.mount = known("/path");
                if at(settings, "/version") == "v1" {
                    place.paths.version = Version::V1;
                }
            }
            Naming::Kubernetes => {
                place.realm.host = Some(cluster(at(settings, "/server/url")));
                let namespace = known("/remoteNamespace");
                place.paths.mount = namespace.or_else(|| Some("default".to_owned()));
            }
            Naming::Plain => {}
        }
        place
    }

    /// A key by its full name at the provider, which contains what the store puts before the names of its keys.
    pub fn key(&self, name: &str) -> RemoteKey {
        let whole = Self {
            prefix: String::new(),
            ..self.clone()
        };
        let (realm, names) = whole.names(name);
        RemoteKey {
            provider: Some(self.provider.clone()),
            realm,
            names,
        }
    }

    /// The names of a key of the spec at the provider, and where it is.
    pub(super) fn names(&self, key: &str) -> (Realm, BTreeSet<String>) {
        let realm = || self.realm.clone();
        let mut names = BTreeSet::new();
        match self.provider.facts().naming {
            Naming::SecretsManager | Naming::ParameterStore => {
                let full = format!("{}{key}", self.prefix);
                let arn = Arn::parse(&full).filter(|arn| arn.provider == self.provider);
                if let Some(arn) = arn {
                    names.extend(arn.names());
                    return (arn.realm(), self.canonical_all(&names));
                }
                names.insert(full);
            }
            Naming::Vault => {
                let path = self.paths.data(key);
                names.extend(self.within(&path).map(str::to_owned));
                if let (Some(mount), Version::V2) = (&self.paths.mount, self.paths.version)
                    && let Some(inside) = path.strip_prefix(&format!("{mount}/data/"))
                {
                    names.insert(format!("{mount}/{inside}"));
                    names.insert(format!("{mount}/metadata/{inside}"));
                } else if path.contains("/data/") {
                    names.insert(path.replacen("/data/", "/", 1));
                    names.insert(path.replacen("/data/", "/metadata/", 1));
                }
                names.extend([path, key.to_owned()]);
            }
            Naming::Kubernetes => {
                let namespace = self.paths.mount.as_deref().unwrap_or_default();
                names.extend([key.to_owned(), format!("{namespace}/{key}")]);
            }
            Naming::KeyVault | Naming::Plain | Naming::GcpSecretManager => {
                names.insert(key.to_owned());
            }
        }
        (realm(), self.canonical_all(&names))
    }

    /// The form that spellings of one name share at this provider.
    pub(super) fn canonical(provider: &ProviderKind, name: &str) -> String {
        match provider.facts().naming {
            // Key Vault ignores the case. A prefix selects the kind of an object.
            Naming::KeyVault => {
                let kinds = ["secret/", "cert/", "key/"];
                let rest = kinds.iter().find_map(|kind| name.strip_prefix(kind));
                rest.unwrap_or(name).to_ascii_lowercase()
            }
            // `db` and `/db` have the same ARN. A selector names a version or a label.
            Naming::ParameterStore => {
                let name = name.split(':').next().unwrap_or_default();
                name.trim_start_matches('/').to_owned()
            }
            Naming::Vault => {
                let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
                parts.collect::<Vec<_>>().join("/")
            }
            Naming::SecretsManager
            | Naming::Plain
            | Naming::GcpSecretManager
            | Naming::Kubernetes => name.to_owned(),
        }
    }

    fn canonical_all(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let names = names.iter();
        names
            .map(|name| Self::canonical(&self.provider, name))
            .collect()
    }

    /// The forms of a name on which the operator may try the regular expression of a search in this path. Empty if the name is
    /// not in the path.
    pub(super) fn found_as(&self, path: Option<&str>, name: &str) -> Vec<String> {
        let canonical = Self::canonical(&self.provider, name);
        let mut forms = match self.provider.facts().naming {
            Naming::SecretsManager => {
                // The operator adds the prefix to names that it found.
                let bare = name.strip_prefix(&*self.prefix).unwrap_or(name);
                vec![name.to_owned(), bare.to_owned()]
            }
            Naming::ParameterStore => vec![format!("/{canonical}"), canonical],
            Naming::Vault => self.within(&canonical).map(str::to_owned).collect(),
            Naming::Kubernetes => {
                let own = self.paths.mount.as_deref().unwrap_or_default();
                match name.split_once('/') {
                    Some((namespace, bare)) if namespace == own => vec![bare.to_owned()],
                    Some(_) => Vec::new(),
                    None => vec![name.to_owned()],
                }
            }
            Naming::KeyVault | Naming::Plain | Naming::GcpSecretManager => {
                vec![name.to_owned(), canonical]
            }
        };
        if let Some(path) = path {
            forms.retain(|form| match self.provider.facts().naming {
                Naming::SecretsManager | Naming::GcpSecretManager => form.starts_with(path),
                Naming::ParameterStore => {
                    let folder = path.trim_matches('/');
                    let inside = form.trim_start_matches('/').strip_prefix(folder);
                    folder.is_empty() || inside.is_some_and(|inside| inside.starts_with('/'))
                }
                Naming::Vault => {
                    let folder = path.trim_end_matches('/');
                    let inside = form.strip_prefix(folder);
                    folder.is_empty() || inside.is_some_and(|inside| inside.starts_with('/'))
                }
                // These ignore the path.
                Naming::KeyVault | Naming::Plain | Naming::Kubernetes => true,
            });
        }
        forms
    }

    /// The names inside the mount that a path of the API can mean.
    fn within<'a>(&self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let mount = self.paths.mount.clone().unwrap_or_default();
        let mount = mount.trim_matches('/');
        let inside = path
            .strip_prefix(mount)
            .and_then(|rest| rest.strip_prefix('/'));
        let folders = ["data/", "metadata/"];
        let inner = inside.and_then(|rest| folders.iter().find_map(|it| rest.strip_prefix(it)));
        [Some(path), inside, inner].into_iter().flatten()
    }
}

/// The address of a cluster; empty for the cluster of the store.
fn cluster(url: &str) -> String {
    let address = host(url);
    let own = [
        "",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    if own.contains(&&*address) {
        String::new()
    } else {
        address
    }
}
