//! The current time as an argument: read once in `main`, then advanced by tokio's clock, which tests can pause.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A wall clock that starts at a given time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    start: Instant,
}

impl Clock {
    /// Creates a clock that reads `wall` at this moment.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            start: Instant::now(),
        }
    }

    pub fn now(self) -> Timestamp {
        self.at(Instant::now())
    }

    /// Returns the wall-clock time of a tokio instant.
    pub fn at(self, instant: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(instant.saturating_duration_since(self.start))
            .unwrap_or_default();
        self.wall.checked_add(passed).unwrap_or(self.wall)
    }
}
