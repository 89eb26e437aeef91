//! Rates, rate limiters, a byte budget, threads for computing, and a clock. All times follow tokio's time, so that tests can
//! pause it.

mod bucket;
pub mod bytes;
mod clock;
mod closed_loop;
pub mod rate;
mod requests;
mod wait;
mod workers;

pub use self::{
    bucket::Adaptive,
    clock::Clock,
    closed_loop::ClosedLoop,
    requests::Requests,
    wait::{Announcer, Silence, Wait},
    workers::{NotDone, Workers},
};
