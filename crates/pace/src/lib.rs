//! Rates, rate limiters and a clock. All follow tokio's time, so that tests can pause it.

mod bucket;
mod clock;
mod closed_loop;
pub mod rate;

pub use self::{
    bucket::{Adaptive, Bucket},
    clock::Clock,
    closed_loop::ClosedLoop,
};
