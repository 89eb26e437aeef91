//! A document as rows, one for each object, in the form that the formats for people and tools have in common.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Document, DocumentAction, DocumentGap, DocumentItem, DocumentRestart, Kind, RestartAction, Run,
    metrics::Metrics,
};
use crate::{
    finding::Verdict,
    foreign::Foreign,
    inventory::State,
    key_names::Hidden,
    outcome::{Outcome, SecretChange},
    reason::Reason,
    restart::results::RestartOutcome,
};

/// A document that can be shown as rows.
pub trait Tabular: Serialize {
    fn sheet(&self) -> Sheet;

    /// The rows without their chains.
    fn outline(&self) -> Sheet {
        self.sheet()
    }

    /// The numbers for monitoring.
    fn metrics(&self) -> Metrics;
}

/// A document as rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sheet {
    /// The kind of the document, for example `Report`.
    pub kind: String,
    pub run: Run,
    /// The totals, in words: `2 synced`.
    pub totals: Vec<String>,
    pub rows: Vec<Row>,
    /// What concerns the whole run.
    pub notes: Vec<Note>,
}

/// A note about the whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    pub level: Level,
    pub text: Foreign,
    /// The file and the line from 1, for an error of a policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<(Foreign, Option<usize>)>,
}

impl Note {
    pub fn new(level: Level, text: impl Into<Foreign>) -> Self {
        Self {
            level,
            text: text.into(),
            place: None,
        }
    }
}

impl From<&DocumentGap> for Note {
    fn from(gap: &DocumentGap) -> Self {
        let place = gap.namespace.as_ref();
        let place = place.map(|namespace| format!(" in {}", namespace.exact()));
        let (what, why) = (gap.what.exact(), gap.why.exact());
        let text = format!("could not read {what}{}: {why}", place.unwrap_or_default());
        Self::new(Level::Unknown, text)
    }
}

/// One object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// `ExternalSecret`, `Deployment`, …
    pub kind: &'static str,
    /// The namespace; for a published secret, the item of the policy.
    pub namespace: Foreign,
    pub name: Foreign,
    pub level: Level,
    /// The store; for a published secret, the place that it is published to.
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    pub store: Foreign,
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    pub provider: Foreign,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub verdict: &'static str,
    /// The outcome; in a plan, the action.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
    #[serde(skip_serializing_if = "Foreign::is_empty")]
    pub message: Foreign,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub next_step: Cow<'static, str>,
    /// The keys that differ, or that a change would reach, as far as their names may be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Foreign>,
    /// The start of its sync or restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The time that it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The `restart` rule from 0, and the wave from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<(usize, u32)>,
    /// The links from the provider to the workloads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<ChainLink>,
}

impl Row {
    /// `NAMESPACE/NAME`, or the name of what has no namespace.
    pub fn id(&self) -> Foreign {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace.exact(), self.name.exact()).into()
        }
    }

    /// Why, in one line: the reason, the message and the keys.
    pub fn why(&self) -> Foreign {
        let keys: Vec<&str> = self.keys.iter().map(Foreign::exact).collect();
        let keys = match &*keys {
            [] => String::new(),
            keys => format!("keys: {}", keys.join(", ")),
        };
        let more = [self.message.exact(), &keys];
        let more = more.into_iter().filter(|part| !part.is_empty());
        // The verdict and the outcome stand beside it.
        let repeats = [self.verdict, self.outcome].contains(&self.reason);
        let reason = if repeats && more.clone().next().is_some() {
            ""
        } else {
            self.reason
        };
        let reason = [reason].into_iter().filter(|part| !part.is_empty());
        reason.chain(more).collect::<Vec<&str>>().join("; ").into()
    }
}

/// One link from the provider to a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainLink {
    pub kind: &'static str,
    pub name: Foreign,
    pub level: Level,
    /// The state in one or two words.
    pub state: &'static str,
}

/// How an object is, from what needs no attention to what needs it most.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Level {
    /// Left as it is, on purpose.
    #[default]
    Skipped,
    /// Known to be as it should be.
    Good,
    /// The run changed it; in a plan, the run would change it.
    Changed,
    /// Known to differ.
    Differs,
    /// It is not known how it is.
    Unknown,
    Failed,
}

impl Level {
    /// True if somebody has to look at it.
    pub const fn needs_attention(self) -> bool {
        matches!(self, Self::Differs | Self::Unknown | Self::Failed)
    }
}

impl Tabular for Document {
    fn sheet(&self) -> Sheet {
        self.with_rows(|item| Row {
            chain: self.links(item),
            ..self.row(item)
        })
    }

    fn outline(&self) -> Sheet {
        self.with_rows(|item| self.row(item))
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::of(&self.run);
        self.measure_into(&mut metrics);
        metrics
    }
}

impl Document {
    /// The sheet with such rows for the items.
    fn with_rows(&self, row: impl Fn(&DocumentItem) -> Row) -> Sheet {
        let mut rows: Vec<Row> = self.items.iter().map(row).collect();
        // A chain belongs to its ExternalSecret, if the document has any.
        let is_alone = self.items.is_empty();
        rows.extend(self.restarts.iter().map(|restart| Row {
            chain: if is_alone {
                self.chain_of(restart)
            } else {
                Vec::new()
            },
            level: match self.kind {
                Kind::Status => restart.level_of_pods(),
                Kind::Plan | Kind::Report | Kind::Drift => restart.level(),
            },
            ..restart.flat()
        }));
        let kind = match self.kind {
            Kind::Plan => "Plan",
            Kind::Report => "Report",
            Kind::Drift => "Drift",
            Kind::Status => "Status",
        };
        Sheet {
            kind: kind.to_owned(),
            run: self.run.clone(),
            totals: totals(&rows, |row| row.outcome),
            rows,
            notes: self.notes(),
        }
    }
}

/// The number of rows by this word, in words.
pub fn totals(rows: &[Row], word: impl Fn(&Row) -> &'static str) -> Vec<String> {
    let mut counts: Vec<(&str, &str, usize)> = Vec::new();
    for row in rows {
        let is_item = ["ExternalSecret", "secret", "item"].contains(&row.kind);
        let (kind, word) = (if is_item { row.kind } else { "workload" }, word(row));
        if word.is_empty() {
            continue;
        }
        match counts
            .iter_mut()
            .find(|count| (count.0, count.1) == (kind, word))
        {
            Some(count) => count.2 += 1,
            None => counts.push((kind, word, 1)),
        }
    }
    counts.sort_unstable();
    let each = counts.into_iter().map(|(kind, word, count)| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} {kind}{s} {word}")
    });
    each.collect()
}

impl Document {
    fn notes(&self) -> Vec<Note> {
        let summary = &self.summary;
        let mut notes = Vec::new();
        let mut add = |level, text: String| notes.push(Note::new(level, text));
        if let Some(refused) = &summary.refused {
            add(Level::Failed, format!("a limit refuses the run: {refused}"));
        }
        for (namespace, why) in &summary.left_alone {
            let text = format!("the namespace {namespace} is left alone: {why}");
            add(Level::Failed, text);
        }
        if let Some(stopped) = summary.stopped {
            let text = format!("the run ended early: {}", stopped.as_str());
            add(Level::Failed, text);
        }
        for (namespace, why) in &summary.stopped_namespaces {
            let text = format!("the syncs of the namespace {namespace} ended early: {why}");
            add(Level::Failed, text);
        }
        notes.extend(self.gaps.iter().chain(&self.unread).map(Note::from));
        let warnings = self.warnings.iter();
        notes.extend(warnings.map(|text| Note::new(Level::Skipped, text.clone())));
        notes
    }

    fn row(&self, item: &DocumentItem) -> Row {
        let provider = item.provider.clone();
        Row {
            kind: "ExternalSecret",
            namespace: item.namespace.clone(),
            name: item.name.clone(),
            level: match self.kind {
                Kind::Status => item.level_of_state(),
                Kind::Plan | Kind::Report | Kind::Drift => item.level(self.kind),
            },
            store: item
                .store
                .as_ref()
                .map(|store| store.name.clone())
                .unwrap_or_default(),
            provider: if provider == "-" {
                Foreign::default()
            } else {
                provider
            },
            verdict: item
                .verdict
                .map(|verdict| verdict.into_str())
                .unwrap_or_default(),
            outcome: item.outcome_word(self.kind),
            reason: item
                .reason
                .map(|reason| reason.into_str())
                .unwrap_or_default(),
            message: item.message.clone(),
            next_step: item.next_step().unwrap_or_default(),
            keys: keys(
                item.keys.iter().map(|key| key.name.clone()),
                item.hidden_keys,
            ),
            at: item.current_sync,
            seconds: item.took_seconds,
            wave: None,
            chain: Vec::new(),
        }
    }

    /// The links from the provider to the workloads that use the Secret.
    fn links(&self, item: &DocumentItem) -> Vec<ChainLink> {
        let store = item.store.as_ref().map(|store| store.name.exact());
        let provider = format!("{} ({})", store.unwrap_or("-"), item.provider.exact());
        let (level, state) = match item.verdict {
            Some(Verdict::Unverifiable) => (Level::Unknown, "unverifiable"),
            Some(_) => (Level::Good, "read"),
            None => (Level::Skipped, "not compared"),
        };
        let link = |kind, name: Foreign, level, state| ChainLink {
            kind,
            name,
            level,
            state,
        };
        let mut links = vec![link("provider", provider.into(), level, state)];
        let (level, state) = match item.outcome {
            Some(outcome) => (of_outcome(outcome), outcome.into_str()),
            None if item.state == State::Failed => (Level::Failed, "failed"),
            None => (Level::Skipped, item.state.into_str()),
        };
        links.push(link("ExternalSecret", item.name.clone(), level, state));
        let (level, state) = match (item.verdict, item.secret) {
            (_, Some(SecretChange::Created)) => (Level::Changed, "created"),
            (_, Some(SecretChange::Updated)) => (Level::Changed, "updated"),
            (Some(Verdict::Unverifiable), _) => (Level::Unknown, "unverifiable"),
            (Some(verdict), _) if verdict.is_drift() => (Level::Differs, verdict.into_str()),
            (Some(verdict), _) => (Level::Good, verdict.into_str()),
            (None, Some(SecretChange::Unchanged)) => (Level::Good, "unchanged"),
            (None, _) => (Level::Skipped, "not compared"),
        };
        links.push(link("Secret", item.target.clone(), level, state));
        let uses = |restart: &&DocumentRestart| {
            restart.namespace == item.namespace && restart.linked.contains(&item.target)
        };
        let workloads = self.restarts.iter().filter(uses).map(|restart| {
            let kind = restart.kind.into_str();
            link(
                kind,
                restart.name.clone(),
                restart.level(),
                restart.outcome_word(),
            )
        });
        links.extend(workloads);
        links
    }
}

const fn of_outcome(outcome: Outcome) -> Level {
    match outcome {
        Outcome::Synced => Level::Changed,
        Outcome::Failed => Level::Failed,
        Outcome::Unproven | Outcome::NotReached => Level::Unknown,
        Outcome::Skipped => Level::Skipped,
    }
}

/// The names of keys, and the number of the others.
fn keys(names: impl Iterator<Item = Foreign>, hidden: usize) -> Vec<Foreign> {
    let hidden = (hidden > 0).then(|| Hidden(hidden).to_string().into());
    names.chain(hidden).collect()
}

impl DocumentItem {
    /// What to do next, with the name of this ExternalSecret in place of `NAME`.
    pub(super) fn next_step(&self) -> Option<Cow<'static, str>> {
        let general = self.next_step?;
        if !general.contains(" NAME") {
            return Some(general.into());
        }
        let name = format!(" {} -n {}", self.name.terminal(), self.namespace.terminal());
        Some(general.replace(" NAME", &name).into())
    }

    /// What to do next about one of several ExternalSecrets in this namespace that have the same step. The user chooses `NAME`.
    pub(super) fn next_step_of_one(&self, namespace: &str) -> Option<Cow<'static, str>> {
        let general = self.next_step?;
        Some(
            general
                .replace(" NAME", &format!(" NAME -n {namespace}"))
                .into(),
        )
    }

    /// The level in a status, which plans nothing and compares no data.
    const fn level_of_state(&self) -> Level {
        match self.state {
            State::Ready => Level::Good,
            State::Failed => Level::Failed,
            State::NeverSynced | State::Overdue => Level::Unknown,
        }
    }

    fn level(&self, kind: Kind) -> Level {
        // A drift check changes nothing.
        let is_planned =
            kind != Kind::Drift && self.outcome.is_none() && self.action == DocumentAction::Sync;
        let by_outcome = match self.outcome {
            Some(outcome) => of_outcome(outcome),
            None if is_planned => Level::Changed,
            None => Level::Skipped,
        };
        let skipped = by_outcome == Level::Skipped;
        let attention = skipped && self.reason.is_some_and(Reason::needs_attention);
        let by_verdict = match self.verdict {
            Some(Verdict::InSync) => Level::Good,
            Some(Verdict::Unverifiable) => Level::Unknown,
            // What a plan syncs is known to differ; the plan is about the sync.
            Some(_) if is_planned => Level::Changed,
            Some(_) => Level::Differs,
            None if self.outcome.is_none() && self.state == State::Failed => Level::Failed,
            None => Level::Skipped,
        };
        let by_reason = if attention {
            Level::Unknown
        } else {
            Level::Skipped
        };
        by_outcome.max(by_verdict).max(by_reason)
    }

    /// The outcome. A plan has actions; a drift check and a status have none.
    fn outcome_word(&self, kind: Kind) -> &'static str {
        match (self.outcome, kind) {
            (Some(outcome), _) => outcome.into_str(),
            (None, Kind::Drift) => self
                .verdict
                .map(|verdict| verdict.into_str())
                .unwrap_or_default(),
            (None, Kind::Status) => self.state.into_str(),
            (None, Kind::Plan | Kind::Report) => match self.action {
                DocumentAction::Sync => "sync",
                DocumentAction::Skip => "skip",
            },
        }
    }
}

impl DocumentRestart {
    fn flat(&self) -> Row {
        let keys_of = self.secrets.iter().flat_map(|secret| &secret.keys);
        let hidden = self.secrets.iter().map(|secret| secret.hidden_keys).sum();
        Row {
            kind: self.kind.into_str(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            level: self.level(),
            outcome: self.outcome_word(),
            reason: self.reason.into_str(),
            message: self.message.clone(),
            next_step: self.next_step.unwrap_or_default().into(),
            keys: keys(keys_of.map(|key| key.name.clone()), hidden),
            at: self.restarted_at,
            seconds: self.took_seconds,
            wave: self.wave.map(|wave| (self.rule, wave)),
            ..Row::default()
        }
    }

    pub(super) fn outcome_word(&self) -> &'static str {
        match self.outcome {
            Some(outcome) => outcome.into_str(),
            None => self.planned_word(),
        }
    }

    /// The level in a status, which plans nothing.
    fn level_of_pods(&self) -> Level {
        if self.behind {
            Level::Differs
        } else if self.pods_unread.is_some() {
            Level::Unknown
        } else {
            Level::Skipped
        }
    }

    pub(super) fn level(&self) -> Level {
        let left = || {
            if self.reason.needs_attention() || self.pods_unread.is_some() {
                Level::Unknown
            } else if self.behind {
                Level::Differs
            } else {
                // Also if its data is assumed to be current: nobody has to do anything, and the exit code is 0.
                Level::Skipped
            }
        };
        match (self.outcome, self.action) {
            (Some(RestartOutcome::Failed), _) => Level::Failed,
            (Some(RestartOutcome::Unproven | RestartOutcome::NotReached), _) => Level::Unknown,
            (Some(RestartOutcome::Adopted | RestartOutcome::Renewed), _) => {
                left().max(Level::Changed)
            }
            (Some(RestartOutcome::Left), _) | (None, RestartAction::Leave) => left(),
            (Some(RestartOutcome::Restarted), _)
            | (None, RestartAction::Restart | RestartAction::RestartIfChanged) => Level::Changed,
        }
    }
}
