//! Documents as text: a table, details with next steps, and totals.

use std::{collections::BTreeMap, fmt::Write as _};

use eso_model::{duration::GoDuration, expected::Difference};

use super::{
    Document, DocumentAction, DocumentItem, Kind, Summary, chain,
    layout::Aligned,
    restarts,
    rows::Shown,
    table::{Column, counted, items_table, span},
    view::View,
};
use crate::{
    finding::Verdict,
    foreign::{self, Foreign, line},
    inventory::State,
    key_names::Hidden,
    outcome::{Outcome, SecretChange},
    policy::OnStillStale,
    reason::Reason,
};

const PLAN: [Column; 9] = [
    Column::Namespace,
    Column::Name,
    Column::Store,
    Column::Provider,
    Column::State,
    Column::LastSync,
    Column::Age,
    Column::Action,
    Column::Reason,
];

const REPORT: [Column; 7] = [
    Column::Namespace,
    Column::Name,
    Column::Status,
    Column::Previous,
    Column::Current,
    Column::Secret,
    Column::Reason,
];

const STATUS: [Column; 7] = [
    Column::Namespace,
    Column::Name,
    Column::Store,
    Column::Provider,
    Column::State,
    Column::LastSync,
    Column::Age,
];

const STATUS_WIDE: [Column; 11] = [
    Column::Namespace,
    Column::Name,
    Column::StoreKind,
    Column::Store,
    Column::Provider,
    Column::State,
    Column::LastSync,
    Column::Age,
    Column::Ready,
    Column::Action,
    Column::Reason,
];

const DRIFT: [Column; 7] = [
    Column::Namespace,
    Column::Name,
    Column::Store,
    Column::Provider,
    Column::LastSync,
    Column::Verdict,
    Column::Keys,
];

/// Renders the whole document as text.
pub fn render(document: &Document, view: &View) -> String {
    let mut text = limits(document);
    text.push_str(&verifiable(document));
    let shortens = view.shortens(document);
    let shown = Shown::of(&document.items, shortens, &|item: &DocumentItem| {
        matters(item, document.kind)
    });
    if document.summary.selected == 0 {
        text.push_str("No ExternalSecrets are selected.\n");
    } else {
        if !shown.rows.is_empty() {
            text.push_str(&items(document, &shown.rows, view).text());
        }
        text.push_str(&shown.rest(state));
    }
    text.push_str(&match document.kind {
        Kind::Status => states(&shown.rows, view),
        Kind::Plan | Kind::Report | Kind::Drift => details(&shown.rows, view),
    });
    if matches!(document.kind, Kind::Plan | Kind::Drift) {
        text.push_str(&removals(document));
    }
    let restarts = restarts::render(document, view);
    text.push_str(if text.is_empty() || text.ends_with("\n\n") {
        restarts.trim_start_matches('\n')
    } else {
        &restarts
    });
    text.push_str(&chain::render(document, view));
    text.push_str(&unseen(document));
    if document.kind != Kind::Status {
        text.push_str(&totals(document));
    }
    text
}

/// Aligns these ExternalSecrets of the document.
pub(super) fn items(document: &Document, rows: &[&DocumentItem], view: &View) -> Aligned {
    let chosen = !view.columns.is_empty();
    let columns = if chosen {
        view.columns.clone()
    } else {
        columns(document, view.wide)
    };
    items_table(rows.iter().copied(), &columns, chosen, view.of_tables())
}

/// The columns for this kind of document.
fn columns(document: &Document, wide: bool) -> Vec<Column> {
    let mut columns: Vec<Column> = match (document.kind, wide) {
        (Kind::Plan, _) => PLAN.to_vec(),
        (Kind::Report, _) => REPORT.to_vec(),
        (Kind::Drift, _) => DRIFT.to_vec(),
        (Kind::Status, false) => STATUS.to_vec(),
        (Kind::Status, true) => STATUS_WIDE.to_vec(),
    };
    let checked = !document.summary.verdicts.is_empty();
    if checked && matches!(document.kind, Kind::Plan | Kind::Report) {
        columns.insert(columns.len() - 1, Column::Verdict);
    }
    let has_windows = document.items.iter().any(|item| item.sync_window.is_some());
    if has_windows && matches!(document.kind, Kind::Plan | Kind::Status) {
        columns.insert(columns.len() - 1, Column::SyncWindow);
    }
    columns
}

/// True if a document with many ExternalSecrets shows this one: it failed, is unknown or differs, or its Secret changed.
fn matters(item: &DocumentItem, kind: Kind) -> bool {
    let changed = matches!(
        item.secret,
        Some(SecretChange::Created | SecretChange::Updated)
    );
    let differs = item.verdict.is_some_and(|verdict| match kind {
        // What differs is what a plan syncs.
        Kind::Plan => verdict == Verdict::Unverifiable,
        Kind::Report | Kind::Drift | Kind::Status => verdict != Verdict::InSync,
    });
    let is_open = match item.outcome {
        Some(Outcome::Synced) => false,
        Some(Outcome::Skipped) | None => item.reason.is_some_and(Reason::needs_attention),
        Some(Outcome::Unproven | Outcome::Failed | Outcome::NotReached) => true,
    };
    changed || differs || is_open
}

/// The state of an ExternalSecret in a few words: its outcome, or what is known or planned without one.
fn state(item: &DocumentItem) -> String {
    let Some(outcome) = item.outcome else {
        return match (item.verdict, item.action) {
            (Some(verdict), DocumentAction::Skip) => verdict.into_str().to_owned(),
            (_, DocumentAction::Sync) => "to sync".to_owned(),
            (None, DocumentAction::Skip) => "skipped".to_owned(),
        };
    };
    let outcome = outcome.into_str();
    match (item.outcome, item.reason, item.secret) {
        (Some(Outcome::Synced), _, Some(SecretChange::Unchanged)) => {
            format!("{outcome} (unchanged)")
        }
        (Some(Outcome::Synced), ..) | (_, None, _) => outcome.to_owned(),
        (_, Some(reason), _) => format!("{outcome} ({})", reason.as_str()),
    }
}

/// Renders what safety limits refuse. It comes first, because a plan can be long.
fn limits(document: &Document) -> String {
    let summary = &document.summary;
    let mut text = String::new();
    if let Some(refused) = &summary.refused {
        let _ = write!(
            text,
            "limit exceeded: {}; nothing was changed",
            line(refused)
        );
    }
    for (namespace, why) in &summary.left_alone {
        let start = if text.is_empty() { "" } else { "\n" };
        let _ = write!(
            text,
            "{start}namespace {} is left alone: {}",
            line(namespace),
            line(why)
        );
    }
    if text.is_empty() {
        return text;
    }
    if let Some(allowing) = &summary.allowing {
        let _ = write!(text, "\n  next: {}", line(allowing));
    }
    text + "\n\n"
}

/// Renders the number of ExternalSecrets that have a verdict, and the stores where some have none.
fn verifiable(document: &Document) -> String {
    let stores = &document.summary.verifiable;
    if stores.is_empty() {
        return String::new();
    }
    let sum = |count: fn(&super::DocumentVerifiable) -> usize| -> usize {
        stores.iter().map(count).sum()
    };
    let (known, total) = (sum(|store| store.verifiable), sum(|store| store.total));
    let mut text = format!("Verifiable: {known} of {total}");
    let partly: Vec<String> = stores
        .iter()
        .filter(|store| store.verifiable < store.total)
        .map(|store| {
            let name = store.store.terminal();
            format!("{name} {} of {}", store.verifiable, store.total)
        })
        .collect();
    if !partly.is_empty() {
        let _ = write!(text, " ({})", partly.join(", "));
    }
    text.push_str("\n\n");
    text
}

/// Renders what each state but `ready` means, with the shown items that it concerns and the next step.
fn states(rows: &[&DocumentItem], view: &View) -> String {
    let mut text = String::new();
    for (state, meaning, (command, effect)) in [
        (
            State::Failed,
            "the operator's last sync failed",
            ("diagnose", "shows why"),
        ),
        (
            State::NeverSynced,
            "the operator never synced it",
            ("diagnose", "shows why"),
        ),
        (
            State::Overdue,
            "its last sync is longer ago than its refresh interval or `overdueAfter` allows",
            ("sync", "syncs it now"),
        ),
    ] {
        let items = rows.iter().filter(|item| item.state == state);
        let items: Vec<&DocumentItem> = items.copied().collect();
        let name = match items.as_slice() {
            [] => continue,
            [item] => item.name.terminal(),
            _ => "NAME".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n{} ({}): {meaning}\n  next: `eso-sync {command} {name} -n {}` {effect}\n",
            state.into_str(),
            foreign::first(view.names(), ids(&items)),
            namespace_of(&items)
        );
    }
    text
}

/// The namespace of these items, or a word in its place if they have several.
fn namespace_of(items: &[&DocumentItem]) -> String {
    let mut namespaces = items.iter().map(|item| &item.namespace);
    match namespaces.next() {
        Some(first) if namespaces.all(|other| other == first) => first.terminal(),
        Some(_) | None => "NAMESPACE".to_owned(),
    }
}

/// The namespaces and names of these items.
fn ids(items: &[&DocumentItem]) -> impl ExactSizeIterator<Item = Foreign> {
    items.iter().map(|item| {
        let (namespace, name) = (item.namespace.exact(), item.name.exact());
        Foreign::from(format!("{namespace}/{name}"))
    })
}

/// Renders each message once, with the shown items that it concerns and the next step.
fn details(rows: &[&DocumentItem], view: &View) -> String {
    let mut groups: BTreeMap<(Reason, &Foreign), Vec<&DocumentItem>> = BTreeMap::new();
    for &item in rows {
        let Some(reason) = item.reason else { continue };
        if item.next_step.is_some() || !item.message.is_empty() {
            groups
                .entry((reason, &item.message))
                .or_default()
                .push(item);
        }
    }
    let mut text = String::new();
    for ((reason, message), items) in groups {
        let colon = if message.is_empty() { "" } else { ": " };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n{} ({}){colon}{}\n",
            reason.as_str(),
            foreign::first(view.names(), ids(&items)),
            message.terminal()
        );
        let next = match items.as_slice() {
            [item] => item.next_step(),
            items => {
                let namespace = namespace_of(items);
                items
                    .iter()
                    .find_map(|item| item.next_step_of_one(&namespace))
            }
        };
        if let Some(next) = next {
            let _ = writeln!(text, "  next: {next}");
        }
    }
    text
}

/// Renders the keys that a sync would remove, because the ExternalSecret does not define them.
fn removals(document: &Document) -> String {
    let mut text = String::new();
    for item in &document.items {
        let extra: Vec<&Foreign> = item
            .keys
            .iter()
            .filter(|key| key.difference == Difference::Extra)
            .map(|key| &key.name)
            .collect();
        let is_refused = item.reason.is_some_and(|reason| {
            matches!(
                reason,
                Reason::WouldFail | Reason::Immutable | Reason::Retained | Reason::SecretMissing
            )
        });
        if is_refused || (extra.is_empty() && item.hidden_extra == 0) {
            continue;
        }
        let (namespace, name) = (item.namespace.terminal(), item.name.terminal());
        let mut keys = foreign::first(10, extra.into_iter());
        if item.hidden_extra > 0 {
            let separator = if keys.is_empty() { "" } else { ", " };
            let _ = write!(keys, "{separator}{}", Hidden(item.hidden_extra));
        }
        let _ = write!(
            text,
            "\na sync of {namespace}/{name} removes keys from its Secret: {keys}\n"
        );
    }
    text
}

/// Renders resources that could not be read, and warnings.
fn unseen(document: &Document) -> String {
    let mut text = String::new();
    for store in &document.unread {
        let _ = write!(
            text,
            "\ncould not read from {}: {}\n",
            store.what.terminal(),
            store.why.terminal()
        );
    }
    for gap in &document.gaps {
        let within = gap
            .namespace
            .as_ref()
            .map(|namespace| format!(" in {}", namespace.terminal()))
            .unwrap_or_default();
        let _ = write!(
            text,
            "\ncould not read {}{within}: {}\n",
            gap.what.terminal(),
            gap.why.terminal()
        );
    }
    for warning in &document.warnings {
        let _ = write!(text, "\nwarning: {}\n", warning.terminal());
    }
    text
}

/// Renders the reads of the drift check, the cost, and the possible remedies.
fn reads(document: &Document) -> String {
    let summary = &document.summary;
    let mut text = String::new();
    let reads: Vec<String> = summary
        .reads
        .iter()
        .map(|(quota, calls)| format!("{calls} to {quota}"))
        .collect();
    if !reads.is_empty() {
        let _ = write!(
            text,
            "\nProvider calls of the drift check: {}",
            reads.join(", ")
        );
    }
    if let Some(cost) = summary.about_usd {
        let cost = if cost < 0.01 {
            "less than $0.01".to_owned()
        } else {
            format!("about ${cost:.2}")
        };
        let _ = write!(text, "\nCost of these calls at list prices: {cost}");
    }
    for remedy in [OnStillStale::Refetch, OnStillStale::Recreate] {
        let may = |item: &&DocumentItem| item.if_still_stale == Some(remedy);
        let count = document.items.iter().filter(may).count();
        if count > 0 && document.kind == Kind::Plan {
            let what = match remedy {
                OnStillStale::Recreate => {
                    "the operator's hash is removed from it, and if that does not help, the Secret is deleted"
                }
                OnStillStale::Refetch | OnStillStale::Report => {
                    "the operator's hash is removed from it"
                }
            };
            let _ = write!(
                text,
                "\nIf a Secret is still stale after its sync, {what} ({}): at most {count}",
                remedy.into_str()
            );
        }
    }
    text
}

fn verdicts(summary: &Summary) -> String {
    counted(&summary.verdicts).join(", ")
}

fn totals(document: &Document) -> String {
    let summary = &document.summary;
    let mut text = format!("\n{} selected", summary.selected);
    if document.kind == Kind::Drift {
        let verdicts = verdicts(summary);
        let colon = if verdicts.is_empty() { "" } else { ": " };
        let _ = write!(text, "{colon}{verdicts}");
    } else if document.kind == Kind::Plan {
        let _ = write!(
            text,
            ": {} to sync, {} skipped",
            summary.to_sync, summary.skipped
        );
        let calls: Vec<String> = summary
            .calls
            .iter()
            .map(|(quota, calls)| format!("{calls} to {quota}"))
            .collect();
        if !calls.is_empty() {
            let estimate = GoDuration(std::time::Duration::from_secs(
                summary.estimate_seconds.max(1),
            ));
            let _ = write!(
                text,
                "\nProvider calls: {}; about {estimate}",
                calls.join(", ")
            );
        }
    } else {
        let counts = counted(&summary.outcomes);
        let colon = if counts.is_empty() { "" } else { ": " };
        // `restart` has no table of ExternalSecrets.
        let verdicts =
            Some(verdicts(summary)).filter(|it| document.items.is_empty() && !it.is_empty());
        let verdicts = verdicts.map_or_else(String::new, |it| format!("; their Secrets: {it}"));
        let took = span(document.run.finished.duration_since(document.run.started));
        let _ = write!(
            text,
            "{colon}{}{verdicts}; {} API requests, {took}",
            counts.join(", "),
            summary.requests
        );
    }
    text.push_str(&reads(document));
    text.push('\n');
    text.push_str(&ends(summary));
    text
}

/// Why not everything was done.
fn ends(summary: &Summary) -> String {
    let mut text = String::new();
    if summary.refused.is_some() {
        // The first line may be far above by now.
        let allowing = summary.allowing.as_deref().map(line);
        let next = allowing.map(|allowing| format!(": {allowing}"));
        let _ = writeln!(
            text,
            "a limit is exceeded, so nothing was changed{}",
            next.unwrap_or_default()
        );
    }
    for (namespace, why) in &summary.stopped_namespaces {
        let _ = writeln!(
            text,
            "namespace {} was stopped: {}",
            line(namespace),
            line(why)
        );
    }
    if let Some(stopped) = summary.stopped {
        let _ = writeln!(
            text,
            "stopped early: {}; the report is partial",
            stopped.as_str()
        );
    }
    text
}
