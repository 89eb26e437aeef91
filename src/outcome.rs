//! What became of one item of a plan: data that the report reads, whoever carried the plan out.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// What became of an item.
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
pub enum Outcome {
    /// Proven: the operator read the provider after our write and says that it wrote the Secret.
    Synced,
    /// The operator processed it, but wrote no Secret, or nobody waited for it.
    Unproven,
    /// It failed.
    Failed,
    /// The plan left it alone.
    Skipped,
    /// The run ended before.
    NotReached,
}

/// Whether the target Secret changed: as the drift check has seen it before and after, else as far as the operator's Events tell.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SecretChange {
    /// It was created.
    Created,
    /// Its content changed.
    Updated,
    /// Not known.
    #[default]
    Unknown,
}

/// What became of one item, in full.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemResult {
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where it is not synced.
    pub reason: Option<Reason>,
    /// For people; cleaned of everything that may come from a value.
    pub message: String,
    /// When the proven sync began, by the operator's clock.
    pub synced_at: Option<Timestamp>,
    /// How often it was annotated.
    pub attempts: u32,
    /// From the first annotation to the answer.
    pub took: Duration,
    /// Whether the target Secret changed.
    pub secret: SecretChange,
}

impl ItemResult {
    /// The run ended before this one, for this reason.
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

impl Outcome {
    /// In the order of a summary.
    pub const ALL: [Self; 5] = [
        Self::Synced,
        Self::Unproven,
        Self::Failed,
        Self::Skipped,
        Self::NotReached,
    ];

    /// As it is written in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Unproven => "unproven",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::NotReached => "not-reached",
        }
    }
}
