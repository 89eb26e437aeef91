//! From the cluster to [`Subject`]s: workloads, the Secrets that concern them, and pods where those have a say. Reads only.
//!
//! Values of Secrets become keyed digests as soon as they are read, and are wiped.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    adopt::reason_of,
    decide::{Context, needs_pods},
    stamp::{Stamp, StampKey},
    subject::{Concern, Now, Subject, View},
    targets::{Found, Targets},
};
use crate::{
    cluster::{CallError, Cluster, Query, Trouble},
    discover::gap,
    inventory::Gap,
    policy::{Policy, RestartRule},
    reason::Reason,
    wire,
    workload::{
        Health, Keys, Kind, Marks, Owner, Pod, TemplateIn, Workload, WorkloadId, health,
        object::{Object, PodObject},
    },
};

/// From this many Secrets of one namespace on, one list of them all costs less than reading each.
const ENOUGH_TO_LIST: usize = 8;

/// All that looking takes.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Where.
    pub cluster: &'a Cluster,
    /// Which rules.
    pub policy: &'a Policy,
    /// Which Secrets.
    pub targets: &'a Targets,
    /// What decisions share.
    pub context: Context<'a>,
}

/// The workloads that rules cover, each with the index of its rule, before anything else is looked at.
#[derive(Debug, Default)]
pub struct Listed {
    found: Vec<(usize, Workload)>,
    seen: Seen,
}

impl Listed {
    /// Their stamps, as far as they can be read and are their own.
    pub fn stamps(&self) -> impl Iterator<Item = Stamp> {
        self.found.iter().filter_map(|(_, workload)| {
            let stamp = Stamp::parse(workload.stamp.as_deref()?).ok()?;
            (stamp.of == workload.uid).then_some(stamp)
        })
    }
}

/// Workloads that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Of which kind; None: of all.
    pub kind: Option<Kind>,
    /// In which namespace; None: in all.
    pub namespace: Option<String>,
    /// In a word.
    pub reason: Reason,
    /// For people.
    pub why: String,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every workload that a rule covers, in order.
    pub subjects: Vec<Subject>,
    /// Every workload that there is, of the kinds and namespaces that were listed in full.
    pub present: BTreeSet<WorkloadId>,
    /// The lists that were read in full: kind, and namespace or all.
    pub listed: Vec<(Kind, Option<String>)>,
    /// The lists that could not be had.
    pub unseen: Vec<Unseen>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
}

impl Unseen {
    /// Whether this workload may be one of them.
    fn may_be(&self, id: &WorkloadId) -> bool {
        self.kind.is_none_or(|kind| kind == id.kind) && self.is_in(&id.namespace)
    }

    /// Whether some of them may be in this namespace.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|of| of == namespace)
    }
}

impl Seen {
    /// Every workload that a rule covers, by its name.
    pub fn by_id(&self) -> BTreeMap<&WorkloadId, &Subject> {
        self.subjects
            .iter()
            .map(|subject| (&subject.workload.id, subject))
            .collect()
    }

    /// Why this workload could not be seen, if it could not.
    pub fn unseen(&self, id: &WorkloadId) -> Option<&Unseen> {
        self.unseen.iter().find(|unseen| unseen.may_be(id))
    }

    /// Whether this workload would have been seen if it were there.
    pub fn would_show(&self, id: &WorkloadId) -> bool {
        self.listed.iter().any(|(kind, namespace)| {
            *kind == id.kind
                && namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == id.namespace)
        })
    }
}

/// What one list holds that matters. A list that starts anew hands out items again: by name, each is kept once.
#[derive(Default)]
struct Listing {
    /// The workloads that a rule covers, with that rule.
    covered: BTreeMap<WorkloadId, (usize, Workload)>,
    /// Those whose pod template stands elsewhere: whether a rule covers them is still to be seen.
    borrowing: BTreeMap<WorkloadId, Workload>,
    /// Of each controller of single pods: its pods, and whether they are ready.
    families: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Listing {
    /// A single pod is as well as all those of its controller.
    fn join_families(&mut self) {
        for (_, workload) in self.covered.values_mut() {
            let owner = workload.controller.as_ref();
            let family = owner.and_then(|owner| Some((owner, self.families.get(&owner.uid)?)));
            if let Some((owner, family)) = family {
                workload.health = health::lacking(owner, family.values().copied())
                    .map_or(Health::Healthy, Health::Unavailable);
            }
        }
    }
}

impl Look<'_> {
    /// Looks at everything that the rules cover.
    pub async fn all(self) -> Seen {
        let listed = self.list_all().await;
        self.complete(listed).await
    }

    /// The workloads alone.
    pub async fn list_all(self) -> Listed {
        let mut listed = Listed::default();
        if self.targets.is_empty() {
            return listed;
        }
        for kind in self.kinds() {
            self.list(kind, &mut listed.found, &mut listed.seen).await;
        }
        listed.found.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        listed
    }

    /// All that belongs to them.
    pub async fn complete(self, listed: Listed) -> Seen {
        let Listed { found, mut seen } = listed;
        seen.subjects = self.subjects(found).await;
        let mut wanting: BTreeSet<String> = BTreeSet::new();
        for subject in &seen.subjects {
            if self.wants_pods(subject) {
                wanting.insert(subject.workload.id.namespace.clone());
            }
        }
        for namespace in wanting {
            self.add_pods(&namespace, &mut seen).await;
        }
        seen
    }

    /// Looks at one workload again, with its pods; None if it is gone, or covered no more.
    pub async fn one(self, id: &WorkloadId) -> Result<Option<Subject>, CallError> {
        let object = match self.cluster.get::<Object>(&id.path()).await {
            Ok(object) => object,
            Err(error) if error.trouble == Trouble::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut workload = object.workload(id.kind);
        self.borrow_template(&mut workload).await?;
        let rule = self.targets.rule_of(&self.policy.restart, &workload);
        let Some(rule) = rule.filter(|_| workload.addressed) else {
            return Ok(None);
        };
        if let (Kind::Pod, Some(owner)) = (id.kind, &workload.controller) {
            let family = family_of(self.cluster, &id.namespace, owner).await?;
            workload.health = health::lacking(owner, family.iter().map(|pod| pod.ready))
                .map_or(Health::Healthy, Health::Unavailable);
        }
        let mut subjects = self.subjects(vec![(rule, workload)]).await;
        let Some(mut subject) = subjects.pop() else {
            return Ok(None);
        };
        subject.pods = Some(pods_of(self.cluster, &subject.workload).await?);
        Ok(Some(subject))
    }

    fn kinds(self) -> BTreeSet<Kind> {
        let rules = self.policy.restart.iter();
        rules.flat_map(|rule| rule.kinds.iter().copied()).collect()
    }

    async fn list(self, kind: Kind, found: &mut Vec<(usize, Workload)>, seen: &mut Seen) {
        let scopes: Vec<Option<String>> = match self.policy.literal_namespaces() {
            Some(namespaces) => namespaces.into_iter().map(Some).collect(),
            None => vec![None],
        };
        for namespace in scopes {
            let mut listing = Listing::default();
            let query = Query::new(kind.path(namespace.as_deref()));
            let listed = self
                .cluster
                .list(&query, |object: Object| {
                    let workload = object.workload(kind);
                    if !workload.addressed {
                        return;
                    }
                    seen.present.insert(workload.id.clone());
                    if self.targets.reach(&workload.id.namespace) {
                        self.take_workload(workload, &mut listing);
                    }
                })
                .await;
            match listed {
                Ok(_) => {
                    self.borrow_templates(&mut listing, seen).await;
                    listing.join_families();
                    found.extend(listing.covered.into_values());
                    seen.listed.push((kind, namespace));
                }
                Err(error) if kind == Kind::Rollout && self.has_no_rollouts(&error).await => {}
                Err(error) => {
                    let gap = gap(kind.plural(), namespace.as_deref(), &error);
                    seen.unseen.push(Unseen {
                        kind: Some(kind),
                        namespace,
                        reason: reason_of(&error),
                        why: format!("{} could not be listed: {}", gap.what, gap.why),
                    });
                    seen.gaps.push(gap);
                }
            }
        }
    }

    /// Where Argo Rollouts is not installed there is none; whoever lacks the right to list them is refused there too.
    async fn has_no_rollouts(self, error: &CallError) -> bool {
        match error.trouble {
            Trouble::NotFound => true,
            Trouble::Denied => {
                let api = format!(
                    "/apis/{}/{}",
                    Kind::Rollout.group(),
                    Kind::Rollout.version()
                );
                let api = self.cluster.get::<serde::de::IgnoredAny>(&api).await;
                api.is_err_and(|error| error.trouble == Trouble::NotFound)
            }
            Trouble::Conflict
            | Trouble::Expired
            | Trouble::Invalid
            | Trouble::Unauthenticated
            | Trouble::Unavailable
            | Trouble::Unreadable => false,
        }
    }

    fn take_workload(self, workload: Workload, listing: &mut Listing) {
        if let (Kind::Pod, Some(owner)) = (workload.id.kind, &workload.controller) {
            let family = listing.families.entry(owner.uid.clone()).or_default();
            family.insert(workload.uid.clone(), workload.health == Health::Healthy);
        }
        if workload.template_in.is_some() {
            listing.borrowing.insert(workload.id.clone(), workload);
        } else if let Some(rule) = self.targets.rule_of(&self.policy.restart, &workload) {
            let entry = (rule, workload);
            listing.covered.insert(entry.1.id.clone(), entry);
        }
    }

    /// What cannot be had is a gap: whether the workload uses a Secret is not known then.
    async fn borrow_templates(self, listing: &mut Listing, seen: &mut Seen) {
        for (id, mut workload) in std::mem::take(&mut listing.borrowing) {
            let what = format!("the pod template of {}/{}", id.kind.plural(), id.name);
            if let Some(TemplateIn::Other(of)) = &workload.template_in {
                seen.gaps.push(Gap {
                    what,
                    namespace: Some(id.namespace),
                    why: format!("it stands in {of}, which is not read"),
                });
            } else if let Err(error) = self.borrow_template(&mut workload).await {
                let gap = gap(&what, Some(&id.namespace), &error);
                // What is not there is not there in the next run either.
                if error.trouble != Trouble::NotFound {
                    seen.unseen.push(Unseen {
                        kind: Some(id.kind),
                        namespace: Some(id.namespace),
                        reason: reason_of(&error),
                        why: format!("{} could not be read: {}", gap.what, gap.why),
                    });
                }
                seen.gaps.push(gap);
            } else if let Some(rule) = self.targets.rule_of(&self.policy.restart, &workload) {
                listing.covered.insert(id, (rule, workload));
            }
        }
    }

    /// A Rollout may have its pod template in another workload: then it uses what that one does.
    async fn borrow_template(self, workload: &mut Workload) -> Result<(), CallError> {
        let Some(TemplateIn::Workload(kind, name)) = &workload.template_in else {
            return Ok(());
        };
        let of = WorkloadId {
            namespace: workload.id.namespace.clone(),
            kind: *kind,
            name: name.clone(),
        };
        let template = self.cluster.get::<Object>(&of.path()).await?;
        workload.uses = template.workload(of.kind).uses;
        Ok(())
    }

    /// The workloads with the Secrets that concern them.
    async fn subjects(self, found: Vec<(usize, Workload)>) -> Vec<Subject> {
        let mut subjects = Vec::new();
        let mut wanted: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
        for (rule, workload) in found {
            let Some(settings) = self.policy.restart.get(rule) else {
                continue;
            };
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
                workload,
                rule,
                secrets,
                pods: None,
            });
        }
        for (namespace, secrets) in wanted {
            self.read_secrets(&namespace, &secrets, &mut subjects).await;
        }
        for subject in &mut subjects {
            let uses = &subject.workload.uses;
            // What is gone and not used any more has no business in a stamp.
            subject.secrets.retain(|name, concern| {
                concern.counts || concern.view != View::Missing || uses.contains_key(name)
            });
        }
        subjects
    }

    /// The Secrets that concern a workload, before any is read.
    fn concerns(self, rule: &RestartRule, workload: &Workload) -> BTreeMap<String, Concern> {
        let namespace = &workload.id.namespace;
        let concern = |name: &str, keys: Keys, counts: bool| Concern {
            keys,
            view: View::Missing,
            counts,
            left_to_reloader: false,
            standing: self
                .targets
                .standing(namespace, name, rule.require, Found::default()),
            may_change: self.targets.may_change(namespace, name),
        };
        let mut concerns = BTreeMap::new();
        let stamp = workload.stamp.as_deref().map(Stamp::parse);
        let stamped = stamp.and_then(Result::ok).map(|stamp| stamp.secrets);
        for name in stamped.into_iter().flat_map(BTreeMap::into_keys) {
            let keys = workload.uses.get(&name).cloned().unwrap_or(Keys::All);
            let entry = concern(&name, keys, false);
            concerns.insert(name, entry);
        }
        for (name, keys) in self.targets.concerning(rule, workload) {
            let left = workload.reloader.covers(&name, Marks::default());
            let mut entry = concern(&name, keys, !left);
            entry.left_to_reloader = left;
            concerns.insert(name, entry);
        }
        concerns
    }

    async fn read_secrets(
        self,
        namespace: &str,
        wanted: &BTreeMap<String, Vec<usize>>,
        subjects: &mut [Subject],
    ) {
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        if wanted.len() < ENOUGH_TO_LIST {
            for (name, by) in wanted {
                match self
                    .cluster
                    .get::<wire::Secret>(&format!("{path}/{name}"))
                    .await
                {
                    Ok(secret) => self.take(namespace, &secret, by, subjects),
                    Err(error) if error.trouble == Trouble::NotFound => {}
                    Err(error) => unreadable(name, by, &error, subjects),
                }
            }
            return;
        }
        let listed = self
            .cluster
            .list(&Query::new(path), |secret: wire::Secret| {
                if let Some(by) = wanted.get(&secret.metadata.name) {
                    self.take(namespace, &secret, by, subjects);
                }
            })
            .await;
        if let Err(error) = listed {
            for (name, by) in wanted {
                unreadable(name, by, &error, subjects);
            }
        }
    }

    /// Notes what a Secret is to each workload that wants it.
    fn take(self, namespace: &str, secret: &wire::Secret, by: &[usize], subjects: &mut [Subject]) {
        let name = &secret.metadata.name;
        let written = written(secret);
        let found = self.targets.found(namespace, secret);
        let marked = |annotation: &str| {
            let value = secret.metadata.annotations.get(annotation);
            value.is_some_and(|value| value.expose() == b"true")
        };
        let marks = Marks {
            matched: marked(Marks::MATCH),
            ignored: marked(Marks::IGNORE),
        };
        for &index in by {
            let Some(subject) = subjects.get_mut(index) else {
                continue;
            };
            let Some(rule) = self.policy.restart.get(subject.rule) else {
                continue;
            };
            let Subject {
                workload, secrets, ..
            } = subject;
            let Some(concern) = secrets.get_mut(name) else {
                continue;
            };
            // What only stands in the stamp is nobody's to restart on.
            if concern.counts || concern.left_to_reloader {
                concern.left_to_reloader = workload.reloader.covers(name, marks);
                concern.counts = !concern.left_to_reloader;
            }
            concern.standing = self.targets.standing(namespace, name, rule.require, found);
            concern.view = View::Seen(now(
                self.context.key_of(workload),
                &workload.uid,
                secret,
                &concern.keys,
                written,
            ));
        }
    }

    fn wants_pods(self, subject: &Subject) -> bool {
        let rule = self.policy.restart.get(subject.rule);
        rule.is_some_and(|rule| needs_pods(subject, rule, self.context))
    }

    async fn add_pods(self, namespace: &str, seen: &mut Seen) {
        let pods = match pods(self.cluster, &pods_in(namespace), |_| true).await {
            Ok(pods) => pods,
            Err(error) => {
                seen.gaps.push(gap("pods", Some(namespace), &error));
                return;
            }
        };
        for subject in &mut seen.subjects {
            if subject.workload.id.namespace == namespace && self.wants_pods(subject) {
                let own = |pod: &&Pod| subject.workload.owns(pod);
                subject.pods = Some(pods.iter().filter(own).cloned().collect());
            }
        }
    }
}

/// The pods of one workload.
pub async fn pods_of(cluster: &Cluster, workload: &Workload) -> Result<Vec<Pod>, CallError> {
    let mut query = pods_in(&workload.id.namespace);
    if workload.id.kind == Kind::Pod {
        query = query.with(
            "fieldSelector",
            format!("metadata.name={}", workload.id.name),
        );
    }
    if let Some(labels) = workload.selector.to_query() {
        query = query.with("labelSelector", labels);
    }
    pods(cluster, &query, |pod| workload.owns(pod)).await
}

/// The pods that a controller keeps. What their labels have in common only it knows: all of the namespace are looked through.
pub async fn family_of(
    cluster: &Cluster,
    namespace: &str,
    owner: &Owner,
) -> Result<Vec<Pod>, CallError> {
    let own = |pod: &Pod| pod.owner.as_ref().is_some_and(|of| of.uid == owner.uid);
    pods(cluster, &pods_in(namespace), own).await
}

fn pods_in(namespace: &str) -> Query {
    Query::new(Kind::Pod.path(Some(namespace)))
}

async fn pods(
    cluster: &Cluster,
    query: &Query,
    wanted: impl Fn(&Pod) -> bool,
) -> Result<Vec<Pod>, CallError> {
    // A list that starts anew hands out items again: by name, so that each is kept once.
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    cluster
        .list(query, |pod: PodObject| {
            if let Some(pod) = pod.pod().filter(&wanted) {
                pods.insert(pod.name.clone(), pod);
            }
        })
        .await?;
    Ok(pods.into_values().collect())
}

fn now(
    key: &StampKey,
    workload: &str,
    secret: &wire::Secret,
    keys: &Keys,
    written: Option<Timestamp>,
) -> Now {
    let data = secret
        .data
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()));
    let empty = data
        .clone()
        .filter(|(_, value)| value.is_empty())
        .map(|(name, _)| name.to_owned());
    Now {
        empty: empty.collect(),
        prints: key.prints(workload, &secret.metadata.name, keys, data),
        written,
    }
}

/// The last time that is noted beside any of its fields; without such notes nobody knows.
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

fn unreadable(name: &str, by: &[usize], error: &CallError, subjects: &mut [Subject]) {
    for &index in by {
        let concern = subjects
            .get_mut(index)
            .and_then(|subject| subject.secrets.get_mut(name));
        if let Some(concern) = concern {
            concern.view = View::Unreadable(error.why().to_owned());
        }
    }
}
