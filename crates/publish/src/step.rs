//! One planned write, and its result.

use eso_model::expected::Unverifiable;
use serde::Serialize;

use crate::{held::Refusal, target::Store};

/// How what the provider holds compares with what the repository wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider holds the wanted value.
    InSync,
    /// The provider holds another value, which eso-sync wrote.
    Changed,
    /// The provider has no value under this name.
    Absent,
    /// The provider holds another value, which somebody else wrote.
    ForeignChange,
    /// The wanted value is older than what eso-sync published.
    WouldRevert,
    /// eso-sync published it, and the repository no longer has it.
    Orphaned,
    /// It could not be compared.
    Unverifiable(Unverifiable),
}

impl Verdict {
    /// The stable word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::InSync => "in-sync",
            Self::Changed => "changed",
            Self::Absent => "absent",
            Self::ForeignChange => "foreign-change",
            Self::WouldRevert => "would-revert",
            Self::Orphaned => "orphaned",
            Self::Unverifiable(_) => "unverifiable",
        }
    }
}

/// What is done about one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    pub reason: Reason,
    /// What must still hold at the time of the write. The writer checks it, and reports `raced` if it does not.
    pub precondition: Precondition,
    pub cost: Cost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create the secret with its value, mark, owner and provenance.
    Create,
    /// Write a new version in place of this one; None if the secret has no version.
    Update { base: Option<String> },
    /// Restore the deleted secret, and write a new version unless its mark is that of the wanted value.
    Restore,
    /// Record the owner, and the mark of the current version. Writes no version.
    Adopt,
    /// Record that the secret is orphaned. For providers where a deletion is final.
    Announce,
    /// Delete the secret, so that it can be restored where the provider supports it.
    Retire,
    /// Destroy one old version.
    DestroyVersion { version: String },
    /// Do nothing.
    Leave,
}

impl Action {
    /// True if the action changes something at the provider.
    pub const fn is_write(&self) -> bool {
        !matches!(self, Self::Leave)
    }

    /// True if the action writes a value.
    pub const fn writes_value(&self) -> bool {
        matches!(self, Self::Create | Self::Update { .. } | Self::Restore)
    }

    /// The stable word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update { .. } => "update",
            Self::Restore => "restore",
            Self::Adopt => "adopt",
            Self::Announce => "announce",
            Self::Retire => "retire",
            Self::DestroyVersion { .. } => "destroy-version",
            Self::Leave => "leave",
        }
    }
}

/// What must hold at the time of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    None,
    /// The secret does not exist.
    Absent,
    /// The secret exists without a version.
    Empty,
    /// The secret is deleted and can be restored.
    Retired,
    /// This version is current.
    Current(String),
}

/// The calls of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub reads: u32,
    pub writes: u32,
}

impl Cost {
    /// The calls of an action. The calls that only happen after a failure are not included.
    pub fn of(store: &Store, action: &Action) -> Self {
        let [create, update] = store.calls;
        let (reads, writes) = match action {
            Action::Create => create,
            Action::Update { .. } => update,
            Action::Restore => (update.0 + 1, update.1 + 1),
            Action::Retire => (1, 1),
            Action::Adopt | Action::Announce | Action::DestroyVersion { .. } => (0, 1),
            Action::Leave => (0, 0),
        };
        Self { reads, writes }
    }
}

impl Step {
    /// A step that does nothing.
    pub const fn leave(reason: Reason) -> Self {
        Self {
            action: Action::Leave,
            reason,
            precondition: Precondition::None,
            cost: Cost {
                reads: 0,
                writes: 0,
            },
        }
    }
}

/// Why a step is taken, or why nothing is done.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Reason {
    /// The provider holds the wanted value.
    InSync,
    /// The value changed in the repository.
    Changed,
    /// The provider has no value under this name.
    Absent,
    /// A secret without a version exists, for example from a run that was killed.
    NoVersion,
    /// The secret is deleted, and eso-sync owns it.
    Deleted,
    /// Somebody else changed the value, and `write.onForeignChange: overwrite` is set.
    ForeignOverwritten,
    /// The secret has no owner, and `write.adopt` permits taking it over.
    Adopted,
    /// The value is as wanted, but the mark of its current version is missing or of another key.
    MarkRenewed,
    /// The value is wanted again after it was recorded as orphaned.
    WantedAgain,
    /// The repository no longer has it.
    Orphaned,
    /// The version is older than `versions.keep` permits.
    OldVersion,
    /// Not written: somebody else changed the value (`write.onForeignChange: report`).
    ForeignChange,
    /// Not written: the value is older than what eso-sync published (`--allow revert`).
    WouldRevert,
    /// Not written: the secret has no owner (`write.adopt`).
    NotOwned,
    /// Not written: another publisher, or another item, owns the secret.
    OwnedByOther,
    /// Not written: the secret is deleted, and eso-sync does not own it.
    SoftDeleted,
    /// Not written: `write.when: absent` writes only what is absent.
    WriteWhenAbsent,
    /// Not written: the provider rotates the secret.
    Rotated,
    /// Not written: another service of the provider manages the secret.
    Managed,
    /// Not written: the secret is a replica.
    Replica,
    /// Not written: the current version is disabled.
    Disabled,
    /// Not written: the parameter has another type.
    OtherType,
    /// Not written: five versions of this secret were written within an hour.
    TooManyWrites,
    /// Not written: it could not be compared with the provider.
    Unverifiable,
    /// Not written: another file or item publishes the same target.
    Collision,
    /// Not written: a value of the item is still encrypted, or a key of SOPS itself.
    Encrypted,
    /// Not written: a value of the item is empty.
    EmptyValue,
    /// Not written: another problem of the item stops it.
    ItemStopped,
    /// Not written: the flag `--allow` does not contain `publish`.
    NotAllowed,
    /// Not written: the run would write more than `--max-writes`.
    MaxWrites,
    /// Not deleted: `prune.mode: report` only reports.
    PruneReports,
    /// Not deleted: the flag `--allow` does not contain `prune`.
    PruneNotAllowed,
    /// Not deleted: more secrets are orphaned than `prune.max` or `--max-prunes` permit.
    PruneLimit,
    /// Not deleted: a source was not read completely, the item has no values, or a secret could not be read.
    SourceIncomplete,
    /// Not deleted: an ExternalSecret of this cluster reads it.
    StillRead,
    /// Not deleted: it is not known which ExternalSecrets read it.
    ReadersUnknown,
    /// Not deleted: it was read within `prune.after`.
    ReadRecently,
    /// Not deleted yet: `prune.after` has not passed.
    PruneLater,
}

impl Reason {
    /// What a person can do about it. None if nothing is held back, or if the problem itself is reported.
    pub fn advice(self) -> Option<&'static str> {
        let known = ADVICE.iter().find(|(reason, _)| *reason == self);
        known.map(|(_, advice)| *advice)
    }

    /// The same for the stable word of a reason.
    pub fn advice_of(word: &str) -> Option<&'static str> {
        let known = ADVICE.iter().find(|(reason, _)| reason.into_str() == word);
        known.map(|(_, advice)| *advice)
    }
}

/// What a person can do, by reason. The other reasons hold nothing back, or their problem is reported with its place.
const ADVICE: &[(Reason, &str)] = &[
    (
        Reason::ForeignChange,
        "somebody else changed the value at the provider. Put it into the repository, or overwrite it with \
         `write.onForeignChange: overwrite`",
    ),
    (
        Reason::WouldRevert,
        "the value is one that was published before the current one: this source may be older than the last run's. Update the source, \
         or go back on purpose with `--allow publish,revert`. `--allow` closes all that no flag permits, so this call also needs \
         `--allow-source` and `--allow-target`, and what its errors name",
    ),
    (
        Reason::NotOwned,
        "the secret exists and has no owner. Take it over with `write.adopt: equal` if the values are equal, or with `any`",
    ),
    (
        Reason::OwnedByOther,
        "the secret has the owner tag of another publisher or item. Choose other names, or remove its tag `eso-sync-owner`",
    ),
    (
        Reason::SoftDeleted,
        "the secret is deleted, and its name is reserved. Restore it or remove it for good at the provider, or set `write.adopt: any`",
    ),
    (
        Reason::Rotated,
        "the provider rotates the secret, so a value from a repository would break its users. Remove it from the repository",
    ),
    (
        Reason::Managed,
        "another service of the provider writes the secret. Choose another name",
    ),
    (
        Reason::Replica,
        "the secret is a replica. Publish to its primary region",
    ),
    (
        Reason::Disabled,
        "the current version is disabled or locked. Enable it at the provider, or remove the key from the repository",
    ),
    (
        Reason::OtherType,
        "the parameter is neither `String` nor `SecureString`. Choose another name, or delete it",
    ),
    (
        Reason::TooManyWrites,
        "five versions were written within an hour. Two sources may write the same name in turn: find the other one, then run again",
    ),
    (
        Reason::MaxWrites,
        "more would be written than `--max-writes` permits, so nothing was. Check the plan, then raise the limit",
    ),
    (Reason::NotAllowed, "add `publish` to `--allow`"),
    (
        Reason::ItemStopped,
        "another problem of the item stops it. Solve that first",
    ),
    (
        Reason::PruneNotAllowed,
        "the repository no longer has it. To delete it, add `prune` to `--allow`",
    ),
    (
        Reason::PruneReports,
        "the repository no longer has it. To delete it, set `prune.mode: prune`",
    ),
    (
        Reason::PruneLimit,
        "more secrets are orphaned than `prune.max` or `--max-prunes` permit, so none was deleted. Check that the source is the right \
         one, then raise the limit",
    ),
    (
        Reason::StillRead,
        "an ExternalSecret of this cluster still reads it. Remove it there first",
    ),
    (
        Reason::ReadersUnknown,
        "no cluster could be asked which ExternalSecrets read it, or not all of them could be listed. Publish with access to the \
         cluster and the rights that `rbac --publish` prints",
    ),
];

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rotated => Self::Rotated,
            Refusal::Managed => Self::Managed,
            Refusal::Replica => Self::Replica,
            Refusal::Disabled => Self::Disabled,
            Refusal::OtherType => Self::OtherType,
        }
    }
}

/// A write that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// The provider's ID of the version that is current now.
    pub version: Option<String>,
    /// True if the provider returned the value that was written, as the current version.
    pub proven: bool,
}

impl Wrote {
    /// A version that was written, and not read back.
    pub const fn unproven(version: String) -> Self {
        Self {
            version: Some(version),
            proven: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kebab_case() {
        assert_eq!(Reason::ForeignChange.into_str(), "foreign-change");
        assert_eq!(
            Reason::from(Refusal::OtherType).into_str(),
            Refusal::OtherType.into_str()
        );
    }
}
