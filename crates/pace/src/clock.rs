//! The time of day as an argument: read once in `main`, then carried on by tokio's clock, which tests can pause.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Wall-clock time from a fixed start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    start: Instant,
}

impl Clock {
    /// Starts at `wall`, now.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            start: Instant::now(),
        }
    }

    /// The present time.
    pub fn now(self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The time of day at an instant of this process.
    pub fn at(self, instant: Instant) -> Timestamp {
        let passed = SignedDuration::try_from(instant.saturating_duration_since(self.start))
            .unwrap_or_default();
        self.wall.checked_add(passed).unwrap_or(self.wall)
    }
}
