//! The stable words that plans and reports use to say why: one list, documented, only ever added to.

use serde::{Deserialize, Serialize};

/// Why an ExternalSecret is synced, skipped, unproven, failed or not reached.
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
pub enum Reason {
    // Why it is synced.
    /// The policy syncs all that it selects.
    Selected,
    /// Its last sync failed.
    LastSyncFailed,
    /// It has never synced.
    NeverSynced,
    /// Its last sync is older than asked.
    Overdue,
    /// The provider moved on.
    Stale,
    /// Somebody edited its Secret.
    Tampered,
    /// Its Secret lacks keys.
    Partial,
    /// It has no Secret.
    Missing,

    // Why it is skipped.
    /// The annotation `eso-sync/ignore` opts it out.
    Ignored,
    /// The policy's `exclude` takes it out.
    Excluded,
    /// It is in a state that the policy does not sync (`sync.when`).
    NotDue,
    /// `refreshPolicy: CreatedOnce`: the operator ignores a force-sync.
    RefreshCreatedOnce,
    /// `refreshInterval: 0`: the operator ignores a force-sync.
    RefreshIntervalZero,
    /// It names no store and no generator: there is nothing to read.
    NoSource,
    /// Its store belongs to another controller class.
    ForeignClass,
    /// Its store does not exist.
    StoreMissing,
    /// Its store is not ready.
    StoreNotReady,
    /// A generator would make a new credential.
    Generator,
    /// A ClusterExternalSecret controls it, and not all of its children are selected.
    ChildOfClusterExternalSecret,
    /// A ClusterExternalSecret controls it, which cannot be read or does not pass a force-sync on.
    ParentUnavailable,
    /// It is being deleted.
    BeingDeleted,
    /// Its Secret holds what the provider does.
    InSync,
    /// Whether its Secret holds what the provider does cannot be told. As the reason of a sync: the policy syncs these too.
    Unverifiable,
    /// With what the provider holds now the operator's sync would fail.
    WouldFail,

    // Why it is synced but not proven.
    /// `creationPolicy: None`: the operator writes no Secret.
    NotWritten,
    /// The provider holds no value any more, and the operator kept the Secret as it was (`deletionPolicy: Retain`).
    Retained,
    /// The provider holds no value any more, and the operator deleted the Secret (`deletionPolicy: Delete`).
    SecretDeleted,
    /// `creationPolicy: Merge`, and there is no Secret to merge into.
    SecretMissing,
    /// `immutable: true`: the operator leaves an existing Secret as it is.
    Immutable,
    /// The run was stopped before the operator had answered.
    Interrupted,
    /// The operator has read the provider anew, and the Secret holds something else all the same.
    StillStale,

    // Why it failed.
    /// The provider refuses the operator.
    Denied,
    /// The provider has no such secret, version or property.
    NotFound,
    /// The provider throttles.
    Throttled,
    /// The provider cannot be reached, or fails.
    Unavailable,
    /// The template fails.
    Template,
    /// The operator failed for another reason.
    OperatorError,
    /// The operator gave no answer in time.
    TimedOut,
    /// The API server could not be reached.
    ApiUnavailable,
    /// The API server refused the annotation.
    Refused,
    /// Somebody removed or changed the annotation before the operator had answered.
    Overwritten,
    /// It was deleted during the run.
    Deleted,
    /// It was deleted and created anew during the run.
    Replaced,

    // Why it was not reached.
    /// The run's deadline passed.
    Deadline,
    /// The run got a signal.
    Signal,
    /// Too many had failed before.
    TooManyFailures,
    /// Another run took the lock over.
    LockLost,
}

impl Reason {
    /// As it is written in reports.
    pub fn as_str(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => word,
            _ => String::new(),
        }
    }

    /// Whether a skip for this reason is trouble that somebody should look at, and not the author's own wish.
    pub const fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::StoreMissing
                | Self::StoreNotReady
                | Self::ParentUnavailable
                | Self::NoSource
                | Self::WouldFail
                | Self::Retained
                | Self::SecretMissing
                | Self::Immutable
        )
    }

    /// What to do next, for people; None where nothing needs doing.
    #[expect(clippy::too_many_lines, reason = "a line or two for each reason")]
    pub const fn next_step(self) -> Option<&'static str> {
        Some(match self {
            Self::Unverifiable => {
                "`eso-sync diagnose NAME` says what is in the way; `drift.onUnverifiable` says what becomes of these"
            }
            Self::WouldFail => {
                "mend what the operator would fail on, in the provider or in the spec"
            }
            Self::StillStale => {
                "`eso-sync diagnose NAME`; `sync.onStillStale` can have the operator write the Secret anew"
            }
            Self::Denied => {
                "grant the store's identity the read that the provider refused, then run again"
            }
            Self::NotFound => "check the remote key, version and property in the provider",
            Self::Throttled => "lower `pace.stores` or `pace.providers`, or run again later",
            Self::Unavailable => "check that the operator reaches the provider, then run again",
            Self::Template => {
                "mend `spec.target.template`; `kubectl describe externalsecret` shows the operator's text"
            }
            Self::OperatorError => "read the operator's text: `kubectl describe externalsecret`",
            Self::TimedOut => {
                "check that the operator runs and how long its queue is (`workqueue_depth`)"
            }
            Self::ApiUnavailable => "check the API server, then run again",
            Self::Refused => {
                "see the API server's answer; an admission webhook or a missing right is the usual cause"
            }
            Self::Overwritten => {
                "find who manages the annotations of this ExternalSecret (GitOps with pruning?)"
            }
            Self::StoreNotReady | Self::StoreMissing => "mend the store, then run again",
            Self::ParentUnavailable => {
                "grant `get` and `patch` on clusterexternalsecrets, or update the operator to v0.20.0"
            }
            Self::Retained | Self::SecretDeleted => {
                "the provider holds no value for it any more: restore it there"
            }
            Self::SecretMissing => {
                "create the Secret that `creationPolicy: Merge` wants, or use `Owner`"
            }
            Self::Immutable => {
                "delete the target Secret to take the new value in, if that is wanted"
            }
            Self::NotWritten => {
                "nothing can be proven without a Secret; exclude it to keep the report clean"
            }
            Self::Interrupted | Self::Deadline | Self::Signal | Self::LockLost => "run again",
            Self::TooManyFailures => "mend what failed first, then run again",
            Self::ChildOfClusterExternalSecret => {
                "select all of its siblings to sync them through their parent"
            }
            Self::Selected
            | Self::LastSyncFailed
            | Self::NeverSynced
            | Self::Overdue
            | Self::Stale
            | Self::Tampered
            | Self::Partial
            | Self::Missing
            | Self::InSync
            | Self::Ignored
            | Self::Excluded
            | Self::NotDue
            | Self::RefreshCreatedOnce
            | Self::RefreshIntervalZero
            | Self::NoSource
            | Self::ForeignClass
            | Self::Generator
            | Self::BeingDeleted
            | Self::Deleted
            | Self::Replaced => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kebab_case() {
        assert_eq!(
            Reason::ChildOfClusterExternalSecret.as_str(),
            "child-of-cluster-external-secret"
        );
        assert_eq!(
            Reason::RefreshIntervalZero.as_str(),
            "refresh-interval-zero"
        );
    }
}
