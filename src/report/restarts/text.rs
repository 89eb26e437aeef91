//! Workloads as text: a table, and details with next steps.

use std::fmt::Write as _;

use super::{DocumentRestart, DocumentSecret, RestartAction, RestartSummary, StampAction};
use crate::{
    foreign,
    key_names::Hidden,
    noun,
    report::{
        Document, Kind,
        layout::{Cell, Header, Tone, align},
        rows::Shown,
        table::counted,
        view::View,
    },
    restart::results::RestartOutcome,
};

/// Renders the workloads as text. Empty if no rule covers any.
pub(in crate::report) fn render(document: &Document, view: &View) -> String {
    if document.restarts.is_empty() {
        return String::new();
    }
    let what = match document.kind {
        Kind::Status => "PODS",
        Kind::Plan | Kind::Drift => "ACTION",
        Kind::Report => "STATUS",
    };
    let header = [
        Header::name("NAMESPACE"),
        Header::whole("KIND"),
        Header::name("NAME"),
        Header::whole(what),
        Header::whole("WAVE").left_out(1),
        Header::name("SECRETS[KEYS]").left_out(2),
        Header::whole("REASON"),
    ];
    let shortens = view.shortens(document);
    let shown = Shown::of(&document.restarts, shortens, &DocumentRestart::matters);
    let rows = shown.rows.iter().map(|restart| restart.row(document.kind));
    let rows: Vec<Vec<Cell>> = rows.map(Vec::from).collect();
    let mut text = String::from("\n");
    if !rows.is_empty() {
        text.push_str(&align(&header, &rows, view.of_tables()).text());
    }
    text.push_str(&shown.rest(DocumentRestart::state_after_run));
    for restart in &shown.rows {
        text.push_str(&detail(restart));
    }
    if let Some(summary) = &document.summary.restarts {
        text.push_str(&totals(document.kind, summary));
    }
    text
}

fn detail(restart: &DocumentRestart) -> String {
    let mut text = String::new();
    let owner = restart.owner.as_ref().filter(|_| restart.is_restarted());
    let owner = owner.and_then(|owner| Some((owner, owner.next_step?)));
    if restart.next_step.is_none()
        && restart.message.is_empty()
        && restart.old_pods.is_empty()
        && owner.is_none()
    {
        return text;
    }
    let colon = if restart.message.is_empty() { "" } else { ": " };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{} ({}/{}/{}){colon}{}",
        restart.reason.as_str(),
        restart.namespace.terminal(),
        restart.kind.into_str(),
        restart.name.terminal(),
        restart.message.terminal()
    );
    if !restart.old_pods.is_empty() {
        let pods = foreign::first(5, restart.old_pods.iter());
        let _ = writeln!(text, "  pods with old data: {pods}");
    }
    if let Some((owner, advice)) = owner {
        let (kind, name) = (owner.kind.terminal(), owner.name.terminal());
        let _ = writeln!(text, "  owner: {kind} {name}: {advice}");
    }
    if let Some(next) = restart.next_step {
        let _ = writeln!(text, "  next: {next}");
    }
    text
}

fn totals(kind: Kind, summary: &RestartSummary) -> String {
    let mut text = format!("\n{}", noun::counted(summary.covered, "workload"));
    if kind == Kind::Report {
        let counts = counted(&summary.outcomes);
        let _ = write!(text, ": {}", counts.join(", "));
    } else {
        let _ = write!(
            text,
            ": {} to restart, {} if their data changes",
            summary.to_restart, summary.if_changed
        );
    }
    let _ = writeln!(
        text,
        "; {} behind, {} assumed",
        summary.behind, summary.assumed
    );
    text
}

impl DocumentRestart {
    /// What the plan does, in one word.
    pub(in crate::report) const fn planned_word(&self) -> &'static str {
        match (self.action, self.stamp) {
            (RestartAction::Leave, Some(StampAction::Adopt)) => "adopt",
            (RestartAction::Leave, Some(StampAction::Renew)) => "renew",
            (action, _) => action.into_str(),
        }
    }

    /// True if it is to be restarted, or was restarted and the owner may still take that back.
    fn is_restarted(&self) -> bool {
        match self.outcome {
            None => self.action != RestartAction::Leave,
            Some(outcome) => outcome == RestartOutcome::Restarted,
        }
    }

    /// True if a report of many workloads shows this one: it was restarted, or failed, or runs with old or unknown data.
    fn matters(&self) -> bool {
        let is_open = self
            .outcome
            .is_some_and(|outcome| outcome == RestartOutcome::Restarted || !outcome.is_good());
        is_open || self.behind || self.reason.needs_attention()
    }

    /// The outcome and its reason.
    fn state_after_run(&self) -> String {
        let planned = self.planned_word();
        let outcome = self.outcome.map_or(planned, |outcome| outcome.into_str());
        let reason = self.reason.as_str();
        if outcome == reason {
            reason
        } else {
            format!("{outcome} ({reason})")
        }
    }

    fn tone(&self, kind: Kind) -> Tone {
        match (kind, self.outcome) {
            (Kind::Status, _) => match self.state() {
                "current" => Tone::Good,
                "behind" => Tone::Bad,
                _ => Tone::Caution,
            },
            (_, None) => Tone::Plain,
            (_, Some(RestartOutcome::Restarted)) => Tone::Good,
            (_, Some(RestartOutcome::Failed)) => Tone::Bad,
            (_, Some(RestartOutcome::Unproven | RestartOutcome::NotReached)) => Tone::Caution,
            (_, Some(RestartOutcome::Adopted | RestartOutcome::Renewed | RestartOutcome::Left)) => {
                Tone::Plain
            }
        }
    }

    fn row(&self, kind: Kind) -> [Cell; 7] {
        let what = match (kind, self.outcome) {
            (Kind::Status, _) => self.state().to_owned(),
            (_, Some(outcome)) => outcome.into_str().to_owned(),
            (_, None) => self.planned_word().to_owned(),
        };
        let wave = self
            .wave
            .map_or_else(|| "-".to_owned(), |wave| wave.to_string());
        let what = Cell {
            text: what,
            tone: self.tone(kind),
        };
        [
            self.namespace.terminal().into(),
            self.kind.into_str().to_owned().into(),
            self.name.terminal().into(),
            what,
            wave.into(),
            self.secrets_cell().into(),
            self.reason.as_str().into(),
        ]
    }

    /// Returns the state for `status` in one word.
    pub(in crate::report) fn state(&self) -> &'static str {
        if self.behind {
            "behind"
        } else if self.stamp == Some(StampAction::Adopt) || self.reason.needs_attention() {
            "unknown"
        } else if self.assumed.is_empty() {
            "current"
        } else {
            "assumed"
        }
    }

    fn secrets_cell(&self) -> String {
        let shown: Vec<String> = self
            .secrets
            .iter()
            .take(2)
            .map(DocumentSecret::short)
            .collect();
        match self.secrets.len() {
            0 => "-".to_owned(),
            1 | 2 => shown.join(" "),
            more => format!("{} +{}", shown.join(" "), more - 2),
        }
    }
}

impl DocumentSecret {
    fn short(&self) -> String {
        let keys = self.keys.iter().take(3).map(|key| key.name.terminal());
        let mut keys: Vec<String> = keys.collect();
        if self.keys.len() > 3 {
            keys.push(format!("+{}", self.keys.len() - 3));
        }
        if self.hidden_keys > 0 {
            keys.push(Hidden(self.hidden_keys).to_string());
        }
        let name = self.name.terminal();
        if keys.is_empty() {
            return name;
        }
        format!("{name}[{}]", keys.join(","))
    }
}
