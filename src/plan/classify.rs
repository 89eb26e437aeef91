//! What becomes of one ExternalSecret: the rules in the order in which they apply.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eso_model::{StoreKey, refresh::ForceSync};
use jiff::Timestamp;

use super::{Action, Item};
use crate::{
    drift::{Finding, Verdict},
    inventory::{ExternalSecret, Inventory, Parent, State, Store, StoreView},
    policy::{OnUnverifiable, Policy, Selection, StorePattern, When},
    reason::Reason,
};

/// A rule's answer: skipped, for this reason.
type Skip = (Reason, String);

/// The item, unless no entry of `select` covers the ExternalSecret after all.
pub(super) fn item(
    policy: &Policy,
    inventory: &Inventory,
    external_secret: &ExternalSecret,
    finding: Option<&Finding>,
    now: Timestamp,
) -> Option<Item> {
    let seen_now = (inventory, external_secret, now);
    let selection = first_covering(&policy.select, &external_secret.covered_by, seen_now, false)?;
    let state = state(external_secret, selection.overdue_after, now);
    let excluded = first_covering(
        &policy.exclude,
        &external_secret.excluded_by,
        seen_now,
        true,
    );
    let skip = excluded
        .map(|_| (Reason::Excluded, String::new()))
        .or_else(|| wish(policy, external_secret, state, finding))
        .or_else(|| source(inventory, external_secret))
        .or_else(|| refresh(inventory, external_secret))
        .or_else(|| generator(policy, external_secret))
        .or_else(|| readiness(inventory, external_secret))
        .or_else(|| unknown(policy, finding));
    let action = match skip {
        Some((reason, message)) => Action::Skip { reason, message },
        None => Action::Sync {
            reason: why(policy.sync.when, state, finding),
            cost: cost(inventory, external_secret),
        },
    };
    let store = external_secret.stores.first().cloned();
    let provider = store
        .as_ref()
        .and_then(|key| seen(inventory, key))
        .map_or("-", |store| &store.provider);
    Some(Item {
        id: external_secret.id.clone(),
        uid: external_secret.uid.clone(),
        provider: provider.to_owned(),
        store,
        state,
        refreshed: external_secret.refreshed,
        age: external_secret.age(now),
        ready: external_secret.ready.clone(),
        target: external_secret.target,
        secret: external_secret.secret.clone(),
        finding: finding.cloned(),
        if_still_stale: None,
        action,
    })
}

/// The first entry that covers it. `doubt` says whether one that only may cover it counts: what an `exclude` cannot see
/// must not be synced on that ground.
fn first_covering<'a>(
    selections: &'a [Selection],
    candidates: &[u16],
    (inventory, external_secret, now): (&Inventory, &ExternalSecret, Timestamp),
    doubt: bool,
) -> Option<&'a Selection> {
    candidates
        .iter()
        .filter_map(|&index| selections.get(usize::from(index)))
        .find(|selection| covers(selection, inventory, external_secret, now).unwrap_or(doubt))
}

/// What discovery could not decide yet: stores, providers and states. None where a store could not be read.
fn covers(
    selection: &Selection,
    inventory: &Inventory,
    external_secret: &ExternalSecret,
    now: Timestamp,
) -> Option<bool> {
    let stores = &external_secret.stores;
    let of_store = |pattern: &StorePattern| stores.iter().any(|key| store_matches(pattern, key));
    let of_provider = |provider: &String| {
        stores
            .iter()
            .filter_map(|key| seen(inventory, key))
            .any(|store| store.provider == *provider)
    };
    let is_in =
        |states: &[State]| states.contains(&state(external_secret, selection.overdue_after, now));
    let certain = (selection.stores.is_empty() || selection.stores.iter().any(of_store))
        && (selection.states.is_empty() || is_in(&selection.states));
    if !certain || selection.providers.is_empty() || selection.providers.iter().any(of_provider) {
        return Some(certain);
    }
    let is_unknown =
        |key: &StoreKey| matches!(inventory.stores.get(key), Some(StoreView::Unknown(_)));
    if stores.iter().any(is_unknown) {
        None
    } else {
        Some(false)
    }
}

fn store_matches(pattern: &StorePattern, key: &StoreKey) -> bool {
    pattern.kind.is_none_or(|kind| kind == key.kind())
        && pattern.name.matches(key.name())
        && pattern.namespace.as_ref().is_none_or(|pattern| {
            key.namespace()
                .is_some_and(|namespace| pattern.matches(namespace))
        })
}

/// What the status says. A failure counts before anything else: it is what people look for.
pub(super) fn state(
    external_secret: &ExternalSecret,
    overdue_after: Option<Duration>,
    now: Timestamp,
) -> State {
    let limit = overdue_after.or_else(|| external_secret.refresh.overdue_after());
    if external_secret
        .ready
        .as_ref()
        .is_some_and(|ready| !ready.ready)
    {
        return State::Failed;
    }
    match (external_secret.age(now), limit) {
        (None, _) => State::NeverSynced,
        (Some(age), Some(limit)) if age > limit => State::Overdue,
        (Some(_), _) => State::Ready,
    }
}

fn seen<'a>(inventory: &'a Inventory, key: &StoreKey) -> Option<&'a Store> {
    match inventory.stores.get(key)? {
        StoreView::Seen(store) => Some(store),
        StoreView::Missing | StoreView::Unknown(_) => None,
    }
}

/// What somebody wished: the author of the object, or the policy.
fn wish(
    policy: &Policy,
    external_secret: &ExternalSecret,
    state: State,
    finding: Option<&Finding>,
) -> Option<Skip> {
    if external_secret.deleting {
        return Some((Reason::BeingDeleted, String::new()));
    }
    if external_secret.ignored {
        return Some((Reason::Ignored, String::new()));
    }
    let due = match policy.sync.when {
        When::Always => true,
        When::Drifted => return undrifted(finding),
        When::Failed => matches!(state, State::Failed | State::NeverSynced),
        When::Overdue => state != State::Ready,
        When::Never => false,
    };
    (!due).then(|| (Reason::NotDue, format!("it is {}", state.as_str())))
}

/// Why one is left alone that is synced only if it drifted.
fn undrifted(finding: Option<&Finding>) -> Option<Skip> {
    let finding = finding?;
    match (finding.beyond_sync, finding.verdict) {
        (Some(reason), _) => Some((reason, finding.message.clone())),
        (None, Verdict::InSync) => Some((Reason::InSync, String::new())),
        (None, _) => None,
    }
}

/// Of which it cannot be told whether they drifted. Comes last: what else keeps one from being synced says more.
fn unknown(policy: &Policy, finding: Option<&Finding>) -> Option<Skip> {
    if policy.sync.when != When::Drifted {
        return None;
    }
    let Some(finding) = finding else {
        return Some((Reason::Unverifiable, "it was not checked".to_owned()));
    };
    let leave = finding.verdict == Verdict::Unverifiable
        && policy.drift.on_unverifiable != OnUnverifiable::Sync;
    leave.then(|| (Reason::Unverifiable, finding.message.clone()))
}

/// Whether the operator reads anything for it at all.
fn source(inventory: &Inventory, external_secret: &ExternalSecret) -> Option<Skip> {
    if external_secret.stores.is_empty() && external_secret.generators.is_empty() {
        return Some((
            Reason::NoSource,
            "it names neither a store nor a generator".to_owned(),
        ));
    }
    external_secret.stores.iter().find_map(|key| {
        let class = seen(inventory, key)?.foreign_class.as_ref()?;
        Some((
            Reason::ForeignClass,
            format!("{key} belongs to the controller class `{class}`"),
        ))
    })
}

/// Whether a changed annotation makes the operator sync. One that has never synced is synced whatever its policy says.
fn refresh(inventory: &Inventory, external_secret: &ExternalSecret) -> Option<Skip> {
    let age_known = inventory.operator.ignores_interval_zero;
    match external_secret
        .refresh
        .force_sync(age_known.unwrap_or(true))
    {
        _ if external_secret.refreshed.is_none() => None,
        ForceSync::Works => None,
        ForceSync::IgnoredOnce => Some((
            Reason::RefreshCreatedOnce,
            "the operator ignores a force-sync once it has synced".to_owned(),
        )),
        ForceSync::IgnoredZero => {
            let mut message = "the operator ignores a force-sync at interval 0".to_owned();
            if age_known.is_none() {
                message.push_str(" (from v0.11 on; the age of this one cannot be told)");
            }
            Some((Reason::RefreshIntervalZero, message))
        }
    }
}

fn generator(policy: &Policy, external_secret: &ExternalSecret) -> Option<Skip> {
    let kinds = external_secret.generators.join(", ");
    (!kinds.is_empty() && !policy.sync.generators && !external_secret.rotation_allowed).then(|| {
        let allow = "allow it with sync.generators, or by the annotation eso-sync/rotate: \"true\"";
        (
            Reason::Generator,
            format!("a sync makes a new credential ({kinds}); {allow}"),
        )
    })
}

/// Whether the operator would use its stores. What could not be read is not held against it.
fn readiness(inventory: &Inventory, external_secret: &ExternalSecret) -> Option<Skip> {
    external_secret
        .stores
        .iter()
        .find_map(|key| match inventory.stores.get(key)? {
            StoreView::Missing => Some((Reason::StoreMissing, format!("{key} does not exist"))),
            StoreView::Unknown(_) => None,
            StoreView::Seen(store) => match &store.ready {
                Some(ready) if ready.ready => None,
                Some(ready) => Some((
                    Reason::StoreNotReady,
                    format!("{key} is not ready: {}", ready.reason),
                )),
                None => Some((Reason::StoreNotReady, format!("{key} has no status yet"))),
            },
        })
}

fn why(when: When, state: State, finding: Option<&Finding>) -> Reason {
    match (when, finding.map(|finding| finding.verdict)) {
        (When::Drifted, Some(Verdict::Stale)) => return Reason::Stale,
        (When::Drifted, Some(Verdict::Tampered)) => return Reason::Tampered,
        (When::Drifted, Some(Verdict::Partial)) => return Reason::Partial,
        (When::Drifted, Some(Verdict::Missing)) => return Reason::Missing,
        (When::Drifted, Some(Verdict::Unverifiable)) => return Reason::Unverifiable,
        _ => {}
    }
    match state {
        State::Failed => Reason::LastSyncFailed,
        State::NeverSynced => Reason::NeverSynced,
        State::Overdue => Reason::Overdue,
        State::Ready => Reason::Selected,
    }
}

fn cost(inventory: &Inventory, external_secret: &ExternalSecret) -> u32 {
    let once = external_secret
        .stores
        .first()
        .and_then(|key| seen(inventory, key))
        .is_some_and(|store| store.reads_keys_once);
    let calls = external_secret.calls;
    if once { calls.distinct } else { calls.entries }.max(1)
}

/// Children of a ClusterExternalSecret are synced through it, and only where that syncs nothing that is not to be synced.
pub(super) fn children(inventory: &Inventory, selected: &mut [(&ExternalSecret, Item)]) {
    let mut synced: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (external_secret, item) in &*selected {
        if let (Some(parent), Action::Sync { .. }) = (&external_secret.parent, &item.action) {
            synced
                .entry(parent.clone())
                .or_default()
                .insert(external_secret.id.namespace.clone());
        }
    }
    for (external_secret, item) in selected {
        let (Some(name), Action::Sync { .. }) = (&external_secret.parent, &item.action) else {
            continue;
        };
        let namespaces = synced.get(name).cloned().unwrap_or_default();
        let parent = inventory.parents.get(name).and_then(Option::as_ref);
        if let Some((reason, message)) = child(
            name,
            parent,
            inventory.operator.mirrors_force_sync,
            &namespaces,
        ) {
            item.action = Action::Skip { reason, message };
        }
    }
}

fn child(
    name: &str,
    parent: Option<&Parent>,
    mirrors: Option<bool>,
    synced: &BTreeSet<String>,
) -> Option<Skip> {
    let Some(parent) = parent else {
        return Some((
            Reason::ParentUnavailable,
            format!("ClusterExternalSecret/{name} cannot be read"),
        ));
    };
    match mirrors {
        Some(true) => {}
        Some(false) => {
            let message = "this operator does not pass a force-sync on to children (v0.20.0 does)";
            return Some((Reason::ParentUnavailable, message.to_owned()));
        }
        None => {
            let message = "whether this operator passes a force-sync on to children cannot be told: reading its CRD is denied";
            return Some((Reason::ParentUnavailable, message.to_owned()));
        }
    }
    let left_out: Vec<&str> = parent
        .namespaces
        .iter()
        .filter(|namespace| !synced.contains(*namespace))
        .map(|namespace| &**namespace)
        .collect();
    (!left_out.is_empty()).then(|| {
        let namespaces = left_out.join(", ");
        (
            Reason::ChildOfClusterExternalSecret,
            format!("ClusterExternalSecret/{name} would sync its children in {namespaces} too"),
        )
    })
}
