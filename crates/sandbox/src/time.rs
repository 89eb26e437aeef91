//! Times as objects carry them.

use jiff::Timestamp;
use pace::Clock;

/// A time as Go's `metav1.Time` writes it: cut to the second, in UTC.
pub(super) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

/// The present, so written.
pub(super) fn stamp(clock: Clock) -> String {
    whole_seconds(clock.now())
}
