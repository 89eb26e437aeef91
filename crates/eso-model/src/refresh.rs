//! When the operator syncs an ExternalSecret, and the effect of a metadata change (`shouldRefresh` in its
//! `externalsecret_controller.go`).

use std::time::Duration;

/// `spec.refreshPolicy` and `spec.refreshInterval` combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// At every interval and after a metadata change. With a zero interval: once.
    Periodic(Duration),
    /// Only after a change of metadata or spec.
    OnChange,
    CreatedOnce,
}

/// `spec.refreshInterval` if it is not set: the default of the CRD.
pub const DEFAULT_INTERVAL: Duration = Duration::from_hours(1);

/// The operator's reaction to a changed annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForceSync {
    Works,
    /// The annotation never has an effect: `refreshPolicy: CreatedOnce`.
    IgnoredOnce,
    /// The annotation never has an effect: `refreshInterval: 0`.
    IgnoredZero,
}

impl Refresh {
    /// Combines the two fields. An unknown policy counts as Periodic, as in the operator's `default` branch.
    pub fn from_spec(policy: Option<&str>, interval: Option<Duration>) -> Self {
        match policy {
            Some("CreatedOnce") => Self::CreatedOnce,
            Some("OnChange") => Self::OnChange,
            _ => Self::Periodic(interval.unwrap_or(DEFAULT_INTERVAL)),
        }
    }

    /// Returns the effect of a changed annotation. `ignores_interval_zero` is true for operators since v0.11.0. Older
    /// ones compare the metadata first, so a change triggers a sync whatever the interval.
    pub const fn force_sync(self, ignores_interval_zero: bool) -> ForceSync {
        match self {
            Self::CreatedOnce => ForceSync::IgnoredOnce,
            Self::Periodic(Duration::ZERO) if ignores_interval_zero => ForceSync::IgnoredZero,
            Self::Periodic(_) | Self::OnChange => ForceSync::Works,
        }
    }

    /// The default age after which a sync counts as overdue: twice the interval, because one interval plus time in the
    /// operator's queue is normal. None if there is no interval.
    pub fn overdue_after(self) -> Option<Duration> {
        match self {
            Self::Periodic(interval) if !interval.is_zero() => Some(interval.saturating_mul(2)),
            Self::Periodic(_) | Self::OnChange | Self::CreatedOnce => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_once_and_interval_zero_ignore_a_force_sync() {
        let zero = Refresh::from_spec(None, Some(Duration::ZERO));
        assert_eq!(zero.force_sync(true), ForceSync::IgnoredZero);
        assert_eq!(zero.force_sync(false), ForceSync::Works, "before v0.11.0");
        assert_eq!(
            Refresh::from_spec(Some("CreatedOnce"), None).force_sync(false),
            ForceSync::IgnoredOnce
        );
    }

    #[test]
    fn on_change_reacts_to_force_sync_with_any_interval() {
        assert_eq!(
            Refresh::from_spec(Some("OnChange"), Some(Duration::ZERO)).force_sync(true),
            ForceSync::Works
        );
    }

    #[test]
    fn nothing_is_overdue_without_an_interval() {
        assert_eq!(Refresh::OnChange.overdue_after(), None);
        assert_eq!(Refresh::Periodic(Duration::ZERO).overdue_after(), None);
        assert_eq!(
            Refresh::from_spec(None, None).overdue_after(),
            Some(Duration::from_hours(2))
        );
    }
}
