//! Markdown for pull requests and the summary of a CI job: short, with what needs attention and the chain of what changed.

use std::fmt::Write as _;

use crate::{
    foreign::Foreign,
    report::sheet::{ChainLink, Level, Note, Row, Sheet},
};

/// The largest summary of one step that GitHub shows, in bytes.
pub const LIMIT: usize = 1024 * 1024;

/// The most rows of one table.
const ROWS: usize = 100;

/// The kind of a document in words: `Publish report`.
fn words(kind: &str) -> String {
    let mut words = String::new();
    for (at, c) in kind.char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            words.push(' ');
            words.push(c.to_ascii_lowercase());
        } else {
            words.push(c);
        }
    }
    words
}

/// Renders at most `limit` bytes.
pub fn markdown(sheet: &Sheet, limit: usize) -> String {
    let mut rows = ROWS;
    loop {
        let text = short(sheet, rows);
        if text.len() <= limit {
            return text;
        }
        if rows == 0 {
            // Not even the totals fit.
            return String::new();
        }
        rows /= 2;
    }
}

fn short(sheet: &Sheet, most: usize) -> String {
    let mut text = format!(
        "## eso-sync: {} (exit code {})\n\n",
        words(&sheet.kind),
        sheet.run.exit_code
    );
    if !sheet.totals.is_empty() {
        let _ = writeln!(text, "{}\n", sheet.totals.join(" · "));
    }
    notes(&mut text, sheet, most);
    let attention: Vec<&Row> = sheet
        .rows
        .iter()
        .filter(|row| row.level.needs_attention())
        .collect();
    if most == 0 && !attention.is_empty() {
        let _ = writeln!(text, "{} need attention\n", attention.len());
    } else if !attention.is_empty() {
        let _ = writeln!(text, "### Needs attention\n");
        text.push_str(
            "| | object | verdict | outcome | why | what to do |\n|---|---|---|---|---|---|\n",
        );
        for row in attention.iter().take(most) {
            let _ = writeln!(
                text,
                "| {} | {} {} | {} | {} | {} | {} |",
                mark(row.level),
                row.kind,
                row.id().markdown(),
                row.verdict,
                row.outcome,
                row.why().markdown(),
                Foreign::from(&*row.next_step).markdown()
            );
        }
        more(&mut text, attention.len(), most);
    }
    if most > 0 {
        changed(&mut text, sheet, most);
    }
    let run = &sheet.run;
    if let Some(url) = &run.report_url {
        // A policy permits only links without markup.
        let _ = writeln!(text, "[The whole report](<{url}>)\n");
    }
    if run.id.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "<sub>run {} · eso-sync {}{}</sub>",
        run.id,
        run.version,
        match &*run.server {
            "" => String::new(),
            server => format!(" · {}", Foreign::from(server).markdown()),
        }
    );
    text
}

/// The chains of the items that changed, and the workloads outside of a chain.
fn changed(text: &mut String, sheet: &Sheet, most: usize) {
    let rows = sheet.rows.iter();
    let changed: Vec<&Row> = rows.filter(|row| has_changed(row)).collect();
    if changed.is_empty() {
        return;
    }
    if ["Status", "Drift"].contains(&&*sheet.kind) {
        // They change nothing, and plan nothing.
        return;
    }
    let title = if sheet.kind.ends_with("Plan") || sheet.kind == "Impact" {
        "To change"
    } else {
        "Changed"
    };
    let _ = writeln!(text, "### {title}\n");
    for row in changed.iter().take(most) {
        if row.chain.is_empty() {
            let why = row.why().markdown();
            let dash = if why.is_empty() { "" } else { " — " };
            let (kind, name, outcome) = (row.kind, row.id().markdown(), row.outcome);
            let _ = writeln!(text, "- {kind} {name}: {outcome}{dash}{why}");
        } else {
            let links: Vec<String> = row.chain.iter().map(link).collect();
            let _ = writeln!(text, "- **{}**: {}", row.id().markdown(), links.join(" → "));
        }
    }
    more(text, changed.len(), most);
}

/// True if the object changed, or a workload of its chain did although it needed no sync itself.
fn has_changed(row: &Row) -> bool {
    let is_fine = matches!(row.level, Level::Good | Level::Skipped);
    let mut links = row.chain.iter();
    row.level == Level::Changed || is_fine && links.any(|link| link.level == Level::Changed)
}

fn link(link: &ChainLink) -> String {
    let (kind, name) = (link.kind, link.name.markdown());
    format!("{kind} {name} ({} {})", mark(link.level), link.state)
}

fn notes(text: &mut String, sheet: &Sheet, most: usize) {
    for note in sheet.notes.iter().take(most) {
        let (plain, place) = match &note.place {
            Some((file, line)) => {
                let line = line.map_or_else(String::new, |line| format!("{line}:"));
                let plain = format!("{}:{line}", file.exact());
                (plain, format!("{}:{line} ", file.markdown()))
            }
            None => (String::new(), String::new()),
        };
        let Note {
            level, text: what, ..
        } = note;
        // The message of an error may name its place, too.
        let named = !plain.is_empty() && what.exact().starts_with(&plain);
        let place = if named { "" } else { &*place };
        let what = what.markdown();
        let _ = writeln!(text, "- {} {place}{what}", mark(*level));
    }
    more(text, sheet.notes.len(), most);
}

/// Ends a list.
fn more(text: &mut String, count: usize, most: usize) {
    if count > most {
        let _ = writeln!(text, "\n… and {} more", count - most);
    }
    if count > 0 {
        text.push('\n');
    }
}

const fn mark(level: Level) -> &'static str {
    match level {
        Level::Failed => "❌",
        Level::Differs => "⚠️",
        Level::Unknown => "❓",
        Level::Changed => "🔄",
        Level::Good => "✅",
        Level::Skipped => "⚪",
    }
}
