//! What changed between two documents of `status`, as lines for people.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Document, DocumentItem, DocumentRestart, text::items, view::View};

/// A line for each ExternalSecret and workload that is new, gone or different, in the columns of the table of the newer document, and
/// for each resource that became unreadable. The age of a sync alone is no change.
pub fn changed_lines(before: &Document, after: &Document, view: &View) -> String {
    let old: BTreeMap<_, &DocumentItem> =
        before.items.iter().map(|item| (key(item), item)).collect();
    let new: BTreeMap<_, &DocumentItem> =
        after.items.iter().map(|item| (key(item), item)).collect();
    let all: Vec<&DocumentItem> = after.items.iter().collect();
    let mut text = String::new();
    for (item, line) in all.iter().zip(items(after, &all, view).rows) {
        if old.get(&key(item)).is_none_or(|old| differs(old, item)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    // Writing to a String cannot fail.
    for gone in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        let (namespace, name) = (gone.1.namespace.terminal(), gone.1.name.terminal());
        let _ = writeln!(text, "{namespace}/{name} is gone");
    }
    text + &workloads(before, after) + &gaps(before, after)
}

/// The names of the ExternalSecrets that are new or different.
pub fn changed_items<'a>(before: &Document, after: &'a Document) -> Vec<&'a DocumentItem> {
    let old: BTreeMap<_, &DocumentItem> =
        before.items.iter().map(|item| (key(item), item)).collect();
    let changed = |item: &&DocumentItem| old.get(&key(item)).is_none_or(|old| differs(old, item));
    after.items.iter().filter(changed).collect()
}

/// True if the documents show different states of the cluster.
pub fn has_changed(before: &Document, after: &Document) -> bool {
    before.items.len() != after.items.len()
        || !changed_items(before, after).is_empty()
        || before.restarts != after.restarts
        || before.gaps != after.gaps
        || before.warnings != after.warnings
}

fn key(item: &DocumentItem) -> (&str, &str) {
    (item.namespace.exact(), item.name.exact())
}

fn differs(before: &DocumentItem, after: &DocumentItem) -> bool {
    let ageless = |item: &DocumentItem| DocumentItem {
        age_seconds: None,
        ..item.clone()
    };
    ageless(before) != ageless(after)
}

fn workloads(before: &Document, after: &Document) -> String {
    let key = |restart: &DocumentRestart| {
        (
            restart.namespace.exact().to_owned(),
            restart.kind,
            restart.name.exact().to_owned(),
        )
    };
    let mut old: BTreeMap<_, &DocumentRestart> = before
        .restarts
        .iter()
        .map(|restart| (key(restart), restart))
        .collect();
    let mut text = String::new();
    let name = |restart: &DocumentRestart| {
        let (namespace, name) = (restart.namespace.terminal(), restart.name.terminal());
        format!("{namespace}/{}/{name}", restart.kind.into_str())
    };
    for restart in &after.restarts {
        if old.remove(&key(restart)) != Some(restart) {
            let (state, reason) = (restart.state(), restart.reason.as_str());
            let _ = writeln!(text, "{}: pods {state} ({reason})", name(restart));
        }
    }
    for restart in old.values() {
        let _ = writeln!(text, "{} is gone", name(restart));
    }
    text
}

fn gaps(before: &Document, after: &Document) -> String {
    let new = after.gaps.iter().filter(|gap| !before.gaps.contains(gap));
    let mut text = String::new();
    for gap in new {
        let namespace = gap.namespace.as_ref();
        let within = namespace.map(|namespace| format!(" in {}", namespace.terminal()));
        let (what, why) = (gap.what.terminal(), gap.why.terminal());
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "could not read {what}{}: {why}",
            within.unwrap_or_default()
        );
    }
    text
}
