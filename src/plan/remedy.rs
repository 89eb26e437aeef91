//! The strongest remedy that the policy allows and that is safe for a Secret, if it is still stale after a proven sync.

use std::collections::BTreeSet;

use eso_model::{Id, expected::CreationPolicy};

use super::{Action, Item};
use crate::{
    inventory::{ExternalSecret, Inventory},
    policy::{OnStillStale, Policy},
};

/// Why a Secret is not deleted, although the policy allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Kept {
    /// `creationPolicy: Merge` or `CreateOrMerge`.
    Merged,
    /// `creationPolicy: Orphan`.
    Orphan,
    /// `immutable: true`.
    Immutable,
    /// Another ExternalSecret writes it too.
    SharedTarget,
    /// It was written or deleted after it was compared.
    ChangedSinceJudged,
    /// The ExternalSecret is not its controller.
    NotOwned,
    /// Another field manager wrote a part of its data.
    OtherWriter,
    /// Its `managedFields` do not name the writer of all data.
    UnknownWriter,
}

impl Kept {
    const fn text(self) -> &'static str {
        match self {
            Self::Merged => {
                "others may have written keys to it, which the operator does not write again"
            }
            Self::Orphan => "the operator does not create it again before the next refresh",
            Self::Immutable => "the ExternalSecret says that it never changes",
            Self::SharedTarget => "another ExternalSecret has the same target",
            Self::ChangedSinceJudged => "it was written or deleted after it was compared",
            Self::NotOwned => "the ExternalSecret does not own it",
            Self::OtherWriter => "another field manager wrote a part of its data",
            Self::UnknownWriter => "its managedFields do not show who wrote its data",
        }
    }
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word: &str = self.into();
        write!(f, "{word}: {}", self.text())
    }
}

/// The Secrets that are the target of more than one ExternalSecret.
pub(super) fn shared(inventory: &Inventory) -> BTreeSet<Id> {
    let mut seen = BTreeSet::new();
    let targets = inventory.external_secrets.iter();
    targets
        .map(ExternalSecret::secret_id)
        .filter(|id| inventory.others.contains_key(id) || !seen.insert(id.clone()))
        .collect()
}

/// The strongest remedy for an item, and why it is less than the policy allows. The operator does not check the hash of an
/// `Orphan` Secret and does not change an immutable one.
pub(super) fn remedy(
    policy: &Policy,
    item: &Item,
    shared: &BTreeSet<Id>,
) -> Option<(OnStillStale, Option<Kept>)> {
    let synced = matches!(item.action, Action::Sync { .. });
    if !policy.drift.enabled || !synced || !item.target.written {
        return None;
    }
    let (safe, kept) = match item.target.creation {
        _ if item.target.immutable => (OnStillStale::Report, Some(Kept::Immutable)),
        CreationPolicy::None => (OnStillStale::Report, None),
        CreationPolicy::Orphan => (OnStillStale::Report, Some(Kept::Orphan)),
        CreationPolicy::Merge | CreationPolicy::CreateOrMerge => {
            (OnStillStale::Refetch, Some(Kept::Merged))
        }
        CreationPolicy::Owner if shared.contains(&item.secret_id()) => {
            (OnStillStale::Refetch, Some(Kept::SharedTarget))
        }
        CreationPolicy::Owner => (OnStillStale::Recreate, None),
    };
    let allowed = policy.sync.on_still_stale;
    let kept = kept.filter(|_| allowed == OnStillStale::Recreate);
    Some((allowed.min(safe), kept))
}
