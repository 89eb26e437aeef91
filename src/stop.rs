//! When a run has to end early: signals, the deadline, a lost lock.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::reason::Reason;

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nobody asked.
    Run,
    /// Start nothing new; end what is in flight within the grace time.
    Drain(Reason),
    /// End at once.
    Now(Reason),
}

/// How long what is in flight may take once a run has to end. A Pod has 30 s between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(20);

/// Asks for the end.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<Level>);

/// Learns of it.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Level>);

/// Both ends.
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(Level::Run);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks once to drain, twice to end at once. The first reason stays.
    pub fn ask(&self, reason: Reason) {
        self.0.send_modify(|level| {
            *level = match *level {
                Level::Run => Level::Drain(reason),
                Level::Drain(first) | Level::Now(first) => Level::Now(first),
            }
        });
    }

    /// Asks to end at once.
    pub fn now(&self, reason: Reason) {
        self.ask(reason);
        self.ask(reason);
    }

    /// Asks to drain at this time.
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
    /// How urgent it is now.
    pub fn level(&self) -> Level {
        *self.0.borrow()
    }

    /// Waits until it becomes more urgent than when last asked.
    pub async fn changed(&mut self) -> Level {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.0.borrow_and_update()
    }
}
