//! The workloads that were stamped, in a ConfigMap that the job owns: what a stamp that vanished is told by.
//!
//! One entry for each namespace, one line for each workload: `KIND/NAME START-OF-UID SEQUENCE`.

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
}

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
            let line = format!(
                "{}/{} {} {}\n",
                id.kind.as_str(),
                id.name,
                entry.uid,
                entry.seq
            );
            data.entry(id.namespace.clone())
                .or_default()
                .push_str(&line);
        }
        data
    }

    /// The sequence number of the last stamp that was seen on this very object.
    pub fn seq(&self, id: &WorkloadId, uid: &str) -> Option<u64> {
        self.0
            .get(id)
            .filter(|entry| entry.uid == short(uid))
            .map(|entry| entry.seq)
    }

    /// Notes a stamp.
    pub fn note(&mut self, id: &WorkloadId, uid: &str, seq: u64) {
        let entry = Entry {
            uid: short(uid),
            seq,
        };
        self.0.insert(id.clone(), entry);
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
        known.note(&db, "deadbeef-2222", 1);
        let data = known.to_data();
        assert_eq!(
            data["shop"],
            "Deployment/api 0badcafe 3\nStatefulSet/db deadbeef 1\n"
        );
        assert_eq!(Known::parse(&data), known);
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
