//! The result of one item of a plan: plain data for the report.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// The outcome of an item.
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
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Outcome {
    /// Proven: the operator processed our write and reported that it wrote the Secret.
    Synced,
    /// The operator wrote no Secret, or the run ended before the proof.
    Unproven,
    /// The sync failed.
    Failed,
    /// The plan skips it.
    Skipped,
    /// The run ended before the item was attempted.
    NotReached,
}

/// The change of the target Secret: from drift checks before and after the sync, or from the operator's Events.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SecretChange {
    /// It did not exist before.
    Created,
    /// Its data changed.
    Updated,
    /// Its data is as before.
    Unchanged,
    /// It was not read before or after the sync.
    #[default]
    Unknown,
}

/// The result of one item.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemResult {
    pub outcome: Outcome,
    /// Set unless the outcome is `Synced`.
    pub reason: Option<Reason>,
    /// Text for people. Never contains a part of a value.
    pub message: String,
    /// The start of the proven sync, by the operator's clock.
    pub synced_at: Option<Timestamp>,
    /// The number of annotations written.
    pub attempts: u32,
    /// The time from the first annotation to the operator's answer.
    pub took: Duration,
    pub secret: SecretChange,
}

impl ItemResult {
    pub fn not_reached(reason: Reason) -> Self {
        Self {
            outcome: Outcome::NotReached,
            reason: Some(reason),
            message: String::new(),
            synced_at: None,
            attempts: 0,
            took: Duration::ZERO,
            secret: SecretChange::Unknown,
        }
    }
}

impl Outcome {}
