//! The columns of tables of ExternalSecrets, and the forms of times and counts.

use std::{cmp::Ordering, collections::BTreeMap};

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp};

use super::{
    DocumentAction, DocumentItem, DocumentKey, Kind,
    layout::{Aligned, Cell, Header, Tone, align},
};
use crate::{
    finding::Verdict,
    foreign::Foreign,
    inventory::State,
    key_names::Hidden,
    outcome::{Outcome, SecretChange},
    reason::Reason,
    screen::Screen,
};

/// A column of a table of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// The namespace
    Namespace,
    /// The name of the ExternalSecret
    Name,
    /// The store
    Store,
    /// The kind of the store
    StoreKind,
    /// The provider
    Provider,
    /// The state by its status
    State,
    /// The time of the last sync
    LastSync,
    /// The age of the last sync
    Age,
    /// The verdict of the drift check
    Verdict,
    /// The keys that differ
    Keys,
    /// Sync or skip
    Action,
    /// The outcome
    Status,
    /// The time of the last sync before the run
    #[value(name = "previous-sync")]
    Previous,
    /// The start time of the run's sync
    #[value(name = "current-sync")]
    Current,
    /// The change of the target Secret
    Secret,
    /// The reason for the action or the outcome
    Reason,
    /// The reason of the Ready condition
    #[value(name = "ready-reason")]
    Ready,
    /// The state of `syncWindows`
    SyncWindow,
}

impl Column {
    /// True if the items of this document can have a value in the column. A column of dashes would look like a finding.
    pub const fn is_in(self, kind: Kind) -> bool {
        match self {
            Self::Namespace
            | Self::Name
            | Self::Store
            | Self::StoreKind
            | Self::Provider
            | Self::State
            | Self::LastSync
            | Self::Age
            | Self::Action
            | Self::Reason
            | Self::Ready
            | Self::SyncWindow => true,
            // `status` reads no provider.
            Self::Verdict | Self::Keys => !matches!(kind, Kind::Status),
            Self::Status | Self::Previous | Self::Current | Self::Secret => {
                matches!(kind, Kind::Report)
            }
        }
    }

    /// The title, and what happens to the column in a narrow terminal: times go first, and what a table is about stays.
    const fn header(self) -> Header {
        match self {
            Self::Namespace => Header::name("NAMESPACE"),
            Self::Name => Header::name("NAME"),
            Self::Store => Header::name("STORE").left_out(8),
            Self::StoreKind => Header::whole("STORE KIND").left_out(4),
            Self::Provider => Header::name("PROVIDER").left_out(5),
            Self::State => Header::whole("STATE"),
            Self::LastSync => Header::whole("LAST SYNC").left_out(2),
            Self::Age => Header::whole("AGE").left_out(6),
            Self::Verdict => Header::whole("VERDICT"),
            Self::Keys => Header::name("KEYS"),
            Self::Action => Header::whole("ACTION"),
            Self::Status => Header::whole("STATUS"),
            Self::Previous => Header::whole("PREVIOUS SYNC").left_out(1),
            Self::Current => Header::whole("CURRENT SYNC").left_out(3),
            Self::Secret => Header::whole("SECRET").left_out(9),
            Self::Reason => Header::whole("REASON"),
            Self::Ready => Header::name("READY REASON").left_out(7),
            Self::SyncWindow => Header::whole("SYNC WINDOW").left_out(7),
        }
    }

    fn tone(self, item: &DocumentItem) -> Tone {
        match self {
            Self::Verdict => item.verdict.map_or(Tone::Plain, Tone::from),
            Self::Status => item.outcome.map_or(Tone::Plain, Tone::from),
            Self::State => match item.state {
                State::Ready => Tone::Good,
                State::Failed => Tone::Bad,
                State::NeverSynced | State::Overdue => Tone::Caution,
            },
            Self::Namespace
            | Self::Name
            | Self::Store
            | Self::StoreKind
            | Self::Provider
            | Self::LastSync
            | Self::Age
            | Self::Keys
            | Self::Action
            | Self::Previous
            | Self::Current
            | Self::Secret
            | Self::Reason
            | Self::Ready
            | Self::SyncWindow => Tone::Plain,
        }
    }

    /// The order of two items by this column. Items without a value come last.
    pub(super) fn compare(self, a: &DocumentItem, b: &DocumentItem) -> Ordering {
        fn last<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
            match (a, b) {
                (Some(a), Some(b)) => a.cmp(&b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            }
        }
        match self {
            Self::Age => last(a.age_seconds, b.age_seconds),
            Self::LastSync | Self::Previous => last(a.previous_sync, b.previous_sync),
            Self::Current => last(a.current_sync, b.current_sync),
            Self::Verdict => last(a.verdict, b.verdict),
            Self::Status => last(a.outcome, b.outcome),
            Self::Namespace
            | Self::Name
            | Self::Store
            | Self::StoreKind
            | Self::Provider
            | Self::State
            | Self::Keys
            | Self::Action
            | Self::Secret
            | Self::Reason
            | Self::Ready
            | Self::SyncWindow => {
                let text = |item| Some(self.text(item)).filter(|text| text != "-");
                last(text(a), text(b))
            }
        }
    }

    fn cell(self, item: &DocumentItem) -> Cell {
        Cell {
            text: self.text(item),
            tone: self.tone(item),
        }
    }

    fn text(self, item: &DocumentItem) -> String {
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

impl From<Verdict> for Tone {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::InSync => Self::Good,
            Verdict::Stale | Verdict::Unverifiable => Self::Caution,
            Verdict::Tampered | Verdict::Partial | Verdict::Missing => Self::Bad,
        }
    }
}

impl From<Outcome> for Tone {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Synced => Self::Good,
            Outcome::Unproven | Outcome::NotReached => Self::Caution,
            Outcome::Failed => Self::Bad,
            Outcome::Skipped => Self::Plain,
        }
    }
}

/// Aligns items, one line each. Columns that the user chose are never left out.
pub(super) fn items_table<'a>(
    items: impl IntoIterator<Item = &'a DocumentItem>,
    columns: &[Column],
    chosen: bool,
    screen: Screen,
) -> Aligned {
    let headers: Vec<Header> = columns
        .iter()
        .map(|column| match column.header() {
            header if chosen => header.kept(),
            header => header,
        })
        .collect();
    let rows: Vec<Vec<Cell>> = items
        .into_iter()
        .map(|item| columns.iter().map(|column| column.cell(item)).collect())
        .collect();
    align(&headers, &rows, screen)
}

/// Renders a header and rows in aligned columns that fit the terminal.
pub fn fitted(
    headers: &[Header],
    rows: impl Iterator<Item = impl IntoIterator<Item = String>>,
    screen: Screen,
) -> String {
    let rows: Vec<Vec<Cell>> = rows
        .map(|row| row.into_iter().map(Cell::from).collect())
        .collect();
    align(headers, &rows, screen).text()
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
    use super::*;

    #[test]
    fn columns_are_named_as_their_titles() {
        for column in Column::value_variants() {
            let value = column.to_possible_value().unwrap();
            let title = column.header().title;
            assert_eq!(value.get_name(), title.to_lowercase().replace(' ', "-"));
        }
    }

    #[test]
    fn ages_are_short() {
        let ages = [0, 119, 120, 3600, 7200, 7260, 100_000, 200_000].map(age);
        assert_eq!(
            ages,
            ["0s", "119s", "2m", "60m", "2h", "2h1m", "27h46m", "2d"]
        );
    }
}
