//! The rate limiter for restarts.

use std::time::Duration;

use pace::rate::Rate;
use tokio::time::Instant;

/// Keeps the minimum distance between restarts, measured from the response of one to the request for the next, so that it holds
/// for the API server too. There are no bursts.
pub(super) struct Pace {
    apart: Duration,
    next_start: Instant,
}

impl Pace {
    /// The first restart may start at once.
    pub(super) fn new(rate: Rate) -> Self {
        let apart = Duration::try_from_secs_f64(1.0 / rate.as_per_second());
        Self {
            apart: apart.unwrap_or(Duration::from_hours(1)),
            next_start: Instant::now(),
        }
    }

    /// When the next restart may start.
    pub(super) const fn next_start(&self) -> Instant {
        self.next_start
    }

    /// Records a restart that was sent.
    pub(super) fn record(&mut self) {
        self.next_start = Instant::now() + self.apart;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep_until;

    use super::*;

    /// Start times in seconds of five restarts at 30/min, when each response takes this long.
    async fn times(answered: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::per_second(0.5).unwrap());
        let mut times = Vec::new();
        for _ in 0..5 {
            sleep_until(pace.next_start()).await;
            times.push(start.elapsed().as_secs());
            tokio::time::advance(answered).await;
            pace.record();
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn restarts_keep_the_configured_distance() {
        assert_eq!(times(Duration::ZERO).await, [0, 2, 4, 6, 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn late_responses_cause_no_burst() {
        assert_eq!(times(Duration::from_secs(3)).await, [0, 5, 10, 15, 20]);
    }
}
