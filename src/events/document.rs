//! The report of `events`.

use std::{collections::BTreeMap, fmt::Write as _};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::{
    foreign::{Foreign, first},
    reason::Reason,
    report::{Document, DocumentAction, Run, text, view::View},
};

/// The ExternalSecrets of a key that the text names.
const SHOWN: usize = 5;

/// The document that `events -o json|yaml` prints.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsDocument {
    /// `eso-sync/v1`
    pub api_version: &'static str,
    /// `Events`
    pub kind: &'static str,
    /// The run that printed the document.
    pub run: Run,
    /// Counts.
    pub summary: EventsSummary,
    /// The queues of the policy, as they were before the run.
    pub queues: Vec<DocumentQueue>,
    /// The keys whose messages are not acknowledged, or whose ExternalSecrets were synced.
    pub keys: Vec<DocumentEventKey>,
    /// The runs over the ExternalSecrets that use the keys.
    pub runs: Vec<Document>,
    /// Warnings for people.
    pub warnings: Vec<Foreign>,
}

/// Counts of events and messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsSummary {
    /// The number of events by kind: `changed`, `gone`, `warning`, `irrelevant` or `unreadable`.
    pub received: BTreeMap<&'static str, usize>,
    /// The number of events by the reason of their kind.
    pub reasons: BTreeMap<&'static str, usize>,
    /// The number of events of known sources whose kind is not known, by the name of the kind. They are `irrelevant`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(default)]
    pub unknown_kinds: BTreeMap<Foreign, usize>,
    /// The lines of the file that are not understood, the first 100 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub unreadable_lines: Vec<usize>,
    /// The number of keys by how the work for them ended.
    pub keys: BTreeMap<&'static str, usize>,
    /// The number of messages that are removed from the queues.
    pub acknowledged: usize,
    /// The number of messages that stay in the queues, or were received by a process that was cut off before it handled them.
    pub kept: usize,
    /// The number of messages that are not understood and were moved to the poison queue.
    pub poisoned: usize,
    /// The number of messages whose acknowledgement failed. They are received again, which is harmless.
    pub not_disposed: usize,
    /// The time from an event to the proof that all ExternalSecrets that use its key hold the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
}

/// The median and the maximum of a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    pub median_seconds: f64,
    pub max_seconds: f64,
}

/// A queue before the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentQueue {
    /// Its URL or name, as in the policy.
    pub queue: Foreign,
    /// The messages that waited, about; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u64>,
    /// The messages that were given up, about; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<u64>,
    /// Settings with which an outage can lose messages.
    pub warnings: Vec<&'static str>,
    /// Why nothing was received from it: a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// Why nothing is received from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, strum::IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Refused {
    /// Its owner tag names another cluster.
    OtherOwner,
    /// It has no owner tag.
    NoOwner,
}

/// A key with events. Its name is not shown: strangers write it. Its ExternalSecrets are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentEventKey {
    /// `changed`, `gone` or `warning`
    pub event: &'static str,
    /// How the work ended: a stable word.
    pub end: &'static str,
    /// The number of messages about it.
    pub messages: usize,
    /// The ExternalSecrets that use it, by `NAMESPACE/NAME`, each with how its work ended.
    pub external_secrets: BTreeMap<Foreign, &'static str>,
}

impl EventsDocument {
    /// The summary for the container's termination message.
    pub fn termination_summary(&self) -> String {
        let summary = json!({
            "run": self.run.id,
            "exitCode": self.run.exit_code,
            "complete": self.run.complete,
            "events": self.summary,
        });
        summary.to_string()
    }

    /// The document for people.
    pub fn text(&self, view: &View) -> String {
        let mut text = String::new();
        for run in self.runs.iter().filter(|run| is_shown(run)) {
            text.push_str(&text::render(run, view));
            text.push('\n');
        }
        let lines = self.queues.iter().map(DocumentQueue::line);
        let lines = lines.chain(self.keys.iter().map(DocumentEventKey::line));
        for line in lines.chain(self.summary.lines()) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// True if a run did anything, or found anything that needs attention.
fn is_shown(run: &Document) -> bool {
    let mut items = run.items.iter();
    let mut restarts = run.restarts.iter();
    items.any(|item| {
        item.action == DocumentAction::Sync || item.reason.is_some_and(Reason::needs_attention)
    }) || restarts.any(|restart| restart.outcome.is_some())
        || !run.gaps.is_empty()
}

impl DocumentQueue {
    fn line(&self) -> String {
        let count =
            |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        let refused = self
            .refused
            .map(|why| format!("refused: {}", why.into_str()));
        let notes = self.warnings.iter().map(|&warning| warning.to_owned());
        let notes: Vec<String> = notes.chain(refused).collect();
        let notes = if notes.is_empty() {
            String::new()
        } else {
            format!("; {}", notes.join(", "))
        };
        format!(
            "queue {}: {} waited, dead letters {}{notes}",
            self.queue.terminal(),
            count(self.backlog),
            count(self.dead_letters)
        )
    }
}

impl DocumentEventKey {
    fn line(&self) -> String {
        let of = match first(SHOWN, self.external_secrets.keys()) {
            none if none.is_empty() => "no ExternalSecret".to_owned(),
            some => some,
        };
        let plural = if self.messages == 1 { "" } else { "s" };
        format!(
            "{}: {} ({} message{plural}): {of}",
            self.event, self.end, self.messages
        )
    }
}

impl EventsSummary {
    pub(super) fn lines(&self) -> Vec<String> {
        let counted = |counts: &BTreeMap<&'static str, usize>| -> String {
            let counts = counts.iter().map(|(word, count)| format!("{count} {word}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        let received = match counted(&self.received) {
            none if none.is_empty() => "none".to_owned(),
            some => some,
        };
        let mut lines = vec![format!("events: {received}")];
        let kinds = self.unknown_kinds.iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{count} {}", kind.terminal()))
            .collect();
        if !kinds.is_empty() {
            lines.push(format!("unknown kinds: {}", kinds.join(", ")));
        }
        let unreadable: Vec<String> = self.unreadable_lines.iter().map(usize::to_string).collect();
        if !unreadable.is_empty() {
            let plural = if unreadable.len() == 1 { "" } else { "s" };
            lines.push(format!(
                "not understood: line{plural} {}",
                unreadable.join(", ")
            ));
        }
        if !self.keys.is_empty() {
            lines.push(format!("keys: {}", counted(&self.keys)));
        }
        let (acknowledged, kept) = (self.acknowledged, self.kept);
        let poisoned = match self.poisoned {
            0 => String::new(),
            count => format!(", {count} moved to the poison queue"),
        };
        lines.push(format!(
            "messages: {acknowledged} acknowledged, {kept} kept{poisoned}"
        ));
        if let Some(lag) = self.lag {
            lines.push(format!(
                "from event to proof: {:.0} s (median), {:.0} s (longest)",
                lag.median_seconds, lag.max_seconds
            ));
        }
        lines
    }
}
