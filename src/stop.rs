//! Ends a run early: on signals, at the deadline, or when the lock is lost.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::reason::Reason;

/// How urgently the run has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not at all.
    Run,
    /// Start nothing new, and finish what is in progress within the grace time.
    Drain(Reason),
    /// End immediately.
    Now(Reason),
}

/// The grace time. A Pod has 30 s between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(20);

/// Requests the end of the run.
#[derive(Clone, Debug)]
pub struct Stopper {
    level: watch::Sender<Level>,
    deadline: Arc<OnceLock<Instant>>,
}

/// Receives the request.
#[derive(Clone, Debug)]
pub struct Stop {
    level: watch::Receiver<Level>,
    deadline: Arc<OnceLock<Instant>>,
}

pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Level::Run);
    let deadline = Arc::default();
    (
        Stopper {
            level: sender,
            deadline: Arc::clone(&deadline),
        },
        Stop {
            level: receiver,
            deadline,
        },
    )
}

impl Stopper {
    /// The first call drains, the second ends the run immediately. The first reason is kept.
    pub fn ask(&self, reason: Reason) {
        self.level.send_modify(|level| {
            *level = match *level {
                Level::Run => Level::Drain(reason),
                Level::Drain(first) | Level::Now(first) => Level::Now(first),
            }
        });
    }

    /// Ends the run immediately.
    pub fn now(&self, reason: Reason) {
        self.ask(reason);
        self.ask(reason);
    }

    /// Sets the deadline of the run. The first call counts.
    pub fn set_deadline(&self, deadline: Instant) {
        self.deadline.get_or_init(|| deadline);
    }

    /// Drains at this time.
    pub async fn at(self, deadline: Instant) {
        sleep_until(deadline).await;
        self.at_deadline();
    }

    /// Drains, unless the run was already asked to end.
    pub fn at_deadline(&self) {
        self.level.send_if_modified(|level| {
            let running = *level == Level::Run;
            if running {
                *level = Level::Drain(Reason::Deadline);
            }
            running
        });
    }
}

impl Stop {
    pub fn level(&self) -> Level {
        *self.level.borrow()
    }

    /// The deadline, if the run has one.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// Waits for the next change of the level.
    pub async fn changed(&mut self) -> Level {
        if self.level.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.level.borrow_and_update()
    }
}
