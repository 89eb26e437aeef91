//! The External Secrets Operator's behaviour as pure functions: digests, refresh rules, conditions, cost.
//!
//! All rules come from the operator's source (v0.3.6 to v2.9.0). The cluster tests compare them with a running operator.
//! No I/O and no clock.

pub mod budget;
pub mod digest;
pub mod duration;
pub mod expected;
pub mod gjson;
pub mod gojson;
mod id;
pub mod provider;
pub mod reached;
pub mod refresh;
pub mod remote;
pub mod rotation;
pub mod template;
pub mod texts;
pub mod unread;
pub mod version;
pub mod window;
mod words;

pub use self::{
    id::{Id, InvalidStoreKey, StoreKey, StoreKind},
    provider::{ProviderKind, ProviderName, QuotaKey},
    words::Word,
};

/// The API group of ExternalSecret, SecretStore and their cluster-scoped kinds.
pub const GROUP: &str = "external-secrets.io";

/// The annotation that a ClusterExternalSecret copies to its children (`AnnotationForceSync` in the operator's
/// `externalsecret_types.go`, since v0.20.0).
pub const PARENT_FORCE_SYNC: &str = "external-secrets.io/force-sync";

/// The `spec.controller` value of stores for the operator's default controller class (flag `--controller-class`).
pub const DEFAULT_CLASS: &str = "default";

/// The annotation on the target Secret that holds the operator's digest of the written data.
pub const DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";

/// Compiles and runs the code in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
