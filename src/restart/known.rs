//! The list of stamped workloads, in a ConfigMap of the job. It shows when a stamp is missing.
//!
//! One entry per namespace, with one line per workload: `KIND/NAME START-OF-UID SEQUENCE`, followed by `pending` if the
//! workload has not been healthy since its restart.

use std::collections::BTreeMap;

use crate::workload::{Kind, WorkloadId};

/// Digits of the uid that are kept, enough to recognize a new object of the same name.
const DIGITS: usize = 8;

/// The stamped workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<WorkloadId, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    uid: String,
    seq: u64,
    pending: bool,
}

/// Marks a workload that has not been healthy since its restart.
const PENDING: &str = "pending";

impl Known {
    /// Parses the ConfigMap's data. Invalid lines are dropped.
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let mut known = BTreeMap::new();
        for (namespace, lines) in data {
            known.extend(lines.lines().filter_map(|line| entry(namespace, line)));
        }
        Self(known)
    }

    /// The data of the ConfigMap.
    pub fn to_data(&self) -> BTreeMap<String, String> {
        let mut data: BTreeMap<String, String> = BTreeMap::new();
        for (id, entry) in &self.0 {
            let Entry { uid, seq, pending } = entry;
            let end = if *pending {
                format!(" {PENDING}")
            } else {
                String::new()
            };
            let line = format!("{}/{} {uid} {seq}{end}\n", id.kind.into_str(), id.name);
            data.entry(id.namespace.clone())
                .or_default()
                .push_str(&line);
        }
        data
    }

    /// The sequence number of the last stamp on this object.
    pub fn seq(&self, id: &WorkloadId, uid: &str) -> Option<u64> {
        self.of(id, uid).map(|entry| entry.seq)
    }

    /// True if this object was restarted and has not been healthy since.
    pub fn is_pending(&self, id: &WorkloadId, uid: &str) -> bool {
        self.of(id, uid).is_some_and(|entry| entry.pending)
    }

    fn of(&self, id: &WorkloadId, uid: &str) -> Option<&Entry> {
        self.0.get(id).filter(|entry| entry.uid == short(uid))
    }

    /// Records a stamp that was written without a restart.
    pub fn note(&mut self, id: &WorkloadId, uid: &str, seq: u64) {
        let pending = self.is_pending(id, uid);
        self.record_restart(id, uid, seq, pending);
    }

    /// Records the stamp of a restart. `pending` is true until the workload is healthy.
    pub fn record_restart(&mut self, id: &WorkloadId, uid: &str, seq: u64, pending: bool) {
        let uid = short(uid);
        self.0.insert(id.clone(), Entry { uid, seq, pending });
    }

    /// Removes a workload that no longer exists.
    pub fn forget(&mut self, id: &WorkloadId) {
        self.0.remove(id);
    }

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
    let kind: Kind = kind.parse().ok()?;
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
    fn the_list_survives_a_round_trip() {
        let id = |kind, name: &str| WorkloadId {
            namespace: "shop".to_owned(),
            kind,
            name: name.to_owned(),
        };
        let (api, db) = (id(Kind::Deployment, "api"), id(Kind::StatefulSet, "db"));
        let mut known = Known::default();
        known.note(&api, "0badcafe-1111", 3);
        known.record_restart(&db, "deadbeef-2222", 1, true);
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
            "a stamp without a restart changes nothing"
        );
        known.record_restart(&db, "deadbeef-2222", 2, false);
        assert!(!known.is_pending(&db, "deadbeef-2222"));
        assert_eq!(known.seq(&api, "0badcafe-1111"), Some(3));
        assert_eq!(
            known.seq(&api, "11111111-1111"),
            None,
            "another object of the same name"
        );
        known.forget(&api);
        assert_eq!(known.ids().collect::<Vec<_>>(), [&db]);
    }

    #[test]
    fn invalid_lines_are_dropped() {
        let lines = "Deployment/api\nJob/a 1 1\nnonsense\nDeployment/api 1 x\nDeployment/b 1 2\n";
        let data = BTreeMap::from([("shop".to_owned(), lines.to_owned())]);
        assert_eq!(Known::parse(&data).ids().count(), 1);
    }
}
