//! Reasons to hold back a pending restart.

use std::collections::BTreeMap;

use eso_model::duration::GoDuration;
use jiff::SignedDuration;

use super::{Against, Change, Context, Difference};
use crate::{
    policy::{DuringDenyWindow, OnBrokenData, RestartRule, WorkloadPattern},
    reason::Reason,
    restart::{
        stamp::{DAY, Prints, Stamp},
        subject::{Standing, Subject},
    },
    workload::{Health, Workload},
};

/// What is known while a controller has not observed the latest generation.
pub(super) const UNOBSERVED: &str = "its controller has not observed its latest generation yet";

/// Returns why the workload is excluded from restarts, whatever its data.
pub(super) fn outside(subject: &Subject, rule: &RestartRule) -> Option<Against> {
    let workload = &subject.workload;
    if workload.ignored {
        return Some((Reason::Ignored, String::new()));
    }
    if rule.exclude.iter().any(|entry| covers(entry, workload)) {
        return Some((Reason::Excluded, String::new()));
    }
    if subject.counting().next().is_some() {
        return None;
    }
    if subject
        .secrets
        .values()
        .any(|concern| concern.left_to_other)
    {
        let (reason, tool) = if workload.reloader.is_wave() {
            (Reason::HandledByWave, "wave")
        } else {
            (Reason::HandledByReloader, "Stakater Reloader")
        };
        return Some((reason, format!("{tool} restarts it")));
    }
    Some((Reason::NoReference, String::new()))
}

fn covers(entry: &WorkloadPattern, workload: &Workload) -> bool {
    let id = &workload.id;
    (entry.namespaces.is_empty()
        || entry
            .namespaces
            .iter()
            .any(|glob| glob.matches(&id.namespace)))
        && (entry.names.is_empty() || entry.names.iter().any(|glob| glob.matches(&id.name)))
        && (entry.kinds.is_empty() || entry.kinds.contains(&id.kind))
        && entry
            .label_selector
            .as_ref()
            .is_none_or(|selector| selector.matches(&workload.labels))
}

/// Returns why a pending restart does not happen now.
pub(super) fn against(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    stamp: &Stamp,
    changes: &[Change],
) -> Option<Against> {
    broken(subject, rule, context, changes)
        .or_else(|| unverified(subject, rule, context, changes))
        .or_else(|| {
            let (reason, message) = subject.workload.hold(rule.strategy)?;
            Some((reason, message.to_owned()))
        })
        .or_else(|| denied(subject, rule, context, changes))
        .or_else(|| unhealthy(subject, context, stamp))
        .or_else(|| too_often(subject, rule, context, stamp))
}

/// An ExternalSecret that writes one of these Secrets is in a deny window: its author wants no new data now.
pub(super) fn denied(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    changes: &[Change],
) -> Option<Against> {
    if rule.during_deny_window == DuringDenyWindow::Restart {
        return None;
    }
    let namespace = &subject.workload.id.namespace;
    changes.iter().find_map(|change| {
        let by = context.targets.denied_by(namespace, &change.secret)?;
        Some((
            Reason::InDenyWindow,
            format!(
                "the syncWindows of ExternalSecret {} deny syncs now",
                by.name
            ),
        ))
    })
}

fn broken(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    changes: &[Change],
) -> Option<Against> {
    if rule.on_broken_data == OnBrokenData::Restart {
        return None;
    }
    for change in changes {
        let concern = subject.secrets.get(&change.secret)?;
        // The run is about to sync this Secret. It is checked again after that.
        if context.may_change(&subject.workload, &change.secret) {
            continue;
        }
        let Some(now) = concern.now() else {
            return Some((
                Reason::DataLooksBroken,
                format!("Secret {} is missing", change.secret),
            ));
        };
        for (key, difference) in &change.keys {
            let what = match difference {
                Some(Difference::Missing) => "is missing",
                Some(Difference::Changed) if now.empty.contains(key) => "is empty now",
                _ => continue,
            };
            let secret = &change.secret;
            let message = match key.shown() {
                Some(name) => format!("key {name} of Secret {secret} {what}"),
                None => format!("a key of Secret {secret} {what}; its name comes from data"),
            };
            return Some((Reason::DataLooksBroken, message));
        }
    }
    None
}

/// Checks only the Secrets that changed. If none changed, all of them, because new pods read all of them.
fn unverified(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    changes: &[Change],
) -> Option<Against> {
    let is_looked_at =
        |name: &String| changes.is_empty() || changes.iter().any(|change| change.secret == *name);
    subject
        .counting()
        .filter(|(name, _)| is_looked_at(name))
        .find_map(|(name, concern)| {
            match context.standing(&subject.workload, rule, name, concern) {
                Standing::Verified | Standing::Pending => None,
                Standing::Tampered => Some((
                    Reason::SecretTampered,
                    format!("Secret {name} was edited by someone other than the operator"),
                )),
                Standing::Unverified(why) => {
                    Some((Reason::SecretNotVerified, format!("Secret {name}: {why}")))
                }
            }
        })
}

fn unhealthy(subject: &Subject, context: Context<'_>, stamp: &Stamp) -> Option<Against> {
    // Pods that our own eviction removed do not count. It continues once they are replaced.
    if stamp.evicting.is_some() {
        return None;
    }
    match &subject.workload.health {
        Health::Healthy => None,
        Health::Rolling(_) | Health::Unavailable(_)
            if subject.workload.can_roll(subject.ending.len()) =>
        {
            None
        }
        // If our own restart with other data broke the workload, restart it with the new data.
        Health::Failing(_) | Health::Unavailable(_) if may_fix(subject, context, stamp) => None,
        Health::Unobserved => Some((Reason::AlreadyRolling, UNOBSERVED.to_owned())),
        Health::Rolling(message) => Some((Reason::AlreadyRolling, message.clone())),
        Health::Failing(_) | Health::Unavailable(_) if context.retry => None,
        Health::Failing(message) | Health::Unavailable(message) => {
            Some((Reason::Unhealthy, message.clone()))
        }
    }
}

/// Too soon after the last restart, too many restarts today, or flapping data.
fn too_often(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    stamp: &Stamp,
) -> Option<Against> {
    // Always finish an eviction that began with the current data.
    let begun = matches!(&stamp.evicting, Some(evicting) if evicting.secrets == subject.prints());
    if begun || context.retry {
        return None;
    }
    let today: Vec<_> = stamp
        .restarts
        .iter()
        .filter(|restart| context.now.duration_since(restart.at) < DAY)
        .collect();
    let last = today.last()?;
    let next = context
        .key_of(&subject.workload)
        .digest_of(&subject.workload.uid, &expected(subject, stamp));
    // The same data as in an earlier restart, with other data in between: two writers overwrite each other.
    if last.data != next && today.iter().any(|restart| restart.data == next) {
        return Some((
            Reason::Flapping,
            format!(
                "its data changes back and forth: it was restarted with the same data within the last day, and with other data since \
                 ({} restarts). Find the two writers of its Secrets",
                today.len()
            ),
        ));
    }
    if today.len() >= rule.max_per_day.get() as usize {
        return Some((
            Reason::RestartLoop,
            format!(
                "it was restarted {} times within the last day, and `maxPerDay` is {}. Find out what changes its data so often",
                today.len(),
                rule.max_per_day
            ),
        ));
    }
    let passed = context.now.duration_since(last.at);
    let cooldown = SignedDuration::try_from(rule.cooldown).unwrap_or(SignedDuration::MAX);
    let left = cooldown.saturating_sub(passed.max(SignedDuration::ZERO));
    if left.is_positive() {
        let left = std::time::Duration::from_secs(left.as_secs().unsigned_abs() + 1);
        return Some((
            Reason::CoolingDown,
            format!(
                "it was restarted at {}, its cool-down ends in {}",
                last.at,
                GoDuration(left)
            ),
        ));
    }
    None
}

/// True if it was restarted and has not been healthy since.
pub(in crate::restart) fn is_pending(
    subject: &Subject,
    context: Context<'_>,
    stamp: &Stamp,
) -> bool {
    let (known, id, uid) = (context.known, &subject.workload.id, &subject.workload.uid);
    // A killed run records nothing in the state.
    let unnoted = || known.seq(id, uid).is_none_or(|seq| seq < stamp.seq);
    !stamp.restarts.is_empty() && (known.is_pending(id, uid) || unnoted())
}

/// True if its last restart used the current data.
pub(in crate::restart) fn is_on_present_data(
    subject: &Subject,
    context: Context<'_>,
    stamp: &Stamp,
) -> bool {
    let digest = || {
        let data = expected(subject, stamp);
        context
            .key_of(&subject.workload)
            .digest_of(&subject.workload.uid, &data)
    };
    stamp
        .restarts
        .last()
        .is_some_and(|last| last.data == digest())
}

/// True if our last restart or eviction used other data and the workload is not healthy since. The current data may fix it.
pub(in crate::restart) fn may_fix(subject: &Subject, context: Context<'_>, stamp: &Stamp) -> bool {
    let workload = &subject.workload;
    let evicting = stamp.evicting.as_ref();
    let restarted = context.known.is_pending(&workload.id, &workload.uid)
        && !is_on_present_data(subject, context, stamp);
    restarted || evicting.is_some_and(|evicting| evicting.secrets != subject.prints())
}

/// The data that the stamp would hold after a restart.
fn expected(subject: &Subject, stamp: &Stamp) -> BTreeMap<String, Prints> {
    let mut secrets = stamp.secrets.clone();
    secrets.extend(subject.prints());
    secrets.retain(|name, _| subject.secrets.contains_key(name));
    secrets
}
