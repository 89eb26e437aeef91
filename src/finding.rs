//! What the drift check says of one ExternalSecret: data that the plan, restarts and the report read, whoever found it out. Pure.

use std::{collections::BTreeMap, fmt, sync::Arc};

use cluster::wire;
use eso_model::{
    Id, QuotaKey, StoreKey,
    expected::{Held, KeyDifference, Unverifiable},
};
use secret::{Fingerprint, RunKey};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

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

impl Verdict {
    /// In the order of a summary.
    pub const ALL: [Self; 6] = [
        Self::InSync,
        Self::Stale,
        Self::Tampered,
        Self::Partial,
        Self::Missing,
        Self::Unverifiable,
    ];

    /// As it is written in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in-sync",
            Self::Stale => "stale",
            Self::Tampered => "tampered",
            Self::Partial => "partial",
            Self::Missing => "missing",
            Self::Unverifiable => "unverifiable",
        }
    }

    /// Whether the Secret is known to hold something else than it should.
    pub const fn is_drift(self) -> bool {
        !matches!(self, Self::InSync | Self::Unverifiable)
    }
}

/// The verdict, and what is known of the why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it cannot be told.
    pub unverifiable: Option<Unverifiable>,
    /// Why a sync would not correct it, where that is known.
    pub beyond_sync: Option<Reason>,
    /// The right that is missing at the provider, as the provider names it.
    pub permission: Option<String>,
    /// The keys that differ, by name.
    pub keys: Vec<KeyDifference>,
    /// For people; never a part of a value.
    pub message: String,
    /// The data that was judged, where there was any.
    pub judged: Option<Judged>,
}

impl Finding {
    /// It cannot be told, for this reason.
    pub fn unverifiable(why: Unverifiable) -> Self {
        let message = if why.detail.is_empty() {
            why.reason.to_owned()
        } else {
            why.to_string()
        };
        Self {
            unverifiable: Some(why),
            ..Self::of(Verdict::Unverifiable, message)
        }
    }

    /// The verdict alone.
    pub fn of(verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            verdict,
            unverifiable: None,
            beyond_sync: None,
            permission: None,
            keys: Vec::new(),
            message: message.into(),
            judged: None,
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Of each ExternalSecret that was checked.
    pub of: BTreeMap<Id, Finding>,
    /// Stores that could not be read as a whole, each with the reason: told once, and not for each ExternalSecret.
    pub stores: BTreeMap<StoreKey, String>,
    /// Calls to providers, by what shares a quota.
    pub reads: BTreeMap<QuotaKey, u64>,
}

/// What a Secret held as it was judged: it tells whether it still does.
#[derive(Clone)]
pub struct Judged {
    data: Fingerprint,
    key: Arc<RunKey>,
}

impl Judged {
    /// Of the data that was found.
    pub fn of(held: &Held, key: &Arc<RunKey>) -> Self {
        Self {
            data: held.digest(key),
            key: Arc::clone(key),
        }
    }

    /// Whether this Secret holds the same.
    pub fn fits(&self, secret: &wire::Secret) -> bool {
        Held::of(&secret.data, &self.key).digest(&self.key) == self.data
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}

impl PartialEq for Judged {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for Judged {}

/// What became of one read at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFact {
    /// The store, as the ExternalSecret names it.
    pub store: String,
    /// What was asked for, as the spec says it.
    pub what: String,
    /// What was answered.
    pub state: ReadState,
}

/// What a provider answered, without the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// It is there.
    Found,
    /// There is no such secret or version.
    NotFound,
    /// The operator would fail on it: a stable word.
    Fails(&'static str),
    /// It could not be read.
    Unread {
        /// Why.
        why: String,
        /// The right that is missing, as the provider names it.
        permission: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn other_data_is_not_what_was_judged() {
        let key = Arc::new(RunKey::from_bytes([3; 32]));
        let read = |secret: &Json| serde_json::from_value::<wire::Secret>(secret.clone()).unwrap();
        let of = |data: &Json| read(&json!({"data": data}));
        let data = json!({"user": "YWRtaW4=", "password": "czNjcjN0"});
        let judged = Judged::of(&Held::of(&of(&data).data, &key), &key);
        let mut written_again = of(&data);
        written_again.metadata.resource_version = "2".to_owned();
        assert!(judged.fits(&written_again));
        for other in [
            json!({"user": "YWRtaW4=", "password": "YWRtaW4="}),
            json!({"user": "YWRtaW4="}),
            json!({"user": "czNjcjN0", "password": "YWRtaW4="}),
            json!({}),
        ] {
            assert!(!judged.fits(&of(&other)), "{other}");
        }
    }
}
