//! Builders for tests of restart decisions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    decide::{Context, Decision, decide, evaluate, restarted},
    known::Known,
    others::Others,
    stamp::{Labels, Prints, Stamp, StampKey},
    subject::{Concern, Found, Now, Subject, View},
    targets::Targets,
    workloads::{Keeper, Stamps},
};
use crate::{
    key_names::{KeyName, Names},
    policy::RestartRule,
    workload::{
        Health, Holds, Keys, Kind, Pod, Reloader, Tolerance, Workload, WorkloadId,
        object::LabelSelector,
    },
};

pub(crate) const NOW: &str = "2026-03-01T12:00:00Z";

pub(crate) fn time(text: &str) -> Timestamp {
    format!("2026-03-01T{text}Z").parse().unwrap()
}

pub(crate) fn key() -> StampKey {
    StampKey::from_bytes([7; 32])
}

/// The data of a Secret: keys and values.
pub(crate) type Data = &'static [(&'static str, &'static str)];

pub(crate) fn now_of(secret: &str, uid: &str, data: &[(&str, &str)]) -> Now {
    let bytes = data.iter().map(|(name, value)| (*name, value.as_bytes()));
    Now {
        prints: prints_of(secret, uid, &Keys::All, bytes),
        created: Some(time("09:00:00")),
        empty: data
            .iter()
            .filter(|(_, value)| value.is_empty())
            .map(|(name, _)| (*name).into())
            .collect(),
        written: Some(time("11:00:00")),
    }
}

/// The digests of the keys that a workload uses. All names are shown.
pub(crate) fn prints_of<'d>(
    secret: &str,
    workload: &str,
    keys: &Keys<KeyName>,
    data: impl Iterator<Item = (&'d str, &'d [u8])>,
) -> Prints {
    let labels = Labels {
        key: &key(),
        workload,
        secret,
        names: &Names::default(),
    };
    labels.prints(keys, data)
}

/// A healthy Deployment that uses the Secret `db`, written at 11:00, with a pod from 10:00.
pub(crate) fn subject(name: &str, data: &[(&str, &str)]) -> Subject {
    let id = WorkloadId {
        namespace: "shop".to_owned(),
        kind: Kind::Deployment,
        name: name.to_owned(),
    };
    let uid = format!("uid-{name}");
    let concern = Concern {
        keys: Keys::All,
        optional: None,
        view: View::Seen(now_of("db", &uid, data)),
        counts: true,
        left_to_other: false,
        found: Found::default(),
    };
    let workload = Workload {
        id,
        uid,
        resource_version: "1".to_owned(),
        labels: BTreeMap::new(),
        uses: BTreeMap::from([("db".to_owned(), Keys::All)]),
        optional: BTreeMap::new(),
        stamp: None,
        ignored: false,
        reloader: Reloader::default(),
        controller: None,
        owner: None,
        restarted: None,
        addressed: true,
        holds: Holds::default(),
        health: Health::Healthy,
        tolerance: Tolerance::default(),
        managers: Vec::new(),
        selector: LabelSelector::default(),
        wanted: 1,
        excluded_below: None,
        template_in: None,
    };
    Subject {
        workload,
        rule: 0,
        secrets: BTreeMap::from([("db".to_owned(), concern)]),
        relabelled: BTreeMap::new(),
        pods: Some(vec![pod(name, "10:00:00")]),
        ending: Vec::new(),
    }
}

pub(crate) fn pod(name: &str, created: &str) -> Pod {
    Pod {
        namespace: "shop".to_owned(),
        name: format!("{name}-1"),
        uid: format!("pod-{name}-1"),
        created: time(created),
        started: None,
        labels: BTreeMap::new(),
        owner: None,
        ready: true,
        ending: false,
    }
}

/// The value that a restart at [`NOW`] writes to the pod template.
pub(crate) const WROTE: &str = "2026-03-01T12:00:00Z";

impl Subject {
    /// Adds a stamp for this data, without assumed Secrets.
    pub(crate) fn stamped(mut self, data: &[(&str, &str)]) -> Self {
        let mut stamp = Stamp::new(&self.workload, &key());
        stamp.secrets = BTreeMap::from([(
            "db".to_owned(),
            now_of("db", &self.workload.uid, data).prints,
        )]);
        self.workload.stamp = stamp.to_text();
        self
    }

    /// Changes its stamp.
    pub(crate) fn with_stamp(mut self, change: impl FnOnce(&mut Stamp)) -> Self {
        let mut stamp = Stamp::parse(self.workload.stamp.as_deref().unwrap()).unwrap();
        change(&mut stamp);
        self.workload.stamp = stamp.to_text();
        self
    }

    pub(crate) fn db(&mut self) -> &mut Concern {
        self.secrets.get_mut("db").unwrap()
    }

    /// Sets its stamp.
    pub(crate) fn after(mut self, stamp: &Stamp) -> Self {
        self.workload.stamp = stamp.to_text();
        self
    }

    /// The stamp and the pod template after its rollout. The pods are still the same.
    pub(crate) fn rolled(mut self) -> Self {
        let stamp = Stamp::parse(self.workload.stamp.as_deref().unwrap()).unwrap();
        let (key, known) = (key(), Known::default());
        let next = restarted(&self, context(&key, &known), &stamp, Some(WROTE.to_owned()));
        self.workload.restarted = Some(WROTE.to_owned());
        self.after(&next.unwrap())
    }

    /// Replaces its pods by one from this time.
    pub(crate) fn replaced_at(mut self, time: &str) -> Self {
        let mut new = pod(&self.workload.id.name, time);
        new.name = format!("{}-2", self.workload.id.name);
        new.uid = format!("pod-{}", new.name);
        self.pods = Some(vec![new]);
        self
    }
}

/// The decision after the sync.
pub(crate) fn decided(subject: &Subject) -> Decision {
    decided_by(subject, &RestartRule::default(), &Known::default(), false)
}

pub(crate) fn decided_before(subject: &Subject) -> Decision {
    decided_by(subject, &RestartRule::default(), &Known::default(), true)
}

pub(crate) fn decided_by(
    subject: &Subject,
    rule: &RestartRule,
    known: &Known,
    before_sync: bool,
) -> Decision {
    let key = key();
    let decide = if before_sync { decide } else { evaluate };
    decide(subject, rule, context(&key, known))
}

/// No other installation has a key.
static OTHERS: Others = Others::new(BTreeMap::new());

/// No target Secrets.
static TARGETS: Targets = Targets::none();

/// Stamps with this key, which exists in the cluster.
pub(crate) fn stamps(key: StampKey) -> Stamps {
    Stamps {
        keeper: Keeper {
            key,
            others: Others::default(),
            namespace: "eso-sync".to_owned(),
            kept: true,
        },
        known: Known::default(),
    }
}

pub(crate) fn context<'a>(key: &'a StampKey, known: &'a Known) -> Context<'a> {
    Context {
        key,
        others: &OTHERS,
        known,
        targets: &TARGETS,
        now: NOW.parse().unwrap(),
        adopt_anew: false,
        retry: false,
    }
}

pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
