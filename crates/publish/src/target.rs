//! What shall be published, and where.

use std::{cmp::Ordering, fmt, sync::Arc};

use eso_model::ProviderKind;
use secret::Value;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Where a value comes from, for reports and for the provenance at the provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The name of the item in the policy.
    pub item: String,
    /// The path in the repository.
    pub file: String,
    /// The key in the file.
    pub key: String,
    /// The revision of the repository, if it is known.
    pub revision: Option<String>,
}

/// One value that shall be published. No `Debug`, because it contains the value.
pub struct Wanted {
    pub target: Target,
    pub value: Value,
    pub format: Format,
    pub origin: Origin,
}

/// How the provider stores a value. Part of the mark: a change of the format alone is a change.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Format {
    /// A secret value: text where it is UTF-8, otherwise bytes.
    #[default]
    Secret,
    /// Configuration that is not secret: a parameter of the type `String` in Parameter Store. Other providers store it as a
    /// secret.
    Plain,
}

/// A place that stores secrets under names: one account and region, vault, project or mount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Store {
    /// The name for people: `ClusterSecretStore/aws-prod`, `aws eu-west-1`.
    pub name: String,
    pub provider: ProviderKind,
    /// Identifies the place. Two stores with the same provider and space have the same secrets.
    pub space: String,
    /// True if a deleted secret cannot be restored.
    pub deletion_is_final: bool,
    /// False if the provider keeps neither the owner nor the mark of a secret.
    pub keeps_records: bool,
    /// True if single versions can be destroyed.
    pub destroys_versions: bool,
    /// The calls that read and that write, to create a secret and to update it.
    pub calls: [(u32, u32); 2],
    /// True if parameters of AWS Parameter Store have the advanced tier.
    pub advanced: bool,
}

impl Store {
    /// `settings` is the object under the provider's key in the spec of a store. None if eso-sync does not write this provider.
    pub fn new(name: impl Into<String>, provider: ProviderKind, settings: &Json) -> Option<Self> {
        let publishing = provider.facts().publishing?;
        Some(Self {
            name: name.into(),
            provider,
            space: (publishing.space)(settings).join(" "),
            deletion_is_final: (publishing.deletion_is_final)(settings),
            keeps_records: (publishing.keeps_records)(settings),
            destroys_versions: publishing.destroys_versions,
            calls: publishing.calls,
            advanced: false,
        })
    }
}

/// Where a value is published. Targets are equal if the provider takes them for the same.
#[derive(Clone, Debug)]
pub struct Target {
    pub store: Arc<Store>,
    /// The name at the provider, including a prefix of the store. In Vault, the path below the mount.
    pub name: String,
    /// The key in a document; None if the value is the whole secret.
    pub property: Option<String>,
}

impl Target {
    /// The secret that contains the value.
    pub fn remote_key(&self) -> RemoteKey {
        RemoteKey::new(&self.store, &self.name)
    }

    fn identity(&self) -> (RemoteKey, Option<&str>) {
        (self.remote_key(), self.property.as_deref())
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Target {}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Target {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.store.name, self.name)?;
        match &self.property {
            Some(property) => write!(f, "#{property}"),
            None => Ok(()),
        }
    }
}

/// One secret at a provider, by its canonical name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteKey {
    pub provider: ProviderKind,
    /// See [`Store::space`].
    pub space: String,
    /// The name in the form that all spellings share.
    pub name: String,
}

impl RemoteKey {
    pub fn new(store: &Store, name: &str) -> Self {
        Self {
            provider: store.provider.clone(),
            space: store.space.clone(),
            name: store.provider.canonical(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(provider: &str, settings: &Json, name: &str) -> RemoteKey {
        let kind = ProviderKind::of(provider, settings);
        RemoteKey::new(&Store::new("any", kind, settings).unwrap(), name)
    }

    #[test]
    fn spellings_of_one_name_are_the_same_remote_key() {
        let azure = json!({"vaultUrl": "https://v.vault.azure.net"});
        let ssm = json!({"service": "ParameterStore", "region": "eu-west-1"});
        let aws = json!({"service": "SecretsManager", "region": "eu-west-1"});
        let vault = json!({"server": "https://v:8200", "path": "kv"});
        let same = |provider, settings, one, other| {
            key(provider, settings, one) == key(provider, settings, other)
        };
        assert!(same("azurekv", &azure, "Db", "dB"));
        assert!(same("aws", &ssm, "/db", "db"));
        assert!(!same("aws", &ssm, "/a/db", "/a/DB"));
        assert!(same("vault", &vault, "/a//b/", "a/b"));
        assert!(!same("aws", &aws, "Db", "db"));
        assert!(!same("gcpsm", &json!({"projectID": "p"}), "Db", "db"));
    }

    #[test]
    fn root_namespace_of_vault_is_no_namespace() {
        let of = |namespace: &str| {
            let settings =
                json!({"server": "https://v:8200", "path": "kv", "namespace": namespace});
            key("vault", &settings, "db")
        };
        assert!(of("root") == of("") && of("root/") == of("") && of("root/a") != of(""));
    }

    #[test]
    fn provider_that_is_not_written_has_no_store() {
        for kind in [
            ProviderKind::Kubernetes,
            ProviderKind::Fake,
            ProviderKind::Other("x".to_owned()),
        ] {
            assert_eq!(Store::new("x", kind, &json!({})), None);
        }
    }

    #[test]
    fn only_some_deletions_can_be_undone() {
        let is_final = |name: &str, settings: Json| {
            Store::new("x", ProviderKind::of(name, &settings), &settings)
                .unwrap()
                .deletion_is_final
        };
        assert!(is_final("aws", json!({"service": "ParameterStore"})));
        assert!(is_final("gcpsm", json!({})));
        assert!(is_final("vault", json!({"version": "v1"})));
        assert!(!is_final("vault", json!({"version": "v2"})) && !is_final("vault", json!({})));
        assert!(
            !is_final("aws", json!({"service": "SecretsManager"}))
                && !is_final("azurekv", json!({}))
        );
    }

    #[test]
    fn stores_of_one_place_share_its_space() {
        let space = |settings: Json| {
            Store::new("x", ProviderKind::SecretsManager, &settings)
                .unwrap()
                .space
        };
        let role = json!({"service": "SecretsManager", "region": "eu-west-1", "role": "arn:aws:iam::123456789012:role/a"});
        let other_role = json!({"service": "SecretsManager", "region": "eu-west-1", "role": "arn:aws:iam::123456789012:role/b",
            "auth": {"jwt": {}}});
        let keys = json!({"service": "SecretsManager", "region": "eu-west-1", "auth": {"secretRef": {"a": 1}}});
        let ambient = json!({"service": "SecretsManager", "region": "eu-west-1"});
        assert_eq!(space(role.clone()), space(other_role));
        assert_ne!(space(keys), space(ambient.clone()));
        assert_ne!(space(role), space(ambient));
        let mount = |path: &str, namespace: &str| {
            let settings =
                json!({"server": "https://v:8200/", "path": path, "namespace": namespace});
            Store::new("x", ProviderKind::Vault, &settings)
                .unwrap()
                .space
        };
        assert_eq!(mount("kv", ""), mount("kv/", ""));
        assert_ne!(mount("kv", ""), mount("kv2", ""));
        assert_ne!(mount("kv", "a"), mount("kv", "b"));
    }
}
