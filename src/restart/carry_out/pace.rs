//! How far apart restarts are.

use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Rate;

/// Restarts one after another, never two closer together than the rate says: from the answer to one to the request for the next,
/// so that it holds for the API server too, however long it takes. Nothing is saved up for a burst.
pub(super) struct Pace {
    apart: Duration,
    turn: Instant,
}

impl Pace {
    /// The first may go at once.
    pub(super) fn new(rate: Rate) -> Self {
        let apart = Duration::try_from_secs_f64(1.0 / rate.as_per_second());
        Self {
            apart: apart.unwrap_or(Duration::from_hours(1)),
            turn: Instant::now(),
        }
    }

    /// When the next may go.
    pub(super) const fn turn(&self) -> Instant {
        self.turn
    }

    /// One has gone.
    pub(super) fn taken(&mut self) {
        self.turn = Instant::now() + self.apart;
    }
}
