//! The result of the drift check for one ExternalSecret: plain data for the plan, restarts and the report.

use std::{collections::BTreeMap, fmt, sync::Arc};

use cluster::wire;
use eso_model::{
    Id, QuotaKey, StoreKey,
    expected::{Difference, SecretFingerprints, Unverifiable},
};
use secret::{Fingerprint, RunKey};
use serde::{Deserialize, Serialize};
use strum::VariantArray as _;

use crate::{
    key_names::{KeyName, Names},
    reason::Reason,
};

/// The verdict on one ExternalSecret.
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
pub enum Verdict {
    /// The Secret has the provider's data.
    InSync,
    /// The provider has new data.
    Stale,
    /// The Secret was edited in the cluster: the operator's hash does not match its data.
    Tampered,
    /// Keys are missing in the Secret.
    Partial,
    /// The Secret does not exist.
    Missing,
    /// The data could not be compared.
    Unverifiable,
}

impl Verdict {
    /// True if the Secret is known not to have the provider's data.
    pub const fn is_drift(self) -> bool {
        !matches!(self, Self::InSync | Self::Unverifiable)
    }

    /// True if this is the word of a difference. A run that has repaired one names it as its reason.
    pub fn is_word_of_drift(word: &str) -> bool {
        let mut verdicts = Self::VARIANTS.iter();
        verdicts.any(|verdict| verdict.is_drift() && verdict.into_str() == word)
    }
}

/// The result of the drift check for one ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// The reason if the verdict is `Unverifiable`.
    pub unverifiable: Option<Unverifiable>,
    /// The reason why a sync would not fix the drift, if known.
    pub beyond_sync: Option<Reason>,
    /// The cause, if the operator would fail (`beyond_sync` is `WouldFail`) and the cause has a reason of its own.
    pub cause: Option<Reason>,
    /// The permission that is missing at the provider, in the provider's own words.
    pub permission: Option<String>,
    /// The keys that differ, sorted by name.
    pub keys: Vec<DifferingKey>,
    /// What the values and templates say about the names of the Secret's keys, if anything.
    pub names: Option<Arc<Names>>,
    /// Text for people. Never contains a part of a value.
    pub message: String,
    /// A fingerprint of the judged data, if the Secret exists.
    pub judged: Option<Judged>,
}

impl Finding {
    /// Returns a finding with the verdict `Unverifiable`.
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

    /// The next step for an item that is skipped for this reason: that of the finding's cause, if it is more specific.
    pub fn next_step(&self, reason: Reason) -> Option<&'static str> {
        let cause = if reason == Reason::WouldFail {
            self.cause
        } else if reason == Reason::Unverifiable {
            let why = self.unverifiable.as_ref();
            why.and_then(|why| Reason::of_read(why.reason))
        } else {
            None
        };
        cause.unwrap_or(reason).next_step()
    }

    /// Returns a finding with only a verdict and a message.
    pub fn of(verdict: Verdict, message: impl Into<String>) -> Self {
        Self {
            verdict,
            unverifiable: None,
            beyond_sync: None,
            cause: None,
            permission: None,
            keys: Vec::new(),
            names: None,
            message: message.into(),
            judged: None,
        }
    }
}

/// A key that differs. It does not have the name if that is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferingKey {
    pub name: KeyName,
    pub difference: Difference,
}

/// The results of a drift check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// By ExternalSecret.
    pub of: BTreeMap<Id, Finding>,
    /// Stores whose provider could not be read at all, with the reason. Reported once instead of for each ExternalSecret.
    pub stores: BTreeMap<StoreKey, String>,
    /// Provider calls, by quota.
    pub reads: BTreeMap<QuotaKey, u64>,
    /// How often providers throttled, by quota.
    pub throttles: BTreeMap<QuotaKey, u64>,
}

/// Fingerprints of the Secret that was judged. They show later whether it still has that data, and whether it was written.
#[derive(Clone)]
pub struct Judged {
    data: Fingerprint,
    version: Fingerprint,
    key: Arc<RunKey>,
}

impl Judged {
    /// The fingerprints of this data, in this version of the Secret.
    pub fn of(held: &SecretFingerprints, version: Fingerprint, key: &Arc<RunKey>) -> Self {
        Self {
            data: held.digest(key),
            version,
            key: Arc::clone(key),
        }
    }

    /// True if this is the same Secret, and it was not written since.
    pub fn is(&self, secret: &wire::Secret) -> bool {
        version(&secret.metadata, &self.key) == self.version && self.fits(secret)
    }

    /// True if this Secret has the same data.
    pub fn fits(&self, secret: &wire::Secret) -> bool {
        SecretFingerprints::of(&secret.data, &self.key).digest(&self.key) == self.data
    }
}

/// The fingerprint of a Secret's uid and resource version.
pub fn version(meta: &wire::SecretMeta, key: &RunKey) -> Fingerprint {
    let text = format!("{} {}", meta.uid, meta.resource_version);
    key.fingerprint(text.as_bytes())
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

/// The result of one read at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFact {
    /// The store, as in the ExternalSecret.
    pub store: String,
    /// The remote key, as in the spec.
    pub what: String,
    pub state: ReadState,
}

/// The state of a read, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadState {
    Found,
    /// The secret or version does not exist.
    NotFound,
    /// The operator would fail with it: a stable word.
    Fails(&'static str),
    /// It could not be read.
    Unread {
        /// A stable word.
        word: &'static str,
        why: String,
        /// The missing permission, in the provider's own words.
        permission: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn changed_data_does_not_match_the_judged_data() {
        let key = Arc::new(RunKey::from_bytes([3; 32]));
        let read = |secret: &Json| serde_json::from_value::<wire::Secret>(secret.clone()).unwrap();
        let of = |data: &Json| read(&json!({"data": data}));
        let data = json!({"user": "YWRtaW4=", "password": "czNjcjN0"});
        let secret = of(&data);
        let held = SecretFingerprints::of(&secret.data, &key);
        let judged = Judged::of(&held, version(&secret.metadata, &key), &key);
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
