//! Timestamps of objects.

use jiff::Timestamp;
use pace::Clock;

/// Formats a time like Go's `metav1.Time`: in UTC, truncated to seconds.
pub(super) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

/// The current time in this format.
pub(super) fn stamp(clock: Clock) -> String {
    whole_seconds(clock.now())
}
