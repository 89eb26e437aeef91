//! What a provider answered.

use std::collections::BTreeMap;

use secret::Value;

use super::verdict::{Failure, Unverifiable};

/// The providers whose rules are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// AWS Secrets Manager.
    AwsSecretsManager,
    /// AWS Systems Manager Parameter Store.
    AwsParameterStore,
    /// Azure Key Vault.
    AzureKeyVault,
    /// Google Cloud Secret Manager.
    GcpSecretManager,
    /// The KV engines of Vault and of OpenBao.
    Vault,
    /// Another Kubernetes namespace or cluster.
    Kubernetes,
    /// The operator's own, for tests.
    Fake,
}

/// The answer to a read. It borrows: many ExternalSecrets read the same secret.
#[derive(Clone)]
pub struct Answer<'a> {
    /// Who answered.
    pub provider: Provider,
    /// What.
    pub content: Content<'a>,
}

/// What was answered.
#[derive(Clone)]
pub enum Content<'a> {
    /// A secret, or its metadata.
    One(&'a Raw),
    /// What a search found, by the names that the provider's regular expressions are matched against. (Those that do not
    /// match may be among them.)
    Many(&'a BTreeMap<String, Raw>),
    /// There is no such secret, no such version, or it is deleted.
    NotFound,
    /// The operator would fail.
    Fails(Failure),
    /// It could not be read.
    Unread(Unverifiable),
}

/// A secret as the provider's API gives it.
pub enum Raw {
    /// Bytes: both of AWS, Azure's secrets, Google, Fake.
    Bytes(Value),
    /// The text of the JSON object that holds a Vault secret's data (for version 2 of KV, the inner one).
    Json(Value),
    /// A Kubernetes Secret's data.
    Keys(BTreeMap<String, Value>),
    /// Tags of AWS and Azure, `custom_metadata` of Vault.
    Tags(BTreeMap<String, Value>),
    /// Labels and annotations of Google and Kubernetes.
    Metadata {
        /// The labels.
        labels: BTreeMap<String, Value>,
        /// The annotations.
        annotations: BTreeMap<String, Value>,
    },
}
