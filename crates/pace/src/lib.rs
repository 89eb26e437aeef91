//! Rates, rate limiters, a byte budget and a clock. All times follow tokio's time, so that tests can pause it.

mod bucket;
pub mod bytes;
mod clock;
mod closed_loop;
pub mod rate;

pub use self::{
    bucket::{Adaptive, Bucket},
    clock::Clock,
    closed_loop::ClosedLoop,
};
