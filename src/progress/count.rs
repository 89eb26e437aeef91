//! How far a phase has come, how fast it is, and how long it takes. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A speed is only known after this time.
const FIRST: Duration = Duration::from_secs(1);

/// How far a phase has come.
#[derive(Clone, Debug)]
pub(super) struct Count {
    what: String,
    /// None if it is not known.
    pub(super) total: Option<usize>,
    pub(super) done: usize,
    /// Shown behind the speed.
    pub(super) note: String,
    start: Instant,
    /// The time of the last line.
    said: Instant,
}

impl Count {
    pub(super) fn starting(what: &str, total: Option<usize>, now: Instant) -> Self {
        Self {
            what: what.to_owned(),
            total,
            done: 0,
            note: String::new(),
            start: now,
            said: now,
        }
    }

    /// The speed, the time that is left, and the note.
    pub(super) fn speed(&self, now: Instant) -> String {
        let passed = now.saturating_duration_since(self.start);
        let mut parts = Vec::new();
        if self.done > 0 && passed >= FIRST {
            parts.push(rate(self.done, passed));
            let open = self.total.map(|total| total.saturating_sub(self.done));
            if let Some(open @ 1..) = open {
                parts.push(format!("{} left", left(self.done, open, passed)));
            }
        }
        if !self.note.is_empty() {
            parts.push(self.note.clone());
        }
        parts.join(", ")
    }

    /// A line with the progress, if there was none for this time.
    pub(super) fn line_if_due(&mut self, now: Instant, every: Duration) -> Option<String> {
        if now.saturating_duration_since(self.said) < every {
            return None;
        }
        self.said = now;
        let speed = self.speed(now);
        let comma = if speed.is_empty() { "" } else { ", " };
        let of = self.total.map(|total| format!(" of {total}"));
        Some(format!(
            "{}: {}{}{comma}{speed}",
            self.what,
            self.done,
            of.unwrap_or_default()
        ))
    }
}

/// The speed per second, or per minute if it is slow.
fn rate(done: usize, passed: Duration) -> String {
    let tenths = |per: u128| done as u128 * 10 * per / passed.as_millis().max(1);
    let (tenths, unit) = match tenths(1000) {
        fast @ 10.. => (fast, "s"),
        _ => (tenths(60_000), "min"),
    };
    if tenths >= 1000 {
        format!("{}/{unit}", tenths / 10)
    } else {
        format!("{}.{}/{unit}", tenths / 10, tenths % 10)
    }
}

/// The time for the open items, at the speed so far.
fn left(done: usize, open: usize, passed: Duration) -> String {
    let seconds = (passed.as_millis() * open as u128 / (done as u128).max(1)).div_ceil(1000);
    match seconds {
        0..90 => format!("{seconds} s"),
        90..5400 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(done: usize, total: usize) -> (Count, Instant) {
        let start = Instant::now();
        let mut count = Count::starting("syncing", Some(total), start);
        count.done = done;
        (count, start)
    }

    #[test]
    fn speed_and_rest_follow_from_the_time_that_passed() {
        for (done, total, seconds, shown) in [
            (0, 1000, 60, ""),
            (5, 1000, 0, ""),
            (100, 1000, 10, "10.0/s, 90 s left"),
            (123, 1000, 10, "12.3/s, 72 s left"),
            (5000, 10_000, 10, "500/s, 10 s left"),
            (10, 1000, 60, "10.0/min, 1 h 39 min left"),
            (30, 1000, 60, "30.0/min, 33 min left"),
            (1000, 1000, 60, "16.6/s"),
        ] {
            let (count, start) = count(done, total);
            let now = start + Duration::from_secs(seconds);
            let shown = shown.replace("90 s left", "2 min left");
            assert_eq!(count.speed(now), shown, "{done} of {total}");
        }
    }

    #[test]
    fn line_comes_every_30_seconds() {
        let (mut count, start) = count(120, 1000);
        count.note = "3 failed".to_owned();
        let every = Duration::from_secs(30);
        let mut line = |seconds| count.line_if_due(start + Duration::from_secs(seconds), every);
        assert_eq!(line(29), None);
        assert_eq!(
            line(30).as_deref(),
            Some("syncing: 120 of 1000, 4.0/s, 4 min left, 3 failed")
        );
        assert_eq!(line(59), None);
        assert!(line(60).is_some());
    }

    #[test]
    fn without_a_total_there_is_no_end_to_tell() {
        let (mut count, start) = count(500, 0);
        count.total = None;
        let now = start + Duration::from_secs(10);
        let line = count.line_if_due(now, Duration::from_secs(10));
        assert_eq!(line.as_deref(), Some("syncing: 500, 50.0/s"));
    }
}
