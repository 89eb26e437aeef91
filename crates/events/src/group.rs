//! All messages of one key: one decision.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{
    ProviderKind,
    remote::{Realm, RemoteKey},
};
use jiff::Timestamp;

use crate::notice::{Notice, Says, Touched};

/// The messages about one key, however many there are: it is read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub says: Says,
    /// The names that the key may have.
    pub keys: Vec<RemoteKey>,
    pub touched: Touched,
    /// The version of the newest event, if it names one.
    pub version: Option<String>,
    /// The time of the oldest event: the lag is counted from it.
    pub since: Option<Timestamp>,
    /// The time of the newest event.
    pub at: Option<Timestamp>,
    /// The messages, by the caller's numbers.
    pub messages: BTreeSet<usize>,
}

/// The messages by key. Order, duplicates and late events do not matter.
#[derive(Clone, Debug, Default)]
pub struct Groups(BTreeMap<(Says, Touched, Vec<Named>), Group>);

/// A key in a form that has an order.
type Named = (Option<ProviderKind>, [Option<String>; 3], BTreeSet<String>);

fn named(key: &RemoteKey) -> Named {
    let Realm {
        region,
        account,
        host,
    } = key.realm.clone();
    (
        key.provider.clone(),
        [region, account, host],
        key.names.clone(),
    )
}

impl Groups {
    /// Adds what a message says about a key.
    pub fn add(&mut self, message: usize, notice: Notice) {
        let Notice {
            says,
            keys,
            touched,
            version,
            at,
            kind: _,
        } = notice;
        let of = (says, touched.clone(), keys.iter().map(named).collect());
        let group = self.0.entry(of).or_insert_with(|| Group {
            says,
            keys,
            touched,
            version: None,
            since: at,
            at: None,
            messages: BTreeSet::new(),
        });
        group.messages.insert(message);
        group.since = group.since.into_iter().chain(at).min();
        if group.at <= at {
            group.at = at;
            group.version = version;
        }
    }

    pub fn into_vec(self) -> Vec<Group> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(name: &str, version: &str, at: i64) -> Notice {
        let keys = RemoteKey::read(name).unwrap();
        Notice {
            version: Some(version.to_owned()),
            at: Some(Timestamp::from_second(at).unwrap()),
            ..Notice::about(Says::Changed, keys)
        }
    }

    #[test]
    fn newest_event_names_the_version_in_any_order() {
        let all = [
            notice("db", "b", 20),
            notice("db", "a", 10),
            notice("db", "c", 30),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut groups = Groups::default();
            for message in order {
                groups.add(message, all[message].clone());
                groups.add(message, all[message].clone());
            }
            let [group] = &*groups.into_vec() else {
                panic!("one key is one group");
            };
            assert_eq!(group.version.as_deref(), Some("c"));
            assert_eq!(group.since, Timestamp::from_second(10).ok());
            assert_eq!(group.messages.len(), 3);
        }
    }

    #[test]
    fn each_key_and_kind_is_a_group() {
        let mut groups = Groups::default();
        let gone = Notice {
            says: Says::Gone,
            ..notice("db", "a", 1)
        };
        for (message, notice) in [notice("db", "a", 1), notice("api", "a", 1), gone]
            .into_iter()
            .enumerate()
        {
            groups.add(message, notice);
        }
        assert_eq!(groups.into_vec().len(), 3);
    }
}
