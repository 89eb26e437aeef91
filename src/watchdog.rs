//! Ends the process by wall time, even if the runtime is blocked.
//!
//! A thread of its own hears the signals, and another one looks at the deadline. Both only ask the run to end. If it has not
//! ended some seconds after the grace time, the watchdog writes the report of what is known, and exits.

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    progress::Stderr,
    reason::Reason,
    record::Record,
    stop::{GRACE, Level, Stop, Stopper},
};

/// The time in which the run must end after the grace time, or after an order to end immediately.
const MARGIN: Duration = Duration::from_secs(3);

/// The time to write the report. A pipe that nobody reads blocks the write.
const WRITING: Duration = Duration::from_millis(1500);

/// The time between two looks at the deadline.
const LOOK: Duration = Duration::from_millis(100);

/// Starts the threads.
pub fn start(stopper: Stopper, stop: Stop, (record, stderr): (Record, Stderr)) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let asker = stopper.clone();
    let (signal, signalled) = mpsc::channel();
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    named("signals").spawn(move || {
        for _ in signals.forever() {
            asker.ask(Reason::Signal);
            signal.send(()).ok();
        }
    })?;
    named("watchdog").spawn(move || {
        let mut limit = Limit::default();
        loop {
            let now = Instant::now();
            if stop.deadline().is_some_and(|at| now >= at.into_std()) {
                stopper.at_deadline();
            }
            if limit.is_over(stop.level(), now) {
                break;
            }
            // A signal ends the wait.
            signalled.recv_timeout(LOOK).ok();
        }
        finish(&record, &stderr, stop.level());
    })?;
    Ok(())
}

/// The time at which the process must have ended.
#[derive(Default)]
struct Limit(Option<Instant>);

impl Limit {
    /// True if the run was asked to end, and the time for it is over. A later request can only shorten it.
    fn is_over(&mut self, level: Level, now: Instant) -> bool {
        let time = match level {
            Level::Run => return false,
            Level::Drain(_) => GRACE + MARGIN,
            Level::Now(_) => MARGIN,
        };
        let end = self.0.map_or(now + time, |end| end.min(now + time));
        self.0 = Some(end);
        now >= end
    }
}

/// Writes the report and exits. Another thread writes, because a lock or a pipe can block it.
fn finish(record: &Record, stderr: &Stderr, level: Level) {
    let (written, is_written) = mpsc::channel();
    let (writer, stderr) = (record.clone(), stderr.clone());
    // Without the thread, the exit code is the report.
    let started = thread::Builder::new().spawn(move || {
        // Otherwise the terminal may block, and the report must not wait for it.
        if io::stdout().is_terminal() {
            stderr.clear();
        }
        writer.report_unfinished(level);
        let (monitor, ended) = writer.files().monitoring();
        monitor.finish_after_cut(writer.exit(), &ended);
        written.send(()).ok();
    });
    if started.is_ok() {
        is_written.recv_timeout(WRITING).ok();
    }
    cluster::kill_plugins();
    // Runs no handlers, which could block too.
    signal_hook::low_level::exit(i32::from(record.exit().code()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ends_at_most_five_seconds_after_the_grace_time() {
        assert!(MARGIN + WRITING + LOOK < Duration::from_secs(5));
        let start = Instant::now();
        let mut limit = Limit::default();
        let mut over = |level, seconds| limit.is_over(level, start + Duration::from_secs(seconds));
        assert!(!over(Level::Run, 3600));
        assert!(!over(Level::Drain(Reason::Signal), 3600));
        assert!(!over(Level::Drain(Reason::Signal), 3622));
        assert!(over(Level::Drain(Reason::Signal), 3623));
    }

    #[test]
    fn second_request_shortens_the_time_and_never_extends_it() {
        let start = Instant::now();
        let mut limit = Limit::default();
        let mut over = |level, seconds| limit.is_over(level, start + Duration::from_secs(seconds));
        assert!(!over(Level::Drain(Reason::Deadline), 0));
        assert!(!over(Level::Now(Reason::Deadline), 1));
        assert!(over(Level::Now(Reason::Deadline), 4));
        let mut late = Limit::default();
        let mut over = |level, seconds| late.is_over(level, start + Duration::from_secs(seconds));
        assert!(!over(Level::Drain(Reason::Signal), 0));
        assert!(!over(Level::Now(Reason::Signal), 22));
        assert!(over(Level::Now(Reason::Signal), 23));
    }
}
