//! The impact as tables.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    document::{Impact, ImpactItem, ImpactWorkload, UseCertainty},
    keys::listed_keys,
};
use crate::{
    foreign::{self, Foreign, line},
    noun::counted,
    reason::Reason,
    report::{DocumentAction, Header, fitted, view::View},
    similar,
};

/// The columns of ExternalSecrets.
const ITEMS: [Header; 9] = [
    Header::name("NAMESPACE"),
    Header::name("NAME"),
    Header::whole("USE"),
    Header::name("STORE").left_out(1),
    Header::name("KEY"),
    Header::name("SECRET").left_out(2),
    Header::name("SECRET KEYS").left_out(0),
    Header::whole("ACTION"),
    Header::whole("REASON"),
];

/// The columns of workloads.
const WORKLOADS: [Header; 7] = [
    Header::name("NAMESPACE"),
    Header::whole("KIND"),
    Header::name("NAME"),
    Header::name("SECRETS").left_out(2),
    Header::whole("ACTION"),
    Header::whole("WAVE").left_out(1),
    Header::whole("REASON"),
];

/// The keys of an ExternalSecret that the table names.
const KEYS: usize = 2;

/// The keys of its Secret that the table names, and those with `-o wide`.
const SECRET_KEYS: usize = 3;
const SECRET_KEYS_WIDE: usize = 20;

/// Renders the whole document.
pub fn text(impact: &Impact, view: &View) -> String {
    let mut text = String::new();
    if let Some(refused) = &impact.summary.refused {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "a run over these would be refused: {}\n",
            line(refused)
        );
    }
    if impact.items.is_empty() {
        text.push_str(&nothing(impact));
        text.push('\n');
    } else {
        let rows = impact.items.iter().map(|item| row(item, view));
        text.push_str(&fitted(&ITEMS, rows, view.of_tables()));
        text.push_str(&details(impact, view));
    }
    if !impact.workloads.is_empty() {
        let rows = impact.workloads.iter().map(workload_row);
        let _ = write!(text, "\n{}", fitted(&WORKLOADS, rows, view.of_tables()));
        text.push_str(&workload_details(impact, view));
    }
    text.push_str(&unseen(impact));
    text.push_str(&totals(impact));
    text
}

/// What was asked for, if nothing was found.
pub(super) fn nothing(impact: &Impact) -> String {
    let asked = &impact.asked;
    let mut parts = Vec::new();
    if !asked.keys.is_empty() {
        parts.push(format!("uses {}", foreign::first(3, asked.keys.iter())));
    }
    if let Some(secret) = &asked.secret {
        parts.push(format!("writes the Secret {}", secret.terminal()));
    }
    if let Some(store) = &asked.store {
        parts.push(format!("reads from the store {}", store.terminal()));
    }
    let within = asked.namespace.as_ref();
    let within = within.map_or_else(String::new, |it| format!(" in namespace {}", it.terminal()));
    let names: Vec<&str> = impact.similar.iter().map(Foreign::exact).collect();
    let end = similar::question(&names).map_or_else(|| ".".to_owned(), |it| format!(": {it}"));
    format!("No ExternalSecret{within} {}{end}", parts.join(" and "))
}

pub(super) fn keys(item: &ImpactItem) -> Vec<Foreign> {
    let read = item.uses.iter().map(|used| {
        let name = used.key.as_ref().or(used.search.as_ref());
        let name = name.map(Foreign::exact).unwrap_or_default();
        match &used.version {
            Some(version) => format!("{name} (version {})", version.exact()),
            None => name.to_owned(),
        }
    });
    let templates = item.templates.iter();
    let templates = templates.map(|secret| format!("template: Secret {}", secret.exact()));
    read.chain(templates).map(Foreign::from).collect()
}

fn row(item: &ImpactItem, view: &View) -> Vec<String> {
    let dash = || "-".to_owned();
    let mut stores: Vec<Foreign> = item
        .uses
        .iter()
        .map(|used| used.store.name.clone())
        .collect();
    stores.dedup();
    let keys = keys(item);
    let most = if view.wide {
        SECRET_KEYS_WIDE
    } else {
        SECRET_KEYS
    };
    let listed = |names: &[Foreign]| match names {
        [] => dash(),
        names => foreign::first(KEYS, names.iter()),
    };
    vec![
        item.namespace.terminal(),
        item.name.terminal(),
        item.certainty.into_str().to_owned(),
        listed(&stores),
        listed(&keys),
        item.secret.as_ref().map_or_else(dash, Foreign::terminal),
        listed_keys(item.secret_keys.iter(), &item.more_secret_keys, most)
            .map_or_else(dash, |keys| keys.terminal()),
        action(item).to_owned(),
        item.reason.as_str(),
    ]
}

pub(super) const fn action(item: &ImpactItem) -> &'static str {
    match item.action {
        DocumentAction::Sync => "sync",
        DocumentAction::Skip => "skip",
    }
}

fn workload_row(workload: &ImpactWorkload) -> Vec<String> {
    vec![
        workload.namespace.terminal(),
        workload.kind.into_str().to_owned(),
        workload.name.terminal(),
        foreign::first(3, workload.secrets.iter()),
        workload.action.into_str().to_owned(),
        workload
            .wave
            .map_or_else(|| "-".to_owned(), |wave| wave.to_string()),
        workload.reason.as_str(),
    ]
}

/// Renders why ExternalSecrets are skipped, and why they only may use a key.
fn details(impact: &Impact, view: &View) -> String {
    let mut text = String::new();
    let mut groups: BTreeMap<(Reason, &Foreign), Vec<&ImpactItem>> = BTreeMap::new();
    for item in &impact.items {
        if item.next_step.is_some() || !item.message.is_empty() {
            let group = groups.entry((item.reason, &item.message)).or_default();
            group.push(item);
        }
    }
    for ((reason, message), items) in groups {
        let names = items.iter().map(|item| name(&item.namespace, &item.name));
        let next = items.iter().find_map(|item| item.next_step);
        text.push_str(&detail(
            reason,
            &foreign::first(view.names(), names),
            message,
            next,
        ));
    }
    let mut perhaps: BTreeMap<&'static str, Vec<Foreign>> = BTreeMap::new();
    for item in &impact.items {
        if item.certainty == UseCertainty::MayUse
            && let Some(why) = item.uses.iter().find_map(|used| used.why)
        {
            let named = perhaps.entry(why).or_default();
            named.push(name(&item.namespace, &item.name));
        }
    }
    for (why, names) in perhaps {
        let _ = writeln!(
            text,
            "\nmay-use ({}): {why}",
            foreign::first(view.names(), names.iter())
        );
    }
    text
}

fn workload_details(impact: &Impact, view: &View) -> String {
    let mut groups: BTreeMap<(Reason, &Foreign), Vec<&ImpactWorkload>> = BTreeMap::new();
    for workload in &impact.workloads {
        if workload.next_step.is_some() || !workload.message.is_empty() {
            let group = groups
                .entry((workload.reason, &workload.message))
                .or_default();
            group.push(workload);
        }
    }
    let mut text = String::new();
    for ((reason, message), workloads) in groups {
        let names = workloads.iter().map(|one| {
            let (namespace, kind, name) = (&one.namespace, one.kind.into_str(), &one.name);
            Foreign::from(format!("{}/{kind}/{}", namespace.exact(), name.exact()))
        });
        let next = workloads.iter().find_map(|one| one.next_step);
        text.push_str(&detail(
            reason,
            &foreign::first(view.names(), names),
            message,
            next,
        ));
    }
    text
}

fn name(namespace: &Foreign, name: &Foreign) -> Foreign {
    format!("{}/{}", namespace.exact(), name.exact()).into()
}

fn detail(reason: Reason, names: &str, message: &Foreign, next: Option<&'static str>) -> String {
    let colon = if message.is_empty() { "" } else { ": " };
    let mut text = format!(
        "\n{} ({names}){colon}{}\n",
        reason.as_str(),
        message.terminal()
    );
    if let Some(next) = next {
        let _ = writeln!(text, "  next: {next}");
    }
    text
}

pub(super) fn unseen(impact: &Impact) -> String {
    let mut text = String::new();
    for gap in &impact.gaps {
        let within = gap.namespace.as_ref();
        let within = within.map_or_else(String::new, |it| format!(" in {}", it.terminal()));
        let (what, why) = (gap.what.terminal(), gap.why.terminal());
        let _ = write!(text, "\ncould not read {what}{within}: {why}\n");
    }
    for warning in &impact.warnings {
        let _ = write!(text, "\nwarning: {}\n", warning.terminal());
    }
    text
}

fn totals(impact: &Impact) -> String {
    let summary = &impact.summary;
    let mut text = format!(
        "\n{}: {} to sync; {}; {}: {} to restart\n",
        counted(summary.external_secrets, "ExternalSecret"),
        summary.to_sync,
        counted(summary.secrets, "Secret"),
        counted(summary.workloads, "workload"),
        summary.to_restart
    );
    if summary.uncertain > 0 {
        let _ = writeln!(text, "{} of them only may use the key", summary.uncertain);
    }
    text
}
