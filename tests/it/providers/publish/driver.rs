//! A run of publishing, without a cluster and without files.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use providers::{
    RateLimiter, StoreSettings, Unread,
    holder::{Ask, Change, Creation, Scope, WriteFailure, Writer},
};
use publish::{
    Action, Compared, Format, Held, MarkKey, Origin, RemoteKey, Store, Target, Wanted, Wrote,
    plan::{Ceilings, Entry, Input, Item, Known, Missing, Plan, Reads, Rules, missing, plan},
};
use secret::{RunKey, Value};

use crate::{providers::support::limiter, support::now};

/// A provider that a test has for itself.
pub(super) struct Place {
    pub(super) settings: StoreSettings,
    /// The address of the server.
    pub(super) url: String,
    /// Distinguishes the names and the publisher of a test from those of others at the same server.
    pub(super) unique: String,
    pub(super) connect: Connect,
    /// Writes a value as somebody else does, with another client.
    pub(super) by_hand: ByHand,
    /// The calls per unchanged key that are permitted for 200 keys.
    pub(super) calls: f64,
    /// True if all values of a name are in one secret.
    pub(super) document: bool,
}

/// Connects through a server at this address, for this publisher.
pub(super) type Connect = for<'a> fn(
    &'a StoreSettings,
    &'a str,
    &'a str,
) -> BoxFuture<'a, Result<Box<dyn Writer>, Unread>>;

/// Writes a value under a name.
pub(super) type ByHand = for<'a> fn(&'a Place, &'a str, &'a str) -> BoxFuture<'a, ()>;

/// One publisher at a place.
pub(super) struct Publisher {
    pub(super) writer: Box<dyn Writer>,
    pub(super) store: Arc<Store>,
    pub(super) marks: MarkKey,
    pub(super) rules: Rules,
    pub(super) ceilings: Ceilings,
    pub(super) now: Timestamp,
    pub(super) revision: &'static str,
    pub(super) limiter: RateLimiter,
    document: bool,
    unique: String,
}

/// What a run did.
pub(super) struct Run {
    /// `name: verdict action reason`, and the failure if there is one.
    pub(super) lines: Vec<String>,
    pub(super) calls: u64,
}

impl Place {
    pub(super) async fn publisher(&self) -> Publisher {
        self.connected(&self.url, "it").await
    }

    /// A publisher whose calls go through this proxy.
    pub(super) async fn through(&self, url: &str) -> Publisher {
        self.connected(url, "it").await
    }

    /// Another publisher.
    pub(super) async fn other(&self) -> Publisher {
        self.connected(&self.url, "other").await
    }

    /// The full name.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.unique)
    }

    async fn connected(&self, url: &str, owner: &str) -> Publisher {
        let owner = format!("{owner}/{}", self.unique.trim_matches(['/', '-']));
        let connected = (self.connect)(&self.settings, url, &owner).await;
        let writer = connected.unwrap_or_else(|unread| panic!("{unread:?}"));
        let provider = self.settings.provider.clone();
        let store = Store::new("store", provider, &self.settings.settings).expect("a store");
        Publisher {
            writer,
            store: Arc::new(store),
            marks: MarkKey::from_bytes([5; 32]),
            rules: Rules::default(),
            ceilings: Ceilings {
                publish: true,
                prune: true,
                ..Ceilings::default()
            },
            now: now(),
            revision: "0a1b2c",
            limiter: limiter(),
            document: self.document,
            unique: self.unique.clone(),
        }
    }
}

impl Publisher {
    fn wanted(&self, name: &str, value: &str) -> Wanted {
        Wanted {
            target: Target {
                store: Arc::clone(&self.store),
                name: format!("{}{name}", self.unique),
                property: self.document.then(|| "value".to_owned()),
            },
            value: Value::from(value),
            format: Format::Secret,
            origin: Origin {
                item: "item".to_owned(),
                file: "a.env".to_owned(),
                key: name.to_owned(),
                revision: Some(self.revision.to_owned()),
            },
        }
    }

    pub(super) fn item(&self, values: &[(&str, &str)]) -> Item {
        Item {
            name: "item".to_owned(),
            store: Arc::clone(&self.store),
            rules: self.rules.clone(),
            wanted: values
                .iter()
                .map(|(name, value)| self.wanted(name, value))
                .collect(),
            source_is_whole: true,
        }
    }

    fn key(&self, full: &str) -> RemoteKey {
        RemoteKey::new(&self.store, full)
    }

    pub(super) async fn held(&self, name: &str) -> Held {
        let full = format!("{}{name}", self.unique);
        self.writer.describe(&full, &self.limiter).await
    }

    /// Deletes a secret.
    pub(super) async fn retire(&self, name: &str) {
        let held = self.held(name).await;
        let full = format!("{}{name}", self.unique);
        let retired = self.writer.retire(&full, &held, 7, &self.limiter).await;
        retired.expect("a deletion");
    }

    /// True if the provider holds this value.
    pub(super) async fn holds(&self, name: &str, value: &str) -> bool {
        let full = format!("{}{name}", self.unique);
        self.compared(&self.item(&[(name, value)]), &full).await == Compared::Equal
    }

    /// Publishes these values.
    pub(super) async fn run(&self, values: &[(&str, &str)]) -> Run {
        let before = self.limiter.calls();
        let item = self.item(values);
        let mut lines = Vec::new();
        match self.planned(&item).await {
            Ok((plan, known)) => {
                for entry in &plan.entries {
                    let written = self.write(&item, entry, &known).await;
                    lines.push(self.line(entry, &written));
                }
            }
            Err(unread) => lines.push(format!("{}", unread.why)),
        }
        Run {
            lines,
            calls: self.limiter.calls() - before,
        }
    }

    /// Looks until nothing is missing, and plans.
    pub(super) async fn planned(
        &self,
        item: &Item,
    ) -> Result<(Plan, BTreeMap<RemoteKey, Known>), Unread> {
        let names = item.wanted.iter().map(|it| it.target.name.clone());
        let scope = Scope {
            items: &BTreeSet::from([item.name.clone()]),
            names: &names.collect(),
            prefixes: &BTreeSet::new(),
        };
        let listed = self.writer.list(scope, &self.limiter).await?;
        let mut known: BTreeMap<RemoteKey, Known> = listed
            .into_iter()
            .map(|(name, held)| (self.key(&name), Known::new(held)))
            .collect();
        loop {
            let missing = self.with(item, &known, missing);
            if missing.is_empty() {
                return Ok((self.with(item, &known, plan), known));
            }
            self.look(item, &missing, &mut known).await;
        }
    }

    fn with<T>(
        &self,
        item: &Item,
        known: &BTreeMap<RemoteKey, Known>,
        decide: fn(&Input<'_>) -> T,
    ) -> T {
        let none = BTreeSet::new();
        decide(&Input {
            items: std::slice::from_ref(item),
            names: &BTreeSet::from([item.name.clone()]),
            known,
            marks: &self.marks,
            binds_marks: true,
            newer_revisions: &none,
            reads: Some(&Reads::default()),
            now: self.now,
            ceilings: self.ceilings,
        })
    }

    async fn look(&self, item: &Item, missing: &Missing, known: &mut BTreeMap<RemoteKey, Known>) {
        for key in &missing.describe {
            let held = self.writer.describe(&key.name, &self.limiter).await;
            let now = match known.remove(key) {
                Some(known) => known.described(held),
                None => Known::new(held),
            };
            known.insert(key.clone(), now);
        }
        for key in &missing.compare {
            let compared = self.compared(item, &key.name).await;
            if let Some(known) = known.get_mut(key) {
                known.compared = Some(compared);
            }
        }
    }

    async fn compared(&self, item: &Item, name: &str) -> Compared {
        let wanted: Vec<&Wanted> = item
            .wanted
            .iter()
            .filter(|wanted| wanted.target.remote_key() == self.key(name))
            .collect();
        let ask = Ask {
            name,
            wanted: &wanted,
        };
        let key = RunKey::from_bytes([6; 32]);
        let mut compared = self.writer.compare(&[ask], &key, &self.limiter).await;
        assert_eq!(compared.len(), 1);
        compared.remove(0)
    }

    /// Does what the plan says about one secret.
    pub(super) async fn write(
        &self,
        item: &Item,
        entry: &Entry,
        known: &BTreeMap<RemoteKey, Known>,
    ) -> Result<Option<Wrote>, WriteFailure> {
        let Some(known) = known.get(&entry.key) else {
            return Ok(None);
        };
        let wanted: Vec<&Wanted> = entry
            .wanted
            .iter()
            .map(|index| &item.wanted[*index])
            .collect();
        let provenance = publish::provenance("repo", Some(self.revision), "a.env");
        let change = Change {
            name: &entry.name,
            wanted: &wanted,
            held: &known.held,
            dropped: &entry.dropped,
            mark: entry
                .mark
                .unwrap_or_else(|| self.marks.mark(&entry.key, &[])),
            marks: &self.marks,
            item: &item.name,
            provenance: &provenance,
            creation: &Creation::default(),
        };
        let (writer, limiter) = (&self.writer, &self.limiter);
        match &entry.step.action {
            Action::Create => writer.create(&change, limiter).await.map(Some),
            Action::Update { .. } => writer.update(&change, limiter).await.map(Some),
            Action::Restore => writer.restore(&change, limiter).await.map(Some),
            Action::Adopt => writer.adopt(&change, limiter).await.map(Some),
            Action::Announce => {
                let announced = writer.announce(&entry.name, &known.held, self.now, limiter);
                announced.await.map(|()| None)
            }
            Action::Retire => {
                let retired = writer.retire(&entry.name, &known.held, 30, limiter);
                retired.await.map(|()| None)
            }
            Action::DestroyVersion { .. } | Action::Leave => Ok(None),
        }
    }

    fn line(&self, entry: &Entry, written: &Result<Option<Wrote>, WriteFailure>) -> String {
        let failed = match written {
            Ok(_) => String::new(),
            Err(WriteFailure::Raced(_)) => format!(" → {}", WriteFailure::RACED),
            Err(WriteFailure::Failed(unread)) => format!(" → failed {}", unread.why.reason),
            Err(WriteFailure::Unrecorded(_, unread)) => {
                format!(" → unrecorded {}", unread.why.reason)
            }
            Err(WriteFailure::Unknown(unread)) => format!(" → unknown {}", unread.why.reason),
        };
        let reason: &str = entry.step.reason.into_str();
        format!(
            "{}: {} {} {reason}{failed}",
            entry.name.trim_start_matches(&self.unique),
            entry.verdict.word(),
            entry.step.action.word(),
        )
    }
}
