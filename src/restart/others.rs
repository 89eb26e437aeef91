//! Keys of others: whoever keeps one elsewhere, a person's laptop or a second job, makes stamps with it. They are held against
//! that key, so that what is owed stays owed, and nobody writes over the stamps of somebody else.

use std::collections::BTreeMap;

use super::stamp::{Stamp, StampKey};
use crate::workload::Workload;

/// Where a stamp says that its key is kept, and which one it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The namespace.
    pub namespace: String,
    /// The key's id.
    pub id: String,
}

impl Origin {
    /// Of a stamp that was not made with this key; None where its key cannot be elsewhere.
    pub fn of(stamp: &Stamp, own: &StampKey) -> Option<Self> {
        let elsewhere = stamp.key != own.id && !stamp.key_in.is_empty();
        (elsewhere && stamp.key_in != own.home).then(|| Self {
            namespace: stamp.key_in.clone(),
            id: stamp.key.clone(),
        })
    }
}

/// What became of a key.
pub enum Other {
    /// It is where the stamp says.
    Kept(StampKey),
    /// It is not.
    Gone,
    /// Nobody knows.
    Unknown(String),
}

/// The keys of others that were looked for.
#[derive(Default)]
pub struct Others(BTreeMap<Origin, Other>);

impl Others {
    /// Those that were looked for.
    pub const fn new(found: BTreeMap<Origin, Other>) -> Self {
        Self(found)
    }

    /// The one that a stamp was made with, if that was looked for.
    pub fn of(&self, stamp: &Stamp) -> Option<&Other> {
        self.0.get(&Origin {
            namespace: stamp.key_in.clone(),
            id: stamp.key.clone(),
        })
    }

    /// The one that a workload's stamp was made with, if it is kept.
    pub fn key_of(&self, workload: &Workload) -> Option<&StampKey> {
        if self.0.is_empty() {
            return None;
        }
        let stamp = Stamp::parse(workload.stamp.as_deref()?).ok()?;
        match self.of(&stamp).filter(|_| stamp.of == workload.uid) {
            Some(Other::Kept(key)) => Some(key),
            Some(Other::Gone | Other::Unknown(_)) | None => None,
        }
    }

    /// The namespaces of those that are kept.
    pub fn homes(&self) -> impl Iterator<Item = &str> {
        let kept = self.0.iter();
        kept.filter(|(_, other)| matches!(other, Other::Kept(_)))
            .map(|(origin, _)| &*origin.namespace)
    }
}
