//! The documents of `publish`, and their text.

use std::{collections::BTreeMap, fmt::Write as _};

use providers::holder::WriteFailure;
use publish::{
    Reason, Verdict,
    plan::{Entry, Item, Plan},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::{apply::Done, fault::Fault};
use crate::{
    exit::Exit,
    failure::Failure,
    foreign::{self, Foreign},
    report::{
        API_VERSION, Document, Header, Run, fitted, sheet::Level, termination_message, text,
        view::View,
    },
};

/// The document that `publish -o json|yaml` prints.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishDocument {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// The kind of the document.
    pub kind: PublishKind,
    /// The run that printed the document.
    pub run: Run,
    /// Counts.
    pub summary: PublishSummary,
    /// The items of the policy, in its order. Suspended ones only in a list.
    pub items: Vec<DocumentPublished>,
    /// The run over the ExternalSecrets that read what was published; absent if none followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<Box<Document>>,
    /// Why that run could not be done.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    #[schemars(default)]
    pub sync_failure: Foreign,
}

/// The kind of a document of `publish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum PublishKind {
    /// What would be published.
    PublishPlan,
    /// What was published.
    PublishReport,
    /// How the repositories compare with the providers.
    PublishStatus,
    /// The items of the policy.
    PublishList,
}

/// Counts of a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishSummary {
    /// The number of secrets by verdict, before the run.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// The number of secrets by outcome; in a plan, by planned action.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// The number of problems of items and files.
    pub faults: usize,
    /// Calls at the providers.
    pub calls: u64,
    /// How many of them the providers throttled.
    pub throttles: u64,
}

/// One item of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentPublished {
    /// The name of the item.
    pub name: Foreign,
    /// Where its files are, as in `--allow-source`.
    pub source: Foreign,
    /// Where it publishes, as in `--allow-target`.
    pub target: Foreign,
    /// The repository; absent if it was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<Foreign>,
    /// The revision that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Foreign>,
    /// True if the policy suspends it.
    pub suspended: bool,
    /// Its secrets, by name.
    pub secrets: Vec<DocumentPublishedSecret>,
    /// Why files, keys or the whole item could not be published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub faults: Vec<DocumentFault>,
}

/// One secret at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentPublishedSecret {
    /// The name at the provider.
    pub name: Foreign,
    /// The files that its values come from.
    pub files: Vec<Foreign>,
    /// How the provider compared with the repository before the run.
    pub verdict: &'static str,
    /// The planned action.
    pub action: &'static str,
    /// Why.
    pub reason: Reason,
    /// What happened; absent in a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// The version at the provider that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Foreign>,
    /// How it is, for report files.
    #[serde(skip)]
    pub level: Level,
    /// More about the reason or the outcome.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    #[schemars(default)]
    pub message: Foreign,
}

/// Why something could not be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentFault {
    /// A stable word.
    pub reason: &'static str,
    /// The file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Foreign>,
    /// The key in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Foreign>,
    /// What is wrong, and what would be right.
    pub message: Foreign,
}

impl From<&Fault> for DocumentFault {
    fn from(fault: &Fault) -> Self {
        Self {
            reason: fault.reason,
            file: fault.file.as_deref().map(Foreign::from),
            key: fault.key.as_deref().map(Foreign::from),
            message: fault.message.as_str().into(),
        }
    }
}

impl DocumentPublishedSecret {
    /// `done` is None in a plan.
    pub(super) fn new(entry: &Entry, item: &Item, done: Option<&Done>) -> Self {
        let mut files: Vec<Foreign> = entry
            .wanted
            .iter()
            .filter_map(|index| Some(item.wanted.get(*index)?.origin.file.as_str().into()))
            .collect();
        files.dedup();
        let (outcome, version, message) = match done {
            None => (None, None, String::new()),
            Some(done) => {
                let (outcome, version, message) = told(done, entry);
                (Some(outcome), version, message)
            }
        };
        let message =
            if let (Verdict::Unverifiable(why), true) = (&entry.verdict, message.is_empty()) {
                format!("{}: {}", why.reason, why.detail)
            } else {
                message
            };
        Self {
            name: entry.name.as_str().into(),
            files,
            verdict: entry.verdict.word(),
            action: entry.step.action.word(),
            reason: entry.step.reason,
            outcome,
            version: version.map(Foreign::from),
            level: level(entry, done),
            message: message.into(),
        }
    }
}

/// How a secret is. What a reason or an error holds back is never good.
fn level(entry: &Entry, done: Option<&Done>) -> Level {
    let planned = match (&entry.verdict, entry.step.action.is_write()) {
        (Verdict::Unverifiable(_), _) => Level::Unknown,
        (_, true) => Level::Changed,
        (Verdict::InSync, false) => Level::Good,
        (_, false) => Level::Differs,
    };
    let ended = match done {
        Some(Done::Left) if planned == Level::Changed => Level::Unknown,
        None | Some(Done::Left) => planned,
        Some(Done::Wrote(wrote)) if wrote.proven => Level::Changed,
        Some(Done::Removed) => Level::Changed,
        Some(Done::Wrote(_) | Done::NotReached | Done::Failed(WriteFailure::Unknown(_))) => {
            Level::Unknown
        }
        Some(Done::Failed(_)) => Level::Failed,
    };
    if of_reason(entry.step.reason) == Exit::Done {
        ended
    } else {
        ended.max(Level::Failed)
    }
}

/// The words of outcomes, with their meanings.
pub const OUTCOMES: [(&str, &str); 8] = [
    (
        IN_SYNC,
        "Nothing was written: the provider holds the wanted value.",
    ),
    (LEFT, "Nothing was written. The reason says why."),
    (
        PUBLISHED,
        "The value was written, and the provider returned it. With a message, its owner or mark is missing: the next run writes them.",
    ),
    (
        UNPROVEN,
        "The write was accepted, but the provider did not return the value. `publish status --verify` compares it again.",
    ),
    (
        REMOVED,
        "The secret was deleted, its deletion was announced, or old versions were destroyed.",
    ),
    (
        WriteFailure::RACED,
        "Somebody else wrote this secret at the same time, or it was no longer as planned. The next run plans again.",
    ),
    (
        FAILED,
        "The provider refused the write, and holds the value of before.",
    ),
    (
        UNKNOWN,
        "The provider did not confirm the write, and it could not be read back. The next run compares the value.",
    ),
];

const IN_SYNC: &str = "in-sync";
const LEFT: &str = "left";
const PUBLISHED: &str = "published";
const UNPROVEN: &str = "unproven";
const REMOVED: &str = "removed";
const FAILED: &str = "failed";
const UNKNOWN: &str = "unknown";

/// The word of an outcome, the version, and the message.
fn told(done: &Done, entry: &Entry) -> (&'static str, Option<String>, String) {
    match done {
        Done::Left if entry.step.reason == Reason::InSync => (IN_SYNC, None, String::new()),
        Done::Left => (LEFT, None, String::new()),
        Done::Wrote(wrote) => {
            let version = wrote.version.clone();
            if wrote.proven {
                (PUBLISHED, version, String::new())
            } else {
                let message = "the provider did not return the value that was written. `publish status --verify` compares it again";
                (UNPROVEN, version, message.to_owned())
            }
        }
        Done::Removed => (REMOVED, None, String::new()),
        Done::Failed(WriteFailure::Raced(what)) => (WriteFailure::RACED, None, what.clone()),
        Done::Failed(WriteFailure::Failed(unread)) => {
            let why = &unread.why;
            (FAILED, None, format!("{}: {}", why.reason, why.detail))
        }
        Done::Failed(WriteFailure::Unrecorded(wrote, unread)) => {
            let why = &unread.why;
            let message = format!(
                "its mark or tags were not written: {}: {}",
                why.reason, why.detail
            );
            (PUBLISHED, wrote.version.clone(), message)
        }
        Done::Failed(WriteFailure::Unknown(unread)) => {
            let why = &unread.why;
            (UNKNOWN, None, format!("{}: {}", why.reason, why.detail))
        }
        Done::NotReached => ("not-reached", None, String::new()),
    }
}

impl PublishDocument {
    /// The message for `/dev/termination-log`.
    pub fn termination_summary(&self) -> String {
        let secrets = self.items.iter().flat_map(|item| {
            let secrets = item.secrets.iter();
            let bad = secrets.filter(|secret| secret.level.needs_attention());
            bad.map(|secret| {
                let name = format!("{}/{}", item.name.exact(), secret.name.exact());
                json!({"secret": name, "reason": secret.reason, "outcome": secret.outcome})
            })
        });
        let counts = json!({
            "run": self.run.id,
            "exitCode": self.run.exit_code,
            "complete": self.run.complete,
            "published": self.summary,
            "sync": self.sync.as_ref().map(|run| &run.summary.outcomes),
        });
        termination_message(counts, secrets.collect())
    }

    pub(super) fn new(
        kind: PublishKind,
        run: Run,
        items: Vec<DocumentPublished>,
        calls: u64,
    ) -> Self {
        let mut summary = PublishSummary {
            calls,
            ..PublishSummary::default()
        };
        for item in &items {
            summary.faults += item.faults.len();
            for secret in &item.secrets {
                *summary.verdicts.entry(secret.verdict).or_default() += 1;
                *summary
                    .outcomes
                    .entry(secret.outcome.unwrap_or(secret.action))
                    .or_default() += 1;
            }
        }
        Self {
            api_version: API_VERSION,
            kind,
            run,
            summary,
            items,
            sync: None,
            sync_failure: Foreign::default(),
        }
    }

    /// Adds the run that followed. `exit` is the exit code of both together.
    #[must_use]
    pub fn followed_by(mut self, run: Document, exit: Exit) -> Self {
        self.run.exit_code = exit.code();
        self.run.finished = run.run.finished;
        self.run.complete &= run.run.complete;
        self.sync = Some(Box::new(run));
        self
    }

    /// Adds why no run followed. `exit` is the exit code of both together.
    #[must_use]
    pub fn not_followed(mut self, failure: &Failure, exit: Exit) -> Self {
        self.run.exit_code = exit.code();
        self.run.complete = false;
        self.sync_failure = failure.message.as_str().into();
        self
    }

    /// A line for each secret.
    fn table(&self, view: &View) -> String {
        let rows = self.items.iter().flat_map(|item| {
            item.secrets.iter().map(|secret| {
                [
                    item.name.terminal(),
                    secret.name.terminal(),
                    item.target.terminal(),
                    secret.verdict.to_owned(),
                    secret.outcome.unwrap_or(secret.action).to_owned(),
                    secret.reason.into_str().to_owned(),
                ]
            })
        });
        let what = if self.kind == PublishKind::PublishReport {
            "OUTCOME"
        } else {
            "ACTION"
        };
        let headers = [
            Header::name("ITEM"),
            Header::name("NAME"),
            Header::name("TARGET"),
            Header::whole("VERDICT"),
            Header::whole(what),
            Header::whole("REASON"),
        ];
        fitted(&headers, rows, view.of_tables())
    }

    /// The text for people.
    pub fn text(&self, view: &View) -> String {
        if self.kind == PublishKind::PublishList {
            return self.list(view);
        }
        let mut text = self.table(view);
        for item in &self.items {
            for secret in item
                .secrets
                .iter()
                .filter(|secret| !secret.message.is_empty())
            {
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "\n{}/{}: {}\n",
                    item.name.terminal(),
                    secret.name.terminal(),
                    secret.message.terminal()
                );
            }
            for fault in &item.faults {
                let at = fault
                    .file
                    .as_ref()
                    .map(|file| format!("{}: ", file.terminal()));
                let key = fault
                    .key
                    .as_ref()
                    .map(|key| format!("{}: ", key.terminal()));
                let _ = write!(
                    text,
                    "\n{} ({}): {}{}{}\n",
                    fault.reason,
                    item.name.terminal(),
                    at.unwrap_or_default(),
                    key.unwrap_or_default(),
                    fault.message.terminal()
                );
            }
        }
        text + &self.advice(view) + &self.totals() + &self.then(view)
    }

    /// The run that followed.
    fn then(&self, view: &View) -> String {
        let mut text = String::new();
        if let Some(run) = &self.sync {
            text += "\nThe ExternalSecrets that read it:\n\n";
            text += &text::render(run, view);
        }
        if !self.sync_failure.is_empty() {
            let why = self.sync_failure.terminal();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "\nThe ExternalSecrets that read it were not synced: {why}"
            );
        }
        text
    }

    /// What to do about what was held back, with the secrets that it concerns.
    fn advice(&self, view: &View) -> String {
        let mut concerned: BTreeMap<&str, (&str, Vec<&Foreign>)> = BTreeMap::new();
        for item in &self.items {
            for secret in &item.secrets {
                if let Some(advice) = secret.reason.advice() {
                    let of = concerned.entry(secret.reason.into_str());
                    let (_, names) = of.or_insert((advice, Vec::new()));
                    names.push(&secret.name);
                }
            }
        }
        let mut text = String::new();
        for (reason, (advice, names)) in concerned {
            let names = foreign::first(view.names(), names.iter().copied());
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{reason} ({names}): {advice}\n");
        }
        text
    }

    fn list(&self, view: &View) -> String {
        let rows = self.items.iter().map(|item| {
            let state = if item.suspended {
                "suspended"
            } else {
                "active"
            };
            [
                item.name.terminal(),
                item.source.terminal(),
                item.target.terminal(),
                state.to_owned(),
            ]
        });
        let headers = [
            Header::name("ITEM"),
            Header::name("SOURCE"),
            Header::name("TARGET"),
            Header::whole("STATE"),
        ];
        fitted(&headers, rows, view.of_tables())
    }

    fn totals(&self) -> String {
        let counts = match self.kind {
            PublishKind::PublishStatus => &self.summary.verdicts,
            PublishKind::PublishPlan | PublishKind::PublishReport | PublishKind::PublishList => {
                &self.summary.outcomes
            }
        };
        let counts = counts.iter().map(|(word, count)| format!("{count} {word}"));
        let counts: Vec<String> = counts.collect();
        let secrets: usize = self.summary.verdicts.values().sum();
        let plural = |count: u64, noun: &str| {
            let s = if count == 1 { "" } else { "s" };
            format!("{count} {noun}{s}")
        };
        let secrets = plural(secrets.try_into().unwrap_or(u64::MAX), "secret");
        let calls = plural(self.summary.calls, "provider call");
        let faults = match self.summary.faults {
            0 => String::new(),
            count => format!(
                "; {}",
                plural(count.try_into().unwrap_or(u64::MAX), "problem")
            ),
        };
        let colon = if counts.is_empty() { "" } else { ": " };
        format!("\n{secrets}{colon}{}{faults}; {calls}\n", counts.join(", "))
    }
}

/// Returns the JSON Schema of [`PublishDocument`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(PublishDocument).into()
}

/// The exit code: what a limit held back, what failed or is unknown, and with `differs` what differs.
pub(super) fn exit_of(plan: &Plan, done: Option<&[Done]>, faults: usize, differs: bool) -> Exit {
    let mut exit = if faults > 0 { Exit::Failed } else { Exit::Done };
    for entry in &plan.entries {
        exit = exit.or(of_reason(entry.step.reason));
        if matches!(entry.verdict, Verdict::Unverifiable(_)) {
            exit = exit.or(Exit::Failed);
        }
        if differs && entry.verdict != Verdict::InSync {
            exit = exit.or(Exit::Differences);
        }
    }
    for done in done.unwrap_or_default() {
        exit = exit.or(match done {
            Done::Left | Done::Removed => Exit::Done,
            Done::Wrote(wrote) if wrote.proven => Exit::Done,
            Done::Wrote(_) | Done::Failed(_) => Exit::Failed,
            Done::NotReached => Exit::Stopped,
        });
    }
    exit
}

/// The exit code for a reason. What only reports is done; what holds back needs a person.
const fn of_reason(reason: Reason) -> Exit {
    match reason {
        Reason::WouldRevert | Reason::MaxWrites | Reason::PruneLimit | Reason::TooManyWrites => {
            Exit::Limit
        }
        Reason::ForeignChange
        | Reason::NotOwned
        | Reason::OwnedByOther
        | Reason::SoftDeleted
        | Reason::Rotated
        | Reason::Managed
        | Reason::Replica
        | Reason::Disabled
        | Reason::OtherType
        | Reason::Unverifiable
        | Reason::Collision
        | Reason::Encrypted
        | Reason::EmptyValue
        | Reason::ItemStopped
        | Reason::ReadersUnknown
        | Reason::NotAllowed => Exit::Failed,
        Reason::InSync
        | Reason::Changed
        | Reason::Absent
        | Reason::NoVersion
        | Reason::Deleted
        | Reason::ForeignOverwritten
        | Reason::Adopted
        | Reason::MarkRenewed
        | Reason::WantedAgain
        | Reason::Orphaned
        | Reason::OldVersion
        | Reason::WriteWhenAbsent
        | Reason::PruneReports
        | Reason::PruneNotAllowed
        | Reason::SourceIncomplete
        | Reason::StillRead
        | Reason::ReadRecently
        | Reason::PruneLater => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn termination_message_names_what_needs_attention_and_fits() {
        let secret = |index: usize| DocumentPublishedSecret {
            name: format!("{index:0>200}").into(),
            files: Vec::new(),
            verdict: "foreign-change",
            action: "leave",
            reason: Reason::ForeignChange,
            outcome: Some("left"),
            version: None,
            level: if index == 0 {
                Level::Good
            } else {
                Level::Differs
            },
            message: Foreign::default(),
        };
        let item = DocumentPublished {
            name: "shop".into(),
            source: "path".into(),
            target: "aws".into(),
            repository: None,
            revision: None,
            suspended: false,
            secrets: (0..100).map(secret).collect(),
            faults: Vec::new(),
        };
        let run = Run {
            id: "run-1".to_owned(),
            version: "0.1.0",
            context: None,
            server: String::new(),
            policy_digest: None,
            started: jiff::Timestamp::UNIX_EPOCH,
            finished: jiff::Timestamp::UNIX_EPOCH,
            complete: true,
            exit_code: 5,
            report_url: None,
        };
        let document = PublishDocument::new(PublishKind::PublishReport, run, vec![item], 7);
        let message = document.termination_summary();
        assert!(message.len() <= 4096, "{}", message.len());
        let data: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(data["exitCode"], 5);
        assert_eq!(
            data["published"]["verdicts"],
            json!({"foreign-change": 100})
        );
        let failed = data["failed"].as_array().unwrap();
        let first = format!("shop/{:0>200}", 1);
        let expected = json!({"secret": first, "reason": "foreign-change", "outcome": "left"});
        assert_eq!(failed[0], expected);
        assert!(failed.len() > 10);
        assert_eq!(data["failedNotShown"], 99 - failed.len());
    }
}
