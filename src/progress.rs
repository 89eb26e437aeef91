//! Progress on stderr: on a terminal a line that is updated in place, otherwise a line from time to time. Finished items are shown
//! as they end; in a large run, only those that failed.

mod count;
mod listing;
mod reading;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::count::Count;
pub use self::{listing::lists, reading::Reading};
use crate::{
    foreign,
    outcome::{ItemResult, Outcome},
    plan::Item,
};

/// A run of at most so many items shows each of them when it ends.
const SMALL: usize = 20;

/// The time between two updates of the line on a terminal.
const UPDATE: Duration = Duration::from_millis(200);

/// The time between two lines without a terminal.
const LINE: Duration = Duration::from_secs(30);

/// The style of the progress output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No output.
    Silent,
    /// A line that is updated in place.
    Terminal,
    /// Plain lines.
    Lines,
    /// Log records.
    Logs,
}

impl Style {
    /// Returns the style for the current stderr. A terminal that cannot move its cursor gets plain lines.
    pub fn detect(quiet: bool, json_logs: bool, terminal: Option<&str>) -> Self {
        match (quiet, json_logs) {
            (true, _) => Self::Silent,
            (false, true) => Self::Logs,
            (false, false) if io::stderr().is_terminal() && terminal != Some("dumb") => {
                Self::Terminal
            }
            (false, false) => Self::Lines,
        }
    }
}

/// The stderr of the process. While a line is updated in place, everything else is written above it. Clones share it.
#[derive(Clone, Debug)]
pub struct Stderr {
    style: Style,
    live: Option<MultiProgress>,
}

impl Stderr {
    pub fn new(style: Style) -> Self {
        let live = (style == Style::Terminal).then(MultiProgress::new);
        Self { style, live }
    }

    pub const fn style(&self) -> Style {
        self.style
    }

    /// Writes a line of progress.
    pub fn say(&self, line: &str) {
        match self.style {
            Style::Silent => {}
            Style::Logs => tracing::info!(target: "eso_sync::progress", "{line}"),
            Style::Terminal | Style::Lines => {
                // A closed stderr must not stop the run.
                writeln!(self.clone(), "{}", foreign::line(line)).ok();
            }
        }
    }

    /// Removes the line that is updated in place.
    pub fn clear(&self) {
        if let Some(live) = &self.live {
            live.clear().ok();
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.live {
            Some(live) => live.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &self.live {
            Some(live) => live.suspend(|| io::stderr().write_all(bytes)),
            None => io::stderr().write_all(bytes),
        }
    }

    fn write_fmt(&mut self, arguments: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(arguments.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A phase of a command, and how far it has come. Clones share it; when the last one is dropped, its line disappears.
#[derive(Clone, Debug)]
pub struct Phase(Arc<Mutex<Shown>>);

#[derive(Debug)]
struct Shown {
    stderr: Stderr,
    count: Count,
    bar: Option<ProgressBar>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Phase {
    /// `what` is for example "syncing". `total` is the number of items at most, if it is known.
    pub fn start(stderr: &Stderr, what: &str, total: Option<usize>) -> Self {
        let live = stderr.live.as_ref().filter(|_| total != Some(0));
        let bar = live.map(|live| {
            let (bar, template) = match total {
                Some(total) => (
                    ProgressBar::new(total as u64),
                    "{prefix} {bar:24} {pos}/{len} {wide_msg}",
                ),
                None => (ProgressBar::no_length(), "{prefix} {pos} {wide_msg}"),
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(what.to_owned());
            live.add(bar)
        });
        let count = Count::starting(what, total, Instant::now());
        let stderr = stderr.clone();
        let phase = Self(Arc::new(Mutex::new(Shown { stderr, count, bar })));
        phase.paint();
        phase
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many items are done. `note` is shown behind the speed.
    pub fn update(&self, done: usize, note: String) {
        {
            let mut shown = self.shown();
            shown.count.done = done;
            shown.count.note = note;
        }
        self.paint();
    }

    /// The number of items turns out to be this.
    fn set_total(&self, total: usize) {
        let mut shown = self.shown();
        if let Some(of) = &mut shown.count.total {
            *of = total;
        }
    }

    fn paint(&self) {
        let shown = self.shown();
        if let Some(bar) = &shown.bar {
            if let Some(total) = shown.count.total {
                bar.set_length(total as u64);
            }
            bar.set_message(shown.count.speed(Instant::now()));
            bar.set_position(shown.count.done as u64);
        }
    }

    /// Writes a line if the last one was written some time ago. On a terminal, the line that is updated in place says it.
    fn say_if_due(&self) {
        let (stderr, line) = {
            let mut shown = self.shown();
            if shown.stderr.style == Style::Terminal {
                return;
            }
            let line = shown.count.line_if_due(Instant::now(), LINE);
            (shown.stderr.clone(), line)
        };
        if let Some(line) = line {
            stderr.say(&line);
        }
    }

    /// Awaits `work`. Meanwhile, the progress is shown from time to time.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let style = self.shown().stderr.style;
        let every = match style {
            Style::Terminal => UPDATE,
            Style::Lines => LINE,
            // Each item is a record.
            Style::Silent | Style::Logs => return work.await,
        };
        let mut work = std::pin::pin!(work);
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = ticks.tick() => {
                    if every == LINE {
                        self.say_if_due();
                    } else {
                        self.paint();
                    }
                }
            }
        }
    }
}

/// Counts and prints finished items.
#[derive(Debug)]
pub struct Progress {
    stderr: Stderr,
    phase: Phase,
    total: usize,
    done: usize,
    failed: usize,
}

impl Progress {
    /// `what` is for example "syncing". `total` is the expected number of items.
    pub fn new(stderr: &Stderr, what: &str, total: usize) -> Self {
        Self {
            stderr: stderr.clone(),
            phase: Phase::start(stderr, what, Some(total)),
            total,
            done: 0,
            failed: 0,
        }
    }

    /// The phase that the items belong to.
    pub fn phase(&self) -> Phase {
        self.phase.clone()
    }

    /// One more is done. Returns true if it is to be shown by itself.
    fn count(&mut self, well: bool) -> bool {
        self.done += 1;
        self.failed += usize::from(!well);
        let note = match self.failed {
            0 => String::new(),
            failed => format!("{failed} failed"),
        };
        self.phase.update(self.done, note);
        !well || self.total <= SMALL
    }

    /// Prints a finished item.
    pub fn done(&mut self, item: &Item, result: &ItemResult) {
        let is_shown = self.count(result.outcome == Outcome::Synced);
        let outcome = result.outcome.into_str();
        let reason = result
            .reason
            .map(|reason| format!(" ({})", reason.as_str()))
            .unwrap_or_default();
        let took = result.took.as_secs_f64();
        let line = match self.stderr.style {
            Style::Silent => return,
            Style::Logs => {
                let reason = result
                    .reason
                    .map(crate::reason::Reason::as_str)
                    .unwrap_or_default();
                tracing::info!(target: "eso_sync::progress", namespace = item.id.namespace, name = item.id.name, outcome, reason, took);
                return;
            }
            Style::Terminal => {
                let mark = if result.outcome == Outcome::Synced {
                    "✓"
                } else {
                    "✗"
                };
                format!("[{}/{}] {} {mark}{reason}", self.done, self.total, item.id)
            }
            Style::Lines => format!(
                "{outcome} {}{reason} after {took:.1} s, {} of {}",
                item.id, self.done, self.total
            ),
        };
        if is_shown {
            self.stderr.say(&line);
        }
    }

    /// Prints a line about a finished workload.
    pub fn said(&mut self, well: bool, line: &str) {
        let is_shown = self.count(well);
        if is_shown || self.stderr.style == Style::Logs {
            self.stderr.say(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_run_shows_only_failures() {
        let shown = |total: usize, well: bool| {
            let mut progress = Progress::new(&Stderr::new(Style::Silent), "syncing", total);
            progress.count(well)
        };
        assert!(shown(SMALL, true));
        assert!(!shown(SMALL + 1, true));
        assert!(shown(SMALL + 1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn phase_does_not_outlive_its_work() {
        let phase = Phase::start(&Stderr::new(Style::Lines), "syncing", Some(3));
        let start = Instant::now();
        phase
            .during(tokio::time::sleep(Duration::from_secs(95)))
            .await;
        assert_eq!(start.elapsed(), Duration::from_secs(95));
    }
}
