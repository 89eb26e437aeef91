//! Rates, rate limiters and a clock. All follow tokio's time, so that tests can pause it.

mod bucket;
mod clock;
pub mod rate;

pub use self::{
    bucket::{Adaptive, Bucket},
    clock::Clock,
};
