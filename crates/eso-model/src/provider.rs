//! The providers of the operator: one enum, and one table of the facts that decisions depend on.
//!
//! Everything outside a provider's own client asks the table: rates, prices, quotas, trust, and the rules by which the operator
//! turns an answer into data. A new provider is a variant and a row here.

mod address;

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub(crate) use self::address::normalized;

/// A provider. Secrets Manager and Parameter Store share a name in the spec (`aws`), but not their quota and rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// AWS Systems Manager Parameter Store.
    ParameterStore,
    /// AWS Secrets Manager.
    SecretsManager,
    AzureKeyVault,
    /// The operator's own provider for tests.
    Fake,
    GcpSecretManager,
    /// Another Kubernetes namespace or cluster.
    Kubernetes,
    /// The KV engines of Vault.
    Vault,
    /// A provider whose rules are not implemented, by its name in the spec. Empty if the store names none.
    Other(String),
}

/// What is known about a provider.
pub struct Facts {
    /// The key in `spec.provider` of a store.
    pub name: Cow<'static, str>,
    /// Another name that policies accept.
    pub alias: Option<&'static str>,
    /// The name in policies of this kind alone, if it shares `name` with another kind.
    pub service: Option<&'static str>,
    /// The Cargo feature with the provider's client; None if every build has it.
    pub feature: Option<&'static str>,
    /// The default rate for each quota, in calls per second; None for the default of the policy.
    pub rate: Option<f64>,
    /// How many reads the provider permits for each call that lists or that reads metadata, if these have a quota of their own.
    pub reads_per_list: Option<u32>,
    /// None if reads are free or the provider is self-hosted.
    pub price: Option<Price>,
    /// The provider's own default quota of reads, for each quota key; None if it has none, or none is known.
    pub read_quota: Option<Quota>,
    /// The parts of a store's settings that name the account, vault or address that a quota applies to.
    pub quota: fn(&Json) -> Vec<String>,
    /// With whose identity the operator reads a store.
    pub identity: Identity,
    /// The permission to read one secret, in the provider's words.
    pub permission: &'static str,
    /// How keys are named.
    pub naming: Naming,
    /// Whether the metadata of a secret says when it is rotated.
    pub rotation: RotationMetadata,
    /// True if the operator reads a key only once when several entries of an ExternalSecret use it.
    pub reads_keys_once: bool,
    pub rules: Rules,
    /// None if eso-sync does not write it.
    pub publishing: Option<Publishing>,
}

/// How the keys of a provider are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By name, with the prefix of the store, or by ARN.
    SecretsManager,
    /// By name, with the prefix of the store, or by ARN. A version may follow.
    ParameterStore,
    /// By name in any case. The kind of the object may come first.
    KeyVault,
    /// By name in a project, and a location.
    GcpSecretManager,
    /// By path, with or without the mount.
    Vault,
    /// By name in a namespace.
    Kubernetes,
    /// As in the spec.
    Plain,
}

/// Whether the metadata of a secret says when it is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationMetadata {
    Kept,
    NotKept,
    /// The provider's rules are not implemented.
    Unknown,
}

/// The list price of reads, without free tiers and discounts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// US dollars for 10,000 reads.
    pub per_10_000: f64,
    /// The page that lists it.
    pub source: &'static str,
    /// The month in which the page listed it.
    pub as_of: &'static str,
}

/// A default quota of reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Calls per second.
    pub per_second: f64,
    /// The page that lists it.
    pub source: &'static str,
    /// The month in which the page listed it.
    pub as_of: &'static str,
}

/// What writing to a provider depends on.
#[derive(Clone, Copy)]
pub struct Publishing {
    /// The default rate of writes for each quota, in calls per second.
    pub rate: f64,
    /// Identifies the place that stores secrets under names, by the settings of a store: an account and region, a vault, a project,
    /// or a mount.
    pub space: fn(&Json) -> Vec<String>,
    /// The form that all spellings of a name share.
    pub canonical: fn(&str) -> String,
    /// True if a deleted secret cannot be restored.
    pub deletion_is_final: fn(&Json) -> bool,
    /// True if a secret has tags, or something like it, for its owner and its mark.
    pub keeps_records: fn(&Json) -> bool,
    /// True if single versions can be destroyed.
    pub destroys_versions: bool,
    /// True if a secret has keys, each with a value of its own.
    pub has_keys: bool,
    /// The calls that read and that write, to create a secret and to update it.
    pub calls: [(u32, u32); 2],
    /// Whose rules names and values must follow.
    pub names: NameRules,
}

/// The services whose rules for names and values are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRules {
    SecretsManager,
    ParameterStore,
    KeyVault,
    GcpSecretManager,
    VaultKv,
}

impl Facts {
    /// The rate of calls that list or that read metadata, if they have a quota of their own, beside this rate of reads. A lower rate
    /// of reads does not slow them down below the default.
    pub fn list_rate(&self, reads: f64) -> Option<f64> {
        let share = f64::from(self.reads_per_list?);
        let default = self.rate.unwrap_or(reads) / share;
        Some((reads / share).max(default).min(reads))
    }
}

/// With whose identity the operator reads a store.
pub enum Identity {
    /// The data is part of the store, so no credentials are needed.
    NotNeeded,
    /// An identity that the store names. If the function returns false, it names none, and the operator uses its own Pod's.
    NamedOrOperator(fn(&Json) -> bool),
    /// A service account of the cluster that the store names. Without one it is read anonymously.
    ServiceAccount,
    /// The rules are not implemented, so no identity is safe.
    Unknown,
}

/// How the operator turns the answers of a provider into data.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are columns of a table")]
pub struct Rules {
    pub payload: Payload,
    pub property: Property,
    pub metadata: Metadata,
    pub absence: Absence,
    /// True if a search in an absent path counts as an absent secret, not as an error.
    pub recognises_absent_search: bool,
    pub search: Search,
    /// True if the keys of a search are converted before any rewrite.
    pub converts_found_keys: bool,
    /// True if an empty value counts as missing.
    pub empty_is_missing: bool,
    /// True if a prefix of the key selects a kind of object (`key/…`, `cert/…`).
    pub keys_have_kinds: bool,
}

/// The format of a secret's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Bytes.
    Bytes,
    /// A JSON object.
    Json,
    /// The data of a Kubernetes Secret.
    Keys,
    /// Not known.
    Unknown,
}

/// How `property` is looked up. A path is gjson's; an escaped one takes dots as part of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// The path only. Without a match the secret counts as absent.
    PathOrAbsent,
    /// The escaped path if there are dots, then the path.
    EscapedThenPath,
    /// The same, but the value must be JSON, and a leading dot is never escaped.
    EscapedThenPathOfJson,
    /// The path, then the escaped path if there are dots.
    PathThenEscaped,
    /// The member with exactly this name, then the path.
    MemberThenPath,
}

/// What `metadataPolicy: Fetch` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// It is ignored.
    Ignored,
    /// All tags as one object.
    Tags,
    /// Tags to which later operators add their own, so only existing ones are certain.
    IncompleteTags,
    /// Labels and annotations.
    LabelsAndAnnotations,
}

/// When the operator reports an absent secret as an error, which `deletionPolicy` does not apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Never.
    Recognised,
    /// When it reads metadata.
    ErrorForMetadata,
    /// Unknown when it reads metadata.
    UnknownForMetadata,
    /// When it reads one key of the secret.
    ErrorForKeys,
}

/// Which criteria of `find` a provider uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The name, else tags that are not empty.
    NameElseTags,
    /// The name, else tags, even empty ones.
    NameElseAnyTags,
    /// The name, else tags, even absent ones.
    NameElseTagsOrAll,
    /// Tags, else the name.
    TagsElseName,
    /// The name and tags, if they are not empty; all secrets without both.
    NameAndTags,
    /// The name.
    Name,
    /// Not known.
    Unknown,
}

impl ProviderKind {
    /// The providers whose rules are implemented.
    pub const KNOWN: [Self; 7] = [
        Self::ParameterStore,
        Self::SecretsManager,
        Self::AzureKeyVault,
        Self::Fake,
        Self::GcpSecretManager,
        Self::Kubernetes,
        Self::Vault,
    ];

    /// The provider of a store: a key of `spec.provider` with its settings.
    pub fn of(name: &str, settings: &Json) -> Self {
        match Self::KNOWN.into_iter().rfind(|kind| kind.name() == name) {
            Some(Self::SecretsManager) if at(settings, "/service") == "ParameterStore" => {
                Self::ParameterStore
            }
            Some(kind) => kind,
            None => Self::Other(name.to_owned()),
        }
    }

    /// The key in `spec.provider` of a store.
    pub fn name(&self) -> Cow<'static, str> {
        self.facts().name
    }

    /// The rules for the answers.
    pub fn rules(&self) -> Rules {
        self.facts().rules
    }

    /// The quota that a store's calls count against.
    pub fn quota(&self, settings: &Json) -> QuotaKey {
        let parts = (self.facts().quota)(settings);
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        QuotaKey {
            provider: self.clone(),
            account: parts.join(" "),
        }
    }

    /// The form that all spellings of a name share.
    pub fn canonical(&self, name: &str) -> String {
        let publishing = self.facts().publishing;
        publishing.map_or_else(|| name.to_owned(), |it| (it.canonical)(name))
    }

    /// The table. The rules of the operator come from its source at v0.20.4, prices and quotas from the providers' public pages.
    pub fn facts(&self) -> Facts {
        match self {
            Self::ParameterStore => parameter_store(),
            Self::SecretsManager => secrets_manager(),
            Self::AzureKeyVault => azure_key_vault(),
            Self::Fake => fake(),
            Self::GcpSecretManager => gcp_secret_manager(),
            Self::Kubernetes => kubernetes(),
            Self::Vault => vault(),
            Self::Other(name) => other(name),
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

const AWS_RULES: Rules = Rules {
    payload: Payload::Bytes,
    property: Property::EscapedThenPath,
    metadata: Metadata::Tags,
    absence: Absence::ErrorForMetadata,
    recognises_absent_search: false,
    search: Search::NameElseTags,
    converts_found_keys: false,
    empty_is_missing: false,
    keys_have_kinds: false,
};

fn parameter_store() -> Facts {
    Facts {
        service: Some("parameterStore"),
        rate: Some(10.0),
        reads_per_list: None,
        price: None,
        // The default throughput of `GetParameters`.
        read_quota: Some(Quota {
            per_second: 40.0,
            source: "https://docs.aws.amazon.com/general/latest/gr/ssm.html",
            as_of: "2026-11",
        }),
        permission: "ssm:GetParameters",
        naming: Naming::ParameterStore,
        rotation: RotationMetadata::NotKept,
        reads_keys_once: false,
        rules: Rules {
            absence: Absence::UnknownForMetadata,
            search: Search::NameElseAnyTags,
            ..AWS_RULES
        },
        publishing: Some(Publishing {
            names: NameRules::ParameterStore,
            // The default quota of `PutParameter` is 3 per second.
            rate: 2.0,
            space: aws_space,
            // `db` and `/db` have the same ARN.
            canonical: |name| match name.strip_prefix('/') {
                Some(rest) if !rest.contains('/') => rest.to_owned(),
                _ => name.to_owned(),
            },
            deletion_is_final: |_| true,
            keeps_records: |_| true,
            destroys_versions: false,
            has_keys: false,
            calls: [(0, 1), (0, 2)],
        }),
        ..secrets_manager()
    }
}

/// The account and region. Without a role, the account depends on the credentials.
fn aws_space(settings: &Json) -> Vec<String> {
    let mut space = (secrets_manager().quota)(settings);
    let auth = settings.pointer("/auth").filter(|auth| !auth.is_null());
    if at(settings, "/role").is_empty() {
        space.extend(auth.map(Json::to_string));
    }
    space
}

fn secrets_manager() -> Facts {
    Facts {
        name: "aws".into(),
        alias: None,
        service: None,
        feature: Some("aws"),
        rate: Some(100.0),
        reads_per_list: None,
        price: Some(Price {
            per_10_000: 0.05,
            source: "https://aws.amazon.com/secrets-manager/pricing/",
            as_of: "2026-11",
        }),
        // `GetSecretValue`.
        read_quota: Some(Quota {
            per_second: 10_000.0,
            source: "https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html",
            as_of: "2026-11",
        }),
        // The quota is per account and region. A role contains its account (arn:aws:iam::ACCOUNT:role/NAME).
        quota: |settings| {
            let account = at(settings, "/role").split(':').nth(4);
            vec![
                at(settings, "/service").to_owned(),
                at(settings, "/region").to_owned(),
                account.unwrap_or_default().to_owned(),
            ]
        },
        identity: Identity::NamedOrOperator(|settings| {
            names_any(
                settings,
                &["/auth/secretRef", "/auth/jwt/serviceAccountRef"],
            )
        }),
        permission: "secretsmanager:GetSecretValue",
        naming: Naming::SecretsManager,
        rotation: RotationMetadata::Kept,
        reads_keys_once: true,
        rules: AWS_RULES,
        publishing: Some(Publishing {
            names: NameRules::SecretsManager,
            // A quarter of the quota that `PutSecretValue` and `UpdateSecretVersionStage` share.
            rate: 12.5,
            space: aws_space,
            canonical: str::to_owned,
            deletion_is_final: |_| false,
            keeps_records: |_| true,
            destroys_versions: false,
            has_keys: false,
            calls: [(0, 1), (0, 3)],
        }),
    }
}

fn azure_key_vault() -> Facts {
    Facts {
        name: "azurekv".into(),
        alias: Some("azure"),
        service: None,
        feature: Some("azure"),
        rate: Some(100.0),
        reads_per_list: None,
        price: Some(Price {
            per_10_000: 0.03,
            source: "https://azure.microsoft.com/pricing/details/key-vault/",
            as_of: "2026-11",
        }),
        // 4,000 in ten seconds and vault.
        read_quota: Some(Quota {
            per_second: 400.0,
            source: "https://learn.microsoft.com/azure/key-vault/general/service-limits",
            as_of: "2026-11",
        }),
        quota: |settings| vec![normalized(at(settings, "/vaultUrl"))],
        identity: Identity::NamedOrOperator(azure_identity),
        permission: "Key Vault Secrets User",
        naming: Naming::KeyVault,
        rotation: RotationMetadata::Kept,
        reads_keys_once: false,
        rules: Rules {
            payload: Payload::Bytes,
            property: Property::PathThenEscaped,
            metadata: Metadata::IncompleteTags,
            absence: Absence::Recognised,
            recognises_absent_search: false,
            search: Search::NameAndTags,
            converts_found_keys: false,
            empty_is_missing: false,
            keys_have_kinds: true,
        },
        publishing: Some(Publishing {
            names: NameRules::KeyVault,
            // A quarter of 300 in ten seconds and vault.
            rate: 7.5,
            space: |settings| vec![normalized(at(settings, "/vaultUrl"))],
            // Key Vault ignores the case.
            canonical: str::to_ascii_lowercase,
            deletion_is_final: |_| false,
            keeps_records: |_| true,
            destroys_versions: false,
            has_keys: false,
            calls: [(2, 1), (2, 1)],
        }),
    }
}

fn fake() -> Facts {
    Facts {
        name: "fake".into(),
        alias: None,
        service: None,
        feature: None,
        rate: None,
        reads_per_list: None,
        price: None,
        read_quota: None,
        quota: |_| Vec::new(),
        identity: Identity::NotNeeded,
        permission: "",
        naming: Naming::Plain,
        rotation: RotationMetadata::NotKept,
        reads_keys_once: false,
        rules: Rules {
            payload: Payload::Bytes,
            property: Property::PathOrAbsent,
            metadata: Metadata::Ignored,
            absence: Absence::Recognised,
            recognises_absent_search: false,
            search: Search::Name,
            converts_found_keys: true,
            empty_is_missing: false,
            keys_have_kinds: false,
        },
        publishing: None,
    }
}

fn gcp_secret_manager() -> Facts {
    Facts {
        name: "gcpsm".into(),
        alias: Some("gcp"),
        service: None,
        feature: Some("gcp"),
        rate: Some(100.0),
        // A quarter of its quota is 150 per minute and project; that of reads is far above the default rate.
        reads_per_list: Some(40),
        price: Some(Price {
            per_10_000: 0.03,
            source: "https://cloud.google.com/secret-manager/pricing",
            as_of: "2026-11",
        }),
        // 90,000 per minute and project.
        read_quota: Some(Quota {
            per_second: 1500.0,
            source: "https://cloud.google.com/secret-manager/quotas",
            as_of: "2026-11",
        }),
        quota: |settings| {
            vec![
                at(settings, "/projectID").to_owned(),
                at(settings, "/location").to_owned(),
            ]
        },
        identity: Identity::NamedOrOperator(|settings| {
            names_any(
                settings,
                &[
                    "/auth/secretRef",
                    "/auth/workloadIdentity/serviceAccountRef",
                    "/auth/workloadIdentityFederation",
                ],
            )
        }),
        permission: "secretmanager.versions.access",
        naming: Naming::GcpSecretManager,
        rotation: RotationMetadata::Kept,
        reads_keys_once: false,
        rules: Rules {
            payload: Payload::Bytes,
            property: Property::EscapedThenPathOfJson,
            metadata: Metadata::LabelsAndAnnotations,
            absence: Absence::Recognised,
            recognises_absent_search: false,
            search: Search::NameElseTags,
            converts_found_keys: true,
            empty_is_missing: true,
            keys_have_kinds: false,
        },
        publishing: Some(Publishing {
            names: NameRules::GcpSecretManager,
            // A quarter of 600 per minute and project.
            rate: 2.5,
            space: |settings| (gcp_secret_manager().quota)(settings),
            canonical: str::to_owned,
            deletion_is_final: |_| true,
            keeps_records: |_| true,
            destroys_versions: true,
            has_keys: false,
            // Both read the new version back; an update looks at the secret, its versions and its value first.
            calls: [(1, 3), (4, 2)],
        }),
    }
}

fn kubernetes() -> Facts {
    Facts {
        name: "kubernetes".into(),
        alias: None,
        service: None,
        feature: None,
        rate: Some(100.0),
        reads_per_list: None,
        price: None,
        read_quota: None,
        quota: |settings| vec![normalized(at(settings, "/server/url"))],
        identity: Identity::ServiceAccount,
        permission: "get secrets",
        naming: Naming::Kubernetes,
        rotation: RotationMetadata::NotKept,
        reads_keys_once: false,
        rules: Rules {
            payload: Payload::Keys,
            property: Property::EscapedThenPath,
            metadata: Metadata::LabelsAndAnnotations,
            absence: Absence::ErrorForKeys,
            recognises_absent_search: false,
            search: Search::TagsElseName,
            converts_found_keys: true,
            empty_is_missing: false,
            keys_have_kinds: false,
        },
        publishing: None,
    }
}

fn vault() -> Facts {
    Facts {
        name: "vault".into(),
        alias: None,
        service: None,
        feature: Some("vault"),
        rate: Some(100.0),
        reads_per_list: None,
        price: None,
        read_quota: None,
        quota: |settings| vec![normalized(at(settings, "/server"))],
        identity: Identity::NamedOrOperator(vault_identity),
        permission: "the capability read",
        naming: Naming::Vault,
        rotation: RotationMetadata::NotKept,
        reads_keys_once: false,
        rules: Rules {
            payload: Payload::Json,
            property: Property::MemberThenPath,
            metadata: Metadata::IncompleteTags,
            absence: Absence::ErrorForMetadata,
            recognises_absent_search: true,
            search: Search::NameElseTagsOrAll,
            converts_found_keys: false,
            empty_is_missing: false,
            keys_have_kinds: false,
        },
        publishing: Some(Publishing {
            names: NameRules::VaultKv,
            rate: 50.0,
            space: |settings| {
                let part = |pointer| at(settings, pointer).trim_matches('/').to_owned();
                let server = normalized(at(settings, "/server"));
                // Vault's name for no namespace.
                let namespace = Some(part("/namespace")).filter(|name| name != "root");
                vec![server, namespace.unwrap_or_default(), part("/path")]
            },
            canonical: |name| {
                let parts = name.split('/').filter(|part| !part.is_empty());
                parts.collect::<Vec<_>>().join("/")
            },
            // Version 1 of the KV engine keeps no versions.
            deletion_is_final: |settings| at(settings, "/version") == "v1",
            keeps_records: |settings| at(settings, "/version") != "v1",
            destroys_versions: true,
            has_keys: true,
            calls: [(1, 3), (1, 2)],
        }),
    }
}

fn other(name: &str) -> Facts {
    Facts {
        name: name.to_owned().into(),
        alias: None,
        service: None,
        feature: None,
        rate: None,
        reads_per_list: None,
        price: None,
        read_quota: None,
        // Most providers have one of these.
        quota: |settings| {
            let url = normalized(at(settings, "/url"));
            let host = url.split('/').nth(2).unwrap_or_default();
            vec![normalized(at(settings, "/server")), host.to_owned()]
        },
        identity: Identity::Unknown,
        permission: "",
        naming: Naming::Plain,
        rotation: RotationMetadata::Unknown,
        reads_keys_once: false,
        rules: Rules {
            payload: Payload::Unknown,
            property: Property::PathOrAbsent,
            metadata: Metadata::Ignored,
            absence: Absence::Recognised,
            recognises_absent_search: false,
            search: Search::Unknown,
            converts_found_keys: false,
            empty_is_missing: false,
            keys_have_kinds: false,
        },
        publishing: None,
    }
}

fn azure_identity(settings: &Json) -> bool {
    match at(settings, "/authType") {
        "ManagedIdentity" => false,
        "WorkloadIdentity" => names_any(settings, &["/serviceAccountRef"]),
        // The default is a service principal.
        _ => names_any(settings, &["/authSecretRef"]),
    }
}

fn vault_identity(settings: &Json) -> bool {
    let Some(methods) = settings.pointer("/auth").and_then(Json::as_object) else {
        return false;
    };
    methods.iter().any(|(method, of)| match method.as_str() {
        _ if of.is_null() => false,
        "namespace" => false,
        "kubernetes" => names_any(of, &["/serviceAccountRef", "/secretRef"]),
        "iam" => names_any(of, &["/secretRef", "/jwt"]),
        "gcp" => names_any(of, &["/secretRef", "/workloadIdentity"]),
        // The other methods have credentials of their own. Their login checks that the method is supported.
        _ => true,
    })
}

fn names_any(settings: &Json, pointers: &[&str]) -> bool {
    let names = |pointer: &&str| settings.pointer(pointer).is_some_and(|it| !it.is_null());
    pointers.iter().any(names)
}

pub(crate) fn at<'a>(settings: &'a Json, pointer: &str) -> &'a str {
    let value = settings.pointer(pointer).and_then(Json::as_str);
    value.unwrap_or_default()
}

/// The name of a provider in policies: as in a store's spec, its alias, or the name of one service. It may cover several kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderName(String);

/// The error for a text that cannot be a provider's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a provider type")]
pub struct InvalidProviderName;

impl ProviderName {
    /// The name that a service shares with other kinds, as in the spec of a store.
    pub fn shared(&self) -> Option<Self> {
        let mut kinds = ProviderKind::KNOWN.iter().map(ProviderKind::facts);
        let service = kinds.find(|facts| facts.service == Some(&*self.0))?;
        Some(Self(service.name.into_owned()))
    }

    /// True if stores of this kind have the name.
    pub fn covers(&self, kind: &ProviderKind) -> bool {
        Self::from(kind) == *self || kind.name() == self.0
    }

    /// The value for a kind: that of its own name, else that of the name that it shares.
    pub fn value_of<'a, T>(by_name: &'a BTreeMap<Self, T>, kind: &ProviderKind) -> Option<&'a T> {
        let own = Self::from(kind);
        by_name.get(&own).or_else(|| by_name.get(&own.shared()?))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&ProviderKind> for ProviderName {
    /// The name that no other kind has.
    fn from(kind: &ProviderKind) -> Self {
        let service = kind.facts().service;
        Self(service.map_or_else(|| kind.name().into_owned(), str::to_owned))
    }
}

impl FromStr for ProviderName {
    type Err = InvalidProviderName;

    fn from_str(text: &str) -> Result<Self, InvalidProviderName> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(InvalidProviderName);
        }
        let mut known = ProviderKind::KNOWN.iter().map(ProviderKind::facts);
        let aliased = known.find(|facts| facts.alias == Some(text));
        Ok(Self(aliased.map_or_else(
            || text.to_owned(),
            |facts| facts.name.into_owned(),
        )))
    }
}

impl TryFrom<String> for ProviderName {
    type Error = InvalidProviderName;

    fn try_from(text: String) -> Result<Self, InvalidProviderName> {
        text.parse()
    }
}

impl From<ProviderName> for String {
    fn from(name: ProviderName) -> Self {
        name.0
    }
}

/// The key of a provider quota: an account and region, a vault, a project or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaKey {
    pub provider: ProviderKind,
    /// Distinguishes accounts of the provider; empty if the spec names none.
    pub account: String,
}

impl fmt::Display for QuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.account.is_empty() {
            write!(f, "{}", self.provider)
        } else {
            write!(f, "{} {}", self.provider, self.account)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_alias() {
        for kind in ProviderKind::KNOWN {
            let service = if kind == ProviderKind::ParameterStore {
                json!({"service": "ParameterStore"})
            } else {
                json!({})
            };
            let facts = kind.facts();
            assert_eq!(ProviderKind::of(&facts.name, &service), kind);
            for name in [facts.alias, Some(&*facts.name)].into_iter().flatten() {
                assert!(
                    name.parse::<ProviderName>().unwrap().covers(&kind),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn parameter_store_has_a_name_of_its_own_and_that_of_aws() {
        let covered = |name: &str| {
            let name: ProviderName = name.parse().unwrap();
            let mut kinds = ProviderKind::KNOWN.to_vec();
            kinds.retain(|kind| name.covers(kind));
            kinds
        };
        let [parameters, secrets] = [ProviderKind::ParameterStore, ProviderKind::SecretsManager];
        assert_eq!(covered("aws"), [parameters.clone(), secrets]);
        assert_eq!(covered("parameterStore"), std::slice::from_ref(&parameters));
        let mut values = BTreeMap::from([("aws".parse().unwrap(), 1)]);
        assert_eq!(ProviderName::value_of(&values, &parameters), Some(&1));
        values.insert("parameterStore".parse().unwrap(), 2);
        assert_eq!(ProviderName::value_of(&values, &parameters), Some(&2));
    }

    #[test]
    fn stores_that_share_an_account_share_a_quota() {
        let quota = |name: &str, settings: Json| {
            ProviderKind::of(name, &settings)
                .quota(&settings)
                .to_string()
        };
        let role = "arn:aws:iam::123456789012:role/r";
        assert_eq!(
            quota(
                "aws",
                json!({"service": "SecretsManager", "region": "eu-west-1", "role": role})
            ),
            "aws SecretsManager eu-west-1 123456789012"
        );
        assert_eq!(
            quota("azurekv", json!({"vaultUrl": "https://a.vault.azure.net"})),
            "azurekv https://a.vault.azure.net"
        );
        assert_eq!(
            quota("vault", json!({"server": "https://v:8200", "path": "kv"})),
            "vault https://v:8200"
        );
        assert_eq!(
            quota("openBao", json!({"server": "https://b:8200"})),
            "openBao https://b:8200"
        );
        assert_eq!(
            quota("webhook", json!({"url": "https://h:1/a?b"})),
            "webhook h:1"
        );
        assert_eq!(quota("fake", json!({"data": []})), "fake");
    }

    #[test]
    fn spellings_of_an_address_share_a_quota() {
        for (name, pointer) in [
            ("vault", "server"),
            ("azurekv", "vaultUrl"),
            ("openBao", "server"),
            ("webhook", "url"),
        ] {
            let quota = |address: &str| {
                let settings = json!({pointer: address});
                ProviderKind::of(name, &settings).quota(&settings)
            };
            let first = quota("https://host.corp:8200");
            for spelling in [
                "https://host.corp:8200/",
                "https://Host.corp:8200",
                "HTTPS://u:p@host.corp.:8200",
            ] {
                assert_eq!(quota(spelling), first, "{name} {spelling}");
            }
            for other in ["https://host.corp:8201", "https://host2.corp:8200"] {
                assert_ne!(quota(other), first, "{name} {other}");
            }
        }
        let kubernetes = |url: &str| {
            let settings = json!({"server": {"url": url}});
            ProviderKind::Kubernetes.quota(&settings)
        };
        assert_eq!(kubernetes("https://k:6443/"), kubernetes("https://K:6443"));
        assert_eq!(kubernetes("https://k:443"), kubernetes("k"));
    }

    #[test]
    fn lists_have_a_rate_of_their_own_where_their_quota_is_smaller() {
        let gcp = ProviderKind::of("gcpsm", &json!({})).facts();
        for (reads, lists) in [(100.0, 2.5), (200.0, 5.0), (10.0, 2.5), (1.0, 1.0)] {
            assert_eq!(gcp.list_rate(reads), Some(lists), "{reads}");
        }
        let vault = ProviderKind::of("vault", &json!({})).facts();
        assert_eq!(vault.list_rate(100.0), None);
    }

    #[test]
    fn unknown_provider_has_no_safe_identity() {
        let kind = ProviderKind::of("vaults", &json!({}));
        assert_eq!(kind, ProviderKind::Other("vaults".to_owned()));
        assert!(matches!(kind.facts().identity, Identity::Unknown));
    }
}
