//! When a provider rotates a secret, by the secret's metadata.

use std::time::Duration;

use jiff::Timestamp;

use crate::StoreKey;

/// A secret of a store, as the ExternalSecrets of one namespace read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteSecret {
    /// The namespace of the ExternalSecrets. A ClusterSecretStore may read with other credentials for each.
    pub namespace: String,
    pub store: StoreKey,
    /// The remote key, as in the spec.
    pub key: String,
}

/// What the metadata of a secret says about its rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It has no schedule.
    Unscheduled,
    Scheduled(Schedule),
    /// The provider keeps no schedules.
    NotKept,
}

/// When a secret is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The next rotation; None if it is not known.
    pub next: Option<Timestamp>,
    /// The time between two rotations; None if it is not known.
    pub period: Option<Duration>,
}
