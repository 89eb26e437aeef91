//! Ends a run early: on signals, at the deadline, or when the lock is lost.

use std::time::Duration;

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
pub struct Stopper(watch::Sender<Level>);

/// Receives the request.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Level>);

pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Level::Run);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// The first call drains, the second ends the run immediately. The first reason is kept.
    pub fn ask(&self, reason: Reason) {
        self.0.send_modify(|level| {
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

    /// Drains at this time.
    pub async fn at(self, deadline: Instant) {
        sleep_until(deadline).await;
        self.0.send_if_modified(|level| {
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
        *self.0.borrow()
    }

    /// Waits for the next change of the level.
    pub async fn changed(&mut self) -> Level {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.0.borrow_and_update()
    }
}
