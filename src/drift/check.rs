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
    Id, StoreKey,
    budget::{Budget, Limits},
    expected::{
        Content, CreationPolicy, DeletionPolicy, HeldValues, NotComputable, Read, Spec, SpecNames,
        Unverifiable, What, expected, members, reads, why,
    },
    version::ReadVersion,
};
use futures::{FutureExt as _, StreamExt as _, future::LocalBoxFuture, stream::FuturesUnordered};
use pace::{NotDone, Workers};
use providers::reader::{
    Answers, Members, OnProgress, Reader, ReaderInput, Ready, StandIn, Wanted,
};
use providers::unread;
use secret::RunKey;
use tokio::time::{Instant, sleep_until};

use super::{
    judge::{Author, Member, judge},
    read,
    target::Target,
    templates::{Rendering, Source, SourceKind, SourceName, Sources, sources},
};
use crate::{
    finding::{Finding, Findings, Judged, ReadFact, ReadState},
    inventory::{ExternalSecret, Inventory},
    key_names::Names,
    policy::{KeyNames, Policy},
    random,
};

/// The time for computing after the end of the reads.
const COMPUTING: Duration = Duration::from_secs(5);

/// The number of target Secrets that are judged at a time.
const JUDGED_AT_A_TIME: usize = 8;

/// The detail about an ExternalSecret whose spec was not kept.
const TOO_LARGE: &str = "the specs of its namespace are too large to be kept in memory";

/// Specs of this size, in bytes, are parsed on the runtime's thread: that takes less time than to hand them to another one.
const PARSED_HERE: usize = 16 << 10;

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
    workers: Arc<Workers>,
    key: Arc<RunKey>,
    key_names: KeyNames,
    /// The reads of the last check, if it checked only a few ExternalSecrets.
    facts: BTreeMap<Id, Vec<ReadFact>>,
    /// The versions that were read last, if they are kept.
    versions: Option<Versions>,
}

/// The versions of the values that ExternalSecrets read last.
pub type Versions = BTreeMap<Id, Vec<VersionOf>>;

/// The version that one read returned.
#[derive(Clone, Debug)]
pub struct VersionOf {
    pub store: StoreKey,
    pub what: What,
    /// None if the provider's answer names no version.
    pub version: Option<ReadVersion>,
}

/// The ends of the two reads of a check.
#[derive(Clone, Copy, Default)]
struct Until {
    first: Option<Instant>,
    second: Option<Instant>,
}

/// The spec of an ExternalSecret as text.
#[derive(Clone)]
struct Unparsed {
    id: Id,
    refreshed: Option<jiff::Timestamp>,
    spec: Option<Arc<str>>,
}

/// An ExternalSecret with its parsed spec and the reads that it needs.
struct Subject {
    id: Id,
    refreshed: Option<jiff::Timestamp>,
    spec: Result<Spec, Unverifiable>,
    reads: Vec<Read>,
    /// The bytes of the spec's text.
    size: usize,
}

impl Check {
    /// Creates a check without reading. The check uses a read-only client, whatever client it is given.
    pub fn new(
        known: ReaderInput,
        policy: &Policy,
        stand_in: Option<StandIn>,
    ) -> Result<Self, NoCheck> {
        let bytes = random::key().map_err(|_| NoCheck::Randomness)?;
        let known = ReaderInput {
            cluster: known.cluster.read_only(),
            ..known
        };
        let workers = Arc::new(Workers::start()?);
        Ok(Self {
            cluster: known.cluster.clone(),
            namespaces: policy.literal_namespaces(),
            reader: Reader::new(known).through(stand_in).computing_on(&workers),
            workers,
            key: Arc::new(RunKey::from_bytes(*bytes)),
            key_names: policy.safety.key_names,
            facts: BTreeMap::new(),
            versions: None,
        })
    }

    /// The end of the run. Waits for providers are announced with it.
    #[must_use]
    pub fn ending(self, deadline: Option<Instant>) -> Self {
        Self {
            reader: self.reader.ending(deadline),
            ..self
        }
    }

    /// Keeps the versions of the values that are read.
    #[must_use]
    pub fn keeping_versions(self) -> Self {
        Self {
            versions: Some(Versions::new()),
            ..self
        }
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

    /// The versions of the values that were read last, for each ExternalSecret that was checked. None if they are not kept.
    pub fn versions(&self) -> Option<&Versions> {
        self.versions.as_ref()
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
            throttles: self.reader.throttles(),
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
        let secrets_in = read::Secrets {
            cluster: &self.cluster,
            workers: &self.workers,
            key: &self.key,
        };
        let targets = secrets_in.all(&secrets, self.namespaces.as_ref()).await;
        let judging = Judging {
            secrets: secrets_in,
            counts: counts(inventory),
            key_names: self.key_names,
            inventory,
            groups: &groups,
            targets: &targets,
            templates: read::Templates::new(&self.cluster),
            keeps: Keeps {
                facts: wanted.len() <= FACTS_UP_TO,
                versions: self.versions.is_some(),
            },
        };
        let mut round = self.reader.round(judging.wanted(), until).await;
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
                    for Judgment { id, finding, facts, versions } in group {
                        self.facts.extend(facts.map(|facts| (id.clone(), facts)));
                        if let Some(kept) = &mut self.versions {
                            kept.extend(versions.map(|versions| (id.clone(), versions)));
                        }
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
        add_missing(&mut findings, &groups);
        findings.retain(|id, _| wanted.contains(id));
        findings
    }
}

/// What is needed to judge a group of ExternalSecrets: those that write one target Secret.
struct Judging<'a> {
    secrets: read::Secrets<'a>,
    key_names: KeyNames,
    /// The number of ExternalSecrets of each namespace.
    counts: BTreeMap<&'a str, usize>,
    inventory: &'a Inventory,
    groups: &'a [(Id, Vec<&'a ExternalSecret>)],
    targets: &'a BTreeMap<Id, Target>,
    templates: read::Templates<'a>,
    keeps: Keeps,
}

/// What is kept of the reads.
#[derive(Clone, Copy)]
struct Keeps {
    facts: bool,
    versions: bool,
}

/// The finding for one ExternalSecret, and what is kept of its reads.
struct Judgment {
    id: Id,
    finding: Finding,
    facts: Option<Vec<ReadFact>>,
    versions: Option<Vec<VersionOf>>,
}

impl<'a> Judging<'a> {
    /// The groups as input of the reader.
    fn wanted(&self) -> Wanted<'a> {
        let (workers, groups) = (self.secrets.workers, self.groups);
        Wanted {
            namespaces: groups.iter().map(|(id, _)| &*id.namespace).collect(),
            reads: Box::new(move |group| of_group(workers, groups, group, all_reads)),
            members: Box::new(move |group| of_group(workers, groups, group, all_members)),
        }
    }

    async fn judge(&self, ready: Ready) -> Vec<Judgment> {
        let Ready { group, answers } = ready;
        let Some((id, members)) = self.groups.get(group) else {
            return Vec::new();
        };
        let workers = self.secrets.workers;
        let parsed = parsed(workers, &id.namespace, unparsed(members), |subjects| {
            let names: BTreeSet<SourceName> = subjects
                .iter()
                .flat_map(|subject| subject.spec.as_ref().map(sources).unwrap_or_default())
                .collect();
            (subjects, names)
        });
        let Ok((subjects, names)) = parsed.await else {
            return failed(members);
        };
        let templates = self.templates.read(&id.namespace, names).await;
        let target = if let Some(target) = self.targets.get(id) {
            target.clone()
        } else {
            // It was too large to be kept.
            self.secrets.one(id).await
        };
        let count = self.counts.get(&*id.namespace).copied().unwrap_or(1);
        let group = Group {
            subjects,
            answers,
            templates,
            target,
            other_writers: self.inventory.others.get(id).cloned().unwrap_or_default(),
            key: Arc::clone(self.secrets.key),
            key_names: self.key_names,
            limits: Limits::in_namespace_of(count),
            keeps: self.keeps,
        };
        let judged = workers.compute(&id.namespace, move || group.judge());
        judged.await.unwrap_or_else(|_| failed(members))
    }
}

/// Adds the findings of those that were not judged in time.
fn add_missing(findings: &mut BTreeMap<Id, Finding>, groups: &[(Id, Vec<&ExternalSecret>)]) {
    for member in groups.iter().flat_map(|(_, members)| members) {
        findings.entry(member.id.clone()).or_insert_with(|| {
            let detail = "the computing of its data did not end in time";
            Finding::unverifiable(Unverifiable::new(unread::NOT_READ_IN_TIME, detail))
        });
    }
}

/// The findings of a group that could not be computed, which is a bug.
fn failed(members: &[&ExternalSecret]) -> Vec<Judgment> {
    let failed = || Unverifiable::new(why::SPEC, "computing the data failed unexpectedly");
    let finding = |member: &&ExternalSecret| Judgment {
        id: member.id.clone(),
        finding: Finding::unverifiable(failed()),
        facts: None,
        versions: None,
    };
    members.iter().map(finding).collect()
}

/// Computes something for the reader. A group that cannot be parsed needs no reads.
fn of_group<'a, T: Default + Send + 'static>(
    workers: &'a Workers,
    groups: &'a [(Id, Vec<&'a ExternalSecret>)],
    group: usize,
    compute: fn(Vec<Subject>) -> T,
) -> LocalBoxFuture<'a, T> {
    let Some((id, members)) = groups.get(group) else {
        return std::future::ready(T::default()).boxed_local();
    };
    async move {
        let computed = parsed(workers, &id.namespace, unparsed(members), compute);
        computed.await.unwrap_or_default()
    }
    .boxed_local()
}

/// Parses the specs of a group and computes with them. Large ones are parsed on the threads for computing.
async fn parsed<T: Send + 'static>(
    workers: &Workers,
    namespace: &str,
    members: Vec<Unparsed>,
    compute: impl FnOnce(Vec<Subject>) -> T + Send + 'static,
) -> Result<T, NotDone> {
    let size: usize = members.iter().map(Unparsed::size).sum();
    let work = move || compute(members.into_iter().map(Subject::of).collect());
    if size <= PARSED_HERE {
        Ok(work())
    } else {
        workers.compute(namespace, work).await
    }
}

fn unparsed(members: &[&ExternalSecret]) -> Vec<Unparsed> {
    members.iter().map(|member| Unparsed::of(member)).collect()
}

fn all_reads(subjects: Vec<Subject>) -> Vec<Read> {
    let reads: BTreeSet<Read> = subjects
        .into_iter()
        .flat_map(|subject| subject.reads)
        .collect();
    reads.into_iter().collect()
}

/// The members that are all these ExternalSecrets need of their values.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature of the other computations"
)]
fn all_members(subjects: Vec<Subject>) -> Members {
    let specs: Vec<&Spec> = subjects
        .iter()
        .filter_map(|subject| subject.spec.as_ref().ok())
        .collect();
    members(&specs)
}

/// ExternalSecrets that write the same target Secret, with everything that is needed to judge them on another thread.
struct Group {
    subjects: Vec<Subject>,
    answers: Answers,
    templates: Sources,
    target: Target,
    other_writers: Vec<String>,
    key: Arc<RunKey>,
    key_names: KeyNames,
    /// The limits of each ExternalSecret.
    limits: Limits,
    keeps: Keeps,
}

impl Group {
    fn judge(&self) -> Vec<Judgment> {
        let data = match &self.target {
            Target::There(actual) => Some(Judged::of(&actual.data, actual.version, &self.key)),
            Target::Absent | Target::Unread(_) => None,
        };
        let members: Vec<Member> = self
            .subjects
            .iter()
            .map(|subject| self.member(subject))
            .collect();
        let names = self.names(&members);
        let judging = (&*self.key, &names);
        let judged = judge(members, &self.other_writers, &self.target, judging);
        let beyond = names.beyond_spec().cloned().map(Arc::new);
        self.subjects
            .iter()
            .zip(judged)
            .map(|(subject, finding)| {
                let mut finding = explained(finding, subject, &self.answers);
                finding.judged.clone_from(&data);
                bound_keys(&mut finding);
                finding.names.clone_from(&beyond);
                let Keeps {
                    facts: keeps_facts,
                    versions: keeps_versions,
                } = self.keeps;
                Judgment {
                    id: subject.id.clone(),
                    finding,
                    facts: keeps_facts.then(|| facts(subject, &self.answers)),
                    versions: keeps_versions.then(|| versions(subject, &self.answers)),
                }
            })
            .collect()
    }

    fn member(&self, subject: &Subject) -> Member {
        let mut member = member(subject, &self.answers, &self.templates, self.limits);
        if self.key_names == KeyNames::None {
            member.computed = member.computed.map_err(without_names);
        }
        member
    }

    /// The rule for the names of the Secret's keys. Only values of this Secret and its ExternalSecrets count: otherwise a tenant
    /// could test with its own key names what the values of others are.
    fn names(&self, members: &[Member]) -> Names {
        let mut spec = SpecNames::default();
        for subject in &self.subjects {
            spec.extend(match &subject.spec {
                Ok(spec) => SpecNames::of(spec, |name, key| text(&self.templates, name, key)),
                Err(_) => SpecNames::unknown(),
            });
        }
        if !self.other_writers.is_empty() {
            spec.extend(SpecNames::unknown());
        }
        let mut names = Names::new(self.key_names, spec);
        let computed = || members.iter().flat_map(|member| &member.computed);
        let held = match &self.target {
            Target::There(actual) => Some(actual),
            Target::Absent | Target::Unread(_) => None,
        };
        let all = || {
            let expected = computed().flat_map(|expected| expected.data.keys());
            let actual = held.into_iter().flat_map(|actual| actual.data.keys());
            expected.map(String::as_str).chain(actual)
        };
        if names.need_values(all()) {
            let mut values = held.map_or_else(HeldValues::default, |actual| actual.values.clone());
            for subject in &self.subjects {
                for read in &subject.reads {
                    values.add_answer(&self.answers.answer(read).content, &self.key);
                }
            }
            for expected in computed() {
                values.add_all(expected.data.values(), &self.key);
            }
            names.hide_values(all(), &values, &self.key);
        }
        names
    }
}

/// The error without the place inside the template, which has names of keys.
fn without_names(mut error: NotComputable) -> NotComputable {
    const PLACE: &str = "spec.target.template";

    let detail = match &mut error {
        NotComputable::Unverifiable(why) => &mut why.detail,
        NotComputable::WouldFail(why) => &mut why.detail,
    };
    if detail.starts_with(PLACE) {
        detail.truncate(PLACE.len());
    }
    error
}

/// The text of a template in a ConfigMap, if it was read.
fn text<'a>(templates: &'a Sources, name: &str, key: &str) -> Option<&'a str> {
    let source = SourceName {
        kind: SourceKind::ConfigMap,
        name: name.to_owned(),
    };
    match templates.get(&source)? {
        Source::Texts(texts) => std::str::from_utf8(texts.get(key)?.expose()).ok(),
        Source::Absent | Source::Unread(_) => None,
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
            Ok(spec) => {
                let budget = Budget::new(limits);
                let answer = |read: &Read| answers.answer(read);
                budget
                    .read(subject.size)
                    .map_err(NotComputable::from)
                    .and_then(|()| expected(spec, answer, &Rendering(sources), &budget))
            }
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
                word: why.reason,
                why: why.to_string(),
                permission: answers.unread(read).and_then(|unread| unread.permission),
            },
        },
    };
    subject.reads.iter().map(fact).collect()
}

/// The versions of the values that this ExternalSecret needs.
fn versions(subject: &Subject, answers: &Answers) -> Vec<VersionOf> {
    let version = |read: &Read| VersionOf {
        store: read.store.key(&subject.id.namespace),
        what: read.what.clone(),
        version: answers.version(read).cloned(),
    };
    subject.reads.iter().map(version).collect()
}

impl Unparsed {
    fn of(external_secret: &ExternalSecret) -> Self {
        Self {
            id: external_secret.id.clone(),
            refreshed: external_secret.refreshed,
            spec: external_secret.spec.clone(),
        }
    }

    fn size(&self) -> usize {
        self.spec.as_ref().map_or(0, |spec| spec.len())
    }
}

impl Subject {
    fn of(unparsed: Unparsed) -> Self {
        let size = unparsed.size();
        let spec = unparsed
            .spec
            .as_deref()
            .ok_or_else(|| Unverifiable::new(unread::TOO_MUCH_DATA, TOO_LARGE))
            .and_then(Spec::from_json);
        let reads = spec.as_ref().map(reads).unwrap_or_default();
        Self {
            id: unparsed.id,
            refreshed: unparsed.refreshed,
            spec,
            reads,
            size,
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

/// The number of ExternalSecrets of each namespace.
fn counts(inventory: &Inventory) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for external_secret in &inventory.external_secrets {
        *counts.entry(&*external_secret.id.namespace).or_default() += 1;
    }
    counts
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
    use eso_model::expected::Difference;

    use super::*;
    use crate::finding::{DifferingKey, Verdict};

    fn with_spec(spec: &str) -> Unparsed {
        Unparsed {
            id: Id {
                namespace: "ns".to_owned(),
                name: "es".to_owned(),
            },
            refreshed: None,
            spec: Some(spec.into()),
        }
    }

    #[tokio::test]
    async fn large_specs_are_parsed_on_threads_for_computing() {
        let workers = Workers::start().unwrap();
        let thread = |_| std::thread::current().name().map(str::to_owned);
        let mut of = Vec::new();
        for entries in [1, 15_000] {
            let entry = r#"{"secretKey": "k", "remoteRef": {"key": "k"}}"#;
            let spec = format!(r#"{{"data": [{}]}}"#, vec![entry; entries].join(", "));
            let on = parsed(&workers, "ns", vec![with_spec(&spec)], thread).await;
            of.push(on.unwrap().unwrap_or_default().starts_with("compute-"));
        }
        assert_eq!(of, [false, true]);
    }

    #[test]
    fn parsing_is_paid_by_the_budget() {
        let limits = Limits {
            work: 10_000,
            ..Limits::default()
        };
        let found = |size: usize| {
            let spec = format!(r#"{{"target": {{"name": "{}"}}}}"#, "x".repeat(size));
            let subject = Subject::of(with_spec(&spec));
            let computed = member(&subject, &Answers::default(), &Sources::new(), limits).computed;
            match computed {
                Err(NotComputable::Unverifiable(why)) => why.reason,
                _ => "computed",
            }
        };
        assert_eq!([found(10), found(20_000)], ["computed", why::TOO_COSTLY]);
    }

    #[test]
    fn error_without_names_has_only_the_place_of_the_template() {
        let in_template = NotComputable::unverifiable(why::TEMPLATE).at("data.password");
        let error = without_names(in_template.at("spec.target.template"));
        let NotComputable::Unverifiable(why) = error else {
            unreachable!()
        };
        assert_eq!(why.to_string(), "template (spec.target.template)");
        let elsewhere = NotComputable::unverifiable(why::REGEXP).at("spec.dataFrom[0]");
        assert_eq!(without_names(elsewhere.clone()), elsewhere);
    }

    #[test]
    fn finding_names_a_bounded_number_of_keys() {
        let key = |index: usize| DifferingKey {
            name: (&*format!("key-{index}")).into(),
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
