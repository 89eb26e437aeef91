//! Stamp keys of other installations, such as a laptop or a second job. Their stamps are compared with their own key, so that
//! pending restarts stay known and no installation overwrites another's stamps.

use std::collections::BTreeMap;

use super::stamp::{Stamp, StampKey};
use crate::workload::Workload;

/// The key of a stamp: its namespace and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The namespace of its Secret.
    pub namespace: String,
    pub id: String,
}

impl Origin {
    /// The origin of a stamp made with another key, or None if that key cannot be elsewhere.
    pub fn of(stamp: &Stamp, own: &StampKey) -> Option<Self> {
        let elsewhere = stamp.key != own.id && !stamp.key_in.is_empty();
        (elsewhere && stamp.key_in != own.home).then(|| Self {
            namespace: stamp.key_in.clone(),
            id: stamp.key.clone(),
        })
    }
}

/// The state of such a key.
pub enum Other {
    /// It exists where the stamp says.
    Kept(StampKey),
    /// It does not exist.
    Gone,
    /// It could not be read, for this reason.
    Unknown(String),
}

/// The keys of other installations that were looked up.
#[derive(Default)]
pub struct Others(BTreeMap<Origin, Other>);

impl Others {
    pub const fn new(found: BTreeMap<Origin, Other>) -> Self {
        Self(found)
    }

    /// The state of this stamp's key, if it was looked up.
    pub fn of(&self, stamp: &Stamp) -> Option<&Other> {
        self.0.get(&Origin {
            namespace: stamp.key_in.clone(),
            id: stamp.key.clone(),
        })
    }

    /// The key of the workload's stamp, if it exists elsewhere.
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

    /// The namespaces of existing keys.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
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
    fn a_key_is_searched_in_the_namespace_of_the_stamp() {
        let own = key().kept_in("home");
        let mut stamp = Stamp::new(&subject("api", &[]).workload, &elsewhere());
        let origin = Origin::of(&stamp, &own).unwrap();
        assert_eq!((&*origin.namespace, origin.id), ("ops", elsewhere().id));
        for place in ["home", ""] {
            place.clone_into(&mut stamp.key_in);
            assert_eq!(
                Origin::of(&stamp, &own),
                None,
                "the key cannot be elsewhere"
            );
        }
        stamp.key_in = "ops".to_owned();
        stamp.key.clone_from(&own.id);
        assert_eq!(Origin::of(&stamp, &own), None, "the same key");
    }

    #[test]
    fn the_state_of_a_foreign_key_decides_about_its_stamps() {
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
