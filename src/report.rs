//! What a command tells: one document, printed as data or as text. Its shape is versioned; fields are only ever added.

mod chain;
mod drift;
mod price;
mod restarts;
mod table;
mod termination;
pub mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

pub use self::chain::{Link, LinkKind};
pub use self::drift::{DocumentKey, DocumentVerifiable};
pub use self::restarts::{
    DocumentRestart, DocumentSecret, DocumentSecretKey, RestartAction, RestartSummary, StampAction,
    took,
};
pub use self::table::{Column, items_table};
pub use self::termination::summary as termination_summary;
use eso_model::StoreKind;

use crate::{
    exit::Exit,
    finding::Verdict,
    inventory::{Gap, State},
    outcome::{ItemResult, Outcome, SecretChange},
    plan::{Action, Item, Plan},
    policy::OnStillStale,
    reason::Reason,
    results::Results,
};

/// The version of the shape.
pub const API_VERSION: &str = "eso-sync/v1";

/// What `-o json|yaml` prints.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Which run it was.
    pub run: Run,
    /// Counts.
    pub summary: Summary,
    /// Every selected ExternalSecret once, by namespace and name.
    pub items: Vec<DocumentItem>,
    /// Every workload that a rule of `restart` covers, by namespace, kind and name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub restarts: Vec<DocumentRestart>,
    /// From the provider to the pods, link by link; only of `sync --restart`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub chain: Vec<Link>,
    /// What could not be seen, and is therefore missing from `items`.
    pub gaps: Vec<DocumentGap>,
    /// Stores whose provider could not be read, each with the reason; what reads from them is unverifiable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub unread: Vec<DocumentGap>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Kind {
    /// What would be done.
    Plan,
    /// What was done.
    Report,
    /// What differs.
    Drift,
    /// What there is.
    Status,
}

/// Which run it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Unique to the run; the annotations that it wrote begin with it.
    pub id: String,
    /// The version of eso-sync.
    pub version: &'static str,
    /// The kubeconfig's context; absent in a Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The API server's address.
    pub server: String,
    /// A digest of the policy with all its defaults; absent for ad hoc commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<String>,
    /// When it began (RFC 3339).
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// When it ended.
    #[schemars(with = "String")]
    pub finished: Timestamp,
    /// Whether it reached everything that it had planned.
    pub complete: bool,
    /// The exit code.
    pub exit_code: u8,
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// ExternalSecrets that were selected.
    pub selected: usize,
    /// How many of them are, or would be, synced.
    pub to_sync: usize,
    /// How many of them are left alone.
    pub skipped: usize,
    /// By outcome, once something was done.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// Skipped, failed, unproven and not reached, by reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// By verdict of the drift check; in a report, as it is after the run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub verdicts: BTreeMap<Verdict, usize>,
    /// Of how many the drift check can tell, by store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub verifiable: Vec<DocumentVerifiable>,
    /// Calls that the drift check made to providers, by what shares a quota.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub reads: BTreeMap<String, u64>,
    /// What `reads` and `calls` cost together by the providers' list prices, about, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about_usd: Option<f64>,
    /// Requests to the Kubernetes API so far.
    pub requests: u64,
    /// Provider calls that the syncs cost, as the specs tell, by what shares a quota.
    pub calls: BTreeMap<String, u64>,
    /// Workloads, where a rule of `restart` covers any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<RestartSummary>,
    /// How long the syncs take, about, in seconds.
    pub estimate_seconds: u64,
    /// The limit that refused the run, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why the run ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Reason>,
}

/// One ExternalSecret.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentItem {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The store of its spec; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<DocumentStore>,
    /// The provider of that store, as the store's spec names it; `-` where unknown.
    pub provider: String,
    /// What its status said before.
    pub state: State,
    /// Whether it is synced.
    pub action: DocumentAction,
    /// What the drift check says; in a report, after the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why it cannot be told: a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<&'static str>,
    /// The right that is missing at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
    /// The keys that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub keys: Vec<DocumentKey>,
    /// What is done, if its Secret is still stale after a proven sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_still_stale: Option<OnStillStale>,
    /// What became of it; absent in a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<&'static str>,
    /// When the last successful sync before the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub previous_sync: Option<Timestamp>,
    /// When the sync that the run proved began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub current_sync: Option<Timestamp>,
    /// How long before the plan the last successful sync was, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Provider calls that its sync costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
    /// How often it was annotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// From the first annotation to the answer, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<f64>,
    /// Whether the target Secret changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChange>,
    /// The reason of the Ready condition that it had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_reason: Option<String>,
}

/// A store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentStore {
    /// Its kind.
    pub kind: StoreKind,
    /// Its name.
    pub name: String,
}

/// Whether an item is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentAction {
    /// It is.
    Sync,
    /// It is not.
    Skip,
}

/// Something that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentGap {
    /// What was asked for.
    pub what: String,
    /// In which namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Why it could not be had.
    pub why: String,
}

/// What a document needs beside plan and results.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The run; `finished`, `complete` and `exit_code` are filled in.
    pub run: Run,
    /// Requests to the Kubernetes API so far.
    pub requests: u64,
}

impl Document {
    /// What would be done, or what there is.
    pub fn of_plan(kind: Kind, plan: &Plan, heading: Heading, exit: Exit) -> Self {
        let items = plan
            .items
            .iter()
            .map(|item| DocumentItem::new(item, None))
            .collect();
        Self::new(kind, plan, items, heading, exit).with_restarts(&plan.restarts, None)
    }

    /// The same without ExternalSecrets, where workloads are all that was asked for.
    #[must_use]
    pub fn without_items(mut self) -> Self {
        self.items.clear();
        self
    }

    /// What was done.
    pub fn of_results(plan: &Plan, results: &Results, heading: Heading, exit: Exit) -> Self {
        let items: Vec<DocumentItem> = plan
            .items
            .entries()
            .map(|(at, item)| {
                let document = DocumentItem::new(item, results.items.get(&at)).done();
                match results.checked.get(&at) {
                    Some(finding) => document.found(finding),
                    None => document.forgetting_if_synced(),
                }
            })
            .collect();
        let mut document = Self::new(Kind::Report, plan, items, heading, exit);
        document.summary.stopped = results.stopped();
        for (quota, calls) in results.reads.iter().filter(|(_, calls)| **calls > 0) {
            document.summary.reads.insert(quota.to_string(), *calls);
        }
        // Where nothing was synced, what the plan has read is all.
        if !results.reads.is_empty() {
            document.summary.about_usd = price::about(plan, &results.reads);
        }
        document.run.complete = results.stopped().is_none();
        if let Some(why) = &results.deaf {
            document.warnings.push(format!(
                "Events could not be watched, so a failure that repeats itself was only seen as a time-out: {why}"
            ));
        }
        document.with_restarts(&plan.restarts, Some(&results.restarts))
    }

    fn new(
        kind: Kind,
        plan: &Plan,
        items: Vec<DocumentItem>,
        heading: Heading,
        exit: Exit,
    ) -> Self {
        let mut run = heading.run;
        run.exit_code = exit.code();
        let mut summary = Summary {
            selected: items.len(),
            to_sync: plan.syncs(),
            skipped: items
                .iter()
                .filter(|item| item.action == DocumentAction::Skip)
                .count(),
            requests: heading.requests,
            calls: plan
                .calls()
                .into_iter()
                .map(|(quota, calls)| (quota.to_string(), calls))
                .collect(),
            estimate_seconds: plan.estimate.as_secs(),
            refused: refused(plan),
            ..Summary::default()
        };
        for item in &items {
            if let Some(outcome) = item.outcome {
                *summary.outcomes.entry(outcome).or_default() += 1;
            }
            let synced = item.outcome == Some(Outcome::Synced)
                || (item.outcome.is_none() && item.action == DocumentAction::Sync);
            if let (Some(reason), false) = (item.reason, synced) {
                *summary.reasons.entry(reason).or_default() += 1;
            }
        }
        drift::summarize(&mut summary, plan, &items);
        let gaps = plan.gaps.iter().map(DocumentGap::from).collect();
        Self {
            api_version: API_VERSION,
            kind,
            run,
            summary,
            items,
            restarts: Vec::new(),
            chain: Vec::new(),
            gaps,
            unread: drift::unread(plan),
            warnings: plan.warnings.clone(),
        }
    }
}

impl DocumentItem {
    fn new(item: &Item, result: Option<&ItemResult>) -> Self {
        let (action, reason, message, cost) = match &item.action {
            Action::Sync { reason, cost } => (DocumentAction::Sync, *reason, "", Some(*cost)),
            Action::Skip { reason, message } => (DocumentAction::Skip, *reason, &**message, None),
        };
        let mut document = Self {
            namespace: item.id.namespace.clone(),
            name: item.id.name.clone(),
            store: item.store.as_ref().map(|store| DocumentStore {
                kind: store.kind(),
                name: store.name().to_owned(),
            }),
            provider: item.provider.clone(),
            state: item.state,
            action,
            verdict: None,
            unverifiable: None,
            permission: None,
            keys: Vec::new(),
            if_still_stale: item.if_still_stale,
            outcome: None,
            reason: Some(reason),
            message: message.to_owned(),
            next_step: (action == DocumentAction::Skip)
                .then(|| reason.next_step())
                .flatten(),
            previous_sync: item.refreshed,
            current_sync: None,
            age_seconds: item.age.map(|age| age.as_secs()),
            cost,
            attempts: None,
            took_seconds: None,
            secret: None,
            ready_reason: item.ready.as_ref().map(|ready| ready.reason.clone()),
        };
        if let Some(finding) = &item.finding {
            document = document.found(finding);
            if action == DocumentAction::Sync {
                document.message.clone_from(&finding.message);
            }
        }
        if let Some(result) = result {
            document.outcome = Some(result.outcome);
            document.reason = result.reason.or(document.reason);
            document.message.clone_from(&result.message);
            document.next_step = result.reason.and_then(Reason::next_step);
            document.current_sync = result.synced_at;
            document.attempts = Some(result.attempts);
            document.took_seconds = Some((result.took.as_secs_f64() * 1000.0).round() / 1000.0);
            document.secret = (result.outcome == Outcome::Synced).then_some(result.secret);
        }
        document
    }

    /// In a report a skipped one has an outcome too.
    fn done(mut self) -> Self {
        let without_result = match self.action {
            DocumentAction::Skip => Outcome::Skipped,
            DocumentAction::Sync => Outcome::NotReached,
        };
        self.outcome.get_or_insert(without_result);
        self
    }
}

impl From<&Gap> for DocumentGap {
    fn from(gap: &Gap) -> Self {
        Self {
            what: gap.what.clone(),
            namespace: gap.namespace.clone(),
            why: gap.why.clone(),
        }
    }
}

/// The limits that a plan passes, in one line.
fn refused(plan: &Plan) -> Option<String> {
    let limits: Vec<String> = plan.exceeded.iter().map(ToString::to_string).collect();
    (!limits.is_empty()).then(|| limits.join("; "))
}

/// The JSON Schema of [`Document`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).into()
}

#[cfg(test)]
mod tests;
