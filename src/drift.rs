//! The drift check: what the providers hold now against what the target Secrets hold.

use serde::{Deserialize, Serialize};

use crate::eso::expected::{KeyDifference, Unverifiable};

/// What the check says of one ExternalSecret.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The Secret holds what it should.
    InSync,
    /// The provider moved on.
    Stale,
    /// Somebody edited the Secret: the operator's data-hash does not match.
    Tampered,
    /// Keys are lacking.
    Partial,
    /// There is no Secret.
    Missing,
    /// It cannot be told.
    Unverifiable,
}

/// The verdict, and what is known of the why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it cannot be told.
    pub unverifiable: Option<Unverifiable>,
    /// The keys that differ, by name.
    pub keys: Vec<KeyDifference>,
    /// For people; never a part of a value.
    pub message: String,
}
