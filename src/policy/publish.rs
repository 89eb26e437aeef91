//! The section `publish`: what is published from Git to a provider, and how.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, path::PathBuf, time::Duration};

use ::publish::{
    Creation, Layout, Tier,
    name::Style,
    plan::{Adopt, OnForeignChange, PruneMode, When},
};
use eso_model::StoreKind;
use repository::{Dialect, Format};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{
    form::{self, Entries, Written},
    key_from::KeyFrom,
    written::{self, in_order},
};
use crate::pattern::Wildcard;

/// Secrets from repositories that `eso-sync publish` writes to providers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct Publish {
    /// The name of this publisher, which is written to each secret with the item's name. Another publisher must have another name.
    #[schemars(with = "Written<form::Owner>")]
    pub owner: String,
    /// The key of the marks that recognise an unchanged value without reading it. Without a key, each run reads and compares all
    /// values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::Key>>")]
    pub key: Option<KeyFrom>,
    /// What is published. Each item is read, compared and written for itself.
    pub items: Vec<PublishItem>,
}

impl Publish {
    /// True if a sync follows the publication of an item. Suspended items count, so that they can be resumed.
    pub fn syncs(&self) -> bool {
        self.items.iter().any(|item| item.then.sync)
    }
}

/// One entry of `publish.items`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct PublishItem {
    /// A unique name, for reports and for the owner tag.
    #[schemars(with = "Written<form::ObjectName>")]
    pub name: String,
    /// True to leave the item alone.
    #[serde(default)]
    pub suspend: bool,
    /// The repository: exactly one of `path`, `flux`, `argocd` and `git`.
    pub source: SourceFrom,
    /// What is read from it: exactly one of `profile`, `kustomize` and `files`.
    pub read: ReadFrom,
    /// How encrypted files are decrypted.
    #[serde(default)]
    pub sops: Sops,
    /// The provider: exactly one of `store`, `aws`, `azure`, `gcp` and `vault`.
    pub to: PublishTo,
    /// How names at the provider are made.
    #[serde(default, rename = "names")]
    pub naming: Naming,
    /// `per-key`: a secret for each key. `document`: one secret for each service, or for the item, with the keys and values in it; its name
    /// is made of prefix and suffix. Only Vault and OpenBao have such secrets. Keys that others wrote to it stay.
    #[serde(default)]
    pub layout: Layout,
    /// How secrets are created. Secrets that exist are not changed by it. A part that the provider does not have is an error.
    #[serde(default)]
    pub create: Create,
    /// When values are written.
    #[serde(default)]
    pub write: Write,
    /// Old versions.
    #[serde(default)]
    pub versions: Versions,
    /// Secrets that the repository no longer has.
    #[serde(default)]
    pub prune: Prune,
    /// What follows the publication.
    #[serde(default)]
    pub then: Then,
}

/// What follows the publication of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Then {
    /// True to sync the ExternalSecrets that read what was published, as `eso-sync run` does: those that the policy selects, within
    /// its limits, proven, and with its restarts. With `drift.enabled`, the ExternalSecrets that read unchanged secrets of the
    /// item are checked, too, so that the next publication completes one that was interrupted.
    pub sync: bool,
}

/// Where the files are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SourceFrom {
    /// A folder that contains a checkout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathSource>,
    /// The artifact of a Flux GitRepository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flux: Option<FluxSource>,
    /// The repository and the revision of an Application of Argo CD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argocd: Option<ArgoCdSource>,
    /// A Git repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
}

impl SourceFrom {
    /// True if it is read with the help of a cluster.
    pub fn needs_cluster(&self) -> bool {
        let Self {
            path: _,
            flux,
            argocd,
            git,
        } = self;
        let has_secret = git.as_ref().is_some_and(|git| git.secret.is_some());
        flux.is_some() || argocd.is_some() || has_secret
    }
}

/// As in `--allow-source`: `path/DIR`, `flux/NAMESPACE/NAME`, `argocd/NAMESPACE/NAME`, `git/URL` or `git/URL@REF`.
impl fmt::Display for SourceFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            flux,
            argocd,
            git,
        } = self;
        if let Some(PathSource { dir, .. }) = path {
            write!(f, "path/{}", dir.display())?;
        }
        if let Some(FluxSource { namespace, name }) = flux {
            write!(f, "flux/{namespace}/{name}")?;
        }
        if let Some(ArgoCdSource {
            namespace, name, ..
        }) = argocd
        {
            write!(f, "argocd/{namespace}/{name}")?;
        }
        if let Some(GitSource {
            url, git_ref: of, ..
        }) = git
        {
            write!(f, "git/{url}")?;
            if let Some(of) = of {
                write!(f, "@{of}")?;
            }
        }
        Ok(())
    }
}

/// `source.path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct PathSource {
    /// The folder, relative to the current one, without `..`. With `--allow-source`, links in its path are followed only to folders
    /// that the flag permits, too.
    #[schemars(with = "Written<form::Folder>")]
    pub dir: PathBuf,
    /// The revision of the checkout, for the report. Without it, `GITHUB_SHA` or what `.git/HEAD` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::Revision>>")]
    pub revision: Option<String>,
}

/// `source.flux`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct FluxSource {
    /// The namespace of the GitRepository.
    #[schemars(with = "Written<form::ObjectName>")]
    pub namespace: String,
    /// The name of the GitRepository.
    #[schemars(with = "Written<form::ObjectName>")]
    pub name: String,
}

/// `source.argocd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct ArgoCdSource {
    /// The namespace of the Application.
    #[schemars(with = "Written<form::ObjectName>")]
    pub namespace: String,
    /// The name of the Application.
    #[schemars(with = "Written<form::ObjectName>")]
    pub name: String,
    /// The repositories that the Application may name. Whoever edits it chooses the repository, and so what is published.
    #[schemars(with = "Vec<Written<form::Glob>>", extend("minItems" = 1))]
    pub repos: Vec<Wildcard>,
    /// `synced`: the commit that Argo CD synced. `target`: the Application's `targetRevision`.
    #[serde(default)]
    pub revision: ArgoCdRevision,
    /// Which of several sources, from 0. Required if the Application has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// A Secret in the job's own namespace with the credentials for the repository, as Argo CD or Flux write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::ObjectName>>")]
    pub secret: Option<String>,
}

/// The revision of an Application that is read.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum ArgoCdRevision {
    /// The commit that Argo CD synced.
    #[default]
    Synced,
    /// The Application's `targetRevision`.
    Target,
}

/// `source.git`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct GitSource {
    /// The address: `https://HOST/PATH`, or `ssh://USER@HOST/PATH` in an image with the program `ssh`.
    #[schemars(with = "Written<form::GitAddress>")]
    pub url: String,
    /// A branch, a tag, a whole name such as `refs/heads/main`, or a commit. Without it, the default branch.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::Revision>>")]
    pub git_ref: Option<String>,
    /// A Secret in the job's own namespace with the credentials for the repository, as Argo CD or Flux write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::ObjectName>>")]
    pub secret: Option<String>,
}

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct ReadFrom {
    /// The files of services: below `basePath`, each folder `deployment-configuration` is one, and its files are in
    /// `profiles/ENVIRONMENT` or `ENVIRONMENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The Secrets that a kustomization makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<Kustomize>,
    /// Single files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileToRead>,
}

/// `read.profile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct Profile {
    /// The environment.
    #[schemars(with = "Written<form::ObjectName>")]
    pub environment: String,
    /// The folder that contains the services. Without it, the whole repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::RepositoryPath>>")]
    pub base_path: Option<String>,
    /// How the lines of dotenv and properties files are read. Without it, a line that the dialects read differently is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// What `application.properties` becomes. `json`: one secret with all properties. `secrets`: a secret for each. `parameters`: a
    /// parameter of the type `String` for each, and no secrets. `none`: nothing.
    #[serde(default)]
    pub properties: Properties,
}

/// What the properties of a service become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Properties {
    #[default]
    Json,
    Secrets,
    Parameters,
    None,
}

/// `read.kustomize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct Kustomize {
    /// The folder of the kustomization.
    #[schemars(with = "Written<form::RepositoryPath>")]
    pub path: String,
}

/// One entry of `read.files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct FileToRead {
    /// The file.
    #[schemars(with = "Written<form::RepositoryPath>")]
    pub path: String,
    /// Without it, the format follows from the file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// How its lines are read. Without it, a line that the dialects read differently is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
}

/// The decryption of an item's files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Sops {
    /// The private keys: age identities and armoured PGP keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Written<form::Key>>")]
    pub keys: Vec<KeyFrom>,
    /// The keys of key services that may open files, as in `.sops.yaml`: ARNs of AWS KMS, resources of GCP KMS, and the addresses of
    /// keys of Key Vault (`https://VAULT/keys/NAME/VERSION`) and Vault transit (`https://HOST/v1/MOUNT/keys/NAME`). They are asked
    /// with the job's own credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Written<form::Glob>>")]
    pub kms: Vec<Wildcard>,
    /// True to accept empty values in encrypted files. The MAC of SOPS does not cover them.
    pub allow_empty: bool,
    /// True to accept values that are not encrypted in encrypted files. Their names are not covered by the MAC of SOPS.
    pub allow_unencrypted: bool,
}

/// Where the item is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>, extend("minProperties" = 1, "maxProperties" = 1))]
pub struct PublishTo {
    /// A store of the External Secrets Operator: its provider, account and prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreTarget>,
    /// AWS with the job's own credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsTarget>,
    /// Azure Key Vault with the job's own credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureTarget>,
    /// Google Secret Manager with the job's own credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp: Option<GcpTarget>,
    /// Vault or OpenBao with the job's own credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultTarget>,
}

impl PublishTo {
    /// The provider's word and the settings of a target that is not a store, in the form of the spec of a store.
    pub fn direct(&self) -> Option<(&'static str, Json)> {
        let Self {
            store: _,
            aws,
            azure,
            gcp,
            vault,
        } = self;
        if let Some(AwsTarget { region, service }) = aws {
            return Some(("aws", json!({"region": region, "service": service})));
        }
        if let Some(azure) = azure {
            return Some(("azurekv", azure.settings()));
        }
        if let Some(GcpTarget { project, location }) = gcp {
            let location = location.as_deref().unwrap_or_default();
            let settings = json!({"projectID": project, "location": location});
            return Some(("gcpsm", settings));
        }
        let VaultTarget {
            server,
            path,
            namespace,
        } = vault.as_ref()?;
        Some((
            "vault",
            json!({"server": server, "path": path, "namespace": namespace, "version": "v2"}),
        ))
    }
}

/// As in `--allow-target`: `ClusterSecretStore/NAME`, `SecretStore/NAMESPACE/NAME`, `aws/REGION`, `parameterStore/REGION`,
/// `azure/URL`, `gcp/PROJECT`, `gcp/PROJECT/LOCATION`, `vault/URL/MOUNT` or `vault/URL/MOUNT?namespace=NAMESPACE`.
impl fmt::Display for PublishTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store,
            aws,
            azure,
            gcp,
            vault,
        } = self;
        if let Some(StoreTarget {
            kind,
            namespace,
            name,
        }) = store
        {
            f.write_str(kind.into_str())?;
            if let Some(namespace) = namespace {
                write!(f, "/{namespace}")?;
            }
            write!(f, "/{name}")?;
        }
        if let Some(AwsTarget { region, service }) = aws {
            let word = match service {
                AwsService::SecretsManager => "aws",
                AwsService::ParameterStore => "parameterStore",
            };
            write!(f, "{word}/{region}")?;
        }
        if let Some(AzureTarget { vault_url }) = azure {
            write!(f, "azure/{}", vault_url.trim_end_matches('/'))?;
        }
        if let Some(GcpTarget { project, location }) = gcp {
            write!(f, "gcp/{project}")?;
            if let Some(location) = location {
                write!(f, "/{location}")?;
            }
        }
        if let Some(target) = vault {
            let server = target.server.trim_end_matches('/');
            write!(f, "vault/{server}/{}", target.path)?;
            // Another namespace is another place.
            if let Some(namespace) = &target.namespace {
                write!(f, "?namespace={namespace}")?;
            }
        }
        Ok(())
    }
}

/// `to.store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct StoreTarget {
    /// The kind of the store.
    pub kind: StoreKind,
    /// The namespace of a SecretStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::ObjectName>>")]
    pub namespace: Option<String>,
    /// The name of the store.
    #[schemars(with = "Written<form::ObjectName>")]
    pub name: String,
}

/// `to.aws`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct AwsTarget {
    /// The region.
    #[schemars(with = "Written<form::CloudName>")]
    pub region: String,
    /// The service that holds the secrets.
    #[serde(default)]
    pub service: AwsService,
}

/// A service of AWS that holds secrets.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::IntoStaticStr,
)]
pub enum AwsService {
    #[default]
    SecretsManager,
    ParameterStore,
}

/// `to.gcp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct GcpTarget {
    /// The ID of the project.
    #[schemars(with = "Written<form::CloudName>")]
    pub project: String,
    /// The location of regional secrets. Without it, secrets are global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::CloudName>>")]
    pub location: Option<String>,
}

/// `to.azure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct AzureTarget {
    /// The address of the vault: `https://NAME.vault.azure.net`. A host that is not Azure's must be one of `drift.endpoints`.
    #[schemars(with = "Written<form::Endpoint>")]
    pub vault_url: String,
}

impl AzureTarget {
    /// The settings of a store. The host tells the cloud.
    fn settings(&self) -> Json {
        let host = self.vault_url.trim_end_matches('/').to_ascii_lowercase();
        let environment = if host.ends_with(".vault.usgovcloudapi.net") {
            "USGovernmentCloud"
        } else if host.ends_with(".vault.azure.cn") {
            "ChinaCloud"
        } else {
            "PublicCloud"
        };
        json!({"vaultUrl": self.vault_url, "environmentType": environment})
    }
}

/// `to.vault`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = in_order::<Self>)]
pub struct VaultTarget {
    /// The address, which must be one of `drift.endpoints`.
    #[schemars(with = "Written<form::Endpoint>")]
    pub server: String,
    /// The mount of a KV engine.
    #[schemars(with = "Written<form::MountPath>")]
    pub path: String,
    /// The namespace of Vault Enterprise or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::MountPath>>")]
    pub namespace: Option<String>,
}

/// How names at the provider are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Naming {
    /// Text before the key. Without it, the name of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::NamePart>>")]
    pub prefix: Option<String>,
    /// Text after the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::NamePart>>")]
    pub suffix: Option<String>,
    /// `join`: prefix, key and suffix, joined by `-`; a character that the provider does not accept is an error. `smc`: as the
    /// Secret Manager Controller makes names: such characters become `_`. `path`: joined by `/`.
    pub style: Style,
}

/// How secrets are created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Create {
    /// Additional tags of AWS, labels of GCP, or custom metadata of Vault.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Entries<form::Tag, Written<form::Tag>>")]
    pub tags: BTreeMap<String, String>,
    /// AWS: the ID, ARN or alias of a KMS key. GCP: the resource name of a key of Cloud KMS. Without it, the provider's own key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Written<form::KmsKey>>")]
    pub kms_key: Option<String>,
    /// GCP: the locations of the replicas of global secrets. Without any, Google chooses them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Written<form::CloudName>>")]
    pub replication: Vec<String>,
    /// AWS Parameter Store: `standard` (up to 4 KiB), or `advanced` (up to 8 KiB). `advanced` costs money, and a parameter cannot
    /// return to `standard`.
    pub tier: Tier,
}

impl From<&Create> for Creation {
    fn from(create: &Create) -> Self {
        let Create {
            tags,
            kms_key,
            replication,
            tier,
        } = create.clone();
        Self {
            tags,
            kms_key,
            replication,
            tier,
        }
    }
}

/// When values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Write {
    /// `changed`: what differs. `absent`: only what the provider does not have.
    pub when: When,
    /// What to do with a secret that has no owner. `never`: leave it alone. `equal`: take it over if it has the wanted value. `any`:
    /// take it over, and write the wanted value.
    pub adopt: Adopt,
    /// What to do with a value of ours that somebody else changed. `report`: only report it. `overwrite`: write the value of the
    /// repository.
    pub on_foreign_change: OnForeignChange,
}

/// Old versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Versions {
    /// How many old versions stay. Without it, all. Only own versions that are older than 30 days are destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<NonZeroU32>,
}

/// Secrets that the repository no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(transform = in_order::<Self>)]
pub struct Prune {
    /// `report`: only report them. `prune`: delete them, in a way that can be undone where the provider supports it.
    pub mode: PruneMode,
    /// How long they stay before they are deleted where that cannot be undone.
    #[serde(with = "written::duration")]
    #[schemars(with = "Written<form::Duration>")]
    pub after: Duration,
    /// If more would be deleted, none is.
    pub max: NonZeroU32,
}

impl Default for Prune {
    fn default() -> Self {
        Self {
            mode: PruneMode::Report,
            after: Duration::from_hours(30 * 24),
            max: const { NonZeroU32::new(5).unwrap() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vault_of_azure_is_named_by_its_address() {
        let of = |url: &str| PublishTo {
            azure: Some(AzureTarget {
                vault_url: url.to_owned(),
            }),
            ..PublishTo::default()
        };
        let word = of("https://shop.vault.azure.net/").to_string();
        assert_eq!(word, "azure/https://shop.vault.azure.net");
        for (url, environment) in [
            ("https://shop.vault.azure.net", "PublicCloud"),
            ("https://shop.vault.azure.cn/", "ChinaCloud"),
            ("https://shop.vault.usgovcloudapi.net", "USGovernmentCloud"),
        ] {
            let (provider, settings) = of(url).direct().unwrap();
            assert_eq!(provider, "azurekv");
            assert_eq!(settings["vaultUrl"], url);
            assert_eq!(settings["environmentType"], environment);
        }
    }

    /// A ceiling for one namespace must not permit another one, and two items must not share a connection.
    #[test]
    fn a_namespace_of_vault_is_another_target() {
        let word = |namespace: Option<&str>| {
            let target = VaultTarget {
                server: "https://v:8200/".to_owned(),
                path: "kv".to_owned(),
                namespace: namespace.map(str::to_owned),
            };
            let to = PublishTo {
                vault: Some(target),
                ..PublishTo::default()
            };
            to.to_string()
        };
        assert_eq!(word(None), "vault/https://v:8200/kv");
        assert_eq!(word(Some("team")), "vault/https://v:8200/kv?namespace=team");
    }

    #[test]
    fn a_location_of_a_project_is_another_target() {
        let to = |location: Option<&str>| PublishTo {
            gcp: Some(GcpTarget {
                project: "shop-prod".to_owned(),
                location: location.map(str::to_owned),
            }),
            ..PublishTo::default()
        };
        assert_eq!(to(None).to_string(), "gcp/shop-prod");
        assert_eq!(
            to(Some("europe-west1")).to_string(),
            "gcp/shop-prod/europe-west1"
        );
        let (provider, settings) = to(None).direct().unwrap();
        assert_eq!(provider, "gcpsm");
        assert_eq!(settings, json!({"projectID": "shop-prod", "location": ""}));
    }
}
