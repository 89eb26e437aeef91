//! Decides the action of one ExternalSecret. The rules are listed in the order in which they apply.

use std::collections::{BTreeMap, BTreeSet};

use eso_model::refresh::ForceSync;
use jiff::Timestamp;

use super::{Action, Item, charge::Charges};
use crate::{
    finding::{Finding, Verdict},
    inventory::{ExternalSecret, Inventory, Parent, ParentReference, State, StoreView},
    policy::{OnUnverifiable, Policy, When},
    reason::Reason,
    select::One,
};

/// A skip, with its reason and message.
type Skip = (Reason, String);

/// Decides the action of one selected ExternalSecret.
pub(super) fn item(
    policy: &Policy,
    inventory: &Inventory,
    one: &One<'_>,
    finding: Option<&Finding>,
    now: Timestamp,
) -> Item {
    let One {
        external_secret,
        state,
        taken_out,
        window,
        published,
    } = *one;
    let when = policy.sync.when;
    // What was published just now is newer than its last sync, unless a comparison shows the opposite.
    let is_assumed = published && finding.is_none_or(is_unverifiable);
    let skip = taken_out
        .map(|reason| (reason, String::new()))
        .or_else(|| not_due(when, state, finding).filter(|_| !is_assumed))
        .or_else(|| source(inventory, external_secret))
        .or_else(|| refresh(inventory, external_secret))
        .or_else(|| generator(policy, external_secret))
        .or_else(|| readiness(inventory, external_secret))
        .or_else(|| refused(finding))
        .or_else(|| unknown(policy, finding).filter(|_| !is_assumed));
    let action = match skip {
        Some((reason, message)) => Action::Skip { reason, message },
        None => Action::Sync {
            reason: if is_assumed {
                Reason::Published
            } else {
                why(when, state, finding)
            },
            cost: Charges::of(inventory, external_secret).total(),
        },
    };
    let store = external_secret.store_keys().next().cloned();
    let provider = store
        .as_ref()
        .and_then(|key| inventory.store(key))
        .map_or_else(|| "-".to_owned(), |store| store.provider.to_string());
    Item {
        id: external_secret.id.clone(),
        uid: external_secret.uid.clone(),
        provider,
        store,
        state,
        refreshed: external_secret.refreshed,
        age: external_secret.age(now),
        ready: external_secret.ready.clone(),
        target: external_secret.target,
        secret: external_secret.secret.clone(),
        finding: finding.cloned(),
        if_still_stale: None,
        kept: None,
        window,
        action,
    }
}

/// True if it is not known to be up to date, and nothing shows that a sync would not help.
fn is_unverifiable(finding: &Finding) -> bool {
    finding.verdict == Verdict::Unverifiable && finding.beyond_sync.is_none()
}

/// Skips it if the policy does not sync it in this state (`sync.when`).
fn not_due(when: When, state: State, finding: Option<&Finding>) -> Option<Skip> {
    let due = match when {
        When::Always => true,
        When::Drifted => return undrifted(finding),
        When::Failed => matches!(state, State::Failed | State::NeverSynced),
        When::Overdue => state != State::Ready,
        When::Never => false,
    };
    (!due).then(|| (Reason::NotDue, format!("its state is {}", state.into_str())))
}

/// Skips it for `sync.when: drifted` if it has not drifted, or if a sync would not fix the drift.
fn undrifted(finding: Option<&Finding>) -> Option<Skip> {
    let finding = finding?;
    match (finding.beyond_sync, finding.verdict) {
        (Some(reason), _) => Some((reason, finding.message.clone())),
        (None, Verdict::InSync) => Some((Reason::InSync, String::new())),
        (None, _) => None,
    }
}

/// Skips it if the operator would fail, whatever the policy syncs.
fn refused(finding: Option<&Finding>) -> Option<Skip> {
    let finding = finding?;
    let fails = finding.beyond_sync == Some(Reason::WouldFail);
    fails.then(|| (Reason::WouldFail, finding.message.clone()))
}

/// Skips it if it is unverifiable. This rule is the last one, because the other reasons are more specific.
fn unknown(policy: &Policy, finding: Option<&Finding>) -> Option<Skip> {
    if policy.sync.when != When::Drifted {
        return None;
    }
    let Some(finding) = finding else {
        return Some((Reason::Unverifiable, "not checked for drift".to_owned()));
    };
    let skip = finding.verdict == Verdict::Unverifiable
        && policy.drift.on_unverifiable != OnUnverifiable::Sync;
    skip.then(|| (Reason::Unverifiable, finding.message.clone()))
}

/// Skips it if the operator reads nothing for it, or does not manage its store.
fn source(inventory: &Inventory, external_secret: &ExternalSecret) -> Option<Skip> {
    if external_secret.stores.is_empty() && external_secret.generators.is_empty() {
        return Some((
            Reason::NoSource,
            "its spec has no store and no generator".to_owned(),
        ));
    }
    external_secret.store_keys().find_map(|key| {
        let class = inventory.store(key)?.foreign_class.as_ref()?;
        Some((
            Reason::ForeignClass,
            format!("{key} belongs to the controller class `{class}`"),
        ))
    })
}

/// Skips it if the operator ignores a changed annotation. The first sync works with any refresh policy.
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
            "the operator ignores a force-sync after the first sync".to_owned(),
        )),
        ForceSync::IgnoredZero => {
            let mut message =
                "the operator ignores a force-sync if the refresh interval is 0".to_owned();
            if age_known.is_none() {
                message.push_str(" (since v0.11; the version of this operator is unknown)");
            }
            Some((Reason::RefreshIntervalZero, message))
        }
    }
}

fn generator(policy: &Policy, external_secret: &ExternalSecret) -> Option<Skip> {
    let kinds = external_secret.generators.join(", ");
    (!kinds.is_empty() && !policy.sync.generators && !external_secret.rotation_allowed).then(|| {
        let allow = "allow it with sync.generators or the annotation eso-sync/rotate: \"true\"";
        (
            Reason::Generator,
            format!("a sync creates a new credential ({kinds}); {allow}"),
        )
    })
}

/// Skips it if one of its stores is missing or not ready. An unreadable store does not skip it.
fn readiness(inventory: &Inventory, external_secret: &ExternalSecret) -> Option<Skip> {
    external_secret
        .store_keys()
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

/// Children of a ClusterExternalSecret are synced through it, and only if all of its children are to be synced.
pub(super) fn children(inventory: &Inventory, selected: &mut [(&ExternalSecret, Item)]) {
    let mut synced: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (external_secret, item) in &*selected {
        if let (Some(parent), Action::Sync { .. }) = (&external_secret.parent, &item.action) {
            synced
                .entry(parent.name.clone())
                .or_default()
                .insert(external_secret.id.namespace.clone());
        }
    }
    for (external_secret, item) in selected {
        let (Some(ParentReference { name, .. }), Action::Sync { .. }) =
            (&external_secret.parent, &item.action)
        else {
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
            let message =
                "this operator does not pass a force-sync on to children (v0.20.0 and later do)";
            return Some((Reason::ParentUnavailable, message.to_owned()));
        }
        None => {
            let message = "reading the CRD is denied, so it is unknown if this operator passes a force-sync on to children";
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
            format!("ClusterExternalSecret/{name} would also sync its children in {namespaces}"),
        )
    })
}
