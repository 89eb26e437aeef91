//! The drift check: what the providers hold now against what the target Secrets hold.
//!
//! ```text
//!   specs, Secrets ─► check ─► provider::Reader ─► eso_model::expected, templates ─► judge ─► Findings ─► plan
//! ```
//!
//! Values stay within [`check`]: what is compared, and what leaves it, are fingerprints with a key of the run, names of keys and
//! verdicts.

pub mod check;
pub mod judge;
mod read;
mod target;
pub mod templates;
