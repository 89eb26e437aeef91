//! The decision about one wanted secret.

use eso_model::expected::Unverifiable;
use jiff::SignedDuration;

use super::{Adopt, Group, Input, Item, Known, OnForeignChange, PruneMode, When};
use crate::{
    Action, Compared, Cost, Held, History, Mark, Owner, Precondition, Presence, PropertyTag,
    Reason, Step, Store, Verdict, revision,
};

/// The number of versions that may be written within [`WINDOW`]. The next one is refused, so that a value that flaps does not
/// exhaust the provider's limit on versions.
const MAX_WRITES: usize = 5;
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// The secret was not described, or was listed only.
const NOT_DESCRIBED: &str = "not-described";
/// The value was not read.
const NOT_COMPARED: &str = "not-compared";

/// What is done about a secret.
pub(super) struct Decided {
    pub(super) verdict: Verdict,
    pub(super) action: Action,
    pub(super) reason: Reason,
    pub(super) different: Vec<String>,
    pub(super) orphaned: Vec<PropertyTag>,
    pub(super) dropped: Vec<PropertyTag>,
}

impl Decided {
    const fn new(verdict: Verdict, action: Action, reason: Reason) -> Self {
        Self {
            verdict,
            action,
            reason,
            different: Vec::new(),
            orphaned: Vec::new(),
            dropped: Vec::new(),
        }
    }

    const fn left(verdict: Verdict, reason: Reason) -> Self {
        Self::new(verdict, Action::Leave, reason)
    }

    fn unverifiable(why: Unverifiable) -> Self {
        Self::left(Verdict::Unverifiable(why), Reason::Unverifiable)
    }

    /// Holds the write back.
    pub(super) fn leave(&mut self, reason: Reason) {
        self.action = Action::Leave;
        self.reason = reason;
    }

    /// A list may be some minutes old, so nothing is written because of it alone.
    pub(super) fn require_description(&mut self, held: Option<&Held>) {
        if self.action.is_write() && held.is_none_or(|held| held.history.is_none()) {
            *self = Self::unverifiable(Unverifiable::new(NOT_DESCRIBED, ""));
        }
    }

    pub(super) fn step(&self, store: &Store, held: Option<&Held>) -> Step {
        let current = held.and_then(|held| held.version.clone());
        let precondition = match &self.action {
            Action::Create => Precondition::Absent,
            Action::Update { base: Some(base) } => Precondition::Current(base.clone()),
            Action::Update { base: None } => Precondition::Empty,
            Action::Restore => Precondition::Retired,
            Action::Adopt | Action::Announce | Action::Retire => {
                current.map_or(Precondition::None, Precondition::Current)
            }
            Action::DestroyVersion { .. } | Action::Leave => Precondition::None,
        };
        Step {
            cost: Cost::of(store, &self.action),
            action: self.action.clone(),
            reason: self.reason,
            precondition,
        }
    }
}

/// True if the value must be read to tell if it is as wanted.
pub(super) fn must_compare(known: &Known, mark: Mark) -> bool {
    known.held.presence == Presence::Present
        && known.held.mark != Some(mark)
        && known.compared.is_none()
}

/// How the current value compares with the wanted one.
enum Value {
    Equal,
    Different(Vec<String>),
    Unknown(Unverifiable),
}

fn value(known: &Known, group: &Group<'_>) -> Value {
    let other_format = known.held.format.is_some_and(|format| {
        let mut wanted = group.wanted.iter();
        wanted.any(|wanted| wanted.format != format)
    });
    match &known.compared {
        _ if other_format => Value::Different(Vec::new()),
        Some(Compared::Equal) => Value::Equal,
        Some(Compared::Different { properties }) => Value::Different(properties.clone()),
        Some(Compared::Unknown(why)) => Value::Unknown(why.clone()),
        None if known.held.mark == Some(group.mark) => Value::Equal,
        None => Value::Unknown(Unverifiable::new(NOT_COMPARED, "")),
    }
}

pub(super) fn decide(input: &Input<'_>, item: &Item, group: &Group<'_>) -> Decided {
    let Some(known) = input.known.get(&group.key) else {
        return Decided::unverifiable(Unverifiable::new(NOT_DESCRIBED, ""));
    };
    let decided = match &known.held.presence {
        Presence::Unknown(why) => return Decided::unverifiable(why.clone()),
        Presence::Absent => Decided::new(Verdict::Absent, Action::Create, Reason::Absent),
        Presence::Retired { .. } => retired(input, item, &known.held),
        Presence::Empty => empty(input, item, &known.held),
        Presence::Present => present(input, item, group, known),
    };
    held_back(input, item, known, decided)
}

/// Holds a write back for reasons that concern every kind of write.
fn held_back(input: &Input<'_>, item: &Item, known: &Known, mut decided: Decided) -> Decided {
    let held = &known.held;
    let exists = !matches!(held.presence, Presence::Absent);
    if let Some(refusal) = held.refusal
        && decided.action.is_write()
    {
        decided.leave(refusal.into());
    } else if decided.action.writes_value()
        && exists
        && item.rules.when == When::Absent
        && decided.verdict != Verdict::Absent
    {
        decided.leave(Reason::WriteWhenAbsent);
    } else if decided.action.writes_value() && wrote_too_often(input, held.history.as_ref()) {
        decided.leave(Reason::TooManyWrites);
    }
    decided
}

fn wrote_too_often(input: &Input<'_>, history: Option<&History>) -> bool {
    let writes = history.map_or(&[][..], |history| &history.writes);
    let recent = writes
        .iter()
        .filter(|at| input.now.duration_since(**at) < WINDOW);
    recent.count() >= MAX_WRITES
}

/// Who may write a secret.
enum Right {
    /// This item owns it.
    Owner,
    /// It has no owner, or an item of this publisher that is no longer in the policy.
    Unowned,
    Other,
}

fn right(input: &Input<'_>, item: &Item, owner: &Owner) -> Right {
    match owner {
        // Nobody can tell whose it is, so the policy must say it.
        Owner::None if !item.store.keeps_records && item.rules.adopt == Adopt::Any => Right::Owner,
        Owner::Ours { item: name } if *name == item.name => Right::Owner,
        Owner::Ours { item: name } if input.names.contains(name) => Right::Other,
        // For example after the item was renamed.
        Owner::Ours { .. } | Owner::None => Right::Unowned,
        Owner::Other => Right::Other,
    }
}

fn retired(input: &Input<'_>, item: &Item, held: &Held) -> Decided {
    match (right(input, item, &held.owner), item.rules.adopt) {
        (Right::Owner, _) => Decided::new(Verdict::Absent, Action::Restore, Reason::Deleted),
        (Right::Unowned, Adopt::Any) => {
            Decided::new(Verdict::Absent, Action::Restore, Reason::Adopted)
        }
        (Right::Unowned, Adopt::Never | Adopt::Equal) => {
            Decided::left(Verdict::Absent, Reason::SoftDeleted)
        }
        (Right::Other, _) => Decided::left(Verdict::Absent, Reason::OwnedByOther),
    }
}

fn empty(input: &Input<'_>, item: &Item, held: &Held) -> Decided {
    let base = held.version.clone();
    let update = Action::Update { base };
    match (right(input, item, &held.owner), item.rules.adopt) {
        (Right::Owner, _) => Decided::new(Verdict::Absent, update, Reason::NoVersion),
        (Right::Unowned, Adopt::Any) => Decided::new(Verdict::Absent, update, Reason::Adopted),
        (Right::Unowned, Adopt::Never | Adopt::Equal) => {
            Decided::left(Verdict::Absent, Reason::NotOwned)
        }
        (Right::Other, _) => Decided::left(Verdict::Absent, Reason::OwnedByOther),
    }
}

fn present(input: &Input<'_>, item: &Item, group: &Group<'_>, known: &Known) -> Decided {
    match value(known, group) {
        Value::Unknown(why) => Decided::unverifiable(why),
        Value::Equal => equal(input, item, group, &known.held),
        Value::Different(different) => Decided {
            different,
            ..changed(input, item, group, &known.held)
        },
    }
}

/// The provider holds the wanted value.
fn equal(input: &Input<'_>, item: &Item, group: &Group<'_>, held: &Held) -> Decided {
    let (orphaned, dropped) = properties(input, item, group, held);
    let marked = [held.mark, held.recorded].contains(&Some(group.mark));
    // Without a version there is nothing to bind a mark to. A list may not tell it.
    let has_version = held.version.is_some() || held.history.is_none();
    let renews = input.binds_marks && !marked && has_version;
    let adopts = |reason| Decided::new(Verdict::InSync, Action::Adopt, reason);
    let leaves = |reason| Decided::left(Verdict::InSync, reason);
    let decided = match right(input, item, &held.owner) {
        Right::Owner if !dropped.is_empty() => {
            let base = held.version.clone();
            Decided::new(Verdict::InSync, Action::Update { base }, Reason::Orphaned)
        }
        Right::Owner if held.orphaned_since.is_some() => adopts(Reason::WantedAgain),
        Right::Owner if renews => adopts(Reason::MarkRenewed),
        Right::Owner => leaves(Reason::InSync),
        Right::Unowned if !item.store.keeps_records => leaves(Reason::InSync),
        // Only this publisher could write the mark.
        Right::Unowned if marked => adopts(Reason::Adopted),
        Right::Unowned if item.rules.adopt == Adopt::Never => leaves(Reason::NotOwned),
        Right::Unowned => adopts(Reason::Adopted),
        Right::Other => leaves(Reason::OwnedByOther),
    };
    Decided {
        orphaned,
        dropped,
        ..decided
    }
}

/// The keys of a document that are no longer wanted, and those of them that may be removed.
fn properties(
    input: &Input<'_>,
    item: &Item,
    group: &Group<'_>,
    held: &Held,
) -> (Vec<PropertyTag>, Vec<PropertyTag>) {
    let wanted: Vec<PropertyTag> = group
        .wanted
        .iter()
        .map(|wanted| {
            let property = wanted.target.property.as_deref();
            input
                .marks
                .property(&group.key, property.unwrap_or("value"))
        })
        .collect();
    let orphaned: Vec<PropertyTag> = held
        .properties
        .iter()
        .filter(|tag| !wanted.contains(tag))
        .copied()
        .collect();
    let prune = &item.rules.prune;
    let removes = prune.mode == PruneMode::Prune
        && input.ceilings.prune
        && item.source_is_whole
        && orphaned.len() <= prune.max
        // With a key of this run only, all tags look orphaned.
        && input.binds_marks
        && held.properties.iter().any(|tag| wanted.contains(tag))
        && input.reads.is_some_and(|reads| !reads.of.contains(&group.key));
    let dropped = if removes {
        orphaned.clone()
    } else {
        Vec::new()
    };
    (orphaned, dropped)
}

/// The provider holds another value.
fn changed(input: &Input<'_>, item: &Item, group: &Group<'_>, held: &Held) -> Decided {
    let (orphaned, dropped) = properties(input, item, group, held);
    let went_back = held.history.as_ref().is_some_and(|it| it.went_back);
    // Without a record, a change of somebody else looks like one of the repository.
    let is_foreign = item.store.keeps_records && held.mark.is_none() || went_back;
    let base = held.version.clone();
    let update = |verdict, reason| Decided::new(verdict, Action::Update { base }, reason);
    let foreign = Verdict::ForeignChange;
    let decided = match right(input, item, &held.owner) {
        Right::Other => Decided::left(foreign, Reason::OwnedByOther),
        Right::Unowned if item.rules.adopt != Adopt::Any => {
            Decided::left(foreign, Reason::NotOwned)
        }
        Right::Unowned => update(foreign, Reason::Adopted),
        Right::Owner if is_foreign => match item.rules.on_foreign_change {
            OnForeignChange::Report => Decided::left(foreign, Reason::ForeignChange),
            OnForeignChange::Overwrite => update(foreign, Reason::ForeignOverwritten),
        },
        Right::Owner => update(Verdict::Changed, Reason::Changed),
    };
    let decided = match reverts(input, group, held) {
        true if decided.action.is_write() && input.ceilings.revert => Decided {
            verdict: Verdict::WouldRevert,
            ..decided
        },
        true if decided.action.is_write() => {
            Decided::left(Verdict::WouldRevert, Reason::WouldRevert)
        }
        true | false => decided,
    };
    Decided {
        orphaned,
        dropped,
        ..decided
    }
}

/// True if the wanted value is older than what eso-sync published.
fn reverts(input: &Input<'_>, group: &Group<'_>, held: &Held) -> bool {
    let earlier = held.history.as_ref().map_or(&[][..], |it| &it.earlier);
    let published = held.provenance.as_deref().and_then(revision);
    earlier.contains(&group.mark) || published.is_some_and(|it| input.newer_revisions.contains(it))
}
