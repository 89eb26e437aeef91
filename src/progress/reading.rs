//! The progress of the reads of providers.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use providers::reader::ReadProgress;
use tokio::time::Instant;

use super::{Phase, Stderr, Style};
use crate::noun::counted;

/// The time between two log records.
const RECORD: Duration = Duration::from_secs(5);

/// Shows the reads of providers. Each read is a phase.
#[derive(Debug)]
pub struct Reading {
    stderr: Stderr,
    phase: Mutex<Option<Phase>>,
    /// The time of the last log record.
    said: Mutex<Option<Instant>>,
}

impl Reading {
    pub const fn new(stderr: Stderr) -> Self {
        Self {
            stderr,
            phase: Mutex::new(None),
            said: Mutex::new(None),
        }
    }

    /// Shows how far the read has come.
    pub fn show(&self, progress: &ReadProgress) {
        if self.stderr.style() == Style::Logs {
            self.log(progress);
            return;
        }
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.ended {
            *phase = None;
            return;
        }
        let phase = phase.get_or_insert_with(|| {
            let what = started(progress.stores);
            if self.stderr.style() == Style::Lines {
                self.stderr.say(&what);
            }
            Phase::start(&self.stderr, "reading the providers", Some(progress.groups))
        });
        phase.update(progress.read, format!("{} calls", progress.calls));
        phase.say_if_due();
    }

    fn log(&self, progress: &ReadProgress) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begins = progress.done == 0 && progress.calls == 0;
        let is_due = said.is_none_or(|said| now.saturating_duration_since(said) >= RECORD);
        if progress.ended || !(begins || is_due) {
            return;
        }
        *said = Some(now);
        let &ReadProgress {
            stores,
            done,
            calls,
            ..
        } = progress;
        let line = if begins {
            started(stores)
        } else {
            let of = counted(stores, "store");
            format!("reading the providers: {done} of {of} done, {calls} calls")
        };
        self.stderr.say(&line);
    }
}

fn started(stores: usize) -> String {
    format!("reading the providers of {}", counted(stores, "store"))
}
