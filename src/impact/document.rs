//! The document that `impact -o json|yaml` prints.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::{
    Id,
    expected::What,
    remote::{Certainty, Why},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    affected::{Affected, Way},
    keys::{MoreSecretKeys, SecretKeys, secret_keys},
};
use crate::{
    consumers::{Consumer, Consumers},
    foreign::Foreign,
    inventory::{ExternalSecret, Gap, Inventory, State},
    plan::{Action, Item, Plan},
    policy::KeyNames,
    reason::Reason,
    report::{
        API_VERSION, DocumentAction, DocumentGap, DocumentStore, RestartAction, Run, SyncWindow,
    },
    restart::{decide, plan::Step, workloads::Workloads},
    workload::{self, WorkloadId},
};

/// What a change would reach.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// `Impact`
    pub kind: &'static str,
    /// The run that printed the document.
    pub run: Run,
    pub asked: Asked,
    /// The keys, Secrets or stores that may have been meant, if nothing was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub similar: Vec<Foreign>,
    pub summary: ImpactSummary,
    /// The ExternalSecrets that use the keys, sorted by namespace and name.
    pub items: Vec<ImpactItem>,
    /// The workloads that use their Secrets, sorted by namespace, kind and name.
    pub workloads: Vec<ImpactWorkload>,
    /// Resources that could not be read. What they would add is missing.
    pub gaps: Vec<DocumentGap>,
    /// Warnings for people.
    pub warnings: Vec<Foreign>,
}

/// What the command asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The remote keys. An ExternalSecret that uses one of them is listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub keys: Vec<Foreign>,
    /// The target Secret, as `NAMESPACE/NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Foreign>,
    /// The store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Foreign>,
    /// The namespace; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Foreign>,
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImpactSummary {
    /// The number of ExternalSecrets.
    pub external_secrets: usize,
    /// How many of them only may use a key.
    pub uncertain: usize,
    /// How many of them a run would sync.
    pub to_sync: usize,
    /// The number of target Secrets.
    pub secrets: usize,
    /// The number of workloads.
    pub workloads: usize,
    /// How many of them a run would restart, now or when their data changes.
    pub to_restart: usize,
    /// The number of ExternalSecrets that are not synced and workloads that are not restarted, by reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// The safety limit that would refuse a run over these ExternalSecrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// One ExternalSecret.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImpactItem {
    pub namespace: Foreign,
    /// The name of the ExternalSecret.
    pub name: Foreign,
    /// How the change reaches it.
    pub certainty: UseCertainty,
    /// What it reads of the keys.
    pub uses: Vec<ImpactUse>,
    /// The Secrets in its template that other ExternalSecrets of this document write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub templates: Vec<Foreign>,
    /// The kinds of the generators that it uses. A sync creates new credentials there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub generators: Vec<Foreign>,
    /// The target Secret in its namespace; absent if it writes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Foreign>,
    /// The keys of the target Secret that come from the remote keys, sorted. In doubt, a key is among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub secret_keys: Vec<Foreign>,
    /// Where further keys of the target Secret come from. Their names are not known without reading values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub more_secret_keys: Vec<MoreSecretKeys>,
    /// The state by its status; absent if the policy does not select it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// What a run would do.
    pub action: DocumentAction,
    /// The reason for the action.
    pub reason: Reason,
    /// Details for people.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    #[schemars(default)]
    pub message: Foreign,
    /// The next step for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<&'static str>,
    /// The state of `spec.syncWindows`; absent without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_window: Option<SyncWindow>,
}

/// How certain it is that a change reaches an ExternalSecret.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum UseCertainty {
    /// It reads a key with this name.
    Uses,
    /// It may use the key: by a search, or because its store is unknown.
    MayUse,
    /// Its template uses the Secret of another affected ExternalSecret.
    ByTemplate,
}

/// One read of an ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImpactUse {
    pub store: DocumentStore,
    /// The provider of the store; absent if the store could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The key as in the spec; absent for a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Foreign>,
    /// The version that the spec asks for. A new value does not reach an ExternalSecret that asks for an old version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Foreign>,
    /// The search as text; absent for a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Foreign>,
    pub certainty: UseCertainty,
    /// Why it only may use the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImpactWorkload {
    /// The namespace of the workload.
    pub namespace: Foreign,
    /// The kind of the workload.
    pub kind: workload::Kind,
    /// The name of the workload.
    pub name: Foreign,
    /// Those of the target Secrets that it uses.
    pub secrets: Vec<Foreign>,
    /// What a run would do after the sync.
    pub action: RestartAction,
    /// The reason for the action.
    pub reason: Reason,
    /// Details for people.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    #[schemars(default)]
    pub message: Foreign,
    /// The next step for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<&'static str>,
    /// The index of the `restart` rule that covers it, from 0; absent if none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// The wave of the rule in which it is restarted, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
}

/// Everything that a document is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub asked: &'a Asked,
    pub inventory: &'a Inventory,
    pub affected: &'a Affected,
    /// The key names that may be shown.
    pub key_names: KeyNames,
    /// The plan for the affected ExternalSecrets that the policy selects.
    pub plan: &'a Plan,
    /// The workloads that the plan is based on.
    pub workloads: &'a Workloads,
    pub consumers: &'a Consumers,
}

/// Makes the document.
pub fn document(facts: Facts<'_>, run: Run) -> Impact {
    let items = items(facts);
    let workloads = workloads(facts);
    let summary = summary(facts, &items, &workloads);
    let mut gaps: Vec<DocumentGap> = facts.affected.unknown.iter().map(unknown).collect();
    let of_plan = facts.plan.gaps.iter().chain(&facts.plan.restarts.gaps);
    for gap in of_plan.chain(&facts.consumers.gaps) {
        let gap = DocumentGap::from(gap);
        if !gaps.contains(&gap) {
            gaps.push(gap);
        }
    }
    let warnings = facts.plan.restarts.warnings.iter();
    Impact {
        api_version: API_VERSION,
        kind: "Impact",
        run,
        asked: facts.asked.clone(),
        similar: facts.affected.similar.iter().map(Into::into).collect(),
        summary,
        items,
        workloads,
        gaps,
        warnings: warnings.map(Foreign::from).collect(),
    }
}

fn unknown((id, why): (&Id, &String)) -> DocumentGap {
    DocumentGap::from(&Gap {
        what: format!("externalsecrets/{}", id.name),
        namespace: Some(id.namespace.clone()),
        why: format!("{why}, so it is unknown which keys it uses"),
    })
}

fn items(facts: Facts<'_>) -> Vec<ImpactItem> {
    let planned: BTreeMap<&Id, &Item> = facts
        .plan
        .items
        .iter()
        .map(|item| (&item.id, item))
        .collect();
    let affected = facts.inventory.external_secrets.iter();
    affected
        .filter_map(|one| Some((one, facts.affected.of.get(&one.id)?)))
        .map(|(one, ways)| item(facts, one, ways, planned.get(&one.id).copied()))
        .collect()
}

fn item(
    facts: Facts<'_>,
    one: &ExternalSecret,
    ways: &BTreeSet<Way>,
    planned: Option<&Item>,
) -> ImpactItem {
    let (action, reason, message) = match planned.map(|item| &item.action) {
        None => (DocumentAction::Skip, Reason::OutsideSelection, ""),
        Some(Action::Sync { reason, .. }) => (DocumentAction::Sync, *reason, ""),
        Some(Action::Skip { reason, message }) => (DocumentAction::Skip, *reason, &**message),
    };
    let uses: Vec<ImpactUse> = ways
        .iter()
        .filter_map(|way| used(facts.inventory, way))
        .collect();
    let templates: Vec<Foreign> = ways
        .iter()
        .filter_map(|way| match way {
            Way::Template(secret) => Some(secret.into()),
            Way::Read { .. } | Way::Named => None,
        })
        .collect();
    let certainty = uses.iter().map(|used| used.certainty).min();
    let otherwise = if templates.is_empty() {
        UseCertainty::Uses
    } else {
        UseCertainty::ByTemplate
    };
    let generators = one.generators.iter().map(Foreign::from);
    let SecretKeys { names, more } = secret_keys(one, ways, facts.key_names);
    ImpactItem {
        namespace: (&one.id.namespace).into(),
        name: (&one.id.name).into(),
        certainty: certainty.unwrap_or(otherwise),
        uses,
        templates,
        generators: generators.collect(),
        secret: one.target.written.then(|| (&one.secret).into()),
        secret_keys: names,
        more_secret_keys: more,
        state: planned.map(|item| item.state),
        action,
        reason,
        message: message.into(),
        next_step: (action == DocumentAction::Skip)
            .then(|| reason.next_step())
            .flatten(),
        sync_window: planned.and_then(|item| item.window).map(SyncWindow::from),
    }
}

fn used(inventory: &Inventory, way: &Way) -> Option<ImpactUse> {
    let Way::Read {
        store,
        what,
        certainty,
    } = way
    else {
        return None;
    };
    let (certainty, why) = match certainty {
        Certainty::Uses => (UseCertainty::Uses, None),
        Certainty::MayUse(why) => (UseCertainty::MayUse, Some(explained(*why))),
    };
    let (mut key, mut version, mut search) = (None, None, None);
    match what {
        What::Secret {
            key: of,
            version: asked,
            ..
        } => {
            key = Some(of.into());
            version = (!asked.is_empty()).then(|| asked.into());
        }
        What::Find { path, name, tags } => {
            let path = path.iter().map(|path| format!("path {path}"));
            let name = name.iter().map(|name| format!("name {name}"));
            let tags = tags.iter().flatten();
            let tags = tags.map(|(name, value)| format!("tag {name}={value}"));
            let parts: Vec<String> = path.chain(name).chain(tags).collect();
            search = Some(format!("find {}", parts.join(", ")).into());
        }
    }
    let provider = inventory.store(store);
    Some(ImpactUse {
        store: DocumentStore {
            kind: store.kind(),
            name: store.name().into(),
        },
        provider: provider.map(|store| store.provider.to_string()),
        key,
        version,
        search,
        certainty,
        why,
    })
}

const fn explained(why: Why) -> &'static str {
    match why {
        Why::Name => "its search finds keys with this name",
        Why::Tags => "its search is by tags, which the name does not show",
        Why::Regexp => "the regular expression of its search cannot be evaluated",
        Why::Search => "the searches of this provider are not known",
        Why::Store => "its store could not be read, so the prefix of its keys is unknown",
    }
}

fn workloads(facts: Facts<'_>) -> Vec<ImpactWorkload> {
    let written = facts.inventory.external_secrets.iter();
    let written = written.filter(|one| facts.affected.of.contains_key(&one.id));
    let secrets: BTreeSet<Id> = written
        .filter(|one| one.target.written)
        .map(ExternalSecret::secret_id)
        .collect();
    let is_affected = |namespace: &str, name: &str| {
        secrets.contains(&Id {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    };
    let mut found: BTreeMap<&WorkloadId, ImpactWorkload> = BTreeMap::new();
    let subjects = facts.workloads.by_id();
    for step in &facts.plan.restarts.steps {
        let Some(subject) = subjects.get(&step.id) else {
            continue;
        };
        let mut used: BTreeSet<&String> = subject
            .secrets
            .keys()
            .filter(|name| is_affected(&step.id.namespace, name))
            .collect();
        let consumer = facts.consumers.of.get(&step.id);
        used.extend(consumer.into_iter().flat_map(|consumer| &consumer.secrets));
        if !used.is_empty() {
            let used = used.into_iter().map(Foreign::from).collect();
            found.insert(&step.id, covered(step, used));
        }
    }
    for (id, consumer) in &facts.consumers.of {
        found
            .entry(id)
            .or_insert_with(|| uncovered(facts, id, consumer));
    }
    found.into_values().collect()
}

fn covered(step: &Step, secrets: Vec<Foreign>) -> ImpactWorkload {
    let decision = &step.decision;
    let action = match decision.action {
        decide::Action::Restart => RestartAction::Restart,
        decide::Action::IfChanged => RestartAction::RestartIfChanged,
        decide::Action::Leave => RestartAction::Leave,
    };
    ImpactWorkload {
        namespace: (&step.id.namespace).into(),
        kind: step.id.kind,
        name: (&step.id.name).into(),
        secrets,
        action,
        reason: decision.reason,
        message: (&decision.message).into(),
        next_step: (action == RestartAction::Leave)
            .then(|| decision.reason.next_step())
            .flatten(),
        rule: Some(step.rule),
        wave: step.wave,
    }
}

/// A workload that the plan says nothing about: another tool restarts it, the run changes none of its Secrets, or no rule covers it.
fn uncovered(facts: Facts<'_>, id: &WorkloadId, consumer: &Consumer) -> ImpactWorkload {
    let targets: BTreeSet<&Id> = facts.workloads.targets.ids().collect();
    let is_target = |name: &String| {
        targets.contains(&Id {
            namespace: id.namespace.clone(),
            name: name.clone(),
        })
    };
    let without_rules = facts.workloads.stamps.is_none();
    let reason = if let Some(tool) = consumer.left_to {
        tool
    } else if without_rules || consumer.secrets.iter().any(is_target) {
        Reason::NoRule
    } else {
        Reason::OutsideSelection
    };
    ImpactWorkload {
        namespace: (&id.namespace).into(),
        kind: id.kind,
        name: (&id.name).into(),
        secrets: consumer.secrets.iter().map(Foreign::from).collect(),
        action: RestartAction::Leave,
        reason,
        message: Foreign::default(),
        next_step: reason.next_step(),
        rule: None,
        wave: None,
    }
}

fn summary(facts: Facts<'_>, items: &[ImpactItem], workloads: &[ImpactWorkload]) -> ImpactSummary {
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let skipped = items
        .iter()
        .filter(|item| item.action == DocumentAction::Skip);
    let left = workloads
        .iter()
        .filter(|one| one.action == RestartAction::Leave);
    let not_done = skipped
        .map(|item| item.reason)
        .chain(left.map(|one| one.reason));
    for reason in not_done {
        *reasons.entry(reason).or_default() += 1;
    }
    let secrets: BTreeSet<(&Foreign, &Foreign)> = items
        .iter()
        .filter_map(|item| Some((&item.namespace, item.secret.as_ref()?)))
        .collect();
    let refused: Vec<String> = facts
        .plan
        .exceeded
        .iter()
        .map(ToString::to_string)
        .collect();
    let count = |is: fn(&&ImpactItem) -> bool| items.iter().filter(is).count();
    ImpactSummary {
        external_secrets: items.len(),
        uncertain: count(|item| item.certainty == UseCertainty::MayUse),
        to_sync: count(|item| item.action == DocumentAction::Sync),
        secrets: secrets.len(),
        workloads: workloads.len(),
        to_restart: workloads
            .iter()
            .filter(|one| one.action != RestartAction::Leave)
            .count(),
        reasons,
        refused: (!refused.is_empty()).then(|| refused.join("; ")),
    }
}

impl Impact {
    /// Sets the exit code of the command.
    #[must_use]
    pub fn ending(mut self, exit: crate::exit::Exit) -> Self {
        self.run.exit_code = exit.code();
        self
    }
}
