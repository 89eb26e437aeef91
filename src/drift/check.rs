//! Runs the drift check: reads specs, Secrets and providers, computes the expected data, and returns findings.
//!
//! The ExternalSecrets of one target Secret are judged as soon as all that they need is read, and their values are freed then.
//! Drifted ones are read again, at the provider and in the cluster, before they are reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cluster::Cluster;
use eso_model::{
    Id,
    budget::{Budget, Limits},
    expected::{
        Content, CreationPolicy, DeletionPolicy, NotComputable, Read, Spec, Unverifiable, What,
        expected, members, reads, why,
    },
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use providers::reader::{Answers, OnProgress, Reader, ReaderInput, Ready, StandIn, Wanted};
use providers::unread;
use rustls::crypto::aws_lc_rs;
use secret::RunKey;
use tokio::time::{Instant, sleep_until};

use super::{
    judge::{Author, Member, judge},
    read,
    target::Target,
    templates::{Rendering, SourceName, Sources, sources},
    workers::Workers,
};
use crate::{
    finding::{Finding, Findings, Judged, ReadFact, ReadState},
    inventory::{ExternalSecret, Inventory},
};

/// The time for computing after the end of the reads.
const COMPUTING: Duration = Duration::from_secs(5);

/// The number of target Secrets that are judged at a time.
const JUDGED_AT_A_TIME: usize = 8;

/// The detail about an ExternalSecret whose spec was not kept.
const TOO_LARGE: &str = "the specs of its namespace are too large to be kept in memory";

/// The number of differing keys that a finding names.
const MOST_KEYS: usize = 500;

/// Up to this number of ExternalSecrets, a check keeps the results of their reads.
const FACTS_UP_TO: usize = 20;

/// The error if the system lacks what a check needs.
#[derive(Debug, thiserror::Error)]
pub enum NoCheck {
    #[error("the system provides no random bytes, which are needed to compare values safely")]
    Randomness,
    #[error("the system starts no thread for the drift check")]
    Threads(#[from] std::io::Error),
}

/// A drift check, with everything that it has read so far.
pub struct Check {
    cluster: Cluster,
    namespaces: Option<BTreeSet<String>>,
    reader: Reader,
    workers: Workers,
    key: Arc<RunKey>,
    /// The reads of the last check, if it checked only a few ExternalSecrets.
    facts: BTreeMap<Id, Vec<ReadFact>>,
}

/// The ends of the two reads of a check.
#[derive(Clone, Copy, Default)]
struct Until {
    first: Option<Instant>,
    second: Option<Instant>,
}

/// An ExternalSecret with its parsed spec and the reads that it needs.
struct Subject {
    id: Id,
    refreshed: Option<jiff::Timestamp>,
    spec: Result<Spec, Unverifiable>,
    reads: Vec<Read>,
}

impl Check {
    /// Creates a check without reading. The check uses a read-only client, whatever client it is given.
    pub fn new(
        known: ReaderInput,
        namespaces: Option<BTreeSet<String>>,
        stand_in: Option<StandIn>,
    ) -> Result<Self, NoCheck> {
        let mut bytes = [0; 32];
        aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_| NoCheck::Randomness)?;
        let known = ReaderInput {
            cluster: known.cluster.read_only(),
            ..known
        };
        Ok(Self {
            cluster: known.cluster.clone(),
            namespaces,
            reader: Reader::new(known).through(stand_in),
            workers: Workers::start()?,
            key: Arc::new(RunKey::from_bytes(bytes)),
            facts: BTreeMap::new(),
        })
    }

    /// Reports the progress of reading providers.
    #[must_use]
    pub fn reporting(self, on_progress: OnProgress) -> Self {
        Self {
            reader: self.reader.reporting(on_progress),
            ..self
        }
    }

    /// Checks these ExternalSecrets. What is not read by `end` is unverifiable. Half of the time that is left should remain for
    /// the syncs, so callers pass half of the deadline.
    pub async fn first(
        &mut self,
        inventory: &Inventory,
        wanted: &BTreeSet<Id>,
        end: Option<Instant>,
    ) -> Findings {
        // The drifted ones are read a second time.
        let until = Until {
            first: end.map(|end| {
                let left = end.saturating_duration_since(Instant::now());
                Instant::now() + left / 4 * 3
            }),
            second: end,
        };
        self.twice(inventory, wanted, until).await
    }

    /// Checks these ExternalSecrets again, with new reads only.
    pub async fn again(&mut self, inventory: &Inventory, wanted: &BTreeSet<Id>) -> Findings {
        self.twice(inventory, wanted, Until::default()).await
    }

    /// Returns the results of the reads that this ExternalSecret needs. They are kept only by a check of a few ExternalSecrets.
    pub fn reads(&self, external_secret: &ExternalSecret) -> Vec<ReadFact> {
        let facts = self.facts.get(&external_secret.id);
        facts.cloned().unwrap_or_default()
    }

    async fn twice(
        &mut self,
        inventory: &Inventory,
        wanted: &BTreeSet<Id>,
        until: Until,
    ) -> Findings {
        self.facts.clear();
        let mut of = self.look(inventory, wanted, until.first).await;
        let differing: BTreeSet<Id> = of
            .iter()
            .filter(|(_, finding)| finding.verdict.is_drift())
            .map(|(id, _)| id.clone())
            .collect();
        if !differing.is_empty() {
            // The value may have changed between the read of the provider and the read of the Secret.
            of.extend(self.look(inventory, &differing, until.second).await);
        }
        let stores = self.reader.store_errors().into_iter();
        Findings {
            of,
            stores: stores
                .map(|(store, unread)| {
                    let lacking = unread
                        .permission
                        .map(|it| format!("; missing permission: {it}"));
                    let why = format!("{}{}", unread.why, lacking.unwrap_or_default());
                    (store, why)
                })
                .collect(),
            reads: self.reader.calls(),
        }
    }

    /// Reads and compares once. Returns findings for the wanted ExternalSecrets only.
    async fn look(
        &mut self,
        inventory: &Inventory,
        wanted: &BTreeSet<Id>,
        until: Option<Instant>,
    ) -> BTreeMap<Id, Finding> {
        let groups: Vec<(Id, Vec<&ExternalSecret>)> =
            groups(inventory, wanted).into_iter().collect();
        let secrets: BTreeSet<Id> = groups.iter().map(|(id, _)| id.clone()).collect();
        let targets =
            read::targets(&self.cluster, &secrets, self.namespaces.as_ref(), &self.key).await;
        let mut counts = BTreeMap::new();
        for external_secret in &inventory.external_secrets {
            *counts.entry(&*external_secret.id.namespace).or_default() += 1;
        }
        let judging = Judging {
            cluster: &self.cluster,
            workers: &self.workers,
            key: &self.key,
            counts,
            inventory,
            groups: &groups,
            targets: &targets,
            templates: read::Templates::new(&self.cluster),
            keeps_facts: wanted.len() <= FACTS_UP_TO,
        };
        let mut round = self.reader.round(judging.wanted(), until);
        let mut judged = FuturesUnordered::new();
        let mut findings = BTreeMap::new();
        let mut complete = false;
        let mut end = std::pin::pin!(async {
            match until {
                Some(until) => sleep_until(until + COMPUTING).await,
                None => std::future::pending().await,
            }
        });
        while !complete || !judged.is_empty() {
            tokio::select! {
                // Judged groups first: that frees the bytes of their values.
                biased;
                Some(group) = judged.next() => {
                    let group: Vec<Judgment> = group;
                    for (id, finding, facts) in group {
                        self.facts.extend(facts.map(|facts| (id.clone(), facts)));
                        findings.insert(id, finding);
                    }
                }
                ready = round.next(), if !complete && judged.len() < JUDGED_AT_A_TIME => match ready {
                    Some(ready) => judged.push(judging.judge(ready)),
                    None => complete = true,
                },
                // The threads end by themselves, so the end does not wait for them.
                () = &mut end => break,
            }
        }
        for (_, members) in &groups {
            for member in members {
                findings.entry(member.id.clone()).or_insert_with(|| {
                    let detail = "the computing of its data did not end in time";
                    Finding::unverifiable(Unverifiable::new(unread::NOT_READ_IN_TIME, detail))
                });
            }
        }
        findings.retain(|id, _| wanted.contains(id));
        findings
    }
}

/// What is needed to judge a group of ExternalSecrets: those that write one target Secret.
struct Judging<'a> {
    cluster: &'a Cluster,
    workers: &'a Workers,
    key: &'a Arc<RunKey>,
    /// The number of ExternalSecrets of each namespace.
    counts: BTreeMap<&'a str, usize>,
    inventory: &'a Inventory,
    groups: &'a [(Id, Vec<&'a ExternalSecret>)],
    targets: &'a BTreeMap<Id, Target>,
    templates: read::Templates<'a>,
    keeps_facts: bool,
}

/// The finding for one ExternalSecret, and its reads if they are kept.
type Judgment = (Id, Finding, Option<Vec<ReadFact>>);

impl<'a> Judging<'a> {
    /// The groups as input of the reader.
    fn wanted(&self) -> Wanted<'a> {
        let groups = self.groups;
        let subjects = move |group: usize| {
            let members = groups.get(group).map(|(_, members)| members);
            members
                .into_iter()
                .flatten()
                .map(|member| Subject::of(member))
        };
        Wanted {
            namespaces: groups.iter().map(|(id, _)| &*id.namespace).collect(),
            reads: Box::new(move |group| {
                let reads: BTreeSet<Read> =
                    subjects(group).flat_map(|subject| subject.reads).collect();
                reads.into_iter().collect()
            }),
            members: Box::new(move |group, read| {
                let mut all = BTreeSet::new();
                for subject in subjects(group) {
                    if let Ok(spec) = &subject.spec {
                        all.extend(members(spec, read)?);
                    }
                }
                Some(all)
            }),
        }
    }

    async fn judge(&self, ready: Ready) -> Vec<Judgment> {
        let Ready { group, answers } = ready;
        let Some((id, members)) = self.groups.get(group) else {
            return Vec::new();
        };
        let subjects: Vec<Subject> = members.iter().map(|member| Subject::of(member)).collect();
        let names: BTreeSet<SourceName> = subjects
            .iter()
            .flat_map(|subject| subject.spec.as_ref().map(sources).unwrap_or_default())
            .collect();
        let templates = self.templates.read(&id.namespace, names).await;
        let target = if let Some(target) = self.targets.get(id) {
            target.clone()
        } else {
            // It was too large to be kept.
            read::target(self.cluster, id, self.key).await
        };
        let count = self.counts.get(&*id.namespace).copied().unwrap_or(1);
        let group = Group {
            subjects,
            answers,
            templates,
            target,
            other_writers: self.inventory.others.get(id).cloned().unwrap_or_default(),
            key: Arc::clone(self.key),
            limits: Limits::in_namespace_of(count),
            keeps_facts: self.keeps_facts,
        };
        let judged = self.workers.compute(&id.namespace, move || group.judge());
        judged.await.unwrap_or_else(|_| {
            let failed = || Unverifiable::new(why::SPEC, "computing the data failed unexpectedly");
            let finding = |member: &&ExternalSecret| {
                let finding = Finding::unverifiable(failed());
                (member.id.clone(), finding, None)
            };
            members.iter().map(finding).collect()
        })
    }
}

/// ExternalSecrets that write the same target Secret, with everything that is needed to judge them on another thread.
struct Group {
    subjects: Vec<Subject>,
    answers: Answers,
    templates: Sources,
    target: Target,
    other_writers: Vec<String>,
    key: Arc<RunKey>,
    /// The limits of each ExternalSecret.
    limits: Limits,
    keeps_facts: bool,
}

impl Group {
    fn judge(&self) -> Vec<Judgment> {
        let data = match &self.target {
            Target::There(actual) => Some(Judged::of(&actual.data, actual.version, &self.key)),
            Target::Absent | Target::Unread(_) => None,
        };
        let members = self
            .subjects
            .iter()
            .map(|subject| member(subject, &self.answers, &self.templates, self.limits))
            .collect();
        let judged = judge(members, &self.other_writers, &self.target, &self.key);
        self.subjects
            .iter()
            .zip(judged)
            .map(|(subject, finding)| {
                let mut finding = explained(finding, subject, &self.answers);
                finding.judged.clone_from(&data);
                bound_keys(&mut finding);
                let facts = self.keeps_facts.then(|| facts(subject, &self.answers));
                (subject.id.clone(), finding, facts)
            })
            .collect()
    }
}

fn member(subject: &Subject, answers: &Answers, sources: &Sources, limits: Limits) -> Member {
    let target = subject.spec.as_ref().map(|spec| &spec.target).ok();
    Member {
        by: Author {
            name: subject.id.name.clone(),
            creation: target.map_or(CreationPolicy::None, |target| target.creation_policy),
            deletion: target.map_or(DeletionPolicy::Merge, |target| target.deletion_policy),
            refreshed: subject.refreshed,
        },
        computed: match &subject.spec {
            Err(why) => Err(NotComputable::Unverifiable(why.clone())),
            Ok(spec) => expected(
                spec,
                |read| answers.answer(read),
                &Rendering(sources),
                &Budget::new(limits),
            ),
        },
    }
}

/// Adds the missing permission. An error of a whole store is reported with the store.
fn explained(mut finding: Finding, subject: &Subject, answers: &Answers) -> Finding {
    let Some(why) = finding.unverifiable.as_ref() else {
        return finding;
    };
    let unread = subject
        .reads
        .iter()
        .filter_map(|read| answers.unread(read))
        .find(|unread| unread.why.reason == why.reason);
    if let Some(unread) = unread {
        if unread.whole_store {
            finding.message = format!("its store cannot be read: {}", why.reason);
        } else if let Some(permission) = &unread.permission {
            finding.message = format!("{}; missing permission: {permission}", finding.message);
        }
        finding.permission = unread.permission;
    }
    finding
}

/// The results of the reads that this ExternalSecret needs.
fn facts(subject: &Subject, answers: &Answers) -> Vec<ReadFact> {
    let fact = |read: &Read| ReadFact {
        store: format!("{}/{}", read.store.kind, read.store.name),
        what: described(&read.what),
        state: match answers.answer(read).content {
            Content::One(_) | Content::Many(_) => ReadState::Found,
            Content::NotFound => ReadState::NotFound,
            Content::Fails(failure) => ReadState::Fails(failure.into_str()),
            Content::Unread(why) => ReadState::Unread {
                why: why.to_string(),
                permission: answers.unread(read).and_then(|unread| unread.permission),
            },
        },
    };
    subject.reads.iter().map(fact).collect()
}

impl Subject {
    fn of(external_secret: &ExternalSecret) -> Self {
        let spec = external_secret
            .spec
            .as_deref()
            .ok_or_else(|| Unverifiable::new(unread::TOO_MUCH_DATA, TOO_LARGE))
            .and_then(Spec::from_json);
        let reads = spec.as_ref().map(reads).unwrap_or_default();
        Self {
            id: external_secret.id.clone(),
            refreshed: external_secret.refreshed,
            spec,
            reads,
        }
    }
}

/// Keeps the first keys of a finding. A Secret of 1 MiB can have ten thousands of them, and all findings stay in memory.
fn bound_keys(finding: &mut Finding) {
    if finding.keys.len() > MOST_KEYS {
        let more = finding.keys.len() - MOST_KEYS;
        finding.keys.truncate(MOST_KEYS);
        finding.keys.shrink_to_fit();
        finding.message = format!("{} (and {more} more keys)", finding.message);
    }
}

fn described(what: &What) -> String {
    match what {
        What::Secret { key, version, .. } if version.is_empty() => key.clone(),
        What::Secret { key, version, .. } => format!("{key} (version {version})"),
        What::Find { .. } => "the result of `find`".to_owned(),
    }
}

/// Returns all writers of the wanted Secrets, by Secret.
fn groups<'a>(
    inventory: &'a Inventory,
    wanted: &BTreeSet<Id>,
) -> BTreeMap<Id, Vec<&'a ExternalSecret>> {
    let target = |external_secret: &ExternalSecret| Id {
        namespace: external_secret.id.namespace.clone(),
        name: external_secret.secret.clone(),
    };
    let mut groups: BTreeMap<Id, Vec<&ExternalSecret>> = inventory
        .external_secrets
        .iter()
        .filter(|external_secret| wanted.contains(&external_secret.id))
        .map(|external_secret| (target(external_secret), Vec::new()))
        .collect();
    for external_secret in &inventory.external_secrets {
        if let Some(group) = groups.get_mut(&target(external_secret)) {
            group.push(external_secret);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use eso_model::expected::{Difference, KeyDifference};

    use super::*;
    use crate::finding::Verdict;

    #[test]
    fn finding_names_a_bounded_number_of_keys() {
        let key = |index: usize| KeyDifference {
            name: format!("key-{index}"),
            difference: Difference::Changed,
        };
        let mut finding = Finding::of(Verdict::Stale, "stale");
        finding.keys = (0..MOST_KEYS).map(key).collect();
        bound_keys(&mut finding);
        assert_eq!(
            (finding.keys.len(), &*finding.message),
            (MOST_KEYS, "stale")
        );
        finding.keys.extend((0..7).map(key));
        bound_keys(&mut finding);
        assert_eq!(finding.keys.len(), MOST_KEYS);
        assert_eq!(finding.message, "stale (and 7 more keys)");
    }
}
