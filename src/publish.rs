//! `publish`: from the files of a repository to a provider. This file is the way of a publication: read, name, look, plan,
//! write.

mod apply;
pub mod document;
mod fault;
mod follow;
pub mod from_smc;
mod hold;
mod keys;
#[cfg(any(test, not(feature = "sops")))]
mod no_sops;
mod places;
mod program;
mod read;
mod sheet;
#[cfg(feature = "sops")]
mod sops;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cluster::Cluster;
use pace::Clock;
use providers::RateLimiter;
use publish::{
    Creation, MarkKey, Wanted,
    plan::{Ceilings, Entry, Item, Plan, Prune, PruneMode, Rules},
};
use sandbox::Sandbox;
use secret::RunKey;
use zeroize::Zeroizing;

#[cfg(not(feature = "sops"))]
use self::no_sops as sops;
use self::{
    apply::Applier,
    document::{
        DocumentFault, DocumentPublished, DocumentPublishedSecret, PublishDocument, PublishKind,
        exit_of,
    },
    hold::{AllKnown, Facts, Look, look},
    keys::Keys,
    places::{Connector, Place},
    program::kustomize::Build,
    sops::Decryption,
    source::{History, Opened, Opener},
};
pub use self::{
    apply::Done, document::OUTCOMES, fault::Fault, follow::Followed, program::Programs,
    sops::reasons as reasons_of_sops,
};
use crate::{
    exit::Exit,
    foreign,
    pattern::Wildcard,
    policy::{
        KeyFrom, Policy,
        publish::{Publish, PublishItem},
    },
    random,
    readers::Readers,
    report::Run,
    stop::Stop,
};

/// What a publication needs from outside.
pub struct Job<'a> {
    pub policy: &'a Policy,
    pub publish: &'a Publish,
    /// None without a cluster.
    pub cluster: Option<&'a Cluster>,
    /// The embedded cluster, if it is used.
    pub sandbox: Option<&'a Sandbox>,
    /// The job's own namespace.
    pub namespace: Option<&'a str>,
    pub environment: &'a BTreeMap<String, String>,
    pub ceilings: Ceilings,
    /// The sources that flags permit. None: all, and artifacts from any address.
    pub sources: Option<&'a [Wildcard]>,
    /// The programs that flags name.
    pub programs: &'a Programs,
    /// True to read also the values that marks call unchanged.
    pub verify: bool,
    /// The ExternalSecrets of the cluster, if they are known: nothing that they read is deleted.
    pub readers: Option<&'a Readers>,
    pub clock: Clock,
}

/// A publication before anything is written.
pub struct Prepared {
    items: Vec<Prepare>,
    facts: Facts,
    places: Vec<Place>,
    known: AllKnown,
    run_key: RunKey,
    plan: Plan,
}

/// One item, as far as it was read.
struct Prepare {
    /// The index in the policy.
    at: usize,
    repository: String,
    revision: String,
    history: Option<History>,
    creation: Creation,
    faults: Vec<Fault>,
    /// The index in the plan; None if its place is not known.
    planned: Option<usize>,
}

impl Prepare {
    fn new(at: usize, item: &PublishItem) -> Self {
        Self {
            at,
            repository: String::new(),
            revision: String::new(),
            history: None,
            creation: Creation::from(&item.create),
            faults: Vec::new(),
            planned: None,
        }
    }
}

/// The plan. It is made again only if a revision that would be overwritten is newer.
async fn plan_of(items: &[Prepare], facts: &mut Facts, known: &AllKnown) -> Plan {
    let plan = publish::plan::plan(&facts.input(known));
    facts.newer = newer(items, &plan, known).await;
    if facts.newer.is_empty() {
        plan
    } else {
        publish::plan::plan(&facts.input(known))
    }
}

/// So many published revisions are compared with the one to publish. Each costs a call.
const MOST_COMPARED: usize = 20;

/// The published revisions that come after the one to publish, of the secrets that would be overwritten.
async fn newer(items: &[Prepare], plan: &Plan, known: &AllKnown) -> BTreeSet<String> {
    let mut compared = BTreeSet::new();
    let mut newer = BTreeSet::new();
    for entry in &plan.entries {
        let of_entry = |prepare: &&Prepare| prepare.planned == Some(entry.item);
        let prepare = items.iter().find(of_entry);
        let provenance = known
            .get(&entry.key)
            .and_then(|it| it.held.provenance.as_deref());
        let published = provenance.and_then(publish::revision);
        let (Some(prepare), Some(published)) = (prepare, published) else {
            continue;
        };
        let Some(history) = &prepare.history else {
            continue;
        };
        // The same repository.
        let start = publish::provenance(&prepare.repository, Some(published), "");
        let is_comparable = entry.step.action.writes_value()
            && published != prepare.revision
            && provenance.is_some_and(|it| it.starts_with(&start))
            && compared.len() < MOST_COMPARED
            && compared.insert((prepare.at, published.to_owned()));
        if is_comparable && history.is_before(published).await {
            newer.insert(published.to_owned());
        }
    }
    newer
}

/// The place of an item. Items with the same target share one connection.
async fn place_of<'p>(
    item: &PublishItem,
    connector: &Connector<'_>,
    places: &'p mut Vec<Place>,
) -> Result<&'p Place, Fault> {
    let target = item.to.to_string();
    let known = places.iter().position(|place| place.store.name == target);
    let at = known.unwrap_or(places.len());
    if known.is_none() {
        let place = connector.connect(&item.to).await?;
        if !place.store.keeps_records {
            tracing::warn!(
                "{}: version 1 of Vault's KV engine keeps neither owners nor versions: nothing prevents that a write replaces what somebody else wrote, and the old value is lost",
                foreign::line(&target)
            );
        }
        places.push(place);
    }
    let place = places.get_mut(at).ok_or_else(Fault::no_cluster)?;
    place.items.insert(item.name.clone());
    if let Some(prefix) = &item.naming.prefix {
        let prefix = format!("{}{prefix}", place.store_prefix);
        place.prefixes.insert(prefix);
    }
    Ok(place)
}

/// Names an item of the policy that does not exist, if there is one.
pub fn unknown_item<'n>(publish: &Publish, only: &'n [String]) -> Option<&'n String> {
    only.iter()
        .find(|name| !publish.items.iter().any(|item| item.name == **name))
}

/// True if the publication may delete something, so that it must know who reads what.
pub fn deletes(publish: &Publish, only: &[String], ceilings: Ceilings) -> bool {
    chosen(publish, only).any(|(_, item)| {
        let prunes = ceilings.prune && item.prune.mode == PruneMode::Prune;
        prunes || (ceilings.destroy && item.versions.keep.is_some())
    })
}

/// True if the publication cannot do without a cluster.
pub fn needs_cluster(publish: &Publish, only: &[String]) -> bool {
    let is_secret = |from: &KeyFrom| matches!(from, KeyFrom::Secret(_));
    let of_item = |item: &PublishItem| {
        item.source.needs_cluster()
            || item.to.store.is_some()
            || item.then.sync
            || item.sops.keys.iter().any(is_secret)
    };
    publish.key.as_ref().is_some_and(is_secret)
        || chosen(publish, only).any(|(_, item)| of_item(item))
}

/// True if a sync follows the publication.
pub fn syncs(publish: &Publish, only: &[String]) -> bool {
    chosen(publish, only).any(|(_, item)| item.then.sync)
}

/// The items to publish, with their index.
fn chosen<'p>(
    publish: &'p Publish,
    only: &'p [String],
) -> impl Iterator<Item = (usize, &'p PublishItem)> {
    let is_chosen = |item: &PublishItem| only.is_empty() || only.contains(&item.name);
    let items = publish.items.iter().enumerate();
    items.filter(move |(_, item)| !item.suspend && is_chosen(item))
}

impl Job<'_> {
    /// Reads, looks and plans. Writes nothing.
    pub async fn prepare(&self, only: &[String]) -> Result<Prepared, Fault> {
        let keys = Keys {
            cluster: self.cluster,
            namespace: self.namespace,
            environment: self.environment,
        };
        let marks = self.marks(&keys).await?;
        let connector = Connector {
            cluster: self.cluster,
            sandbox: self.sandbox,
            policy: self.policy,
            owner: &self.publish.owner,
            clock: self.clock,
            environment: self.environment,
        };
        let (mut items, mut planned, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (at, item) in chosen(self.publish, only) {
            let mut prepare = Prepare::new(at, item);
            match place_of(item, &connector, &mut places).await {
                Ok(place) => {
                    let unsupported = place.unsupported(item, &prepare.creation);
                    prepare.faults.extend(unsupported);
                    if prepare.faults.is_empty() {
                        prepare.planned = Some(planned.len());
                        planned.push(self.item(item, &keys, place, &mut prepare).await);
                    }
                }
                Err(fault) => prepare.faults.push(fault),
            }
            items.push(prepare);
        }
        remove_unpublishable(&mut planned, &mut items);
        let mut facts = self.facts(planned, marks);
        let run_key = RunKey::from_bytes(*random()?);
        let how = Look {
            places: &places,
            run_key: &run_key,
            verify: self.verify,
            readers: self.readers,
        };
        let known = look(how, &mut facts).await;
        let plan = plan_of(&items, &mut facts, &known).await;
        Ok(Prepared {
            items,
            facts,
            places,
            known,
            run_key,
            plan,
        })
    }

    /// What is known before the providers are asked.
    fn facts(&self, items: Vec<Item>, marks: MarkKey) -> Facts {
        let all = self.publish.items.iter();
        Facts {
            items,
            names: all.map(|item| item.name.clone()).collect(),
            marks,
            binds_marks: self.publish.key.is_some(),
            reads: None,
            newer: BTreeSet::new(),
            now: self.clock.now(),
            ceilings: self.ceilings,
        }
    }

    /// The key of the marks.
    async fn marks(&self, keys: &Keys<'_>) -> Result<MarkKey, Fault> {
        match &self.publish.key {
            Some(from) => keys.marks(from).await,
            // Without a key, a mark is good for this run only.
            None => Ok(MarkKey::from_bytes(*random()?)),
        }
    }

    /// Reads one item. What fails is a fault of the item.
    async fn item(
        &self,
        item: &PublishItem,
        keys: &Keys<'_>,
        place: &Place,
        prepare: &mut Prepare,
    ) -> Item {
        let mut wanted = Vec::new();
        match self.wanted(item, keys, place).await {
            Ok((files, read)) => {
                wanted = read.wanted;
                prepare.faults.extend(read.faults);
                prepare.repository = files.repository;
                prepare.revision = files.revision;
                prepare.history = files.history;
            }
            Err(fault) => prepare.faults.push(fault),
        }
        Item {
            name: item.name.clone(),
            store: Arc::clone(&place.store),
            rules: rules(item),
            wanted,
            source_is_whole: prepare.faults.is_empty(),
        }
    }

    async fn wanted(
        &self,
        item: &PublishItem,
        keys: &Keys<'_>,
        place: &Place,
    ) -> Result<(Opened, read::Read), Fault> {
        let Programs { kustomize, sops } = self.programs;
        let mut decryption = Decryption::of(&item.sops, sops.as_deref(), keys).await?;
        let real_kustomize = kustomize.as_ref().zip(item.read.kustomize.as_ref());
        let opener = Opener {
            cluster: self.cluster,
            keys,
            github_sha: self.environment.get("GITHUB_SHA").map(|sha| &**sha),
            permitted: self.sources,
        };
        let is_needed = |path: &str| read::is_needed(&item.read, path);
        let files = opener.open(&item.source, &is_needed).await?;
        let mut build = Build::default();
        loop {
            let builder = real_kustomize.map(|_| &build);
            let read = read::read(item, &files, (&decryption, builder), place);
            if !decryption.is_asked_for() && !build.is_asked_for() {
                return Ok((files, read));
            }
            // Each file and program is asked for once, so this ends.
            if decryption.is_asked_for() {
                let ambient = places::ambient(self.policy, self.environment);
                Box::pin(decryption.ask(&files.tree, &ambient, self.clock)).await;
            }
            if let Some((program, kustomize)) = real_kustomize {
                Box::pin(build.run(program, &files.tree, &kustomize.path)).await;
            }
        }
    }
}

fn rules(item: &PublishItem) -> Rules {
    Rules {
        when: item.write.when,
        adopt: item.write.adopt,
        on_foreign_change: item.write.on_foreign_change,
        prune: Prune {
            mode: item.prune.mode,
            after: jiff::SignedDuration::try_from(item.prune.after)
                .unwrap_or(jiff::SignedDuration::MAX),
            max: item.prune.max.get().try_into().unwrap_or(usize::MAX),
        },
        keep: item
            .versions
            .keep
            .map(|keep| keep.get().try_into().unwrap_or(usize::MAX)),
        allow_empty: item.sops.allow_empty,
    }
}

/// Checks sizes and collisions over all items. What a provider would refuse is not sent.
fn remove_unpublishable(planned: &mut [Item], items: &mut [Prepare]) {
    let problems = publish::name::check(planned.iter().flat_map(|item| &item.wanted));
    for problem in problems {
        let Some(at) = planned
            .iter()
            .position(|item| item.name == problem.origin.item)
        else {
            continue;
        };
        let prepare = items.iter_mut().find(|prepare| prepare.planned == Some(at));
        let (Some(item), Some(prepare)) = (planned.get_mut(at), prepare) else {
            continue;
        };
        item.source_is_whole = false;
        // An empty value that is not accepted was reported already, and stops the item.
        let stops =
            |wanted: &Wanted| wanted.origin == problem.origin && wanted.value.expose().is_empty();
        if !item.rules.allow_empty && item.wanted.iter().any(stops) {
            continue;
        }
        // The plan stops the item of a collision as a whole.
        if problem.reason != publish::name::Unpublishable::Collision {
            item.wanted.retain(|wanted| wanted.origin != problem.origin);
        }
        prepare.faults.push(Fault {
            reason: problem.reason.into_str(),
            message: problem.to_string(),
            file: Some(problem.origin.file.clone()),
            key: Some(problem.origin.key.clone()),
        });
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, Fault> {
    random::key().map_err(|_| Fault::new("no-randomness", "the system has no random numbers"))
}

impl Prepared {
    /// The number of secrets that the plan changes.
    pub fn writes(&self) -> usize {
        let changes = |entry: &&Entry| entry.step.action.is_write() || !entry.destroy.is_empty();
        self.plan.entries.iter().filter(changes).count()
    }

    /// Writes what is planned. The results are in the order of the plan.
    pub async fn carry_out(&self, stop: &Stop) -> Vec<Done> {
        let planned = self.items.iter().filter(|item| item.planned.is_some());
        let items: Vec<&Prepare> = planned.collect();
        let applier = Applier {
            places: &self.places,
            facts: &self.facts,
            known: &self.known,
            items: &items,
            stop,
        };
        applier.apply(&self.plan, &self.run_key).await
    }

    /// The document and the exit code. Without `done` it is the document of a plan.
    pub fn document(
        &self,
        publish: &Publish,
        (kind, mut run): (PublishKind, Run),
        done: Option<&[Done]>,
        differs: bool,
    ) -> (PublishDocument, Exit) {
        let mut items: Vec<DocumentPublished> = Vec::new();
        for prepare in &self.items {
            let Some(policy) = publish.items.get(prepare.at) else {
                continue;
            };
            let item = prepare.planned.and_then(|at| self.facts.items.get(at));
            let entries = self.plan.entries.iter().enumerate();
            let secrets = entries
                .filter(|(_, entry)| Some(entry.item) == prepare.planned)
                .filter_map(|(at, entry)| {
                    let done = done.and_then(|done| done.get(at));
                    Some(DocumentPublishedSecret::new(entry, item?, done))
                });
            let known = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Into::into);
            items.push(DocumentPublished {
                repository: known(&prepare.repository),
                revision: known(&prepare.revision),
                secrets: secrets.collect(),
                faults: prepare.faults.iter().map(DocumentFault::from).collect(),
                ..listed(policy)
            });
        }
        let faults = self.items.iter().map(|item| item.faults.len()).sum();
        let exit = exit_of(&self.plan, done, faults, differs);
        run.exit_code = exit.code();
        run.complete = done.is_none_or(|done| !done.contains(&Done::NotReached));
        let limiters = || self.places.iter().flat_map(|it| [&it.reads, &it.writes]);
        let calls = limiters().map(RateLimiter::calls).sum();
        let mut document = PublishDocument::new(kind, run, items, calls);
        document.summary.throttles = limiters().map(RateLimiter::throttles).sum();
        (document, exit)
    }
}

/// The document of `publish list`.
pub fn list(publish: &Publish, only: &[String], run: Run) -> PublishDocument {
    let is_chosen = |item: &&PublishItem| only.is_empty() || only.contains(&item.name);
    let items = publish.items.iter().filter(is_chosen).map(listed).collect();
    PublishDocument::new(PublishKind::PublishList, run, items, 0)
}

fn listed(item: &PublishItem) -> DocumentPublished {
    DocumentPublished {
        name: item.name.as_str().into(),
        source: item.source.to_string().into(),
        target: item.to.to_string().into(),
        repository: None,
        revision: None,
        suspended: item.suspend,
        secrets: Vec::new(),
        faults: Vec::new(),
    }
}
