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
pub const DEFAULT_INTERVAL: Duration = Duration::from_hours(1);

/// What a changed annotation makes the operator do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForceSync {
    /// It syncs.
    Works,
    /// It does nothing, for ever: `refreshPolicy: CreatedOnce`.
    IgnoredOnce,
    /// It does nothing, for ever: `refreshInterval: 0`.
    IgnoredZero,
}

impl Refresh {
    /// Reads the two fields. An unknown policy counts as Periodic, which is what the operator's own `default` branch does.
    pub fn from_spec(policy: Option<&str>, interval: Option<Duration>) -> Self {
        match policy {
            Some("CreatedOnce") => Self::CreatedOnce,
            Some("OnChange") => Self::OnChange,
            _ => Self::Periodic(interval.unwrap_or(DEFAULT_INTERVAL)),
        }
    }

    /// What a changed annotation does. `ignores_interval_zero` is true for operators from v0.11.0 on; before, metadata was
    /// compared first, and a change synced whatever the interval.
    pub const fn force_sync(self, ignores_interval_zero: bool) -> ForceSync {
        match self {
            Self::CreatedOnce => ForceSync::IgnoredOnce,
            Self::Periodic(Duration::ZERO) if ignores_interval_zero => ForceSync::IgnoredZero,
            Self::Periodic(_) | Self::OnChange => ForceSync::Works,
        }
    }

    /// The age of the last sync from which on it counts as overdue if nobody says otherwise: twice the interval, since one
    /// interval plus the operator's queue is normal. None where no interval applies.
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
    fn on_change_obeys_whatever_the_interval() {
        assert_eq!(
            Refresh::from_spec(Some("OnChange"), Some(Duration::ZERO)).force_sync(true),
            ForceSync::Works
        );
    }

    #[test]
    fn without_an_interval_nothing_is_overdue() {
        assert_eq!(Refresh::OnChange.overdue_after(), None);
        assert_eq!(Refresh::Periodic(Duration::ZERO).overdue_after(), None);
        assert_eq!(
            Refresh::from_spec(None, None).overdue_after(),
            Some(Duration::from_hours(2))
        );
    }
}
