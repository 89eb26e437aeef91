//! Tables in the style of kubectl: aligned columns, no frames, readable without colour.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use jiff::{SignedDuration, Timestamp};

use super::{DocumentAction, DocumentItem, DocumentKey};
use crate::{
    foreign::Foreign,
    key_names::Hidden,
    outcome::{Outcome, SecretChange},
    reason::Reason,
};

/// A column of a table of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Namespace,
    Name,
    /// The store.
    Store,
    StoreKind,
    /// The provider.
    Provider,
    /// The state before the run.
    State,
    /// The time of the last sync.
    LastSync,
    /// The age of the last sync.
    Age,
    /// The verdict of the drift check.
    Verdict,
    /// The keys that differ.
    Keys,
    /// Sync or skip.
    Action,
    /// The outcome.
    Status,
    /// The time of the last sync before the run.
    Previous,
    /// The start time of the run's sync.
    Current,
    /// The change of the target Secret.
    Secret,
    /// The reason for the action or the outcome.
    Reason,
    /// The reason of the Ready condition.
    Ready,
    /// The state of `syncWindows`.
    SyncWindow,
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Namespace => "NAMESPACE",
            Self::Name => "NAME",
            Self::Store => "STORE",
            Self::StoreKind => "STORE KIND",
            Self::Provider => "PROVIDER",
            Self::State => "STATE",
            Self::LastSync => "LAST SYNC",
            Self::Age => "AGE",
            Self::Verdict => "VERDICT",
            Self::Keys => "KEYS",
            Self::Action => "ACTION",
            Self::Status => "STATUS",
            Self::Previous => "PREVIOUS SYNC",
            Self::Current => "CURRENT SYNC",
            Self::Secret => "SECRET",
            Self::Reason => "REASON",
            Self::Ready => "READY REASON",
            Self::SyncWindow => "SYNC WINDOW",
        }
    }

    fn cell(self, item: &DocumentItem) -> String {
        let dash = || "-".to_owned();
        match self {
            Self::Namespace => item.namespace.terminal(),
            Self::Name => item.name.terminal(),
            Self::Store => item
                .store
                .as_ref()
                .map_or_else(dash, |store| store.name.terminal()),
            Self::StoreKind => item
                .store
                .as_ref()
                .map_or_else(dash, |store| store.kind.into_str().to_owned()),
            Self::Provider => item.provider.terminal(),
            Self::State => item.state.into_str().to_owned(),
            Self::LastSync | Self::Previous => {
                time(item.previous_sync).unwrap_or_else(|| "never".to_owned())
            }
            Self::Age => item.age_seconds.map_or_else(dash, age),
            Self::Verdict => item
                .verdict
                .map_or_else(dash, |verdict| verdict.into_str().to_owned()),
            Self::Keys => keys(&item.keys, item.hidden_keys),
            Self::Action => match item.action {
                DocumentAction::Sync => "sync".to_owned(),
                DocumentAction::Skip => "skip".to_owned(),
            },
            Self::Status => item
                .outcome
                .map_or_else(dash, |outcome| outcome.into_str().to_owned()),
            Self::Current => time(item.current_sync).unwrap_or_else(dash),
            Self::Secret => match item.secret {
                Some(SecretChange::Created) => "created".to_owned(),
                Some(SecretChange::Updated) => "updated".to_owned(),
                Some(SecretChange::Unchanged) => "unchanged".to_owned(),
                Some(SecretChange::Unknown) => "unknown".to_owned(),
                None => dash(),
            },
            Self::Reason => item
                .reason
                .filter(|_| item.outcome != Some(Outcome::Synced))
                .map_or_else(dash, Reason::as_str),
            Self::SyncWindow => item
                .sync_window
                .map_or_else(dash, |window| window.into_str().to_owned()),
            Self::Ready => item
                .ready_reason
                .as_ref()
                .map_or_else(dash, Foreign::terminal),
        }
    }
}

/// Formats the first three keys and the number of further keys.
fn keys(keys: &[DocumentKey], hidden: usize) -> String {
    let names: Vec<String> = keys.iter().take(3).map(|key| key.name.terminal()).collect();
    let mut parts = Vec::new();
    if !names.is_empty() {
        parts.push(names.join(","));
    }
    if keys.len() > names.len() {
        parts.push(format!("{} more", keys.len() - names.len()));
    }
    if hidden > 0 {
        parts.push(Hidden(hidden).to_string());
    }
    if parts.is_empty() {
        return "-".to_owned();
    }
    parts.join(" and ")
}

fn time(time: Option<Timestamp>) -> Option<String> {
    Some(time?.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// Formats an age in the style of kubectl: at most two units.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{minutes}m"),
        7_200..172_800 if minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        7_200..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// Renders the items as a table, one line each.
pub fn items_table(items: &[DocumentItem], columns: &[Column]) -> String {
    aligned(
        columns.iter().map(|column| column.title()),
        items
            .iter()
            .map(|item| columns.iter().map(|column| column.cell(item))),
    )
}

/// Renders a header and rows in aligned columns.
pub fn aligned(
    header: impl IntoIterator<Item = &'static str>,
    rows: impl Iterator<Item = impl IntoIterator<Item = String>>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.into_iter().collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.into_iter().collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines = table.lines();
    lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Formats a duration for people: `3.2 s`, `4 min 10 s`.
pub(super) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs_f64().max(0.0);
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!(
            "{} min {} s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        )
    }
}

/// Formats the counts in the order of the variants: `12 synced`.
pub(in crate::report) fn counted<T>(counts: &BTreeMap<T, usize>) -> Vec<String>
where
    T: Copy + Ord + strum::VariantArray + Into<&'static str>,
{
    let each = T::VARIANTS.iter().filter_map(|&what| {
        let word: &str = what.into();
        Some(format!("{} {word}", counts.get(&what)?))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_are_short() {
        let ages = [0, 119, 120, 3600, 7200, 7260, 100_000, 200_000].map(age);
        assert_eq!(
            ages,
            ["0s", "119s", "2m", "60m", "2h", "2h1m", "27h46m", "2d"]
        );
    }
}
