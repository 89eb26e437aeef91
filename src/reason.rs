//! The reasons in plans and reports: one list of stable words. Words are only added, never changed or removed.

use eso_model::{expected::Failure, texts::ErrorClass, unread};
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
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Reason {
    // Why it is synced.
    /// The policy syncs all ExternalSecrets that it selects.
    Selected,
    /// Its last sync failed.
    LastSyncFailed,
    /// It has never synced.
    NeverSynced,
    /// Its last sync is older than `overdueAfter`.
    Overdue,
    /// The provider has new data.
    Stale,
    /// Its Secret was edited in the cluster.
    Tampered,
    /// Keys are missing in its Secret.
    Partial,
    /// Its Secret does not exist.
    Missing,
    /// This run published a key that it reads.
    Published,

    // Why it is skipped.
    /// It has the annotation `eso-sync/ignore`.
    Ignored,
    /// The policy excludes it.
    Excluded,
    /// The policy does not sync ExternalSecrets in this state (`sync.when`).
    NotDue,
    /// `refreshPolicy: CreatedOnce`: the operator ignores a force-sync.
    RefreshCreatedOnce,
    /// `refreshInterval: 0`: the operator ignores a force-sync.
    RefreshIntervalZero,
    /// It has no store and no generator.
    NoSource,
    /// Its store belongs to another controller class.
    ForeignClass,
    /// Its store does not exist.
    StoreMissing,
    /// Its store is not ready.
    StoreNotReady,
    /// A sync would create a new credential, because it uses a generator.
    Generator,
    /// A ClusterExternalSecret controls it, and not all children of that are selected.
    ChildOfClusterExternalSecret,
    /// A ClusterExternalSecret controls it, and that cannot be read or does not pass a force-sync on to its children.
    ParentUnavailable,
    /// It is being deleted.
    BeingDeleted,
    /// Its Secret has the provider's data.
    InSync,
    /// The drift check has no verdict for its Secret. As the reason of a sync: the policy syncs these too.
    Unverifiable,
    /// The operator's sync would fail with the provider's current data.
    WouldFail,
    /// A workload that uses its Secret could not be stamped, or the workloads could not be listed. After a sync, the pending
    /// restart would be unknown.
    StampNotWritten,
    /// The run would exceed a safety limit, and its namespace alone takes more than half of it.
    NamespaceLimit,
    /// The policy does not select it. For a workload: none of the ExternalSecrets that write its Secrets.
    OutsideSelection,

    // Why it is synced but not proven.
    /// `creationPolicy: None`: the operator writes no Secret.
    NotWritten,
    /// The provider has no value any more, and the operator kept the Secret (`deletionPolicy: Retain`).
    Retained,
    /// The provider has no value any more, and the operator deleted the Secret (`deletionPolicy: Delete`).
    SecretDeleted,
    /// `creationPolicy: Merge`, and the Secret does not exist.
    SecretMissing,
    /// `immutable: true`: the operator does not change an existing Secret.
    Immutable,
    /// The run was stopped before the operator processed the sync.
    Interrupted,
    /// The sync is proven, but the Secret still does not have the provider's data.
    StillStale,

    // Why it failed.
    /// The provider denies access to the operator.
    Denied,
    /// The store's credentials have expired, or were revoked.
    CredentialsExpired,
    /// The provider does not accept the store's credentials.
    LoginFailed,
    /// The conditions of the ClusterSecretStore exclude the namespace.
    NamespaceNotAllowed,
    /// The provider has no such secret, version or property.
    NotFound,
    /// The version is disabled or destroyed, or the secret is scheduled for deletion.
    VersionUnavailable,
    /// The provider throttles requests.
    Throttled,
    /// The provider is unreachable or returns errors.
    Unavailable,
    /// The Vault is sealed.
    Sealed,
    /// The certificate of the provider's server is signed by an unknown authority.
    UnknownAuthority,
    /// The certificate of the provider's server is expired or for another name.
    CertificateInvalid,
    /// The template cannot be rendered.
    Template,
    /// A `ResourceQuota` of the namespace allows no more Secrets.
    QuotaExceeded,
    /// Another object controls the target Secret.
    OwnedByOther,
    /// The API server rejects the Secret: its type, keys or size, or an admission policy does.
    InvalidSecret,
    /// The operator's own ServiceAccount may not write the Secret.
    OperatorDenied,
    /// The operator failed for another reason.
    OperatorError,
    /// The operator did not process the sync before the timeout.
    TimedOut,
    /// The API server is unreachable.
    ApiUnavailable,
    /// The API server rejected the annotation.
    Refused,
    /// The annotation was removed or changed before the operator processed it.
    Overwritten,
    /// It was deleted during the run.
    Deleted,
    /// It was deleted and created again during the run.
    Replaced,

    // Why it was not reached.
    /// The run's deadline passed.
    Deadline,
    /// The run received a signal.
    Signal,
    /// Too many items failed before (`safety.stopAfterFailures`).
    TooManyFailures,
    /// Another run took over the lock.
    LockLost,

    // Why a workload is, or would be, restarted.
    /// The data of a Secret changed after the pods started.
    DataChanged,
    /// The run may change the data that the workload uses.
    DataMayChange,
    /// The policy restarts it in every run.
    Always,
    /// It is unknown what data its pods started with.
    PodsUnproven,
    /// An interrupted run was evicting its pods.
    EvictionUnderWay,
    /// Its last restart was taken back, so pods still run with old data.
    RestartReverted,
    /// Pods from before its last restart are still there: a partition, `OnDelete`, a pause, a PodDisruptionBudget or a node that
    /// is down keeps them.
    PodsHeldBack,

    // Why a workload is not restarted.
    /// It runs with the current data.
    Current,
    /// It had no stamp; its first stamp was created.
    Adopted,
    /// Its stamp was copied from another workload; a new stamp is created.
    StampCopied,
    /// Its stamp was made with another key; a new stamp is created.
    KeyReplaced,
    /// Its stamp was made with a key in another namespace, and that key cannot be read.
    KeyElsewhere,
    /// It uses a Secret that is not in its stamp yet; the stamp is updated.
    SecretAdded,
    /// None of the Secrets that it uses exists, and its pods cannot start without them.
    SecretNotCreated,
    /// All of its pods started after the data was written.
    PodsAreNewer,
    /// It uses none of the selected Secrets.
    NoReference,
    /// No `restart` rule of the policy covers it.
    NoRule,
    /// Stakater Reloader is responsible for its restarts.
    HandledByReloader,
    /// wave is responsible for its restarts.
    HandledByWave,
    /// Its stamp was removed or replaced by an older one.
    StampReverted,
    /// Its stamp cannot be read.
    StampUnreadable,
    /// Its stamp is too large for an annotation.
    StampTooLarge,
    /// A Secret that it uses cannot be read.
    SecretUnreadable,
    /// A Secret that it uses was edited in the cluster.
    SecretTampered,
    /// A Secret that it uses was not verified in this run.
    SecretNotVerified,
    /// Keys of a Secret that it uses were removed, or values are now empty.
    DataLooksBroken,
    /// A Secret changed after it was verified.
    ChangedMeanwhile,
    /// Its rollout is paused.
    Paused,
    /// It is scaled to zero pods.
    ScaledToZero,
    /// Its update strategy is `OnDelete`, so its pods are only replaced manually.
    OnDelete,
    /// A rollout is already in progress.
    AlreadyRolling,
    /// It was unhealthy before the restart.
    Unhealthy,
    /// The `syncWindows` of an ExternalSecret that writes one of its Secrets deny syncs now.
    InDenyWindow,
    /// Its last restart is too recent.
    CoolingDown,
    /// It was restarted too often within a day.
    RestartLoop,
    /// Its data alternates between old and new values.
    Flapping,
    /// The first workload of the same rule was not healthy after its restart.
    RuleStopped,
    /// Another workload of the same rule and namespace was not healthy after its restart.
    NamespaceStopped,
    /// The plan that was shown does not contain it.
    NotPlanned,

    // Why a restart failed.
    /// It was not healthy before the timeout.
    NotHealthyAgain,
    /// The API server did not answer the eviction of a pod until the timeout.
    EvictionBlocked,
}

impl From<ErrorClass> for Reason {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Throttled => Self::Throttled,
            ErrorClass::StoreNotReady => Self::StoreNotReady,
            ErrorClass::StoreMissing => Self::StoreMissing,
            ErrorClass::NamespaceNotAllowed => Self::NamespaceNotAllowed,
            ErrorClass::CredentialsExpired => Self::CredentialsExpired,
            ErrorClass::LoginFailed => Self::LoginFailed,
            ErrorClass::Denied => Self::Denied,
            ErrorClass::Template => Self::Template,
            ErrorClass::NotFound => Self::NotFound,
            ErrorClass::VersionUnavailable => Self::VersionUnavailable,
            ErrorClass::UnknownAuthority => Self::UnknownAuthority,
            ErrorClass::CertificateInvalid => Self::CertificateInvalid,
            ErrorClass::Sealed => Self::Sealed,
            ErrorClass::Unavailable => Self::Unavailable,
            ErrorClass::QuotaExceeded => Self::QuotaExceeded,
            ErrorClass::OwnedByOther => Self::OwnedByOther,
            ErrorClass::Immutable => Self::Immutable,
            ErrorClass::InvalidSecret => Self::InvalidSecret,
            ErrorClass::OperatorDenied => Self::OperatorDenied,
            ErrorClass::Other => Self::OperatorError,
        }
    }
}

impl Reason {
    /// The reason for which the operator would fail, if there is a more specific one than `would-fail`.
    pub const fn of_failure(failure: Failure) -> Option<Self> {
        Some(match failure {
            Failure::NotFound | Failure::NotFoundError | Failure::NoProperty => Self::NotFound,
            Failure::VersionDeleted
            | Failure::DestroyedAsAbsent
            | Failure::VersionDisabled
            | Failure::VersionDestroyed
            | Failure::ScheduledForDeletion => Self::VersionUnavailable,
            Failure::NamespaceNotAllowed => Self::NamespaceNotAllowed,
            Failure::InvalidKey | Failure::TooLarge => Self::InvalidSecret,
            Failure::Template => Self::Template,
            Failure::NoValue
            | Failure::NotJson
            | Failure::NotAnObject
            | Failure::Number
            | Failure::Decoding
            | Failure::KeyCollision
            | Failure::NullByte
            | Failure::MergeConflict
            | Failure::MergeKey
            | Failure::Refused
            | Failure::DeleteNotOwned => return None,
        })
    }

    /// The reason for the word of an `unverifiable` finding or of a failed read, if there is one.
    pub fn of_read(word: &str) -> Option<Self> {
        Some(match word {
            unread::DENIED => Self::Denied,
            unread::LOGIN => Self::LoginFailed,
            unread::CREDENTIALS_EXPIRED => Self::CredentialsExpired,
            unread::UNKNOWN_AUTHORITY => Self::UnknownAuthority,
            unread::CERTIFICATE_INVALID => Self::CertificateInvalid,
            unread::SEALED => Self::Sealed,
            unread::THROTTLED => Self::Throttled,
            unread::UNAVAILABLE => Self::Unavailable,
            _ => return None,
        })
    }

    /// The word in reports.
    pub fn as_str(self) -> String {
        self.into_str().to_owned()
    }

    /// True if a failure with this reason is temporary, so that a retry is worth its calls.
    pub const fn may_be_temporary(self) -> bool {
        matches!(
            self,
            // The operator renews its own credentials, so its next attempt may have new ones.
            Self::Throttled | Self::Unavailable | Self::CredentialsExpired | Self::OperatorError
        )
    }

    /// True if another tool restarts the workload.
    pub const fn is_left_to_another_tool(self) -> bool {
        matches!(self, Self::HandledByReloader | Self::HandledByWave)
    }

    /// True if a skip for this reason needs attention, and was not requested by the policy or the author.
    pub const fn needs_attention(self) -> bool {
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
                | Self::NamespaceStopped
                | Self::RestartReverted
                | Self::PodsHeldBack
                | Self::NotPlanned
                | Self::WouldFail
                | Self::StampNotWritten
                | Self::NamespaceLimit
                | Self::TooManyFailures
                | Self::Retained
                | Self::SecretMissing
                | Self::Immutable
        )
    }

    /// Returns what to do next, or None if no action is needed.
    #[expect(clippy::too_many_lines, reason = "one arm for each reason")]
    pub const fn next_step(self) -> Option<&'static str> {
        Some(match self {
            Self::Unverifiable => {
                "run `eso-sync diagnose NAME` to see why. `drift.onUnverifiable` decides what a run does with them"
            }
            Self::WouldFail => {
                "fix the cause, in the provider or the ExternalSecret's spec: the operator would fail on it"
            }
            Self::StampNotWritten => {
                "fix the error, then run again. `eso-sync sync NAME` without --restart syncs it and restarts nothing"
            }
            Self::NamespaceLimit => {
                "find out why so much changed in this namespace, then raise `safety.maxSyncs` or `safety.maxRestarts` (`--max-syncs`, `--max-restarts`)"
            }
            Self::OutsideSelection => {
                "select it in the policy, or sync it yourself: `eso-sync sync NAME --restart`"
            }
            Self::NoRule => {
                "add a `restart` rule that covers it to the policy, or restart it yourself"
            }
            Self::StillStale => {
                "run `eso-sync diagnose NAME` to see why. `sync.onStillStale` can make the operator write the Secret again"
            }
            Self::Denied => {
                "grant read access at the provider to the identity that was denied: in a sync the store's, in a check with `ambient` credentials this job's. Then run again"
            }
            Self::CredentialsExpired => {
                "renew the credentials: in a sync those of the store, in a check with `ambient` those of this job. Then run again"
            }
            Self::LoginFailed => {
                "fix the credentials: in a sync those of the store, in a check with `ambient` those of this job. Or fix what the provider requires of them (role, trust policy, audience)"
            }
            Self::NamespaceNotAllowed => {
                "add the namespace to `spec.conditions` of the ClusterSecretStore, or use another store"
            }
            Self::NotFound => "check the remote key, version and property in the provider",
            Self::VersionUnavailable => {
                "enable or restore the version in the provider, or create a new one"
            }
            Self::Throttled => "lower `pace.stores` or `pace.providers`, or run again later",
            Self::Unavailable => "check that the provider is up and can be reached, then run again",
            Self::Sealed => "unseal the Vault, then run again",
            Self::UnknownAuthority => {
                "add the authority that signed the server's certificate to the SecretStore (`caBundle` or `caProvider`)"
            }
            Self::CertificateInvalid => {
                "renew the certificate of the provider's server, or fix the server's name in the SecretStore"
            }
            Self::QuotaExceeded => {
                "raise the ResourceQuota of the namespace, or delete Secrets that are not needed"
            }
            Self::OwnedByOther => {
                "let only one object own the Secret: use another `spec.target.name`, or delete the other owner"
            }
            Self::InvalidSecret => {
                "fix `spec.target.template` or the data: the API server rejects the Secret. To change its type, delete the Secret"
            }
            Self::OperatorDenied => {
                "grant the operator's ServiceAccount the right to write Secrets in this namespace"
            }
            Self::Template => {
                "fix `spec.target.template`. `kubectl describe externalsecret` shows the operator's error"
            }
            Self::OperatorError => "read the operator's error: `kubectl describe externalsecret`",
            Self::TimedOut => {
                "check that the operator is running, and the length of its queue (`workqueue_depth`)"
            }
            Self::ApiUnavailable => "check the API server, then run again",
            Self::Refused => {
                "read the API server's error. The usual cause is an admission webhook or a missing permission"
            }
            Self::Overwritten => {
                "find the tool that changes the annotations of this ExternalSecret, for example GitOps with pruning"
            }
            Self::StoreNotReady | Self::StoreMissing => "fix the SecretStore, then run again",
            Self::ParentUnavailable => {
                "grant `get` and `patch` on clusterexternalsecrets, or update the operator to v0.20.0"
            }
            Self::Retained | Self::SecretDeleted => {
                "restore the value in the provider, which has none any more"
            }
            Self::SecretMissing => {
                "create the Secret that `creationPolicy: Merge` needs, or use `creationPolicy: Owner`"
            }
            Self::SecretNotCreated => {
                "nothing, if the run creates the Secret: its pods start with it. Otherwise sync its ExternalSecret"
            }
            Self::Immutable => "delete the target Secret if it should get the new value",
            Self::NotWritten => {
                "exclude it in the policy: a sync without a Secret cannot be proven"
            }
            Self::Interrupted | Self::Deadline | Self::Signal | Self::LockLost => "run again",
            Self::TooManyFailures => "fix the first failures, then run again",
            Self::ChildOfClusterExternalSecret => {
                "select all ExternalSecrets of the ClusterExternalSecret, so that they are synced through it"
            }
            Self::StampReverted => {
                "configure the tool that manages the workload to keep the stamp, then run with --adopt-anew"
            }
            Self::StampUnreadable => {
                "run with --adopt-anew, or with the version of eso-sync that wrote the stamp"
            }
            Self::StampTooLarge => {
                "reduce the number of Secrets that the workload uses, or exclude it"
            }
            Self::SecretUnreadable => {
                "grant `get` and `list` on secrets. `eso-sync rbac` prints the rights"
            }
            Self::SecretTampered => "sync its ExternalSecret to overwrite the Secret",
            Self::SecretNotVerified => {
                "find out why its ExternalSecret is not verified. `require: proven` needs less"
            }
            Self::DataLooksBroken => {
                "check the data in the provider. `onBrokenData: restart` restarts anyway"
            }
            Self::Unhealthy | Self::RuleStopped | Self::NamespaceStopped => {
                "check its pods. `--retry` restarts it anyway"
            }
            Self::RestartReverted => {
                "use `strategy: evict` for it. Or make its owner keep the restart annotation, then use `--retry`"
            }
            Self::PodsHeldBack => {
                "remove what keeps the pods, or delete the pods: their replacements start with the current data"
            }
            Self::NotHealthyAgain => "check its pods: `kubectl describe` and `kubectl logs`",
            Self::EvictionBlocked => "check the API server: `kubectl get --raw /readyz`",
            Self::RestartLoop | Self::Flapping => {
                "find out what keeps changing its Secrets. `--retry` restarts it anyway"
            }
            Self::InDenyWindow => {
                "run again when the window has ended. `duringDenyWindow: restart` in its rule restarts it anyway"
            }
            Self::CoolingDown => "run again later, or use `--retry` to restart it now",
            Self::ChangedMeanwhile
            | Self::AlreadyRolling
            | Self::NotPlanned
            | Self::EvictionUnderWay => "run again later",
            Self::KeyElsewhere => {
                "find out which installation made the stamp. If it is yours, grant `get` on its key. To create a new stamp with this run's key, use --adopt-anew"
            }
            Self::KeyReplaced => {
                "find out who deleted the key: restarts that were pending before are no longer known"
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
            | Self::HandledByWave
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
            | Self::Published
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
        assert!(reason("ExpiredTokenException: the token is expired").may_be_temporary());
        assert!(!reason("permission denied").may_be_temporary());
        assert!(!reason("Secret does not exist").may_be_temporary());
    }
}
