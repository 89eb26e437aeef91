//! When the operator syncs, and what a change of metadata does (`shouldRefresh` in its `externalsecret_controller.go`).

use std::time::Duration;

/// `spec.refreshPolicy` and `spec.refreshInterval`, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// Every interval, and on a change of metadata. A zero interval means once.
    Periodic(Duration),
    /// On a change of metadata or spec only.
    OnChange,
    /// Once.
    CreatedOnce,
}

/// `spec.refreshInterval` where the object names none: the CRD's default.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(3600);
