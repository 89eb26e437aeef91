//! Reads the Secrets of workloads, makes digests of their values, and wipes the values.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use cluster::{ApiError, ErrorKind, Path, Query, wire};
use eso_model::expected::{HeldValues, SpecNames};
use jiff::Timestamp;

use super::{Look, Secrets};
use crate::{
    key_names::{KeyName, Names},
    policy::RestartRule,
    restart::{
        stamp::{Labels, Prints, Stamp},
        subject::{Concern, Found, Now, Subject, View},
    },
    workload::{Keys, Marks, Workload},
};

/// From this many Secrets per namespace, one list is cheaper than single reads.
const LIST_THRESHOLD: usize = 8;

impl Look<'_> {
    /// Adds the Secrets to the workloads.
    pub(super) async fn subjects(self, found: Vec<(usize, Workload)>) -> Vec<Subject> {
        let mut subjects = Vec::new();
        let mut wanted: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
        for (rule, workload) in found {
            let Some(settings) = self.policy.restart.get(rule) else {
                continue;
            };
            // The annotations of a workload may name many Secrets.
            tokio::task::yield_now().await;
            let secrets = self.concerns(settings, &workload);
            for name in secrets.keys() {
                wanted
                    .entry(workload.id.namespace.clone())
                    .or_default()
                    .entry(name.clone())
                    .or_default()
                    .push(subjects.len());
            }
            subjects.push(Subject {
                relabelled: self.relabelled(&workload, &secrets),
                workload,
                rule,
                secrets,
                pods: None,
                ending: Vec::new(),
            });
        }
        match self.secrets {
            Secrets::Read => {
                for (namespace, secrets) in wanted {
                    self.read_secrets(&namespace, &secrets, &mut subjects).await;
                }
            }
            Secrets::Assumed => {
                for subject in &mut subjects {
                    self.assume_unchanged(subject);
                }
            }
        }
        for subject in &mut subjects {
            let uses = &subject.workload.uses;
            // A Secret that is neither present nor used does not belong in a stamp.
            subject.secrets.retain(|name, concern| {
                concern.counts || concern.view != View::Missing || uses.contains_key(name)
            });
        }
        subjects
    }

    /// The Secrets that matter for a workload, before they are read.
    fn concerns(self, rule: &RestartRule, workload: &Workload) -> BTreeMap<String, Concern> {
        let concern = |name: &str, keys: &Keys, counts: bool| {
            let names = self.names(workload, name);
            let labels = self.labels(workload, name, &names);
            let optional = workload.optional.get(name);
            Concern {
                optional: optional.map(|keys| labels.of_all(keys)),
                keys: labels.of_all(keys),
                view: View::Missing,
                counts,
                left_to_other: false,
                found: Found::default(),
            }
        };
        let mut concerns = BTreeMap::new();
        let stamp = workload.stamp.as_deref().map(Stamp::parse);
        let stamped = stamp.and_then(Result::ok).map(|stamp| stamp.secrets);
        for name in stamped.into_iter().flat_map(BTreeMap::into_keys) {
            let keys = workload.uses.get(&name).unwrap_or(&Keys::All);
            let entry = concern(&name, keys, false);
            concerns.insert(name, entry);
        }
        for (name, keys) in self.context.targets.concerning(rule, workload) {
            let left = workload.is_left_to_other(&name, Marks::default());
            let mut entry = concern(&name, &keys, !left);
            entry.left_to_other = left;
            concerns.insert(name, entry);
        }
        concerns
    }

    /// The rule for the names of a Secret's keys, before the Secret is read.
    fn names(self, workload: &Workload, secret: &str) -> Names {
        let known = self.context.targets.names(&workload.id.namespace, secret);
        let mut names = known
            .cloned()
            .unwrap_or_else(|| Names::new(self.policy.safety.key_names, SpecNames::unknown()));
        let used = [&workload.uses, &workload.optional];
        let used = used.into_iter().filter_map(|uses| uses.get(secret));
        names.add_references(used.flat_map(Keys::named));
        names
    }

    /// The labels in a stamp that are others now, before the Secrets are read.
    fn relabelled(
        self,
        workload: &Workload,
        secrets: &BTreeMap<String, Concern>,
    ) -> BTreeMap<String, BTreeMap<KeyName, KeyName>> {
        let renewed = secrets.keys().map(|secret| {
            let names = self.names(workload, secret);
            let labels = self.labels(workload, secret, &names);
            let renewed = labels.renewed(&stamped(workload, secret), std::iter::empty());
            (secret.clone(), renewed)
        });
        renewed.collect()
    }

    fn labels<'b>(self, workload: &'b Workload, secret: &'b str, names: &'b Names) -> Labels<'b>
    where
        Self: 'b,
    {
        Labels {
            key: self.context.key_of(workload),
            workload: &workload.uid,
            secret,
            names,
        }
    }

    /// Has each Secret hold the data that the pods started with: that of the stamp, or data that nobody knows. The stamp counts
    /// as one of this run's key, because no digest is compared with it.
    fn assume_unchanged(self, subject: &mut Subject) {
        subject.relabelled.clear();
        let Subject {
            workload, secrets, ..
        } = subject;
        if let Some(Ok(mut stamp)) = workload.stamp.as_deref().map(Stamp::parse) {
            stamp.key.clone_from(&self.context.key.id);
            workload.stamp = stamp.to_text();
        }
        for (name, concern) in secrets {
            concern.view = View::Seen(Now {
                prints: stamped(workload, name),
                created: None,
                empty: BTreeSet::new(),
                written: None,
            });
        }
    }

    async fn read_secrets(
        self,
        namespace: &str,
        wanted: &BTreeMap<String, Vec<usize>>,
        subjects: &mut [Subject],
    ) {
        let path = Path::core(Some(namespace), "secrets");
        if wanted.len() < LIST_THRESHOLD {
            for (name, by) in wanted {
                match self
                    .cluster
                    .get::<wire::Secret>(&path.clone().named(name))
                    .await
                {
                    Ok(secret) => self.take(namespace, &secret, by, subjects).await,
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => unreadable(name, by, &error, subjects),
                }
            }
            return;
        }
        let query = Query::new(path);
        let mut pages = self.cluster.pages(&query);
        loop {
            let mut page = Vec::new();
            let each = |secret: wire::Secret| {
                page.extend(
                    wanted
                        .get(&secret.metadata.name)
                        .map(|by| (secret, by.as_slice())),
                );
                ControlFlow::Continue(())
            };
            match pages.next(each).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    for (name, by) in wanted {
                        unreadable(name, by, &error, subjects);
                    }
                    return;
                }
            }
            for (secret, by) in page {
                self.take(namespace, &secret, by, subjects).await;
            }
        }
    }

    /// Records the current data of a Secret in each workload that uses it.
    async fn take(
        self,
        namespace: &str,
        secret: &wire::Secret,
        by: &[usize],
        subjects: &mut [Subject],
    ) {
        let name = &secret.metadata.name;
        let written = written(secret);
        let found = self.context.targets.found(namespace, secret);
        let marked = |annotation: &str| {
            let value = secret.metadata.annotations.get(annotation);
            value.is_some_and(|value| value.expose() == b"true")
        };
        let key = self.context.key.run_key();
        let values = HeldValues::of(&secret.data, key);
        let marks = Marks {
            matched: marked(Marks::MATCH),
            ignored: marked(Marks::IGNORE),
        };
        for &index in by {
            // Each workload has digests of its own, and a namespace can have a thousand that use a Secret of 1 MiB.
            tokio::task::yield_now().await;
            let Some(subject) = subjects.get_mut(index) else {
                continue;
            };
            let Subject {
                workload,
                secrets,
                relabelled,
                ..
            } = subject;
            let Some(concern) = secrets.get_mut(name) else {
                continue;
            };
            // A Secret that is only in the stamp causes no restart.
            if concern.counts || concern.left_to_other {
                concern.left_to_other = workload.is_left_to_other(name, marks);
                concern.counts = !concern.left_to_other;
            }
            concern.found = found;
            let mut names = self.names(workload, name);
            let stamped = stamped(workload, name);
            let shown = stamped.keys().filter_map(KeyName::shown);
            let held = secret.data.keys().map(String::as_str);
            names.hide_values(held.clone().chain(shown), &values, key);
            let labels = self.labels(workload, name, &names);
            relabelled.insert(name.clone(), labels.renewed(&stamped, held));
            concern.view = View::Seen(now(labels, secret, concern, written));
        }
    }
}

/// The prints of this Secret in the workload's stamp.
fn stamped(workload: &Workload, secret: &str) -> Prints {
    let stamp = workload.stamp.as_deref().map(Stamp::parse);
    let secrets = stamp.and_then(Result::ok).map(|stamp| stamp.secrets);
    let prints = secrets.and_then(|mut secrets| secrets.remove(secret));
    prints.unwrap_or_default()
}

fn now(
    labels: Labels<'_>,
    secret: &wire::Secret,
    concern: &Concern,
    written: Option<Timestamp>,
) -> Now {
    let data = secret
        .data
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()));
    let empty = data
        .clone()
        .filter(|(_, value)| value.is_empty())
        .map(|(name, _)| labels.of(name));
    let mut prints = concern.without();
    prints.extend(labels.prints(&concern.keys, data.clone()));
    Now {
        empty: empty.collect(),
        prints,
        created: secret.metadata.creation_timestamp,
        written,
    }
}

/// The latest time in the managed fields, or None without managed fields.
fn written(secret: &wire::Secret) -> Option<Timestamp> {
    let times = secret
        .metadata
        .managed_fields
        .iter()
        .filter_map(|entry| entry.get("time")?.as_str()?.parse::<Timestamp>().ok());
    times.max().max(
        secret
            .metadata
            .creation_timestamp
            .filter(|_| !secret.metadata.managed_fields.is_empty()),
    )
}

fn unreadable(name: &str, by: &[usize], error: &ApiError, subjects: &mut [Subject]) {
    for &index in by {
        let concern = subjects
            .get_mut(index)
            .and_then(|subject| subject.secrets.get_mut(name));
        if let Some(concern) = concern {
            concern.view = View::Unreadable(error.why().to_owned());
        }
    }
}
