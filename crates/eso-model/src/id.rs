//! Names of the operator's objects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Namespace and name of a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(
    Clone,
    Copy,
    Debug,
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
#[strum(const_into_str)]
pub enum StoreKind {
    /// In a namespace.
    SecretStore,
    /// For the whole cluster.
    ClusterSecretStore,
}

/// A store, printed as `ClusterSecretStore/name` or `SecretStore/namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKey {
    Cluster {
        name: String,
    },
    /// A SecretStore.
    Namespaced {
        namespace: String,
        name: String,
    },
}

impl StoreKey {
    /// The kind of the store.
    pub const fn kind(&self) -> StoreKind {
        match self {
            Self::Cluster { .. } => StoreKind::ClusterSecretStore,
            Self::Namespaced { .. } => StoreKind::SecretStore,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Cluster { name } | Self::Namespaced { name, .. } => name,
        }
    }

    /// The namespace, if this is a SecretStore.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Cluster { .. } => None,
            Self::Namespaced { namespace, .. } => Some(namespace),
        }
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { name } => write!(f, "ClusterSecretStore/{name}"),
            Self::Namespaced { namespace, name } => write!(f, "SecretStore/{namespace}/{name}"),
        }
    }
}

/// The error for text that is not a store key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a store; write `ClusterSecretStore/NAME` or `SecretStore/NAMESPACE/NAME`")]
pub struct InvalidStoreKey;

impl FromStr for StoreKey {
    type Err = InvalidStoreKey;

    fn from_str(text: &str) -> Result<Self, InvalidStoreKey> {
        let parts: Vec<&str> = text.split('/').collect();
        match *parts {
            ["ClusterSecretStore", name] if !name.is_empty() => Ok(Self::Cluster {
                name: name.to_owned(),
            }),
            ["SecretStore", namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::Namespaced {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(InvalidStoreKey),
        }
    }
}
