//! The stable words that plans and reports use to say why: one list, documented, only ever added to.

use eso_model::texts::ErrorClass;
use serde::{Deserialize, Serialize};

/// Why an ExternalSecret is synced, skipped, unproven, failed or not reached; and why a workload is restarted or left alone.
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
    /// What the pods of a workload that uses its Secret started with could not be noted, or which workloads do could not be seen:
    /// synced now, it would owe them a restart that nobody knows of.
    StampNotWritten,

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

    // Why a workload is, or would be, restarted.
    /// A Secret holds other data than the pods started with.
    DataChanged,
    /// The run may change the data that it uses.
    DataMayChange,
    /// The policy restarts it each run.
    Always,
    /// Nobody knows what data its pods started with.
    PodsUnproven,
    /// A run that was ended was evicting its pods.
    EvictionUnderWay,

    // Why a workload is not restarted.
    /// It runs on the present data.
    Current,
    /// It was not known before: what its pods started with is noted from now on.
    Adopted,
    /// Its stamp was made for another workload; it is noted anew.
    StampCopied,
    /// Its stamp was made with another key; it is noted anew.
    KeyReplaced,
    /// Its stamp was made with a key that is kept elsewhere and cannot be read.
    KeyElsewhere,
    /// It uses a Secret that is new to its stamp, which is noted.
    SecretAdded,
    /// All of its pods started well after the data was written.
    PodsAreNewer,
    /// It uses none of the selected Secrets.
    NoReference,
    /// Stakater Reloader restarts it.
    HandledByReloader,
    /// Its stamp vanished, or an older one was brought back.
    StampReverted,
    /// Its stamp cannot be read.
    StampUnreadable,
    /// Its stamp would not fit into an annotation.
    StampTooLarge,
    /// A Secret that it uses cannot be read.
    SecretUnreadable,
    /// A Secret that it uses was edited by somebody else than the operator.
    SecretTampered,
    /// A Secret that it uses was not verified in this run.
    SecretNotVerified,
    /// Keys of a Secret that it uses vanished, or values became empty.
    DataLooksBroken,
    /// A Secret changed after it was verified.
    ChangedMeanwhile,
    /// Its rollout is paused.
    Paused,
    /// It asks for no pods.
    ScaledToZero,
    /// Its pods are only replaced by hand.
    OnDelete,
    /// It is being rolled out already.
    AlreadyRolling,
    /// It was not healthy before.
    Unhealthy,
    /// Its last restart is too recent.
    CoolingDown,
    /// It was restarted too often within a day.
    RestartLoop,
    /// Its data goes to and fro.
    Flapping,
    /// Another workload of its rule is not healthy after its restart.
    RuleStopped,
    /// The plan did not foresee its restart.
    NotPlanned,

    // Why a restart failed.
    /// It was not healthy again in time.
    NotHealthyAgain,
    /// A PodDisruptionBudget did not let its pods go in time.
    EvictionBlocked,
}

impl From<ErrorClass> for Reason {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Throttled => Self::Throttled,
            ErrorClass::StoreNotReady => Self::StoreNotReady,
            ErrorClass::StoreMissing => Self::StoreMissing,
            ErrorClass::Denied => Self::Denied,
            ErrorClass::Template => Self::Template,
            ErrorClass::NotFound => Self::NotFound,
            ErrorClass::Unavailable => Self::Unavailable,
            ErrorClass::Other => Self::OperatorError,
        }
    }
}

impl Reason {
    /// As it is written in reports.
    pub fn as_str(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => word,
            _ => String::new(),
        }
    }

    /// True if a failure with this reason may pass by itself, so that another try is worth its calls.
    pub const fn may_be_temporary(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Unavailable | Self::OperatorError
        )
    }

    /// Whether a skip for this reason is trouble that somebody should look at, and not the author's own wish.
    pub const fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::StoreMissing
                | Self::StoreNotReady
                | Self::ParentUnavailable
                | Self::NoSource
                | Self::StampReverted
                | Self::KeyElsewhere
                | Self::StampUnreadable
                | Self::StampTooLarge
                | Self::SecretUnreadable
                | Self::SecretTampered
                | Self::SecretNotVerified
                | Self::DataLooksBroken
                | Self::ChangedMeanwhile
                | Self::AlreadyRolling
                | Self::Unhealthy
                | Self::RestartLoop
                | Self::Flapping
                | Self::RuleStopped
                | Self::NotPlanned
                | Self::WouldFail
                | Self::StampNotWritten
                | Self::Retained
                | Self::SecretMissing
                | Self::Immutable
        )
    }

    /// What to do next, for people; None where nothing needs doing.
    #[expect(clippy::too_many_lines, reason = "a line or two for each word")]
    pub const fn next_step(self) -> Option<&'static str> {
        Some(match self {
            Self::Unverifiable => {
                "`eso-sync diagnose NAME` says what is in the way; `drift.onUnverifiable` says what becomes of these"
            }
            Self::WouldFail => {
                "mend what the operator would fail on, in the provider or in the spec"
            }
            Self::StampNotWritten => {
                "mend what is in the way, then run again; `eso-sync sync NAME` without --restart syncs it, and nothing will restart"
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
            Self::StampReverted => {
                "make the tool that owns the workload leave the stamp alone, then run with --adopt-anew"
            }
            Self::StampUnreadable => {
                "run with --adopt-anew, or with the version of eso-sync that wrote the stamp"
            }
            Self::StampTooLarge => "split its Secrets, or exclude it",
            Self::SecretUnreadable => {
                "grant `get` and `list` on secrets; `eso-sync rbac` prints the rights"
            }
            Self::SecretTampered => "sync its ExternalSecret, which writes the Secret anew",
            Self::SecretNotVerified => {
                "see why its ExternalSecret is not verified; `require: proven` asks for less"
            }
            Self::DataLooksBroken => {
                "look at the data in the provider; `onBrokenData: restart` restarts all the same"
            }
            Self::Unhealthy | Self::RuleStopped => {
                "look at its pods; `--retry` restarts it all the same"
            }
            Self::NotHealthyAgain => "look at its pods: `kubectl describe` and `kubectl logs`",
            Self::EvictionBlocked => "look at its PodDisruptionBudget: `kubectl get pdb`",
            Self::RestartLoop | Self::Flapping => {
                "find what keeps changing its Secrets; `--retry` restarts it all the same"
            }
            Self::CoolingDown => "run again later; `--retry` restarts it at once",
            Self::ChangedMeanwhile
            | Self::AlreadyRolling
            | Self::NotPlanned
            | Self::EvictionUnderWay => "run again later",
            Self::KeyElsewhere => {
                "grant `get` on that Secret, or run with --lock-namespace; --adopt-anew makes a new stamp with the own key"
            }
            Self::KeyReplaced => {
                "find who deleted the key: what was owed before is no longer known"
            }
            Self::DataChanged
            | Self::DataMayChange
            | Self::Always
            | Self::PodsUnproven
            | Self::Current
            | Self::Adopted
            | Self::StampCopied
            | Self::SecretAdded
            | Self::PodsAreNewer
            | Self::NoReference
            | Self::HandledByReloader
            | Self::Paused
            | Self::ScaledToZero
            | Self::OnDelete
            | Self::Selected
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

    #[test]
    fn only_temporary_failures_are_retried() {
        let reason = |text| Reason::from(eso_model::texts::quote(text).class);
        assert!(reason("i/o timeout").may_be_temporary() && reason("???").may_be_temporary());
        assert!(!reason("permission denied").may_be_temporary());
        assert!(!reason("Secret does not exist").may_be_temporary());
    }
}
