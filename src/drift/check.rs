//! Runs the drift check: reads specs, Secrets and providers, computes the expected data, and returns findings.
//!
//! The check processes some hundreds of ExternalSecrets at a time to limit memory. Drifted ones are read again, at the provider
//! and in the cluster, before they are reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cluster::Cluster;
use eso_model::{
    Id,
    budget::Budget,
    expected::{
        Content, CreationPolicy, DeletionPolicy, NotComputable, Read, Spec, Unverifiable, What,
        expected, reads, why,
    },
};
use providers::reader::{OnProgress, Reader, ReaderInput, StandIn};
use rustls::crypto::aws_lc_rs;
use secret::RunKey;

use super::{
    judge::{Author, Member, judge},
    read,
    target::Target,
    templates::{Rendering, Sources, sources},
};
use crate::{
    finding::{Finding, Findings, Judged, ReadFact, ReadState},
    inventory::{ExternalSecret, Inventory},
};

/// The number of ExternalSecrets that are processed at a time.
const AT_A_TIME: usize = 500;

/// The error if the system provides no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system provides no random bytes, which are needed to compare values safely")]
pub struct NoRandomness;

/// A drift check, with everything that it has read so far.
pub struct Check {
    cluster: Cluster,
    namespaces: Option<BTreeSet<String>>,
    reader: Reader,
    key: Arc<RunKey>,
}

/// An ExternalSecret with its parsed spec and the reads that it needs.
struct Subject<'a> {
    external_secret: &'a ExternalSecret,
    spec: Result<Spec, Unverifiable>,
    reads: Vec<Read>,
}

impl Check {
    /// Creates a check without reading. The check uses a read-only client, whatever client it is given.
    pub fn new(
        known: ReaderInput,
        namespaces: Option<BTreeSet<String>>,
        stand_in: Option<StandIn>,
    ) -> Result<Self, NoRandomness> {
        let mut bytes = [0; 32];
        aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_| NoRandomness)?;
        let known = ReaderInput {
            cluster: known.cluster.read_only(),
            ..known
        };
        Ok(Self {
            cluster: known.cluster.clone(),
            namespaces,
            reader: Reader::new(known).through(stand_in),
            key: Arc::new(RunKey::from_bytes(bytes)),
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

    /// Checks these ExternalSecrets. Uses values that were already read from providers.
    pub async fn first(&mut self, inventory: &Inventory, wanted: &BTreeSet<Id>) -> Findings {
        self.twice(inventory, wanted, false).await
    }

    /// Checks these ExternalSecrets again, with new reads only.
    pub async fn again(&mut self, inventory: &Inventory, wanted: &BTreeSet<Id>) -> Findings {
        self.twice(inventory, wanted, true).await
    }

    /// Returns the results of the reads that this ExternalSecret needs.
    pub fn reads(&self, external_secret: &ExternalSecret) -> Vec<ReadFact> {
        let namespace = &external_secret.id.namespace;
        let subject = Subject::of(external_secret);
        subject
            .reads
            .iter()
            .map(|read| ReadFact {
                store: format!("{}/{}", read.store.kind, read.store.name),
                what: described(&read.what),
                state: match self.reader.answer(namespace, read).content {
                    Content::One(_) | Content::Many(_) => ReadState::Found,
                    Content::NotFound => ReadState::NotFound,
                    Content::Fails(failure) => ReadState::Fails(failure.into_str()),
                    Content::Unread(why) => ReadState::Unread {
                        why: why.to_string(),
                        permission: self
                            .reader
                            .unread(namespace, read)
                            .and_then(|unread| unread.permission),
                    },
                },
            })
            .collect()
    }

    async fn twice(
        &mut self,
        inventory: &Inventory,
        wanted: &BTreeSet<Id>,
        fresh: bool,
    ) -> Findings {
        let mut of = self.look(inventory, wanted, fresh).await;
        let differing: BTreeSet<Id> = of
            .iter()
            .filter(|(_, finding)| finding.verdict.is_drift())
            .map(|(id, _)| id.clone())
            .collect();
        if !differing.is_empty() {
            // The value may have changed between the read of the provider and the read of the Secret.
            of.extend(self.look(inventory, &differing, true).await);
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
        fresh: bool,
    ) -> BTreeMap<Id, Finding> {
        let groups = groups(inventory, wanted);
        let secrets: BTreeSet<Id> = groups.keys().cloned().collect();
        let targets =
            read::targets(&self.cluster, &secrets, self.namespaces.as_ref(), &self.key).await;
        let mut findings = BTreeMap::new();
        let mut groups = groups.into_iter().peekable();
        while groups.peek().is_some() {
            let mut part = Vec::new();
            let mut count = 0;
            while let Some((target, members)) = groups.next_if(|_| count < AT_A_TIME) {
                count += members.len();
                part.push((target, members));
            }
            self.part(inventory, part, &targets, fresh, &mut findings)
                .await;
        }
        findings.retain(|id, _| wanted.contains(id));
        findings
    }

    async fn part(
        &mut self,
        inventory: &Inventory,
        part: Vec<(Id, Vec<&ExternalSecret>)>,
        targets: &BTreeMap<Id, Target>,
        fresh: bool,
        findings: &mut BTreeMap<Id, Finding>,
    ) {
        let part: Vec<(Id, Vec<Subject<'_>>)> = part
            .into_iter()
            .map(|(target, members)| (target, members.into_iter().map(Subject::of).collect()))
            .collect();
        let subjects = || part.iter().flat_map(|(_, subjects)| subjects);
        let wanted = subjects().flat_map(|subject| {
            let namespace = &*subject.external_secret.id.namespace;
            subject.reads.iter().map(move |read| (namespace, read))
        });
        if fresh {
            self.reader.read_again(wanted).await;
        } else {
            self.reader.read(wanted).await;
        }
        let named = subjects().flat_map(|subject| {
            let namespace = &subject.external_secret.id.namespace;
            let names = subject.spec.as_ref().map(sources).unwrap_or_default();
            names.into_iter().map(|name| (namespace.clone(), name))
        });
        let templates = read::sources(&self.cluster, named.collect()).await;
        let none = Sources::new();
        for (id, subjects) in part {
            let sources = templates.get(&id.namespace).unwrap_or(&none);
            let other_writers = inventory.others.get(&id).map_or(&[][..], |names| names);
            let unread = Target::Unread("not read".to_owned());
            let target = targets.get(&id).unwrap_or(&unread);
            let members = subjects
                .iter()
                .map(|subject| self.member(subject, sources))
                .collect();
            let data = match target {
                Target::There(actual) => Some(Judged::of(&actual.data, &self.key)),
                Target::Absent | Target::Unread(_) => None,
            };
            let judged = judge(members, other_writers, target, &self.key);
            for (subject, finding) in subjects.iter().zip(judged) {
                let mut finding = self.explained(finding, subject);
                finding.judged.clone_from(&data);
                findings.insert(subject.external_secret.id.clone(), finding);
            }
        }
    }

    fn member(&self, subject: &Subject<'_>, sources: &Sources) -> Member {
        let ExternalSecret { id, refreshed, .. } = subject.external_secret;
        let target = subject.spec.as_ref().map(|spec| &spec.target).ok();
        Member {
            by: Author {
                name: id.name.clone(),
                creation: target.map_or(CreationPolicy::None, |target| target.creation_policy),
                deletion: target.map_or(DeletionPolicy::Merge, |target| target.deletion_policy),
                refreshed: *refreshed,
            },
            computed: match &subject.spec {
                Err(why) => Err(NotComputable::Unverifiable(why.clone())),
                Ok(spec) => expected(
                    spec,
                    |read| self.reader.answer(&id.namespace, read),
                    &Rendering(sources),
                    &Budget::default(),
                ),
            },
        }
    }

    /// Adds the missing permission. An error of a whole store is reported with the store.
    fn explained(&self, mut finding: Finding, subject: &Subject<'_>) -> Finding {
        let Some(why) = finding.unverifiable.as_ref() else {
            return finding;
        };
        let namespace = &subject.external_secret.id.namespace;
        let unread = subject
            .reads
            .iter()
            .filter_map(|read| self.reader.unread(namespace, read))
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
}

impl<'a> Subject<'a> {
    fn of(external_secret: &'a ExternalSecret) -> Self {
        let spec = external_secret
            .spec
            .as_deref()
            .ok_or_else(|| Unverifiable::new(why::SPEC, "not read"))
            .and_then(Spec::from_json);
        let reads = spec.as_ref().map(reads).unwrap_or_default();
        Self {
            external_secret,
            spec,
            reads,
        }
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
