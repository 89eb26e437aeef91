//! How far apart restarts are.

use std::time::Duration;

use pace::rate::Rate;
use tokio::time::Instant;

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

#[cfg(test)]
mod tests {
    use tokio::time::sleep_until;

    use super::*;

    /// When five went at 30/min, with the time that each took to be answered.
    async fn times(answered: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::per_second(0.5).unwrap());
        let mut times = Vec::new();
        for _ in 0..5 {
            sleep_until(pace.turn()).await;
            times.push(start.elapsed().as_secs());
            tokio::time::advance(answered).await;
            pace.taken();
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_kept_to_the_second() {
        assert_eq!(times(Duration::ZERO).await, [0, 2, 4, 6, 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_late_is_not_caught_up_with() {
        assert_eq!(times(Duration::from_secs(3)).await, [0, 5, 10, 15, 20]);
    }
}
