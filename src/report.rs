//! The report of a command: one document, printed as JSON, YAML or text. Its shape is versioned; fields are only added.

mod chain;
pub mod changes;
mod drift;
mod failed;
pub mod file;
pub mod format;
mod layout;
pub mod metrics;
pub mod past;
mod price;
mod restarts;
mod rows;
pub mod sheet;
mod table;
mod termination;
pub mod text;
pub mod view;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

pub use self::chain::{Link, LinkKind};
pub use self::drift::{DocumentKey, DocumentVerifiable};
pub use self::failed::{DocumentProblem, FailureDocument};
pub use self::layout::Header;
pub use self::restarts::{
    DocumentOwner, DocumentRestart, DocumentSecret, DocumentSecretKey, RestartAction,
    RestartSummary, StampAction, took,
};
pub use self::table::{Column, fitted};
pub use self::termination::{fitting as termination_message, summary as termination_summary};
use eso_model::{StoreKind, window::Window};

use crate::{
    exit::Exit,
    finding::Verdict,
    foreign::Foreign,
    inventory::{Gap, State},
    outcome::{ItemResult, Outcome, SecretChange},
    plan::{Action, Item, Plan},
    policy::OnStillStale,
    reason::Reason,
    results::Results,
};

/// The version of the document's shape.
pub const API_VERSION: &str = "eso-sync/v1";

/// The document that `-o json|yaml` prints.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// The kind of the document.
    pub kind: Kind,
    /// The run that printed the document.
    pub run: Run,
    /// Counts and totals.
    pub summary: Summary,
    /// Every selected ExternalSecret, sorted by namespace and name, or by the column of `--sort-by`.
    pub items: Vec<DocumentItem>,
    /// Every workload that a `restart` rule covers, sorted by namespace, kind and name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub restarts: Vec<DocumentRestart>,
    /// The links from the provider to the pods: with `sync --restart` and after a publication; for the first 100 ExternalSecrets that
    /// were synced or failed with `sync`, and in a run that restarts workloads; and with `restart` for the first 100 Secrets whose
    /// workloads were restarted or failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub chain: Vec<Link>,
    /// Resources that could not be read, and are missing in `items`.
    pub gaps: Vec<DocumentGap>,
    /// Stores whose provider could not be read. The ExternalSecrets that use them are unverifiable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub unread: Vec<DocumentGap>,
    /// Warnings for people.
    pub warnings: Vec<Foreign>,
}

/// The kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Kind {
    /// The actions that a run would take.
    Plan,
    /// The results of a run.
    Report,
    /// The findings of the drift check.
    Drift,
    /// The state of the ExternalSecrets.
    Status,
}

/// The run that printed a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The unique ID of the run. The annotations that it writes start with it.
    pub id: String,
    /// The version of eso-sync.
    pub version: &'static str,
    /// The context of the kubeconfig; absent in a Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The address of the API server.
    pub server: String,
    /// A digest of the policy with all its defaults; absent for ad hoc commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<String>,
    /// The start time (RFC 3339).
    #[schemars(with = "String")]
    pub started: Timestamp,
    /// The end time (RFC 3339).
    #[schemars(with = "String")]
    pub finished: Timestamp,
    /// True if the run reached every planned item.
    pub complete: bool,
    /// The exit code of the command.
    pub exit_code: u8,
    /// Where people find the report: `report.url` of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_url: Option<String>,
}

/// Counts and totals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The number of selected ExternalSecrets.
    pub selected: usize,
    /// The number of ExternalSecrets to sync.
    pub to_sync: usize,
    /// The number of skipped ExternalSecrets.
    pub skipped: usize,
    /// The number of ExternalSecrets by outcome; only in a report.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// The number of ExternalSecrets that are not synced, by reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// The number of ExternalSecrets by verdict of the drift check; in a report, after the run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub verdicts: BTreeMap<Verdict, usize>,
    /// The number of ExternalSecrets with a verdict, by store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub verifiable: Vec<DocumentVerifiable>,
    /// Provider calls of the drift check, by quota.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub reads: BTreeMap<String, u64>,
    /// How often providers throttled the drift check (HTTP 429, `ThrottlingException`, …), by quota.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub throttles: BTreeMap<String, u64>,
    /// The estimated cost of `reads` and `calls` at list prices, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about_usd: Option<f64>,
    /// Requests to the Kubernetes API.
    pub requests: u64,
    /// Provider calls that the syncs need, computed from the specs, by quota.
    pub calls: BTreeMap<String, u64>,
    /// Counts of workloads; absent if no `restart` rule covers any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<RestartSummary>,
    /// The estimated time of the syncs, in seconds.
    pub estimate_seconds: u64,
    /// The limit that refused the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// How to allow what a limit refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowing: Option<String>,
    /// The namespaces that are left alone, because the run would exceed a limit with them, each with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub left_alone: BTreeMap<String, String>,
    /// The reason if the run ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Reason>,
    /// The namespaces whose syncs ended early because too many failed, each with the number of failures.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub stopped_namespaces: BTreeMap<String, String>,
}

/// One ExternalSecret.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentItem {
    pub namespace: Foreign,
    /// The name of the ExternalSecret.
    pub name: Foreign,
    /// The store of its spec; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<DocumentStore>,
    /// The name of the target Secret.
    #[serde(skip)]
    pub target: Foreign,
    /// The provider of the store, as in the store's spec; `-` if unknown.
    pub provider: Foreign,
    /// The state by its status before the run.
    pub state: State,
    /// The planned action.
    pub action: DocumentAction,
    /// The verdict of the drift check; in a report, after the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The reason if the verdict is `unverifiable`: a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<&'static str>,
    /// The permission that is missing at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<Foreign>,
    /// The keys of the Secret that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub keys: Vec<DocumentKey>,
    /// The number of other keys that differ. Their names may hold values, so they are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(default)]
    pub hidden_keys: usize,
    /// How many of them a sync removes.
    #[serde(skip)]
    pub hidden_extra: usize,
    /// The state of `spec.syncWindows` when the plan was made; absent without windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_window: Option<SyncWindow>,
    /// The remedy if the Secret is still stale after a proven sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_still_stale: Option<OnStillStale>,
    /// The outcome; absent in a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The reason for the action or the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Human-readable details.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    #[schemars(default)]
    pub message: Foreign,
    /// The next step for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<&'static str>,
    /// The start of the last successful sync before the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub previous_sync: Option<Timestamp>,
    /// The start of the sync that the run proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub current_sync: Option<Timestamp>,
    /// The age of the last successful sync when the plan was made, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Provider calls that its sync needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
    /// The number of annotations written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The time from the first annotation to the operator's answer, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_seconds: Option<f64>,
    /// The change of the target Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretChange>,
    /// The reason in its Ready condition before the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_reason: Option<Foreign>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A SecretStore or ClusterSecretStore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentStore {
    pub kind: StoreKind,
    /// The name of the store.
    pub name: Foreign,
}

/// What `spec.syncWindows` says about periodic syncs. A force-sync works in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum SyncWindow {
    /// The operator makes periodic syncs now.
    Allowed,
    /// The operator makes no periodic sync now.
    Denied,
    /// There are too many windows to tell.
    Unknown,
}

impl From<Window> for SyncWindow {
    fn from(window: Window) -> Self {
        match window {
            Window::Allowed => Self::Allowed,
            Window::Denied => Self::Denied,
            Window::Unknown => Self::Unknown,
        }
    }
}

/// The planned action for an ExternalSecret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentAction {
    /// It is force-synced.
    Sync,
    /// It is skipped.
    Skip,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DocumentGap {
    /// The resource that could not be read.
    pub what: Foreign,
    /// The namespace; absent for all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Foreign>,
    /// The error.
    pub why: Foreign,
}

/// The parts of a document that do not come from the plan or the results.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The document sets `complete` and `exit_code`.
    pub run: Run,
    /// Requests to the Kubernetes API.
    pub requests: u64,
}

impl Document {
    /// Returns the document of a plan, a drift check or a status.
    pub fn of_plan(kind: Kind, plan: &Plan, heading: Heading, exit: Exit) -> Self {
        let items = plan
            .items
            .iter()
            .map(|item| DocumentItem::new(item, None))
            .collect();
        let mut document =
            Self::new(kind, plan, items, heading, exit).with_restarts(&plan.restarts, None);
        if kind == Kind::Status {
            // It asks for no sync, so no limit can refuse it.
            let summary = &mut document.summary;
            (summary.refused, summary.allowing) = (None, None);
            summary.left_alone.clear();
        }
        document
    }

    /// Sorts the ExternalSecrets by a column, and within it by namespace and name.
    pub fn sort_by(&mut self, column: Column) {
        self.items.sort_by(|a, b| column.compare(a, b));
    }

    /// Removes the ExternalSecrets, for commands that are only about workloads.
    #[must_use]
    pub fn without_items(mut self) -> Self {
        self.items.clear();
        self
    }

    /// Returns the report of a run.
    pub fn of_results(plan: &Plan, results: &Results, heading: Heading, exit: Exit) -> Self {
        let items: Vec<DocumentItem> = plan
            .items
            .entries()
            .map(|(at, item)| {
                let document = DocumentItem::new(item, results.items.get(&at)).done();
                match results.checked.get(&at) {
                    Some(finding) => document.found(finding),
                    None => document.without_finding_if_synced(),
                }
            })
            .collect();
        let mut document = Self::new(Kind::Report, plan, items, heading, exit);
        document.summary.stopped = results.stopped();
        document
            .summary
            .stopped_namespaces
            .clone_from(&results.stopped_namespaces);
        document
            .summary
            .reads
            .extend(drift::counted(&results.reads));
        document
            .summary
            .throttles
            .extend(drift::counted(&results.throttles));
        // Without a check after the syncs, the reads of the plan are all reads.
        if !results.reads.is_empty() {
            document.summary.about_usd = price::about(plan, &results.reads);
        }
        document.run.complete = results.stopped().is_none();
        if let Some(why) = &results.events_unwatched {
            let warning = format!(
                "Events could not be watched, so a repeated failure is reported as a timeout: {why}"
            );
            document.warnings.push(warning.into());
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
            allowing: allowing(plan, run.policy_digest.is_some()),
            left_alone: left_alone(plan),
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
            warnings: plan.warnings.iter().map(Into::into).collect(),
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
            namespace: (&item.id.namespace).into(),
            name: (&item.id.name).into(),
            store: item.store.as_ref().map(|store| DocumentStore {
                kind: store.kind(),
                name: store.name().into(),
            }),
            target: (&item.secret).into(),
            provider: (&item.provider).into(),
            state: item.state,
            action,
            verdict: None,
            unverifiable: None,
            permission: None,
            keys: Vec::new(),
            hidden_keys: 0,
            hidden_extra: 0,
            sync_window: item.window.map(SyncWindow::from),
            if_still_stale: item.if_still_stale,
            outcome: None,
            reason: Some(reason),
            message: message.into(),
            next_step: (action == DocumentAction::Skip)
                .then(|| match &item.finding {
                    Some(finding) => finding.next_step(reason),
                    None => reason.next_step(),
                })
                .flatten(),
            previous_sync: item.refreshed,
            current_sync: None,
            age_seconds: item.age.map(|age| age.as_secs()),
            cost,
            attempts: None,
            took_seconds: None,
            secret: None,
            ready_reason: item.ready.as_ref().map(|ready| (&ready.reason).into()),
        };
        if let Some(finding) = &item.finding {
            document = document.found(finding);
            if action == DocumentAction::Sync {
                document.message = (&finding.message).into();
            }
        }
        if let Some(result) = result {
            document.outcome = Some(result.outcome);
            document.reason = result.reason.or(document.reason);
            document.message = (&result.message).into();
            document.next_step = result.reason.and_then(Reason::next_step);
            document.current_sync = result.synced_at;
            document.attempts = Some(result.attempts);
            document.took_seconds = Some((result.took.as_secs_f64() * 1000.0).round() / 1000.0);
            document.secret = (result.outcome == Outcome::Synced).then_some(result.secret);
        }
        document
    }

    /// Sets the outcome of items without a result, because in a report skipped items have an outcome too.
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
            what: (&gap.what).into(),
            namespace: gap.namespace.as_ref().map(Into::into),
            why: (&gap.why).into(),
        }
    }
}

/// The limits that a plan passes, in one line.
fn refused(plan: &Plan) -> Option<String> {
    let limits: Vec<String> = plan.exceeded.iter().map(ToString::to_string).collect();
    (!limits.is_empty()).then(|| limits.join("; "))
}

/// The namespaces that the plan leaves alone, each with the reason.
fn left_alone(plan: &Plan) -> BTreeMap<String, String> {
    let namespaces = plan.left_alone.iter();
    namespaces
        .map(|(namespace, share)| (namespace.clone(), share.to_string()))
        .collect()
}

/// How to raise the limits that refuse the plan or a part of it: in the policy, or by flags for a command without one.
fn allowing(plan: &Plan, by_policy: bool) -> Option<String> {
    let whole = plan.exceeded.iter().map(|exceeded| exceeded.wanted());
    let parts = plan.left_alone.values();
    let parts = parts.map(|share| (share.limit, share.total));
    let mut raised: Vec<String> = whole
        .chain(parts)
        .map(|(limit, wanted)| {
            if by_policy {
                let (key, flag) = (limit.key(), limit.flag());
                format!("`{key}: {wanted}` in the policy (and `{flag} {wanted}` for a job with `--allow`)")
            } else {
                format!("`{} {wanted}`", limit.flag())
            }
        })
        .collect();
    raised.dedup();
    (!raised.is_empty()).then(|| format!("{} allows all of it", raised.join(" and ")))
}

/// Returns the JSON Schema of [`Document`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).into()
}

#[cfg(test)]
mod tests;
