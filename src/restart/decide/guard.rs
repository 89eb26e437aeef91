//! What speaks against a restart that is owed.

use std::collections::BTreeMap;

use eso_model::duration::GoDuration;
use jiff::SignedDuration;

use super::{Change, Context, Difference};
use crate::{
    policy::{OnBrokenData, RestartRule, WorkloadPattern},
    reason::Reason,
    restart::{
        stamp::{DAY, Prints, Stamp},
        subject::{Standing, Subject},
    },
    workload::{Health, Workload},
};

type Against = (Reason, String);

/// Why a workload is none of our business, whatever its data.
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
        .any(|concern| concern.left_to_reloader)
    {
        return Some((
            Reason::HandledByReloader,
            "Stakater Reloader is set to restart it".to_owned(),
        ));
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

/// Why a restart that is owed does not happen now.
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
        .or_else(|| unhealthy(subject, context, stamp))
        .or_else(|| too_often(subject, rule, context, stamp))
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
        // The run is about to write it anew; then it is looked at again.
        if context.may_change(&subject.workload, &change.secret) {
            continue;
        }
        let Some(now) = concern.now() else {
            return Some((
                Reason::DataLooksBroken,
                format!("Secret {} is gone", change.secret),
            ));
        };
        for (key, difference) in &change.keys {
            let what = match difference {
                Some(Difference::Missing) => "vanished",
                Some(Difference::Changed) if now.empty.contains(key) => "became empty",
                _ => continue,
            };
            return Some((
                Reason::DataLooksBroken,
                format!("key {key} of Secret {} {what}", change.secret),
            ));
        }
    }
    None
}

/// What did not change the pods have already; where nothing changed, they get all of it anew.
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
                    format!("Secret {name} was edited by somebody else than the operator"),
                )),
                Standing::Unverified(why) => {
                    Some((Reason::SecretNotVerified, format!("Secret {name}: {why}")))
                }
            }
        })
}

fn unhealthy(subject: &Subject, context: Context<'_>, stamp: &Stamp) -> Option<Against> {
    // Pods that are on their way out for our own eviction are no trouble of somebody else's; it goes on once they are replaced.
    if stamp.evicting.is_some() {
        return None;
    }
    match &subject.workload.health {
        Health::Healthy => None,
        // What a restart of ours on other data brought about is not left at that.
        Health::Failing(_) | Health::Unavailable(_) if is_the_cure(subject, context, stamp) => None,
        Health::Unobserved => Some((
            Reason::AlreadyRolling,
            "its controller has not seen it as it is yet".to_owned(),
        )),
        Health::Rolling(message) => Some((Reason::AlreadyRolling, message.clone())),
        Health::Failing(_) | Health::Unavailable(_) if context.retry => None,
        Health::Failing(message) | Health::Unavailable(message) => {
            Some((Reason::Unhealthy, message.clone()))
        }
    }
}

/// Too soon after the last restart, too often today, or data that goes to and fro.
fn too_often(
    subject: &Subject,
    rule: &RestartRule,
    context: Context<'_>,
    stamp: &Stamp,
) -> Option<Against> {
    // What was begun for the present data is ended.
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
    // Back to what it was restarted on before, and since then on something else: somebody writes, and somebody writes back.
    if last.data != next && today.iter().any(|restart| restart.data == next) {
        return Some((
            Reason::Flapping,
            format!(
                "its data goes to and fro: it was restarted on the same data within the last day, and on other data since ({} \
                 restarts). Find the two that write its Secrets",
                today.len()
            ),
        ));
    }
    if today.len() >= rule.max_per_day.get() as usize {
        return Some((
            Reason::RestartLoop,
            format!(
                "it was restarted {} times within the last day, and `maxPerDay` is {}: find what changes its data so often",
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
                "it was restarted at {}, and its cool-down ends in {}",
                last.at,
                GoDuration(left)
            ),
        ));
    }
    None
}

/// Whether it was restarted, and not seen to be healthy since.
pub(in crate::restart) fn is_pending(
    subject: &Subject,
    context: Context<'_>,
    stamp: &Stamp,
) -> bool {
    let (known, id, uid) = (context.known, &subject.workload.id, &subject.workload.uid);
    // A run that was killed notes nothing.
    let unnoted = || known.seq(id, uid).is_none_or(|seq| seq < stamp.seq);
    !stamp.restarts.is_empty() && (known.is_pending(id, uid) || unnoted())
}

/// Whether it was restarted last on the data as it is.
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

/// Whether a restart or an eviction of ours on other data was not seen to end well: the present data may be the cure.
pub(in crate::restart) fn is_the_cure(
    subject: &Subject,
    context: Context<'_>,
    stamp: &Stamp,
) -> bool {
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
