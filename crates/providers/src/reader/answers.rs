//! The answers for one group of ExternalSecrets.

use std::{collections::BTreeMap, sync::Arc};

use eso_model::{
    ProviderKind,
    expected::{Answer, Content, Read},
    version::ReadVersion,
};
use pace::bytes::Held;

use super::NO_PROVIDER;
use crate::{Answered, Unread, unread};

/// An answer, and the bytes that it holds.
pub(super) struct Kept {
    pub(super) answered: Answered,
    pub(super) _held: Option<Held>,
}

/// An answer that several groups share, or the reason why it was not read.
pub(super) type Outcome = Result<Arc<Kept>, Unread>;

/// The answers for one group. Its bytes are freed when this is dropped, unless other groups need them.
#[derive(Default)]
pub struct Answers {
    pub(super) of: BTreeMap<Read, (ProviderKind, Outcome)>,
    /// Counts the answers that are still in use, for each namespace and for the groups that are read alone.
    pub(super) in_use: Vec<Arc<()>>,
}

impl Answers {
    /// The answer to this read.
    pub fn answer(&self, read: &Read) -> Answer<'_> {
        let (provider, content) = match self.of.get(read) {
            Some((provider, Ok(kept))) => (provider, kept.answered.content()),
            Some((provider, Err(unread))) => (provider, Content::Unread(unread.why.clone())),
            None => (&NO_PROVIDER, Content::Unread(not_read().why)),
        };
        Answer { provider, content }
    }

    /// The version of the value, if the provider's answer names it.
    pub fn version(&self, read: &Read) -> Option<&ReadVersion> {
        let (_, outcome) = self.of.get(read)?;
        match &outcome.as_ref().ok()?.answered {
            Answered::One(_, version) => version.as_deref(),
            Answered::Many(_) | Answered::NotFound | Answered::Fails(_) | Answered::Unread(_) => {
                None
            }
        }
    }

    /// The reason and the missing permission, or None if the read succeeded.
    pub fn unread(&self, read: &Read) -> Option<Unread> {
        match self.of.get(read) {
            Some((_, Ok(kept))) => match &kept.answered {
                Answered::Unread(unread) => Some(unread.clone()),
                Answered::One(..) | Answered::Many(_) | Answered::NotFound | Answered::Fails(_) => {
                    None
                }
            },
            Some((_, Err(unread))) => Some(unread.clone()),
            None => Some(not_read()),
        }
    }
}

fn not_read() -> Unread {
    Unread::secret(unread::UNAVAILABLE, "it was not read")
}
