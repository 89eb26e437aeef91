//! The history as tables.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;

use super::document::{History, HistoryItem, HistoryPoint, HistoryRun, HistoryTrend};
use crate::{
    noun::counted as number,
    report::{Header, fitted, view::View},
};

/// The columns of runs.
const RUNS: [Header; 9] = [
    Header::whole("STARTED"),
    Header::whole("RUN").left_out(2),
    Header::whole("COMMAND"),
    Header::name("JOB").left_out(4),
    Header::whole("EXIT"),
    Header::whole("TOOK").left_out(1),
    Header::whole("OBJECTS").left_out(3),
    Header::whole("ATTENTION").left_out(5),
    Header::list("RESULT"),
];

/// The columns of objects that need attention.
const DUE: [Header; 6] = [
    Header::name("NAMESPACE"),
    Header::whole("KIND").left_out(2),
    Header::name("NAME"),
    Header::whole("SINCE"),
    Header::whole("RUNS").left_out(1),
    Header::whole("LAST"),
];

/// The columns of what runs said about one object.
const POINTS: [Header; 5] = [
    Header::whole("STARTED"),
    Header::whole("RUN").left_out(1),
    Header::whole("VERDICT"),
    Header::whole("OUTCOME"),
    Header::whole("REASON"),
];

/// The most objects that need attention in the table.
const MOST_ITEMS: usize = 25;

/// The most numbers of a trend.
const MOST_NUMBERS: usize = 15;

/// Renders the whole document.
pub fn text(history: &History, view: &View) -> String {
    let mut text = String::new();
    for warning in &history.warnings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\n", warning.terminal());
    }
    if history.runs.is_empty() && !history.warnings.is_empty() {
        return text;
    }
    if history.runs.is_empty() {
        let _ = writeln!(
            text,
            "The ConfigMap {} has no runs. A policy with `report: {{history: 20}}` keeps the last 20.",
            history.config_map
        );
        return text;
    }
    match &history.about {
        Some(about) => {
            let named = format!("{}/{}", about.namespace, about.name);
            of_one(&mut text, history, &named, view);
        }
        None => of_all(&mut text, history, view),
    }
    text
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn or_dash(text: Option<&String>) -> String {
    text.map_or_else(|| "-".to_owned(), Clone::clone)
}

fn of_all(text: &mut String, history: &History, view: &View) {
    let screen = view.of_tables();
    text.push_str(&fitted(&RUNS, history.runs.iter().map(row), screen));
    let due: Vec<&HistoryItem> = history
        .items
        .iter()
        .filter(|item| item.attention_since.is_some())
        .collect();
    if !due.is_empty() {
        let rows = due.iter().take(MOST_ITEMS).map(|item| due_row(item));
        let _ = write!(text, "\nNeeds attention:\n{}", fitted(&DUE, rows, screen));
        if due.len() > MOST_ITEMS {
            let _ = writeln!(text, "… and {} more", due.len() - MOST_ITEMS);
        }
    }
    let _ = writeln!(text, "\nObjects that need attention, oldest run first:");
    for trend in &history.trends {
        let _ = writeln!(text, "  {}", developed(trend));
    }
    let summary = &history.summary;
    let since = summary.since.map(time).unwrap_or_default();
    let _ = writeln!(
        text,
        "{} since {since}, {} failed; need attention now: {}",
        number(summary.runs, "run"),
        summary.failed,
        summary.attention
    );
    if let Some(url) = history.runs.iter().find_map(|run| run.report_url.as_ref()) {
        let _ = writeln!(text, "Reports: {url}");
    }
}

fn row(run: &HistoryRun) -> [String; 9] {
    [
        time(run.started),
        run.id.clone(),
        run.command.clone(),
        or_dash(run.job.as_ref()),
        run.exit_code.to_string(),
        format!("{:.1} s", run.took_seconds),
        run.objects.to_string(),
        run.attention.to_string(),
        result(run),
    ]
}

/// What the run did, in words: first what somebody may have to look at, then what changed, then what stayed.
pub(super) fn result(run: &HistoryRun) -> String {
    let mut parts: Vec<(u8, String)> = Vec::new();
    let mut count = |counts: &BTreeMap<String, u32>, one: Option<&str>| {
        for (word, &count) in counts {
            let what = match one {
                Some(one) => number(usize::try_from(count).unwrap_or(usize::MAX), one),
                None => count.to_string(),
            };
            parts.push((order(word), format!("{what} {word}")));
        }
    };
    count(&run.outcomes, None);
    count(&run.verdicts, None);
    count(&run.workloads, Some("workload"));
    count(&run.published, Some("secret"));
    parts.sort_by_key(|(order, _)| *order);
    let mut parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
    if !run.complete && run.objects > 0 {
        parts.insert(0, "ended early".to_owned());
    }
    if run.cut > 0 {
        parts.push(format!("{} not listed", run.cut));
    }
    if parts.is_empty() {
        return "ended before it began".to_owned();
    }
    parts.join(", ")
}

/// The place of a word in a result. A word that is not known here may be bad news, so it comes first.
fn order(word: &str) -> u8 {
    match word {
        "synced" | "restarted" | "adopted" | "renewed" | "published" | "removed" => 1,
        "skipped" | "in-sync" | "left" | "sync" | "skip" => 2,
        _ => 0,
    }
}

fn due_row(item: &HistoryItem) -> [String; 6] {
    let runs = item.course.iter().filter(|point| point.attention).count();
    [
        item.namespace.clone(),
        item.kind.to_owned(),
        item.name.clone(),
        item.attention_since.map(time).unwrap_or_default(),
        runs.to_string(),
        item.course.first().map(said).unwrap_or_default(),
    ]
}

/// What a run said about an object, in one line.
pub(super) fn said(point: &HistoryPoint) -> String {
    let words = [&point.verdict, &point.outcome, &point.reason];
    let mut words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
    words.dedup();
    words.join(", ")
}

fn developed(trend: &HistoryTrend) -> String {
    let job = trend.job.as_ref();
    let job = job.map(|job| format!(" of {job}")).unwrap_or_default();
    let left = trend.attention.len().saturating_sub(MOST_NUMBERS);
    let numbers: Vec<String> = trend
        .attention
        .iter()
        .skip(left)
        .map(ToString::to_string)
        .collect();
    let numbers = if numbers.is_empty() {
        "no run knew its objects".to_owned()
    } else {
        numbers.join(" ")
    };
    let dots = if left > 0 { "… " } else { "" };
    let word = trend.trend.into_str();
    format!("{}{job}: {dots}{numbers} ({word})", trend.command)
}

fn of_one(text: &mut String, history: &History, named: &str, view: &View) {
    let runs = history.summary.runs;
    if history.items.is_empty() {
        let _ = writeln!(
            text,
            "None of {} changed {named} or found anything wrong with it. Its name was not checked: runs keep only what needed something.",
            number(runs, "run")
        );
        let cut: u32 = history.runs.iter().map(|run| run.cut).max().unwrap_or(0);
        if cut > 0 {
            let _ = writeln!(text, "Not every run had room for all of its objects.");
        }
        return;
    }
    for item in &history.items {
        let _ = writeln!(text, "{} {named}", item.kind);
        let rows = item.course.iter().map(point_row);
        text.push_str(&fitted(&POINTS, rows, view.of_tables()));
        if let Some(first) = item.first_drifted {
            let _ = writeln!(text, "First drifted: {}", time(first));
        }
        let now = match item.attention_since {
            Some(since) => format!("needs attention since {}", time(since)),
            None => "does not need attention".to_owned(),
        };
        let count = item.course.iter().filter(|point| point.attention).count();
        let _ = writeln!(
            text,
            "Now: {now}; it needed attention in {count} of {}.\n",
            number(runs, "run")
        );
    }
}

fn point_row(point: &HistoryPoint) -> [String; 5] {
    [
        time(point.at),
        point.run.clone(),
        or_dash(point.verdict.as_ref()),
        or_dash(point.outcome.as_ref()),
        or_dash(point.reason.as_ref()),
    ]
}
