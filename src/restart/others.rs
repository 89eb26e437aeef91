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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::RestartRule,
        reason::Reason,
        restart::{
            decide::{Action, Context, decide},
            fixtures::{context, key, subject},
            known::Known,
        },
    };

    fn elsewhere() -> StampKey {
        StampKey::from_bytes([9; 32]).kept_in("ops")
    }

    #[test]
    fn a_key_is_looked_for_where_the_stamp_says_unless_that_is_here() {
        let own = key().kept_in("home");
        let mut stamp = Stamp::new(&subject("api", &[]).workload, &elsewhere());
        let origin = Origin::of(&stamp, &own).unwrap();
        assert_eq!((&*origin.namespace, origin.id), ("ops", elsewhere().id));
        for place in ["home", ""] {
            place.clone_into(&mut stamp.key_in);
            assert_eq!(Origin::of(&stamp, &own), None, "lost");
        }
        stamp.key_in = "ops".to_owned();
        stamp.key.clone_from(&own.id);
        assert_eq!(Origin::of(&stamp, &own), None, "the very same key");
    }

    #[test]
    fn a_stamp_of_another_key_counts_is_made_anew_or_is_left_by_what_became_of_that() {
        let other = elsewhere();
        let subject = subject("api", &[("password", "new")])
            .stamped(&[("password", "old")])
            .with_stamp(|stamp| {
                stamp.key.clone_from(&other.id);
                stamp.key_in.clone_from(&other.home);
            });
        let origin = Origin {
            namespace: other.home.clone(),
            id: other.id.clone(),
        };
        let decided = |other: Other, adopt_anew: bool| {
            let others = Others::new(BTreeMap::from([(origin.clone(), other)]));
            let (key, known) = (key(), Known::default());
            let context = Context {
                others: &others,
                adopt_anew,
                ..context(&key, &known)
            };
            let decision = decide(&subject, &RestartRule::default(), context);
            (decision.action, decision.reason)
        };
        let unknown = || Other::Unknown("denied".to_owned());
        let replaced = (Action::Leave, Reason::KeyReplaced);
        assert_eq!(
            decided(Other::Kept(other), false),
            (Action::Restart, Reason::DataChanged)
        );
        assert_eq!(decided(Other::Gone, false), replaced);
        assert_eq!(
            decided(unknown(), false),
            (Action::Leave, Reason::KeyElsewhere)
        );
        assert_eq!(decided(unknown(), true), replaced);
    }
}
