//! The plan: what is written, and why. Total and deterministic.
//!
//! One entry for each secret at a provider. First [`missing`] tells what must still be looked at, until nothing is missing; then
//! [`plan`] decides everything at once. What is still missing then is not written.

mod decide;
mod orphans;
mod stops;
#[cfg(test)]
mod tests;
mod versions;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::{decide::Decided, stops::Stops};
use crate::{
    Action, Compared, Held, Mark, MarkKey, PropertyTag, Reason, RemoteKey, Step, Store, Verdict,
    Wanted,
};

/// One item of the policy, with its values.
pub struct Item {
    pub name: String,
    /// Where it publishes.
    pub store: Arc<Store>,
    pub rules: Rules,
    pub wanted: Vec<Wanted>,
    /// True if every file of its source was read completely.
    pub source_is_whole: bool,
}

/// What an item permits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub when: When,
    pub adopt: Adopt,
    pub on_foreign_change: OnForeignChange,
    pub prune: Prune,
    /// The number of versions to keep. None: all.
    pub keep: Option<usize>,
    /// True if empty values are published.
    pub allow_empty: bool,
}

/// When a value is written.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum When {
    /// When the provider holds another value, or none.
    #[default]
    Changed,
    /// Only when the provider holds none.
    Absent,
}

/// Which secrets without an owner are taken over.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum Adopt {
    /// None.
    #[default]
    Never,
    /// Those that hold the wanted value.
    Equal,
    /// All. Their values are overwritten.
    Any,
}

/// What is done about a value that somebody else changed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum OnForeignChange {
    /// It is reported and kept.
    #[default]
    Report,
    /// It is overwritten.
    Overwrite,
}

/// What is done about secrets that the repository no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    pub mode: PruneMode,
    /// How long a secret must be orphaned where a deletion is final, and not be read by anybody where that is known.
    pub after: SignedDuration,
    /// If more are orphaned, none is deleted.
    pub max: usize,
}

impl Default for Prune {
    fn default() -> Self {
        Self {
            mode: PruneMode::default(),
            after: SignedDuration::from_hours(30 * 24),
            max: 5,
        }
    }
}

#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum PruneMode {
    /// They are reported.
    #[default]
    Report,
    /// They are deleted.
    Prune,
}

/// What the flags permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Ceilings {
    pub publish: bool,
    pub prune: bool,
    pub revert: bool,
    pub destroy: bool,
    pub max_writes: Option<usize>,
    pub max_prunes: Option<usize>,
}

/// What is known about one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub held: Held,
    /// The result of reading the value, which wins over the mark.
    pub compared: Option<Compared>,
}

impl Known {
    /// Known from a list or a description.
    pub const fn new(held: Held) -> Self {
        Self {
            held,
            compared: None,
        }
    }

    /// The same secret after a new description. A comparison with another version is forgotten.
    #[must_use]
    pub fn described(self, held: Held) -> Self {
        let same = self.held.version.is_none() || self.held.version == held.version;
        Self {
            held,
            compared: self.compared.filter(|_| same),
        }
    }
}

/// What the ExternalSecrets of this cluster read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The secrets that they read, or may read.
    pub of: BTreeSet<RemoteKey>,
    /// The versions that they name.
    pub pinned: BTreeSet<(RemoteKey, String)>,
}

/// The input of the plan.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub items: &'a [Item],
    /// The names of all items of the policy, including those that are not published in this run.
    pub names: &'a BTreeSet<String>,
    pub known: &'a BTreeMap<RemoteKey, Known>,
    pub marks: &'a MarkKey,
    /// False if the mark key is of this run only: then marks are not renewed.
    pub binds_marks: bool,
    /// The published revisions that the revision to publish is known not to descend from.
    pub newer_revisions: &'a BTreeSet<String>,
    /// None if it is not known who reads what: then nothing is deleted or destroyed.
    pub reads: Option<&'a Reads>,
    pub now: Timestamp,
    pub ceilings: Ceilings,
}

/// What must still be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The secrets to describe. See `Holder::describe`.
    pub describe: BTreeSet<RemoteKey>,
    /// The secrets whose values must be compared. See `Holder::compare`.
    pub compare: BTreeSet<RemoteKey>,
}

impl Missing {
    pub fn is_empty(&self) -> bool {
        self.describe.is_empty() && self.compare.is_empty()
    }
}

/// What is done, in the order of the items and names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub entries: Vec<Entry>,
}

/// One secret of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The index of the item.
    pub item: usize,
    pub key: RemoteKey,
    /// The name to send.
    pub name: String,
    /// The indices of the item's values that belong to the secret. Empty for an orphan.
    pub wanted: Vec<usize>,
    /// The mark of the wanted value. None for an orphan.
    pub mark: Option<Mark>,
    pub verdict: Verdict,
    /// The keys of a document that differ, if they are known.
    pub different: Vec<String>,
    /// The keys of a document that eso-sync wrote and that are no longer wanted, by their tags.
    pub orphaned_properties: Vec<PropertyTag>,
    /// Those of them that the step removes.
    pub dropped: Vec<PropertyTag>,
    pub step: Step,
    /// The destruction of old versions, after the step.
    pub destroy: Vec<Step>,
}

/// The values of one secret, which are written together.
struct Group<'a> {
    item: usize,
    key: RemoteKey,
    name: &'a str,
    indices: Vec<usize>,
    wanted: Vec<&'a Wanted>,
    mark: Mark,
}

impl Input<'_> {
    /// The wanted secrets of all items.
    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups = Vec::new();
        for (item, of) in self.items.iter().enumerate() {
            let mut by_key: BTreeMap<RemoteKey, Vec<usize>> = BTreeMap::new();
            for (index, wanted) in of.wanted.iter().enumerate() {
                by_key
                    .entry(wanted.target.remote_key())
                    .or_default()
                    .push(index);
            }
            groups.extend(by_key.into_iter().filter_map(|(key, indices)| {
                let wanted: Vec<&Wanted> = indices
                    .iter()
                    .filter_map(|index| of.wanted.get(*index))
                    .collect();
                let mark = self.marks.mark(&key, &wanted);
                let name = wanted.first()?.target.name.as_str();
                Some(Group {
                    item,
                    key,
                    name,
                    indices,
                    wanted,
                    mark,
                })
            }));
        }
        groups
    }

    fn decided(&self, group: &Group<'_>) -> Option<Decided> {
        let item = self.items.get(group.item)?;
        Some(decide::decide(self, item, group))
    }
}

/// Returns what must still be looked at before [`plan`].
pub fn missing(input: &Input<'_>) -> Missing {
    let mut missing = Missing::default();
    let groups = input.groups();
    for group in &groups {
        let Some(known) = input.known.get(&group.key) else {
            missing.describe.insert(group.key.clone());
            continue;
        };
        if decide::must_compare(known, group.mark) {
            missing.compare.insert(group.key.clone());
        } else if known.held.history.is_none()
            && input.decided(group).is_some_and(|decided| {
                // A list may not tell the mark of the current version.
                decided.action.is_write() || decided.reason == Reason::ForeignChange
            })
        {
            missing.describe.insert(group.key.clone());
        }
    }
    let orphans = orphans::find(input, &groups);
    missing.describe.extend(
        orphans
            .into_iter()
            .filter(|orphan| orphans::must_describe(input, orphan))
            .map(|orphan| orphan.key.clone()),
    );
    missing
}

/// Decides everything.
pub fn plan(input: &Input<'_>) -> Plan {
    let groups = input.groups();
    let stops = Stops::of(input, &groups);
    let mut entries: Vec<Entry> = groups
        .iter()
        .filter_map(|group| entry(input, group, &stops))
        .collect();
    entries.extend(orphans::entries(input, &groups, &entries, &stops));
    limit_writes(input, &mut entries);
    entries.sort_by(|a, b| (a.item, &a.key).cmp(&(b.item, &b.key)));
    Plan { entries }
}

fn entry(input: &Input<'_>, group: &Group<'_>, stops: &Stops) -> Option<Entry> {
    let item = input.items.get(group.item)?;
    let mut decided = input.decided(group)?;
    let held = input.known.get(&group.key).map(|known| &known.held);
    decided.require_description(held);
    if let Some(reason) = stops.reason(group) {
        decided.leave(reason);
    } else if decided.action.is_write() && !input.ceilings.publish {
        decided.leave(Reason::NotAllowed);
    }
    let destroy = match held {
        Some(held) if stops.reason(group).is_none() => {
            versions::to_destroy(input, item, group, held)
        }
        Some(_) | None => Vec::new(),
    };
    Some(Entry {
        item: group.item,
        key: group.key.clone(),
        name: group.name.to_owned(),
        wanted: group.indices.clone(),
        mark: Some(group.mark),
        different: decided.different.clone(),
        orphaned_properties: decided.orphaned.clone(),
        dropped: if decided.action.writes_value() {
            decided.dropped.clone()
        } else {
            Vec::new()
        },
        step: decided.step(&item.store, held),
        verdict: decided.verdict,
        destroy,
    })
}

/// Holds all writes back if there are too many.
fn limit_writes(input: &Input<'_>, entries: &mut [Entry]) {
    let is_limited = |entry: &Entry| {
        entry.step.action.writes_value() || matches!(entry.step.action, Action::Adopt)
    };
    let writes = entries.iter().filter(|entry| is_limited(entry)).count();
    if input.ceilings.max_writes.is_none_or(|max| writes <= max) {
        return;
    }
    for entry in entries.iter_mut().filter(|entry| is_limited(entry)) {
        entry.step = Step::leave(Reason::MaxWrites);
        entry.dropped.clear();
        entry.destroy.clear();
    }
}
