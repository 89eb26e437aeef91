//! What the External Secrets Operator does, as pure functions: digests, refresh rules, conditions, cost.
//!
//! Everything here was read from the operator's source (v0.3.6 to v2.9.0) and is held to the running operator by the
//! cluster tests. No I/O, no clock; this room could be a crate one day.

pub mod digest;
pub mod duration;
pub mod expected;
pub mod gjson;
pub mod gojson;
mod id;
mod provider;
pub mod refresh;
pub mod template;
pub mod texts;

pub use self::{
    id::{Id, InvalidStoreKey, StoreKey, StoreKind},
    provider::QuotaKey,
};

/// API group of ExternalSecret, SecretStore and their cluster-wide siblings.
pub const GROUP: &str = "external-secrets.io";

/// The annotation that a ClusterExternalSecret mirrors to its children
/// (`AnnotationForceSync` in the operator's `externalsecret_types.go`, since v0.20.0).
pub const PARENT_FORCE_SYNC: &str = "external-secrets.io/force-sync";

/// `spec.controller` of a store that the operator's default controller class serves (flag `--controller-class`).
pub const DEFAULT_CLASS: &str = "default";

/// The annotation of a target Secret in which the operator records a digest of what it wrote.
pub const DATA_HASH: &str = "reconcile.external-secrets.io/data-hash";
