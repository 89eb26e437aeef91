//! The workloads that were stamped, in a ConfigMap that the job owns: what a stamp that vanished is told by.
//!
//! One entry for each namespace, one line for each workload: `KIND/NAME START-OF-UID SEQUENCE`, and `pending` behind it where a
//! restart was not seen to end well yet.

use std::collections::BTreeMap;

use crate::workload::{Kind, WorkloadId};

/// Digits of a uid that are kept: enough to tell an object from one of the same name that came after it.
const DIGITS: usize = 8;

/// The workloads that were stamped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<WorkloadId, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    uid: String,
    seq: u64,
    pending: bool,
}

/// Behind the line of a workload that was restarted and not seen to be healthy since.
const PENDING: &str = "pending";

impl Known {
    /// From the ConfigMap's data. Lines that make no sense are dropped.
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let mut known = BTreeMap::new();
        for (namespace, lines) in data {
            known.extend(lines.lines().filter_map(|line| entry(namespace, line)));
        }
        Self(known)
    }

    /// As data of a ConfigMap.
    pub fn to_data(&self) -> BTreeMap<String, String> {
        let mut data: BTreeMap<String, String> = BTreeMap::new();
        for (id, entry) in &self.0 {
            let Entry { uid, seq, pending } = entry;
            let end = if *pending {
                format!(" {PENDING}")
            } else {
                String::new()
            };
            let line = format!("{}/{} {uid} {seq}{end}\n", id.kind.as_str(), id.name);
            data.entry(id.namespace.clone())
                .or_default()
                .push_str(&line);
        }
        data
    }

    /// The sequence number of the last stamp that was seen on this very object.
    pub fn seq(&self, id: &WorkloadId, uid: &str) -> Option<u64> {
        self.of(id, uid).map(|entry| entry.seq)
    }

    /// Whether a restart of this very object was noted, and not that it ended well.
    pub fn is_pending(&self, id: &WorkloadId, uid: &str) -> bool {
        self.of(id, uid).is_some_and(|entry| entry.pending)
    }

    fn of(&self, id: &WorkloadId, uid: &str) -> Option<&Entry> {
        self.0.get(id).filter(|entry| entry.uid == short(uid))
    }

    /// Notes a stamp that was written without a restart.
    pub fn note(&mut self, id: &WorkloadId, uid: &str, seq: u64) {
        let pending = self.is_pending(id, uid);
        self.note_restart(id, uid, seq, pending);
    }

    /// Notes the stamp of a restart, and whether its end is yet to be seen.
    pub fn note_restart(&mut self, id: &WorkloadId, uid: &str, seq: u64, pending: bool) {
        let uid = short(uid);
        self.0.insert(id.clone(), Entry { uid, seq, pending });
    }

    /// Forgets a workload that is no more.
    pub fn forget(&mut self, id: &WorkloadId) {
        self.0.remove(id);
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = &WorkloadId> {
        self.0.keys()
    }
}

fn short(uid: &str) -> String {
    uid.chars().take(DIGITS).collect()
}

fn entry(namespace: &str, line: &str) -> Option<(WorkloadId, Entry)> {
    let mut words = line.split(' ');
    let (kind, name) = words.next()?.split_once('/')?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let id = WorkloadId {
        namespace: namespace.to_owned(),
        kind,
        name: name.to_owned(),
    };
    let entry = Entry {
        uid: words.next()?.to_owned(),
        seq: words.next()?.parse().ok()?,
        pending: words.next() == Some(PENDING),
    };
    Some((id, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let id = |kind, name: &str| WorkloadId {
            namespace: "shop".to_owned(),
            kind,
            name: name.to_owned(),
        };
        let (api, db) = (id(Kind::Deployment, "api"), id(Kind::StatefulSet, "db"));
        let mut known = Known::default();
        known.note(&api, "0badcafe-1111", 3);
        known.note_restart(&db, "deadbeef-2222", 1, true);
        let data = known.to_data();
        assert_eq!(
            data["shop"],
            "Deployment/api 0badcafe 3\nStatefulSet/db deadbeef 1 pending\n"
        );
        assert_eq!(Known::parse(&data), known);
        assert!(known.is_pending(&db, "deadbeef-2222") && !known.is_pending(&db, "11111111-1"));
        known.note(&db, "deadbeef-2222", 2);
        assert!(
            known.is_pending(&db, "deadbeef-2222"),
            "no restart ended by that"
        );
        known.note_restart(&db, "deadbeef-2222", 2, false);
        assert!(!known.is_pending(&db, "deadbeef-2222"));
        assert_eq!(known.seq(&api, "0badcafe-1111"), Some(3));
        assert_eq!(known.seq(&api, "11111111-1111"), None, "created anew");
        known.forget(&api);
        assert_eq!(known.ids().collect::<Vec<_>>(), [&db]);
    }

    #[test]
    fn lines_that_make_no_sense_are_dropped() {
        let lines = "Deployment/api\nJob/a 1 1\nnonsense\nDeployment/api 1 x\nDeployment/b 1 2\n";
        let data = BTreeMap::from([("shop".to_owned(), lines.to_owned())]);
        assert_eq!(Known::parse(&data).ids().count(), 1);
    }
}
