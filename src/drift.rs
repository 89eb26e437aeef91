//! The drift check: compares the providers' current data with the target Secrets.
//!
//! ```text
//!   specs, Secrets ─► check ─► provider::Reader ─► eso_model::expected, templates ─► judge ─► Findings ─► plan
//! ```
//!
//! Values stay inside [`check`]. It compares and returns only fingerprints (with a key of the run), key names and verdicts.

pub mod awaited;
pub mod check;
pub mod judge;
mod read;
mod refusal;
mod target;
pub mod templates;
