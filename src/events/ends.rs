//! How the work for each key ended. Pure.

use std::collections::BTreeMap;

use ::events::{Attempts, Disposal, End, Group, Says, Sight, dispose};
use eso_model::Id;
use jiff::Timestamp;

use super::{concern::Concerned, sight::Seen};
use crate::{
    finding::Verdict,
    inventory::Inventory,
    outcome::{ItemResult, Outcome},
    plan::{Action, ItemAt, Plan},
    reason::Reason,
    results::Results,
};

/// How the work for one key ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) end: End,
    /// The ExternalSecrets that use the key, each with its own end.
    pub(super) of: BTreeMap<Id, End>,
    /// What the reads show about the event.
    pub(super) sight: Sight,
    /// Nothing was read before.
    pub(super) read_from: Timestamp,
    /// When the last of them was proven to hold the value.
    pub(super) proven: Timestamp,
}

/// A run and its results.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) plan: &'a Plan,
    /// None if a limit refused the plan.
    pub(super) results: Option<&'a Results>,
    /// True if the operator's proof counts where nothing can be compared.
    pub(super) trusts_operator: bool,
    /// When the run began.
    pub(super) started: Timestamp,
    pub(super) now: Timestamp,
}

impl Ended {
    /// Takes the result of a second run. What the first one synced stays synced.
    pub(super) fn confirm(&mut self, second: Self) {
        let synced = |first: End, second: End| {
            if (first, second) == (End::Synced, End::InSync) {
                first
            } else {
                second
            }
        };
        let first = self.end;
        self.end = synced(first, second.end);
        self.sight = second.sight;
        self.read_from = second.read_from;
        let mut of = second.of;
        for (id, end) in &mut of {
            *end = self.of.get(id).map_or(*end, |first| synced(*first, *end));
        }
        self.of = of;
        if first == End::NotYetVisible || second.end != End::InSync {
            self.proven = second.proven;
        }
    }
}

/// Decides how the work for each group ended, in the same order.
pub(super) fn ended(
    groups: &[Group],
    concerned: Concerned,
    seen: Vec<Seen>,
    facts: Facts<'_>,
) -> Vec<Ended> {
    let entries = facts.plan.items.entries();
    let by_id: BTreeMap<&Id, ItemAt> = entries.map(|(at, item)| (&item.id, at)).collect();
    let is_unlisted =
        |what: &str| what.starts_with("externalsecrets") || what.starts_with("namespaces");
    let mut gaps = facts.inventory.gaps.iter();
    let incomplete = gaps.any(|gap| is_unlisted(&gap.what));
    let Concerned { of, unknown, .. } = concerned;
    let each = groups.iter().zip(of).zip(seen);
    each.map(|((group, ids), seen)| {
        let end = |id: Id| {
            let end = match (group.says, by_id.get(&id)) {
                (Says::Gone, _) => End::Gone,
                (Says::Warning(_), _) => End::Warning,
                (_, Some(at)) => of_read(of_item(facts, *at), seen.missing.contains(&id)),
                (_, None) => End::OutsideSelection,
            };
            (id, end)
        };
        let mut of: BTreeMap<Id, End> = ids.iter().cloned().map(end).collect();
        if group.says == Says::Changed {
            let unknown = unknown.iter().cloned();
            of.extend(unknown.map(|id| (id, End::LeftToRun)));
        }
        let at = ids.iter().filter_map(|id| by_id.get(id));
        let results = at.filter_map(|at| facts.results?.items.get(at));
        let proven = results.filter_map(|result| result.synced_at).max();
        Ended {
            end: of_group(group.says, of.values().copied(), incomplete),
            of,
            sight: seen.sight,
            read_from: facts.started,
            proven: proven.unwrap_or(facts.now),
        }
    })
    .collect()
}

/// The end of a key: the one of its ExternalSecrets that needs the most. While discovery is incomplete, no end lets the message of a
/// change go, because another ExternalSecret may use the key.
fn of_group(says: Says, ends: impl Iterator<Item = End>, incomplete: bool) -> End {
    let none = match says {
        Says::Gone => End::Gone,
        Says::Warning(_) => End::Warning,
        Says::Changed | Says::Irrelevant(_) | Says::Unreadable(_) => End::Unused,
    };
    let end = ends.max_by_key(|end| (need(*end), *end)).unwrap_or(none);
    let [_, last] = need(end);
    if incomplete && says == Says::Changed && last == Disposal::Acknowledge {
        return End::ScopeIncomplete;
    }
    end
}

/// What becomes of the message at its first and at its last delivery.
type Need = [Disposal; 2];

/// How much an end stands in the way of the acknowledgement.
fn need(end: End) -> Need {
    [1, 2].map(|received| {
        let attempts = Attempts {
            received,
            most: 2,
            poisons: false,
        };
        dispose(end, attempts)
    })
}

/// What was compared with an older version than the event's is not done.
const fn of_read(end: End, is_missing: bool) -> End {
    if is_missing && matches!(end, End::InSync | End::Synced) {
        End::NotYetVisible
    } else {
        end
    }
}

fn of_item(facts: Facts<'_>, at: ItemAt) -> End {
    let end = of_sync(facts, at);
    let restarts = facts.results.and_then(|results| results.restarts.stopped);
    let owes_restarts = restarts.is_some_and(|why| !is_limit(why));
    if owes_restarts && matches!(end, End::Synced | End::InSync) {
        return End::Stopped;
    }
    end
}

fn is_limit(reason: Reason) -> bool {
    reason == Reason::TooManyFailures
}

fn of_sync(facts: Facts<'_>, at: ItemAt) -> End {
    let item = &facts.plan.items[at];
    if let Action::Skip { reason, .. } = &item.action {
        return of_skip(*reason);
    }
    let Some(results) = facts.results else {
        return End::LimitExceeded;
    };
    let Some(result) = results.items.get(&at) else {
        return End::NotReached;
    };
    let checked = results.checked.get(&at).map(|finding| finding.verdict);
    of_result(result, checked, results.stopped, facts.trusts_operator)
}

/// The end of an ExternalSecret that the run had to sync. `checked` is the comparison after the sync, if there was one.
fn of_result(
    result: &ItemResult,
    checked: Option<Verdict>,
    stopped: Option<Reason>,
    trusts_operator: bool,
) -> End {
    match result.outcome {
        Outcome::Synced => match checked {
            None | Some(Verdict::InSync) => End::Synced,
            Some(Verdict::Unverifiable) if trusts_operator => End::Synced,
            Some(Verdict::Unverifiable) => End::Unverifiable,
            Some(Verdict::Stale | Verdict::Tampered | Verdict::Partial | Verdict::Missing) => {
                End::Failed
            }
        },
        Outcome::Unproven if stopped.is_some_and(|why| !is_limit(why)) => End::Stopped,
        Outcome::Unproven => End::Unproven,
        Outcome::Failed if result.reason.is_some_and(is_its_own) => End::LeftToRun,
        Outcome::Failed => End::Failed,
        Outcome::Skipped => End::Skipped,
        Outcome::NotReached => match stopped {
            Some(why) if !is_limit(why) => End::Stopped,
            Some(_) => End::LimitExceeded,
            None => End::NotReached,
        },
    }
}

fn of_skip(reason: Reason) -> End {
    if reason == Reason::InSync {
        End::InSync
    } else if reason == Reason::Unverifiable {
        End::Unverifiable
    } else if reason == Reason::NamespaceLimit {
        End::LimitExceeded
    } else if is_its_own(reason) {
        End::LeftToRun
    } else if reason.needs_attention() {
        // A store that is not ready, or a stamp that could not be written, may be well at the next delivery.
        End::Failed
    } else {
        End::Skipped
    }
}

/// True if only a change of the ExternalSecret, of its Secret or of the value helps.
const fn is_its_own(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Template
            | Reason::OwnedByOther
            | Reason::InvalidSecret
            | Reason::NotFound
            | Reason::NamespaceNotAllowed
            | Reason::Immutable
            | Reason::NoSource
            | Reason::Retained
            | Reason::SecretMissing
            | Reason::StoreMissing
            | Reason::WouldFail
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_keeps_the_message_of_the_key() {
        let of = |ends: &[End]| of_group(Says::Changed, ends.iter().copied(), false);
        assert_eq!(of(&[]), End::Unused);
        assert_eq!(of(&[End::InSync, End::Synced]), End::Synced);
        assert_eq!(of(&[End::Synced, End::Failed]), End::Failed);
        assert_eq!(of(&[End::Synced, End::LeftToRun]), End::LeftToRun);
        assert_eq!(of(&[End::LeftToRun, End::Unverifiable]), End::Unverifiable);
        assert_eq!(of(&[End::Failed, End::Stopped]), End::Stopped);
    }

    #[test]
    fn incomplete_discovery_acknowledges_no_change() {
        let of = |says, ends: &[End]| of_group(says, ends.iter().copied(), true);
        for ends in [
            &[][..],
            &[End::InSync],
            &[End::Synced, End::Skipped],
            // It would be acknowledged at its last delivery.
            &[End::InSync, End::LeftToRun],
        ] {
            assert_eq!(of(Says::Changed, ends), End::ScopeIncomplete);
        }
        assert_eq!(of(Says::Changed, &[End::Failed]), End::Failed);
        assert_eq!(of(Says::Gone, &[]), End::Gone);
    }

    #[test]
    fn skip_decides_by_its_reason() {
        assert_eq!(of_skip(Reason::InSync), End::InSync);
        assert_eq!(of_skip(Reason::Excluded), End::Skipped);
        assert_eq!(of_skip(Reason::RefreshCreatedOnce), End::Skipped);
        for temporary in [
            Reason::StoreNotReady,
            Reason::ParentUnavailable,
            Reason::StampNotWritten,
            Reason::NotPlanned,
        ] {
            assert_eq!(of_skip(temporary), End::Failed);
        }
        assert_eq!(of_skip(Reason::StoreMissing), End::LeftToRun);
        assert_eq!(of_skip(Reason::NoSource), End::LeftToRun);
        assert_eq!(of_skip(Reason::WouldFail), End::LeftToRun);
        assert_eq!(of_skip(Reason::Unverifiable), End::Unverifiable);
        assert_eq!(of_skip(Reason::NamespaceLimit), End::LimitExceeded);
    }

    #[test]
    fn result_of_a_sync_decides() {
        let of = |outcome, reason, checked, stopped| {
            let result = ItemResult {
                outcome,
                reason,
                ..ItemResult::not_reached(Reason::Interrupted)
            };
            [false, true].map(|trusts| of_result(&result, checked, stopped, trusts))
        };
        let both = |end| [end, end];
        let synced = |checked| of(Outcome::Synced, None, checked, None);
        assert_eq!(synced(None), both(End::Synced));
        assert_eq!(synced(Some(Verdict::InSync)), both(End::Synced));
        assert_eq!(synced(Some(Verdict::Stale)), both(End::Failed));
        // Without a comparison, the operator's proof counts only if the policy says so.
        let unverifiable = synced(Some(Verdict::Unverifiable));
        assert_eq!(unverifiable, [End::Unverifiable, End::Synced]);
        let failed = |reason| of(Outcome::Failed, Some(reason), None, None);
        assert_eq!(failed(Reason::Template), both(End::LeftToRun));
        assert_eq!(failed(Reason::Denied), both(End::Failed));
        assert_eq!(of(Outcome::Unproven, None, None, None), both(End::Unproven));
        let cut_off = of(Outcome::Unproven, None, None, Some(Reason::Signal));
        assert_eq!(cut_off, both(End::Stopped));
        let not_reached = |stopped| of(Outcome::NotReached, None, None, stopped);
        assert_eq!(not_reached(None), both(End::NotReached));
        assert_eq!(not_reached(Some(Reason::Signal)), both(End::Stopped));
        assert_eq!(not_reached(Some(Reason::Deadline)), both(End::Stopped));
        let limit = not_reached(Some(Reason::TooManyFailures));
        assert_eq!(limit, both(End::LimitExceeded));
    }

    #[test]
    fn read_of_an_older_version_keeps_the_message() {
        let of = |end| [false, true].map(|is_missing| of_read(end, is_missing));
        assert_eq!(of(End::InSync), [End::InSync, End::NotYetVisible]);
        assert_eq!(of(End::Synced), [End::Synced, End::NotYetVisible]);
        assert_eq!(of(End::Failed), [End::Failed, End::Failed]);
        // Otherwise an ExternalSecret with a wrong configuration would have the message acknowledged at its last delivery.
        let all = [End::LeftToRun, End::NotYetVisible].into_iter();
        assert_eq!(of_group(Says::Changed, all, false), End::NotYetVisible);
    }

    #[test]
    fn second_run_confirms_what_the_first_one_synced() {
        let id = Id {
            namespace: "a".to_owned(),
            name: "b".to_owned(),
        };
        let ended = |end, second| Ended {
            end,
            of: BTreeMap::from([(id.clone(), end)]),
            sight: Sight::Unknown,
            read_from: Timestamp::from_second(second).unwrap(),
            proven: Timestamp::from_second(second).unwrap(),
        };
        let after = |first, second| {
            let mut ended_first = ended(first, 1);
            ended_first.confirm(ended(second, 2));
            assert_eq!(ended_first.of[&id], ended_first.end);
            (ended_first.end, ended_first.proven.as_second())
        };
        assert_eq!(after(End::Synced, End::InSync), (End::Synced, 1));
        assert_eq!(after(End::InSync, End::InSync), (End::InSync, 1));
        // The first run saw the value before the event's.
        assert_eq!(after(End::InSync, End::Synced), (End::Synced, 2));
        assert_eq!(after(End::Synced, End::Failed), (End::Failed, 2));
        assert_eq!(after(End::NotYetVisible, End::InSync), (End::InSync, 2));
    }
}
