//! The answers of providers.

use std::collections::BTreeMap;

use secret::Value;

use super::verdict::{Failure, Unverifiable};
use crate::provider::ProviderKind;

/// The answer to a read. It borrows its content, because many ExternalSecrets read the same secret.
#[derive(Clone)]
pub struct Answer<'a> {
    pub provider: &'a ProviderKind,
    pub content: Content<'a>,
}

#[derive(Clone)]
pub enum Content<'a> {
    /// A secret or its metadata.
    One(&'a Raw),
    /// The results of a search, by the names that the provider's regular expressions apply to. Names that do not match
    /// may be included.
    Many(&'a BTreeMap<String, Raw>),
    /// The secret or version does not exist, or is deleted.
    NotFound,
    /// The operator's read would fail.
    Fails(Failure),
    /// The read failed.
    Unread(Unverifiable),
}

/// A secret in the format of the provider's API.
pub enum Raw {
    /// Bytes: AWS Secrets Manager, Parameter Store, Azure secrets, Google, Fake.
    Bytes(Value),
    /// The JSON object of a Vault secret's data (for KV version 2, the inner one).
    Json(Value),
    /// The data of a Kubernetes Secret.
    Keys(BTreeMap<String, Value>),
    /// Tags of AWS and Azure, or `custom_metadata` of Vault.
    Tags(BTreeMap<String, Value>),
    /// Labels and annotations of Google or Kubernetes.
    Metadata {
        labels: BTreeMap<String, Value>,
        annotations: BTreeMap<String, Value>,
    },
}
